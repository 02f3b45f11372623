"""One slot of a worker: a zygote process and the way to give it jobs.

    run = slot.begin(request, encode_files(request))
    ...                                 # until the slot's descriptor can be read
    finished = slot.end(run)

A slot runs one script at a time and blocks nobody meanwhile. It never forks the worker: the zygote
is started by `subprocess`, which on Linux is vfork and exec. A zygote that dies, hangs or says
something unexpected raises `SlotLostError`; the slot is then closed and replaced, and its job runs
elsewhere.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mdx.errors import FarmError
from mdx.lammps import probes
from mdx.lammps.run import RunRequest
from rollout_farm import cgroups, sandbox
from rollout_farm.cgroups import Cgroup
from rollout_farm.messages import (
    SCRIPT_NAME,
    Hello,
    Leftovers,
    Order,
    Report,
    ZygoteSettings,
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
    # what Python holds and what malloc does lies in one stretch, for `pages.collapse`
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432:glibc.malloc.top_pad=50331648",
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


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A child's end with what it left."""

    report: Report
    log: bytes  # the end of it, at most 1 MiB
    leftovers: Leftovers


class Run:
    """A script that was given to a slot, and its log while it runs."""

    def __init__(self, number: int):
        self.number = number
        self.is_closed = False
        self.rest = ""  # lines of the log that nobody had read at the end
        self._position: int | None = None  # of `read_lines`; None: nobody reads
        self._log = memory_file("log")

    @property
    def log(self) -> int:
        """The descriptor of the memory file that the child writes its log to."""
        return self._log

    def follow(self) -> None:
        """Say that somebody will read the log's lines: at the end, `rest` is for them."""
        self._position = 0

    def read_lines(self) -> str:
        """Return the log's whole lines that came since the last call, MDX's own left out.

        Only while the run is open, and after `follow`.
        """
        position = self._position or 0
        chunk = os.pread(self._log, _MAX_LOG_BYTES, position)
        lines = chunk[: chunk.rfind(b"\n") + 1]
        self._position = position + len(lines)
        return probes.strip_probes(lines.decode(errors="replace"))

    def finish(self, report: Report, leftovers: Leftovers) -> Finished:
        """Return everything that the run came to."""
        return Finished(
            report=report, log=read_tail(self._log, _MAX_LOG_BYTES), leftovers=leftovers
        )

    def close(self) -> None:
        """Free the memory file; what a reader had not read yet is in `rest`."""
        if not self.is_closed and self._position is not None:
            skipped = os.fstat(self._log).st_size - _MAX_LOG_BYTES - self._position
            if skipped > 0:
                self._position += skipped
                self.rest = f"[mdx] {skipped} bytes of the log are left out here\n"
            self.rest += self.read_lines()
        if not self.is_closed:
            self.is_closed = True
            os.close(self._log)


