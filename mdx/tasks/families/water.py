"""Rigid three-site water: TIP3P or SPC/E molecules from a data file, in real units."""

from math import cos, radians, sin
from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind

# Model: charge of oxygen, epsilon (kcal/mol), sigma (A), bond (A), angle (degrees).
_MODELS = {
    "SPC/E": (-0.8476, 0.1553, 3.166, 1.0, 109.47),
    "TIP3P": (-0.834, 0.1521, 3.1507, 0.9572, 104.52),
}
_ENERGIES = {"SPC/E": -3.45, "TIP3P": -3.1}  # kcal/mol per atom, measured at the end of such runs
_SPACING = 3.104  # A, of molecules on a cubic lattice: 1 g/cm^3


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a model, the molecules a side, temperature and duration."""
    model, edge = rng.choice(list(_MODELS)), rng.choice((3, 4))
    charge, epsilon, sigma, bond, angle = _MODELS[model]
    kelvin, num_steps = rng.choice((280, 290, 300, 310, 320, 340)), rng.choice((200, 250, 300))
    file = rng.choice(("water.data", "data.water", "h2o.data"))
    cutoff = 4.5 if edge == 3 else 6
    commands = (
        "units real",
        "atom_style full",
        "bond_style harmonic",
        "angle_style harmonic",
        f"read_data {file}",
        f"pair_style lj/cut/coul/long {cutoff:g}",
        "kspace_style pppm 1e-4",
        f"pair_coeff 1 1 {epsilon:g} {sigma:g}",
        "pair_coeff * 2 0 1",
        f"bond_coeff 1 450 {bond:g}",
        f"angle_coeff 1 55 {angle:g}",
        f"velocity all create {kelvin} {DEFAULT_SEED}",
        "fix 1 all shake 0.0001 20 0 b 1 a 1",
        f"fix 2 all nvt temp {kelvin} {kelvin} 50",
        "timestep 2",
        f"run {num_steps}",
    )
    atoms = 3 * edge**3
    checks = (
        Check(kind=CheckKind.UNITS, text="real"),
        Check(kind=CheckKind.PAIR_STYLE, text="lj/cut/coul/long"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.METHOD, text="shake"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=2),
        Check(kind=CheckKind.TEMPERATURE, target=kelvin, tolerance=0.15),
        # of the script's own potential: charges cannot be rebuilt for a fingerprint
        Check(kind=CheckKind.ENERGY, target=_ENERGIES[model], tolerance=0.08),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            "model": same(model),
            "count": number_slot(edge**3),
            "file": same(file),
            "temperature": temperature_slot(kelvin),
            "cutoff": number_slot(cutoff),
            "steps": number_slot(num_steps),
        },
        elements=("O", "H"),
        volume_per_atom=round(_SPACING**3 / 3, 4),
        num_steps=num_steps,
        files={file: _data(edge, charge, bond, angle).encode()},
    )


def _data(edge: int, charge: float, bond: float, angle: float) -> str:
    """Return the data file of edge^3 molecules on a cubic lattice, turned by their place."""
    length = edge * _SPACING
    atoms: list[str] = []
    bonds: list[str] = []
    angles: list[str] = []
    half = radians(angle / 2)
    for m in range(edge**3):
        i, j, k = m % edge, m // edge % edge, m // edge**2
        x, y, z = ((n + 0.5) * _SPACING for n in (i, j, k))
        turn = radians(90 * ((i + 2 * j + 3 * k) % 4))
        first = 3 * m + 1
        atoms.append(f"{first} {m + 1} 1 {charge:g} {x:.5f} {y:.5f} {z:.5f}")
        for n, phi in enumerate((turn - half, turn + half), start=1):
            u, v = x + bond * cos(phi), y + bond * sin(phi)
            atoms.append(f"{first + n} {m + 1} 2 {-charge / 2:g} {u:.5f} {v:.5f} {z:.5f}")
            bonds.append(f"{len(bonds) + 1} 1 {first} {first + n}")
        angles.append(f"{m + 1} 1 {first + 1} {first} {first + 2}")
    head = [
        f"{len(atoms)} atoms\n{len(bonds)} bonds\n{len(angles)} angles",
        "2 atom types\n1 bond types\n1 angle types",
        "\n".join(f"0 {length:.5f} {axis}lo {axis}hi" for axis in "xyz"),
        "Masses\n\n1 15.9994\n2 1.008",
    ]
    parts = zip(("Atoms # full", "Bonds", "Angles"), (atoms, bonds, angles), strict=True)
    body = [f"{name}\n\n" + "\n".join(lines) for name, lines in parts]
    return "rigid water\n\n" + "\n\n".join([*head, *body]) + "\n"


FAMILY = Family(
    name="water",
    summary="Rigid water (SPC/E or TIP3P) from a data file in NVT.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{model} water from {file} ({count} molecules), SHAKE, lj/cut/coul/long {cutoff} A +"
            " pppm, NVT {temperature}, {steps} steps of 2 fs{extras}",
            "real units, read {file}: {count} {model}; O type 1, H type 2; coul/long cutoff"
            " {cutoff}, pppm, shake, nvt {temperature}, {steps} x 2 fs{extras}",
            "NVT of {count} rigid {model} waters ({file}) at {temperature}, cutoff {cutoff} A,"
            " PPPM,"
            " 2 fs, {steps} steps{extras}",
        ),
        textbook=(
            "Simulate {count} {model} water molecules, given in {file} (full style, O type 1, H"
            " type 2), in NVT at {temperature}: rigid by SHAKE, lj/cut/coul/long with a cutoff of"
            " {cutoff} A and PPPM, {steps} steps of 2 fs{extras}.",
            "Run liquid water ({model}, {count} molecules, data file {file}) at {temperature} with"
            " a Nose-Hoover thermostat, fix shake, PPPM electrostatics (lj/cut/coul/long, {cutoff}"
            " A); {steps} steps, timestep 2 fs{extras}.",
        ),
        goal=(
            "I want {model} water at {temperature}: {file} holds {count} molecules; keep them rigid"
            " with SHAKE, lj/cut/coul/long {cutoff} A with PPPM, NVT, {steps} steps of 2"
            " fs{extras}.",
            "Please equilibrate the {count} waters of {file} as {model} at {temperature} (NVT,"
            " shake, pppm, lj/cut/coul/long {cutoff}), {steps} steps with dt = 2 fs{extras}.",
        ),
        steps=(
            "Use real units and atom_style full. Read {file} ({count} molecules). Set {model} with"
            " lj/cut/coul/long {cutoff} and pppm. Add shake and NVT at {temperature}. Timestep 2"
            " fs. Run {steps} steps{extras}.",
            "1. read_data {file} ({count} {model} waters) 2. lj/cut/coul/long {cutoff}, pppm"
            " 3. shake 4. nvt {temperature} 5. {steps} steps of 2 fs{extras}",
        ),
        chinese=(
            "{model} 水，数据文件 {file}（{count} 个分子），SHAKE，lj/cut/coul/long 截断"
            " {cutoff} A，"
            "PPPM，NVT {temperature}，步长 2 fs，{steps} 步{extras}",
            "读入 {file} 中的 {count} 个水分子（O 为类型 1，H 为类型 2），采用 {model} 模型和"
            " SHAKE，"
            "长程静电用 PPPM（lj/cut/coul/long，{cutoff} A），在 {temperature} 做 NVT，2 fs 步长，"
            "{steps} 步{extras}。",
            "请用 {model} 模拟液态水：{file} 含 {count} 个分子，刚性约束 shake，pppm，截断"
            " {cutoff} A，"
            "{temperature}，NVT，{steps} 步、步长 2 fs{extras}。",
        ),
    ),
)
