"""One point of the equation of state: the static energy at a given lattice constant."""

from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import cells_slot, length_slot, material_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal at one of the lattice constants whose energy was measured."""
    material, cells = draw_static(rng, pool)
    lattice_constant, energy = rng.choice(material.energy_curve)
    atoms = num_atoms(material, cells)
    volume = (lattice_constant / material.lattice_constant) ** 3 * material.volume_per_atom
    return Simulation(
        commands=(
            *crystal_commands(material, cells, lattice_constant),
            *potential_commands(material),
            "run 0",
        ),
        checks=(
            *crystal_checks(atoms),
            Check(kind=CheckKind.ENERGY, target=energy, tolerance=0.001),
            Check(
                kind=CheckKind.BOX_LENGTH,
                target=round(cells[0] * lattice_constant, 4),
                tolerance=0.001,
                axis="x",
            ),
        ),
        slots={
            "material": material_slot(material),
            "cells": cells_slot(cells),
            "a": length_slot(lattice_constant),
        },
        material=material,
        volume_per_atom=round(volume, 4),
    )


FAMILY = Family(
    name="equation_of_state",
    summary="Compute the static energy of a crystal at a given lattice constant.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "energy of {material} {cells} at a = {a}, static{extras}",
            "E(V) point: {material}, {cells} cells, a = {a}, run 0{extras}",
            "{material} {cells} cells, lattice constant {a}, single-point energy{extras}",
        ),
        textbook=(
            "Compute the static energy of {cells} cells of {material} with the lattice constant"
            " fixed at {a}{extras}.",
            "Evaluate one point of the equation of state of {material} at a = {a}, {cells} cells,"
            " without any relaxation{extras}.",
            "Calculate the potential energy of an undeformed {cells} {material} crystal whose"
            " lattice constant is {a}{extras}.",
        ),
        goal=(
            "What is the static energy of {material} at a lattice constant of {a}? Use {cells}"
            " cells{extras}.",
            "I need a single-point energy of {material} ({cells} cells) at a = {a}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material} with a = {a}. Evaluate the energy with run 0"
            "{extras}.",
            "1. {material} crystal, {cells}, a = {a} 2. run 0 3. energy{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，a = {a}，静态能量{extras}",
            "计算 {cells} 的 {material} 在晶格常数 {a} 时的静态能量，不弛豫{extras}。",
            "请给出 {material} 状态方程上 a = {a} 的一个点，{cells} 晶胞，run 0{extras}。",
        ),
    ),
)
