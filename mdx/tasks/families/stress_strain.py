"""A stress-strain curve: tension with the stress written to a file."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, rate_slot, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that is stretched, and the file of its stress."""
    while True:
        setting = draw_setting(rng, pool)
        rate = rng.choice((0.02, 0.04, 0.05, 0.06, 0.08, 0.1))  # 1/ps
        strain = rate * setting.num_steps * setting.timestep
        if 0.01 <= strain <= 0.08:
            break
    t, axis, every = setting.temperature, rng.choice("xyz"), rng.choice((10, 20, 50))
    file = rng.choice(("stress.txt", "stress_strain.txt", "curve.dat", "stress.dat"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"variable l equal l{axis}",
        f"variable p equal p{axis}{axis}",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all deform 1 {axis} erate {rate:g}",
        f"fix 3 all ave/time {every} 1 {every} v_l v_p file {file}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.STRAIN, target=round(strain, 6), axis=axis),
        Check(kind=CheckKind.TABLE, file=file, target=setting.num_steps // every),
    )
    volume = round(setting.material.volume_per_atom * (1 + 0.75 * strain), 4)
    return setting.brief(
        commands,
        checks,
        volume,
        temperature=temperature_slot(t),
        axis=same(axis),
        rate=rate_slot(rate),
        every=every_slot(every),
        file=same(file),
    )


FAMILY = Family(
    name="stress_strain",
    summary="Stretch a crystal and write box length and stress along the way.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "stress-strain of {crystal}, {axis} at {rate}, NVT {temperature}, {every} to {file},"
            " {run}{extras}",
            "{crystal}: tension in {axis}, rate {rate}, length and pressure {every} -> {file}, nvt"
            " {temperature}, {run}{extras}",
            "pull {crystal} along {axis} ({rate}), stress {every} in {file}, {temperature} NVT,"
            " {run}{extras}",
        ),
        textbook=(
            "Record a stress-strain curve of {crystal}: uniaxial tension along {axis} at {rate},"
            " NVT at {temperature}; write box length and stress {every} to {file}; {run}{extras}.",
            "Stretch {crystal} along {axis} with an engineering strain rate of {rate} in NVT at"
            " {temperature} and output its length and normal pressure {every} to {file},"
            " {run}{extras}.",
        ),
        goal=(
            "I want the tensile curve of {crystal} along {axis} at {temperature} ({rate}, NVT):"
            " stress {every} in {file}, {run}{extras}.",
            "How does the stress of {crystal} rise when {axis} is stretched at {rate}?"
            " {temperature}, NVT, data {every} to {file}, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. NVT at {temperature}. Deform {axis} with erate {rate}. Write length"
            " and stress {every} to {file}. Run {run}{extras}.",
            "1. {crystal} 2. nvt {temperature} 3. deform {axis} erate {rate} 4. l and p {every} to"
            " {file} 5. {run}{extras}",
        ),
        chinese=(
            "{crystal} 的应力应变曲线，沿 {axis}，应变率 {rate}，NVT {temperature}，"
            "{every}写入 {file}，{run}{extras}",
            "在 {temperature} 的 NVT 下以 {rate} 的应变率沿 {axis} 拉伸 {crystal}，"
            "{every}把盒长和应力写入 {file}，{run}{extras}。",
            "请测 {crystal} 沿 {axis} 的拉伸曲线：应变率 {rate}，{temperature}，NVT，"
            "{every}输出到 {file}，{run}{extras}。",
        ),
    ),
)
