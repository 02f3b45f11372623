"""Diffusion in a fluid: the mean square displacement over time."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid, an interval of output and a file name."""
    fluid = draw_fluid(rng, densities=(0.6, 0.65, 0.7, 0.75, 0.8), heights=(3, 4))
    every, t = rng.choice((10, 20, 50)), f"{fluid.temperature:g}"
    file = rng.choice(("msd.txt", "diffusion.dat", "msd_lj.dat", "r2.txt"))
    commands = [
        *fluid.atoms(),
        "compute 1 all msd com yes",
        f"fix 1 all nvt temp {t} {t} 0.5",
        f"fix 2 all ave/time {every} 1 {every} c_1[4] file {file}",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nvt"),
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature),
        Check(kind=CheckKind.FLUCTUATION),
        Check(kind=CheckKind.TABLE, file=file, target=fluid.num_steps // every),
    )
    return fluid.simulation(commands, checks, {"every": every_slot(every), "file": same(file)})


FAMILY = Family(
    name="lj_diffusion",
    summary="Write the mean square displacement of a Lennard-Jones fluid in NVT.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "diffusion: {fluid}, NVT T = {temperature}, MSD {every} to {file}, {run}{extras}",
            "{fluid}, nvt T* {temperature}, msd {every} -> {file}, {run}{extras}",
            "MSD of {fluid}, T {temperature}, {every}, {file}, nvt {run}{extras}",
        ),
        textbook=(
            "Follow the mean square displacement of {fluid}, in NVT at T = {temperature} and"
            " write it {every} to {file}, {run}{extras}.",
            "To obtain the diffusion coefficient of {fluid}, T = {temperature}, record its MSD"
            " {every} in {file}; NVT, {run}{extras}.",
        ),
        goal=(
            "How fast do atoms diffuse in {fluid} at T = {temperature}? MSD {every} to {file},"
            " NVT, {run}{extras}.",
            "I need the MSD of {fluid}, NVT at T = {temperature}, {every} in {file},"
            " {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. NVT at {temperature}. Write compute msd {every} to {file}. Run"
            " {run}{extras}.",
            "1. {fluid} 2. nvt {temperature} 3. msd {every}, {file} 4. {run}{extras}",
        ),
        chinese=(
            "扩散：{fluid}，NVT T = {temperature}，{every}把 MSD 写入 {file}，{run}{extras}",
            "在 T = {temperature} 的 NVT 下{every}记录 {fluid} 的均方位移到 {file}，"
            "{run}{extras}。",
            "请计算 {fluid} 的扩散：温度 {temperature}，NVT，{every}输出 MSD，文件 {file}，"
            "{run}{extras}。",
        ),
    ),
)
