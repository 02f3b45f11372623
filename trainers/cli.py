"""`mdx-train`: the stages of training, each configured by a dataclass, a YAML file and key=value.

    mdx-train cpt  --config configs/tiny/cpt.yaml run_dir=runs/cpt
    mdx-train sft  --config configs/tiny/sft.yaml run_dir=runs/sft init_from=runs/cpt/export
    mdx-train sft  --config configs/tiny/sft.yaml --print-config optim.peak_lr=2e-3

The same command resumes a run that was killed and returns at once when it is complete. Stages are
imported when they are called, so `--help` starts without JAX.

A stage runs over several processes (hosts) where a TPU pod or Slurm says so, or where
`--coordinator`, `--num-processes` and `--process-id` do (docs/howto/multihost.md).
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from mdx.cli import CommandGroup
from mdx.config import dump_config, load_config
from mdx.errors import StoppedError
from trainers.plan_cli import plan
from trainers.supervisor import run_in_child

F = TypeVar("F", bound=Callable[..., Any])
_HUGE_PAGES = "glibc.malloc.hugetlb=1"
_CHOSEN = ("coordinator", "num_processes", "process_id")


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


def _on_several_hosts(command: F) -> F:
    """Give a command the options that say which process of several it is."""
    options = (
        click.option("--coordinator", metavar="HOST:PORT", help="Where process 0 is reached."),
        click.option("--num-processes", type=int, help="How many processes train together."),
        click.option("--process-id", type=int, help="Which of them this is, from 0."),
        click.option(
            "--connect-timeout-s", type=int, default=300, help="To wait for all at the start."
        ),
        click.option(
            "--peer-timeout-s", type=int, default=60, help="Silence after which one is dead."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@_configured
@_on_several_hosts
def cpt(
    path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...], **membership: Any
) -> None:
    """Continue pre-training on MD-Knowledge: predict every next token."""
    _launch("trainers.cpt", "CptConfig", path, print_config, overrides, membership)


@main.command()
@_configured
@_on_several_hosts
def sft(
    path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...], **membership: Any
) -> None:
    """Fine-tune on conversations: predict what the assistant says."""
    _launch("trainers.sft", "SftConfig", path, print_config, overrides, membership)


@main.command()
@_configured
@_on_several_hosts
def grpo(
    path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...], **membership: Any
) -> None:
    """Learn from running scripts: MD-GRPO against the rollout farm."""
    _launch("trainers.grpo", "GrpoConfig", path, print_config, overrides, membership)


@main.command()
@_configured
def quickstart(path: tuple[str, ...], print_config: bool, overrides: tuple[str, ...]) -> None:
    """Run everything once on a small model: data, three stages, evaluation, the agent."""
    _launch("trainers.quickstart", "QuickstartConfig", path, print_config, overrides, {})


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
    _restart_with_huge_pages()
    _prepare_process()
    step = importlib.import_module("trainers.export").export_run(run_dir, out_dir, dtype=dtype)
    click.echo(f"wrote step {step} of {run_dir} to {out_dir}")


def _launch(
    module: str,
    kind: str,
    path: tuple[str, ...],
    print_config: bool,
    overrides: tuple[str, ...],
    membership: Mapping[str, Any],
) -> None:
    """Load the stage's configuration; print it, or run the stage and say where its result is."""
    if print_config:
        config = load_config(getattr(importlib.import_module(module), kind), path, overrides)
        click.echo(dump_config(config), nl=False)
        return
    _restart_with_huge_pages()
    with _among_others(membership):
        _prepare_process()
        stage = importlib.import_module(module)
        runs = importlib.import_module("trainers.run_dir")
        config = load_config(getattr(stage, kind), path, overrides)
        optim = getattr(config, "optim", None)  # the quickstart has none of its own
        already = optim is not None and runs.is_complete(config.run_dir, optim.num_steps)
        run_dir = stage.run(config)
        if optim is not None and importlib.import_module("trainers.processes").is_first():
            done = "already complete" if already else "complete"
            click.echo(f"{done}: the model is in {run_dir}/{runs.EXPORT}")


def _among_others(membership: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Return the context in which this process is one of several, if it is."""
    chosen = {name: value for name, value in membership.items() if value is not None}
    if not membership or not (chosen.keys() & set(_CHOSEN) or _in_cluster(os.environ)):
        return contextlib.nullcontext()
    member = importlib.import_module("trainers.membership").Membership(**chosen)
    run_in_child(member.coordinator, member.connect_timeout_s)
    return importlib.import_module("trainers.processes").joined(member)


def _in_cluster(environment: Mapping[str, str]) -> bool:
    """Tell whether a TPU pod or a Slurm step of several tasks started this process."""
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return True
    if environment.get("JAX_PLATFORMS", "tpu") != "tpu" or not importlib.util.find_spec("libtpu"):
        return False
    several = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    several |= int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1
    on_a_tpu_vm = any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev/vfio").glob("[0-9]*"))
    return several or on_a_tpu_vm


def _prepare_process() -> None:
    """Make this process one that trains: cached compilations, SIGTERM as an exit."""
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
