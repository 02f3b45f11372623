"""The Lennard-Jones liquid in reduced units at constant temperature."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import cells_slot, number_slot, phrasings, steps_count_slot
from mdx.tasks.task import Check, CheckKind, Potential


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw density, temperature, size and duration of a Lennard-Jones liquid."""
    density = rng.choice((0.6, 0.65, 0.7, 0.75, 0.8, 0.85))
    temperature = rng.choice((1.0, 1.2, 1.4, 1.5, 1.6, 1.8, 2.0))
    cutoff = rng.choice((2.5, 3.0))
    edge, num_steps = rng.choice((3, 4)), rng.choice((300, 400, 500, 600))
    timestep = rng.choice((0.004, 0.005))
    atoms = 4 * edge**3
    commands = (
        "units lj",
        f"lattice fcc {density:g}",
        f"region box block 0 {edge} 0 {edge} 0 {edge}",
        "create_box 1 box",
        "create_atoms 1 box",
        "mass 1 1",
        f"pair_style lj/cut {cutoff:g}",
        "pair_coeff * * 1 1",
        f"velocity all create {2 * temperature:g} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {temperature:g} {temperature:g} 0.2",
        f"timestep {timestep:g}",
        f"run {num_steps}",
    )
    checks = (
        Check(kind=CheckKind.UNITS, text="lj"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=timestep),
        Check(kind=CheckKind.TEMPERATURE, target=temperature),
        Check(kind=CheckKind.FLUCTUATION),
    )
    slots = {
        "cells": cells_slot((edge, edge, edge)),
        "density": number_slot(density),
        "temperature": number_slot(temperature),
        "cutoff": number_slot(cutoff),
        "timestep": number_slot(timestep),
        "steps": steps_count_slot(num_steps),
    }
    return Simulation(
        commands=commands,
        checks=checks,
        slots=slots,
        potential=Potential(style=f"lj/cut {cutoff:g}", coeffs=("* * 1 1",)),
        volume_per_atom=round(1 / density, 6),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="lj_liquid",
    summary="Hold a Lennard-Jones liquid in reduced units at constant temperature.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "LJ liquid {cells}, density {density}, T = {temperature}, cutoff {cutoff}, NVT {steps},"
            " dt {timestep}{extras}",
            "lj: {cells} fcc cells, rho {density}, T* {temperature}, lj/cut {cutoff}, nvt, {steps}"
            " of {timestep}{extras}",
            "Lennard-Jones {cells} cells, NVT at T = {temperature}, rho = {density}, rc = {cutoff},"
            " timestep {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Simulate a Lennard-Jones fluid of {cells} fcc cells at reduced density {density} and"
            " temperature {temperature} in NVT, cutoff {cutoff}, {steps}, timestep"
            " {timestep}{extras}.",
            "Run a Lennard-Jones liquid (units lj, cutoff {cutoff}) at density {density} and"
            " T* = {temperature}, NVT, {cells} cells, {steps}, timestep {timestep}{extras}.",
            "In reduced units, keep {cells} cells of Lennard-Jones atoms of density {density} at"
            " {temperature} by fix nvt; cutoff {cutoff}, timestep {timestep}, {steps}{extras}.",
        ),
        goal=(
            "I want an equilibrated LJ fluid, density {density}, temperature {temperature},"
            " {cells} cells, cutoff {cutoff}, NVT {steps} at dt {timestep}{extras}.",
            "Please melt {cells} Lennard-Jones cells at T* = {temperature} and rho* = {density},"
            " cutoff {cutoff}, NVT, {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} fcc cells at reduced density {density}. Use lj/cut {cutoff}. NVT at"
            " {temperature}. Timestep {timestep}. Run {steps}{extras}.",
            "1. lj units, density {density}, {cells} 2. cutoff {cutoff} 3. NVT {temperature}"
            " 4. dt {timestep} 5. run {steps}{extras}",
        ),
        chinese=(
            "LJ 液体，{cells} 晶胞，密度 {density}，温度 {temperature}，截断 {cutoff}，NVT，"
            "步长 {timestep}，运行 {steps}{extras}",
            "在约化单位下模拟 Lennard-Jones 流体：密度 {density}，温度 {temperature}，"
            "截断半径 {cutoff}，{cells} 晶胞，NVT，时间步长 {timestep}，共 {steps}{extras}。",
            "请用 NVT 平衡 {cells} 的 LJ 液体，T* = {temperature}，rho* = {density}，"
            "截断 {cutoff}，步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
