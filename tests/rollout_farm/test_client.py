"""The client: many scripts, workers that die, workers that never were."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import grpc
import pytest

from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunLimits, RunRequest, RunResult, RunStatus, to_json
from rollout_farm import wire
from rollout_farm.client import Farm
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from rollout_farm.proto import farm_pb2

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
SCRIPT = RunRequest(script="units lj\n")
SLOW = "variable i loop 60000\nlabel a\nnext i\njump SELF a\nprint 'done {number}'\n"


@dataclass
class Refuser:
    """A server of one slot that aborts the first `num_refusals` scripts, then says all is well."""

    code: grpc.StatusCode
    metadata: tuple[tuple[str, str], ...] = ()
    num_refusals: int = 1
    calls: list[float] = field(default_factory=list)  # when each script came
    address: str = ""

    def run(
        self, message: farm_pb2.RunScriptRequest, context: grpc.ServicerContext
    ) -> farm_pb2.RunScriptReply:
        self.calls.append(time.monotonic())
        if len(self.calls) <= self.num_refusals:
            context.set_trailing_metadata(self.metadata)
            context.abort(self.code, "as the test wants it")
        return farm_pb2.RunScriptReply(result_json=to_json(RunResult(status=RunStatus.OK)))

    def status(
        self, message: farm_pb2.StatusRequest, context: grpc.ServicerContext
    ) -> farm_pb2.StatusReply:
        return farm_pb2.StatusReply(num_slots=1)


def crystal(seed: int, num_steps: int = 10) -> str:
    return CRYSTAL + f"velocity all create 1.44 {seed}\nrun {num_steps}\n"


@pytest.fixture
def workers() -> Iterator[list[EmbeddedWorker]]:
    workers = [EmbeddedWorker(WorkerConfig(num_slots=1)) for _ in range(2)]
    yield workers
    for worker in workers:
        worker.close()


def test_priority_out_of_bounds_is_refused_and_the_farm_goes_on(farm):
    with pytest.raises(UsageError, match="priority"):
        farm.submit(RunRequest(script="units lj\n", priority=2**40))
    assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


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


def test_token_that_is_refused_in_the_middle_fails_all_jobs_without_a_storm():
    with refusing(grpc.StatusCode.UNAUTHENTICATED, num_refusals=1000) as refuser:
        with Farm(refuser.address) as farm:
            futures = [farm.submit(SCRIPT) for _ in range(50)]
            for future in futures:
                assert "lets us in" in str(future.exception(10))
        assert len(refuser.calls) <= 3  # what one worker is given at a time


def test_full_worker_is_left_alone_for_as_long_as_it_says():
    pushback = (("grpc-retry-pushback-ms", "700"),)
    with refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, metadata=pushback) as refuser:
        with Farm(refuser.address) as farm:
            first = farm.submit(SCRIPT)
            _until(lambda: refuser.calls)
            time.sleep(0.1)
            futures = [first, *(farm.submit(SCRIPT) for _ in range(3))]
            assert [future.result(10).status for future in futures] == [RunStatus.OK] * 4
        assert refuser.calls[1] - refuser.calls[0] >= 0.7


def test_what_a_full_worker_refuses_is_done_elsewhere_meanwhile(workers):
    pushback = (("grpc-retry-pushback-ms", "30000"),)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    with refusing(code, metadata=pushback, num_refusals=1000) as refuser:
        with Farm([refuser.address, workers[0].ready.address]) as farm:
            futures = [farm.submit(RunRequest(script=f"# {n}\n")) for n in range(20)]
            assert [future.result(10).status for future in futures] == [RunStatus.OK] * 20
        assert 1 <= len(refuser.calls) <= 3  # what one worker is given at a time


def test_script_that_was_never_started_counts_no_failure():
    # more refusals than failures are forgiven, by a worker that says it did not start the script
    with refusing(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        metadata=(("grpc-retry-pushback-ms", "0"),),
        num_refusals=6,
    ) as refuser:
        with Farm(refuser.address) as farm:
            assert farm.run(SCRIPT).status is RunStatus.OK
        assert len(refuser.calls) == 7


def _wait_busy(farm: Farm) -> None:
    """Wait until every worker runs a script."""
    deadline = time.monotonic() + 10
    while not all(worker.status(5.0).num_busy for worker in farm.fleet.workers):
        assert time.monotonic() < deadline, "no script was started"


def _until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextlib.contextmanager
def refusing(code: grpc.StatusCode, **settings: object) -> Iterator[Refuser]:
    """Serve a `Refuser`."""
    refuser = Refuser(code, **settings)
    server = grpc.server(ThreadPoolExecutor(4))
    methods = {
        "Run": _method(refuser.run, farm_pb2.RunScriptRequest),
        "Status": _method(refuser.status, farm_pb2.StatusRequest),
    }
    handler = grpc.method_handlers_generic_handler(wire.SERVICE, methods)
    server.add_generic_rpc_handlers((handler,))
    refuser.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield refuser
    finally:
        server.stop(0).wait()


def _method(function: Callable[..., object], kind: type) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        function,
        request_deserializer=kind.FromString,
        response_serializer=lambda reply: reply.SerializeToString(),
    )
