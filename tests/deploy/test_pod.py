"""A worker as the Deployment starts it, under what its securityContext leaves it."""

import contextlib
import ctypes
import errno
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mdx.lammps.run import RunRequest, RunStatus
from rollout_farm import libc
from rollout_farm.client import Farm
from rollout_farm.config import ClientSecurity

FOLDER = Path(__file__).parent.parent.parent / "deploy/kubernetes"
SCRIPT = "units lj\nregion box block 0 1 0 1 0 1\ncreate_box 1 box\nmass 1 1.0\nrun 0\n"

# What the RuntimeDefault profiles of Docker and containerd deny without CAP_SYS_ADMIN.
_DENIED = {  # unshare, setns, mount, umount2, pivot_root
    "x86_64": (272, 308, 165, 166, 155),
    "aarch64": (97, 268, 40, 39, 41),
}
_CLONE3 = 435  # denied as unknown, so that libc falls back to clone, whose flags can be seen
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER = 1
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def confine_like_a_pod() -> None:
    """Deny this process new namespaces and privileges; it keeps its uid."""
    machine = platform.machine()
    answers = [(number, _ERRNO | errno.EPERM) for number in _DENIED[machine]]
    answers.append((_CLONE3, _ERRNO | errno.ENOSYS))
    instructions = [(_LOAD, 0, 0, 0)]  # the number of the system call
    for number, answer in answers:
        instructions += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]
    instructions.append((_RETURN, 0, 0, _ALLOW))
    packed = b"".join(struct.pack("HBBI", *one) for one in instructions)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
    libc.drop_capabilities()
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    mode, no_flags = ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(0)
    libc.syscall(_SECCOMP[machine], mode, no_flags, header)


@dataclass(frozen=True, kw_only=True)
class Worker:
    process: subprocess.Popen[str]
    announcement: str
    address: str
    metrics: str
    token_file: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def arguments(changes: dict[str, str]) -> list[str]:
    """Return the Deployment's arguments with the places of this machine."""
    manifests = yaml.safe_load_all((FOLDER / "farm.yaml").read_text(encoding="utf-8"))
    [pod] = [one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment"]
    given = dict(text.split("=", 1) for text in pod["containers"][0]["args"][1:])
    assert changes.keys() <= given.keys()
    return [f"{key}={value}" for key, value in (given | changes).items()]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    token = tmp_path_factory.mktemp("secret") / "token"
    token.write_text("a-token-of-tests\n", encoding="utf-8")
    token.chmod(0o440)
    metrics = f"127.0.0.1:{free_port()}"
    changes = {
        "listen": "127.0.0.1:0",
        "metrics_listen": metrics,
        "num_slots": "1",
        "security.token_file": str(token),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout_farm.cli", "serve", *arguments(changes)],
        preexec_fn=confine_like_a_pod,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    announcement = process.stdout.readline()
    found = re.match(r"serving on (\S+): ", announcement)
    assert found, announcement
    with contextlib.closing(process.stdout):
        yield Worker(
            process=process,
            announcement=announcement,
            address=found[1],
            metrics=metrics,
            token_file=str(token),
        )
        process.kill()
        process.wait()


def test_the_sandbox_holds_without_namespaces(worker: Worker) -> None:
    assert worker.announcement.endswith("1 slots, sandbox: zygote limits landlock seccomp\n")


def test_the_kubelets_probe_needs_no_token(worker: Worker) -> None:
    with grpc.insecure_channel(worker.address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_client_with_the_token_runs_a_script(worker: Worker) -> None:
    security = ClientSecurity(token_file=worker.token_file)
    with Farm([worker.address], security=security) as farm:
        result = farm.run(RunRequest(script=SCRIPT))
    assert result.status is RunStatus.OK, result.error


def test_prometheus_finds_every_series_that_the_autoscaler_needs(worker: Worker) -> None:
    [adapter] = yaml.safe_load_all((FOLDER / "prometheus-adapter.yaml").read_text())
    [rule] = adapter["rules"]["custom"]
    needed = set(re.findall(r"mdx_farm_\w+", rule["metricsQuery"])) - {rule["name"]["as"]}
    with urllib.request.urlopen(f"http://{worker.metrics}/metrics", timeout=10) as reply:
        offered = set(re.findall(r"^(\w+) ", reply.read().decode(), flags=re.MULTILINE))
    assert needed
    assert needed <= offered


def test_sigterm_ends_the_worker_well(worker: Worker) -> None:
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=60) == 0
