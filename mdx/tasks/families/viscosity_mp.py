"""Viscosity by Mueller-Plathe: momentum is swapped between two slabs."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid, how often momentum is swapped, and the velocity profile's file."""
    fluid = draw_fluid(rng)
    every, slabs = rng.choice((20, 50, 100)), rng.choice((10, 20))
    file = rng.choice(("vel.profile", "vx.profile", "vprofile.txt", "vx.dat"))
    t = f"{fluid.temperature:g}"
    commands = [
        *fluid.atoms(),
        f"compute 1 all chunk/atom bin/1d z lower {1 / slabs:g} units reduced",
        f"fix 1 all nvt temp {t} {t} 0.5",
        f"fix 2 all viscosity {every} x z {slabs}",
        f"fix 3 all ave/chunk 10 {fluid.num_steps // 10} {fluid.num_steps} 1 vx file {file}",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nvt"),
        Check(kind=CheckKind.METHOD, text="viscosity"),
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature),
        Check(kind=CheckKind.TABLE, file=file, target=slabs),
    )
    slots = {"every": every_slot(every), "slabs": number_slot(slabs), "file": same(file)}
    return fluid.simulation(commands, checks, slots)


FAMILY = Family(
    name="viscosity_mp",
    summary="Viscosity of a fluid by the Mueller-Plathe method.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "Mueller-Plathe viscosity: {fluid}, NVT T = {temperature}, swap {every}, {slabs} z"
            " slabs, vx profile to {file}, {run}{extras}",
            "{fluid}, nvt T* {temperature}, fix viscosity x z, {slabs} bins, {every}, profile"
            " {file}, {run}{extras}",
            "reverse NEMD shear, {fluid}, T {temperature}, {slabs} layers, momentum swaps {every},"
            " {file}, {run}{extras}",
        ),
        textbook=(
            "Determine the viscosity of {fluid}, in NVT at T = {temperature}: swap x momentum"
            " {every} between {slabs} slabs along z (fix viscosity) and average the vx profile to"
            " {file}, {run}{extras}.",
            "Impose a momentum flux on {fluid}, T = {temperature} (NVT), by exchanging vx {every}"
            " in {slabs} z layers; write the velocity profile to {file}; {run}{extras}.",
        ),
        goal=(
            "I want the viscosity of {fluid} at T = {temperature}: Mueller-Plathe, x momentum"
            " along z, {slabs} slabs, swaps {every}, profile in {file}, NVT, {run}{extras}.",
            "How viscous is this: {fluid}, NVT, T = {temperature}? Swap vx {every} over {slabs} z"
            " layers, profile to {file}, {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. NVT at {temperature}. Swap x momentum {every} among {slabs} z slabs."
            " Average vx over slabs to {file}. Run {run}{extras}.",
            "1. {fluid} 2. nvt {temperature} 3. viscosity {every} x z {slabs} 4. profile {file}"
            " 5. {run}{extras}",
        ),
        chinese=(
            "Mueller-Plathe 粘度：{fluid}，NVT T = {temperature}，z 向 {slabs} 层，{every}交换 x"
            " 动量，速度剖面 {file}，{run}{extras}",
            "用 fix viscosity 求 {fluid} 在 T = {temperature}（NVT）的粘度，{every}在 {slabs} 层间"
            "交换 x 向动量，vx 剖面写入 {file}，{run}{extras}。",
            "请用 Mueller-Plathe 方法计算 {fluid} 的粘度：温度 {temperature}，NVT，{slabs} 层，"
            "{every}交换一次，剖面文件 {file}，{run}{extras}。",
        ),
    ),
)
