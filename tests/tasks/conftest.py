"""One real farm for all tests of tasks."""

from collections.abc import Iterator

import pytest

from rollout_farm.client import Farm


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    with Farm(num_slots=2) as started:
        yield started
