"""Geometry only: a crystal with a straight pore along an axis."""

from random import Random

from mdx.tasks.families.sites import FILES, box_commands, built, draw_elemental, masses
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, count_sites, num_atoms
from mdx.tasks.phrasing import cells_slot, material_slot, number_slot, phrasings, same

_RADII = (1.3, 1.6, 1.9, 2.3)


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, the axis and the radius of its pore."""
    material = draw_elemental(rng, pool, ("fcc", "bcc", "diamond"))
    edge, radius, axis = rng.choice((5, 6, 7)), rng.choice(_RADII), rng.choice("xyz")
    cells, middle = (edge, edge, edge), edge / 2
    across = [i for i in range(3) if i != "xyz".index(axis)]
    pore = count_sites(
        material.structure,
        cells,
        lambda x: ((x[:, across] - middle) ** 2).sum(axis=1) < radius**2,
    )
    atoms = num_atoms(material, cells) - pore
    commands = [
        *box_commands(material, cells),
        "create_atoms 1 box",
        f"region pore cylinder {axis} {middle:g} {middle:g} {radius:g} INF INF",
        "delete_atoms region pore",
        *masses(material),
    ]
    slots = {
        "material": material_slot(material),
        "cells": cells_slot(cells),
        "axis": same(axis),
        "radius": number_slot(radius),
    }
    volume = (edge * material.lattice_constant) ** 3
    return built(material, commands, atoms, volume, rng.choice(FILES), slots)


FAMILY = Family(
    name="porous",
    summary="Drill a cylindrical pore through a crystal and write it as a data file.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{material} {cells} with a pore along {axis}, r = {radius} a, to {file}{extras}",
            "cylindrical hole of {radius} lattice units along {axis} in {material}, {cells} cells"
            " -> {file}{extras}",
            "{file}: {cells} {material}, central {axis} channel, radius {radius} lattice"
            " units{extras}",
        ),
        textbook=(
            "Remove a cylinder of radius {radius} lattice constants along {axis} from the centre of"
            " {cells} cells of {material} and write {file}{extras}.",
            "Generate {cells} cells of {material} with a straight central pore in the {axis}"
            " direction, radius {radius} lattice units, as {file}{extras}.",
        ),
        goal=(
            "I need nanoporous {material}: {cells} cells with one channel along {axis} of radius"
            " {radius} lattice units, in {file}{extras}.",
            "Please drill a hole of radius {radius} (lattice constants) along {axis} through the"
            " middle of {cells} cells of {material}; file {file}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Delete a central cylinder along {axis} of radius"
            " {radius} lattice units. Write {file}{extras}.",
            "1. {material}, {cells} 2. delete cylinder {axis}, radius {radius}, centred"
            " 3. write_data {file}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，沿 {axis} 的中心孔道，半径 {radius} 个晶格，写入"
            " {file}{extras}",
            "在 {cells} 晶胞的 {material} 中心沿 {axis} 方向挖去半径 {radius} 个晶格常数的圆柱孔，"
            "保存为 {file}{extras}。",
            "请生成多孔 {material}：{cells} 晶胞，{axis} 向孔道，半径 {radius}（晶格单位），"
            "数据文件 {file}{extras}。",
        ),
    ),
)
