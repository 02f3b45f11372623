"""A control group for each slot: layer 6 of the sandbox, where this host lets us make one.

It bounds what a slot's processes may hold in memory together, the job folder included, and how
many there are, whatever the other layers miss. Version 2 (one tree, `memory` and `pids` handed
down) and version 1 (a tree for each controller) are known. A worker needs to write to its own
group: root's on a plain host, a delegated one (systemd's `Delegate=yes`), not a container's usual.
"""

import contextlib
import functools
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from mdx.lammps.run import RunLimits

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("memory", "pids")
_WORKER = "mdx-worker"  # version 2: a group with processes cannot hand controllers down
_PREFIX = "mdx-slot-"
_MAX_PROCESSES = 8  # guard, zygote, child, and some that end
_OWN_BYTES = 256 << 20  # of guard and zygote
_REMOVE_TIMEOUT_S = 2.0
_FORK = "import os, sys; sys.stdin.read(); os.fork()"
_numbers = itertools.count()


class Cgroup:
    """The groups (one for each controller in version 1) of one slot. Raises OSError."""

    def __init__(self, pid: int):
        name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        self._folders = {kind: parent / name for kind, parent in _parents().items()}
        self._bytes = 0
        try:
            for folder in set(self._folders.values()):
                folder.mkdir()
            self.limit_processes(_MAX_PROCESSES)
            for folder in set(self._folders.values()):
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            self.close()
            raise

    def allow(self, limits: RunLimits) -> None:
        """Set the memory that the slot may take with a script of these limits."""
        num_bytes = _OWN_BYTES + limits.memory_bytes + limits.output_bytes
        if num_bytes != self._bytes:
            self._write("memory", _memory_file(), num_bytes)
            self._bytes = num_bytes

    def limit_processes(self, count: int) -> None:
        """Let there be at most `count` processes."""
        self._write("pids", "pids.max", count)

    @property
    def num_kills(self) -> int:
        """How many processes were killed here for want of memory."""
        name = "memory.events" if _is_version_2() else "memory.oom_control"
        for line in (self._folders["memory"] / name).read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return 0

    def close(self) -> None:
        """Remove the groups once their processes have ended."""
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        for folder in set(self._folders.values()):
            while folder.exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)

    def _write(self, controller: str, name: str, value: int) -> None:
        (self._folders[controller] / name).write_text(str(value))


@functools.cache
def why_not() -> str | None:
    """Try it: return why groups do not hold here, or None if they do. Done once a process."""
    with contextlib.suppress(OSError):  # said below
        _parents()  # before there are more processes in this group, see _hand_down
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FORK],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
    )
    try:
        _remove_stale()
        group = Cgroup(process.pid)
        try:
            group.allow(RunLimits())
            group.limit_processes(1)
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
            group.close()
    except OSError as error:
        return f"{error.filename or _ROOT}: {error.strerror}"
    finally:
        process.kill()
        process.communicate()
    return None if process.returncode else "a process could fork against its limit"


def _remove_stale() -> None:
    """Remove the groups of workers that were killed."""
    for parent in set(_parents().values()):
        for folder in parent.glob(f"{_PREFIX}*"):
            pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if not Path("/proc", pid).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()


@functools.cache
def _is_version_2() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _memory_file() -> str:
    return "memory.max" if _is_version_2() else "memory.limit_in_bytes"


@functools.cache
def _parents() -> dict[str, Path]:
    """Return controller -> the group in which this process may make others. Raises OSError."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), path)
    if not _is_version_2():
        return {kind: _existing(_ROOT / kind, own.get(kind, "/")) for kind in _CONTROLLERS}
    group = _existing(_ROOT, own.get("", "/"))
    _hand_down(group)
    return dict.fromkeys(_CONTROLLERS, group)


def _existing(root: Path, path: str) -> Path:
    """Return the group of that path; a container may see its own group as the root."""
    group = root / path.lstrip("/")
    return group if group.exists() else root


def _hand_down(group: Path) -> None:
    """Version 2: make `memory` and `pids` known to groups below `group`. Raises OSError."""
    control = group / "cgroup.subtree_control"
    if set(_CONTROLLERS) <= set(control.read_text().split()):
        return
    if (group / "cgroup.type").exists():  # not the root: it must not hold processes
        (group / _WORKER).mkdir(exist_ok=True)
        (group / _WORKER / "cgroup.procs").write_text(str(os.getpid()))
    control.write_text(" ".join(f"+{kind}" for kind in _CONTROLLERS))
