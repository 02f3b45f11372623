"""Geometry only: a spherical particle in an empty box, written as a data file."""

from random import Random

from mdx.tasks.families.spheres import draw_sphere, sphere_slots
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import (
    Pool,
    crystal_commands,
    mass_commands,
    sites_in_sphere,
)
from mdx.tasks.phrasing import phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a particle: its radius in lattice units, box and file name."""
    material = rng.choice(pool.cubic_defaults)
    sphere = draw_sphere(rng, (6, 7, 8, 9, 10))
    atoms = sites_in_sphere(material.structure, sphere.edge, sphere.radius)
    box = crystal_commands(material, (sphere.edge,) * 3, region="ball")
    commands = (*box[:4], sphere.region, *box[4:], *mass_commands(material), sphere.write)
    checks = (
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.DATA_FILE, file=sphere.file, target=atoms),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots=sphere_slots(material, sphere),
        material=material,
        volume_per_atom=round((sphere.edge * material.lattice_constant) ** 3 / atoms, 4),
    )


FAMILY = Family(
    name="nanosphere",
    summary="Cut a spherical nanoparticle from a crystal and write it as a data file.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{material} nanosphere, radius {radius} lattice units, box {cells}, to {file}{extras}",
            "spherical {material} particle, r = {radius} a, {cells} cells -> {file}{extras}",
            "data file {file}: ball of {material}, radius {radius}, box of {cells} cells{extras}",
        ),
        textbook=(
            "Create a spherical {material} nanoparticle of radius {radius} lattice constants in"
            " the middle of a {cells} box and write {file}{extras}.",
            "Generate the data file {file} of one {material} sphere with radius {radius} (lattice"
            " units) centred in {cells} cells{extras}.",
            "Cut a ball of radius {radius} lattice units from {material}, centred in an empty box"
            " of {cells} cells, and save it as {file}{extras}.",
        ),
        goal=(
            "I need one {material} nanoparticle of radius {radius} lattice units centred in a box"
            " of {cells} cells in {file}{extras}.",
            "Please make me a round {material} cluster, radius {radius} lattice constants, box"
            " {cells}, as {file}{extras}.",
        ),
        steps=(
            "Make a box of {cells} cells of {material}. Fill a central sphere of radius {radius}"
            " lattice units. Write {file}{extras}.",
            "1. {material}, box {cells} 2. sphere radius {radius} at the centre 3. write_data"
            " {file}{extras}",
        ),
        chinese=(
            "{material} 纳米球，半径 {radius} 个晶格，盒子 {cells}，写入 {file}{extras}",
            "在 {cells} 晶胞的盒子中心生成半径为 {radius} 个晶格常数的 {material} 球形颗粒，"
            "保存为 {file}{extras}。",
            "请生成 {material} 纳米颗粒的数据文件 {file}，半径 {radius}（晶格单位），"
            "盒子 {cells}{extras}。",
        ),
    ),
)
