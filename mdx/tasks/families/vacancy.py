"""A vacancy: one atom is removed and the others relax."""

from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import cells_slot, material_slot, number_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an elemental crystal and the id of the atom that is removed."""
    material, cells = draw_static(rng, pool, ("fcc", "bcc"))
    atoms = num_atoms(material, cells) - 1
    removed = rng.randint(1, min(99, atoms + 1))
    assert material.vacancy_energy is not None
    energy = material.energy_per_atom + material.vacancy_energy / atoms
    return Simulation(
        commands=(
            *crystal_commands(material, cells),
            f"group hole id {removed}",
            "delete_atoms group hole",
            *potential_commands(material),
            "minimize 0 1e-4 200 2000",
        ),
        checks=(
            *crystal_checks(atoms),
            Check(kind=CheckKind.ENSEMBLE, text="minimize"),
            Check(kind=CheckKind.MINIMIZED),
            Check(kind=CheckKind.ENERGY, target=round(energy, 5), tolerance=0.002),
        ),
        slots={
            "material": material_slot(material),
            "cells": cells_slot(cells),
            "removed": number_slot(removed),
        },
        material=material,
        volume_per_atom=round(material.volume_per_atom * (atoms + 1) / atoms, 4),
    )


FAMILY = Family(
    name="vacancy",
    summary="Remove one atom from a crystal and relax the others at fixed box.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "vacancy in {material} {cells}, remove atom {removed}, minimise{extras}",
            "{material}, {cells} cells, delete atom {removed} and relax{extras}",
            "relaxed vacancy: {material} {cells}, atom {removed} removed{extras}",
        ),
        textbook=(
            "Create a vacancy in a {cells} {material} crystal by deleting atom {removed}, then"
            " minimise the energy at fixed box{extras}.",
            "Relax the atoms around a single vacancy in {cells} cells of {material}; the missing"
            " atom has id {removed}{extras}.",
            "Compute the relaxed energy of crystalline {material} of {cells} cells from which atom"
            " {removed} was taken out{extras}.",
        ),
        goal=(
            "I need the energy of a vacancy in {material} ({cells} cells), with atom {removed}"
            " missing{extras}.",
            "How does {material} relax when atom {removed} of {cells} cells is removed? Minimise"
            "{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Delete atom {removed}. Minimise{extras}.",
            "1. {material} crystal, {cells} 2. delete atom id {removed} 3. minimize{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，删除 {removed} 号原子，最小化{extras}",
            "在 {cells} 的 {material} 晶体中删去 {removed} 号原子形成空位，"
            "然后能量最小化{extras}。",
            "请计算 {material} 的弛豫空位能量，{cells} 晶胞，空位为 {removed} 号原子{extras}。",
        ),
    ),
)
