"""Questions with answers that are known to be right, for MD-InstructQA.

Each kind is a function that draws one question from measured materials, the unit tables, the
commands or the errors. Answers are short, so that exact scoring is possible. No language model
wrote any of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from mdx.errors import UsageError
from mdx.tasks.facts import LICENCE, SOURCE, facts
from mdx.tasks.materials import Material, crystal_commands, materials, num_atoms

_QUANTITIES = ("mass", "distance", "time", "energy", "velocity", "force", "temperature", "pressure")
_STRUCTURES = {
    "fcc": "face-centred cubic (fcc)",
    "bcc": "body-centred cubic (bcc)",
    "diamond": "diamond cubic",
    "b1": "rock salt (B1)",
    "zb": "zinc blende",
    "b2": "caesium chloride (B2)",
    "l12": "L1_2",
}
_MAX_REPEATS = 500  # draws without a new question: the space is exhausted


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question and its answer, with where they come from."""

    question: str
    answer: str
    kind: str
    source: str = SOURCE
    licence: str = LICENCE


def draw_questions(seed: int, count: int) -> Iterator[Question]:
    """Yield `count` different questions, spread over the kinds, decided by `seed`.

    Raises UsageError where there are not so many.
    """
    rng = Random(f"questions/{seed}")
    seen: set[str] = set()
    repeats = 0
    while len(seen) < count:
        kind = rng.choice(list(_KINDS))
        question, answer = _KINDS[kind](rng)
        if question in seen:
            repeats += 1
            if repeats > _MAX_REPEATS:
                raise UsageError(f"there are about {len(seen)} questions; ask for fewer")
            continue
        seen.add(question)
        repeats = 0
        yield Question(question=question, answer=answer, kind=kind)


def _named(material: Material, rng: Random) -> str:
    return rng.choice((material.name, material.english))


