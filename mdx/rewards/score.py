"""The reward R in [0, 1] of a script and its run: a pure function, the same for RL, evals, agent.

    R = 0.02 F + 0.08 S + 0.05 V + 0.10 B + 0.15 C + 0.60 G Q         (weights are configuration)

    F format: a script could be extracted         B box: a run is reached with at least one atom
                                                    (1/2 for atoms, 1/4 for an empty box)
    S syntax: share of valid commands             C completion: steps done / steps asked,
    V files: potentials and data files resolve      halved by an error
    G gate: C = 1, no error, no integrity flag    Q quality: specification, outputs, physics,
                                                    observable, renormalised over what applies

Integrity flags cap R at 0.15; a wrong element, potential, ensemble or volume caps it at 0.40. A
script is passed at R >= 0.9. Everything rests on `Evidence`; the log is never read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mdx.lammps.run import Reward, RunResult
from mdx.lammps.script import Script
from mdx.rewards.facts import Facts, gather, is_run, mean
from mdx.rewards.files import files_score
from mdx.rewards.integrity import integrity_flags, wrong_system
from mdx.rewards.outputs import OUTPUTS, data_file
from mdx.rewards.physics import OBSERVABLE, PHYSICS
from mdx.rewards.specification import SPECIFICATION, ensemble, num_atoms
from mdx.rewards.syntax import syntax_score
from mdx.tasks.task import Check, CheckKind, Task

PASS_REWARD = 0.9
Marks = Mapping[CheckKind, Callable[[Facts, Check], float]]


@dataclass(frozen=True, kw_only=True)
class RewardWeights:
    """The formula's weights and caps. The first six add up to 1, the next four too."""

    format: float = 0.02
    syntax: float = 0.08
    files: float = 0.05
    box: float = 0.10
    completion: float = 0.15
    quality: float = 0.60
    specification: float = 0.35
    outputs: float = 0.15
    physics: float = 0.25
    observable: float = 0.25
    flagged_cap: float = 0.15
    wrong_cap: float = 0.40


DEFAULT_WEIGHTS = RewardWeights()


def score(
    task: Task,
    script: str | None,
    result: RunResult | None,
    weights: RewardWeights = DEFAULT_WEIGHTS,
) -> Reward:
    """Return the reward of `script` and what it came to.

    No script (nothing extractable) earns 0. No result (refused before the run) earns F, S and V.
    """
    if script is None:
        return Reward(total=0.0, components={"format": 0.0})
    parsed = Script.parse(script)
    components = {
        "format": 1.0,
        "syntax": syntax_score(parsed),
        "files": files_score(parsed, task),
    }
    flags: tuple[str, ...] = ()
    cap = 1.0
    if result is not None:
        facts = gather(task, parsed, result)
        broken, wrong = integrity_flags(facts), wrong_system(facts)
        components |= _outcome(facts, bool(broken), weights)
        flags = broken + wrong
        cap = weights.flagged_cap if broken else weights.wrong_cap if wrong else 1.0
    total = sum(getattr(weights, name) * components.get(name, 0.0) for name in _SUMMANDS)
    return Reward(total=min(total, cap), components=components, flags=flags)


def passed(reward: Reward) -> bool:
    """Whether the task counts as solved: R >= 0.9."""
    return reward.total >= PASS_REWARD


_SUMMANDS = ("format", "syntax", "files", "box", "completion", "quality")


def _outcome(facts: Facts, broken: bool, weights: RewardWeights) -> dict[str, float]:
    """Return B, C, the four groups that apply, and G Q."""
    completion = completion_score(facts)
    groups = quality_groups(facts)
    gate = completion == 1.0 and facts.ended_well and facts.final is not None and not broken
    weighted = {name: getattr(weights, name) for name in groups}
    norm = sum(weighted.values())
    quality = sum(weighted[name] * mark for name, mark in groups.items()) / norm if norm else 1.0
    return {
        "box": box_score(facts),
        "completion": completion,
        **groups,
        "quality": quality if gate else 0.0,
    }


def box_score(facts: Facts) -> float:
    """Return B: 1 if a run or minimisation is reached with atoms.

    Short of that 1/2 for atoms and 1/4 for a box; a task without dynamics needs only the atoms.
    """
    if any(run.num_atoms_before > 0 for run in facts.runs):
        return 1.0
    if facts.final is None:
        return 0.0
    if facts.num_atoms == 0:
        return 0.25
    return 0.5 if facts.task.num_steps else 1.0


def completion_score(facts: Facts) -> float:
    """Return C: steps done / steps asked; without dynamics the share of what was to be made.

    What was to be made: the data files and the minimisation asked for, else the right atoms.
    """
    if facts.task.num_steps:
        share = min(1.0, facts.steps_done / facts.task.num_steps)
    else:
        share = _static_completion(facts)
    return share if facts.ended_well else share / 2


def quality_groups(facts: Facts) -> dict[str, float]:
    """Return the mark of each group of checks that the task has: half the mean, half the worst.

    The worst counts, or one wrong number among many right ones would still pass.
    """
    groups: dict[str, Marks] = {
        "specification": SPECIFICATION,
        "outputs": OUTPUTS,
        "physics": PHYSICS,
        "observable": OBSERVABLE,
    }
    marks = {
        name: [
            kinds[check.kind](facts, check) for check in facts.task.checks if check.kind in kinds
        ]
        for name, kinds in groups.items()
    }
    return {name: (mean(m) + min(m)) / 2 for name, m in marks.items() if m}


def _static_completion(facts: Facts) -> float:
    parts = [data_file(facts, check) for check in facts.checks(CheckKind.DATA_FILE)]
    for check in facts.checks(CheckKind.ENSEMBLE):
        if check.text == "minimize":
            parts.append(ensemble(facts, check))
    if not parts:
        parts = [num_atoms(facts, check) for check in facts.checks(CheckKind.NUM_ATOMS)]
    if not parts:
        parts = [float(facts.num_atoms > 0 or any(map(is_run, facts.runs)))]
    return mean(parts)
