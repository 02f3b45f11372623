"""Constant temperature by weak coupling: a Berendsen thermostat on NVE."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that is weakly coupled to a bath."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    commands = [
        *setting.crystal(),
        setting.velocity(),
        "fix 1 all nve",
        f"fix 2 all temp/berendsen {t} {t} 0.1",
        *setting.run(),
    ]
    checks = (
        *setting.checks("nvt"),
        Check(kind=CheckKind.TEMPERATURE, target=t),
        Check(kind=CheckKind.METHOD, text="temp/berendsen"),
    )
    return setting.brief(commands, checks, temperature=temperature_slot(t))


FAMILY = Family(
    name="berendsen",
    summary="Hold a crystal at constant temperature with a Berendsen thermostat.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "Berendsen thermostat: {crystal}, {temperature}, {run}{extras}",
            "{crystal}, fix temp/berendsen at {temperature}, {run}{extras}",
            "NVE + Berendsen, {temperature}, {crystal}, {run}{extras}",
        ),
        textbook=(
            "Keep {crystal} at {temperature} by weak coupling to a Berendsen bath for"
            " {run}{extras}.",
            "Integrate {crystal} with fix nve and a Berendsen thermostat set to {temperature},"
            " {run}{extras}.",
        ),
        goal=(
            "I want {crystal} held at {temperature} with the Berendsen method, {run}{extras}.",
            "Can you thermalise {crystal} at {temperature} by weak coupling (temp/berendsen)?"
            " Run {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Integrate with fix nve. Add temp/berendsen at {temperature}."
            " Run {run}{extras}.",
            "1. {crystal} 2. nve 3. Berendsen thermostat, {temperature} 4. {run}{extras}",
        ),
        chinese=(
            "{crystal}，Berendsen 热浴，{temperature}，{run}{extras}",
            "用 Berendsen 弱耦合热浴把 {crystal} 保持在 {temperature}，{run}{extras}。",
            "请对 {crystal} 用 fix nve 加 temp/berendsen 控温到 {temperature}，{run}{extras}。",
        ),
    ),
)
