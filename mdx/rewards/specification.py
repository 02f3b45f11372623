"""Marks for what the text asked for: units, potential, atoms, ensemble, steps, timestep."""

from collections.abc import Callable, Mapping

from mdx.lammps.run import ActiveFix, ProbedRun
from mdx.rewards.facts import Facts, is_run, ramp, relative_mark
from mdx.tasks.task import Check, CheckKind

ENERGY_TOLERANCE = 1e-6  # per atom, of the same configuration with the requested potential
_UNSEEN_STRAIN = 2e-4  # of a step that tilts the box: tilts are not in the evidence
_STRAIN_ENERGY = 2.0  # bound on stress times volume, in units of the potential energy
_THERMOSTATS = ("langevin", "temp/csvr", "temp/csld", "temp/berendsen", "gjf")
_RESCALING = ("temp/rescale",)  # no canonical ensemble
_UNCOVERED = 0.1  # share of the atoms that an integrator may leave out (walls, clamps)


def units(facts: Facts, check: Check) -> float:
    """Mark whether the unit style is the one asked for."""
    return float(facts.units == check.text)


def potential(facts: Facts, check: Check) -> float:
    """Mark whether the requested potential gives the script's energy to the final configuration.

    The pair style must also have been the same in the production run.
    """
    difference = energy_difference(facts)
    if difference is None or difference > _energy_tolerance(facts):
        return 0.0
    last = facts.runs[-1]
    return float(facts.production is None or facts.production.pair_style == last.pair_style)


def energy_difference(facts: Facts) -> float | None:
    """Return |script's energy - requested potential's energy| per atom; None if not known."""
    final, own = facts.final, facts.script_energy
    if final is None or final.requested_potential_energy is None or own is None:
        return None
    return abs(own - final.requested_potential_energy) / max(1, final.num_atoms)


def _energy_tolerance(facts: Facts) -> float:
    """Allow for `fix deform`, which changes the box after the last step's energy is known."""
    run = facts.runs[-1]
    if not any(fix.style.startswith("deform") for fix in run.fixes):
        return ENERGY_TOLERANCE
    strain = 0.0
    for name in ("lx", "ly", "lz"):
        lengths = [length for length in run.series.get(name, ())[-2:] if length]
        strain += abs(lengths[-1] / lengths[0] - 1) if lengths else 0.0
    strain = strain or _UNSEEN_STRAIN
    per_atom = abs(facts.script_energy or 0.0) / max(1, facts.num_atoms)
    return ENERGY_TOLERANCE + _STRAIN_ENERGY * per_atom * strain


def num_atoms(facts: Facts, check: Check) -> float:
    """Mark the number of atoms at the end: exact unless the check has a tolerance."""
    return relative_mark(facts.num_atoms, check.target, check.tolerance or 0.0)


def ensemble(facts: Facts, check: Check) -> float:
    """Mark whether the production run's fixes make the ensemble, on (nearly) all atoms."""
    if check.text == "minimize":
        return float(any(not is_run(run) and run.finished for run in facts.runs))
    run = facts.production
    if run is None or check.text is None:
        return 0.0
    found = _ensemble_of(facts, run, check.tolerance or _UNCOVERED)
    return float(found == check.text or (found == "langevin" and check.text == "nvt"))


def num_steps(facts: Facts, check: Check) -> float:
    """Mark the steps of dynamics over all runs: within 1 %."""
    tolerance = 0.01 if check.tolerance is None else check.tolerance
    return relative_mark(facts.steps_done, check.target, tolerance)


def timestep(facts: Facts, check: Check) -> float:
    """Mark the timestep of the production run."""
    run = facts.production
    return relative_mark(run.timestep if run else None, check.target, check.tolerance or 1e-3)


def method(facts: Facts, check: Check) -> float:
    """Mark whether a fix of the style asked for acts in the production run."""
    run = facts.production
    return float(run is not None and any(fix.style == check.text for fix in run.fixes))


def pair_style(facts: Facts, check: Check) -> float:
    """Mark whether the pair style of every run is the one asked for."""
    styles = {run.pair_style for run in facts.runs}
    return float(styles == {check.text})


def composition(facts: Facts, check: Check) -> float:
    """Mark the share of the atoms that are of a type: within 1 % of the atoms."""
    counts = facts.final.type_counts if facts.final else ()
    index = int(check.text or 1) - 1
    if check.target is None or not 0 <= index < len(counts) or not sum(counts):
        return 0.0
    tolerance = 0.01 if check.tolerance is None else check.tolerance
    return ramp(abs(counts[index] / sum(counts) - check.target), tolerance, 4 * tolerance)


SPECIFICATION: Mapping[CheckKind, Callable[[Facts, Check], float]] = {
    CheckKind.UNITS: units,
    CheckKind.POTENTIAL: potential,
    CheckKind.NUM_ATOMS: num_atoms,
    CheckKind.ENSEMBLE: ensemble,
    CheckKind.NUM_STEPS: num_steps,
    CheckKind.TIMESTEP: timestep,
    CheckKind.METHOD: method,
    CheckKind.PAIR_STYLE: pair_style,
    CheckKind.COMPOSITION: composition,
}


def _ensemble_of(facts: Facts, run: ProbedRun, uncovered: float) -> str | None:
    """Name the ensemble of a run: nve, nvt, npt, nph or langevin; None where it is none."""
    covering = [fix for fix in run.fixes if _covers(facts, fix, uncovered)]
    integrators = [fix.style.split("/")[0] for fix in covering if _integrates(fix.style)]
    rescales = any(fix.style in _RESCALING for fix in run.fixes)
    if len(integrators) != 1 or rescales:
        return None
    [integrator] = integrators
    thermostats = [fix.style for fix in covering if fix.style in _THERMOSTATS]
    if len(thermostats) < sum(fix.style in _THERMOSTATS for fix in run.fixes):
        return None  # a thermostat on some of the atoms
    barostat = any(fix.style == "press/berendsen" for fix in run.fixes)
    if integrator in ("nvt", "npt"):
        return "npt" if barostat or integrator == "npt" else "nvt"
    if integrator == "nph" or barostat:
        return "npt" if thermostats else "nph"
    if thermostats:
        return "langevin" if thermostats == ["langevin"] else "nvt"
    return "nve"


def _integrates(style: str) -> bool:
    return style.split("/")[0] in ("nve", "nvt", "npt", "nph") and style != "nve/noforce"


def _covers(facts: Facts, fix: ActiveFix, uncovered: float) -> bool:
    if facts.final is None or not facts.final.group_counts:
        return fix.group == "all"
    members = facts.final.group_counts.get(fix.group, 0)
    return members >= (1 - uncovered) * facts.num_atoms
