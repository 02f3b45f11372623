"""Melt and quench: hold a crystal far above its melting point, then cool it fast."""

from dataclasses import replace
from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, run_slot, steps_count_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, the temperatures of the melt and of the glass, and both durations."""
    setting = draw_setting(rng, pool, ("fcc", "bcc"))
    hot = 100 * max(6, round(setting.material.max_temperature * rng.choice((2.0, 2.5, 3.0)) / 100))
    cold = 50 * round(hot / rng.choice((3, 4)) / 50)
    first, last = rng.choice((150, 200, 250)), rng.choice((400, 500, 600))
    commands = [
        *setting.crystal(),
        setting.velocity(hot),
        f"fix 1 all nvt temp {hot} {hot} 0.05",
        f"timestep {setting.timestep:g}",
        f"run {first}",
        f"fix 1 all nvt temp {hot} {cold} 0.05",
        f"run {last}",
    ]
    setting = replace(setting, num_steps=first + last)
    checks = (*setting.checks("nvt"), Check(kind=CheckKind.RAMP, start=hot, target=cold))
    return setting.brief(
        commands,
        checks,
        hot=temperature_slot(hot),
        cold=temperature_slot(cold),
        first=steps_count_slot(first),
        run=run_slot(last, setting.timestep),
    )


FAMILY = Family(
    name="melt_quench",
    summary="Melt a metal at high temperature and quench it linearly at constant volume.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "melt-quench {crystal}: {hot} for {first}, then NVT to {cold}, {run}{extras}",
            "{crystal}, nvt melt {hot} {first}, quench to {cold}, {run}{extras}",
            "metallic glass: {crystal}, {first} at {hot}, cooled to {cold}, {run}{extras}",
        ),
        textbook=(
            "Melt {crystal} at {hot} in NVT for {first} and quench the melt linearly to {cold},"
            " {run}{extras}.",
            "Prepare an amorphous sample of {crystal}: hold it at {hot} for {first}, then cool it"
            " to {cold} at constant volume, {run}{extras}.",
        ),
        goal=(
            "I want a quenched melt: {crystal}, {first} at {hot}, then down to {cold} with NVT,"
            " {run}{extras}.",
            "Can you melt {crystal} at {hot} ({first}) and then cool it to {cold}? NVT,"
            " {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Hold it at {hot} with NVT for {first}. Ramp to {cold}. Run"
            " {run}{extras}.",
            "1. {crystal} 2. nvt {hot}, {first} 3. nvt ramp to {cold} 4. {run}{extras}",
        ),
        chinese=(
            "{crystal} 熔化-淬火，{hot} 保温 {first}，NVT 降到 {cold}，{run}{extras}",
            "先在 {hot} 的 NVT 下熔化 {crystal}（{first}），再线性淬火到 {cold}，{run}{extras}。",
            "请制备非晶：{crystal} 在 {hot} 保持 {first}，然后定容冷却至 {cold}，{run}{extras}。",
        ),
    ),
)
