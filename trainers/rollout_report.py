"""What people see of a step's rollouts: figures for the metrics file, examples for the eye."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.scoring import executed
from mdx.trajectory import StopReason, Trajectory
from trainers.recycle import RepairQueue
from trainers.rollouts import Rollout

TRAJECTORIES = "trajectories.jsonl"


def summarise_rollouts(rollouts: Sequence[Rollout], num_planned: int) -> dict[str, float]:
    """Return the metrics of a step's rollouts.

    `reward`, `pass_rate` and `executed` are of first attempts, which are what the policy is judged
    by; `repair/*` of repairs. `reward/*` (components), `status/*` (counts) and `length/*` (tokens)
    are of all. `lost` counts trajectories that infrastructure left without a reward.
    """
    first = [r for r in rollouts if r.prompt.failure is None]
    repairs = [r for r in rollouts if r.prompt.failure is not None]
    trajectories = [t for rollout in rollouts for t in rollout.group.trajectories]
    runs = {(t.task.id, t.script) for t in trajectories if t.result is not None}
    metrics: dict[str, float] = dict(_outcome(first))
    metrics |= {f"repair/{name}": value for name, value in _outcome(repairs).items()}
    metrics |= _components(trajectories)
    metrics |= {f"status/{status}": n for status, n in sorted(_statuses(trajectories).items())}
    lengths = [len(t.completion.tokens) for t in trajectories]
    cut = sum(t.completion.stop_reason is StopReason.LENGTH for t in trajectories)
    return metrics | {
        "num_groups": len(rollouts),
        "num_refilled": len(rollouts) - num_planned,
        "num_repairs": len(repairs),
        "dropped_share": _mean([not rollout.teaches for rollout in rollouts]),
        "lost": sum(t.reward is None for t in trajectories),
        "num_runs": len(runs),
        "length/mean": _mean(lengths),
        "length/cut_share": cut / max(len(lengths), 1),
    }


def summarise_queue(queue: RepairQueue, version: int) -> dict[str, float]:
    """Return size and ages of the repair queue and the counts of its commonest errors."""
    stats = queue.stats(version)
    signatures = stats.pop("queue/signatures")
    return stats | {f"queue/error/{signature}": n for signature, n in signatures.items()}


def example_rows(rollouts: Sequence[Rollout], limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` trajectories to read: of each group the best and the worst."""
    rows = []
    for rollout in rollouts:
        scored = sorted(rollout.group.scored, key=_total)
        for trajectory in [scored[-1], scored[0]][: min(len(scored), 2)] if scored else []:
            rows.append(_row(trajectory, rollout))
    return rows[:limit]


class TrajectoryTable:
    """Appends examples to `<run_dir>/trajectories.jsonl`, one trajectory a line.

    Opening it cuts off every line after `restored_step`, as `trainers.hooks.MetricsWriter` does.
    """

    def __init__(self, run_dir: str, restored_step: int = 0) -> None:
        self._path = Path(run_dir) / TRAJECTORIES
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        self._file.truncate(_bytes_up_to(self._path, restored_step))

    def __enter__(self) -> "TrajectoryTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append the examples of `step`."""
        lines = [json.dumps({"step": step, **row}) + "\n" for row in rows]
        self._file.write("".join(lines).encode())

    def sync(self) -> None:
        """Put what was written on the disk."""
        os.fsync(self._file.fileno())


def _outcome(rollouts: Sequence[Rollout]) -> dict[str, float]:
    scored = [t for rollout in rollouts for t in rollout.group.scored]
    if not scored:
        return {}
    return {
        "reward": _mean([_total(t) for t in scored]),
        "pass_rate": _mean([p for rollout in rollouts for p in rollout.passes]),
        "executed": _mean([executed(t) for t in scored]),
    }


def _components(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for trajectory in trajectories:
        for name, value in trajectory.reward.components.items() if trajectory.reward else ():
            values.setdefault(name, []).append(value)
    return {f"reward/{name}": _mean(of_name) for name, of_name in sorted(values.items())}


def _statuses(trajectories: Sequence[Trajectory]) -> Counter[str]:
    def status(trajectory: Trajectory) -> str:
        if trajectory.reward is None:
            return "lost"
        return str(trajectory.result.status) if trajectory.result else "no_script"

    return Counter(status(trajectory) for trajectory in trajectories)


def _row(trajectory: Trajectory, rollout: Rollout) -> dict[str, Any]:
    result, reward = trajectory.result, trajectory.reward
    assert reward is not None
    return {
        "id": trajectory.id,
        "task": trajectory.task.id,
        "family": trajectory.task.family,
        "prompt": trajectory.task.prompt,
        "parent": trajectory.parent,
        "repairs_error": rollout.prompt.failure.error if rollout.prompt.failure else None,
        "completion": trajectory.completion.text,
        "num_tokens": len(trajectory.completion.tokens),
        "status": str(result.status) if result else "no_script",
        "error": result.error if result else None,
        "reward": reward.total,
        "components": dict(reward.components),
        "flags": list(reward.flags),
    }


def _total(trajectory: Trajectory) -> float:
    assert trajectory.reward is not None
    return trajectory.reward.total


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _bytes_up_to(path: Path, restored_step: int) -> int:
    kept = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n") or json.loads(line)["step"] > restored_step:
                break
            kept += len(line)
    return kept
