"""A worker: its slots, its cache, its manners when it is told to stop."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mdx.config import load_config
from mdx.errors import FarmError
from mdx.lammps.run import RunRequest, RunStatus
from rollout_farm import wire
from rollout_farm.client import Farm
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from rollout_farm.proto import farm_pb2
from rollout_farm.slot import Slot, SlotLostError

SLOW = "variable i loop {count}\nlabel a\nnext i\njump SELF a\nprint 'done'\n"
ENDLESS = "label again\nvariable x equal 1\njump SELF again\n"


def test_importing_the_worker_imports_nothing_heavy():
    program = "import sys, rollout_farm.worker, rollout_farm.client; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"jax", "flax", "optax", "grain", "tensorflow", "torch", "transformers", "lammps"}
    assert not heavy & set(modules)


def test_importing_the_zygote_imports_neither_grpc_nor_numpy():
    program = "import sys, rollout_farm.zygote; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"grpc", "numpy", "asyncio", "subprocess"} & set(modules)


def test_zygote_killed_in_the_middle_costs_a_retry_and_no_wrong_result():
    with Farm(num_slots=1) as farm:
        future = farm.submit(RunRequest(script=SLOW.format(count=60_000)))
        _until(lambda: farm.fleet.workers[0].status(1.0).num_busy == 1)
        [zygote] = _children(farm.fleet.embedded.pid)
        os.kill(zygote, signal.SIGKILL)
        result = future.result(30)
        assert result.status is RunStatus.OK
        assert result.log.endswith("done\n")
        [worker] = farm.fleet.workers
        status = worker.status(1.0)
        assert (status.num_slots_lost, status.num_slots) == (1, 1)
        assert _children(farm.fleet.embedded.pid) != [zygote]


def test_child_killed_from_outside_is_no_result():
    slot = Slot()
    try:
        killer = threading.Timer(0.3, lambda: os.kill(_leaf(slot.pid), signal.SIGKILL))
        killer.start()
        finished = slot.run(RunRequest(script=ENDLESS))
        from rollout_farm.outcome import to_result

        with pytest.raises(SlotLostError, match="killed from outside"):
            to_result(RunRequest(script=ENDLESS), finished, queue_s=0.0, hello=slot.hello)
    finally:
        slot.close()


def test_worn_slot_is_replaced():
    worker = EmbeddedWorker(WorkerConfig(num_slots=1, recycle_every=2))
    try:
        with Farm([worker.ready.address]) as farm:
            before = _children(worker.pid)
            for number in range(4):
                assert farm.run(RunRequest(script=f"# {number}\n")).status is RunStatus.OK
            assert _children(worker.pid) != before
    finally:
        worker.close()


def test_identical_requests_are_run_once():
    with Farm(num_slots=2) as farm:
        request = RunRequest(script=SLOW.format(count=30_000))
        first = [future.result() for future in [farm.submit(request) for _ in range(3)]]
        second = farm.run(request)
        assert first[0] == first[1] == first[2] == second
        status = farm.fleet.workers[0].status(1.0)
        assert (status.num_runs, status.num_cache_hits) == (1, 3)


def test_cancelled_call_frees_its_slot(farm):
    # a client that goes away does not keep a slot busy until the script's limit
    with Farm(num_slots=1) as owner:
        address = owner.fleet.embedded.ready.address
        guest = Farm([address])
        guest.submit(RunRequest(script=ENDLESS))
        worker = owner.fleet.workers[0]
        _until(lambda: worker.status(1.0).num_busy == 1)
        guest.close()
        _until(lambda: worker.status(1.0).num_busy == 0)
        assert owner.run(RunRequest(script="units lj\n")).status is RunStatus.OK


def test_sigterm_lets_the_running_script_finish(tmp_path):
    address = f"unix:{tmp_path}/s"
    process = _serve(f"listen={address}")
    try:
        farm = Farm([address], patience_s=0.5)
        future = farm.submit(RunRequest(script=SLOW.format(count=60_000)))
        _until(lambda: farm.fleet.workers[0].status(1.0).num_busy == 1)
        process.send_signal(signal.SIGTERM)
        assert future.result(30).log.endswith("done\n")
        assert process.wait(30) == 0
        with pytest.raises(FarmError):
            farm.run(RunRequest(script="units lj\n"))
        farm.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_health_protocol_is_served():
    with (
        Farm(num_slots=1) as farm,
        grpc.insecure_channel(farm.fleet.embedded.ready.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", wire.SERVICE):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_request_of_another_version_is_refused_as_such():
    with (
        Farm(num_slots=1) as farm,
        grpc.insecure_channel(farm.fleet.embedded.ready.address) as channel,
    ):
        call = channel.unary_unary(
            wire.RUN_METHOD,
            request_serializer=farm_pb2.RunScriptRequest.SerializeToString,
            response_deserializer=farm_pb2.RunScriptReply.FromString,
        )
        message = farm_pb2.RunScriptRequest(script="", limits_json=b'{"wall_time_s": "long"}')
        with pytest.raises(grpc.RpcError) as caught:
            call(message)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_port_that_is_taken_is_a_clear_error():
    with Farm(num_slots=1) as farm, socket.create_server(("127.0.0.1", 0)) as other:
        taken = (farm.fleet.embedded.ready.address, f"127.0.0.1:{other.getsockname()[1]}")
        for address in taken:
            process = _serve(f"listen={address}", wait=False)
            try:
                _, error = process.communicate(timeout=30)
            finally:
                process.kill()
            assert process.returncode == 1
            assert error.startswith(f"error: cannot listen on {address}: ")
            assert "Traceback" not in error
        assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


def test_shipped_configuration_loads():
    config = load_config(WorkerConfig, "configs/farm.yaml")
    assert config == WorkerConfig()


def _serve(*arguments: str, wait: bool = True) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout_farm.cli", "serve", "num_slots=1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if not wait else None,
        text=True,
    )
    if wait:
        assert "serving on" in process.stdout.readline()
    return process


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())


def _leaf(pid: int) -> int:
    while children := _children(pid):
        [pid] = children
    return pid


def _until(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
