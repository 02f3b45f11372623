"""The client: many scripts, workers that die, workers that never were."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunLimits, RunRequest, RunStatus
from rollout_farm.client import Farm
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker

CRYSTAL = """units lj
lattice fcc 0.8442
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
fix 1 all nve
thermo 10
"""
SLOW = "variable i loop 60000\nlabel a\nnext i\njump SELF a\nprint 'done {number}'\n"


def crystal(seed: int, num_steps: int = 10) -> str:
    return CRYSTAL + f"velocity all create 1.44 {seed}\nrun {num_steps}\n"


@pytest.fixture
def workers() -> Iterator[list[EmbeddedWorker]]:
    workers = [EmbeddedWorker(WorkerConfig(num_slots=1)) for _ in range(2)]
    yield workers
    for worker in workers:
        worker.close()


def test_25_different_scripts_at_once_give_what_each_gives_alone(farm):
    requests = [RunRequest(script=crystal(seed)) for seed in range(1, 26)]
    together = [future.result() for future in [farm.submit(request) for request in requests]]
    assert all(result.status is RunStatus.OK for result in together)
    with Farm(num_slots=1) as other:
        for request, result in zip(requests[::6], together[::6], strict=True):
            again = other.run(request)
            assert again.thermo == result.thermo
            assert again.evidence == result.evidence
    assert len({result.thermo for result in together}) == 25


def test_worker_killed_in_the_middle_loses_and_spoils_nothing(workers):
    with Farm([worker.ready.address for worker in workers]) as farm:
        assert farm.num_slots == 2
        requests = [RunRequest(script=SLOW.format(number=n)) for n in range(6)]
        futures = [farm.submit(request) for request in requests]
        _wait_busy(farm)
        os.kill(workers[0].pid, signal.SIGKILL)
        results = [future.result(60) for future in futures]
        assert farm.num_slots == 1
    for number, result in enumerate(results):
        assert result.status is RunStatus.OK
        assert result.log.endswith(f"done {number}\n")


def test_failure_that_persists_is_a_farm_error_and_never_a_result(workers):
    with Farm([worker.ready.address for worker in workers], patience_s=1.0) as farm:
        futures = [farm.submit(RunRequest(script=SLOW.format(number=n))) for n in range(6)]
        _wait_busy(farm)
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        for future in futures:
            error = future.exception(30)
            assert isinstance(error, FarmError)
            assert "no farm worker answers" in str(error)
            assert "\n" not in str(error)


def test_embedded_worker_that_is_killed_is_started_anew():
    with Farm(num_slots=1) as farm:
        futures = [farm.submit(RunRequest(script=SLOW.format(number=n))) for n in range(3)]
        _wait_busy(farm)
        before = farm.fleet.embedded.pid
        os.kill(before, signal.SIGKILL)
        assert [future.result(60).status for future in futures] == [RunStatus.OK] * 3
        assert farm.fleet.embedded.pid != before


def test_unreachable_address_is_one_clear_line_soon():
    started = time.monotonic()
    with pytest.raises(FarmError) as caught:
        Farm(["127.0.0.1:9"], connect_timeout_s=1.0)
    assert time.monotonic() - started < 5
    message = str(caught.value)
    assert "127.0.0.1:9" in message
    assert "onnection refused" in message
    assert "mdx-farm serve" in message
    assert "\n" not in message


def test_one_worker_that_answers_is_enough(workers):
    with Farm(["127.0.0.1:9", workers[0].ready.address], connect_timeout_s=1.0) as farm:
        assert farm.num_slots == 1
        assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "", "in.lammps"])
def test_file_name_with_a_folder_is_refused_at_once(farm, name):
    with pytest.raises(UsageError, match="plain name"):
        farm.submit(RunRequest(script="units lj\n", files={name: b""}))


def test_limits_must_be_positive(farm):
    with pytest.raises(UsageError, match="wall_time_s"):
        farm.submit(RunRequest(script="", limits=RunLimits(wall_time_s=0)))


def test_closing_ends_what_waits_and_what_runs():
    farm = Farm(num_slots=1)
    futures = [farm.submit(RunRequest(script=SLOW.format(number=n))) for n in range(5)]
    farm.close()
    done, not_done = wait(futures, timeout=5)
    assert not not_done
    assert all(isinstance(future.exception(), FarmError) for future in done)
    with pytest.raises(FarmError, match="closed"):
        farm.submit(RunRequest(script="units lj\n"))


def test_waiting_request_can_be_cancelled():
    with Farm(num_slots=1) as farm:
        futures = [farm.submit(RunRequest(script=SLOW.format(number=n))) for n in range(5)]
        assert futures[4].cancel()
        assert futures[0].result().status is RunStatus.OK


def _wait_busy(farm: Farm) -> None:
    """Wait until every worker runs a script."""
    deadline = time.monotonic() + 10
    while not all(worker.status(5.0).num_busy for worker in farm.fleet.workers):
        assert time.monotonic() < deadline, "no script was started"
