"""The layers: they hold here, a host that lacks some is found out, and none is taken on trust."""

import os
import resource
import signal
import struct
import tempfile
import time
from contextlib import closing

import pytest

from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunLimits, RunRequest, RunStatus
from rollout_farm import sandbox
from rollout_farm.client import Farm
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from rollout_farm.security import check_exposure

from .processes import descendants, is_alive

FLOOD = "variable i loop 100000\nlabel a\nprint x file f$i screen no\nnext i\njump SELF a\n"


def test_results_name_the_layers_that_held(run):
    result = run("units lj\n")
    assert "unsandboxed" not in result.sandbox
    assert sandbox.required_missing(result.sandbox) is None


@pytest.mark.parametrize(
    ("layers", "missing"),
    [
        (("namespaces", "limits", "landlock", "seccomp"), "zygote"),
        (("zygote", "namespaces", "landlock", "seccomp"), "limits"),
        (("zygote", "namespaces", "limits", "landlock"), "seccomp"),
        (("zygote", "limits", "seccomp"), "namespaces"),
        (("zygote", "limits", "seccomp", "landlock"), None),
        (("zygote", "limits", "seccomp", "namespaces"), None),
    ],
)
def test_what_a_farm_needs(layers, missing):
    assert sandbox.required_missing(layers) == missing


def test_host_without_namespaces_is_held_by_landlock(tmp_path):
    config = WorkerConfig(num_slots=1, without_layers=["namespaces"])
    with closing(EmbeddedWorker(config)) as worker, Farm([worker.ready.address]) as farm:
        good = farm.run(RunRequest(script="units lj\nprint x file a.txt\n", want_outputs=("*",)))
        assert good.status is RunStatus.OK
        assert good.sandbox[:4] == ("zygote", "limits", "landlock", "seccomp")
        assert good.outputs["a.txt"].content == b"x\n"
        assert farm.run(RunRequest(script="include a.txt\n")).status is RunStatus.ERROR
        secret = tmp_path / "secret"
        secret.write_text("units lj\n")
        assert farm.run(RunRequest(script=f"include {secret}\n")).status is RunStatus.ERROR
        limits = RunLimits(output_bytes=1 << 20)
        flood = farm.run(RunRequest(script=FLOOD, limits=limits))
        assert flood.status is RunStatus.OUTPUT_LIMIT
        assert flood.timings.wall_s < 5


@pytest.mark.parametrize("layers", [["seccomp"], ["namespaces", "landlock"]])
def test_host_that_cannot_sandbox_is_refused_by_name(layers):
    with pytest.raises(FarmError, match=f"{layers[0]!r} does not hold.*--allow-unsandboxed"):
        EmbeddedWorker(WorkerConfig(num_slots=1, without_layers=layers))


def test_results_of_an_unsandboxed_worker_say_so():
    config = WorkerConfig(num_slots=1, without_layers=["seccomp"], allow_unsandboxed=True)
    with closing(EmbeddedWorker(config)) as worker, Farm([worker.ready.address]) as farm:
        assert farm.run(RunRequest(script="units lj\n")).sandbox[0] == "unsandboxed"


def test_unsandboxed_worker_is_not_served_to_others():
    for listen in ("0.0.0.0:0", "[::]:0", "example.org:50051"):
        with pytest.raises(UsageError, match="loopback"):
            check_exposure(WorkerConfig(listen=listen, allow_unsandboxed=True))
    for listen in ("127.0.0.1:0", "[::1]:0", "localhost:0", "unix:/tmp/x"):
        check_exposure(WorkerConfig(listen=listen, allow_unsandboxed=True))


def test_no_crash_of_a_script_is_dumped_to_a_program_of_the_host():
    with closing(EmbeddedWorker(WorkerConfig(num_slots=1))) as worker:
        limits = {resource.prlimit(pid, resource.RLIMIT_CORE) for pid in descendants(worker.pid)}
    assert (1, 1) in limits  # what the kernel takes for "into no pipe, either"


def test_worker_ends_with_its_owner_and_leaves_nothing(tmp_path):
    reader, writer = os.pipe()
    owner = os.fork()
    if owner == 0:
        tempfile.tempdir = str(tmp_path)
        worker = EmbeddedWorker(WorkerConfig(num_slots=1))
        os.write(writer, struct.pack("i", worker.pid))
        signal.pause()
    [worker] = struct.unpack("i", os.read(reader, 4))
    children = descendants(worker)
    assert len(children) >= 1
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    os.close(reader)
    os.close(writer)
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in (worker, *children)) or os.listdir(tmp_path):
        assert time.monotonic() < deadline, "processes or files outlive their owner"
        time.sleep(0.05)
