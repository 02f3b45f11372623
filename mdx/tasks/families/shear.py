"""Simple shear of a crystal in a triclinic box at a constant rate."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool, potential_commands
from mdx.tasks.phrasing import phrasings, rate_slot, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that is sheared by 1 to 8 %."""
    while True:
        setting = draw_setting(rng, pool)
        rate = rng.choice((0.02, 0.04, 0.05, 0.06, 0.08, 0.1))  # 1/ps
        if 0.01 <= rate * setting.num_steps * setting.timestep <= 0.08:
            break
    t, plane = setting.temperature, rng.choice(("xy", "xz", "yz"))
    potential = potential_commands(setting.material)
    commands = [
        *setting.crystal()[: -len(potential)],
        "change_box all triclinic",
        *potential,
        setting.velocity(),
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all deform 1 {plane} erate {rate:g}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.METHOD, text="deform"),
    )
    return setting.brief(
        commands,
        checks,
        temperature=temperature_slot(t),
        plane=same(plane),
        rate=rate_slot(rate),
    )


FAMILY = Family(
    name="shear",
    summary="Shear a crystal at a constant rate in a triclinic box.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "shear {crystal} in {plane} at {rate}, NVT {temperature}, {run}{extras}",
            "simple shear: {crystal}, {plane} tilt, rate {rate}, nvt {temperature}, {run}{extras}",
            "{crystal}, triclinic box, deform {plane} erate {rate}, {temperature} NVT,"
            " {run}{extras}",
        ),
        textbook=(
            "Shear {crystal} at a rate of {rate} in {plane} using a triclinic box, NVT at"
            " {temperature}, {run}{extras}.",
            "Apply simple shear ({plane}, engineering rate {rate}) to {crystal} at {temperature} in"
            " NVT, {run}{extras}.",
        ),
        goal=(
            "How does {crystal} respond to {plane} shear at {rate}? NVT at {temperature},"
            " {run}{extras}.",
            "I want {crystal} sheared in {plane} with rate {rate} at {temperature}, NVT,"
            " {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Make the box triclinic. NVT at {temperature}. Deform {plane} with"
            " erate {rate}. Run {run}{extras}.",
            "1. {crystal} 2. triclinic box 3. nvt {temperature} 4. deform {plane} erate {rate}"
            " 5. {run}{extras}",
        ),
        chinese=(
            "{crystal} 剪切，{plane} 方向，速率 {rate}，NVT {temperature}，{run}{extras}",
            "在 {temperature} 的 NVT 下，用三斜盒子以 {rate} 的速率对 {crystal} 施加 {plane} 剪切，"
            "{run}{extras}。",
            "请对 {crystal} 做 {plane} 简单剪切，剪切速率 {rate}，{temperature}，NVT，"
            "{run}{extras}。",
        ),
    ),
)
