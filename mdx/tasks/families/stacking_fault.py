"""A stacking fault: the upper half of an fcc slab is displaced by a/6 [11-2] on (111)."""

from math import sqrt
from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, potential_commands
from mdx.tasks.phrasing import cells_slot, material_slot, phrasings
from mdx.tasks.task import Check, CheckKind

_VACUUM = 12  # Angstrom
# An intrinsic fault and two (111) surfaces: energies above the bulk are bounded by this, per atom.
_TOLERANCE = 0.25


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an fcc metal and the size of its slab in periods of [11-2]/2, [-110]/2 and [111]."""
    material, _ = draw_static(rng, pool, ("fcc",))
    nx, ny, nz = rng.choice((2, 3)), rng.choice((3, 4, 5)), 2
    a = material.lattice_constant
    x, y, z = nx * sqrt(6) / 2 * a, ny * sqrt(2) / 2 * a, nz * sqrt(3) * a
    atoms = round(4 * x * y * z / a**3)
    commands = (
        "units metal",
        f"lattice fcc {a:g} orient x 1 1 -2 orient y -1 1 0 orient z 1 1 1",
        f"region box block 0 {x:.8g} 0 {y:.8g} -0.1 {z - 0.1:.8g} units box",
        "create_box 1 box",
        "create_atoms 1 box",
        f"region upper block INF INF INF INF {z / 2 - 0.1:.6g} INF units box",
        "group upper region upper",
        f"displace_atoms upper move {a / sqrt(6):.6g} 0 0 units box",
        f"change_box all z delta 0 {_VACUUM} units box",
        *potential_commands(material),
        "minimize 0 1e-4 200 2000",
    )
    checks = (
        *crystal_checks(atoms),
        Check(kind=CheckKind.ENSEMBLE, text="minimize"),
        Check(kind=CheckKind.MINIMIZED),
        Check(kind=CheckKind.ENERGY, target=material.energy_per_atom, tolerance=_TOLERANCE),
        Check(kind=CheckKind.BOX_LENGTH, target=round(x, 4), tolerance=0.002, axis="x"),
        Check(kind=CheckKind.BOX_LENGTH, target=round(z + _VACUUM, 4), tolerance=0.01, axis="z"),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={"material": material_slot(material), "repeats": cells_slot((nx, ny, nz))},
        material=material,
        volume_per_atom=round(x * y * (z + _VACUUM) / atoms, 4),
    )


FAMILY = Family(
    name="stacking_fault",
    summary="Relax an fcc slab with an intrinsic stacking fault.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "stacking fault in {material}: slab x [11-2] y [-110] z [111], {repeats} periods"
            " ([11-2]/2, [-110]/2, [111]), upper half moved a/6[11-2], 12 A vacuum,"
            " minimise{extras}",
            "intrinsic fault, {material}, {repeats} x ([11-2]/2 [-110]/2 [111]), shift upper half"
            " a/sqrt(6) in x, vacuum 12 A, relax{extras}",
            "{material} (111) slab, {repeats} periods of [11-2]/2, [-110]/2, [111], faulted in the"
            " middle, 12 A of vacuum, minimisation{extras}",
        ),
        textbook=(
            "Build a (111) slab of {material} (x [11-2], y [-110], z [111]; {repeats} periods of"
            " [11-2]/2, [-110]/2, [111]), shift its upper half by a/6 [11-2], add 12 A of vacuum"
            " and minimise the energy{extras}.",
            "Create an intrinsic stacking fault in {material}: displace the upper half of {repeats}"
            " periods ([11-2]/2, [-110]/2, [111]) along x by a/sqrt(6), leave 12 A of vacuum in z"
            " and relax{extras}.",
        ),
        goal=(
            "What is the stacking fault energy of {material}? Slab of {repeats} periods ([11-2]/2,"
            " [-110]/2, [111]), upper half shifted a/6 [11-2], 12 A vacuum, minimised{extras}.",
            "I need a relaxed {material} slab with a fault in its middle: {repeats} periods of"
            " [11-2]/2, [-110]/2 and [111], partial shift a/6 [11-2], vacuum 12 A{extras}.",
        ),
        steps=(
            "Orient {material} with x [11-2], y [-110], z [111]. Build {repeats} periods ([11-2]/2,"
            " [-110]/2, [111]). Move the upper half by a/sqrt(6) in x. Add 12 A of vacuum in z."
            " Minimise{extras}.",
            "1. {material}, x [11-2], z [111], {repeats} periods ([11-2]/2, [-110]/2, [111])"
            " 2. upper half + a/6 [11-2] 3. vacuum 12 A 4. minimize{extras}",
        ),
        chinese=(
            "{material} 层错：x [11-2]、y [-110]、z [111]，{repeats} 个周期（[11-2]/2、[-110]/2、"
            "[111]），上半移动 a/6[11-2]，真空 12 A，最小化{extras}",
            "构建 {material} 的 (111) 平板（{repeats} 个 [11-2]/2、[-110]/2、[111] 周期），"
            "把上半部沿"
            " x 移动 a/sqrt(6) 形成内禀层错，加 12 A 真空后能量最小化{extras}。",
            "请计算 {material} 的层错能：平板 {repeats} 个周期（[11-2]/2、[-110]/2、[111]），"
            "上半位移"
            " a/6[11-2]，z 向真空 12 A，弛豫{extras}。",
        ),
    ),
)
