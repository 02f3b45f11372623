"""Sintering: two equal spheres of a metal that nearly touch, held hot."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation, crystal_checks, draw_material
from mdx.tasks.materials import Pool, potential_commands, sites_in_sphere
from mdx.tasks.phrasing import material_slot, number_slot, phrasings, run_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, the radius of its particles and the temperature."""
    while True:
        material = draw_material(rng, pool)
        if material.structure == "fcc" and material.cost_us <= 3.0 and material.volume_at:
            break
    radius = rng.choice((1.6, 1.7, 1.9))
    t = 50 * rng.randint(4, max(5, material.max_temperature // 50))
    num_steps, timestep = rng.choice((400, 500)), material.timestep
    atoms = 2 * sites_in_sphere("fcc", 6, radius)
    a = material.lattice_constant
    commands = (
        "units metal",
        f"lattice fcc {a:g}",
        "region box block 0 10 0 6 0 6",
        "create_box 1 box",
        f"region left sphere 3 3 3 {radius:g}",
        f"region right sphere 7 3 3 {radius:g}",
        "create_atoms 1 region left",
        "create_atoms 1 region right",
        *potential_commands(material),
        f"velocity all create {2 * t} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {t} {t} 0.05",
        f"timestep {timestep:g}",
        f"run {num_steps}",
    )
    checks = (
        *crystal_checks(atoms),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=timestep),
        Check(kind=CheckKind.TEMPERATURE, target=t, tolerance=0.06),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            "material": material_slot(material),
            "radius": number_slot(radius),
            "temperature": temperature_slot(t),
            "run": run_slot(num_steps, timestep),
        },
        material=material,
        volume_per_atom=round(360 * a**3 / atoms, 4),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="sintering",
    summary="Hold two neighbouring metal spheres at a high temperature.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "sintering of two {material} spheres, r = {radius} a, centres (3 3 3) and (7 3 3) in"
            " 10x6x6 cells, NVT {temperature}, {run}{extras}",
            "two {material} particles, radius {radius} lattice units, at 3 3 3 and 7 3 3 of a"
            " 10x6x6 box, nvt {temperature}, {run}{extras}",
            "coalescence: {material}, 2 balls r = {radius}, box 10x6x6 cells, x = 3 and 7,"
            " {temperature} NVT, {run}{extras}",
        ),
        textbook=(
            "Sinter two {material} nanoparticles of radius {radius} lattice constants, centred at"
            " (3, 3, 3) and (7, 3, 3) in a box of 10x6x6 cells, in NVT at {temperature},"
            " {run}{extras}.",
            "Place two {material} spheres (radius {radius}) at x = 3 and x = 7 on the axis of a"
            " 10x6x6-cell box, all in lattice units, and hold them at {temperature} in NVT,"
            " {run}{extras}.",
        ),
        goal=(
            "Do two {material} particles of radius {radius} lattice units grow together at"
            " {temperature}? Centres 3 3 3 and 7 3 3, box 10x6x6 cells, NVT, {run}{extras}.",
            "I want to watch two {material} spheres (r = {radius} a, 10x6x6 box, x = 3 and 7)"
            " sinter at {temperature}, NVT, {run}{extras}.",
        ),
        steps=(
            "Make a box of 10x6x6 cells. Fill spheres of radius {radius} at 3 3 3 and 7 3 3 with"
            " {material}. NVT at {temperature}. Run {run}{extras}.",
            "1. box 10x6x6 2. {material} spheres, r = {radius}, at (3 3 3), (7 3 3) 3. nvt"
            " {temperature} 4. {run}{extras}",
        ),
        chinese=(
            "两个 {material} 纳米球烧结：半径 {radius} 个晶格，球心 (3 3 3) 和 (7 3 3)，盒子"
            " 10x6x6，"
            "NVT {temperature}，{run}{extras}",
            "在 10x6x6 晶胞的盒子中，以 (3,3,3) 和 (7,3,3) 为球心放置两个半径 {radius} 的"
            " {material}"
            " 颗粒，{temperature} 下 NVT 烧结，{run}{extras}。",
            "请模拟 {material} 双颗粒烧结（半径 {radius} 晶格单位，盒子 10x6x6，x = 3 与 7），"
            "{temperature}，NVT，{run}{extras}。",
        ),
    ),
)
