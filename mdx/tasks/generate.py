"""Draw examples: tasks with the reference scripts that solve them, split without overlap.

The hash of a script's skeleton (the script with its random seeds removed) decides whether it
belongs to train, validation or test. Since every text determines its skeleton (see
`mdx.tasks.family`), no text occurs in two splits either; tests check both. Examples depend on
(split, seed, families, material_set) alone: the first n of a longer draw are the draw of n.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from mdx.errors import UsageError
from mdx.tasks.families import choose_families
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool, is_default, pool
from mdx.tasks.phrasing import Phrasing, Register, potential_clause, seed_clause
from mdx.tasks.task import Check, CheckKind, Task

# Shares in percent, by the hash of the skeleton.
_SPLITS = {"train": range(80), "validation": range(80, 85), "test": range(85, 100)}
_MAX_MISSES = 2000  # draws without a new script: the family's space is exhausted
_SEED = re.compile(r"^(velocity all create \S+|fix \S+ all langevin \S+ \S+ \S+) \d+", re.MULTILINE)


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


def skeleton(script: str) -> str:
    """Return `script` with its random seeds replaced by a word."""
    return _SEED.sub(r"\1 SEED", script)


def split_of(script: str) -> str:
    """Return the split that a script belongs to by its skeleton."""
    digest = hashlib.sha256(skeleton(script).encode()).digest()
    percent = int.from_bytes(digest[:4], "big") % 100
    return next(name for name, percents in _SPLITS.items() if percent in percents)


def draw_examples(
    *,
    split: str,
    num_scripts: int,
    seed: int,
    phrasings_per_script: int = 1,
    families: Sequence[str] = (),
    material_set: str = "all",
) -> Iterator[Example]:
    """Yield `phrasings_per_script` examples for each of `num_scripts` distinct scripts.

    Args:
        split: "train", "validation" or "test".
        num_scripts: distinct scripts, spread evenly over the families; one whose scripts are
            exhausted leaves the rest to the others.
        seed: decides everything that is drawn.
        phrasings_per_script: different texts that ask for the same script.
        families: names of the families to draw from; all if empty.
        material_set: name of the pool of materials to draw from.

    Raises:
        UsageError: unknown split or family, or the split has fewer scripts than that.
    """
    if split not in _SPLITS:
        raise UsageError(f"the split must be one of {', '.join(_SPLITS)}, not {split!r}")
    materials = pool(material_set)
    sources = {f: _distinct(f, split, seed, materials) for f in choose_families(families)}
    drawn = 0
    while drawn < num_scripts:
        if not sources:
            raise UsageError(f"{split} has only {drawn} distinct scripts, not {num_scripts}")
        for family in list(sources)[: num_scripts - drawn]:
            simulation = next(sources[family], None)
            if simulation is None:  # no more scripts: the others go on
                del sources[family]
                continue
            drawn += 1
            rng = Random(f"{seed}/{simulation.script}")
            yield from _examples(family, simulation, phrasings_per_script, rng)


def _distinct(family: Family, split: str, seed: int, materials: Pool) -> Iterator[Simulation]:
    """Yield simulations of `family` in `split`, each skeleton once, until none is new."""
    rng = Random(f"{seed}/{split}/{family.name}")
    seen: set[str] = set()
    misses = 0
    while misses < _MAX_MISSES:
        simulation = family.draw(rng, materials)
        key = skeleton(simulation.script)
        if key in seen or split_of(simulation.script) != split:
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
