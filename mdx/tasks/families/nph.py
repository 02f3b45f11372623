"""Constant enthalpy: a barostat without a thermostat."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal at zero pressure whose velocities are drawn once."""
    setting = draw_setting(rng, pool)
    start = 2 * setting.temperature
    commands = [
        *setting.crystal(),
        f"velocity all create {start} {setting.seed}",
        "fix 1 all nph iso 0 0 0.5",
        *setting.run(),
    ]
    volume = round(setting.material.volume_per_atom_at(setting.temperature), 4)
    checks = (
        *setting.checks("nph"),
        # Half of the kinetic energy turns into potential energy, a little into expansion.
        Check(kind=CheckKind.TEMPERATURE, target=setting.temperature, tolerance=0.15),
        Check(kind=CheckKind.PRESSURE, target=0),
        Check(kind=CheckKind.VOLUME, target=volume),
    )
    return setting.brief(commands, checks, volume, start=temperature_slot(start))


FAMILY = Family(
    name="nph",
    summary="Integrate a crystal at constant enthalpy and zero pressure.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "NPH {crystal}, velocities at {start}, zero pressure, {run}{extras}",
            "{crystal}, fix nph iso 0 bar, velocity create {start}, {run}{extras}",
            "constant enthalpy: {crystal}, P = 0, initial {start}, {run}{extras}",
        ),
        textbook=(
            "Simulate {crystal} in the isoenthalpic-isobaric (NPH) ensemble at zero pressure from"
            " velocities of {start}, {run}{extras}.",
            "Without any thermostat, barostat {crystal} isotropically to 0 bar (fix nph); draw the"
            " initial velocities at {start}; {run}{extras}.",
        ),
        goal=(
            "I want {crystal} to find its own temperature at zero pressure in NPH, starting from"
            " {start}, {run}{extras}.",
            "Please run NPH on {crystal} at 0 bar with velocities created at {start},"
            " {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Create velocities at {start}. Apply fix nph at 0 bar. Run"
            " {run}{extras}.",
            "1. {crystal} 2. velocities {start} 3. nph iso, 0 bar 4. {run}{extras}",
        ),
        chinese=(
            "{crystal}，NPH 系综，零压，初始速度 {start}，{run}{extras}",
            "在零压下对 {crystal} 做等焓等压（NPH）模拟，初速度温度 {start}，{run}{extras}。",
            "请不加热浴、只用 fix nph 控制 {crystal} 的压力为 0 bar，速度按 {start} 生成，"
            "{run}{extras}。",
        ),
    ),
)
