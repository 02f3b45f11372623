"""Families: parameterised simulations, and the setting that most of them share.

A family is one file in `mdx.tasks.families` that holds a `Family`: a function that draws one
`Simulation` (script, checks and the values that the text must state) and at least twelve
phrasings. The rule that makes splits disjoint: the values a text states determine the script up
to its random seeds, and every phrasing states them all.

Scripts follow one canonical order: units, lattice, region, create_box, create_atoms, changes of
the atoms or the box, mass, pair_style, pair_coeff, velocity, computes, fixes, dumps, timestep,
run or minimize, write_data. Units are metal unless a family says otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from mdx.tasks.materials import (
    Cells,
    Material,
    Pool,
    crystal_commands,
    num_atoms,
    potential_commands,
)
from mdx.tasks.phrasing import (
    Phrasing,
    Slot,
    cells_slot,
    crystal_slot,
    material_slot,
    run_slot,
    steps_slot,
    temperature_slot,
    timestep_slot,
)
from mdx.tasks.task import Check, CheckKind, Potential

DEFAULT_SEED = 4928  # where the text names no seed
DURATIONS = (400, 500, 600, 700, 800, 900, 1000)  # steps
MIN_TIMESTEPS = 400
MAX_STATIC_COST_US = 20.0  # per atom and step, where energies are evaluated some fifty times

# Cubic cells along an edge that give 54 to 256 atoms.
_EDGES = {"fcc": (3, 4), "l12": (3, 4), "bcc": (3, 4), "b2": (3, 4)}
_EDGES_OF_EIGHT = (2, 3)  # structures of 8 atoms a cell


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """One member of a family: what its script does, what must come of it, what the text states."""

    commands: tuple[str, ...]
    checks: tuple[Check, ...]
    slots: Mapping[str, Slot]  # by the name that phrasings use
    material: Material | None = None  # None: the family has a potential of its own
    volume_per_atom: float | None = None
    num_steps: int = 0
    seed: int | None = None  # stated in the text; None: the default, unstated
    potential: Potential | None = None  # where there is no material
    failed_scripts: tuple[str, ...] = ()  # repair only: what there is to repair
    files: Mapping[str, bytes] = field(default_factory=dict)  # given to the script
    elements: tuple[str, ...] = ()  # of the atom types; those of the material if empty
    asked_as: "Family | None" = None  # repair only: the family whose texts ask for it

    @property
    def script(self) -> str:
        """The reference script, each command on its line."""
        return "\n".join(self.commands) + "\n"

    def asking(self, slots: Mapping[str, Slot]) -> "Simulation":
        """Return the same simulation whose texts have these slots."""
        return replace(self, slots=slots)

    def made_of(self, elements: tuple[str, ...]) -> "Simulation":
        """Return the same simulation whose atom types are these elements."""
        return replace(self, elements=elements)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of simulation: how to draw one, and how people ask for it.

    `repairs`: the prompt holds a broken script of another family and what came of it.
    `names_potential`: checks demand energies, so every text names the potential's file.
    `states_potential`: False where the script has no potential, so no text mentions one.
    """

    name: str
    summary: str  # one sentence, for documents and reports
    draw: Callable[[Random, Pool], Simulation]
    phrasings: tuple[Phrasing, ...]
    repairs: bool = False
    names_potential: bool = False
    states_potential: bool = True


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every dynamics family draws: material, size, temperature, duration, seed."""

    material: Material
    cells: Cells
    temperature: int  # K
    timestep: float  # ps
    num_steps: int
    stated_seed: int | None = None

    @property
    def seed(self) -> int:
        """The seed that the script uses."""
        return DEFAULT_SEED if self.stated_seed is None else self.stated_seed

    @property
    def num_atoms(self) -> int:
        """Atoms of the perfect crystal."""
        return num_atoms(self.material, self.cells)

    def crystal(self) -> list[str]:
        """Return the commands up to and including the potential."""
        return [*crystal_commands(self.material, self.cells), *potential_commands(self.material)]

    def velocity(self, temperature: float | None = None) -> str:
        """Return the velocity command for twice the temperature.

        On a perfect lattice half of the kinetic energy turns into potential energy.
        """
        kelvin = 2 * (self.temperature if temperature is None else temperature)
        return f"velocity all create {kelvin:g} {self.seed}"

    def run(self) -> list[str]:
        """Return the commands that integrate."""
        return [f"timestep {self.timestep:g}", f"run {self.num_steps}"]

    def slots(self) -> dict[str, Slot]:
        """Return the slots of material, size, temperature, time step and duration."""
        return {
            "material": material_slot(self.material),
            "cells": cells_slot(self.cells),
            "temperature": temperature_slot(self.temperature),
            "timestep": timestep_slot(self.timestep),
            "steps": steps_slot(self.num_steps, self.timestep),
        }

    def checks(self, ensemble: str, atoms: int | None = None) -> tuple[Check, ...]:
        """Return the checks of any run of this setting; `atoms` if not a perfect crystal's."""
        return (
            *crystal_checks(self.num_atoms if atoms is None else atoms),
            Check(kind=CheckKind.ENSEMBLE, text=ensemble),
            Check(kind=CheckKind.NUM_STEPS, target=self.num_steps),
            Check(kind=CheckKind.TIMESTEP, target=self.timestep),
        )

    def thermostat_checks(self, ensemble: str, atoms: int | None = None) -> tuple[Check, ...]:
        """Return `checks` and those of a canonical temperature."""
        return (
            *self.checks(ensemble, atoms),
            Check(kind=CheckKind.TEMPERATURE, target=self.temperature),
            Check(kind=CheckKind.FLUCTUATION),
        )

    def simulation(
        self,
        commands: list[str],
        checks: tuple[Check, ...],
        volume_per_atom: float | None = None,
        **slots: Slot,
    ) -> Simulation:
        """Return the simulation of this setting; `slots` are the family's own."""
        volume = self.material.volume_per_atom if volume_per_atom is None else volume_per_atom
        return Simulation(
            commands=tuple(commands),
            checks=checks,
            slots={**self.slots(), **slots},
            material=self.material,
            volume_per_atom=volume,
            num_steps=self.num_steps,
            seed=self.stated_seed,
        )

    def brief(
        self,
        commands: list[str],
        checks: tuple[Check, ...],
        volume_per_atom: float | None = None,
        **slots: Slot,
    ) -> Simulation:
        """Return the simulation of this setting for texts with `{crystal}` and `{run}`.

        These say material and size, steps and time step; `slots` are the family's own.
        """
        named = {
            "crystal": crystal_slot(self.material, self.cells),
            "run": run_slot(self.num_steps, self.timestep),
        }
        simulation = self.simulation(commands, checks, volume_per_atom)
        return replace(simulation, slots={**named, **slots})


