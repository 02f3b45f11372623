"""One slot of a worker: a zygote process and the way to give it jobs.

A slot is used by one thread at a time. It never forks the worker: the zygote is started by
`subprocess`, which on Linux is vfork and exec. A zygote that dies, hangs or says something
unexpected raises `SlotLostError`; the slot is then closed and replaced, and its job runs elsewhere.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mdx.errors import FarmError
from mdx.lammps import probes
from mdx.lammps.run import RunRequest
from rollout_farm import sandbox
from rollout_farm.messages import (
    MAX_RECORD_BYTES,
    SCRIPT_NAME,
    Hello,
    Leftovers,
    Order,
    Report,
    ZygoteSettings,
    close_all,
    memory_file,
    read_tail,
    receive,
    send,
)

ROOT = str(Path(__file__).resolve().parent.parent)
BOOT = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); "
    "from rollout_farm.zygote import main; main()"
)
ENVIRONMENT = {
    "PATH": "/nonexistent",  # also disables LAMMPS's pipes to gzip and its like
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",  # libgomp reads it when it is loaded
    "UCX_TLS": "self",  # MPI of one rank: no network, no /sys, half the start-up
    "UCX_LOG_LEVEL": "fatal",
    "UCX_HANDLE_ERRORS": "none",  # a crash is a crash, not a frozen process
    "UCX_MEM_MMAP_HOOK_MODE": "none",
    "UCX_VFS_ENABLE": "n",  # it would start a thread
}
_START_TIMEOUT_S = 60.0
_GRACE_S = 15.0  # over the script's limit, before the zygote itself is given up
_MAX_LOG_BYTES = 1 << 20
_MAX_LEFTOVER_BYTES = 32 << 20


class SlotLostError(Exception):
    """The zygote is gone or not to be trusted any more; no script is to blame."""


class RunCancelledError(Exception):
    """The caller gave up before the job began."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A child's end with what it left: its record (None: it wrote none or too much) and log."""

    report: Report
    tag: str
    record: bytes | None
    log: bytes  # the end of it, at most 1 MiB
    leftovers: Leftovers


class LiveLog:
    """The log of a script while it runs."""

    def __init__(self, descriptor: int, tag: str):
        self._descriptor = descriptor
        self._tag = tag
        self._position = 0

    def read_lines(self) -> str:
        """Return the whole lines that came since the last call, MDX's own left out."""
        chunk = os.pread(self._descriptor, _MAX_LOG_BYTES, self._position)
        lines, newline, _ = chunk.rpartition(b"\n")
        self._position += len(lines) + len(newline)
        return probes.strip_probes((lines + newline).decode(errors="replace"), self._tag)


