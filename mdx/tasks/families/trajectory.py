"""A trajectory of a thermalised crystal, dumped to a file."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, an interval of output and a file name."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    every = rng.choice((50, 100, 200))
    file = rng.choice(("traj.dump", "dump.atom", "traj.lammpstrj", "md.lammpstrj"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"dump 1 all custom {every} {file} id type x y z",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.DUMP, file=file, target=setting.num_steps // every),
    )
    return setting.simulation(commands, checks, every=every_slot(every), file=same(file))


FAMILY = Family(
    name="trajectory",
    summary="Write the trajectory of a crystal at constant temperature to a dump file.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "trajectory of {material} {cells} at {temperature}, NVT {steps}, dt {timestep}, dump"
            " {every} to {file}{extras}",
            "dump: {material}, {cells} cells, {temperature}, {every} -> {file},"
            " nvt {steps} of {timestep}{extras}",
            "{material} {cells} cells, positions {every} in {file}, NVT {temperature},"
            " timestep {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Record a trajectory of {cells} cells of {material} at {temperature} in NVT for"
            " {steps}, timestep {timestep}; dump positions {every} to {file}{extras}.",
            "Save the atom positions of a {cells} {material} crystal in an NVT run of {steps} at"
            " {temperature}, timestep {timestep}, {every} into {file}{extras}.",
            "Crystalline {material}, {cells} cells, runs in NVT at {temperature}, timestep"
            " {timestep}, {steps}. Dump its atoms {every} to {file}{extras}.",
        ),
        goal=(
            "I want a movie of {material} ({cells} cells) at {temperature}: a frame {every} in"
            " {file}, NVT {steps} at dt {timestep}{extras}.",
            "Please dump the atoms of {cells} {material} at {temperature} to {file} {every}, NVT,"
            " {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Thermostat with NVT at {temperature}. Dump to"
            " {file} {every}. Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT {temperature} 3. dump {every} to {file}"
            " 4. dt {timestep} 5. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，NVT {temperature}，{every}输出轨迹到 {file}，"
            "步长 {timestep}，运行 {steps}{extras}",
            "在 {temperature} 下对 {cells} 的 {material} 做 NVT 模拟，步长 {timestep}，{steps}，"
            "{every}把原子坐标写入 {file}{extras}。",
            "请保存 {cells} 的 {material} 在 {temperature} 的 NVT 轨迹，{every}一帧，文件 {file}，"
            "步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
