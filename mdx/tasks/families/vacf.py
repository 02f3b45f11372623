"""The velocity autocorrelation function, written to a file."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, an interval of output and a file name."""
    setting = draw_setting(rng, pool)
    t, every = setting.temperature, rng.choice((5, 10, 20))
    file = rng.choice(("vacf.txt", "vacf.dat", "velcorr.txt", "velcorr.dat"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        "compute 1 all vacf",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all ave/time {every} 1 {every} c_1[4] file {file}",
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
    name="vacf",
    summary="Write the velocity autocorrelation function of a crystal in NVT.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "VACF of {crystal} at {temperature}, NVT, {every} to {file}, {run}{extras}",
            "vacf: {crystal}, {temperature}, output {every} -> {file}, nvt {run}{extras}",
            "{crystal}, velocity autocorrelation {every} in {file}, NVT {temperature},"
            " {run}{extras}",
        ),
        textbook=(
            "Compute the velocity autocorrelation function of {crystal} in NVT at {temperature} and"
            " write it {every} to {file}, {run}{extras}.",
            "Correlate the velocities of {crystal} with those at the start of an NVT run at"
            " {temperature}; output {every} to {file}; {run}{extras}.",
        ),
        goal=(
            "I want the VACF of {crystal} at {temperature} for its vibrational spectrum: {file},"
            " {every}, NVT, {run}{extras}.",
            "Please write the velocity autocorrelation of {crystal} to {file} {every}, NVT at"
            " {temperature}, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Thermostat with NVT at {temperature}. Write compute vacf {every} to"
            " {file}. Run {run}{extras}.",
            "1. {crystal} 2. nvt {temperature} 3. vacf {every} to {file} 4. {run}{extras}",
        ),
        chinese=(
            "{crystal} 的速度自相关函数，NVT {temperature}，{every}写入 {file}，{run}{extras}",
            "在 {temperature} 的 NVT 下计算 {crystal} 的 VACF，{every}输出到 {file}，"
            "{run}{extras}。",
            "请{every}把 {crystal} 的速度自相关写入 {file}，NVT，{temperature}，{run}{extras}。",
        ),
    ),
)
