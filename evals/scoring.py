"""What a scored trajectory counts as, and how a set of them adds up to a report.

Pure functions on trajectories: no model, no farm. Definitions, used everywhere in `evals`:

executed   the run ended `ok`, every step that was asked for was done (component completion = 1)
           and no integrity flag was raised. Whether it is the right system or the right physics
           does not matter here: the flags `wrong_...` leave it executed.
passed     R >= 0.9 (`mdx.rewards.passed`).
lost       the infrastructure failed, there is no reward. Lost trajectories are counted and left
           out; they are never a zero.

Every figure is a mean over tasks of a per-task estimate, so that a task with a lost sample weighs
as much as any other; a task none of whose samples was scored appears only in `num_lost`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from evals.report import FailureCount, FamilyScore, TaskScore
from evals.statistics import Estimate, bootstrap, success_at_k
from mdx.lammps.run import RunStatus
from mdx.rewards import passed
from mdx.trajectory import Trajectory

COMPLETION = "completion"
_QUALITY_GROUPS = ("specification", "outputs", "physics", "observable")
WRONG_SYSTEM = "wrong_"  # begins the flags of mdx.rewards that are no integrity flags

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"(?<![A-Za-z_\d])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_PLACE = re.compile(r"\s*\(\S*\.(?:cpp|h):\d+\)\s*$")


def executed(trajectory: Trajectory) -> bool:
    """Say whether the script ran to its end: ok, all steps asked were done, no integrity flag."""
    result, reward = trajectory.result, trajectory.reward
    if result is None or reward is None:
        return False
    complete = reward.components.get(COMPLETION, 0.0) >= 1.0
    honest = all(flag.startswith(WRONG_SYSTEM) for flag in reward.flags)
    return result.status is RunStatus.OK and complete and honest


def score_tasks(trajectories: Sequence[Trajectory]) -> tuple[TaskScore, ...]:
    """Return one score a task, in the order in which the tasks first appear."""
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        groups[trajectory.task.id].append(trajectory)
    return tuple(_score_task(group) for group in groups.values())


def _score_task(group: Sequence[Trajectory]) -> TaskScore:
    scored = [t for t in group if t.reward is not None]
    return TaskScore(
        task_id=group[0].task.id,
        family=group[0].task.family,
        rewards=tuple(t.reward.total for t in scored if t.reward is not None),
        num_executed=sum(executed(t) for t in scored),
        num_passed=sum(passed(t.reward) for t in scored if t.reward is not None),
        num_lost=len(group) - len(scored),
    )


def estimate_metrics(tasks: Sequence[TaskScore], *, seed: int) -> Mapping[str, Estimate]:
    """Return each metric with its 95 % bootstrap interval over tasks.

    exec_success_at_3 is left out where no task has three scored samples, and everything where
    nothing was scored.
    """
    values = {metric: per_task_values(tasks, metric) for metric in METRICS}
    return {
        metric: bootstrap(list(by_task.values()), seed=seed)
        for metric, by_task in values.items()
        if by_task
    }


def per_task_values(tasks: Sequence[TaskScore], metric: str) -> Mapping[str, float]:
    """Return task id -> value of `metric`, for the tasks with enough scored samples."""
    minimum, value = METRICS[metric]
    return {t.task_id: value(t) for t in tasks if len(t.rewards) >= minimum}


# metric -> (scored samples that it needs, its unbiased value for one task)
METRICS = {
    "exec_success_at_1": (1, lambda t: success_at_k(len(t.rewards), t.num_executed, 1)),
    "exec_success_at_3": (3, lambda t: success_at_k(len(t.rewards), t.num_executed, 3)),
    "pass_rate": (1, lambda t: t.num_passed / len(t.rewards)),
    "mean_reward": (1, lambda t: sum(t.rewards) / len(t.rewards)),
}


def score_families(tasks: Sequence[TaskScore]) -> tuple[FamilyScore, ...]:
    """Return the means of each family's tasks, in alphabetical order."""
    families: dict[str, list[TaskScore]] = defaultdict(list)
    for task in tasks:
        if task.rewards:
            families[task.family].append(task)
    return tuple(
        FamilyScore(
            family=family,
            num_tasks=len(members),
            exec_success_at_1=_mean_over_tasks(members, "exec_success_at_1"),
            pass_rate=_mean_over_tasks(members, "pass_rate"),
            mean_reward=_mean_over_tasks(members, "mean_reward"),
        )
        for family, members in sorted(families.items())
    )


def _mean_over_tasks(tasks: Sequence[TaskScore], metric: str) -> float:
    values = per_task_values(tasks, metric).values()
    return sum(values) / len(values)


def count_failures(trajectories: Sequence[Trajectory]) -> tuple[FailureCount, ...]:
    """Count the trajectories that did not pass by what went wrong, most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, Trajectory] = {}
    for trajectory in trajectories:
        signature = failure_signature(trajectory)
        if signature is not None:
            counts[signature] += 1
            examples.setdefault(signature, trajectory)
    return tuple(
        FailureCount(signature=signature, count=count, example=examples[signature].id)
        for signature, count in counts.most_common()
    )


def failure_signature(trajectory: Trajectory) -> str | None:
    """Say in one line what went wrong, with names and numbers masked; None where it passed."""
    result, reward = trajectory.result, trajectory.reward
    if reward is None:
        return "lost: the farm's infrastructure failed"
    if passed(reward):
        return None
    if result is None:
        return "no script in the completion"
    if result.status is not RunStatus.OK:
        return f"{result.status}: {_mask(result.error or 'no message')}"
    if reward.flags:
        return f"flag: {', '.join(sorted(reward.flags))}"
    components = reward.components
    if components.get(COMPLETION, 1.0) < 1.0:
        return f"ran, but lost most in: {COMPLETION}"
    groups = {name: components[name] for name in _QUALITY_GROUPS if name in components}
    lowest = min(groups or components, key=lambda name: components[name], default="reward")
    return f"ran, but lost most in: {lowest}"


def _mask(error: str) -> str:
    line = _PLACE.sub("", error.strip().splitlines()[0]) if error.strip() else "no message"
    return _NUMBER.sub("#", _QUOTED.sub("'*'", line))
