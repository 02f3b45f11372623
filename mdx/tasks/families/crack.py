"""A crack: a two-dimensional Lennard-Jones crystal with a slit is pulled apart."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import Slot, number_slot, phrasings, reduced_run_slot
from mdx.tasks.task import Check, CheckKind, Potential

_DENSITY = 0.93


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw the sheet, its slit, temperature and strain rate."""
    nx, ny = rng.choice((16, 20, 24)), rng.choice((8, 10, 12))
    half, t = rng.choice((2, 3, 4)), rng.choice((0.01, 0.02, 0.05))
    rate, num_steps, dt = rng.choice((0.01, 0.02, 0.03)), rng.choice((400, 500, 600)), 0.005
    low, high = nx / 2 - half - 0.25, nx / 2 + half - 0.25
    # One row of sites lies on y = ny / 2, with one site a cell.
    removed = sum(low < x < high for x in range(nx))
    atoms = 2 * nx * ny - removed
    strain = round(rate * num_steps * dt, 6)
    commands = (
        "units lj",
        "dimension 2",
        f"lattice hex {_DENSITY:g}",
        f"region box block 0 {nx} 0 {ny} -0.25 0.25",
        "create_box 1 box",
        "create_atoms 1 box",
        f"region slit block {low:g} {high:g} {ny / 2 - 0.2:g} {ny / 2 + 0.2:g} INF INF",
        "delete_atoms region slit",
        "mass 1 1",
        "pair_style lj/cut 2.5",
        "pair_coeff * * 1 1",
        f"velocity all create {2 * t:g} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {t:g} {t:g} 0.5",
        "fix 2 all enforce2d",
        f"fix 3 all deform 1 y erate {rate:g}",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    checks = (
        Check(kind=CheckKind.UNITS, text="lj"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
        Check(kind=CheckKind.STRAIN, target=strain, axis="y"),
    )
    cells = f"{nx}x{ny}"
    slots = {
        "sheet": Slot(
            english=(
                f"a 2-D LJ crystal of {cells} hex cells (density {_DENSITY:g}, cutoff 2.5)",
                f"a two-dimensional Lennard-Jones sheet ({cells} hex cells, rho* = {_DENSITY:g},"
                " rc = 2.5)",
            ),
            chinese=(f"二维 LJ 晶体（{cells} 个 hex 晶胞，密度 {_DENSITY:g}，截断 2.5）",),
        ),
        "half": number_slot(2 * half),
        "temperature": number_slot(t),
        "rate": number_slot(rate),
        "run": reduced_run_slot(num_steps, dt),
    }
    return Simulation(
        commands=commands,
        checks=checks,
        slots=slots,
        potential=Potential(style="lj/cut 2.5", coeffs=("* * 1 1",)),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="crack",
    summary="Pull a two-dimensional crystal with a central slit apart.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "crack: {sheet}, central slit of one atomic row {half} cells long, pull y at {rate},"
            " NVT T = {temperature}, {run}{extras}",
            "{sheet}; delete {half} cells of the middle row, deform y erate {rate}, nvt"
            " {temperature}, {run}{extras}",
            "2-D fracture, {sheet}, slit {half} cells (one row), y rate {rate}, T {temperature},"
            " {run}{extras}",
        ),
        textbook=(
            "Remove a slit of {half} cells from the middle atomic row of {sheet} and stretch it"
            " along y at a rate of {rate}, NVT at T = {temperature}, {run}{extras}.",
            "Study crack opening in {sheet}: a central one-row slit {half} cells long, strain rate"
            " {rate} along y, NVT at {temperature}, {run}{extras}.",
        ),
        goal=(
            "I want to see a crack open in {sheet}: slit of {half} cells in the middle row, y"
            " pulled at {rate}, NVT at T = {temperature}, {run}{extras}.",
            "Please pull {sheet} with a central slit ({half} cells of one row) along y, rate"
            " {rate}, T = {temperature}, NVT, {run}{extras}.",
        ),
        steps=(
            "Make {sheet}. Delete {half} cells of the middle row. NVT at {temperature} with"
            " enforce2d. Deform y with erate {rate}. Run {run}{extras}.",
            "1. {sheet} 2. slit: one row, {half} cells, centred 3. nvt {temperature}, enforce2d"
            " 4. deform y erate {rate} 5. {run}{extras}",
        ),
        chinese=(
            "裂纹：{sheet}，中央一行原子的狭缝长 {half} 个晶胞，沿 y 以 {rate} 拉伸，NVT"
            " T = {temperature}，{run}{extras}",
            "在 {sheet} 的中间一行删去 {half} 个晶胞形成狭缝，然后沿 y 以应变率 {rate} 拉伸，"
            "NVT，T = {temperature}，{run}{extras}。",
            "请模拟二维断裂：{sheet}，中心裂缝 {half} 个晶胞（单行），y 向应变率 {rate}，"
            "温度 {temperature}，{run}{extras}。",
        ),
    ),
)
