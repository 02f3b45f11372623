"""Write a restart file in the middle of a run, read it and go on."""

from dataclasses import replace
from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool, potential_commands
from mdx.tasks.phrasing import phrasings, run_slot, same, steps_count_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, the steps before and after the restart, and its file."""
    setting = draw_setting(rng, pool)
    first, last = rng.choice((100, 150, 200, 250)), rng.choice((300, 350, 400, 450, 500))
    file = rng.choice(("state.restart", "restart.bin", "equil.restart", "md.restart"))
    t = setting.temperature
    thermostat = [f"fix 1 all nvt temp {t} {t} 0.1", f"timestep {setting.timestep:g}"]
    commands = [
        *setting.crystal(),
        setting.velocity(),
        *thermostat,
        f"run {first}",
        f"write_restart {file}",
        "clear",
        f"read_restart {file}",
        *potential_commands(setting.material)[-2:],
        *thermostat,
        f"run {last}",
    ]
    setting = replace(setting, num_steps=first + last)
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.RESTART, file=file, target=setting.num_atoms),
    )
    return setting.brief(
        commands,
        checks,
        temperature=temperature_slot(t),
        first=steps_count_slot(first),
        run=run_slot(last, setting.timestep),
        file=same(file),
    )


FAMILY = Family(
    name="restart",
    summary="Run in NVT, write a restart file, clear, read it and continue.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "{crystal}, NVT {temperature}, {first}, restart file {file}, clear, read it, then"
            " {run}{extras}",
            "restart test: {crystal} at {temperature}, {first}, write {file}, read back, NVT"
            " {run}{extras}",
            "{crystal} nvt {temperature}: {first} -> {file} -> {run}{extras}",
        ),
        textbook=(
            "Run {crystal} in NVT at {temperature} for {first} and write the restart file {file};"
            " clear everything, read it and continue in NVT for {run}{extras}.",
            "Demonstrate a restart: {crystal}, NVT at {temperature}, {first}, then write_restart"
            " {file}, clear, read_restart, and {run} more{extras}.",
        ),
        goal=(
            "I want to stop {crystal} after {first} of NVT at {temperature}, save {file}, and"
            " continue from that file for {run}{extras}.",
            "Please show how to continue {crystal} (NVT, {temperature}) from {file}, written after"
            " {first}, for {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. NVT at {temperature} for {first}. Write {file}. Clear. Read it."
            " NVT again, {run}{extras}.",
            "1. {crystal} 2. nvt {temperature}, {first} 3. write_restart {file} 4. clear and read"
            " it 5. nvt, {run}{extras}",
        ),
        chinese=(
            "{crystal}，NVT {temperature} {first}，写重启文件 {file}，clear 后读入，"
            "再{run}{extras}",
            "对 {crystal} 在 {temperature} 做 NVT {first}，写出 {file}，清空后读回并继续 NVT，"
            "{run}{extras}。",
            "请演示重启：{crystal}，{temperature} 的 NVT 先跑 {first}，保存 {file}，"
            "再从该文件继续，{run}{extras}。",
        ),
    ),
)
