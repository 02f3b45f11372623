"""What the policy wrote and what came of it: completions, trajectories and groups of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mdx.lammps.run import Reward, RunResult
from mdx.tasks.task import Task


class StopReason(StrEnum):
    """Why a completion ended."""

    EOS = "eos"
    LENGTH = "length"  # max_new_tokens were written


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Sampled tokens with the sampler's own log-probabilities (natural log, at its temperature)."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    stop_reason: StopReason


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One completion, the script in it, its run and its reward.

    `reward` is None where infrastructure failed: such a trajectory leaves its group. `parent` is
    the id of the failed trajectory that this one repairs.
    """

    id: str
    task: Task
    prompt_tokens: tuple[int, ...]
    completion: Completion
    script: str | None = None
    result: RunResult | None = None
    reward: Reward | None = None
    parent: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrajectoryGroup:
    """The trajectories of one prompt. Only those with a reward are compared."""

    trajectories: tuple[Trajectory, ...]

    @property
    def scored(self) -> tuple[Trajectory, ...]:
        """The trajectories whose run was scored, in order."""
        return tuple(t for t in self.trajectories if t.reward is not None)

    def advantages(self) -> tuple[float, ...]:
        """Return the leave-one-out advantages of `scored`: r_i minus the mean of the others.

        A group with fewer than two scored trajectories teaches nothing and gives zeros.
        """
        return leave_one_out_advantages([t.reward.total for t in self.scored if t.reward])


def leave_one_out_advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    """Return r_i - mean_{j != i} r_j for each i; zeros for fewer than two rewards.

    Reference: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!".
    """
    n = len(rewards)
    if n < 2:
        return (0.0,) * n
    total = math.fsum(rewards)
    return tuple(r - (total - r) / (n - 1) for r in rewards)
