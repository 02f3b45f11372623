"""Geometry only: an fcc crystal with a coherent twin boundary in its middle."""

from math import sqrt
from random import Random

from mdx.tasks.families.sites import FILES, built, draw_elemental, masses
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import cells_slot, material_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an fcc metal and the size of its two grains."""
    material = draw_elemental(rng, pool, ("fcc",))
    nx, ny, nz = rng.randint(1, 3), rng.randint(2, 5), rng.randint(1, 2)
    a = material.lattice_constant
    x, y, z = nx * sqrt(6) / 2 * a, ny * sqrt(2) / 2 * a, nz * sqrt(3) * a  # of one grain
    atoms = 2 * round(4 * x * y * z / a**3)
    shift = 0.001  # keeps layers off the faces of the regions
    lattice = f"lattice fcc {a:g} orient x 1 1 -2 orient y -1 1 0 orient z 1 1 1"
    mirrored = f"lattice fcc {a:g} orient x -1 -1 2 orient y 1 -1 0 orient z 1 1 1"
    commands = [
        "units metal",
        lattice,
        f"region box block 0 {x:.8g} 0 {y:.8g} {-z:.8g} {z:.8g} units box",
        "create_box 1 box",
        f"region lower block INF INF INF INF INF {-shift:g} units box",
        f"region upper block INF INF INF INF {-shift:g} INF units box",
        "create_atoms 1 region lower",
        mirrored,
        "create_atoms 1 region upper",
        *masses(material),
    ]
    slots = {"material": material_slot(material), "cells": cells_slot((nx, ny, nz))}
    checks = tuple(
        Check(kind=CheckKind.BOX_LENGTH, target=round(length, 4), tolerance=0.002, axis=axis)
        for length, axis in ((x, "x"), (y, "y"), (2 * z, "z"))
    )
    return built(material, commands, atoms, 2 * x * y * z, rng.choice(FILES), slots, checks)


FAMILY = Family(
    name="twin",
    summary="Build an fcc crystal with a (111) twin boundary.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "(111) twin in {material}, z = [111], x = [11-2], each grain {cells} periods of"
            " [11-2]/2 [-110]/2 [111], {file}{extras}",
            "twinned {material}, two grains of {cells} units ([11-2]/2, [-110]/2, [111]) stacked in"
            " z -> {file}{extras}",
            "{file}: coherent twin boundary, {material}, grains {cells} x ([11-2]/2, [-110]/2,"
            " [111]){extras}",
        ),
        textbook=(
            "Build a coherent (111) twin of {material}: two mirrored grains stacked along"
            " z = [111], each {cells} periods of [11-2]/2, [-110]/2 and [111] along x, y and z;"
            " write {file}{extras}.",
            "Create a bicrystal of {material} with a twin plane normal to z ([111]); both grains"
            " have {cells} repeats of the vectors [11-2]/2, [-110]/2, [111]; save {file}{extras}.",
        ),
        goal=(
            "I need a twin boundary in {material}, normal [111] along z, grains of {cells} repeats"
            " of [11-2]/2, [-110]/2, [111], as {file}{extras}.",
            "Please write a twinned {material} crystal to {file}: axes [11-2], [-110], [111], each"
            " half {cells} periods ([11-2]/2, [-110]/2, [111]){extras}.",
        ),
        steps=(
            "Orient {material} with x [11-2], y [-110], z [111]. Make two halves in z, each {cells}"
            " periods of [11-2]/2, [-110]/2, [111]. Fill the upper with the mirrored lattice. Write"
            " {file}{extras}.",
            "1. {material}, z = [111], x = [11-2] 2. two grains of {cells} ([11-2]/2, [-110]/2,"
            " [111]) 3. mirror the upper one 4. write_data {file}{extras}",
        ),
        chinese=(
            "{material} 的 (111) 孪晶，z = [111]，x = [11-2]，每个晶粒 {cells} 个周期"
            "（[11-2]/2、[-110]/2、[111]），写入 {file}{extras}",
            "构建 {material} 共格孪晶界：两个镜像晶粒沿 z = [111] 堆叠，各含 {cells} 个"
            " [11-2]/2、[-110]/2、[111] 周期，保存为 {file}{extras}。",
            "请生成 {material} 孪晶数据文件 {file}，孪晶面法向 [111]，每半 {cells} 个周期"
            "（[11-2]/2、[-110]/2、[111]）{extras}。",
        ),
    ),
)
