"""Namespaces and a root of its own for a zygote: layer 2 of the sandbox.

`enter` moves the process into new mount, net, ipc, uts and pid namespaces (and a user namespace
unless it is root) and makes a small tmpfs its root, in which a script finds the potentials,
read-only, and /jobs/now. There is no /proc, /dev or /sys. The zygote becomes process 1 of its pid
namespace: when it dies the kernel kills whatever ran inside.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Iterable

from rollout_farm import libc, pages

POTENTIALS = "/potentials"
JOBS = "/jobs"
JOB = "/jobs/now"
MAX_JOB_FILES = 2000
NOBODY = 65534
_SHARED_MEMORY = "/dev/shm"
_SHARED = (
    libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS | libc.CLONE_NEWPID
)
_QUIET = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def why_not(potentials: str) -> str | None:
    """Try `enter` in a throw-away process; return what failed, or None if it works."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter(potentials)
            seal()
        except OSError as error:
            os.write(writer, str(error).encode()[:500])
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as failure:
        reason = failure.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return reason or (None if status == 0 else f"the probe ended with status {status}")


def enter(potentials: str) -> int | None:
    """Return as process 1 of the new namespaces, in the new root; the caller stays as its guard.

    What is returned is of `pages.open_mappings`: there will be no /proc.
    The calling process waits for the new one and exits with it; killing either ends both. Call
    `seal` after MPI_Init, which needs the private /dev/shm. Raises OSError where the host denies
    a step (in either process).
    """
    as_root = os.geteuid() == 0
    uid, gid = os.geteuid(), os.getegid()
    libc.unshare(_SHARED | (0 if as_root else libc.CLONE_NEWUSER))
    if not as_root:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    inner = os.fork()
    if inner:
        _guard(inner)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    socket.sethostname("farm")
    mappings = pages.open_mappings()
    _change_root(potentials)
    return mappings


def seal() -> None:
    """Take /dev/shm away again and make the root read-only."""
    for name in os.listdir(_SHARED_MEMORY):
        os.unlink(os.path.join(_SHARED_MEMORY, name))
    libc.unmount(_SHARED_MEMORY)
    os.rmdir(_SHARED_MEMORY)
    os.rmdir("/dev")
    libc.mount("none", "/", None, libc.MS_REMOUNT | libc.MS_RDONLY | _QUIET)


class JobMount:
    """The job folder, a mount of its own: each script finds it as if it had just been made.

    Most scripts leave nothing in it. The next one then gets the same mount, where a new one would
    take longer than a short script; the least trace but the time of its last change, and it is
    dropped with everything in it.
    """

    def __init__(self, owner: int):
        self._owner = owner
        self._num_bytes = 0  # 0: there is no mount
        self._new: tuple[int, ...] = ()

    def open(self, num_bytes: int) -> None:
        """Have an empty folder at `JOB` that holds at most `num_bytes`."""
        if num_bytes == self._num_bytes:
            return
        self._drop()
        owner = self._owner
        options = f"size={num_bytes},nr_inodes={MAX_JOB_FILES},mode=700,uid={owner},gid={owner}"
        libc.mount("tmpfs", JOB, "tmpfs", _QUIET, options)
        self._num_bytes, self._new = num_bytes, _state_of_job()

    def close(self, placed: Iterable[str]) -> None:
        """Remove the files that were placed in it, and whatever else is there with the mount."""
        try:
            for name in placed:
                os.unlink(f"{JOB}/{name}")
            os.utime(JOB, ns=(0, 0))
            if _state_of_job() == self._new:
                return
        except OSError:  # the script has removed or replaced a file: no folder like a new one
            pass
        self._drop()

    def _drop(self) -> None:
        if self._num_bytes:
            libc.unmount(JOB)
            self._num_bytes = 0


def _state_of_job() -> tuple[int, ...]:
    """Return all that a script can change of the job folder, what it holds and uses included."""
    folder, usage = os.lstat(JOB), os.statvfs(JOB)
    return (
        *(folder.st_mode, folder.st_uid, folder.st_gid, folder.st_nlink, folder.st_size),
        *(usage.f_bfree, usage.f_ffree),
    )


def self_test() -> str | None:
    """Look at the world from inside; return what should not be there, or None."""
    if os.getpid() != 1:
        return f"the zygote is process {os.getpid()} of its pid namespace, not 1"
    strangers = set(os.listdir("/")) - {POTENTIALS[1:], JOBS[1:]}
    if strangers:
        return f"the root holds {', '.join(sorted(strangers))}"
    interfaces = {name for _, name in socket.if_nameindex()} - {"lo"}
    if interfaces:
        return f"the network interface {interfaces.pop()} is visible"
    for folder in ("/", POTENTIALS):
        with contextlib.suppress(OSError):
            os.mkdir(os.path.join(folder, "probe"))
            return f"{folder} can be written"
    return None


def _change_root(potentials: str) -> None:
    libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)
    base = "/tmp" if os.path.isdir("/tmp") else "/"
    source = os.open(potentials, os.O_PATH | os.O_DIRECTORY)  # may lie below `base`
    libc.mount("tmpfs", base, "tmpfs", _QUIET, "size=1m,nr_inodes=64,mode=755")
    for folder in (POTENTIALS, JOBS, JOB, "/old", "/dev", _SHARED_MEMORY):
        os.mkdir(base + folder)
    target = base + POTENTIALS
    libc.mount(f"/proc/self/fd/{source}", target, None, libc.MS_BIND)
    os.close(source)
    read_only = libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY | _QUIET
    libc.mount("none", target, None, read_only)
    libc.mount("tmpfs", base + _SHARED_MEMORY, "tmpfs", _QUIET, "size=16m,nr_inodes=64,mode=700")
    os.chdir(base)
    libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"old")
    os.chdir("/")
    libc.unmount("/old")
    os.rmdir("/old")


def _guard(inner: int) -> None:
    """Wait for the process in the namespaces and exit as it did."""
    _, status = os.waitpid(inner, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
