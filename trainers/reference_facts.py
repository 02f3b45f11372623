"""What a reference run showed, as numbers that records hold: observables, sizes, modelled cost.

Everything here is a function of the run's evidence, so two builds give the same numbers. Measured
seconds are not: they depend on the machine and its load, and nothing is selected by them. What a
script may cost is decided by a model instead, from counts that are the same everywhere:

    cost = start-up + sum over runs of force evaluations x atoms x seconds per atom and evaluation

The last factor was measured once for each potential of the material table; a style that the table
does not have counts as expensive, so it is rather left out than let in. A minimiser evaluates
forces about `_EVALUATIONS_PER_ITERATION` times an iteration.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdx.lammps.run import RunResult
from mdx.lammps.script import Script
from mdx.rewards.facts import Facts, gather, is_run, mean
from mdx.tasks.materials import materials
from mdx.tasks.task import Task

_START_S = 0.015  # one sandboxed process, potential files read
_EVALUATIONS_PER_ITERATION = 3.0
_DEFAULT_COST_US = 10.0  # per atom and evaluation, of a style that was never measured
_COST_US = {"lj/cut": 0.35, "zero": 0.1, "none": 0.1, "morse": 0.4, "harmonic/cut": 0.3}
_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class ReferenceFacts:
    """The numbers of one reference run. Observables are in the units of the script."""

    observables: Mapping[str, float]
    num_atoms: int
    num_steps: int
    cost_s: float


def reference_facts(task: Task, script: str, result: RunResult) -> ReferenceFacts:
    """Return what `result`, the run of `script` for `task`, showed."""
    facts = gather(task, Script.parse(script), result)
    return ReferenceFacts(
        observables=observables(facts),
        num_atoms=facts.num_atoms,
        num_steps=facts.steps_done,
        cost_s=_rounded(modelled_cost_s(facts)),
    )


def observables(facts: Facts) -> dict[str, float]:
    """Return reference values: means over the second half of the longest run, and the end.

    Energies are per atom. Values are rounded to six digits; what was not recorded is left out.
    """
    atoms = facts.num_atoms
    window = facts.window
    values = {
        f"mean_{name}": mean(window[name])
        for name in ("temperature", "pressure")
        if window.get(name)
    }
    if atoms:
        for name in ("potential_energy", "kinetic_energy"):
            if window.get(name):
                values[f"mean_{name}_per_atom"] = mean(window[name]) / atoms
        if facts.script_energy is not None:
            values["final_potential_energy_per_atom"] = facts.script_energy / atoms
    if facts.volume_per_atom is not None:
        values["volume_per_atom"] = facts.volume_per_atom
    if facts.final is not None:
        for axis, length in zip("xyz", facts.final.box_lengths, strict=True):
            values[f"final_l{axis}"] = length
        if facts.final.max_force is not None:
            values["final_max_force"] = facts.final.max_force
    return {name: _rounded(value) for name, value in values.items() if math.isfinite(value)}


def modelled_cost_s(facts: Facts) -> float:
    """Return the CPU seconds that the script should take on one core of a present-day machine."""
    total = _START_S
    for run in facts.runs:
        steps = max(0, run.last_step - run.first_step)
        evaluations = 1.0 + steps * (1.0 if is_run(run) else _EVALUATIONS_PER_ITERATION)
        atoms = max(run.num_atoms_before, run.num_atoms_after)
        total += evaluations * atoms * 1e-6 * _cost_us(facts.task, run.pair_style)
    return total


def _cost_us(task: Task, style: str) -> float:
    by_potential, by_style = _measured_costs()
    potential = task.potential
    if potential is not None and potential.style.split()[:1] == style.split()[:1]:
        key = (potential.style, potential.coeffs)
        if key in by_potential:
            return by_potential[key]
    return by_style.get(style, _COST_US.get(style, _DEFAULT_COST_US))


@functools.cache
def _measured_costs() -> tuple[dict[tuple[str, Sequence[str]], float], dict[str, float]]:
    """Return microseconds per atom and step by potential, and the most of each style."""
    by_potential: dict[tuple[str, Sequence[str]], float] = {}
    by_style: dict[str, float] = {}
    for entry in materials("all"):
        by_potential[entry.style, entry.potential.coeffs] = entry.cost_us
        style = entry.style.split()[0]
        by_style[style] = max(by_style.get(style, 0.0), entry.cost_us)
    return by_potential, by_style


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
