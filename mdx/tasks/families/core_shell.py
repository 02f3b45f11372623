"""Geometry only: a spherical particle with a core of one type and a shell of another."""

from random import Random

from mdx.tasks.families.sites import FILES, box_commands, built, masses
from mdx.tasks.families.spheres import RADII
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, sites_in_sphere
from mdx.tasks.phrasing import cells_slot, material_slot, number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw two elements of one structure, box and radii of core and shell."""
    metals = [m for m in pool.cubic_defaults if m.structure == "fcc"]
    core, shell = rng.sample(metals, 2)
    edge = rng.choice((6, 7, 8, 9))
    outer = rng.choice([r for r in RADII if 2.0 <= r <= edge / 2 - 0.5])
    inner = rng.choice([r for r in RADII if r <= outer - 0.5])
    atoms = sites_in_sphere("fcc", edge, outer)
    cored = sites_in_sphere("fcc", edge, inner)
    middle = " ".join(3 * [f"{edge / 2:g}"])
    commands = [
        *box_commands(core, (edge, edge, edge), 2),
        f"region ball sphere {middle} {outer:g}",
        "create_atoms 2 region ball",
        f"region core sphere {middle} {inner:g}",
        "set region core type 1",
        masses(core)[0],
        masses(shell)[0].replace("mass 1", "mass 2"),
    ]
    slots = {
        "core": material_slot(core),
        "shell": same(shell.name),
        "cells": cells_slot((edge, edge, edge)),
        "inner": number_slot(inner),
        "outer": number_slot(outer),
    }
    share = Check(
        kind=CheckKind.COMPOSITION, text="1", target=round(cored / atoms, 6), tolerance=0.002
    )
    volume = (edge * core.lattice_constant) ** 3
    simulation = built(core, commands, atoms, volume, rng.choice(FILES), slots, (share,))
    return simulation.made_of((core.elements[0], shell.elements[0]))


FAMILY = Family(
    name="core_shell",
    summary="Build a spherical core-shell nanoparticle of two elements.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "core-shell particle: {core} core r = {inner}, {shell} shell to r = {outer}, lattice"
            " and box {cells} of the core, {file}{extras}",
            "{core}@{shell}, radii {inner} / {outer} a, {cells} cells -> {file}{extras}",
            "{file}: {core} sphere {inner} inside {shell} sphere {outer} (lattice units), box"
            " {cells}{extras}",
        ),
        textbook=(
            "Build a spherical nanoparticle with a core of {core} (type 1, radius {inner} lattice"
            " constants) and a shell of {shell} (type 2, outer radius {outer}) on the core's"
            " lattice, centred in {cells} cells; write {file}{extras}.",
            "Create a core-shell cluster on the lattice of the core: {core} within {inner} and"
            " {shell} from there to {outer} lattice units, box of {cells} cells, data file"
            " {file}{extras}.",
        ),
        goal=(
            "I need a {core} particle of radius {inner} covered by {shell} up to {outer} (units of"
            " the {cells} box's lattice constant), saved as {file}{extras}.",
            "Please make one core-shell sphere, {core} inside ({inner}) and {shell} outside"
            " ({outer}, lattice constants of the core), box {cells}, in {file}{extras}.",
        ),
        steps=(
            "Make a box of {cells} cells with two types. Fill a central sphere of radius {outer}"
            " with {shell}. Turn the sphere of radius {inner} into {core}. Write {file}{extras}.",
            "1. box {cells}, lattice of the core 2. {shell} sphere {outer}, type 2 3. {core} sphere"
            " {inner}, type 1 4. write_data {file}{extras}",
        ),
        chinese=(
            "核壳颗粒：核 {core} 半径 {inner}，壳 {shell} 到半径 {outer}（核的晶格单位），"
            "盒子 {cells}，写入 {file}{extras}",
            "在 {cells} 晶胞盒子中心构建核壳纳米颗粒：{core} 核（类型 1，半径 {inner} 个晶格）和"
            " {shell} 壳（类型 2，外半径 {outer}），保存为 {file}{extras}。",
            "请生成 {core}@{shell} 核壳球，内外半径 {inner} 和 {outer}（核的晶格常数），"
            "盒子 {cells}，数据文件 {file}{extras}。",
        ),
    ),
)
