"""Nano-indentation: a stiff sphere is pushed into a slab."""

from random import Random

from mdx.tasks.families.slabs import draw_slab
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import length_slot, phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a slab, the sphere's radius and how deep it goes."""
    slab = draw_slab(rng, pool)
    radius, depth = rng.choice((6, 8, 10)), rng.choice((1, 1.5, 2))
    a, (nx, ny, nz) = slab.material.lattice_constant, slab.cells
    start = round(nz * a + radius, 1)  # touches the surface
    t = slab.temperature
    commands = [
        *slab.atoms(),
        f"variable z equal ramp({start:g},{start - depth:g})",
        f"fix 1 mobile nvt temp {t} {t} 0.1",
        f"fix 2 all indent 10 sphere {nx * a / 2:.4g} {ny * a / 2:.4g} v_z {radius} units box",
        *slab.run(),
    ]
    slots = {
        "radius": length_slot(radius),
        "depth": length_slot(depth),
        "temperature": temperature_slot(t),
    }
    checks = (
        Check(kind=CheckKind.METHOD, text="indent"),
        # of all atoms, while those of the lowest layer are at rest
        Check(kind=CheckKind.TEMPERATURE, target=round(t * (1 - 1 / nz), 2), tolerance=0.05),
    )
    return slab.simulation(commands, checks, "nvt", slots)


FAMILY = Family(
    name="indentation",
    summary="Push a spherical indenter into a slab.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "indentation: {slab}, sphere R = {radius}, depth {depth}, NVT {temperature} of the"
            " mobile atoms, {run}{extras}",
            "{slab}; fix indent, radius {radius}, from the surface {depth} deep, nvt"
            " {temperature}, {run}{extras}",
            "spherical indenter R {radius} into {slab}, {depth}, {temperature}, {run}{extras}",
        ),
        textbook=(
            "Indent {slab} with a sphere of radius {radius} that moves from contact to a depth"
            " of {depth}; the other atoms are in NVT at {temperature}, {run}{extras}.",
            "Push a stiff spherical indenter (radius {radius}) {depth} deep into {slab}, mobile"
            " atoms thermostatted at {temperature} by fix nvt, {run}{extras}.",
        ),
        goal=(
            "I want to indent {slab} by {depth} with a sphere of radius {radius}, NVT at"
            " {temperature}, {run}{extras}.",
            "How does this respond to a {radius} spherical tip pressed in by {depth}: {slab}?"
            " Mobile atoms in NVT at {temperature}, {run}{extras}.",
        ),
        steps=(
            "Build {slab}. NVT of the mobile atoms at {temperature}. Fix indent: sphere of radius"
            " {radius}, lowered from contact by {depth}. Run {run}{extras}.",
            "1. {slab} 2. nvt {temperature} (mobile) 3. indent sphere {radius}, depth {depth}"
            " 4. {run}{extras}",
        ),
        chinese=(
            "纳米压痕：{slab}，球形压头半径 {radius}，压入 {depth}，其余原子 NVT {temperature}，"
            "{run}{extras}",
            "用半径 {radius} 的刚性球从表面接触处压入 {slab}，深度 {depth}，可动原子在"
            " {temperature}"
            " 做 NVT，{run}{extras}。",
            "请模拟压痕：{slab}，fix indent 球半径 {radius}，下压 {depth}，{temperature}，NVT，"
            "{run}{extras}。",
        ),
    ),
)
