"""The relaxed lattice constant and cohesive energy, from a strained start."""

from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import cells_slot, length_slot, material_slot, phrasings
from mdx.tasks.task import Check, CheckKind

# Not rock salt: ffield.eim's energy jumps at its cutoff, where the minimiser stops.
_STRUCTURES = ("fcc", "bcc", "diamond", "zb", "b2", "l12")


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal whose lattice constant starts up to 3 % off."""
    material, cells = draw_static(rng, pool, _STRUCTURES)
    start = round(material.lattice_constant * (1 + rng.choice((-3, -2, -1, 1, 2, 3)) / 100), 2)
    commands = (
        *crystal_commands(material, cells, start),
        *potential_commands(material),
        "fix 1 all box/relax iso 0 vmax 0.01",
        "minimize 0 1e-6 200 2000",
    )
    checks = (
        *crystal_checks(num_atoms(material, cells)),
        Check(kind=CheckKind.ENSEMBLE, text="minimize"),
        Check(kind=CheckKind.MINIMIZED),
        Check(kind=CheckKind.ENERGY, target=material.energy_per_atom, tolerance=0.001),
        Check(
            kind=CheckKind.BOX_LENGTH,
            target=round(cells[0] * material.lattice_constant, 4),
            tolerance=0.003,
            axis="x",
        ),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            "material": material_slot(material),
            "cells": cells_slot(cells),
            "start": length_slot(start),
        },
        material=material,
        volume_per_atom=material.volume_per_atom,
    )


FAMILY = Family(
    name="lattice_constant",
    summary="Relax a crystal and its box to find the lattice constant and cohesive energy.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "lattice constant of {material}, {cells} cells, start a = {start}{extras}",
            "relax {material} {cells} box and atoms from a = {start}{extras}",
            "{material} {cells}, box/relax from a = {start}, cohesive energy{extras}",
        ),
        textbook=(
            "Determine the equilibrium lattice constant of {material} by relaxing {cells} cells at"
            " zero pressure, starting from a = {start}{extras}.",
            "Minimise the energy of a {cells} {material} crystal with respect to atoms and box,"
            " initial lattice constant {start}{extras}.",
            "Compute the cohesive energy of {material} at its relaxed volume. Use {cells} cells and"
            " an initial lattice constant of {start}{extras}.",
        ),
        goal=(
            "What is the lattice constant of {material}? Use {cells} cells and begin at"
            " {start}{extras}.",
            "I need the relaxed cell and energy of {material} ({cells} cells, initially"
            " a = {start}){extras}.",
        ),
        steps=(
            "Build {cells} cells of {material} with a = {start}. Relax the box isotropically to"
            " zero pressure. Minimise{extras}.",
            "1. {material} crystal, {cells}, a = {start} 2. box/relax iso 3. minimize{extras}",
        ),
        chinese=(
            "{material} 的晶格常数，{cells} 晶胞，初始 a = {start}{extras}",
            "从 a = {start} 开始弛豫 {cells} 的 {material}，求平衡晶格常数和结合能{extras}。",
            "请在零压下优化 {cells} 的 {material} 晶体的盒子和原子，初始晶格常数 {start}{extras}。",
        ),
    ),
)
