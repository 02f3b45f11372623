"""What a GRPO run remembers from step to step, beside its parameters.

Pass rates, the repair queue and the successes decide which prompts come next and what is replayed.
All of it is JSON inside the checkpoint, saved in the same atomic step as the parameters. Random
draws are functions of (seed, step, round), so there is no generator to save.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdx.chat import END_OF_TURN, render_prompt, script_reply, task_messages
from mdx.errors import UsageError
from mdx.rewards import describe_failure, passed
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer
from trainers.packing import Segment
from trainers.prompts import Prompt, first_prompt, repair_prompt
from trainers.recycle import Failure, RecycleConfig, RepairQueue, Success, SuccessStore
from trainers.rollouts import Rollout
from trainers.task_sampler import PassRates


@dataclass(kw_only=True)
class Memory:
    """Pass rates, failures and successes of a run over `tasks`."""

    config: RecycleConfig
    tasks: Mapping[str, Task]
    tokenizer: Tokenizer
    max_prompt_tokens: int
    rates: PassRates
    queue: RepairQueue
    successes: SuccessStore

    @classmethod
    def blank(
        cls,
        config: RecycleConfig,
        tasks: Sequence[Task],
        tokenizer: Tokenizer,
        max_prompt_tokens: int,
    ) -> "Memory":
        """Return the memory before the first step."""
        return cls(
            config=config,
            tasks={task.id: task for task in tasks},
            tokenizer=tokenizer,
            max_prompt_tokens=max_prompt_tokens,
            rates=PassRates(retire_above=config.retire_above),
            queue=RepairQueue(config=config),
            successes=SuccessStore(),
        )

    def choose_prompts(
        self, count: int, version: int, rng: np.random.Generator, *, repairs: bool = True
    ) -> list[Prompt]:
        """Return `count` prompts: first attempts, then the repairs that the budget allows."""
        failures = []
        if repairs:
            self.queue.expire(version, self._rate)
            failures = self.queue.draw(self.queue.budget(count), version)
        tasks = self.rates.draw(list(self.tasks.values()), count - len(failures), rng)
        return [first_prompt(task, self.tokenizer) for task in tasks] + [
            repair_prompt(failure, self.tasks[failure.task_id], self.tokenizer)
            for failure in failures
        ]

    def learn(self, rollouts: Sequence[Rollout], version: int) -> None:
        """Take in what a step brought: rates, spreads of rewards, failures and successes."""
        for rollout in rollouts:
            if rollout.prompt.failure is None:
                self.rates.record(rollout.prompt.task, rollout.passes)
            else:
                self.queue.record(rollout.prompt.failure, rollout.rewards)
        for kind, is_repair in (("first", False), ("repair", True)):
            taught = [r.teaches for r in rollouts if (r.prompt.failure is not None) == is_repair]
            if taught:
                self.queue.record_teaching(kind, sum(taught) / len(taught))
        failures = find_failures(rollouts, version)
        self.queue.add(failure for failure in failures if self._fits(failure))
        self.successes.add(find_successes(rollouts, version))

    def replay(self) -> list[Segment]:
        """Return the newest verified successes at hard tasks, weighted by how hard they are."""
        chosen = self.successes.draw(
            self.config.replay_per_step, self._rate, self.config.replay_below
        )
        return [
            replay_segment(
                self.tasks[s.task_id], s.script, self.tokenizer, 1 - self._rate(s.task_id)
            )
            for s in chosen
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything remembered as plain JSON values."""
        return {
            "rates": self.rates.to_json(),
            "queue": self.queue.to_json(),
            "successes": self.successes.to_json(),
        }

    def load_json(self, state: Mapping[str, Any]) -> None:
        """Remember what `to_json` described, and nothing else."""
        self.rates = PassRates.from_json(state["rates"], retire_above=self.config.retire_above)
        self.queue = RepairQueue.from_json(self.config, state["queue"])
        self.successes = SuccessStore.from_json(state["successes"])
        named = {failure.task_id for failure in self.queue.waiting}
        named |= {success.task_id for success in self.successes.kept}
        if unknown := sorted(named - self.tasks.keys()):
            raise UsageError(
                "rollout.data_dir must hold the tasks that the checkpoint remembers, but "
                f"{unknown[0]!r} is not among them: resume with the data of the run"
            )

    def _rate(self, task_id: str) -> float:
        return self.rates.rate(self.tasks[task_id])

    def _fits(self, failure: Failure) -> bool:
        prompt = repair_prompt(failure, self.tasks[failure.task_id], self.tokenizer)
        return len(prompt.tokens) <= self.max_prompt_tokens


def replay_segment(task: Task, script: str, tokenizer: Tokenizer, weight: float) -> Segment:
    """Return `script` as the reply to the *original* prompt of `task`, with a weight."""
    return Segment(
        prompt=tokenizer.encode(render_prompt(task_messages(task))),
        completion=tokenizer.encode(script_reply(script) + END_OF_TURN),
        replay_weight=weight,
    )


def find_failures(rollouts: Sequence[Rollout], version: int) -> list[Failure]:
    """Return the scored trajectories that have a script and did not pass, as failures to repair."""
    return [
        Failure(
            trajectory_id=trajectory.id,
            task_id=rollout.prompt.task.id,
            script=trajectory.script,
            error=describe_failure(trajectory.result, trajectory.reward),
            depth=rollout.prompt.depth,
            version=version,
        )
        for rollout in rollouts
        for trajectory in rollout.group.scored
        if trajectory.script is not None
        and trajectory.reward is not None
        and not passed(trajectory.reward)
    ]


def find_successes(rollouts: Sequence[Rollout], version: int) -> list[Success]:
    """Return the scripts that passed all checks in a real run, repaired ones included."""
    return [
        Success(task_id=rollout.prompt.task.id, script=trajectory.script, version=version)
        for rollout in rollouts
        for trajectory in rollout.group.scored
        if trajectory.script is not None
        and trajectory.reward is not None
        and passed(trajectory.reward)
    ]
