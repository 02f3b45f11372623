"""The mean square displacement of a thermalised crystal, written to a file."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, an interval of output and a file name."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    every = rng.choice((10, 20, 50, 100))
    file = rng.choice(("msd.txt", "msd.dat", "disp.txt", "disp.dat"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        "compute 1 all msd",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all ave/time {every} 1 {every} c_1[4] file {file}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.TABLE, file=file, target=setting.num_steps // every),
    )
    return setting.simulation(commands, checks, every=every_slot(every), file=same(file))


FAMILY = Family(
    name="msd",
    summary="Write the mean square displacement of a crystal at constant temperature.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "MSD of {material} {cells} at {temperature}, NVT {steps}, dt {timestep}, {every} to"
            " {file}{extras}",
            "msd: {material}, {cells} cells, {temperature}, {every} -> {file},"
            " nvt {steps} of {timestep}{extras}",
            "{material} {cells} cells, mean square displacement {every} in {file}, NVT"
            " {temperature}, timestep {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Compute the mean square displacement of {cells} cells of {material} at {temperature}"
            " in NVT for {steps}, timestep {timestep}; write it {every} to {file}{extras}.",
            "Follow the MSD of a {cells} {material} crystal in an NVT run of {steps} at"
            " {temperature}, timestep {timestep}, output {every} into {file}{extras}.",
            "Crystalline {material}, {cells} cells, runs in NVT at {temperature}, timestep"
            " {timestep}, {steps}. Write its MSD {every} to {file}{extras}.",
        ),
        goal=(
            "I want the mean square displacement of {material} ({cells} cells) at {temperature}"
            " {every} in {file}, NVT {steps} at dt {timestep}{extras}.",
            "Please write the MSD of {cells} {material} at {temperature} to {file} {every}, NVT,"
            " {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Thermostat with NVT at {temperature}. Write the MSD"
            " to {file} {every}. Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT {temperature} 3. msd {every} to {file}"
            " 4. dt {timestep} 5. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，NVT {temperature}，{every}把均方位移写入 {file}，"
            "步长 {timestep}，运行 {steps}{extras}",
            "在 {temperature} 下对 {cells} 的 {material} 做 NVT 模拟，步长 {timestep}，{steps}，"
            "{every}输出 MSD 到 {file}{extras}。",
            "请计算 {cells} 的 {material} 在 {temperature} 的均方位移，{every}写入 {file}，NVT，"
            "步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
