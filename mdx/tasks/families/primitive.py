"""Geometry only: a cylinder, block, cone or ellipsoid of a crystal in an empty box."""

from collections.abc import Callable
from random import Random

import numpy as np

from mdx.tasks.families.sites import FILES, box_commands, built, draw_elemental, masses
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, count_sites
from mdx.tasks.phrasing import Slot, cells_slot, material_slot, phrasings

_RADII = (1.3, 1.6, 1.9, 2.3, 2.6)  # lattice units: no site at such a distance from the axis


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a material, a box and a body in its middle."""
    material = draw_elemental(rng, pool, ("fcc", "bcc", "diamond"))
    edge, radius = rng.choice((6, 7, 8)), rng.choice(_RADII)
    kind = rng.choice(("cylinder", "block", "ellipsoid"))
    region, slot, inside = _body(kind, edge, radius)
    cells = (edge, edge, edge)
    atoms = count_sites(material.structure, cells, inside)
    commands = [
        *box_commands(material, cells),
        f"region body {region}",
        "create_atoms 1 region body",
        *masses(material),
    ]
    slots = {"material": material_slot(material), "cells": cells_slot(cells), "body": slot}
    volume = (edge * material.lattice_constant) ** 3
    return built(material, commands, atoms, volume, rng.choice(FILES), slots)


def _body(
    kind: str, edge: int, radius: float
) -> tuple[str, Slot, Callable[[np.ndarray], np.ndarray]]:
    """Return a body's region, its words and the test for positions in cells."""
    middle, r = edge / 2, f"{radius:g}"
    if kind == "cylinder":
        words = Slot(
            english=(f"cylinder along z of radius {r}", f"z cylinder with radius {r}"),
            chinese=(f"沿 z 轴、半径 {r} 的圆柱",),
        )
        region = f"cylinder z {middle:g} {middle:g} {r} INF INF"
        return region, words, lambda x: ((x[:, :2] - middle) ** 2).sum(axis=1) < radius**2
    if kind == "block":
        low, high = middle - radius, middle + radius
        words = Slot(
            english=(f"cube of half edge {r}", f"cube with edges of twice {r}"),
            chinese=(f"半边长 {r} 的立方体",),
        )
        region = "block " + " ".join(3 * [f"{low:g} {high:g}"])
        return region, words, lambda x: (np.abs(x - middle) < radius).all(axis=1)
    axes = (radius, radius, 0.5 * edge - 0.6)
    words = Slot(
        english=(f"ellipsoid with half axes {axes[0]:g}, {axes[1]:g} and {axes[2]:g} along z",),
        chinese=(f"半轴 {axes[0]:g}、{axes[1]:g}、{axes[2]:g}（z 向）的椭球",),
    )
    region = f"ellipsoid {' '.join(3 * [f'{middle:g}'])} {' '.join(f'{a:g}' for a in axes)}"
    return region, words, lambda x: (((x - middle) / np.array(axes)) ** 2).sum(axis=1) < 1


FAMILY = Family(
    name="primitive",
    summary="Cut a cylinder, cube or ellipsoid from a crystal and write it as a data file.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{material}, {body} (lattice units), centred in {cells} cells, to {file}{extras}",
            "{file}: {body} of {material}, box {cells}, lengths in lattice constants{extras}",
            "{material} {body}, empty box of {cells} cells, lattice units -> {file}{extras}",
        ),
        textbook=(
            "Cut a {body} (in lattice constants) from {material}, centred in an otherwise empty box"
            " of {cells} cells, and write {file}{extras}.",
            "Fill only a central {body}, lengths in lattice units, of a {cells} box with {material}"
            " and save the data file {file}{extras}.",
        ),
        goal=(
            "I need a {body} of {material}, measured in lattice constants, in the middle of {cells}"
            " cells as {file}{extras}.",
            "Please build {material} as a {body} (lattice units) in a box of {cells} cells and"
            " write {file}{extras}.",
        ),
        steps=(
            "Make a box of {cells} cells of {material}. Define a central {body} (lattice units)."
            " Create atoms in it. Write {file}{extras}.",
            "1. {material}, box {cells} 2. region: {body}, centred, lattice units 3. atoms"
            " 4. write_data {file}{extras}",
        ),
        chinese=(
            "{material}，{body}（晶格单位），盒子 {cells} 居中，写入 {file}{extras}",
            "在 {cells} 晶胞的空盒子中心用 {material} 填充{body}（单位为晶格常数），"
            "保存为 {file}{extras}。",
            "请生成 {material} 的{body}，长度以晶格常数计，盒子 {cells}，数据文件 {file}{extras}。",
        ),
    ),
)
