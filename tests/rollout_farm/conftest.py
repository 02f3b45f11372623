"""A real farm for all tests of a session, and a short way to run a script on it."""

import dataclasses
from collections.abc import Callable, Iterator

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
