"""Tension of a nanowire: a square wire in vacuum is stretched along its axis."""

from random import Random

import numpy as np

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation, crystal_checks, draw_material
from mdx.tasks.materials import Pool, count_sites, potential_commands
from mdx.tasks.phrasing import (
    material_slot,
    number_slot,
    phrasings,
    rate_slot,
    run_slot,
    temperature_slot,
)
from mdx.tasks.task import Check, CheckKind

_EDGE = 8  # of the box across, in cells


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, the wire's width and length, temperature and strain rate."""
    while True:
        material = draw_material(rng, pool)
        if material.structure == "fcc" and material.cost_us <= 3.0:
            break
    width, length, t = rng.choice((3, 4)), rng.choice((5, 6, 7)), 50 * rng.randint(1, 6)
    rate, num_steps = rng.choice((0.02, 0.04, 0.05, 0.08)), rng.choice((400, 500))
    timestep = material.timestep
    low, high = 4 - width / 2 - 0.1, 4 + width / 2 - 0.1
    atoms = count_sites(
        "fcc",
        (length, _EDGE, _EDGE),
        lambda x: ((x[:, 1:] > low) & (x[:, 1:] < high)).all(axis=1) & np.isfinite(x[:, 0]),
    )
    a = material.lattice_constant
    commands = (
        "units metal",
        f"lattice fcc {a:g}",
        f"region box block 0 {length} 0 {_EDGE} 0 {_EDGE}",
        "create_box 1 box",
        f"region wire block INF INF {low:g} {high:g} {low:g} {high:g}",
        "create_atoms 1 region wire",
        *potential_commands(material),
        f"velocity all create {2 * t} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all deform 1 x erate {rate:g}",
        f"timestep {timestep:g}",
        f"run {num_steps}",
    )
    strain = round(rate * num_steps * timestep, 6)
    volume = length * _EDGE**2 * a**3 * (1 + 0.75 * strain) / atoms
    checks = (
        *crystal_checks(atoms),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=timestep),
        Check(kind=CheckKind.TEMPERATURE, target=t, tolerance=0.06),
        Check(kind=CheckKind.STRAIN, target=strain, axis="x"),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={
            "material": material_slot(material),
            "width": number_slot(width),
            "length": number_slot(length),
            "temperature": temperature_slot(t),
            "rate": rate_slot(rate),
            "run": run_slot(num_steps, timestep),
        },
        material=material,
        volume_per_atom=round(volume, 4),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="nanowire",
    summary="Stretch a square metal nanowire along its axis.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "{material} nanowire, square, {width} cells wide, {length} long (x), centred in 8x8"
            " cells, stretch x at {rate}, NVT {temperature}, {run}{extras}",
            "tension of a square {material} wire: width {width}, length {length} cells, box 8x8"
            " across, x erate {rate}, nvt {temperature}, {run}{extras}",
            "pull a {material} nanowire ({width} cells wide, {length} long, 8x8 box), {rate} in x,"
            " {temperature}, NVT, {run}{extras}",
        ),
        textbook=(
            "Stretch a square {material} nanowire, {width} cells wide and {length} cells long along"
            " x, centred in a box of 8x8 cells across, at a strain rate of {rate} in NVT at"
            " {temperature}, {run}{extras}.",
            "Apply uniaxial tension ({rate} along x) to a periodic {material} wire of {width} by"
            " the same width and {length} cells in length, vacuum around it (8x8-cell box), NVT at"
            " {temperature}, {run}{extras}.",
        ),
        goal=(
            "How strong is a {material} nanowire? {width} cells wide, {length} long, 8x8-cell box,"
            " pulled along x at {rate}, NVT at {temperature}, {run}{extras}.",
            "I want to pull a square {material} wire (width {width}, length {length} cells, centred"
            " in 8x8 cells) along x with {rate}, NVT, {temperature}, {run}{extras}.",
        ),
        steps=(
            "Make a box of {length} cells along x and 8x8 across. Fill a central square wire"
            " {width} cells wide with {material}. NVT at {temperature}. Deform x at {rate}. Run"
            " {run}{extras}.",
            "1. box {length}x8x8 2. {material} wire, {width} cells wide, centred 3. nvt"
            " {temperature} 4. deform x erate {rate} 5. {run}{extras}",
        ),
        chinese=(
            "{material} 纳米线拉伸：截面边长 {width} 个晶胞，长 {length}，盒子横向 8x8，沿 x 应变率"
            " {rate}，NVT {temperature}，{run}{extras}",
            "在横向 8x8 晶胞的盒子中心构建方形 {material} 纳米线（宽 {width}、沿 x 长 {length} 个"
            "晶胞），以 {rate} 沿 x 拉伸，NVT {temperature}，{run}{extras}。",
            "请模拟 {material} 纳米线的拉伸：宽 {width}、长 {length} 晶胞，盒子横向 8x8，应变率"
            " {rate}，{temperature}，NVT，{run}{extras}。",
        ),
    ),
)
