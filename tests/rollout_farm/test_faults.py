"""Faults: whatever is killed, stopped or filled up, results are right or there is a FarmError.

Zygotes and workers that are killed are also met in test_worker and test_client, workers that come
and go in test_addresses.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import grpc
import pytest

from mdx.errors import FarmError
from mdx.lammps.run import RunLimits, RunRequest, RunStatus, to_json
from rollout_farm import wire
from rollout_farm.client import Farm
from rollout_farm.messages import Hello
from rollout_farm.outcome import refused
from rollout_farm.proto import farm_pb2
from rollout_farm.slot import ROOT

from .processes import (
    alone,
    can_unshare,
    children,
    descendants,
    is_alive,
    until,
    worker,
)

GOOD = Path(__file__).parent / "good" / "lj_melt.in"
SLOW = "variable i loop 60000\nlabel a\nnext i\njump SELF a\nprint 'done {number}'\n"
ENDLESS = "label again\nvariable x equal 1\njump SELF again\n"
IMPATIENT = RunLimits(wall_time_s=2.0, cpu_time_s=2.0)
CLIENT = f"""
import sys, time
from mdx.lammps.run import RunRequest
from rollout_farm.client import Farm
from rollout_farm.slot import ROOT
farm = Farm(sys.argv[1:], num_slots=2)
for number in range(2):
    farm.submit(RunRequest(script=f"# {{number}}\\n" + {ENDLESS!r}))
while sum(worker.status(5.0).num_busy for worker in farm.fleet.workers) < 2:
    time.sleep(0.02)