def _lattice_constant(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    return rng.choice(
        (
            f"What is the relaxed lattice constant of {_named(m, rng)} with {m.potential_file}?",
            f"Lattice constant of {_named(m, rng)}, potential {m.potential_file}, at 0 K?",
            f"{m.chinese}在势函数 {m.potential_file} 下的平衡晶格常数是多少？",
        )
    ), f"{m.lattice_constant:g} A"


def _cohesive_energy(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    return rng.choice(
        (
            f"What is the energy per atom of {_named(m, rng)} with {m.potential_file}?",
            f"Static energy of perfect {_named(m, rng)} per atom, {m.potential_file}?",
        )
    ), f"{m.energy_per_atom:.3f} eV"


def _structure(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    return rng.choice(
        (
            f"Which crystal structure does {_named(m, rng)} have?",
            f"In which structure is {_named(m, rng)} built?",
            f"{m.chinese}是什么晶体结构？",
        )
    ), _STRUCTURES[m.structure]


def _lattice_command(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    command = crystal_commands(m, (1, 1, 1))[1]
    return rng.choice(
        (
            f"Which lattice command builds {_named(m, rng)} for {m.potential_file}?",
            f"Write the LAMMPS lattice command of {_named(m, rng)} ({m.potential_file}).",
        )
    ), command


def _pair_style(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    return rng.choice(
        (
            f"Which pair_style reads {m.potential_file} for {m.name}?",
            f"Pair style of the potential file {m.potential_file} ({m.name})?",
            f"势函数文件 {m.potential_file}（{m.name}）用哪个 pair_style？",
        )
    ), f"pair_style {m.style}"


def _pair_coeff(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    return rng.choice(
        (
            f"Write pair_coeff for {_named(m, rng)} with {m.potential_file}.",
            f"Which pair_coeff loads {m.potential_file} for {_named(m, rng)}?",
        )
    ), f"pair_coeff {m.coeff}"


def _mass(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    i = rng.randrange(len(m.elements))
    return rng.choice(
        (
            f"What is the atomic mass of {m.elements[i]}?",
            f"Mass of {m.elements[i]} in g/mol?",
        )
    ), f"{m.masses[i]:g} g/mol"


def _atoms(rng: Random) -> tuple[str, str]:
    m = rng.choice(materials())
    cells = (rng.randint(2, 6), rng.randint(2, 6), rng.randint(2, 6))
    size = "x".join(map(str, cells))
    return rng.choice(
        (
            f"How many atoms are in {size} cubic cells of {_named(m, rng)}?",
            f"Number of atoms of a {size} {_named(m, rng)} crystal?",
        )
    ), str(num_atoms(m, cells))


def _unit(rng: Random) -> tuple[str, str]:
    style, table = rng.choice(list(facts().units.items()))
    quantity = rng.choice(_QUANTITIES)
    return rng.choice(
        (
            f"What is the unit of {quantity} in units {style}?",
            f"With units {style}, in which unit is {quantity} given?",
        )
    ), table[quantity]


def _default_timestep(rng: Random) -> tuple[str, str]:
    style, table = rng.choice(list(facts().units.items()))
    return rng.choice(
        (f"What is the default timestep of units {style}?", f"Default dt with units {style}?")
    ), table["timestep"]


def _conversion(rng: Random) -> tuple[str, str]:
    fs = rng.choice((0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 10, 20, 50, 100, 200, 500))
    if rng.random() < 0.5:
        return f"How many ps are {fs:g} fs?", f"{fs / 1000:g} ps"
    return f"How many fs are {fs / 1000:g} ps?", f"{fs:g} fs"


def _steps(rng: Random) -> tuple[str, str]:
    fs, steps = rng.choice((0.5, 1, 2, 4, 5)), rng.choice((200, 300, 400, 500, 600, 800, 1000))
    time, dt = f"{steps * fs / 1000:g} ps", f"{fs / 1000:g} ps"
    if rng.random() < 0.5:
        return f"How many steps are {time} with a timestep of {dt}?", str(steps)
    return f"How long are {steps} steps of {dt}?", time


def _velocity(rng: Random) -> tuple[str, str]:
    kelvin = 50 * rng.randint(1, 20)
    return rng.choice(
        (
            f"Which temperature does velocity create need on a perfect lattice for {kelvin} K?",
            f"Target {kelvin} K on a perfect lattice: velocity create with which temperature?",
        )
    ), f"{2 * kelvin} K, since half of it becomes potential energy"


def _command_purpose(rng: Random) -> tuple[str, str]:
    fact = rng.choice(facts().commands)
    return rng.choice(
        (f"What does {fact.name} do?", f"What is the LAMMPS command {fact.name} for?")
    ), f"It {fact.purpose}."


def _command_name(rng: Random) -> tuple[str, str]:
    fact = rng.choice(facts().commands)
    return rng.choice(
        (f"Which command {fact.purpose}?", f"In LAMMPS, what {fact.purpose}?")
    ), fact.name


def _command_syntax(rng: Random) -> tuple[str, str]:
    fact = rng.choice(facts().commands)
    if rng.random() < 0.5:
        return f"What are the arguments of {fact.name}, in order?", fact.syntax
    return f"Give an example of {fact.name}.", fact.example


def _error(rng: Random) -> tuple[str, str]:
    fact = rng.choice(facts().errors)
    if rng.random() < 0.5:
        return f"LAMMPS stops with '{fact.error}'. Why?", f"Because {fact.cause}."
    return f"How do I repair '{fact.error}'?", f"{fact.fix[0].upper()}{fact.fix[1:]}."


_KINDS: dict[str, Callable[[Random], tuple[str, str]]] = {
    "lattice_constant": _lattice_constant,
    "cohesive_energy": _cohesive_energy,
    "structure": _structure,
    "lattice_command": _lattice_command,
    "pair_style": _pair_style,
    "pair_coeff": _pair_coeff,
    "mass": _mass,
    "atoms": _atoms,
    "unit": _unit,
    "default_timestep": _default_timestep,
    "conversion": _conversion,
    "steps": _steps,
    "velocity": _velocity,
    "command_purpose": _command_purpose,
    "command_name": _command_name,
    "command_syntax": _command_syntax,
    "error": _error,
}