class Slot:
    """A zygote process, ready for jobs. Raises FarmError where it cannot be made safe."""

    def __init__(self, *, without: Sequence[str] = (), allow_unsandboxed: bool = False):
        self._folder = tempfile.mkdtemp(prefix="mdx-slot-")
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sending = threading.Lock()
        self._number = 0
        with theirs:
            self._process = _start(theirs, self._folder, tuple(without))
        try:
            self.hello = self._greet(allow_unsandboxed)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the zygote (of its guard, where it lives in namespaces)."""
        return self._process.pid

    @property
    def num_jobs(self) -> int:
        """How many jobs this slot was given."""
        return self._number

    def run(
        self,
        request: RunRequest,
        cancelled: threading.Event,
        on_start: Callable[[LiveLog], None] = lambda log: None,
    ) -> Finished:
        """Run one request to its end. Raises SlotLostError; RunCancelledError before it began.

        `on_start` is called with the log of the script that begins; it is valid until `run` ends.
        """
        tag = f"mdx{secrets.token_hex(6)}"
        given = memory_file("files", _encode_files(request, tag))
        log, record = memory_file("log"), memory_file("record")
        try:
            self._order(request, tag, (given, log, record), cancelled)
            on_start(LiveLog(log, tag))
            report, leftovers = self._wait(request.limits.wall_time_s + _GRACE_S)
            return _finished(report, tag, log, record, leftovers)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            raise SlotLostError(f"zygote {self.pid}: {type(error).__name__}: {error}") from error
        finally:
            close_all((given, log, record))

    def _order(
        self,
        request: RunRequest,
        tag: str,
        attached: Sequence[int],
        cancelled: threading.Event,
    ) -> None:
        with self._sending:
            if cancelled.is_set():
                raise RunCancelledError
            self._number += 1
            order = Order(
                number=self._number,
                limits=request.limits,
                tag=tag,
                potential=request.potential,
                image_pixels=request.image_pixels,
            )
            send(self._channel, order, attached)

    def _wait(self, timeout_s: float) -> tuple[Report, Leftovers]:
        self._channel.settimeout(timeout_s)
        report, descriptors = receive(self._channel, Report)
        try:
            [leftovers] = [read_tail(descriptor, _MAX_LEFTOVER_BYTES) for descriptor in descriptors]
            return report, msgspec.msgpack.decode(leftovers, type=Leftovers)
        except ValueError as error:
            raise SlotLostError(f"a report came with {len(descriptors)} descriptors") from error
        finally:
            close_all(descriptors)

    def cancel(self) -> None:
        """Stop the job that runs, if one does; its `run` returns soon after. Thread-safe.

        Set the event given to `run` first: the job may be about to begin.
        """
        with contextlib.suppress(OSError), self._sending:
            send(self._channel, Order(number=self._number, cancel=True))

    def close(self) -> None:
        """End the zygote with whatever runs in it and remove its folder."""
        self._process.kill()
        self._process.wait()  # its end wakes a thread that waits in `run`
        self._channel.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _greet(self, allow_unsandboxed: bool) -> Hello:
        self._channel.settimeout(_START_TIMEOUT_S)
        try:
            hello, _ = receive(self._channel, Hello)
        except (OSError, EOFError) as error:
            raise FarmError(f"a LAMMPS process did not start: {error}") from error
        if hello.error:
            raise FarmError(f"a LAMMPS process did not start: {hello.error}")
        missing = sandbox.required_missing(hello.layers)
        if missing and not allow_unsandboxed:
            reasons = "; ".join(f"{layer}: {why}" for layer, why in hello.missing.items())
            raise FarmError(
                f"scripts cannot be sandboxed on this host, the layer {missing!r} does not hold "
                f"({reasons}); --allow-unsandboxed runs them all the same, on loopback only"
            )
        return hello


def _start(channel: socket.socket, scratch: str, without: tuple[str, ...]) -> subprocess.Popen:
    settings = ZygoteSettings(channel=channel.fileno(), scratch=scratch, without=without)
    settings_json = msgspec.json.encode(settings).decode()
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BOOT, _import_path(), settings_json],
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(channel.fileno(),),
        start_new_session=True,
    )


def _import_path() -> str:
    """Return the folders that a zygote imports from: it starts without `site`, which is slow."""
    folders = [
        ROOT,
        *(path for path in sys.path if path.endswith(("site-packages", "dist-packages"))),
    ]
    return ":".join(folders)


def _encode_files(request: RunRequest, tag: str) -> bytes:
    """Return the files that the child finds, with probes in the script and what it includes."""
    files = probes.instrument_files(request.files, request.script, tag)
    files[SCRIPT_NAME] = probes.instrument(request.script, tag).encode()
    return msgspec.msgpack.encode(files)


def _finished(report: Report, tag: str, log: int, record: int, leftovers: Leftovers) -> Finished:
    content = read_tail(record, MAX_RECORD_BYTES + 1)
    return Finished(
        report=report,
        tag=tag,
        record=content if 0 < len(content) <= MAX_RECORD_BYTES else None,
        log=read_tail(log, _MAX_LOG_BYTES),
        leftovers=leftovers,
    )
