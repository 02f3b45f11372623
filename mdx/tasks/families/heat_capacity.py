"""The energy over time at constant temperature, whose fluctuation is the heat capacity."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal and the file that its total energy goes to."""
    setting = draw_setting(rng, pool)
    t, every = setting.temperature, rng.choice((5, 10, 20))
    file = rng.choice(("energy.txt", "etotal.dat", "cv.txt", "energy.dat"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        "variable e equal etotal",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all ave/time {every} 1 {every} v_e c_thermo_temp file {file}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.TABLE, file=file, target=setting.num_steps // every),
    )
    return setting.brief(
        commands, checks, temperature=temperature_slot(t), every=every_slot(every), file=same(file)
    )


FAMILY = Family(
    name="heat_capacity",
    summary="Write total energy and temperature of a crystal in NVT, for its heat capacity.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "heat capacity of {crystal} at {temperature}: NVT, total energy {every} to {file},"
            " {run}{extras}",
            "C_v from fluctuations: {crystal}, {temperature}, energy {every} -> {file},"
            " {run}{extras}",
            "{crystal}, nvt {temperature}, write etotal and temp {every} in {file}, {run}{extras}",
        ),
        textbook=(
            "For the heat capacity of {crystal}, sample the total energy and the temperature"
            " {every} in NVT at {temperature} and write them to {file}, {run}{extras}.",
            "Record the energy fluctuations of {crystal} in the canonical ensemble at"
            " {temperature}: output {every} to {file}, {run}{extras}.",
        ),
        goal=(
            "I need the energy fluctuations of {crystal} at {temperature} for C_v: {file}, written"
            " {every}, NVT, {run}{extras}.",
            "Please give me total energy and temperature of {crystal} {every} in {file}, NVT at"
            " {temperature}, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Thermostat with NVT at {temperature}. Write total energy and"
            " temperature {every} to {file}. Run {run}{extras}.",
            "1. {crystal} 2. nvt {temperature} 3. ave/time of etotal and temp {every} to {file}"
            " 4. {run}{extras}",
        ),
        chinese=(
            "{crystal} 的热容，NVT {temperature}，{every}把总能量和温度写入 {file}，{run}{extras}",
            "为由能量涨落求 {crystal} 的热容，在 {temperature} 的 NVT 下{every}输出总能量和温度到"
            " {file}，{run}{extras}。",
            "请在 NVT、{temperature} 下模拟 {crystal}，{every}记录总能量与温度，文件 {file}，"
            "{run}{extras}。",
        ),
    ),
)