class Slot:
    """A zygote process, ready for jobs. Raises FarmError where it cannot be made safe."""

    def __init__(self, *, without: Sequence[str] = (), allow_unsandboxed: bool = False):
        # only a zygote without a root of its own makes it, and takes it away when we are gone
        name = f"mdx-slot-{os.getpid()}-{os.urandom(8).hex()}"
        self._folder = os.path.join(tempfile.gettempdir(), name)
        cgroups.why_not()  # before there is a zygote in this process's own group
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._number = self._num_kills = 0
        with theirs:
            self._process = _start(theirs, self._folder, tuple(without))
        self._cgroup, reason = _put_in_cgroup(self._process.pid, without)
        try:
            self.hello = _with_cgroup(self._greet(allow_unsandboxed), reason)
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

    def begin(self, request: RunRequest, files: bytes) -> "Run":
        """Order a script to be run, with `encode_files` of it, and return it.

        Raises SlotLostError.

        The slot's `fileno` becomes readable when the script has ended; call `end` then.
        """
        try:
            if self._cgroup:
                self._cgroup.allow(request.limits)
            self._number += 1
            run = Run(self._number)
        except OSError as error:
            raise SlotLostError(f"zygote {self.pid}: {error}") from error
        order = Order(
            number=run.number,
            limits=request.limits,
            potential=request.potential,
            image_pixels=request.image_pixels,
            want_evidence=request.is_probed,
        )
        try:
            send(self._channel, order, bulk=files, descriptors=[run.log])
        except OSError as error:
            run.close()
            raise SlotLostError(f"zygote {self.pid}: {error}") from error
        return run

    def end(self, run: "Run", timeout_s: float | None = 0.0) -> Finished:
        """Take what an ended script left behind. Raises SlotLostError where nothing comes."""
        self._channel.settimeout(timeout_s)
        try:
            report, leftovers, _ = receive(self._channel, Report, _MAX_LEFTOVER_BYTES)
            if report.number != run.number:
                raise SlotLostError(f"zygote {self.pid} reported another run")
            if report.exit_signal == signal.SIGKILL and self._was_out_of_memory():
                report = dataclasses.replace(report, killed_for="out_of_memory")
            return run.finish(report, msgspec.msgpack.decode(leftovers, type=Leftovers))
        except (OSError, EOFError, ValueError) as error:
            raise SlotLostError(f"zygote {self.pid}: {type(error).__name__}: {error}") from error
        finally:
            run.close()

    def run(self, request: RunRequest) -> Finished:
        """Run one script and wait for its end. Raises SlotLostError."""
        return self.end(self.begin(request, encode_files(request)), time_to_give_up_s(request))

    def cancel(self, run: "Run") -> None:
        """Have a script killed; the slot becomes readable soon after."""
        with contextlib.suppress(OSError):
            send(self._channel, Order(number=run.number, cancel=True))

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._channel.fileno()

    def close(self) -> None:
        """End the zygote with whatever runs in it and remove its folder."""
        self._process.kill()
        self._process.wait()  # its end wakes a thread that waits in `run`
        self._channel.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._cgroup:
            self._cgroup.close()

    def _was_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of this slot for its memory since last asked."""
        if self._cgroup is None:
            return False
        before, self._num_kills = self._num_kills, self._cgroup.num_kills
        return self._num_kills > before

    def _greet(self, allow_unsandboxed: bool) -> Hello:
        self._channel.settimeout(_START_TIMEOUT_S)
        try:
            hello, _, _ = receive(self._channel, Hello)
        except (OSError, EOFError, ValueError) as error:
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


def _put_in_cgroup(pid: int, without: Sequence[str]) -> tuple[Cgroup | None, str | None]:
    """Return the group of a process that has just started, or None and why there is none."""
    reason = "left out by request" if "cgroup" in without else cgroups.why_not()
    if reason:
        return None, reason
    try:
        return Cgroup(pid), None
    except OSError as error:
        return None, f"{error.filename}: {error.strerror}"


def _with_cgroup(hello: Hello, reason: str | None) -> Hello:
    if reason:
        return dataclasses.replace(hello, missing={**hello.missing, "cgroup": reason})
    return dataclasses.replace(hello, layers=(*hello.layers, "cgroup"))


def _start(channel: socket.socket, scratch: str, without: tuple[str, ...]) -> subprocess.Popen:
    settings = ZygoteSettings(channel=channel.fileno(), scratch=scratch, without=without)
    settings_json = msgspec.json.encode(settings).decode()
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-S", "-c", BOOT, _import_path(), settings_json],
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


def time_to_give_up_s(request: RunRequest) -> float:
    """Return after how many seconds a zygote that says nothing is given up."""
    return request.limits.wall_time_s + _GRACE_S


def encode_files(request: RunRequest) -> bytes:
    """Return the files that the child finds, with probes in the script and what it includes."""
    if not request.is_probed:
        return msgspec.msgpack.encode({**request.files, SCRIPT_NAME: request.script.encode()})
    files = probes.instrument_files(request.files, request.script)
    files[SCRIPT_NAME] = probes.instrument(request.script).encode()
    return msgspec.msgpack.encode(files)
