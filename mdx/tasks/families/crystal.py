"""Geometry only: a perfect crystal, written as a data file."""

from random import Random

from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, crystal_commands, mass_commands, num_atoms
from mdx.tasks.phrasing import cells_slot, length_slot, material_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, its lattice constant and a file name."""
    material = rng.choice(pool.cubic_defaults)
    cells = (rng.randint(2, 6), rng.randint(2, 6), rng.randint(2, 6))
    a = round(material.lattice_constant * rng.choice((0.99, 1.0, 1.01)), 2)
    file = rng.choice(("crystal.data", "data.crystal", "system.data", "data.lmp"))
    atoms = num_atoms(material, cells)
    commands = (
        *crystal_commands(material, cells, a),
        *mass_commands(material),
        f"write_data {file}",
    )
    checks = (
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.DATA_FILE, file=file, target=atoms),
        *(
            Check(kind=CheckKind.BOX_LENGTH, target=round(n * a, 4), tolerance=0.001, axis=axis)
            for n, axis in zip(cells, "xyz", strict=True)
        ),
    )
    slots = {
        "material": material_slot(material),
        "cells": cells_slot(cells),
        "a": length_slot(a),
        "file": same(file),
    }
    volume = round(a**3 * cells[0] * cells[1] * cells[2] / atoms, 4)
    return Simulation(
        commands=commands, checks=checks, slots=slots, material=material, volume_per_atom=volume
    )


FAMILY = Family(
    name="crystal",
    summary="Build a perfect crystal and write it as a data file.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "write {material} crystal {cells}, a = {a}, to {file}{extras}",
            "{material}, {cells} cells, a = {a} -> {file}{extras}",
            "data file {file}: {material} {cells}, lattice constant {a}{extras}",
        ),
        textbook=(
            "Create a perfect {material} crystal of {cells} cells with lattice constant {a} and"
            " write it to {file}{extras}.",
            "Generate the data file {file} of a {cells} {material} crystal, a = {a}{extras}.",
            "Fill a periodic box of {cells} cells with {material}, lattice constant {a}, and save"
            " it as {file}{extras}.",
        ),
        goal=(
            "I need a data file {file} with a {cells} crystal of {material}, a = {a}{extras}.",
            "Please make me one {material} structure ({cells} cells, a = {a}) in {file}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material} with a = {a}. Set the masses. Write {file}{extras}.",
            "1. {material} crystal, {cells}, a = {a} 2. masses 3. write_data {file}{extras}",
        ),
        chinese=(
            "{material} 晶体，{cells} 晶胞，a = {a}，写入 {file}{extras}",
            "构建 {cells} 的 {material} 完美晶体，晶格常数 {a}，保存为 {file}{extras}。",
            "请生成 {material} 的数据文件 {file}，{cells} 晶胞，a = {a}{extras}。",
        ),
    ),
)
