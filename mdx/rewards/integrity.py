"""What makes a run worthless however good its numbers look: integrity flags and wrong systems.

Flags are about evidence and dynamics that are not what they pretend to be; they cap the reward
hardest. A wrong element, potential, ensemble or volume is an honest answer to another question
and caps it less. Names are short words that appear in `Reward.flags` and in reports.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from importlib import resources

from mdx.lammps.script import Command
from mdx.rewards.facts import Facts, finite_values, is_run
from mdx.rewards.outputs import count_frames, matching_outputs
from mdx.rewards.specification import energy_difference, ensemble, num_atoms, pair_style, potential
from mdx.tasks.task import CheckKind

_USUAL_TIMESTEP = {"metal": 1e-3, "real": 1.0, "lj": 5e-3, "si": 1e-15, "electron": 1e-3}
_FEW_ATOMS = 20
_FLOOD_BYTES = 8 << 20
_NO_POTENTIAL = ("none", "zero", "")
_OTHER_POTENTIAL = 0.15  # relative difference in energy that no two potentials of one crystal have
_FILE_OF_PRINT = re.compile(r"\b(?:file|append)\s+(\S+)")


def integrity_flags(facts: Facts) -> tuple[str, ...]:
    """Return the names of the flags that hold, in a fixed order."""
    return tuple(name for name, holds in _FLAGS.items() if holds(facts))


def wrong_system(facts: Facts) -> tuple[str, ...]:
    """Return which of element, potential, ensemble and volume are wrong, as `wrong_...`."""
    return tuple(name for name, holds in _WRONG.items() if holds(facts))


def atoms_lost(facts: Facts) -> bool:
    """Tell whether atoms vanished in a run, and the task does not ask for what is left."""
    lost = any(run.num_atoms_after < run.num_atoms_before for run in facts.runs)
    wanted = facts.checks(CheckKind.NUM_ATOMS)
    return lost and not (wanted and all(num_atoms(facts, check) == 1.0 for check in wanted))


def frozen(facts: Facts) -> bool:
    """Tell whether nothing moves: constant temperature, hardly any, or forces set to zero."""
    run = facts.production
    if run is None or not facts.task.num_steps:
        return False
    values = finite_values(run.series.get("temperature", ()))
    wanted = [c.target for c in facts.checks(CheckKind.TEMPERATURE, CheckKind.RAMP) if c.target]
    still = len(values) >= 5 and (
        max(values) - min(values) <= 1e-9 * max(map(abs, values))
        or max(values) < 0.01 * min(wanted, default=0.0)
    )
    legitimate = (facts.final.num_forceless if facts.final else 0) or 0
    # walls and clamps that the text asks for are atoms that the integrator leaves out
    clamped = max((c.tolerance or 0.0 for c in facts.checks(CheckKind.ENSEMBLE)), default=0.0)
    forceless = (run.num_forceless or 0) - legitimate
    return still or forceless > max(0.05, clamped) * run.num_atoms_before


def tiny_timestep(facts: Facts) -> bool:
    """Tell whether the timestep is so short that nothing happens, and nobody asked for it."""
    usual = _USUAL_TIMESTEP.get(facts.units)
    run = facts.production
    if run is None or usual is None or run.timestep >= usual / 50:
        return False
    wanted = [c.target for c in facts.checks(CheckKind.TIMESTEP) if c.target]
    return not any(math.isclose(run.timestep, target, rel_tol=0.1) for target in wanted)


def too_few_atoms(facts: Facts) -> bool:
    """Tell whether the system is far smaller than asked for, or a handful of atoms."""
    if not facts.task.num_steps or not facts.runs:
        return False
    wanted = [c.target for c in facts.checks(CheckKind.NUM_ATOMS) if c.target]
    return facts.num_atoms < (min(wanted) / 4 if wanted else _FEW_ATOMS)


def group_emptied(facts: Facts) -> bool:
    """Tell whether the group `all` does not hold all atoms."""
    counts = facts.final.group_counts if facts.final else {}
    return "all" in counts and counts["all"] != facts.num_atoms


def forged_output(facts: Facts) -> bool:
    """Tell whether `print` writes a requested file: a dump, a data file, bare numbers."""
    checks = facts.checks(CheckKind.DUMP, CheckKind.DATA_FILE, CheckKind.TABLE, CheckKind.RESTART)
    has_run = False
    for command in facts.script.commands:
        has_run |= command.name == "run"
        for check in checks:
            if _prints_to(command, check.file or ""):
                measures = check.kind is CheckKind.TABLE and has_run and "$" in command.text
                if not measures:
                    return True
    return False


def output_flood(facts: Facts) -> bool:
    """Tell whether there is far more output than asked for, such as a dump of every step."""
    for check in facts.checks(CheckKind.DUMP):
        frames = sum(count_frames(output) for output in matching_outputs(facts, check.file or "*"))
        if frames > 4 * max(check.target or 0, 25):
            return True
    return sum(output.size_bytes for output in facts.result.outputs.values()) > _FLOOD_BYTES


def wrong_element(facts: Facts) -> bool:
    """Tell whether a type's mass is not that of the element the task names for it (2 %)."""
    final, elements = facts.final, facts.task.elements
    if final is None or not elements or final.units not in ("metal", "real"):
        return False
    if final.num_types != len(elements):
        return True
    known = atomic_masses()
    pairs = [(m, known[e]) for m, e in zip(final.masses, elements, strict=False) if e in known]
    return any(m > 0 and abs(m - expected) > 0.02 * expected for m, expected in pairs)


