"""Which tasks the policy tries next: those it sometimes solves, by running pass rates.

A task is drawn with weight sqrt(p (1 - p)) + floor, p its running pass rate: a group of G samples
teaches most where about half of them pass, and nothing where all or none do. A task of p >= 0.9 is
retired: it keeps the floor alone, so that it is visited again now and then. A task not tried yet
has the pass rate of its family, which a few groups of that family make known.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdx.tasks.task import Task

_MEMORY = 0.7  # share of the old counts that a new group leaves in place
_PRIOR_WEIGHT = 2.0  # samples that the family's pass rate counts for


@dataclass(kw_only=True)
class PassRates:
    """Running pass rates of tasks and of their families, and the draw that follows from them.

    Counts are (passed, scored) pairs, decayed as the policy changes.
    """

    tasks: dict[str, tuple[float, float]] = field(default_factory=dict)
    families: dict[str, tuple[float, float]] = field(default_factory=dict)
    floor: float = 0.05
    retire_above: float = 0.9

    def record(self, task: Task, passed: Sequence[bool]) -> None:
        """Count one group of first attempts at `task`."""
        for counts, name in ((self.tasks, task.id), (self.families, task.family)):
            old_passed, old_scored = counts.get(name, (0.0, 0.0))
            counts[name] = (
                _MEMORY * old_passed + sum(passed),
                _MEMORY * old_scored + len(passed),
            )

    def rate(self, task: Task) -> float:
        """Return the pass rate of `task`; its family's counts for two more samples."""
        family_passed, family_scored = self.families.get(task.family, (0.0, 0.0))
        family = (family_passed + 1.0) / (family_scored + 2.0)
        passed, scored = self.tasks.get(task.id, (0.0, 0.0))
        return (passed + _PRIOR_WEIGHT * family) / (scored + _PRIOR_WEIGHT)

    def weight(self, task: Task) -> float:
        """Return the weight with which `task` is drawn."""
        rate = self.rate(task)
        if rate >= self.retire_above:
            return self.floor
        return math.sqrt(rate * (1.0 - rate)) + self.floor

    def draw(self, tasks: Sequence[Task], count: int, rng: np.random.Generator) -> list[Task]:
        """Draw `count` different tasks by weight; all of them, shuffled, if there are no more.

        Reference: Efraimidis and Spirakis 2006, weighted sampling without replacement.
        """
        weights = np.array([self.weight(task) for task in tasks])
        keys = rng.exponential(size=len(tasks)) / weights
        return [tasks[i] for i in np.argsort(keys, kind="stable")[:count]]

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON values."""
        return {"tasks": dict(self.tasks), "families": dict(self.families)}

    @classmethod
    def from_json(cls, state: dict[str, Any], *, retire_above: float = 0.9) -> "PassRates":
        """Rebuild what `to_json` described."""
        tasks, families = (
            {key: (float(p), float(n)) for key, (p, n) in state[name].items()}
            for name in ("tasks", "families")
        )
        return cls(tasks=tasks, families=families, retire_above=retire_above)
