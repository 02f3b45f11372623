"""Rollouts: prompts -> completions -> scripts -> runs on the farm -> scored groups.

    prompts -> sample, row by row -> extract_script -> farm (while other rows are still written)
            -> gather, in the order of the prompts

* A completion without a script has a reward (0) and no run.
* The same script for the same task runs once in a rollout, however often it was written.
* Where the infrastructure fails, a trajectory has no reward and leaves its group: what a broken
  worker did is never learnt as a bad script.

The outcome depends on the parameters, the prompts and the key alone: not on the order in which
runs end.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax

from evals.sampling import to_completion
from mdx.data.buckets import by_length
from mdx.errors import ConfigError, FarmError
from mdx.lammps.run import Reward, RunLimits, RunRequest, RunResult
from mdx.lammps.script import extract_script
from mdx.model.decoder import GraphDef
from mdx.model.sampler import sample_stream
from mdx.rewards import passed, score
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer
from mdx.trajectory import Completion, Trajectory, TrajectoryGroup
from trainers.prompts import Prompt

_EQUAL_REWARDS = 1e-6  # groups whose rewards differ by less teach nothing


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Which prompts are sampled, how many, how often, how long and how hot."""

    data_dir: str = "data"  # tasks: a split of MD-CodeGen
    split: str = "train"  # or "grpo", where the build made such a split
    num_prompts: int = 16  # a step, first attempts and repairs together
    group_size: int = 8
    refill_below: float = 0.25  # refill while fewer than this share of num_prompts groups teach
    max_refills: int = 1  # a step at most, each of num_prompts
    max_prompt_tokens: int = 192
    prompt_buckets: list[int] = field(default_factory=list)  # lengths below it that are compiled
    max_new_tokens: int = 128
    temperature: float = 1.0
    num_slots: int = 32  # completions that are decoded at one time
    num_examples: int = 16  # trajectories of each step that are kept to read

    def __post_init__(self) -> None:
        checks = {
            "num_prompts must be 1 or more": self.num_prompts >= 1,
            "group_size must be 2 or more, since a group is its own baseline": self.group_size > 1,
            "temperature must be above 0": self.temperature > 0,
            "max_refills must be 0 or more": self.max_refills >= 0,
            "prompt_buckets must lie between 1 and max_prompt_tokens": all(
                0 < length < self.max_prompt_tokens for length in self.prompt_buckets
            ),
        }
        for claim, holds in checks.items():
            if not holds:
                raise ConfigError(f"rollout.{claim}")

    @property
    def max_trajectories(self) -> int:
        """The most trajectories that one step can bring, refills included."""
        return (1 + self.max_refills) * self.num_prompts * self.group_size


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One prompt with the group of trajectories that was sampled for it."""

    prompt: Prompt
    group: TrajectoryGroup

    @property
    def rewards(self) -> list[float]:
        """The rewards of the scored trajectories, in order."""
        return [t.reward.total for t in self.group.scored if t.reward is not None]

    @property
    def passes(self) -> list[bool]:
        """Which of the scored trajectories passed, in order."""
        return [passed(t.reward) for t in self.group.scored if t.reward is not None]

    @property
    def teaches(self) -> bool:
        """Whether the rewards differ, so that some advantage is not zero."""
        rewards = self.rewards
        return len(rewards) > 1 and max(rewards) - min(rewards) > _EQUAL_REWARDS


class Sampled(Protocol):
    """One completion as the sampler gives it (`mdx.model.sampler.SampledTokens`)."""

    @property
    def tokens(self) -> Sequence[int]: ...  # noqa: D102

    @property
    def logprobs(self) -> Sequence[float]: ...  # noqa: D102


# (params, prompts' tokens, key, the prompts' numbers among those of all processes)
# -> (prompt, sample, completion), in the order in which rows end
SampleFn = Callable[
    [Any, Sequence[Sequence[int]], jax.Array, Sequence[int]], Iterator[tuple[int, int, Sampled]]
]


class Runner(Protocol):
    """What is needed of a farm (`rollout_farm.client.Farm`)."""

    def submit(self, request: RunRequest) -> Future[RunResult]:
        """Run a script; the future raises FarmError where the infrastructure failed."""
        ...


@dataclass(kw_only=True)
class PhaseClock:
    """Seconds of wall time by phase: what was spent where in one step."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Charge the time since the last lap to `phase`."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def make_sample(graphdef: GraphDef, config: RolloutConfig, *, eos_id: int) -> SampleFn:
    """Return what samples `group_size` completions for each of the prompts."""
    buckets = (*config.prompt_buckets, config.max_prompt_tokens)

    def sample(
        params: Any, prompts: Sequence[Sequence[int]], key: jax.Array, numbers: Sequence[int]
    ) -> Iterator[tuple[int, int, Sampled]]:
        for length, members in by_length([len(prompt) for prompt in prompts], buckets).items():
            stream = sample_stream(
                graphdef,
                params,
                [prompts[index] for index in members],
                num_samples=config.group_size,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=1.0,  # a cut would make the sampled distribution another than the loss's
                eos_ids=(eos_id,),
                key=key,
                num_slots=config.num_slots,
                prompt_indices=[numbers[index] for index in members],
                min_prompt_bucket=length,  # one compilation a bucket for all steps
            )
            for place, number, completion in stream:
                yield members[place], number, completion

    return sample


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What rollouts need besides prompts and parameters: how to sample and where to run."""

    sample: SampleFn
    farm: Runner
    tokenizer: Tokenizer
    limits: RunLimits


def roll_out(
    params: Any,
    prompts: Sequence[Prompt],
    key: jax.Array,
    workshop: Workshop,
    *,
    name: str,
    clock: PhaseClock,
    numbers: Sequence[int] | None = None,
) -> list[Rollout]:
    """Sample for every prompt, run and score what came out, and return one rollout a prompt.

    A script is on its way to the farm as soon as its row ends. `name` begins the ids of the
    trajectories; `numbers` are the prompts' places where they are a part of more. Never raises for
    a failed script or a lost run.
    """
    pending: list[dict[int, _Pending]] = [{} for _ in prompts]
    futures: dict[tuple[str, str], Future[RunResult]] = {}
    numbers = range(len(prompts)) if numbers is None else numbers
    stream = workshop.sample(params, [prompt.tokens for prompt in prompts], key, numbers)
    for number, index, sampled in stream:
        pending[number][index] = _submit(prompts[number].task, sampled, workshop, futures)
    clock.lap("sampling")
    rollouts = [
        Rollout(prompt=prompt, group=_gather(f"{name}.{number}", prompt, waiting))
        for number, prompt, waiting in zip(numbers, prompts, pending, strict=True)
    ]
    clock.lap("farm")
    return rollouts


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """A completion whose run may not have ended yet."""

    completion: Completion
    script: str | None
    future: Future[RunResult] | None


def _submit(
    task: Task,
    sampled: Sampled,
    workshop: Workshop,
    futures: dict[tuple[str, str], Future[RunResult]],
) -> _Pending:
    completion = to_completion(workshop.tokenizer, sampled.tokens, sampled.logprobs)
    script = extract_script(completion.text)
    if script is None:
        return _Pending(completion=completion, script=None, future=None)
    future = futures.get((task.id, script))
    if future is None:
        request = RunRequest(script=script, files=task.files, limits=workshop.limits, task=task)
        future = futures[task.id, script] = workshop.farm.submit(request)
    return _Pending(completion=completion, script=script, future=future)


def _gather(name: str, prompt: Prompt, group: Mapping[int, _Pending]) -> TrajectoryGroup:
    trajectories = []
    for number, pending in sorted(group.items()):
        result, reward = _outcome(prompt.task, pending)
        trajectories.append(
            Trajectory(
                id=f"{name}.{number}",
                task=prompt.task,
                prompt_tokens=prompt.tokens,
                completion=pending.completion,
                script=pending.script,
                result=result,
                reward=reward,
                parent=prompt.failure.trajectory_id if prompt.failure else None,
            )
        )
    return TrajectoryGroup(trajectories=tuple(trajectories))


def _outcome(task: Task, pending: _Pending) -> tuple[RunResult | None, Reward | None]:
    if pending.future is None:
        return None, score(task, None, None)
    try:
        result = pending.future.result()
    except FarmError:  # the infrastructure's fault: no result and no reward
        return None, None
    return result, result.reward or score(task, pending.script, result)
