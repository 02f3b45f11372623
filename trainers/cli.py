"""`mdx-train`: the stages of training, each configured by a dataclass, a YAML file and key=value.

    mdx-train cpt  --config configs/tiny/cpt.yaml run_dir=runs/cpt
    mdx-train sft  --config configs/tiny/sft.yaml run_dir=runs/sft init_from=runs/cpt/export
    mdx-train sft  --config configs/tiny/sft.yaml --print-config optim.peak_lr=2e-3

The same command resumes a run that was killed and returns at once when it is complete. Stages are
imported when they are called, so `--help` starts without JAX.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from mdx.cli import CommandGroup
from mdx.config import dump_config, load_config
from mdx.errors import StoppedError
from trainers.plan_cli import plan
from trainers.run_dir import EXPORT, is_complete

F = TypeVar("F", bound=Callable[..., Any])
_HUGE_PAGES = "glibc.malloc.hugetlb=1"


@click.group(cls=CommandGroup)
def main() -> None:
    """Train models that write, run and repair molecular dynamics simulations."""


def _configured(command: F) -> F:
    """Give a command `--config FILE`, `--print-config` and trailing `key=value` arguments."""
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)
    command = click.option(
        "--print-config", is_flag=True, help="Print the merged configuration and exit."
    )(command)
    return click.option(
        "--config",
        "path",
        metavar="FILE",
        multiple=True,
        help="YAML file, repeatable (the last wins); what none sets has its default.",
    )(command)


@main.command()
@_configured
def cpt(path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...]) -> None:
    """Continue pre-training on MD-Knowledge: predict every next token."""
    _launch("trainers.cpt", "CptConfig", path, print_config, overrides)


@main.command()
@_configured
def sft(path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...]) -> None:
    """Fine-tune on conversations: predict what the assistant says."""
    _launch("trainers.sft", "SftConfig", path, print_config, overrides)


@main.command()
@_configured
def grpo(path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...]) -> None:
    """Learn from running scripts: MD-GRPO against the rollout farm."""
    _launch("trainers.grpo", "GrpoConfig", path, print_config, overrides)


@main.command()
@_configured
def quickstart(path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...]) -> None:
    """Run everything once on a small model: data, three stages, evaluation, the agent."""
    _launch("trainers.quickstart", "QuickstartConfig", path, print_config, overrides)


main.add_command(plan)


@main.command()
@click.option("--run-dir", required=True, help="Run of cpt, sft or grpo with a checkpoint.")
@click.option("--out", "out_dir", required=True, help="Directory to write.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    help="Of the weights in the files.",
)
def export(run_dir: str, out_dir: str, dtype: str) -> None:
    """Write the newest checkpoint of a run as a Hugging Face directory, adapters merged."""
    _prepare_process()
    step = importlib.import_module("trainers.export").export_run(run_dir, out_dir, dtype=dtype)
    click.echo(f"wrote step {step} of {run_dir} to {out_dir}")


def _launch(
    module: str, kind: str, path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...]
) -> None:
    """Load the stage's configuration; print it, or run the stage and say where its result is."""
    if not print_config:
        _prepare_process()
    stage = importlib.import_module(module)
    config = load_config(getattr(stage, kind), path, overrides)
    if print_config:
        click.echo(dump_config(config), nl=False)
        return
    optim = getattr(config, "optim", None)  # the quickstart has none of its own
    already = optim is not None and is_complete(config.run_dir, optim.num_steps)
    run_dir = stage.run(config)
    if optim is not None:
        click.echo(f"{'already ' if already else ''}complete: the model is in {run_dir}/{EXPORT}")


def _prepare_process() -> None:
    """Make this process one that trains: huge pages, cached compilations, SIGTERM as an exit."""
    _restart_with_huge_pages()
    signal.signal(signal.SIGTERM, _stop_at_once)
    import logging

    from mdx.model.compilation_cache import enable_compilation_cache

    # Orbax logs the traceback of a failed background save, which is reported in one line anyway.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    enable_compilation_cache()


def _restart_with_huge_pages() -> None:
    """Start this program again, as the same process, with large pages for its memory.

    glibc reads the setting before Python exists. Training steps are a quarter faster with it on
    CPUs (fewer page faults); an explicit GLIBC_TUNABLES of the user's is left as it is.
    """
    is_program = Path(sys.argv[0]).stem in ("mdx-train", "cli")
    if not is_program or sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    os.environ["GLIBC_TUNABLES"] = _HUGE_PAGES
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _stop_at_once(_: int, frame: FrameType | None) -> None:
    """Answer SIGTERM where no training loop is there to save first."""
    raise StoppedError("no step was under way; the same command goes on from what was saved")


if __name__ == "__main__":
    main()
