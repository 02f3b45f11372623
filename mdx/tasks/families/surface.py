"""A free (001) surface: a slab with vacuum above it, relaxed."""

from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import cells_slot, length_slot, material_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a slab and its vacuum."""
    material, cells = draw_static(rng, pool, ("fcc", "bcc"))
    vacuum = rng.randint(8, 20)
    a, atoms = material.lattice_constant, num_atoms(material, cells)
    assert material.surface_energy is not None
    surface = 2 * material.surface_energy * cells[0] * cells[1] * a * a  # eV, both sides
    height = cells[2] * a + vacuum
    return Simulation(
        commands=(
            *crystal_commands(material, cells),
            f"change_box all z delta 0 {vacuum} units box",
            *potential_commands(material),
            "minimize 0 1e-4 200 2000",
        ),
        checks=(
            *crystal_checks(atoms),
            Check(kind=CheckKind.ENSEMBLE, text="minimize"),
            Check(kind=CheckKind.MINIMIZED),
            Check(
                kind=CheckKind.ENERGY,
                target=round(material.energy_per_atom + surface / atoms, 5),
                tolerance=0.01,
            ),
            Check(kind=CheckKind.BOX_LENGTH, target=round(height, 4), tolerance=0.005, axis="z"),
        ),
        slots={
            "material": material_slot(material),
            "cells": cells_slot(cells),
            "vacuum": length_slot(vacuum),
        },
        material=material,
        volume_per_atom=round(cells[0] * cells[1] * a * a * height / atoms, 4),
    )


FAMILY = Family(
    name="surface",
    summary="Relax a (001) slab of a crystal below vacuum.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "(001) slab of {material}, {cells}, {vacuum} vacuum along z, minimise{extras}",
            "surface: {material} {cells} cells, vacuum {vacuum}, relax{extras}",
            "{material} {cells} slab + {vacuum} of vacuum in z, minimised{extras}",
        ),
        textbook=(
            "Create a (001) slab of {cells} cells of {material}, add {vacuum} of vacuum along z"
            " and minimise the energy{extras}.",
            "Relax a free {material} surface: {cells} cells, with the box extended by {vacuum}"
            " along z{extras}.",
            "Compute the relaxed energy of one {material} slab of {cells} cells separated from its"
            " images by {vacuum} of vacuum in z{extras}.",
        ),
        goal=(
            "I need the (001) surface energy of {material}: {cells} cells, {vacuum} vacuum along z"
            "{extras}.",
            "How does the {material} (001) surface relax? Take {cells} cells and {vacuum} of"
            " vacuum along z{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Extend the box by {vacuum} along z. Minimise"
            "{extras}.",
            "1. {material} crystal, {cells} 2. vacuum {vacuum} in z 3. minimize{extras}",
        ),
        chinese=(
            "{material} (001) 表面，{cells} 晶胞，z 方向真空 {vacuum}，最小化{extras}",
            "构建 {cells} 的 {material} 平板，沿 z 加 {vacuum} 真空层，然后能量最小化{extras}。",
            "请计算 {material} 的 (001) 表面能，{cells} 晶胞，z 向真空层厚 {vacuum}{extras}。",
        ),
    ),
)
