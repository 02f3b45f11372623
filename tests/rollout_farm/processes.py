"""Workers in a world of their own, and what the kernel knows about them, for tests of faults.

A `LonelyWorker` has its own temporary folder and, where the kernel lets us, its own /dev/shm, so
that what it leaves behind is told from what other programs do meanwhile.
"""

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout_farm.addresses import parse_address
from rollout_farm.proto.farm_pb2 import StatusReply
from rollout_farm.remote import RemoteWorker

_FLAGS = "-m" if os.geteuid() == 0 else "-Urm"
_MOUNT = 'mount -t tmpfs -o size=8m none /dev/shm && exec "$@"'
_BOOT = "{before}; from rollout_farm.cli import main; main()"


@functools.cache
def can_unshare() -> bool:
    """Whether a process may have mounts of its own here."""
    command = ["unshare", _FLAGS, "sh", "-c", "mount -t tmpfs none /dev/shm"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def alone(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` with an empty /dev/shm of its own, if we may."""
    if not can_unshare():
        return list(command)
    return ["unshare", _FLAGS, "sh", "-c", _MOUNT, "sh", *command]


@dataclass(frozen=True)
class LonelyWorker:
    """A served worker: its process, its address, its folders."""

    process: "subprocess.Popen[str]"
    address: str
    folder: Path  # its TMPDIR
    errors: Path  # what it said on stderr
    remote: RemoteWorker

    @property
    def pid(self) -> int:
        return self.process.pid

    def status(self) -> StatusReply:
        return self.remote.status(10.0)

    def shared_memory(self) -> list[str]:
        """Return the files in its own /dev/shm; empty where it has none."""
        return sorted(os.listdir(f"/proc/{self.pid}/root/dev/shm")) if can_unshare() else []


@contextlib.contextmanager
def worker(tmp_path: Path, *arguments: str, before: str = "pass") -> Iterator[LonelyWorker]:
    """Serve on a unix socket for a block; `before` is a statement that its process runs first."""
    folder = tmp_path / f"worker-{len(list(tmp_path.iterdir()))}"
    temporary, errors = folder / "tmp", folder / "errors"
    temporary.mkdir(parents=True)
    socket = f"unix:{os.path.relpath(folder)}/s"
    socket = f"unix:{folder}/s" if len(str(folder)) < 90 else socket
    command = [sys.executable, "-c", _BOOT.format(before=before), "serve", "--listen", socket]
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            alone([*command, *arguments]),
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "TMPDIR": str(temporary)},
            text=True,
        )
    assert process.stdout
    remote = None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), errors.read_text()
        remote = RemoteWorker(parse_address(socket))
        yield LonelyWorker(process, socket, temporary, errors, remote)
    finally:
        if remote is not None:
            remote.close()
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:  # it was stopped, say
            process.kill()
            process.wait()
        process.stdout.close()


def children(pid: int) -> list[int]:
    """Return the processes that `pid` started and has not buried."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """Return everything that runs below `pid`."""
    return [
        found
        for child in children(pid)
        for found in (child, *descendants(child))
        if is_alive(found)
    ]


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def open_descriptors(pid: int) -> list[str]:
    """Return what the process holds open, by kind, in a stable order."""
    found = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(entry.path).partition(":[")[0])
    return sorted(found)


def resident_bytes(pid: int) -> int:
    """Return the memory of the process that is in RAM."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for something that must happen soon."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
