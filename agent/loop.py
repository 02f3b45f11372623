"""The agent's one loop: write -> run -> evaluate -> repair, until solved or out of attempts.

A round asks the generator for some candidates, runs them all on the farm and judges them. If none
solves the task, the best of them is sent back with what went wrong, in the format in which repair
was trained (`mdx.chat.repair_messages`). Nothing runs outside the farm, and every candidate is
kept as an `Attempt`.

The loop starts afresh from the request where there is nothing to repair: no script in the
answer, a script that failed in an earlier round already, or a repair prompt too long for the
model.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from agent.evaluation import Verdict, judge
from agent.generators import Generator, Message
from mdx.chat import repair_messages, task_messages
from mdx.lammps.run import INTERACTIVE, RunLimits, RunRequest, RunResult
from mdx.lammps.script import extract_script
from mdx.tasks.task import Task


class Runner(Protocol):
    """What is needed of a farm (`rollout_farm.client.Farm`)."""

    def submit(self, request: RunRequest) -> Future[RunResult]:
        """Run a script; the future raises FarmError where the infrastructure failed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One candidate: what was asked, what the model wrote, what it came to."""

    round: int  # from 1
    candidate: int  # from 1, within the round
    messages: tuple[Message, ...]
    text: str
    script: str | None
    result: RunResult | None
    verdict: Verdict

    @property
    def rank(self) -> tuple[bool, float]:
        """Orders attempts: solved before not, then by reward."""
        reward = self.verdict.reward
        return self.verdict.solved, -1.0 if reward is None else reward.total


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All attempts at one task, in order."""

    task: Task
    attempts: tuple[Attempt, ...]
    run_dir: str | None = None

    @property
    def solved(self) -> bool:
        """Whether one attempt solved the task."""
        return any(attempt.verdict.solved for attempt in self.attempts)

    @property
    def best(self) -> Attempt | None:
        """The first of the best attempts; None before there is one."""
        return max(self.attempts, key=lambda attempt: attempt.rank, default=None)


def make_attempts(
    task: Task,
    generator: Generator,
    farm: Runner,
    *,
    max_rounds: int = 4,
    num_candidates: int = 1,
    limits: RunLimits = RunLimits(),  # noqa: B008 - frozen
    seed: int = 0,
) -> Iterator[Attempt]:
    """Yield attempts as they are judged, until a round holds a solution or `max_rounds` are over.

    Raises FarmError where the infrastructure fails: that says nothing about the script.
    """
    messages = task_messages(task)
    failed_scripts: set[str] = set()
    for number in range(1, max_rounds + 1):
        texts = generator.generate(messages, num_candidates=num_candidates, seed=seed + number)
        attempts = []
        for attempt in _run_round(task, number, messages, texts, farm, limits):
            yield attempt
            attempts.append(attempt)
        best = max(attempts, key=lambda attempt: attempt.rank)
        if best.verdict.solved:
            return
        messages = _next_messages(task, best, failed_scripts, generator)
        failed_scripts |= {attempt.script for attempt in attempts if attempt.script}


def _run_round(
    task: Task,
    number: int,
    messages: Sequence[Message],
    texts: Sequence[str],
    farm: Runner,
    limits: RunLimits,
) -> Iterator[Attempt]:
    scripts = [extract_script(text) for text in texts]
    request = RunRequest(
        script="", files=task.files, limits=limits, task=task, priority=INTERACTIVE
    )
    futures = [script and farm.submit(replace(request, script=script)) for script in scripts]
    for index, (text, script, future) in enumerate(zip(texts, scripts, futures, strict=True)):
        result = future.result() if isinstance(future, Future) else None
        yield Attempt(
            round=number,
            candidate=index + 1,
            messages=tuple(messages),
            text=text,
            script=script,
            result=result,
            verdict=judge(task, script, result),
        )


def _next_messages(
    task: Task, failed: Attempt, failed_scripts: set[str], generator: Generator
) -> list[Message]:
    if failed.script is not None and failed.script not in failed_scripts:
        repair = repair_messages(task, failed.script, failed.verdict.problem or "")
        if generator.fits(repair):
            return repair
    return task_messages(task)
