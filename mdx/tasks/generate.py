"""Draw examples: tasks with the reference scripts that solve them, split without overlap.

Which split a simulation belongs to is a function of the simulation alone (`mdx.tasks.splits`).
Examples depend on (split, seed, families, materials, what is held out) alone: the first n of a
longer draw are the draw of n.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from mdx.errors import UsageError
from mdx.tasks.families import choose_families
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, is_default, pool
from mdx.tasks.phrasing import Phrasing, Register, potential_clause, seed_clause
from mdx.tasks.splits import (
    NOTHING_HELD_OUT,
    SPLITS,
    HeldOut,
    skeleton,
    split_of_simulation,
)
from mdx.tasks.task import Check, CheckKind, Task

_MAX_MISSES = 2000  # draws without a new script: the family's space is exhausted


@dataclass(frozen=True, kw_only=True)
class Example:
    """A task and the reference script that solves it.

    `failed_script` is the broken script of a repair task; `error`, what LAMMPS said about it, is
    None until it has been run.
    """

    task: Task
    script: str
    failed_script: str | None = None
    error: str | None = None


def draw_examples(
    *,
    split: str,
    num_scripts: int,
    seed: int,
    phrasings_per_script: int = 1,
    families: Sequence[str] = (),
    material_set: str = "all",
    held_out: HeldOut = NOTHING_HELD_OUT,
) -> Iterator[Example]:
    """Yield the examples of the first `num_scripts` groups that `draw_groups` yields.

    Raises UsageError as `draw_groups` does, and where the split has fewer scripts than that.
    """
    drawn = 0
    groups = draw_groups(
        split=split,
        seed=seed,
        phrasings_per_script=phrasings_per_script,
        families=families,
        material_set=material_set,
        held_out=held_out,
    )
    for group in islice(groups, num_scripts):
        drawn += 1
        yield from group
    if drawn < num_scripts:
        raise UsageError(f"{split} has only {drawn} distinct scripts, not {num_scripts}")


def draw_groups(
    *,
    split: str,
    seed: int,
    phrasings_per_script: int = 1,
    families: Sequence[str] = (),
    material_set: str = "all",
    held_out: HeldOut = NOTHING_HELD_OUT,
) -> Iterator[tuple[Example, ...]]:
    """Yield the examples of one script after the other until the split has no more scripts.

    Args:
        split: one of `mdx.tasks.splits.SPLITS`.
        seed: decides everything that is drawn.
        phrasings_per_script: different texts that ask for the same script: a group.
        families: names of the families to draw from, evenly; all if empty. One whose scripts are
            exhausted leaves the rest to the others.
        material_set: name of the pool of materials to draw from.
        held_out: what only the splits made for it have.

    Raises:
        UsageError: unknown split, family, pool or potential.
    """
    if split not in SPLITS:
        raise UsageError(f"the split must be one of {', '.join(SPLITS)}, not {split!r}")
    held_out.check(material_set)
    materials = pool(material_set)
    sources = {
        family: _distinct(family, split, seed, materials, held_out)
        for family in _families_of(split, families, held_out)
    }
    while sources:
        for family in list(sources):
            simulation = next(sources[family], None)
            if simulation is None:  # no more scripts: the others go on
                del sources[family]
                continue
            rng = Random(f"{seed}/{simulation.script}")
            yield tuple(_examples(family, simulation, phrasings_per_script, rng))


def _families_of(split: str, names: Sequence[str], held_out: HeldOut) -> tuple[Family, ...]:
    chosen = choose_families(names)
    if split == "test_family":
        return tuple(family for family in chosen if family.name in held_out.families)
    known = tuple(family.name for family in chosen if family.name not in held_out.families)
    if not known:
        return ()
    families = choose_families(known)
    if split == "test_potential":
        return tuple(family for family in families if family.states_potential)
    return families


def _distinct(
    family: Family, split: str, seed: int, materials: Pool, held_out: HeldOut
) -> Iterator[Simulation]:
    """Yield simulations of `family` in `split`, each skeleton once, until none is new."""
    rng = Random(f"{seed}/{split}/{family.name}")
    seen: set[str] = set()
    misses = 0
    while misses < _MAX_MISSES:
        simulation = family.draw(rng, materials)
        key = skeleton(simulation.script)
        if key in seen or split_of_simulation(family, simulation, held_out) != split:
            misses += 1
            continue
        seen.add(key)
        misses = 0
        yield simulation


def _examples(family: Family, simulation: Simulation, count: int, rng: Random) -> Iterator[Example]:
    """Yield `count` examples of one simulation whose texts differ."""
    asked_as = simulation.asked_as or family
    failed_scripts = simulation.failed_scripts or (None,)
    texts: set[str] = set()
    misses = 0
    while len(texts) < count:
        phrasing = rng.choice(asked_as.phrasings)
        text, names_file = _text(asked_as, phrasing, simulation, rng)
        if text in texts:
            misses += 1
            if misses > _MAX_MISSES:
                raise UsageError(
                    f"phrasings_per_script must be at most the {len(texts)} texts that the family "
                    f"{family.name!r} has for a script, not {count}"
                )
            continue
        failed_script = failed_scripts[len(texts) % len(failed_scripts)]
        texts.add(text)
        task = _task(family, simulation, text, names_file, phrasing)
        yield Example(task=task, script=simulation.script, failed_script=failed_script)


def _text(
    family: Family, phrasing: Phrasing, simulation: Simulation, rng: Random
) -> tuple[str, bool]:
    """Return one text of `simulation`, and whether it names the potential's file."""
    chinese = phrasing.register is Register.CHINESE
    material = simulation.material
    extras, names_file = "", False
    if material is not None and family.states_potential:
        way = rng.random()
        names_file = family.names_potential or not is_default(material) or way < 0.6
        if names_file:
            extras = potential_clause(rng, material.potential_file, True, chinese)
        elif way < 0.8:
            extras = potential_clause(rng, material.style, False, chinese)
    if simulation.seed is not None:
        extras += seed_clause(simulation.seed, chinese)
    return phrasing.render(rng, simulation.slots, extras), names_file


def _task(
    family: Family, simulation: Simulation, text: str, names_file: bool, phrasing: Phrasing
) -> Task:
    """Assemble the task of one text; the potential is checked where the text names its file."""
    material = simulation.material
    asked_as = simulation.asked_as or family
    potential = simulation.potential
    if material is not None and asked_as.states_potential:
        potential = material.potential
    checks = simulation.checks
    if names_file or simulation.potential is not None:
        checks += (Check(kind=CheckKind.POTENTIAL),)
    digest = hashlib.sha256(f"{family.name}\n{text}\n{simulation.script}".encode()).hexdigest()
    stated = {name: slot.english[0] for name, slot in simulation.slots.items()}
    return Task(
        id=f"{family.name}-{digest[:12]}",
        family=family.name,
        prompt=text,
        checks=checks,
        potential=potential,
        elements=simulation.elements or (material.elements if material else ()),
        volume_per_atom=simulation.volume_per_atom,
        num_steps=simulation.num_steps,
        files=simulation.files,
        parameters={"register": phrasing.register.value, "simulation": asked_as.name, **stated},
    )
