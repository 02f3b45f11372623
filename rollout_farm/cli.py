"""`mdx-farm`: serve scripts to others, run one, look at a worker, measure and prove it.

mdx-farm serve --listen 0.0.0.0:50051 --token-file farm.token
mdx-farm run in.lammps --file cu.data=data/cu.data
mdx-farm status dns:///farm:50051
mdx-farm selftest
mdx-farm bench
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from mdx.cli import CommandGroup
from mdx.config import dump_config, load_config
from mdx.errors import FarmError, UsageError
from mdx.lammps.run import (
    IMAGE_NAME,
    INTERACTIVE,
    RunLimits,
    RunRequest,
    RunResult,
    RunStatus,
    to_json,
)
from rollout_farm.config import WORKER_ENVIRONMENT, ClientSecurity, WorkerConfig
from rollout_farm.options import FarmPlace, farm_options, security_options

if TYPE_CHECKING:
    from rollout_farm.proto.farm_pb2 import StatusReply

KINDS = ("trivial", "failing", "lj", "eam")  # of scripts, see rollout_farm.bench


@click.group(cls=CommandGroup)
def main() -> None:
    """Run LAMMPS scripts in a sandbox, here or on farm workers."""


@main.command()
@click.option("--config", "path", metavar="FILE", help="YAML, e.g. configs/farm.yaml.")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; also unix:/PATH.")
@click.option("--slots", type=int, help="Scripts at a time (default: one for each core).")
@click.option("--token-file", metavar="FILE", help="Clients must show the token in this file.")
@click.option("--tls-cert", metavar="FILE", help="PEM of this worker's certificate.")
@click.option("--tls-key", metavar="FILE", help="PEM of its private key.")
@click.option("--tls-client-ca", metavar="FILE", help="Clients must show this one's certificates.")
@click.option("--register-dir", metavar="DIR", help="Leave the address here for dir:DIR clients.")
@click.option("--allow-unsandboxed", is_flag=True, help="Serve, on loopback, without a sandbox.")
@click.option("--print-config", is_flag=True, help="Print the configuration and exit.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def serve(
    path: str | None,
    listen: str | None,
    slots: int | None,
    register_dir: str | None,
    allow_unsandboxed: bool,
    print_config: bool,
    overrides: tuple[str, ...],
    **security: str | None,
) -> None:
    """Serve scripts over gRPC until SIGTERM, then finish what runs."""
    os.environ |= WORKER_ENVIRONMENT | os.environ
    from rollout_farm import worker
    from rollout_farm.embedded import Ready

    config = load_config(WorkerConfig, path, overrides)
    config = dataclasses.replace(
        config,
        listen=listen or config.listen,
        num_slots=slots or config.num_slots,
        register_dir=register_dir or config.register_dir,
        allow_unsandboxed=allow_unsandboxed or config.allow_unsandboxed,
        security=dataclasses.replace(
            config.security, **{name: path for name, path in security.items() if path}
        ),
    )
    if print_config:
        click.echo(dump_config(config), nl=False)
        return

    def say(ready: Ready) -> None:
        click.echo(
            f"serving on {ready.address}: {_slots_and_layers(ready.num_slots, ready.layers)}"
        )

    worker.run(worker.serve(config, on_ready=say))


@main.command()
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.option("--wall-time", type=float, default=60.0, show_default=True, help="Seconds.")
@click.option("--memory-mb", type=int, default=1024, show_default=True)
@click.option("--file", "files", multiple=True, metavar="NAME=PATH", help="Give the script a file.")
@click.option("--keep", "patterns", multiple=True, metavar="GLOB", help="Fetch these outputs.")
@click.option("--image", default=0, metavar="PIXELS", help="Fetch a picture of the final state.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("."))
@click.option("--allow-unsandboxed", is_flag=True, help="Run even where nothing can contain it.")
@farm_options
def run(
    script: Path,
    as_json: bool,
    wall_time: float,
    memory_mb: int,
    files: tuple[str, ...],
    patterns: tuple[str, ...],
    image: int,
    out: Path,
    allow_unsandboxed: bool,
    farm: FarmPlace,
) -> None:
    """Run one LAMMPS script and show its log while it runs.

    Exits 0 when the farm worked, whatever the script did: its status is in the output.
    """
    limits = RunLimits(wall_time_s=wall_time, cpu_time_s=wall_time, memory_bytes=memory_mb << 20)
    request = RunRequest(
        script=script.read_text(encoding="utf-8", errors="replace"),
        files=_read_files(files),
        limits=limits,
        want_outputs=(*patterns, *([IMAGE_NAME] if image else [])),
        image_pixels=image,
        priority=INTERACTIVE,
    )
    with farm.connect(num_slots=1, allow_unsandboxed=allow_unsandboxed) as opened:
        if as_json:
            result = opened.run(request)
        else:
            result = opened.watch(request, lambda lines: click.echo(lines, nl=False))
    _save_outputs(result, out)
    if as_json:
        click.echo(to_json(result))
    else:
        _show(result)


@main.command()
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@security_options
def status(addresses: tuple[str, ...], security: ClientSecurity) -> None:
    """Say how workers are (default: 127.0.0.1:50051); exit 1 if one does not answer."""
    from rollout_farm.addresses import AddressBook, parse_sources
    from rollout_farm.remote import RemoteWorker
    from rollout_farm.security import load_access

    access = load_access(security)
    book = AddressBook(sources=parse_sources(addresses or "127.0.0.1:50051"))
    workers = [RemoteWorker(address, access) for address in book.read()]
    problems = list(book.problems)
    for worker in workers:
        try:
            _show_status(worker.address, worker.status(5.0))
        except FarmError as error:
            problems.append(str(error))
        worker.close()
    if problems:
        raise FarmError("; ".join(problems))


def _show_status(address: str, reply: "StatusReply") -> None:
    state = "stopping" if reply.draining else "serving"
    click.echo(f"{address}: {state}, LAMMPS {reply.lammps_version}")
    click.echo(_slots_and_layers(reply.num_slots, reply.sandbox))
    for layer, reason in reply.not_held.items():
        click.echo(f"layer {layer} does not hold: {reason}")
    click.echo(
        f"{reply.num_busy} busy, {reply.num_waiting} waiting, {reply.num_runs} run, "
        f"{reply.num_cache_hits} from the cache, {reply.num_slots_lost} slots lost"
    )


@main.command()
def selftest() -> None:
    """Try the sandbox of this machine with real operations and say which layers hold."""
    from rollout_farm import sandbox
    from rollout_farm.slot import Slot

    slot = Slot(allow_unsandboxed=True)
    slot.close()
    for layer in sandbox.LAYERS:
        reason = slot.hello.missing.get(layer, "it does not hold")
        click.echo(f"{layer:12s} {'holds' if layer in slot.hello.layers else reason}")
    if missing := sandbox.required_missing(slot.hello.layers):
        raise FarmError(f"scripts cannot be sandboxed here: the layer {missing!r} does not hold")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these.")
@farm_options
def bench(as_json: bool, rounds: int, kinds: tuple[str, ...], farm: FarmPlace) -> None:
    """Compare the farm with plain `lmp` and with LAMMPS in one process: CPU and scripts a second.

    About five minutes; leave the machine alone meanwhile.
    """
    from rollout_farm import bench as speed

    with farm.connect() as opened, Console(stderr=True).status("starting") as progress:
        report = speed.measure(opened, kinds or KINDS, rounds, progress.update)
    click.echo(speed.to_json(report) if as_json else speed.table(report))


def _slots_and_layers(num_slots: int, layers: Sequence[str]) -> str:
    return f"{num_slots} slots, sandbox: {' '.join(layers) or 'none'}"


def _read_files(pairs: Sequence[str]) -> dict[str, bytes]:
    files = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not Path(path).is_file():
            raise UsageError(f"--file needs NAME=PATH of a file that exists, not {pair!r}")
        files[name] = Path(path).read_bytes()
    return files


def _save_outputs(result: RunResult, folder: Path) -> None:
    for name, output in result.outputs.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise FarmError(f"the farm sent a file with a name that leads elsewhere: {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(output.content)
        if output.truncated:
            click.echo(
                f"{name}: only the first {len(output.content)} of {output.size_bytes} bytes",
                err=True,
            )


def _show(result: RunResult) -> None:
    timings = result.timings
    click.echo(f"status: {result.status} ({timings.wall_s:.2f} s, {timings.cpu_s:.2f} s CPU)")
    if result.status is not RunStatus.OK:
        click.echo(f"reason: {result.error}")
        if result.failed_command:
            click.echo(f"command: {result.failed_command}")


if __name__ == "__main__":
    main()
