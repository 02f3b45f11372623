"""Several processes of one run on this machine, over loopback, each with CPU devices of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PATIENCE_S = 400


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
    environment = {
        **os.environ,
        "MDX_CACHE_DIR": cache_dir,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "trainers.cli", *arguments),
                *("--coordinator", address, "--num-processes", str(num_processes)),
                *("--process-id", str(process_id)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process_id in (range(num_processes) if ids is None else ids)
    ]


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


def has_lines(run_dir: Path, number: int) -> bool:
    """Tell whether a run has recorded `number` steps."""
    file = run_dir / "metrics.jsonl"
    return file.exists() and file.read_bytes().count(b"\n") >= number
