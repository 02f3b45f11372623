"""Geometry only: a random substitutional alloy of exact composition."""

from random import Random

from mdx.tasks.families.sites import FILES, built, masses
from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool, crystal_commands, num_atoms
from mdx.tasks.phrasing import cells_slot, material_slot, number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw host and solute of one structure, the box and how many atoms are replaced."""
    structure = rng.choice(("fcc", "bcc"))
    metals = [m for m in pool.cubic_defaults if m.structure == structure]
    host, solute = rng.sample(metals, 2)
    cells = (rng.randint(3, 6), rng.randint(3, 6), rng.randint(3, 6))
    atoms = num_atoms(host, cells)
    replaced = round(atoms * rng.choice((0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5)))
    crystal = crystal_commands(host, cells)
    commands = [
        *crystal[:3],
        "create_box 2 box",
        *crystal[4:],
        f"set group all type/subset 2 {replaced} {DEFAULT_SEED}",
        masses(host)[0],
        masses(solute)[0].replace("mass 1", "mass 2"),
    ]
    slots = {
        "host": material_slot(host),
        "solute": same(solute.name),
        "cells": cells_slot(cells),
        "count": number_slot(replaced),
    }
    share = Check(
        kind=CheckKind.COMPOSITION, text="2", target=round(replaced / atoms, 6), tolerance=0.002
    )
    volume = atoms * host.volume_per_atom
    simulation = built(host, commands, atoms, volume, rng.choice(FILES), slots, (share,))
    return simulation.made_of((host.elements[0], solute.elements[0]))


FAMILY = Family(
    name="alloy",
    summary="Replace an exact number of random atoms of a crystal by another element.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "random alloy: {host} {cells} with {count} atoms replaced by {solute}, {file}{extras}",
            "{host} {cells} cells, {count} random {solute} solutes -> {file}{extras}",
            "{file}: {cells} {host} lattice, exactly {count} {solute} atoms (type 2){extras}",
        ),
        textbook=(
            "Replace exactly {count} randomly chosen atoms of {cells} cells of {host} (type 1) by"
            " {solute} (type 2) and write {file}{extras}.",
            "Build a random solid solution on the lattice of {host}, {cells} cells, in which"
            " {count} sites are occupied by {solute}; save {file}{extras}.",
        ),
        goal=(
            "I need an alloy of {host} with {count} {solute} atoms at random sites, {cells} cells,"
            " as {file}{extras}.",
            "Please dope {cells} cells of {host} with {count} atoms of {solute}, at random, and"
            " write {file}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {host} in a box of two types. Set {count} random atoms to type"
            " 2, {solute}. Set the masses. Write {file}{extras}.",
            "1. {host}, {cells}, two types 2. set type/subset 2, {count} ({solute}) 3. masses"
            " 4. write_data {file}{extras}",
        ),
        chinese=(
            "随机合金：{host} {cells} 晶胞，{count} 个原子换成 {solute}，写入 {file}{extras}",
            "把 {cells} 晶胞的 {host}（类型 1）中随机的 {count} 个原子替换为 {solute}（类型 2），"
            "保存为 {file}{extras}。",
            "请生成 {host}-{solute} 随机固溶体，{cells} 晶胞，恰有 {count} 个溶质原子，数据文件"
            " {file}{extras}。",
        ),
    ),
)
