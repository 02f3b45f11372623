"""A real farm for all tests of a session, a short way to run a script on it, served workers."""

import contextlib
import dataclasses
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from mdx.lammps.run import RunLimits, RunRequest, RunResult
from rollout_farm.client import Farm

LIMITS = RunLimits(wall_time_s=20.0, cpu_time_s=20.0, memory_bytes=256 << 20)
Runner = Callable[..., RunResult]


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    with Farm(num_slots=2) as farm:
        yield farm


@pytest.fixture
def run(farm: Farm) -> Runner:
    """Return a function that runs a script; keywords of RunLimits and RunRequest are accepted."""

    def run_script(script: str, **options: object) -> RunResult:
        names = {field.name for field in dataclasses.fields(RunLimits)}
        limits = {name: value for name, value in options.items() if name in names}
        others = {name: value for name, value in options.items() if name not in names}
        return farm.run(
            RunRequest(script=script, limits=dataclasses.replace(LIMITS, **limits), **others)
        )

    return run_script


@pytest.fixture
def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass(frozen=True)
class Served:
    """A worker's process and where it listens."""

    process: "subprocess.Popen[str]"
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Served]]:
    """Return what starts `mdx-farm serve` with one slot and these arguments for a block."""
    return _serve


@contextlib.contextmanager
def _serve(*arguments: str, listen: str = "127.0.0.1:0") -> Iterator[Served]:
    command = [sys.executable, "-m", "rollout_farm.cli", "serve", "num_slots=1"]
    process = subprocess.Popen(
        [*command, "--listen", listen, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), line
        yield Served(process, line.split()[2].rstrip(":"))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
