"""Constant temperature by stochastic velocity rescaling (Bussi, Donadio and Parrinello)."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal under the canonical velocity rescaling thermostat."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    commands = [
        *setting.crystal(),
        setting.velocity(),
        "fix 1 all nve",
        f"fix 2 all temp/csvr {t} {t} 0.1 {DEFAULT_SEED}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.METHOD, text="temp/csvr"),
    )
    return setting.brief(commands, checks, temperature=temperature_slot(t))


FAMILY = Family(
    name="csvr",
    summary="Hold a crystal at constant temperature by stochastic velocity rescaling.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "CSVR thermostat: {crystal}, {temperature}, {run}{extras}",
            "{crystal}, fix temp/csvr at {temperature}, {run}{extras}",
            "Bussi thermostat at {temperature} on {crystal}, {run}{extras}",
        ),
        textbook=(
            "Sample the canonical ensemble of {crystal} at {temperature} by stochastic velocity"
            " rescaling (temp/csvr), {run}{extras}.",
            "Simulate {crystal} with fix nve and the Bussi-Donadio-Parrinello thermostat at"
            " {temperature}, {run}{extras}.",
        ),
        goal=(
            "I want {crystal} at {temperature} with the CSVR thermostat, {run}{extras}.",
            "Please thermostat {crystal} to {temperature} by canonical velocity rescaling, fix"
            " temp/csvr, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Integrate with fix nve. Thermostat with temp/csvr at {temperature}."
            " Run {run}{extras}.",
            "1. {crystal} 2. nve 3. temp/csvr {temperature} 4. {run}{extras}",
        ),
        chinese=(
            "{crystal}，CSVR 热浴，{temperature}，{run}{extras}",
            "用随机速度标度（temp/csvr）把 {crystal} 控制在 {temperature}，{run}{extras}。",
            "请用 Bussi 热浴模拟 {crystal}，温度 {temperature}，{run}{extras}。",
        ),
    ),
)