def wrong_potential(facts: Facts) -> bool:
    """Tell whether the potential is not the one named; if none is, not one of this material."""
    if not facts.runs:
        return False
    if any(pair_style(facts, check) == 0.0 for check in facts.checks(CheckKind.PAIR_STYLE)):
        return True
    if facts.task.potential is None:
        return False
    dynamics = [run for run in facts.runs if is_run(run)] or list(facts.runs)
    if any(run.pair_style in _NO_POTENTIAL for run in dynamics):
        return True
    difference, own = energy_difference(facts), facts.script_energy
    if difference is None or own is None:
        return facts.ended_well  # the requested potential does not even apply; or an error's fault
    named = facts.checks(CheckKind.POTENTIAL)
    if named:
        return any(potential(facts, check) == 0.0 for check in named)
    return difference > _OTHER_POTENTIAL * abs(own) / max(1, facts.num_atoms)


def wrong_ensemble(facts: Facts) -> bool:
    """Tell whether the production run is not in the ensemble asked for."""
    checks = facts.checks(CheckKind.ENSEMBLE) if facts.runs else ()
    return any(ensemble(facts, check) == 0.0 for check in checks)


def wrong_volume(facts: Facts) -> bool:
    """Tell whether the volume per atom is 4 % or more off the reference."""
    reference, volume = facts.task.volume_per_atom, facts.volume_per_atom
    if reference is None or volume is None:
        return False
    return abs(volume - reference) >= 0.04 * reference


_FLAGS: Mapping[str, Callable[[Facts], bool]] = {
    "atoms_lost": atoms_lost,
    "frozen": frozen,
    "tiny_timestep": tiny_timestep,
    "too_few_atoms": too_few_atoms,
    "group_emptied": group_emptied,
    "forged_output": forged_output,
    "output_flood": output_flood,
}
_WRONG: Mapping[str, Callable[[Facts], bool]] = {
    "wrong_element": wrong_element,
    "wrong_potential": wrong_potential,
    "wrong_ensemble": wrong_ensemble,
    "wrong_volume": wrong_volume,
}


@functools.cache
def atomic_masses() -> Mapping[str, float]:
    """Return the standard atomic weights (IUPAC 2021, in u) by element symbol."""
    text = resources.files("mdx.rewards").joinpath("atomic_masses.json").read_text()
    masses: dict[str, float] = json.loads(text)
    return masses


def _prints_to(command: Command, pattern: str) -> bool:
    if command.name == "print":
        texts = [command.text]
    elif command.name == "if":
        texts = [a for a in command.arguments if a.startswith("print")]
    else:
        return False
    names = [n.strip("\"'") for text in texts for n in _FILE_OF_PRINT.findall(text)]
    return any(name == pattern or "$" in name for name in names)
