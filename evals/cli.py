"""`mdx-eval`: measure exported models and compare the measurements.

mdx-eval codegen --model runs/sft/export --data data --num-tasks 200 --out runs/sft/eval
mdx-eval compare runs/sft/eval runs/grpo/eval
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mdx.cli import CommandGroup
from rollout_farm.options import FarmPlace, farm_options

if TYPE_CHECKING:
    from mdx.tasks.task import Task


@click.group(cls=CommandGroup)
def main() -> None:
    """Measure how good a model is at writing simulations that run."""


@main.command()
@click.option("--model", "model_dir", required=True, help="Hugging Face directory.")
@click.option("--data", "data_dir", required=True, help="Folder that `mdx-data build` wrote.")
@click.option("--split", default="test", show_default=True)
@click.option(
    "--num-tasks",
    default=200,
    show_default=True,
    type=click.IntRange(0),
    help="The first N tasks; 0: all.",
)
@click.option(
    "--num-samples", default=3, show_default=True, type=click.IntRange(1), help="Scripts a task."
)
@click.option(
    "--temperature",
    default=0.7,
    show_default=True,
    type=click.FloatRange(0),
    help="0 is greedy.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--max-new-tokens", default=256, show_default=True)
@click.option("--out", "out_dir", required=True, help="Folder for the report.")
@farm_options
def codegen(
    model_dir: str,
    data_dir: str,
    split: str,
    num_tasks: int,
    num_samples: int,
    temperature: float,
    seed: int,
    max_new_tokens: int,
    out_dir: str,
    farm: FarmPlace,
) -> None:
    """Let a model write scripts for held-out tasks, run them all, write a report."""
    from evals.codegen import check_model_dir, evaluate_codegen
    from evals.report import CodegenConfig, render_markdown
    from mdx.model.compilation_cache import enable_compilation_cache

    enable_compilation_cache()

    config = CodegenConfig(
        num_samples=num_samples,
        temperature=temperature,
        seed=seed,
        max_new_tokens=max_new_tokens,
    )
    check_model_dir(model_dir)
    tasks = select_tasks(data_dir, split, num_tasks)
    with farm.connect() as opened, progress_bar(len(tasks) * num_samples) as on_done:
        report = evaluate_codegen(
            model_dir, tasks, opened, config, out_dir=out_dir, on_done=on_done
        )
    click.echo(render_markdown(report))
    click.echo(f"report: {out_dir}")


@main.command()
@click.argument("first")
@click.argument("second")
def compare(first: str, second: str) -> None:
    """Print SECOND minus FIRST, task by task, with 95 % intervals. Both are report folders."""
    from evals.compare import compare_reports, render_comparison
    from evals.report import read_report

    click.echo(render_comparison(compare_reports(read_report(first), read_report(second))))


def select_tasks(data_dir: str, split: str, num_tasks: int) -> "Sequence[Task]":
    """Return the first `num_tasks` tasks of the split (0: all); raises UsageError for none."""
    from mdx.data.tasks import load_tasks
    from mdx.errors import UsageError

    tasks = load_tasks(data_dir, split)
    if not tasks:
        raise UsageError(f"{data_dir} holds no tasks in the split {split!r}")
    return tasks[: num_tasks or None]


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar with the remaining time on stderr; yields what advances it by one."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        scripts = bar.add_task("scripts", total=total)
        yield lambda: bar.advance(scripts)
