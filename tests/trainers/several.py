"""Several processes of one run on this machine, over loopback, each with CPU devices of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE_S = 400  # on a machine that does other things too
_SLURM_PORT = 65535 - 4095  # JAX adds the job's number to it, modulo 4096


def start(
    arguments: Sequence[str],
    num_processes: int,
    cache_dir: str,
    *,
    devices: int = 2,
    ids: Sequence[int] | None = None,
    port: int = 0,
) -> list[subprocess.Popen[str]]:
    """Start `mdx-train ARGUMENTS` as `num_processes` processes that find each other."""
    address = f"127.0.0.1:{port or free_port()}"
    others = ["--coordinator", address, "--num-processes", str(num_processes), "--process-id"]
    settings = _settings(cache_dir, devices)
    return [
        launch([*arguments, *others, str(process_id)], settings)
        for process_id in (range(num_processes) if ids is None else ids)
    ]


def start_under_slurm(
    arguments: Sequence[str], num_processes: int, cache_dir: str
) -> list[subprocess.Popen[str]]:
    """Start the same as the tasks of a Slurm step, which are told no address."""
    job = next(job for job in range(4096) if _is_free(_SLURM_PORT + job))
    step = {
        **_settings(cache_dir, devices=1),
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(num_processes),
        "SLURM_STEP_NUM_TASKS": str(num_processes),
    }
    return [
        launch(arguments, {**step, "SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)})
        for n in range(num_processes)
    ]


def launch(arguments: Sequence[str], settings: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start `mdx-train ARGUMENTS` with `settings` in its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "trainers.cli", *arguments],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _settings(cache_dir: str, devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {"MDX_CACHE_DIR": cache_dir, "XLA_FLAGS": flags}


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for all; return each one's exit code, stdout and stderr."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=PATIENCE_S)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return found


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) != 0


def has_lines(run_dir: Path, number: int) -> bool:
    """Tell whether a run has recorded `number` steps."""
    file = run_dir / "metrics.jsonl"
    return file.exists() and file.read_bytes().count(b"\n") >= number
