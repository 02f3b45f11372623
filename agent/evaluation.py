"""Judge one run: whether it is what was asked for, and if not, what the model should be told.

Two kinds of request. A `Task` with checks is judged by its reward (`mdx.rewards`): solved means
R >= 0.9. Free text has no checks that a program could know, so only what holds for every sound
simulation is applied: `SANITY_CHECKS`. The report names what was applied, since "solved" means
less for free text. Evidence is what the farm's probes recorded, never the log.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mdx.lammps.log import clean_error
from mdx.lammps.run import Reward, RunResult, RunStatus
from mdx.rewards import describe_failure, passed, score
from mdx.tasks.task import Check, CheckKind, Task

FREE_TEXT_FAMILY = "free text"

SANITY_CHECKS = (
    "the run ended without an error",
    "at least one step was made",
    "no atom was lost",
    "every recorded value is finite",
)
NO_SCRIPT = "no script in a lammps block was found in the answer"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement of one attempt. `problem` is what a repair prompt says; None when solved."""

    solved: bool
    reward: Reward | None
    checks: tuple[str, ...]  # what was looked at, in words
    problem: str | None = None


def free_text_task(request: str) -> Task:
    """Return the task of a request in plain words: no check but that all values are finite."""
    return Task(
        id="request",
        family=FREE_TEXT_FAMILY,
        prompt=request,
        checks=(Check(kind=CheckKind.FINITE),),
    )


def judge(task: Task, script: str | None, result: RunResult | None) -> Verdict:
    """Judge what `script` came to; both are None where the answer held no script."""
    checks = applied_checks(task)
    if script is None or result is None:
        return Verdict(solved=False, reward=None, checks=checks, problem=NO_SCRIPT)
    reward = result.reward or score(task, script, result)
    if task.family == FREE_TEXT_FAMILY:
        problem = _first(sanity_problems(result))
    elif passed(reward):
        problem = None
    else:
        problem = clean_error(describe_failure(result, reward))
    return Verdict(solved=problem is None, reward=reward, checks=checks, problem=problem)


def applied_checks(task: Task) -> tuple[str, ...]:
    """Say in words what decides whether `task` is solved."""
    if task.family == FREE_TEXT_FAMILY:
        return SANITY_CHECKS
    kinds = dict.fromkeys(str(check.kind) for check in task.checks)
    return ("all steps asked for were done", *kinds, "reward of at least 0.9")


def sanity_problems(result: RunResult) -> Iterable[str]:
    """Yield what is unsound about a run, whatever was asked for."""
    runs = result.evidence.runs
    final = result.evidence.final
    if result.status is not RunStatus.OK:
        error = clean_error(result.error) if result.error else ""
        yield error or f"the run ended with status {result.status}"
    if not any(run.last_step > run.first_step for run in runs):
        yield "no step was made: the script needs a run or minimize command"
    if any(run.num_atoms_after < run.num_atoms_before for run in runs):
        yield "atoms were lost during the run"
    values = (value for run in runs for series in run.series.values() for value in series)
    if any(value is None for value in values) or (final is not None and not final.finite):
        yield "a recorded value is not finite: the system exploded"


def _first(problems: Iterable[str]) -> str | None:
    return next(iter(problems), None)
