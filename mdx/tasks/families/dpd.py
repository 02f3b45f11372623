"""Dissipative particle dynamics: a soft fluid whose pair forces hold the temperature."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, reduced_run_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw repulsion, friction, temperature, size and duration."""
    repulsion, friction = rng.choice((15, 18.75, 25, 30)), rng.choice((3, 4.5, 6))
    temperature, edge = rng.choice((0.8, 1.0, 1.2)), rng.choice((5, 6))
    num_steps, dt = rng.choice((300, 400, 500, 600)), rng.choice((0.01, 0.02))
    t = f"{temperature:g}"
    commands = (
        "units lj",
        "comm_modify vel yes",
        "lattice sc 3",
        f"region box block 0 {edge} 0 {edge} 0 {edge}",
        "create_box 1 box",
        "create_atoms 1 box",
        "mass 1 1",
        f"pair_style dpd {t} 1 {DEFAULT_SEED}",
        f"pair_coeff 1 1 {repulsion:g} {friction:g} 1",
        f"velocity all create {t} {DEFAULT_SEED}",
        "fix 1 all nve",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    checks = (
        Check(kind=CheckKind.UNITS, text="lj"),
        Check(kind=CheckKind.PAIR_STYLE, text="dpd"),
        Check(kind=CheckKind.NUM_ATOMS, target=edge**3, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nve"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
        Check(kind=CheckKind.TEMPERATURE, target=temperature, tolerance=0.08),
    )
    slots = {
        "atoms": number_slot(edge**3),
        "cells": number_slot(edge),
        "a": number_slot(repulsion),
        "gamma": number_slot(friction),
        "temperature": number_slot(temperature),
        "run": reduced_run_slot(num_steps, dt),
    }
    return Simulation(
        commands=commands,
        checks=checks,
        slots=slots,
        volume_per_atom=round(1 / 3, 6),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="dpd",
    summary="A fluid of dissipative particle dynamics at density 3.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "DPD fluid: {atoms} beads (sc, {cells} per edge), density 3, a = {a}, gamma = {gamma},"
            " kT = {temperature}, rc = 1, {run}{extras}",
            "dpd: a {a}, gamma {gamma}, T {temperature}, rc 1, rho 3, {cells} sc cells per edge"
            " ({atoms} beads), nve {run}{extras}",
            "{atoms} DPD beads at rho = 3 ({cells} a side), a_ii {a}, friction {gamma},"
            " T = {temperature}, rc = 1, {run}{extras}",
        ),
        textbook=(
            "Simulate a DPD fluid of density 3 in reduced units: {atoms} beads on a simple cubic"
            " lattice of {cells} cells per edge, a = {a}, gamma = {gamma}, T = {temperature},"
            " cutoff 1, NVE, {run}{extras}.",
            "Run dissipative particle dynamics of {atoms} beads ({cells} sc cells per edge, number"
            " density 3) with repulsion {a}, friction {gamma} and cutoff 1 at kT = {temperature},"
            " fix nve, {run}{extras}.",
        ),
        goal=(
            "I want a DPD solvent: {atoms} beads, density 3, {cells} sc cells per edge, a = {a},"
            " gamma = {gamma}, cutoff 1, T = {temperature}, {run}{extras}.",
            "Please set up pair_style dpd for {atoms} beads (density 3, {cells} per edge): a = {a},"
            " gamma = {gamma}, rc = 1, kT = {temperature}, nve, {run}{extras}.",
        ),
        steps=(
            "Use lj units. Build {cells} sc cells per edge at density 3 ({atoms} beads). Set dpd:"
            " T {temperature}, cutoff 1, a {a}, gamma {gamma}. NVE. Run {run}{extras}.",
            "1. {atoms} beads, sc, {cells} a side, density 3 2. dpd {temperature}, rc 1, a {a},"
            " gamma {gamma} 3. nve 4. {run}{extras}",
        ),
        chinese=(
            "DPD 流体：{atoms} 个珠子（每边 {cells} 个 sc 晶胞），密度 3，a = {a}，gamma ="
            " {gamma}，"
            "kT = {temperature}，rc = 1，{run}{extras}",
            "用耗散粒子动力学模拟 {atoms} 个珠子：密度 3，每边 {cells} 个 sc 晶胞，排斥参数 {a}，"
            "摩擦系数 {gamma}，截断 1，温度 {temperature}，NVE，{run}{extras}。",
            "请建立 DPD 溶剂（{atoms} 珠，密度 3，每边 {cells}），a = {a}，gamma = {gamma}，"
            "rc = 1，T = {temperature}，{run}{extras}。",
        ),
    ),
)
