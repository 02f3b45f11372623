"""Repair what runs but is wrong: units, time step, overlapping atoms, a style that is gone.

Each of these families breaks the scripts of others in one way. LAMMPS stops with an error, loses
atoms, or ends with numbers that nobody should believe; `mdx.rewards.describe_failure` says which.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool

_MAX_DRAWS = 200
_STEPS_TOO_LONG = (30, 50, 80, 100)  # times the sensible step
# A style as people remember it from old releases or other codes, and what it is now.
_REMOVED = {
    "fix 1 all nvt temp": ("fix 1 all nvt", "fix 1 all nose/hoover temp"),
    "fix 1 all npt temp": ("fix 1 all npt", "fix 1 all nose/npt temp"),
    "fix 1 all nve": ("fix 1 all nve/integrate", "fix 1 all verlet"),
    "pair_style eam/alloy": ("pair_style eam/setfl",),
    "pair_style eam/fs": ("pair_style eam/finnis",),
    "pair_style tersoff": ("pair_style tersoff/si",),
    "minimize ": ("minimise ", "energy_minimize "),
}


def _removed_style(lines: list[str], rng: Random) -> list[str] | None:
    """Use a style or command that LAMMPS does not have, or has no more."""
    places = [(i, old) for i, line in enumerate(lines) for old in _REMOVED if line.startswith(old)]
    if not places:
        return None
    place, old = rng.choice(places)
    return _with(lines, place, rng.choice(_REMOVED[old]) + lines[place][len(old) :])


def _units(lines: list[str], rng: Random) -> list[str] | None:
    """Give the time step in femtoseconds where the unit is the picosecond, or the other units."""
    if "units metal" not in lines or not any(line.startswith("pair_style") for line in lines):
        return None
    steps = [i for i, line in enumerate(lines) if line.startswith("timestep ")]
    if steps and rng.random() < 0.5:
        femtoseconds = 1000 * float(lines[steps[0]].split()[1])
        return _with(lines, steps[0], f"timestep {femtoseconds:g}")
    return _with(lines, lines.index("units metal"), f"units {rng.choice(('real', 'lj', 'si'))}")


def _timestep(lines: list[str], rng: Random) -> list[str] | None:
    """Take a time step that is far too long."""
    steps = [i for i, line in enumerate(lines) if line.startswith("timestep ")]
    if not steps:
        return None
    step = float(lines[steps[0]].split()[1]) * rng.choice(_STEPS_TOO_LONG)
    return _with(lines, steps[0], f"timestep {step:g}")


def _overlap(lines: list[str], rng: Random) -> list[str] | None:
    """Fill the box twice, so that atoms sit on atoms."""
    fills = [i for i, line in enumerate(lines) if line.startswith("create_atoms 1 box")]
    runs = any(line.startswith("run ") for line in lines)
    if len(fills) != 1 or not runs:
        return None
    return [*lines[: fills[0] + 1], lines[fills[0]], *lines[fills[0] + 1 :]]


def _with(lines: list[str], place: int, line: str) -> list[str]:
    return [*lines[:place], line, *lines[place + 1 :]]


Mistake = Callable[[list[str], Random], list[str] | None]
MISTAKES: dict[str, tuple[str, Mistake]] = {
    "repair_removed_style": (
        "Repair a script that uses a style LAMMPS does not have.",
        _removed_style,
    ),
    "repair_units": ("Repair a script whose units, or time step's unit, are wrong.", _units),
    "repair_timestep": ("Repair a script whose time step is far too long.", _timestep),
    "repair_overlap": ("Repair a script that creates its atoms twice.", _overlap),
}


def repairs_of(bases: tuple[Family, ...]) -> tuple[Family, ...]:
    """Return the families that repair the scripts of `bases`, one for each kind of mistake."""
    return tuple(
        Family(
            name=name,
            summary=summary,
            draw=partial(_draw, bases, mistake),
            phrasings=(),
            repairs=True,
        )
        for name, (summary, mistake) in MISTAKES.items()
    )


def _draw(bases: tuple[Family, ...], mistake: Mistake, rng: Random, pool: Pool) -> Simulation:
    """Draw a simulation to which the mistake applies, and its broken script.

    Raises ValueError where none of the bases has one.
    """
    for _ in range(_MAX_DRAWS):
        base = rng.choice(bases)
        simulation = base.draw(rng, pool)
        lines = mistake(list(simulation.commands), rng)
        if lines is not None:
            broken = "\n".join(lines) + "\n"
            return replace(simulation, failed_scripts=(broken,), asked_as=base)
    raise ValueError("no family among the bases has a script that can be broken so")
