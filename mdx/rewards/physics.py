"""Marks for physics and observables, each in [0, 1], from the probes and the final state.

Thresholds are REWARDS' table: full marks within a tolerance, zero at 4 times that (pressure 5),
linear in between. Means are over the window (second half of the production run), `se` is their
standard error from 5 blocks; its part in a tolerance is bounded, or noise would earn marks.
"""

import itertools
import math
from collections.abc import Callable, Mapping

from mdx.rewards.facts import (
    Facts,
    block_means,
    finite_values,
    is_run,
    mean,
    ramp,
    relative_mark,
    standard_deviation,
    standard_error,
)
from mdx.tasks.task import Check, CheckKind

_PRESSURE_TOLERANCE = {"metal": 1000.0, "real": 1000.0, "lj": 0.1, "si": 1e8, "cgs": 1e9}
_FORCE_TOLERANCE = {"metal": 0.05, "real": 1.0, "lj": 0.05}
_AXES = {"x": 0, "y": 1, "z": 2}


def temperature(facts: Facts, check: Check) -> float:
    """Mark the mean temperature: within max(3 %, 3 se) of the target."""
    values = facts.window.get("temperature", ())
    if not values or check.target is None:
        return 0.0
    base = abs(check.target) * (0.03 if check.tolerance is None else check.tolerance)
    full = max(base, min(3 * standard_error(values), 4 * base))
    return ramp(abs(mean(values) - check.target), full, 4 * full)


def fluctuation(facts: Facts, check: Check) -> float:
    """Mark how the temperature fluctuates: 0.3 to 3 times sqrt(2 / (3 (N - 1))) T."""
    values = facts.window.get("temperature", ())
    if len(values) < 2 or facts.num_atoms < 2:
        return 0.0
    canonical = math.sqrt(2 / (3 * (facts.num_atoms - 1))) * mean(values)
    ratio = standard_deviation(values) / canonical if canonical > 0 else 0.0
    return 1.0 if 0.3 <= ratio <= 3.0 else 0.0


def energy_drift(facts: Facts, check: Check) -> float:
    """Mark the linear drift of the total energy over the window / mean kinetic energy."""
    kinetic = facts.window.get("kinetic_energy", ())
    potential = facts.window.get("potential_energy", ())
    if len(kinetic) < 2 or len(kinetic) != len(potential) or mean(kinetic) <= 0:
        return 0.0
    total = [k + p for k, p in zip(kinetic, potential, strict=True)]
    drift = abs(_slope(total)) * (len(total) - 1) / mean(kinetic)
    full = 0.02 if check.tolerance is None else check.tolerance
    return ramp(drift, full, 10 * full)


def pressure(facts: Facts, check: Check) -> float:
    """Mark the mean pressure: within max(1 kbar, 3 se) of the target, zero at 5 times that."""
    values = facts.window.get("pressure", ())
    if not values or check.target is None:
        return 0.0
    base = _PRESSURE_TOLERANCE.get(facts.units, 0.05 * abs(check.target))
    base = max(base, abs(check.target) * (check.tolerance or 0.0))
    full = max(base, min(3 * standard_error(values), 5 * base))
    return ramp(abs(mean(values) - check.target), full, 5 * full)


def volume(facts: Facts, check: Check) -> float:
    """Mark the mean volume per atom: within 1 %."""
    return relative_mark(facts.volume_per_atom, check.target, _tolerance(check, 0.01))


