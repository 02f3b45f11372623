"""Thermal conductivity by Mueller-Plathe: kinetic energy is swapped between two slabs."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid, how often energy is swapped, and the temperature profile's file."""
    fluid = draw_fluid(rng)
    every, slabs = rng.choice((10, 20, 50)), rng.choice((10, 20))
    file = rng.choice(("temp.profile", "profile.mp", "tprofile.txt", "tz.dat"))
    commands = [
        *fluid.atoms(),
        f"compute 1 all chunk/atom bin/1d z lower {1 / slabs:g} units reduced",
        "fix 1 all nve",
        f"fix 2 all thermal/conductivity {every} z {slabs}",
        f"fix 3 all ave/chunk 10 {fluid.num_steps // 10} {fluid.num_steps} 1 temp file {file}",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nve"),
        Check(kind=CheckKind.METHOD, text="thermal/conductivity"),
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature, tolerance=0.4),
        Check(kind=CheckKind.TABLE, file=file, target=slabs),
    )
    slots = {"every": every_slot(every), "slabs": number_slot(slabs), "file": same(file)}
    return fluid.simulation(commands, checks, slots)


FAMILY = Family(
    name="conductivity_mp",
    summary="Thermal conductivity of a fluid by the Mueller-Plathe method.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "Mueller-Plathe conductivity: {fluid}, T = {temperature}, swap {every}, {slabs} slabs"
            " in z, profile to {file}, {run}{extras}",
            "{fluid} at T* {temperature}, fix thermal/conductivity along z, {slabs} bins, {every},"
            " temp profile {file}, {run}{extras}",
            "reverse NEMD heat flux, {fluid}, T {temperature}, {slabs} layers, swaps {every},"
            " {file}, {run}{extras}",
        ),
        textbook=(
            "Determine the thermal conductivity of {fluid} at T = {temperature} by the"
            " Mueller-Plathe method: swap kinetic energy {every} between {slabs} slabs along z and"
            " write the temperature profile to {file}; NVE, {run}{extras}.",
            "Impose a heat flux on {fluid}, velocities for T = {temperature}: fix"
            " thermal/conductivity {every} with {slabs} layers in z; temperature profile in {file};"
            " {run}{extras}.",
        ),
        goal=(
            "I want the thermal conductivity of {fluid}, around T = {temperature}:"
            " Mueller-Plathe, {slabs} slabs in z, swaps {every}, profile in {file},"
            " {run}{extras}.",
            "How well does this conduct heat: {fluid}, T = {temperature}? Swap energies {every}"
            " over {slabs} z layers, profile to {file}, {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. Velocities for T = {temperature}. NVE. Swap kinetic energy {every}"
            " among {slabs} z slabs. Average the temperature profile to {file}. Run {run}{extras}.",
            "1. {fluid} 2. T = {temperature} 3. nve + thermal/conductivity {every}, z, {slabs}"
            " 4. profile {file} 5. {run}{extras}",
        ),
        chinese=(
            "Mueller-Plathe 热导率：{fluid}，T = {temperature}，沿 z 分 {slabs} 层，{every}交换，"
            "温度分布写入 {file}，{run}{extras}",
            "用 Mueller-Plathe 方法求 {fluid} 在 T = {temperature} 的热导率，{every}在 {slabs} 层"
            "（z 向）之间交换动能，温度剖面输出到 {file}，NVE，{run}{extras}。",
            "请用 fix thermal/conductivity 模拟 {fluid}，温度 {temperature}，{slabs} 层，"
            "{every}一次交换，剖面文件 {file}，{run}{extras}。",
        ),
    ),
)
