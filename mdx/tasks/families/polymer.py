"""A polymer melt: Kremer-Grest bead-spring chains from a data file."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, reduced_run_slot, same
from mdx.tasks.task import Check, CheckKind

_BOND, _SPACING = 0.97, 1.15  # along the chain, between chains
_TIMESTEP = 0.005


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw the chains, their length, temperature and duration."""
    side, beads = rng.choice((4, 5)), rng.choice((8, 10, 12, 15, 20))
    temperature, num_steps = rng.choice((0.8, 1.0, 1.2)), rng.choice((400, 500, 600))
    file = rng.choice(("chains.data", "polymer.data", "data.melt", "melt.data"))
    t = f"{temperature:g}"
    commands = (
        "units lj",
        "atom_style bond",
        "bond_style fene",
        f"read_data {file}",
        "pair_style lj/cut 1.12246",
        "pair_coeff 1 1 1 1",
        "bond_coeff 1 30 1.5 1 1",
        "special_bonds fene",
        f"velocity all create {t} {DEFAULT_SEED}",
        "fix 1 all nve",
        f"fix 2 all langevin {t} {t} 1 {DEFAULT_SEED}",
        f"timestep {_TIMESTEP:g}",
        f"run {num_steps}",
    )
    atoms = side * side * beads
    checks = (
        Check(kind=CheckKind.UNITS, text="lj"),
        Check(kind=CheckKind.PAIR_STYLE, text="lj/cut"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="langevin"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=_TIMESTEP),
        Check(kind=CheckKind.TEMPERATURE, target=temperature, tolerance=0.1),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            "chains": number_slot(side * side),
            "beads": number_slot(beads),
            "file": same(file),
            "temperature": number_slot(temperature),
            "run": reduced_run_slot(num_steps, _TIMESTEP),
        },
        volume_per_atom=round(_BOND * _SPACING**2, 5),
        num_steps=num_steps,
        files={file: _data(side, beads).encode()},
    )


def _data(side: int, beads: int) -> str:
    """Return the data file of straight parallel chains along x."""
    atoms: list[str] = []
    bonds: list[str] = []
    for chain in range(side * side):
        y, z = (n * _SPACING for n in divmod(chain, side))
        for bead in range(beads):
            atoms.append(f"{len(atoms) + 1} {chain + 1} 1 {bead * _BOND:.4f} {y:.4f} {z:.4f}")
            if bead:
                bonds.append(f"{len(bonds) + 1} 1 {len(atoms) - 1} {len(atoms)}")
    width = side * _SPACING
    head = [
        f"{len(atoms)} atoms\n{len(bonds)} bonds",
        "1 atom types\n1 bond types\n2 extra bond per atom",
        f"0 {beads * _BOND:.4f} xlo xhi\n0 {width:.4f} ylo yhi\n0 {width:.4f} zlo zhi",
        "Masses\n\n1 1",
    ]
    body = ["Atoms # bond\n\n" + "\n".join(atoms), "Bonds\n\n" + "\n".join(bonds)]
    return "bead-spring chains\n\n" + "\n\n".join([*head, *body]) + "\n"


FAMILY = Family(
    name="polymer",
    summary="A Kremer-Grest polymer melt with a Langevin thermostat.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "Kremer-Grest melt from {file}: {chains} chains of {beads} beads, FENE + WCA, Langevin"
            " T = {temperature}, {run}{extras}",
            "read {file} ({chains} x {beads} beads), fene (30, 1.5) + lj/cut 1.12246, nve +"
            " langevin {temperature}, {run}{extras}",
            "bead-spring polymer, {file}, {chains} chains, length {beads}, Langevin {temperature},"
            " {run}{extras}",
        ),
        textbook=(
            "Simulate a Kremer-Grest melt of {chains} chains with {beads} beads each (data file"
            " {file}): FENE bonds with k = 30 and R0 = 1.5, purely repulsive LJ, Langevin"
            " thermostat at T = {temperature}, {run}{extras}.",
            "Integrate the bead-spring chains of {file} ({chains} of {beads} beads; fene, special"
            " bonds fene, lj/cut at 2^(1/6)) with fix nve and Langevin friction at T ="
            " {temperature}, {run}{extras}.",
        ),
        goal=(
            "I want to relax the polymer in {file}, {chains} Kremer-Grest chains of {beads} beads,"
            " at T = {temperature} with a Langevin thermostat, {run}{extras}.",
            "Please run the standard bead-spring model on {file} ({chains} chains, {beads} beads):"
            " FENE, WCA, Langevin at {temperature}, {run}{extras}.",
        ),
        steps=(
            "Use lj units and atom_style bond. Read {file} ({chains} chains of {beads}). FENE bonds"
            " and lj/cut 1.12246. NVE plus Langevin at {temperature}. Run {run}{extras}.",
            "1. read_data {file} ({chains} x {beads}) 2. fene 30 1.5 1 1, WCA 3. nve, langevin"
            " {temperature} 4. {run}{extras}",
        ),
        chinese=(
            "Kremer-Grest 聚合物熔体：{file}（{chains} 条链，每链 {beads} 珠），FENE + WCA，"
            "Langevin T = {temperature}，{run}{extras}",
            "读入 {file} 中的 {chains} 条珠簧链（链长 {beads}），FENE 键（k = 30，R0 ="
            " 1.5）加纯排斥"
            " LJ，用 Langevin 热浴控温 {temperature}，{run}{extras}。",
            "请模拟聚合物熔体：数据文件 {file}，{chains} 条链、每条 {beads} 个珠子，Kremer-Grest"
            " 模型，"
            "Langevin，T = {temperature}，{run}{extras}。",
        ),
    ),
)
