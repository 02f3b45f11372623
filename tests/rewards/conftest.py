"""A real farm, and the tasks that the reward tests share: Cu under NPT and its relatives."""

from collections.abc import Iterator

import pytest

from mdx.tasks.task import Check, CheckKind, Potential, Task
from rollout_farm.client import Farm

CU = Potential(style="eam/alloy", coeffs=("* * Cu_mishin1.eam.alloy Cu",))


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    with Farm(num_slots=2) as farm:
        yield farm


@pytest.fixture(scope="session")
def npt_task() -> Task:
    """256 atoms of Cu at 300 K and no pressure for 500 steps, with a dump and a table."""
    return Task(
        id="npt-cu",
        family="npt",
        prompt="NPT Cu 4x4x4, 300 K, 0 bar, 500 steps, dt 2 fs; dump.cu every 100, T.dat every 50",
        checks=(
            Check(kind=CheckKind.UNITS, text="metal"),
            Check(kind=CheckKind.POTENTIAL),
            Check(kind=CheckKind.NUM_ATOMS, target=256, tolerance=0.0),
            Check(kind=CheckKind.ENSEMBLE, text="npt"),
            Check(kind=CheckKind.NUM_STEPS, target=500),
            Check(kind=CheckKind.TIMESTEP, target=0.002),
            Check(kind=CheckKind.DUMP, file="dump.cu", target=5),
            Check(kind=CheckKind.TABLE, file="T.dat", target=10),
            Check(kind=CheckKind.TEMPERATURE, target=300),
            Check(kind=CheckKind.FLUCTUATION),
            Check(kind=CheckKind.PRESSURE, target=0),
            Check(kind=CheckKind.VOLUME, target=11.97),
            Check(kind=CheckKind.FINITE),
        ),
        potential=CU,
        elements=("Cu",),
        volume_per_atom=11.97,
        num_steps=500,
    )
