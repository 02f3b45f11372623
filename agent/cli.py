"""`mdx-agent`: say in plain words what to simulate; get a script that ran.

    mdx-agent solve "Relax fcc copper at 0 K" --model runs/grpo/export --run-dir runs/copper

Exit codes: 0 solved, 1 not solved or failed, 2 usage, 130 interrupted.
"""

from typing import TYPE_CHECKING

import click

from mdx.cli import CommandGroup
from rollout_farm.options import FarmPlace, farm_options

if TYPE_CHECKING:
    from agent.generators import Generator
    from agent.loop import Attempt, Outcome
    from mdx.tasks.task import Task


@click.group(cls=CommandGroup)
def main() -> None:
    """Write, run, evaluate and repair molecular dynamics simulations."""


@main.command()
@click.argument("request", required=False)
@click.option("--model", help="Hugging Face directory, or the model's name with --endpoint.")
@click.option("--endpoint", help="URL of an OpenAI-compatible server, in place of a directory.")
@click.option(
    "--api-key", envvar="MDX_AGENT_API_KEY", help="For --endpoint.  [env: MDX_AGENT_API_KEY]"
)
@click.option("--task", "task_file", help="JSON of a task with checks, in place of REQUEST.")
@click.option("--max-attempts", default=4, show_default=True, type=click.IntRange(1))
@click.option(
    "--candidates",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Scripts written and run in each attempt.",
)
@click.option("--run-dir", default="runs/agent", show_default=True, help="Folder for the results.")
@click.option("--temperature", default=0.7, show_default=True, help="Of sampling; 0 is greedy.")
@click.option(
    "--wall-time", "wall_time_s", default=60.0, show_default=True, help="Limit of one run, seconds."
)
@click.option("--seed", default=0, show_default=True)
@farm_options
def solve(
    request: str | None,
    model: str | None,
    endpoint: str | None,
    api_key: str | None,
    task_file: str | None,
    max_attempts: int,
    candidates: int,
    run_dir: str,
    temperature: float,
    wall_time_s: float,
    seed: int,
    farm: FarmPlace,
) -> int:
    """Turn REQUEST into a simulation that ran, and write it to --run-dir."""
    from agent.session import solve as solve_request

    if model is None:
        raise click.UsageError("--model is needed: a Hugging Face directory or an endpoint's model")
    task = _read_request(request, task_file)
    with farm.connect() as opened:
        outcome = solve_request(
            task,
            model=_endpoint(endpoint, model, api_key, temperature) if endpoint else model,
            run_dir=run_dir,
            farm=opened,
            max_attempts=max_attempts,
            num_candidates=candidates,
            temperature=temperature,
            wall_time_s=wall_time_s,
            seed=seed,
            on_attempt=_print_attempt,
        )
    _print_outcome(outcome)
    return 0 if outcome.solved else 1


def _read_request(request: str | None, task_file: str | None) -> "str | Task":
    if (request is None) == (task_file is None):
        raise click.UsageError("give either a REQUEST in plain words or --task FILE")
    if task_file is None:
        assert request is not None
        if not request.strip():
            raise click.UsageError("the REQUEST is empty: say what to simulate")
        return request
    import msgspec

    from mdx.lammps.run import from_json
    from mdx.tasks.task import Task

    try:
        with open(task_file, "rb") as file:
            return from_json(file.read(), Task)
    except FileNotFoundError as error:
        raise click.UsageError(f"--task needs a JSON file, but there is no {task_file}") from error
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"{task_file} holds no task: {error}") from error


def _endpoint(url: str, model: str, api_key: str | None, temperature: float) -> "Generator":
    from agent.generators import EndpointGenerator

    return EndpointGenerator(url, model, api_key=api_key, temperature=temperature)


def _print_attempt(attempt: "Attempt") -> None:
    reward = attempt.verdict.reward
    status = attempt.result.status if attempt.result else "no script"
    score = "" if reward is None else f", R = {reward.total:.2f}"
    problem = "" if attempt.verdict.problem is None else f": {attempt.verdict.problem}"
    click.echo(f"attempt {attempt.round}.{attempt.candidate}: {status}{score}{problem}")


def _print_outcome(outcome: "Outcome") -> None:
    verdict = "solved" if outcome.solved else "not solved"
    checks = outcome.attempts[-1].verdict.checks if outcome.attempts else ()
    click.echo(f"{verdict} (checks applied: {'; '.join(checks)})")
    click.echo(f"report: {outcome.run_dir}/report.md")
