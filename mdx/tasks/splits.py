"""Which split a simulation belongs to: a function of the simulation alone, so splits never overlap.

    test_family      its family is held out
    test_potential   its potential is held out
    test_pair        its pair of material and family is held out, though each occurs in training
    train, validation, test, grpo   the others, by the hash of the script's skeleton

The skeleton is the script without its random seeds. Every text determines its skeleton (see
`mdx.tasks.family`), so splits that share no skeleton share no text; every build checks both.
"""

import hashlib
import re
from dataclasses import dataclass

from mdx.errors import UsageError
from mdx.tasks.families import choose_families
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import pool

# Shares in percent, by the hash of the skeleton.
_SHARES = {"train": range(80), "validation": range(80, 85), "test": range(85, 100)}
_GRPO_SHARE = 0.8  # of test's, where a split of prompts for MD-GRPO is wanted
SPLITS = ("train", "grpo", "validation", "test", "test_pair", "test_potential", "test_family")

# Where LAMMPS commands have their random seed.
_SEED = re.compile(
    r"^(velocity \S+ create \S+|fix \S+ \S+ (?:langevin|temp/csvr|temp/csld) \S+ \S+ \S+"
    r"|create_atoms \S+ random \S+|displace_atoms \S+ random \S+ \S+ \S+"
    r"|set \S+ \S+ type/(?:fraction|ratio|subset) \S+ \S+|fix \S+ \S+ deposit \S+ \S+ \S+"
    r"|fix \S+ \S+ gcmc \S+ \S+ \S+ \S+|fix \S+ \S+ evaporate \S+ \S+ \S+"
    r"|pair_style dpd \S+ \S+) \d+",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What training never sees, so that tests can ask for it. The default holds nothing out."""

    families: tuple[str, ...] = ()
    potentials: tuple[str, ...] = ()  # names of potential files
    pair_percent: int = 0  # of all pairs of a material and a family, chosen by hash
    has_grpo: bool = False  # whether prompts for MD-GRPO are a split of their own

    def check(self, material_set: str) -> None:
        """Raise UsageError for a family or a potential that there is not."""
        choose_families(self.families)
        known = {entry.potential_file for entry in pool(material_set).entries}
        for potential in self.potentials:
            if potential not in known:
                raise UsageError(
                    f"no material of the set {material_set!r} has the potential {potential!r}"
                )


NOTHING_HELD_OUT = HeldOut()


def skeleton(script: str) -> str:
    """Return `script` with its random seeds replaced by a word."""
    return _SEED.sub(r"\1 SEED", script)


def split_of(script: str) -> str:
    """Return the split that a script belongs to by its skeleton, nothing being held out."""
    percent = int.from_bytes(_digest(skeleton(script))[:4], "big") % 100
    return next(name for name, percents in _SHARES.items() if percent in percents)


def split_of_simulation(family: Family, simulation: Simulation, held_out: HeldOut) -> str:
    """Return the split of a simulation that `family` drew; repairs count for their base family.

    Empty: it belongs to none.
    """
    asked_as = simulation.asked_as or family
    material = simulation.material
    new_family = asked_as.name in held_out.families
    new_potential = (
        material is not None
        and asked_as.states_potential
        and material.potential_file in held_out.potentials
    )
    if new_family and new_potential:
        return ""  # it would tell nothing about either
    if new_family or new_potential:
        return "test_family" if new_family else "test_potential"
    if material is not None:
        pair = int.from_bytes(_digest(f"{material.name}/{asked_as.name}")[:4], "big") % 100
        if pair < held_out.pair_percent:
            return "test_pair"
    split = split_of(simulation.script)
    if split == "test" and held_out.has_grpo:
        share = int.from_bytes(_digest(skeleton(simulation.script))[4:8], "big") / 2**32
        return "grpo" if share < _GRPO_SHARE else "test"
    return split


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
