"""Oxides: a rock salt crystal of ions with Buckingham and Coulomb forces."""

from math import exp, sqrt
from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import Slot, phrasings, run_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind

# Lewis and Catlow, J. Phys. C 18, 1149 (1985): A (eV), rho (A) of metal-oxygen; lattice, mass.
_OXIDES = {
    "MgO": ("magnesium oxide", "氧化镁", 821.6, 0.3242, 4.21, 24.305),
    "CaO": ("calcium oxide", "氧化钙", 1228.9, 0.3372, 4.81, 40.078),
    "SrO": ("strontium oxide", "氧化锶", 1400.0, 0.35, 5.16, 87.62),
    "BaO": ("barium oxide", "氧化钡", 931.7, 0.3949, 5.52, 137.33),
}
_OXYGEN = "22764.3 0.149 27.88"
_MADELUNG, _FCC_R6 = 1.747565, 14.4539  # of rock salt; sum of (d/r)^6 over an fcc lattice
_COULOMB, _BOLTZMANN = 14.399645, 8.617333e-5  # eV A, eV/K


def _energy(strength: float, rho: float, a: float, kelvin: float) -> float:
    """Return the energy per ion: Madelung sum, pair terms, and half of 3 kT of vibration (eV)."""
    r, oxygens = a / 2, a / sqrt(2)
    coulomb = -_MADELUNG * 4 * _COULOMB / r
    contact = 6 * strength * exp(-r / rho)
    b, rho_o, c = map(float, _OXYGEN.split())
    between = 6 * b * exp(-oxygens / rho_o) - _FCC_R6 / 2 * c / oxygens**6
    return (coulomb + contact + between) / 2 + 1.5 * _BOLTZMANN * kelvin


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an oxide, its size, temperature, cutoff and duration."""
    name = rng.choice(list(_OXIDES))
    _, _, strength, rho, a, mass = _OXIDES[name]
    edge, kelvin = 2, 100 * rng.randint(2, 10)
    cutoff, num_steps, dt = rng.choice((7, 8)), rng.choice((400, 500, 600)), 0.001
    style = f"buck/coul/long {cutoff}"
    commands = (
        "units metal",
        "atom_style charge",
        f"lattice fcc {a:g}",
        f"region box block 0 {edge} 0 {edge} 0 {edge}",
        "create_box 2 box",
        "create_atoms 1 box",
        f"lattice fcc {a:g} origin 0.5 0 0",
        "create_atoms 2 box",
        "set type 1 charge 2",
        "set type 2 charge -2",
        f"mass 1 {mass:g}",
        "mass 2 15.999",
        f"pair_style {style}",
        "kspace_style ewald 1e-4",
        "pair_coeff 1 1 0 1 0",
        f"pair_coeff 1 2 {strength:g} {rho:g} 0",
        f"pair_coeff 2 2 {_OXYGEN}",
        f"velocity all create {2 * kelvin} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {kelvin} {kelvin} 0.05",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    checks = (
        Check(kind=CheckKind.UNITS, text="metal"),
        Check(kind=CheckKind.PAIR_STYLE, text="buck/coul/long"),
        Check(kind=CheckKind.NUM_ATOMS, target=8 * edge**3, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
        Check(kind=CheckKind.TEMPERATURE, target=kelvin, tolerance=0.1),
        # of the script's own potential: charges cannot be rebuilt for a fingerprint
        Check(
            kind=CheckKind.ENERGY,
            target=round(_energy(strength, rho, a, kelvin), 3),
            tolerance=0.01,
        ),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            **_stated(name, f"{edge}x{edge}x{edge}", cutoff),
            "temperature": temperature_slot(kelvin),
            "run": run_slot(num_steps, dt),
        },
        elements=(name[:-1], "O"),
        volume_per_atom=round(a**3 / 8, 4),
        num_steps=num_steps,
    )


def _stated(name: str, cells: str, cutoff: int) -> dict[str, Slot]:
    """Return how the text states the crystal and the forces between its ions."""
    english, chinese, strength, rho, a, _ = _OXIDES[name]
    ions = f"{name[:-1]}-O: A = {strength:g} eV, rho = {rho:g} A; O-O: A, rho, C = {_OXYGEN}"
    return {
        "oxide": Slot(
            english=(
                f"{cells} cells of {name} (a = {a:g} A)",
                f"{cells} cells of {english} (a = {a:g} A)",
            ),
            chinese=(
                f"{cells} 晶胞的 {name}（a = {a:g} A）",
                f"{cells} 晶胞的{chinese}（a = {a:g} A）",
            ),
        ),
        "ions": Slot(
            english=(f"{ions}; charges +-2, cutoff {cutoff} A",),
            chinese=(f"{ions}；电荷 ±2，截断 {cutoff} A",),
        ),
    }


FAMILY = Family(
    name="oxide",
    summary="An ionic oxide with Buckingham and Ewald-summed Coulomb forces in NVT.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{oxide}, buck/coul/long ({ions}), Ewald, NVT {temperature}, {run}{extras}",
            "ionic {oxide}: Buckingham {ions}, kspace ewald, nvt {temperature}, {run}{extras}",
            "NVT {temperature}, {oxide}, pair_style buck/coul/long, {ions}, {run}{extras}",
        ),
        textbook=(
            "Simulate {oxide} with rigid ions in NVT at {temperature}: buck/coul/long with {ions},"
            " Ewald summation, {run}{extras}.",
            "Keep {oxide} at {temperature} with a Nose-Hoover thermostat; Buckingham plus"
            " long-range"
            " Coulomb forces, {ions}, {run}{extras}.",
        ),
        goal=(
            "I want {oxide} at {temperature} from the rigid-ion model ({ions}; buck/coul/long,"
            " ewald), NVT, {run}{extras}.",
            "Please run NVT on {oxide}, {temperature}, with buck/coul/long and Ewald: {ions},"
            " {run}{extras}.",
        ),
        steps=(
            "Build {oxide} in rock salt structure with charges. Set buck/coul/long: {ions}. Ewald."
            " NVT at {temperature}. Run {run}{extras}.",
            "1. {oxide}, rock salt, atom_style charge 2. buck/coul/long {ions} 3. ewald 4. nvt"
            " {temperature} 5. {run}{extras}",
        ),
        chinese=(
            "模拟 {oxide}，buck/coul/long（{ions}），Ewald，NVT {temperature}，{run}{extras}",
            "用刚性离子模型模拟 {oxide}：Buckingham 加长程库仑（{ions}），Ewald 求和，在"
            " {temperature}"
            " 做 NVT，{run}{extras}。",
            "请对 {oxide} 做 NVT 模拟，温度 {temperature}，势为 buck/coul/long，参数 {ions}，"
            "Ewald，"
            "{run}{extras}。",
        ),
    ),
)
