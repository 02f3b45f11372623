"""Geometry only: a slab with a terrace, a step in its surface."""

from random import Random

from mdx.tasks.families.sites import FILES, box_commands, built, draw_elemental, masses
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, count_sites
from mdx.tasks.phrasing import cells_slot, material_slot, number_slot, phrasings

_VACUUM = 4  # cells


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a slab whose right part is higher by some cells."""
    material = draw_elemental(rng, pool, ("fcc", "bcc"))
    nx, ny, low = rng.randint(4, 8), rng.randint(3, 5), rng.randint(2, 4)
    step, edge = rng.randint(1, 3), rng.randint(1, 3)
    cells = (nx, ny, low + step + _VACUUM)
    high = low + step
    atoms = count_sites(
        material.structure,
        cells,
        lambda x: (x[:, 2] < low - 0.25) | ((x[:, 0] > edge - 0.25) & (x[:, 2] < high - 0.25)),
    )
    commands = [
        *box_commands(material, cells),
        f"region lower block INF INF INF INF INF {low - 0.25:g}",
        f"region upper block {edge - 0.25:g} INF INF INF INF {high - 0.25:g}",
        "region both union 2 lower upper",
        "create_atoms 1 region both",
        *masses(material),
    ]
    slots = {
        "material": material_slot(material),
        "cells": cells_slot(cells),
        "low": number_slot(low),
        "high": number_slot(high),
        "edge": number_slot(edge),
    }
    volume = nx * ny * cells[2] * material.lattice_constant**3
    return built(material, commands, atoms, volume, rng.choice(FILES), slots)


FAMILY = Family(
    name="rough_surface",
    summary="Build a slab whose surface has a step.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "stepped {material} surface: box {cells} cells, {low} cells high for x < {edge}, {high}"
            " beyond, {file}{extras}",
            "{material} slab with terrace, heights {low} and {high} cells, step at x = {edge}, box"
            " {cells} -> {file}{extras}",
            "{file}: {material}, box {cells}, z height {low} below x = {edge}, else {high}"
            " (cells){extras}",
        ),
        textbook=(
            "Build a stepped surface of {material} in a box of {cells} cells: the crystal is {low}"
            " cells high for x < {edge} and {high} cells high elsewhere; write {file}{extras}.",
            "Create a {material} slab whose height rises from {low} to {high} cells at x = {edge}"
            " cells, box {cells}, vacuum above, data file {file}{extras}.",
        ),
        goal=(
            "I need a vicinal {material} surface: {low} cells high up to x = {edge}, then {high},"
            " in a box of {cells} cells, as {file}{extras}.",
            "Please make a {material} slab with one step: box {cells}, height {low} (x < {edge})"
            " and {high} cells (rest), file {file}{extras}.",
        ),
        steps=(
            "Make a box of {cells} cells. Fill {material} up to {low} cells in z, and for"
            " x > {edge} up to {high}. Write {file}{extras}.",
            "1. box {cells} 2. {material}: z up to {low} everywhere, up to {high} beyond x = {edge}"
            " 3. write_data {file}{extras}",
        ),
        chinese=(
            "台阶状 {material} 表面：盒子 {cells} 晶胞，x < {edge} 处高 {low}，其余高 {high}，写入"
            " {file}{extras}",
            "在 {cells} 晶胞的盒子里构建带台阶的 {material} 平板：x 小于 {edge} 处高 {low} 个晶胞，"
            "其余高 {high} 个，上方为真空，保存为 {file}{extras}。",
            "请生成 {material} 台阶表面，盒子 {cells}，台阶位于 x = {edge}，高度由 {low} 升到"
            " {high}（晶胞），数据文件 {file}{extras}。",
        ),
    ),
)
