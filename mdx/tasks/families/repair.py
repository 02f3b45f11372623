"""Repair: a broken script of another family and what LAMMPS said about it.

The prompt of a repair task is the base family's; `mdx.chat.repair_messages` adds the failed script
and the error, which is known only once the script has been run.
"""

from dataclasses import replace
from functools import partial
from random import Random

from mdx.tasks.breakage import break_script
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool

NUM_FAILED_SCRIPTS = 4  # one a phrasing, so that a script is seen with several mistakes


def repair_of(bases: tuple[Family, ...]) -> Family:
    """Return the family that repairs the scripts of `bases`."""
    return Family(
        name="repair",
        summary="Repair a broken script, given what LAMMPS said about it.",
        draw=partial(_draw, bases),
        phrasings=(),
        repairs=True,
    )


def _draw(bases: tuple[Family, ...], rng: Random, pool: Pool) -> Simulation:
    """Draw a simulation of some family, and broken versions of its script."""
    base = rng.choice(bases)
    simulation = base.draw(rng, pool)
    broken = (break_script(simulation.script, rng).script for _ in range(NUM_FAILED_SCRIPTS))
    return replace(simulation, failed_scripts=tuple(broken), asked_as=base)
