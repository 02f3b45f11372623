"""Rollouts over several processes: each samples and runs its share of the prompts, all get all.

A completion depends on the weights, the key, its prompt's number and its own alone
(`mdx.model.sampler`), so shares are sampled as the whole would be. What came of them is exchanged
as bytes; after that every process holds the same rollouts in the same order, and memory, queue and
update go on in step without another word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import msgspec

from mdx.lammps.run import Reward, RunResult
from mdx.trajectory import Completion, Trajectory, TrajectoryGroup
from trainers.processes import exchange
from trainers.prompts import Prompt
from trainers.rollouts import PhaseClock, Rollout, Workshop, roll_out


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What the other processes do not know of a trajectory."""

    id: str
    completion: Completion
    script: str | None
    result: RunResult | None
    reward: Reward | None


def roll_out_jointly(
    params: Any,
    prompts: Sequence[Prompt],
    key: jax.Array,
    workshop: Workshop,
    *,
    name: str,
    clock: PhaseClock,
) -> list[Rollout]:
    """Return what `trainers.rollouts.roll_out` would return for all prompts in one process.

    Process p of P takes the prompts p, p + P, ... `params` must lie on this process's devices.
    """
    count = jax.process_count()
    mine = range(jax.process_index(), len(prompts), count)
    rollouts = roll_out(
        params,
        [prompts[number] for number in mine],
        key,
        workshop,
        name=name,
        clock=clock,
        numbers=mine,
    )
    if count == 1:
        return rollouts
    shares = [
        msgspec.msgpack.decode(share, type=list[list[_Outcome]])
        for share in exchange(msgspec.msgpack.encode([_outcomes(r) for r in rollouts]))
    ]
    clock.lap("exchange")
    return [
        _rollout(prompt, shares[number % count][number // count])
        for number, prompt in enumerate(prompts)
    ]


def _outcomes(rollout: Rollout) -> list[_Outcome]:
    return [
        _Outcome(
            id=t.id, completion=t.completion, script=t.script, result=t.result, reward=t.reward
        )
        for t in rollout.group.trajectories
    ]


def _rollout(prompt: Prompt, outcomes: Sequence[_Outcome]) -> Rollout:
    trajectories = tuple(
        Trajectory(
            id=outcome.id,
            task=prompt.task,
            prompt_tokens=prompt.tokens,
            completion=outcome.completion,
            script=outcome.script,
            result=outcome.result,
            reward=outcome.reward,
            parent=prompt.failure.trajectory_id if prompt.failure else None,
        )
        for outcome in outcomes
    )
    return Rollout(prompt=prompt, group=TrajectoryGroup(trajectories=trajectories))
