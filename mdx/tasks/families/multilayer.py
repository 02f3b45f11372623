"""Geometry only: alternating layers of two elements on one lattice."""

from random import Random

from mdx.tasks.families.sites import FILES, box_commands, built, masses
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, num_atoms
from mdx.tasks.phrasing import cells_slot, material_slot, number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw two elements, the box and how thick the lower layer is."""
    structure = rng.choice(("fcc", "bcc"))
    metals = [m for m in pool.cubic_defaults if m.structure == structure]
    lower, upper = rng.sample(metals, 2)
    cells = (rng.randint(3, 6), rng.randint(3, 6), rng.randint(4, 10))
    thick = rng.randint(1, cells[2] - 1)
    atoms = num_atoms(lower, cells)
    commands = [
        *box_commands(lower, cells, 2),
        "create_atoms 1 box",
        f"region top block INF INF INF INF {thick - 0.25:g} INF",
        "set region top type 2",
        masses(lower)[0],
        masses(upper)[0].replace("mass 1", "mass 2"),
    ]
    slots = {
        "lower": material_slot(lower),
        "upper": same(upper.name),
        "cells": cells_slot(cells),
        "thick": number_slot(thick),
    }
    share = Check(
        kind=CheckKind.COMPOSITION, text="1", target=round(thick / cells[2], 6), tolerance=0.002
    )
    volume = atoms * lower.volume_per_atom
    simulation = built(lower, commands, atoms, volume, rng.choice(FILES), slots, (share,))
    return simulation.made_of((lower.elements[0], upper.elements[0]))


FAMILY = Family(
    name="multilayer",
    summary="Stack a layer of one element on a layer of another, on one lattice.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "bilayer: lowest {thick} cells {lower}, rest {upper}, {cells} in all, {file}{extras}",
            "{lower}/{upper} multilayer, {cells} cells, {thick} cells of the first at the bottom"
            " (z) -> {file}{extras}",
            "{file}: {cells} cells, z < {thick} is {lower}, above {upper}, one lattice{extras}",
        ),
        textbook=(
            "Build a coherent bilayer of {cells} cells: the lowest {thick} cells in z are {lower}"
            " (type 1), the others {upper} (type 2) on the same lattice; write {file}{extras}.",
            "Create a {cells} crystal on the lattice of the lower element, {lower} up to {thick}"
            " cells in z and {upper} above, and save {file}{extras}.",
        ),
        goal=(
            "I need a film of {upper} on {thick} cells of {lower}, {cells} cells altogether,"
            " coherent along z, as {file}{extras}.",
            "Please stack {upper} on {lower}: {cells} cells with the lattice of the lower one,"
            " which is {thick} cells thick in z; file {file}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {lower} in a box of two types. Turn all above {thick} cells in"
            " z into type 2, {upper}. Set the masses. Write {file}{extras}.",
            "1. {lower}, {cells}, two types 2. region above z = {thick}: type 2, {upper} 3. masses"
            " 4. write_data {file}{extras}",
        ),
        chinese=(
            "双层膜：下部 {thick} 个晶胞为 {lower}，其余 {upper}，共 {cells}，写入 {file}{extras}",
            "在同一晶格上构建 {cells} 晶胞的双层结构：z 向最下 {thick} 个晶胞为 {lower}（类型 1），"
            "上面为 {upper}（类型 2），保存为 {file}{extras}。",
            "请生成 {lower}/{upper} 多层膜，总尺寸 {cells}，下层厚 {thick} 个晶胞，数据文件"
            " {file}{extras}。",
        ),
    ),
)
