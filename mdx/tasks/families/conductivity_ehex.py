"""Thermal conductivity with a source and a sink: heat is added in one slab, taken in another."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid, the rate at which heat flows, and whether fix heat or ehex moves it."""
    fluid = draw_fluid(rng, heights=(6, 8))
    rate, style = rng.choice((1, 2, 3, 5)), rng.choice(("heat", "ehex"))
    middle = fluid.height // 2
    commands = [
        *fluid.atoms(),
        "region hot block INF INF INF INF 0 1",
        f"region cold block INF INF INF INF {middle} {middle + 1}",
        "fix 1 all nve",
        *(
            f"fix {fix} all {style} 1 {sign}{rate} region {region}"
            for fix, sign, region in ((2, "", "hot"), (3, "-", "cold"))
        ),
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nve"),
        Check(kind=CheckKind.METHOD, text=style),
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature, tolerance=0.4),
    )
    slots = {"rate": number_slot(rate), "middle": number_slot(middle), "style": same(style)}
    return fluid.simulation(commands, checks, slots)


FAMILY = Family(
    name="conductivity_ehex",
    summary="Drive heat through a fluid from a hot to a cold slab with fix heat or ehex.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "heat source/sink: {fluid}, T = {temperature}, fix {style} rate {rate}, hot z 0-1, cold"
            " one cell from z = {middle}, {run}{extras}",
            "{fluid} at T* {temperature}, fix {style} +-{rate} in the first cell layer and the one"
            " at {middle}, nve {run}{extras}",
            "NEMD heat flow {rate} ({style}), {fluid}, T {temperature}, layers at 0 and {middle},"
            " {run}{extras}",
        ),
        textbook=(
            "Add heat at a rate of {rate} to the first layer of cells in z and remove it from the"
            " layer that begins at {middle} with fix {style}; {fluid}, velocities for"
            " T = {temperature}, NVE, {run}{extras}.",
            "Establish a steady heat flow through {fluid} at T = {temperature}: fix {style} with"
            " {rate} in the slab 0-1 and the opposite in the one-cell slab at z = {middle};"
            " {run}{extras}.",
        ),
        goal=(
            "I want a temperature gradient in {fluid}, T = {temperature}: heat {rate} into cell"
            " layer 0, out of layer {middle}, using fix {style}, {run}{extras}.",
            "Please drive heat (rate {rate}) from the slab z = 0-1 to the one at {middle} with fix"
            " {style} in {fluid}, T = {temperature}, {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. Velocities for T = {temperature}. NVE. Fix {style} of {rate} in cell"
            " layer 0 in z and of the opposite in layer {middle}. Run {run}{extras}.",
            "1. {fluid} 2. T = {temperature} 3. nve 4. {style} +-{rate}, z layers 0 and {middle}"
            " 5. {run}{extras}",
        ),
        chinese=(
            "热源热汇：{fluid}，T = {temperature}，fix {style}，速率 {rate}，z 向第 0 层加热，"
            "第 {middle} 层散热，{run}{extras}",
            "用 fix {style} 以 {rate} 的速率向 {fluid} 的第 0 层晶胞加热、从 z = {middle} 的一层"
            "取走热量，初始温度 {temperature}，NVE，{run}{extras}。",
            "请在 {fluid} 中建立热流：T = {temperature}，fix {style}，热源在 z 的 0-1 层，"
            "热汇起于 {middle}，速率 {rate}，{run}{extras}。",
        ),
    ),
)
