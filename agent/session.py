"""One session of the agent: a request, a model, a farm, a run folder.

`solve` is the Python interface; `mdx-agent solve` is the same on the command line.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from agent.evaluation import free_text_task
from agent.generators import Generator, LocalGenerator
from agent.loop import Attempt, Outcome, Runner, make_attempts
from agent.report import RunFolder
from mdx.lammps.run import RunLimits
from mdx.tasks.task import Task


def solve(
    request: str | Task,
    *,
    model: str | Generator,
    run_dir: str,
    farm: str | Runner | None = None,
    max_attempts: int = 4,
    num_candidates: int = 1,
    temperature: float = 0.7,
    wall_time_s: float = 60.0,
    seed: int = 0,
    on_attempt: Callable[[Attempt], None] = lambda attempt: None,
) -> Outcome:
    """Let the model write a simulation, run it and repair it until it does what was asked.

    Args:
        request: plain words, judged by sanity checks only, or a task, judged by its own checks.
        model: a Hugging Face directory, or any generator.
        run_dir: folder for the scripts, logs, results and the report.
        farm: host:port of a farm or an open one; without it a worker is started on this machine.
        max_attempts: rounds of writing or repairing.
        num_candidates: scripts written and run in each round.
        temperature: of sampling; 0 is greedy. Only for a model given as a directory.
        wall_time_s: limit of one run, seconds.
        seed: of sampling.
        on_attempt: called with each attempt after it was judged.

    Raises UsageError for what the caller can mend and FarmError where no script can be run.
    """
    task = free_text_task(request) if isinstance(request, str) else request
    generator = LocalGenerator(model, temperature=temperature) if isinstance(model, str) else model
    folder = RunFolder(run_dir, task)
    limits = RunLimits(wall_time_s=wall_time_s, cpu_time_s=wall_time_s)
    with _open_farm(farm) as runner:
        for attempt in make_attempts(
            task,
            generator,
            runner,
            max_rounds=max_attempts,
            num_candidates=num_candidates,
            limits=limits,
            seed=seed,
        ):
            folder.add(attempt)
            on_attempt(attempt)
        return folder.finish()


def _open_farm(farm: str | Runner | None) -> AbstractContextManager[Runner]:
    if farm is not None and not isinstance(farm, str):
        return nullcontext(farm)  # whoever opened it closes it
    from rollout_farm.client import Farm

    return Farm((farm,) if farm else ())
