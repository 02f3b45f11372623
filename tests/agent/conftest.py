"""A real farm on this machine, shared by the tests of the agent."""

from collections.abc import Iterator

import pytest
from rollout_farm.client import Farm


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    with Farm(num_slots=1) as embedded:
        yield embedded
