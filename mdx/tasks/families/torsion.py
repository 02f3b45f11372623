"""Torsion of a nanowire: one end is held, the other turns about the axis."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation, crystal_checks, draw_material
from mdx.tasks.materials import Pool, count_sites, potential_commands
from mdx.tasks.phrasing import material_slot, number_slot, phrasings, run_slot, same
from mdx.tasks.phrasing import temperature_slot as kelvin
from mdx.tasks.task import Check, CheckKind

_BOX = 7  # cells across
_ENDS = 1  # cells at each end that are clamped


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, the wire's length, the period of the turn and the temperature."""
    while True:
        material = draw_material(rng, pool)
        if material.structure == "fcc" and material.cost_us <= 3.0:
            break
    length, period = rng.choice((5, 6, 7)), rng.choice((10, 15, 20))  # cells, ps
    t, num_steps, dt = 50 * rng.randint(1, 4), rng.choice((400, 500)), material.timestep
    radius, middle, box = 1.6, _BOX / 2, length + 2
    atoms = count_sites(
        "fcc",
        (_BOX, _BOX, box),
        lambda x: (
            (((x[:, :2] - middle) ** 2).sum(axis=1) < radius**2)
            & (x[:, 2] > 0.9)
            & (x[:, 2] < 0.9 + length)
        ),
    )
    a, m = material.lattice_constant, f"{middle:g}"
    commands = (
        "units metal",
        f"lattice fcc {a:g}",
        f"region box block 0 {_BOX} 0 {_BOX} 0 {box}",
        "create_box 1 box",
        f"region wire cylinder z {m} {m} {radius:g} 0.9 {0.9 + length:g}",
        "create_atoms 1 region wire",
        f"region low block INF INF INF INF INF {0.9 + _ENDS:g}",
        f"region high block INF INF INF INF {0.9 + length - _ENDS:g} INF",
        "group held region low",
        "group turned region high",
        "group mobile subtract all held turned",
        *potential_commands(material),
        f"velocity mobile create {2 * t} {DEFAULT_SEED}",
        f"fix 1 mobile nvt temp {t} {t} 0.1",
        f"fix 2 turned move rotate {m} {m} 0 0 0 1 {period}",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    checks = (
        *crystal_checks(atoms),
        Check(kind=CheckKind.ENSEMBLE, text="nvt", tolerance=0.5),
        Check(kind=CheckKind.METHOD, text="move"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            "material": material_slot(material),
            "length": number_slot(length),
            "period": same(f"{period} ps"),
            "temperature": kelvin(t),
            "run": run_slot(num_steps, dt),
        },
        material=material,
        volume_per_atom=round(_BOX**2 * box * a**3 / atoms, 4),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="torsion",
    summary="Twist a metal nanowire: one end held, the other rotating.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "torsion of a round {material} wire: r = 1.6 a, {length} cells long (z from 0.9), box"
            " 7x7 cells and 2 longer, end cells clamped, top turns with period {period}, NVT"
            " {temperature}, {run}{extras}",
            "twist {material} nanowire, radius 1.6, length {length} cells from z = 0.9, 7x7 box"
            " (+2 in z), fix move rotate {period} on the top cell, mobile nvt {temperature},"
            " {run}{extras}",
            "{material} wire ({length} cells, r 1.6, from z = 0.9 in 7x7 cells, 2 spare): bottom"
            " cell fixed, top cell rotates, period {period}, {temperature} NVT, {run}{extras}",
        ),
        textbook=(
            "Twist a cylindrical {material} wire of radius 1.6 and length {length} lattice"
            " constants (axis z, from z = 0.9, box 7x7 cells and 2 cells longer than the wire): the"
            " lowest cell is held, the highest rotates with a period of {period}, the rest is in"
            " NVT at {temperature}, {run}{extras}.",
            "Apply torsion to a {material} nanowire, radius 1.6 a, {length} cells long from"
            " z = 0.9 in a 7x7-cell box with 2 spare cells along z; clamp one cell at each end and"
            " rotate the upper by fix move (period {period}); mobile atoms NVT {temperature};"
            " {run}{extras}.",
        ),
        goal=(
            "I want to twist a {material} wire (r = 1.6 a, {length} cells from z = 0.9, box 7x7 and"
            " 2 cells longer): lowest cell still, highest turning once in {period}, others NVT at"
            " {temperature}, {run}{extras}.",
            "How does a {material} nanowire take torsion? Radius 1.6 and length {length} cells"
            " (z from 0.9), 7x7 box, 2 spare cells, end cells clamped, rotation period {period},"
            " NVT {temperature}, {run}{extras}.",
        ),
        steps=(
            "Make a box of 7x7 cells, 2 longer than the wire. Fill a z cylinder, radius 1.6, from"
            " 0.9 over {length} cells with {material}. Clamp one cell at each end. Rotate the upper"
            " with period {period}. NVT of the rest at {temperature}. Run {run}{extras}.",
            "1. {material} cylinder, r 1.6, {length} cells from z = 0.9, box 7x7 (+2) 2. end cells:"
            " low held, high move rotate {period} 3. others nvt {temperature} 4. {run}{extras}",
        ),
        chinese=(
            "{material} 纳米线扭转：半径 1.6、长 {length} 晶胞（z 从 0.9 起），盒子 7x7、z 向多"
            " 2 个"
            "晶胞，下端一个晶胞固定，上端以周期 {period} 旋转，NVT {temperature}，{run}{extras}",
            "对半径 1.6 个晶格、长 {length} 个晶胞的 {material} 圆柱线（起于 z = 0.9，盒子 7x7，"
            "z 向"
            "多 2 个晶胞）施加扭转：底端固定，顶端用 fix move 旋转，周期 {period}，其余原子 NVT"
            " {temperature}，{run}{extras}。",
            "请模拟 {material} 线的扭转（r = 1.6，长 {length}，z 自 0.9，盒子 7x7，余量 2），"
            "两端各夹"
            "一个晶胞，上端转动周期 {period}，可动部分 {temperature} NVT，{run}{extras}。",
        ),
    ),
)
