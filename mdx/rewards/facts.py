"""What a run showed, in the form that checks ask for: production run, window, script energy.

The production run is the longest `run` (the last of equals); its window is the second half of its
samples. Nothing here reads the log or a value that the script printed.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mdx.lammps.run import Evidence, FinalState, ProbedRun, RunResult, RunStatus
from mdx.lammps.script import Script
from mdx.tasks.task import Check, CheckKind, Task

NUM_BLOCKS = 5
_LARGEST = 1e100


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One task with what one script came to."""

    task: Task
    script: Script
    result: RunResult
    production: ProbedRun | None
    window: Mapping[str, Sequence[float]]  # second half of the production run, finite values only

    @property
    def runs(self) -> tuple[ProbedRun, ...]:
        """All probed runs and minimisations whose record can be trusted, in order."""
        return tuple(run for run in self.result.evidence.runs if run.trusted)

    @property
    def final(self) -> FinalState | None:
        """The system after the script."""
        return self.result.evidence.final

    @property
    def units(self) -> str:
        """The unit style of the finished system."""
        return self.final.units if self.final else ""

    @property
    def ended_well(self) -> bool:
        """Whether the script ended without an error."""
        return self.result.status is RunStatus.OK

    @property
    def steps_done(self) -> int:
        """Steps of dynamics over all runs; minimisation does not count."""
        return sum(max(0, run.last_step - run.first_step) for run in self.runs if is_run(run))

    @property
    def num_atoms(self) -> int:
        """Atoms at the end, as far as it is known."""
        if self.final:
            return self.final.num_atoms
        return self.runs[-1].num_atoms_after if self.runs else 0

    @property
    def script_energy(self) -> float | None:
        """The last potential energy that the script's own potential gave, of the whole system."""
        series = self.runs[-1].series.get("potential_energy", ()) if self.runs else ()
        return series[-1] if series else None

    @property
    def volume_per_atom(self) -> float | None:
        """Mean over the window; of the final box where nothing was run."""
        volumes, atoms = self.window.get("volume", ()), self.window.get("num_atoms", ())
        if volumes and atoms and min(atoms) > 0:
            return sum(volumes) / sum(atoms)
        if self.final and self.final.num_atoms:
            return math.prod(self.final.box_lengths) / self.final.num_atoms
        return None

    def checks(self, *kinds: CheckKind) -> tuple[Check, ...]:
        """Return the task's checks of these kinds."""
        return tuple(check for check in self.task.checks if check.kind in kinds)


def gather(task: Task, script: Script, result: RunResult) -> Facts:
    """Collect what the checks of `task` ask for.

    Of a timeout nothing counts: how far a script gets depends on the machine and its load, and
    rewards must not.
    """
    if result.status is RunStatus.TIMEOUT:
        result = replace(result, evidence=Evidence())
    dynamics = [run for run in result.evidence.runs if is_run(run) and run.trusted]
    production = max(
        reversed(dynamics), key=lambda run: run.last_step - run.first_step, default=None
    )
    return Facts(
        task=task,
        script=script,
        result=result,
        production=production,
        window=_second_half(production) if production else {},
    )


def is_run(run: ProbedRun) -> bool:
    """Whether this is dynamics, not minimisation."""
    return run.command == "run"


def ramp(deviation: float, full: float, zero: float) -> float:
    """Return 1 up to `full`, 0 from `zero` on, linear in between; 0 for a deviation of NaN.

    >>> ramp(2.5, 1.0, 4.0)
    0.5
    """
    if not deviation < zero:
        return 1.0 if deviation <= full else 0.0
    return 1.0 if deviation <= full else (zero - deviation) / (zero - full)


def relative_mark(value: float | None, target: float | None, tolerance: float) -> float:
    """Return full marks within a relative `tolerance` of the target, zero at 4 times that."""
    if value is None or target is None:
        return 0.0
    deviation = abs(value - target) / abs(target) if target else abs(value)
    return ramp(deviation, max(tolerance, 1e-9), 4 * max(tolerance, 1e-9))


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return math.fsum(values) / len(values)


def block_means(values: Sequence[float], count: int = NUM_BLOCKS) -> list[float]:
    """Return the means of `count` equal blocks; fewer if there are fewer values."""
    count = min(count, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)] if count else [0]
    return [mean(values[a:b]) for a, b in itertools.pairwise(edges)]


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean from 5 blocks, which holds for correlated values."""
    blocks = block_means(values)
    if len(blocks) < 2:
        return math.inf
    centre = mean(blocks)
    variance = math.fsum((b - centre) ** 2 for b in blocks) / (len(blocks) - 1)
    return math.sqrt(variance / len(blocks))


def standard_deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _second_half(run: ProbedRun) -> dict[str, tuple[float, ...]]:
    middle = (run.first_step + run.last_step) / 2
    steps = run.series.get("step", ())
    kept = [i for i, step in enumerate(steps) if step is not None and step >= middle]
    return {
        name: finite_values([values[i] for i in kept if i < len(values)])
        for name, values in run.series.items()
    }


def finite_values(series: Sequence[float | None]) -> tuple[float, ...]:
    """Drop what is missing or so large that its square would overflow."""
    return tuple(value for value in series if value is not None and abs(value) < _LARGEST)
