"""Noble gases in real units: a Lennard-Jones crystal or fluid with parameters of an element."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import Slot, number_slot, phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind, Potential

# Symbol: name, Chinese name, mass, epsilon (kcal/mol), sigma and fcc lattice constant (Angstrom).
_GASES = {
    "Ne": ("neon", "氖", 20.18, 0.0721, 2.782, 4.4),
    "Ar": ("argon", "氩", 39.95, 0.2381, 3.405, 5.3),
    "Kr": ("krypton", "氪", 83.8, 0.3406, 3.65, 5.7),
    "Xe": ("xenon", "氙", 131.29, 0.4414, 4.06, 6.2),
}


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an element, its expansion, temperature, size and duration."""
    symbol = rng.choice(list(_GASES))
    english, chinese, mass, epsilon, sigma, solid = _GASES[symbol]
    a = round(solid * rng.choice((1.02, 1.05, 1.08)), 2)
    kelvin = 10 * round(epsilon * 503 * rng.choice((0.4, 0.6, 0.8, 1.0)) / 10) or 10
    edge, num_steps = rng.choice((3, 4)), rng.choice((400, 500, 600, 800))
    femtoseconds = rng.choice((2, 4, 5)) if symbol != "Ne" else 2
    coeff = f"1 1 {epsilon:g} {sigma:g}"
    commands = (
        "units real",
        f"lattice fcc {a:g}",
        f"region box block 0 {edge} 0 {edge} 0 {edge}",
        "create_box 1 box",
        "create_atoms 1 box",
        f"mass 1 {mass:g}",
        "pair_style lj/cut 8.5",
        f"pair_coeff {coeff}",
        f"velocity all create {2 * kelvin} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {kelvin} {kelvin} 100",
        f"timestep {femtoseconds}",
        f"run {num_steps}",
    )
    checks = (
        Check(kind=CheckKind.UNITS, text="real"),
        Check(kind=CheckKind.NUM_ATOMS, target=4 * edge**3, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=femtoseconds),
        Check(kind=CheckKind.TEMPERATURE, target=kelvin, tolerance=0.05),
        Check(kind=CheckKind.FLUCTUATION),
    )
    parameters = f"epsilon = {epsilon:g} kcal/mol, sigma = {sigma:g} A, cutoff 8.5 A"
    slots = {
        "gas": Slot(english=(english, symbol), chinese=(f"{chinese}（{symbol}）", symbol)),
        "cells": Slot(
            english=(f"{edge}x{edge}x{edge} fcc cells, a = {a:g} A",),
            chinese=(f"{edge}x{edge}x{edge} 个 fcc 晶胞，a = {a:g} A",),
        ),
        "lj": Slot(english=(parameters,), chinese=(parameters.replace(", ", "，"),)),
        "temperature": temperature_slot(kelvin),
        "dt": number_slot(femtoseconds),
        "steps": number_slot(num_steps),
    }
    return Simulation(
        commands=commands,
        checks=checks,
        slots=slots,
        potential=Potential(style="lj/cut 8.5", coeffs=(coeff,)),
        elements=(symbol,),
        volume_per_atom=round(a**3 / 4, 4),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="noble_gas",
    summary="Hold a noble gas in real units at constant temperature.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{gas}, units real, {cells}, LJ ({lj}), NVT {temperature}, {steps} steps of {dt}"
            " fs{extras}",
            "real units: {gas} {cells}, {lj}, nvt {temperature}, dt {dt} fs, {steps} steps{extras}",
            "NVT {gas} at {temperature}: {cells}; {lj}; {steps} x {dt} fs (real){extras}",
        ),
        textbook=(
            "Simulate {gas} in real units: {cells}, Lennard-Jones with {lj}, NVT at {temperature},"
            " {steps} steps of {dt} fs{extras}.",
            "Starting from {cells}, keep {gas} at {temperature} with a Nose-Hoover thermostat for"
            " {steps} steps of {dt} fs; use real units and lj/cut with {lj}{extras}.",
        ),
        goal=(
            "I want {gas} at {temperature} with LAMMPS real units: {cells}, {lj}, NVT, {steps}"
            " steps of {dt} fs{extras}.",
            "Please run {gas} ({cells}) in NVT at {temperature}, LJ {lj}, units real, {steps} steps"
            " with dt = {dt} fs{extras}.",
        ),
        steps=(
            "Use units real. Build {cells} of {gas}. Set lj/cut: {lj}. NVT at {temperature}."
            " Timestep {dt} fs. Run {steps} steps{extras}.",
            "1. real units 2. {gas}, {cells} 3. {lj} 4. nvt {temperature} 5. dt {dt} fs"
            " 6. {steps} steps{extras}",
        ),
        chinese=(
            "{gas}，real 单位，{cells}，LJ：{lj}，NVT {temperature}，步长 {dt} fs，{steps}"
            " 步{extras}",
            "用 real 单位制模拟{gas}：{cells}，lj/cut 参数 {lj}，在 {temperature} 做 NVT，"
            "步长 {dt} fs，共 {steps} 步{extras}。",
            "请把{gas}（{cells}）用 NVT 控温在 {temperature}，势参数 {lj}，units real，"
            "{dt} fs 步长，{steps} 步{extras}。",
        ),
    ),
)
