"""A metal with a Morse pair potential whose parameters the text gives."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation, crystal_checks
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import Slot, phrasings, run_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind, Potential

# Girifalco and Weizer, Phys. Rev. 114, 687 (1959): D (eV), alpha (1/A), r0 (A); fcc constant, mass.
_METALS = {
    "Cu": ("copper", "铜", 0.3429, 1.3588, 2.866, 3.615, 63.55),
    "Ag": ("silver", "银", 0.3323, 1.369, 3.115, 4.09, 107.87),
    "Al": ("aluminium", "铝", 0.2703, 1.1646, 3.253, 4.05, 26.98),
    "Ni": ("nickel", "镍", 0.4205, 1.4199, 2.78, 3.52, 58.69),
    "Pb": ("lead", "铅", 0.2348, 1.1836, 3.733, 4.95, 207.2),
}


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, its temperature, cutoff, size and duration."""
    symbol = rng.choice(list(_METALS))
    english, chinese, depth, alpha, r0, a, mass = _METALS[symbol]
    kelvin, cutoff = 50 * rng.randint(2, 10), rng.choice((7.0, 7.5, 8.0))
    edge, num_steps, dt = rng.choice((3, 4)), rng.choice((400, 500, 600)), 0.002
    style, coeff = f"morse {cutoff:g}", f"1 1 {depth:g} {alpha:g} {r0:g}"
    commands = (
        "units metal",
        f"lattice fcc {a:g}",
        f"region box block 0 {edge} 0 {edge} 0 {edge}",
        "create_box 1 box",
        "create_atoms 1 box",
        f"mass 1 {mass:g}",
        f"pair_style {style}",
        f"pair_coeff {coeff}",
        f"velocity all create {2 * kelvin} {DEFAULT_SEED}",
        "fix 1 all nve",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    checks = (
        *crystal_checks(4 * edge**3),
        Check(kind=CheckKind.ENSEMBLE, text="nve"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
        Check(kind=CheckKind.ENERGY_DRIFT),
        Check(kind=CheckKind.TEMPERATURE, target=kelvin, tolerance=0.15),
    )
    morse = f"D = {depth:g} eV, alpha = {alpha:g} 1/A, r0 = {r0:g} A, cutoff {cutoff:g} A"
    cells = f"{edge}x{edge}x{edge} fcc cells"
    slots = {
        "metal": Slot(
            english=(f"{symbol} ({cells}, a = {a:g} A)", f"{english} ({cells}, a = {a:g} A)"),
            chinese=(
                f"{symbol}（{edge}x{edge}x{edge} 个 fcc 晶胞，a = {a:g} A）",
                f"{chinese}（{edge}x{edge}x{edge} 个 fcc 晶胞，a = {a:g} A）",
            ),
        ),
        "morse": Slot(english=(morse,), chinese=(morse.replace(", ", "，"),)),
        "start": temperature_slot(2 * kelvin),
        "run": run_slot(num_steps, dt),
    }
    return Simulation(
        commands=commands,
        checks=checks,
        slots=slots,
        potential=Potential(style=style, coeffs=(coeff,)),
        elements=(symbol,),
        volume_per_atom=round(a**3 / 4, 4),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="morse",
    summary="Integrate a metal with a Morse potential at constant energy.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "Morse {metal}: {morse}, NVE from {start}, {run}{extras}",
            "{metal}, pair_style morse, {morse}, velocities {start}, nve {run}{extras}",
            "nve, {metal}, Morse potential ({morse}), initial {start}, {run}{extras}",
        ),
        textbook=(
            "Describe {metal} by a Morse potential, {morse}, and integrate it in NVE from"
            " velocities of {start}, {run}{extras}.",
            "Check the energy conservation of {metal} with a Morse potential ({morse}): NVE,"
            " velocities created at {start}, {run}{extras}.",
        ),
        goal=(
            "I want {metal} with a simple Morse pair potential ({morse}) at constant energy,"
            " started at {start}, {run}{extras}.",
            "Please run NVE on {metal}, Morse parameters {morse}, velocity create {start},"
            " {run}{extras}.",
        ),
        steps=(
            "Build {metal}. Set pair_style morse with {morse}. Create velocities at {start}. NVE."
            " Run {run}{extras}.",
            "1. {metal} 2. morse: {morse} 3. velocities {start} 4. nve 5. {run}{extras}",
        ),
        chinese=(
            "Morse 势 {metal}：{morse}，初速度 {start}，NVE，{run}{extras}",
            "用 Morse 势（{morse}）描述 {metal}，速度按 {start} 生成，在 NVE 下{run}{extras}。",
            "请用 pair_style morse 模拟 {metal}，参数 {morse}，初始温度 {start}，NVE，"
            "{run}{extras}。",
        ),
    ),
)
