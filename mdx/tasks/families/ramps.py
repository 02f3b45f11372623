"""Temperature ramps: what heating and quenching share.

Not a family itself: `heating` and `quench` draw their simulations here.
"""

from dataclasses import replace
from random import Random

from mdx.tasks.family import Setting, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw_ramp_setting(rng: Random, pool: Pool) -> tuple[Setting, int, int]:
    """Draw a setting with a low temperature and one two to four times as high (K)."""
    while True:
        setting = draw_setting(rng, pool)
        low = setting.temperature
        highest = min(4 * low, setting.material.max_temperature)
        if 2 * low <= highest:
            return setting, low, 50 * rng.randint(2 * low // 50, highest // 50)


def ramp(setting: Setting, start: int, end: int) -> Simulation:
    """Return the simulation that goes from `start` to `end` (K) under Nose-Hoover."""
    commands = [
        *setting.crystal(),
        setting.velocity(start),
        f"fix 1 all nvt temp {start} {end} 0.05",
        *setting.run(),
    ]
    checks = (
        *setting.checks("nvt"),
        Check(kind=CheckKind.RAMP, start=start, target=end),
    )
    simulation = setting.simulation(commands, checks)
    slots = {name: slot for name, slot in simulation.slots.items() if name != "temperature"}
    slots |= {"start": temperature_slot(start), "end": temperature_slot(end)}
    return replace(simulation, slots=slots)
