"""Phase comparison: the static energy of a metal in the other cubic structure."""

from dataclasses import replace
from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_cells, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import cells_slot, length_slot, material_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind

_OTHER = {"fcc": "bcc", "bcc": "fcc"}


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an fcc metal as bcc, or a bcc metal as fcc."""
    material, _ = draw_static(rng, pool, ("fcc", "bcc"))
    while material.other_phase is None:
        material, _ = draw_static(rng, pool, ("fcc", "bcc"))
    a, energy = material.other_phase
    structure = _OTHER[material.structure]
    other = replace(material, structure=structure)
    cells = draw_cells(rng, other)
    atoms = num_atoms(other, cells)
    return Simulation(
        commands=(
            *crystal_commands(other, cells, a),
            *potential_commands(material),
            "run 0",
        ),
        checks=(
            *crystal_checks(atoms),
            Check(kind=CheckKind.ENERGY, target=energy, tolerance=0.001),
            Check(
                kind=CheckKind.BOX_LENGTH, target=round(cells[0] * a, 4), tolerance=0.001, axis="x"
            ),
        ),
        slots={
            "material": material_slot(material),
            "structure": same(structure),
            "cells": cells_slot(cells),
            "a": length_slot(a),
        },
        material=material,
        volume_per_atom=round(a**3 / other.crystal.atoms_per_cell, 4),
    )


FAMILY = Family(
    name="other_phase",
    summary="Compute the static energy of a metal in the structure that it does not have.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "energy of {structure} {material}, {cells} cells, a = {a}, static{extras}",
            "phase comparison: {material} as {structure}, {cells}, a = {a}, run 0{extras}",
            "{structure} {material}, {cells} cells, lattice constant {a}, single point{extras}",
        ),
        textbook=(
            "Compute the static energy of {material} in the hypothetical {structure} structure,"
            " {cells} cells, lattice constant {a}{extras}.",
            "To compare phases, evaluate the energy of {cells} {structure} cells of {material} with"
            " a = {a} without relaxation{extras}.",
        ),
        goal=(
            "How high in energy is {structure} {material}? {cells} cells with a = {a},"
            " unrelaxed{extras}.",
            "I want the energy of {material} in {structure} at a = {a}, {cells} cells{extras}.",
        ),
        steps=(
            "Build {cells} {structure} cells of {material} with a = {a}. Evaluate the energy with"
            " run 0{extras}.",
            "1. {material}, {structure}, {cells}, a = {a} 2. run 0 3. energy{extras}",
        ),
        chinese=(
            "{structure} 结构的 {material}，{cells} 晶胞，a = {a}，静态能量{extras}",
            "计算 {material} 在假想的 {structure} 结构中的静态能量，{cells} 晶胞，晶格常数 {a}"
            "{extras}。",
            "请比较相稳定性：{material} 取 {structure} 结构，a = {a}，{cells} 晶胞，run"
            " 0{extras}。",
        ),
    ),
)