def crystal_checks(atoms: int) -> tuple[Check, ...]:
    """Return the checks of every crystal with a potential."""
    return (
        Check(kind=CheckKind.UNITS, text="metal"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
    )


def draw_material(rng: Random, pool: Pool) -> Material:
    """Draw a material with a potential: three in four are drawn among the defaults."""
    return rng.choice(pool.defaults if rng.random() < 0.75 else pool.entries)


def draw_cells(rng: Random, material: Material) -> Cells:
    """Draw a box of 54 to 320 atoms: a cube, or longer by one cell along one axis."""
    edge = rng.choice(_EDGES.get(material.structure, _EDGES_OF_EIGHT))
    cells = [edge, edge, edge]
    if rng.random() < 0.4:
        cells[rng.randrange(3)] += 1
    return (cells[0], cells[1], cells[2])


def draw_temperature(rng: Random, material: Material) -> int:
    """Draw a temperature at which `material` stays solid, on a grid of 50 K."""
    highest = material.max_temperature // 50
    return 50 * rng.randint(2 if highest > 4 else 1, highest)


def draw_setting(rng: Random, pool: Pool, structures: tuple[str, ...] | None = None) -> Setting:
    """Draw a setting whose reference costs at most the pool's `max_cost_ms`.

    It lasts at least `MIN_TIMESTEPS` of the material's largest time steps, so that vibrations lose
    the memory of their common start on the lattice sites.
    """
    while True:
        material = draw_material(rng, pool)
        if not material.volume_at or not _fits(material, structures):
            continue
        cells = draw_cells(rng, material)
        timestep = material.timestep * rng.choice((0.5, 1.0, 1.0))
        most = 1000 * pool.max_cost_ms / (num_atoms(material, cells) * material.cost_us)
        least = 0.999 * MIN_TIMESTEPS * material.timestep / timestep
        fitting = [n for n in DURATIONS if least <= n <= most]
        if fitting:
            return Setting(
                material=material,
                cells=cells,
                temperature=draw_temperature(rng, material),
                timestep=timestep,
                num_steps=rng.choice(fitting),
                stated_seed=rng.randint(1, 999) if rng.random() < 0.15 else None,
            )


def draw_static(
    rng: Random,
    pool: Pool,
    structures: tuple[str, ...] | None = None,
    max_cost_us: float = MAX_STATIC_COST_US,
) -> tuple[Material, Cells]:
    """Draw a material, of the given structures if there are any given, and a box."""
    material = draw_material(rng, pool)
    while not _fits(material, structures) or material.cost_us > max_cost_us:
        material = draw_material(rng, pool)
    return material, draw_cells(rng, material)


def _fits(material: Material, structures: tuple[str, ...] | None) -> bool:
    return structures is None or material.structure in structures
