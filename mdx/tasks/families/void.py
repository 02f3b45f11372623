"""Geometry only: a crystal with a spherical hole, written as a data file."""

from random import Random

from mdx.tasks.families.spheres import draw_sphere, sphere_slots
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import (
    Pool,
    crystal_commands,
    mass_commands,
    num_atoms,
    sites_in_sphere,
)
from mdx.tasks.phrasing import phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal and the radius of its hole in lattice units."""
    material = rng.choice(pool.cubic_defaults)
    sphere = draw_sphere(rng, (4, 5, 6, 7, 8))
    cells = (sphere.edge,) * 3
    full = num_atoms(material, cells)
    atoms = full - sites_in_sphere(material.structure, sphere.edge, sphere.radius)
    commands = (
        *crystal_commands(material, cells),
        sphere.region,
        "delete_atoms region ball",
        *mass_commands(material),
        sphere.write,
    )
    checks = (
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.DATA_FILE, file=sphere.file, target=atoms),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots=sphere_slots(material, sphere),
        material=material,
        volume_per_atom=round(material.volume_per_atom * full / atoms, 4),
    )


FAMILY = Family(
    name="void",
    summary="Cut a spherical void into a crystal and write it as a data file.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{material} {cells} with a void of radius {radius} lattice units, to {file}{extras}",
            "void in {material}, r = {radius} a, {cells} cells -> {file}{extras}",
            "data file {file}: {material} {cells} cells, spherical hole, radius {radius}{extras}",
        ),
        textbook=(
            "Create a {cells} {material} crystal with a spherical void of radius {radius} lattice"
            " constants at its centre and write {file}{extras}.",
            "Generate the data file {file} of {cells} cells of {material} from which a central"
            " sphere of radius {radius} (lattice units) is removed{extras}.",
            "Remove all atoms within {radius} lattice units of the centre of crystalline {material}"
            " of {cells} cells and save it as {file}{extras}.",
        ),
        goal=(
            "I need {material} ({cells} cells) with a round hole of radius {radius} lattice units"
            " in the middle, as {file}{extras}.",
            "Please make me a {cells} {material} crystal containing a void, radius {radius} lattice"
            " constants, in {file}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Delete a central sphere of radius {radius} lattice"
            " units. Write {file}{extras}.",
            "1. {material} crystal, {cells} 2. delete sphere radius {radius} at the centre"
            " 3. write_data {file}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，中心空洞半径 {radius} 个晶格，写入 {file}{extras}",
            "在 {cells} 的 {material} 晶体中心挖去半径为 {radius} 个晶格常数的球形空洞，"
            "保存为 {file}{extras}。",
            "请生成含空洞的 {material} 数据文件 {file}，{cells} 晶胞，空洞半径 {radius}"
            "（晶格单位）{extras}。",
        ),
    ),
)