print("busy", farm.fleet.embedded.pid if farm.fleet.embedded else 0, flush=True)
time.sleep(600)
"""
needs_mounts = pytest.mark.skipif(not can_unshare(), reason="mounts of one's own are denied here")


def inner_zygote(worker_pid: int) -> int:
    """Return the zygote inside its namespaces: process 1 there."""
    [guard] = children(worker_pid)
    inside = children(guard)
    return inside[0] if inside else guard


def script_process(worker_pid: int) -> int:
    [process] = children(inner_zygote(worker_pid))
    return process


def test_zygote_killed_inside_its_namespaces_costs_a_retry_and_no_wrong_result(tmp_path):
    with worker(tmp_path, "num_slots=1") as served, Farm([served.address]) as farm:
        future = farm.submit(RunRequest(script=SLOW.format(number=7)))
        until(lambda: served.status().num_busy == 1)
        os.kill(inner_zygote(served.pid), signal.SIGKILL)
        result = future.result(60)
        assert result.status is RunStatus.OK
        assert result.log.endswith("done 7\n")
        until(lambda: len(os.listdir(served.folder)) < 2)  # the lost slot's folder is gone
        assert served.status().num_slots_lost == 1


@pytest.mark.parametrize("what", ["zygote", "worker"])
def test_watched_script_ends_right_when_what_runs_it_is_killed(tmp_path, what):
    with (
        worker(tmp_path, "num_slots=1") as first,
        worker(tmp_path, "num_slots=1") as second,
        Farm([first.address, second.address]) as farm,
        ThreadPoolExecutor(1) as thread,
    ):
        shown: list[str] = []
        request = RunRequest(script=SLOW.format(number=3))
        future = thread.submit(farm.watch, request, shown.append)
        until(lambda: first.status().num_busy + second.status().num_busy == 1)
        busy = first if first.status().num_busy else second
        os.kill(inner_zygote(busy.pid) if what == "zygote" else busy.pid, signal.SIGKILL)
        result = future.result(60)
        assert result.status is RunStatus.OK
        assert result.log.endswith("done 3\n")
        assert shown[-1].endswith("done 3\n")


def test_client_that_is_killed_takes_all_its_processes_and_files_along(tmp_path):
    with _client(tmp_path) as (process, worker_pid):
        below = [worker_pid, *descendants(worker_pid)]
        assert len(below) >= 1 + 2 * 2  # two zygotes and a script in each, at least
        shared = os.open(f"/proc/{process.pid}/root/dev/shm", os.O_RDONLY)
        process.kill()
        process.wait()
        until(lambda: not any(map(is_alive, below)))
        until(lambda: not os.listdir(tmp_path))
        if can_unshare():
            assert os.listdir(shared) == []
        os.close(shared)


@pytest.mark.parametrize("without", ["[]", "[namespaces]"])
def test_worker_that_is_killed_leaves_no_folder(tmp_path, without):
    with worker(tmp_path, "num_slots=2", f"without_layers={without}") as served:
        below = descendants(served.pid)
        served.process.kill()
        until(lambda: not any(map(is_alive, below)))
        until(lambda: not os.listdir(served.folder), 5.0)


def test_client_that_is_killed_frees_a_remote_workers_slots(tmp_path):
    with worker(tmp_path, "num_slots=2") as served:
        with _client(tmp_path, served.address) as (process, _):
            scripts = descendants(served.pid)
            assert served.status().num_busy == 2
            process.kill()
            process.wait()
            until(lambda: served.status().num_busy == 0, 10.0)
            assert len(descendants(served.pid)) < len(scripts)
        with Farm([served.address]) as farm:
            assert farm.run(RunRequest(script="# next\n")).status is RunStatus.OK
        assert served.status().num_slots_lost == 0


@pytest.mark.parametrize("of", ["zygote", "guard"])
def test_zygote_that_hangs_is_given_up_and_its_job_done_again(tmp_path, of):
    patch = "import rollout_farm.slot as slot; slot._GRACE_S = 1.0"
    with worker(tmp_path, "num_slots=1", before=patch) as served, Farm([served.address]) as farm:
        request = RunRequest(script=SLOW.format(number=1), limits=IMPATIENT)
        future = farm.submit(request)
        until(lambda: served.status().num_busy == 1)
        [guard] = children(served.pid)
        hung = inner_zygote(served.pid) if of == "zygote" else guard
        os.kill(hung, signal.SIGSTOP)
        result = future.result(60)
        assert result.status is RunStatus.OK
        assert result.log.endswith("done 1\n")
        if of == "zygote":
            assert served.status().num_slots_lost == 1
            until(lambda: not is_alive(hung))
            until(lambda: len(children(served.pid)) == 1)


def test_script_that_is_stopped_is_ended_for_its_time(tmp_path):
    with worker(tmp_path, "num_slots=1") as served, Farm([served.address]) as farm:
        future = farm.submit(RunRequest(script=ENDLESS, limits=IMPATIENT))
        until(lambda: served.status().num_busy == 1)
        until(lambda: children(inner_zygote(served.pid)))
        os.kill(script_process(served.pid), signal.SIGSTOP)
        assert future.result(60).status is RunStatus.TIMEOUT
        assert served.status().num_slots_lost == 0


def test_hung_workers_jobs_are_done_elsewhere(tmp_path):
    with (
        worker(tmp_path, "num_slots=1") as hung,
        worker(tmp_path, "num_slots=1") as well,
        Farm([hung.address, well.address], silence_s=3.0) as farm,
    ):
        futures = [farm.submit(RunRequest(script=SLOW.format(number=n))) for n in range(6)]
        until(lambda: hung.status().num_busy == 1)
        os.kill(hung.pid, signal.SIGSTOP)
        for number, future in enumerate(futures):
            result = future.result(60)
            assert result.status is RunStatus.OK
            assert result.log.endswith(f"done {number}\n")
        os.kill(hung.pid, signal.SIGCONT)
        until(lambda: farm.num_slots == 2)  # and it is taken up again


def test_hung_worker_without_another_is_a_farm_error(tmp_path):
    with (
        worker(tmp_path, "num_slots=1") as hung,
        Farm([hung.address], patience_s=1.0, silence_s=3.0) as farm,
    ):
        future = farm.submit(RunRequest(script=SLOW.format(number=0)))
        until(lambda: hung.status().num_busy == 1)
        os.kill(hung.pid, signal.SIGSTOP)
        assert isinstance(future.exception(60), FarmError)
        os.kill(hung.pid, signal.SIGCONT)
        until(lambda: farm.num_slots == 1)
        assert farm.run(RunRequest(script="# well again\n")).status is RunStatus.OK


@needs_mounts
def test_full_shared_memory_does_not_matter(tmp_path):
    with worker(tmp_path, "num_slots=1") as served, Farm([served.address]) as farm:
        filler = _fill(Path(f"/proc/{served.pid}/root/dev/shm"))
        [guard] = children(served.pid)
        os.kill(guard, signal.SIGKILL)  # so that MPI is started anew
        result = farm.run(RunRequest(script=GOOD.read_text()))
        assert result.status is RunStatus.OK
        until(lambda: children(served.pid) not in ([], [guard]))
        assert served.shared_memory() == [filler.name]


@needs_mounts
def test_full_shared_memory_without_namespaces_is_one_clear_line(tmp_path):
    arguments = ["serve", "num_slots=1", "without_layers=[namespaces]"]
    served = _in_full_folders(["/dev/shm"], arguments, tmp_path)
    assert served.returncode == 1
    assert served.stderr.startswith("error: a LAMMPS process did not start")
    assert served.stderr.count("\n") == 1


needs_no_tmp = pytest.mark.skipif(
    any(Path(place).resolve().is_relative_to("/tmp") for place in (ROOT, sys.prefix)),
    reason="MDX itself lies in /tmp, which these tests cover up",
)


@needs_mounts
@needs_no_tmp
def test_full_temporary_folder_is_left_for_another(tmp_path):
    ran = _in_full_folders(["/tmp"], ["run", str(GOOD)], tmp_path)
    assert "status: ok" in ran.stdout  # there is /var/tmp


@needs_mounts
@needs_no_tmp
def test_no_temporary_folder_with_room_is_one_clear_line(tmp_path):
    ran = _in_full_folders(["/var/tmp", "/tmp"], ["run", str(GOOD)], tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "/tmp" in ran.stderr
    assert ran.stderr.count("\n") == 1


@needs_mounts
def test_worker_recovers_when_its_temporary_folder_has_room_again(tmp_path):
    options = ("num_slots=1", "without_layers=[namespaces]")  # slots then need a folder
    with worker(tmp_path, *options) as served, Farm([served.address]) as farm:
        mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", str(served.folder)]
        _in_namespaces_of(served.pid, mount)  # in which no slot can make its folder
        [guard] = children(served.pid)
        os.kill(guard, signal.SIGKILL)
        future = farm.submit(RunRequest(script=SLOW.format(number=5)))
        time.sleep(1.5)  # more than one attempt to start a slot
        assert not future.done()
        assert served.status().num_slots == 1
        _in_namespaces_of(served.pid, ["umount", "-l", str(served.folder)])
        assert future.result(60).log.endswith("done 5\n")
        assert "Traceback" not in served.errors.read_text()


def test_burst_of_2000_calls_is_answered_or_told_to_come_again(tmp_path):
    max_waiting = 64
    settings = ("num_slots=2", f"max_waiting={max_waiting}")
    with worker(tmp_path, *settings) as served, grpc.insecure_channel(served.address) as channel:
        call = channel.unary_unary(
            wire.RUN_METHOD,
            request_serializer=farm_pb2.RunScriptRequest.SerializeToString,
            response_deserializer=farm_pb2.RunScriptReply.FromString,
        )
        limits = to_json(RunLimits(wall_time_s=20.0))
        calls: list[Future] = []
        for number in range(2000):
            script = f"print 'this is {number}'\n"
            message = farm_pb2.RunScriptRequest(script=script, limits_json=limits)
            calls.append(call.future(message, timeout=120.0))
        longest = 0
        deadline = time.monotonic() + 120.0
        while not all(one.done() for one in calls):
            longest = max(longest, served.status().num_waiting)
            assert time.monotonic() < deadline
            time.sleep(0.01)
        counts: Counter[grpc.StatusCode] = Counter()
        for number, one in enumerate(calls):
            counts[one.code()] += 1
            if one.code() is grpc.StatusCode.OK:
                result = wire.unpack_result(one.result())
                assert result.status is RunStatus.OK
                assert result.log.endswith(f"\nthis is {number}\n")
            else:
                pushback = dict(one.trailing_metadata())["grpc-retry-pushback-ms"]
                assert 0 <= int(pushback) <= 10_000
        assert set(counts) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert counts[grpc.StatusCode.OK] > max_waiting
        assert longest < 2 * max_waiting  # some are taken in one turn of the event loop
        status = served.status()
        assert (status.num_busy, status.num_waiting, status.num_slots_lost) == (0, 0, 0)


def test_long_script_is_left_to_the_sandbox_and_keeps_nobody_waiting(tmp_path):
    long = "print 'x' screen no\n" * 45_000 + "shell touch x\n"  # 0.9 MB
    request = RunRequest(script=long, limits=RunLimits(wall_time_s=30.0, cpu_time_s=30.0))
    assert refused(request, Hello()) is None
    assert refused(RunRequest(script=long[-100:]), Hello()).status is RunStatus.SCREENED
    with worker(tmp_path, "num_slots=2") as served, Farm([served.address]) as farm:
        future = farm.submit(request)
        quick = farm.run(RunRequest(script="# quick\n"))
        assert quick.status is RunStatus.OK
        assert not future.done()
        assert future.result(120).status is RunStatus.SCREENED
        assert served.status().num_slots_lost == 0


def test_clients_that_leave_in_the_middle_of_a_burst_leave_nothing_behind(tmp_path):
    with worker(tmp_path, "num_slots=2") as served:
        for round_number in range(3):
            farm = Farm([served.address])
            scripts = [f"# {round_number}\n" + SLOW.format(number=n) for n in range(20)]
            futures = [farm.submit(RunRequest(script=script)) for script in scripts]
            until(lambda: served.status().num_busy == 2)
            farm.close()
            assert not wait(futures, timeout=10).not_done
        until(lambda: served.status().num_busy == served.status().num_waiting == 0)
        with Farm([served.address]) as farm:
            assert farm.run(RunRequest(script="# after all\n")).status is RunStatus.OK
        assert served.status().num_slots_lost == 0


@contextlib.contextmanager
def _client(tmp_path: Path, *addresses: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run a client with two endless scripts; yield it and the pid of its own worker."""
    process = subprocess.Popen(
        alone([sys.executable, "-c", CLIENT, *addresses]),
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    assert process.stdout
    try:
        words = process.stdout.readline().split()
        assert words[:1] == ["busy"]
        yield process, int(words[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _fill(folder: Path) -> Path:
    """Fill a file system, of 8 MB at most."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(64):
            file.write(bytes(1 << 18))
        raise AssertionError("the file system is larger than a test may fill")
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(4096):
            file.write(bytes(64))
    return filler


def _in_full_folders(
    folders: list[str], arguments: list[str], cwd: Path
) -> "subprocess.CompletedProcess[str]":
    """Run `mdx-farm` where a full file system of 64 kB lies on each folder, and in the last."""
    fill = "head -c 1000000 /dev/zero > filler 2>/dev/null; "
    mounts = [f"mount -t tmpfs -o size=64k none {name}; cd {name}; {fill}" for name in folders]
    shell = "".join(mounts) + 'exec "$@"'
    command = [sys.executable, "-m", "rollout_farm.cli", *arguments]
    return subprocess.run(
        alone(["sh", "-c", shell, "sh", *command]),
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "TMPDIR"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _in_namespaces_of(pid: int, command: list[str]) -> None:
    user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
    subprocess.run(["nsenter", "-t", str(pid), *user, "-m", *command], check=True, timeout=20)