def temperature_ramp(facts: Facts, check: Check) -> float:
    """Mark a ramp: half for the end temperature (10 %), half for monotone block means.

    The end is the last tenth of the run, whose mean lies a twentieth of the ramp before the target.
    """
    series = facts.production.series.get("temperature", ()) if facts.production else ()
    values = finite_values(series)
    if len(values) < 10 or check.target is None:
        return 0.0
    start = check.start if check.start is not None else mean(values[:5])
    end = mean(values[-max(1, len(values) // 10) :])
    aim = check.target - 0.05 * (check.target - start)
    blocks = block_means(values, 6)
    sign = 1 if check.target >= start else -1
    rising = sum(sign * (b - a) > 0 for a, b in itertools.pairwise(blocks))
    return 0.5 * relative_mark(end, aim, _tolerance(check, 0.1)) + 0.5 * min(1.0, rising / 4)


def minimized(facts: Facts, check: Check) -> float:
    """Mark a minimisation: half for an energy not above the start, half for small forces."""
    runs = [run for run in facts.runs if not is_run(run) and run.finished]
    if not runs:
        return 0.0
    energies = runs[-1].series.get("potential_energy", ())
    falls = len(energies) < 2 or _not_above(energies[-1], energies[0])
    if facts.runs[-1] is not runs[-1]:
        return float(falls)  # dynamics followed: the final forces say nothing
    force = facts.final.max_force if facts.final else None
    full = check.target or _FORCE_TOLERANCE.get(facts.units, 0.05)
    return 0.5 * falls + 0.5 * (0.0 if force is None else ramp(force, full, 4 * full))


def finite(facts: Facts, check: Check) -> float:
    """Mark whether every probe value is a number."""
    series = (values for run in facts.runs for values in run.series.values())
    is_finite = all(len(finite_values(values)) == len(values) for values in series)
    return float(is_finite and facts.final is not None and facts.final.finite)


def energy(facts: Facts, check: Check) -> float:
    """Mark the final potential energy per atom, by the task's potential if any, within 1 %."""
    if not facts.final or not facts.num_atoms:
        return 0.0
    requested = facts.final.requested_potential_energy
    total = facts.script_energy if requested is None else requested
    per_atom = None if total is None else total / facts.num_atoms
    return relative_mark(per_atom, check.target, _tolerance(check, 0.01))


def box_length(facts: Facts, check: Check) -> float:
    """Mark the length of the final box along an axis: within 1 %."""
    length = facts.final.box_lengths[_AXES[check.axis or "x"]] if facts.final else None
    return relative_mark(length, check.target, _tolerance(check, 0.01))


def strain(facts: Facts, check: Check) -> float:
    """Mark the final over the initial length along an axis, minus 1: within 5 %."""
    axis = _AXES[check.axis or "x"]
    first = next((run.first_box_lengths for run in facts.runs if run.first_box_lengths), None)
    if not facts.final or first is None or not first[axis]:
        return 0.0
    reached = facts.final.box_lengths[axis] / first[axis] - 1
    return relative_mark(reached, check.target, _tolerance(check, 0.05))


PHYSICS: Mapping[CheckKind, Callable[[Facts, Check], float]] = {
    CheckKind.TEMPERATURE: temperature,
    CheckKind.FLUCTUATION: fluctuation,
    CheckKind.ENERGY_DRIFT: energy_drift,
    CheckKind.PRESSURE: pressure,
    CheckKind.VOLUME: volume,
    CheckKind.RAMP: temperature_ramp,
    CheckKind.MINIMIZED: minimized,
    CheckKind.FINITE: finite,
}
OBSERVABLE: Mapping[CheckKind, Callable[[Facts, Check], float]] = {
    CheckKind.ENERGY: energy,
    CheckKind.BOX_LENGTH: box_length,
    CheckKind.STRAIN: strain,
}


def _tolerance(check: Check, default: float) -> float:
    return default if check.tolerance is None else check.tolerance


def _not_above(end: float | None, start: float | None) -> bool:
    if end is None or start is None:
        return False
    return end <= start + 1e-9 * max(1.0, abs(start))


def _slope(values: list[float]) -> float:
    """Return the least-squares slope per sample."""
    n = len(values)
    centre = (n - 1) / 2
    top = math.fsum((i - centre) * v for i, v in enumerate(values))
    return top / math.fsum((i - centre) ** 2 for i in range(n))
