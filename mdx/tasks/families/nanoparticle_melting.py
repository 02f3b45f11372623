"""A spherical particle in vacuum that is heated until it melts."""

from random import Random

from mdx.tasks.family import MIN_TIMESTEPS, Family, Setting, Simulation, draw_setting
from mdx.tasks.materials import Pool, crystal_commands, potential_commands, sites_in_sphere
from mdx.tasks.phrasing import material_slot, number_slot, phrasings, run_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind

_EDGE = 8  # of the box, in cells
_RADII = (1.7, 1.9, 2.1, 2.2)  # lattice units: some 80 to 190 atoms of a metal


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, the radius of its particle and two temperatures."""
    setting = draw_setting(rng, pool, ("fcc",))
    radius, material = rng.choice(_RADII), setting.material
    atoms = sites_in_sphere(material.structure, _EDGE, radius)
    low = setting.temperature
    high = 50 * round(low * rng.choice((2, 2.5, 3, 4)) / 50)
    setting = Setting(
        material=material,
        cells=(_EDGE, _EDGE, _EDGE),
        temperature=low,
        timestep=material.timestep,
        num_steps=rng.choice((MIN_TIMESTEPS, 500, 600)),
        stated_seed=setting.stated_seed,
    )
    box = crystal_commands(material, setting.cells, region="ball")
    commands = [
        *box[:4],
        f"region ball sphere 4 4 4 {radius:g}",
        *box[4:],
        *potential_commands(material),
        setting.velocity(low),
        f"fix 1 all nvt temp {low} {high} 0.05",
        *setting.run(),
    ]
    checks = (
        *setting.checks("nvt", atoms),
        Check(kind=CheckKind.RAMP, start=low, target=high),
    )
    volume = round((_EDGE * material.lattice_constant) ** 3 / atoms, 4)
    simulation = setting.simulation(commands, checks, volume)
    slots = {
        "material": material_slot(material),
        "radius": number_slot(radius),
        "start": temperature_slot(low),
        "end": temperature_slot(high),
        "run": run_slot(setting.num_steps, setting.timestep),
    }
    return simulation.asking(slots)


FAMILY = Family(
    name="nanoparticle_melting",
    summary="Heat a spherical nanoparticle in vacuum.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "melting of a {material} nanoparticle, radius {radius} a, box 8x8x8 cells, {start} ->"
            " {end}, NVT, {run}{extras}",
            "{material} cluster r = {radius} lattice units in 8x8x8 cells, heat {start} to {end},"
            " {run}{extras}",
            "heat a {material} sphere ({radius} lattice constants, 8x8x8 box) from {start} to"
            " {end}, nvt {run}{extras}",
        ),
        textbook=(
            "Heat a spherical {material} nanoparticle of radius {radius} lattice constants, centred"
            " in an 8x8x8-cell box, from {start} to {end} in NVT, {run}{extras}.",
            "Study the melting of a free {material} cluster: radius {radius} lattice units, box of"
            " 8x8x8 cells, linear ramp from {start} to {end}, {run}{extras}.",
        ),
        goal=(
            "At what temperature does a {material} particle of radius {radius} lattice units melt?"
            " Box 8x8x8 cells, ramp {start} to {end}, NVT, {run}{extras}.",
            "I want to watch a {material} nanoparticle (r = {radius} a, 8x8x8 cells of space) being"
            " heated from {start} to {end}, {run}{extras}.",
        ),
        steps=(
            "Make a box of 8x8x8 cells. Fill a central sphere of {radius} lattice units with"
            " {material}. NVT ramp from {start} to {end}. Run {run}{extras}.",
            "1. box 8x8x8 2. {material} sphere, radius {radius} 3. nvt {start} to {end}"
            " 4. {run}{extras}",
        ),
        chinese=(
            "{material} 纳米颗粒熔化，半径 {radius} 个晶格，盒子 8x8x8，{start} 升到 {end}，"
            "{run}{extras}",
            "在 8x8x8 晶胞的盒子中心放置半径 {radius} 个晶格常数的 {material} 颗粒，"
            "NVT 从 {start} 加热到 {end}，{run}{extras}。",
            "请模拟 {material} 纳米球（半径 {radius} 晶格单位，盒子 8x8x8）由 {start} 升温到"
            " {end}，"
            "{run}{extras}。",
        ),
    ),
)
