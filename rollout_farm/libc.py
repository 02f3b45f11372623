"""The C library's system calls that Python does not wrap, each raising OSError on failure.

Only what the sandbox needs: mount, unshare, prctl, capset and raw `syscall`. Linux only.
"""

import ctypes
import functools
import mmap
import os
import signal
import sys
from collections.abc import Collection, Iterable

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

_CAPABILITY_VERSION_3 = 0x20080522
_SIGNAL_SET_BYTES = 128  # sigset_t of glibc and musl
_FULLY_BUFFERED, _LINE_BUFFERED = 0, 1  # _IOFBF and _IOLBF of glibc and musl
_SIGNAL_RECORD_BYTES = 128  # struct signalfd_siginfo


@functools.cache
def library() -> ctypes.CDLL:
    """Return the C library of this process, with errno kept."""
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _holding_the_interpreter() -> ctypes.PyDLL:
    return ctypes.PyDLL(None, use_errno=True)


Call = functools.partial[int]  # of the C library, with its arguments made beforehand


def call(name: str, *arguments: object) -> Call:
    """Prepare a call for `make`; what is no pointer or C int needs to be a ctypes object."""
    return functools.partial(getattr(_holding_the_interpreter(), name), *arguments)


def make(calls: Iterable[Call]) -> None:
    """Make prepared calls, touching little memory; raises OSError at the first that fails."""
    for prepared in calls:
        if prepared() < 0:
            _checked(-1, prepared.func.__name__)


def syscall(number: int, *arguments: object) -> int:
    """Make a raw system call; raises OSError."""
    return _checked(library().syscall(ctypes.c_long(number), *arguments), f"syscall {number}")


def mount(
    source: str, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    """Attach a file system to the folder `target`; raises OSError naming it."""
    returned = library().mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    _checked(returned, f"mount {target}")


def unmount(target: str) -> None:
    """Detach whatever is mounted on `target`."""
    _checked(library().umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def unshare(flags: int) -> None:
    """Move this process (its children, for the pid namespace) into new namespaces."""
    _checked(library().unshare(ctypes.c_int(flags)), "unshare")


def prctl(option: int, argument: int) -> None:
    """Set one attribute of this process."""
    make([attribute_set(option, argument)])


def attribute_set(option: int, argument: int) -> Call:
    """Prepare to set one attribute of this process."""
    zero = ctypes.c_ulong(0)
    return call("prctl", ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero)


def capabilities_dropped() -> Call:
    """Prepare to give up every capability in the effective, permitted and inheritable sets."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    return call("capset", header, (ctypes.c_uint32 * 6)())


def drop_capabilities() -> None:
    """Give up every capability in the effective, permitted and inheritable sets."""
    make([capabilities_dropped()])


def fork() -> int:
    """Fork as os.fork does, without the work (and the memory touched) of Python's fork hooks.

    Only for a process with one thread and no use for those hooks.
    """
    return _checked(_holding_the_interpreter().fork(), "fork")


def kill_all() -> bool:
    """Kill every process that this one may (of its pid namespace); return whether there was one.

    Unlike os.kill it raises nothing where there is none, the usual case.
    """
    return _holding_the_interpreter().kill(-1, int(signal.SIGKILL)) == 0


def hold_forks_until(numbers: Collection[signal.Signals]) -> None:
    """Block these signals; from here on a `fork` returns to its parent once one of them comes.

    A parent that goes on writes to memory that it shares with its child, and has each page copied.
    Held within the C library's fork it touches its stack and little else. What holds it is the
    one function without arguments that waits for something the caller can choose: `getchar`.
    Standard input becomes a descriptor of signals for that; children have to replace it. Other C
    libraries than glibc return at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    mask = sum(1 << (number - 1) for number in numbers)
    signals = mask.to_bytes(_SIGNAL_SET_BYTES, sys.byteorder)
    flags = ctypes.c_int(os.O_CLOEXEC)
    descriptor = _checked(library().signalfd(ctypes.c_int(-1), signals, flags), "signalfd")
    os.dup2(descriptor, 0, inheritable=False)
    os.close(descriptor)
    if hasattr(library(), "__register_atfork"):
        library().setvbuf(_stream("stdin"), _room(), _FULLY_BUFFERED, _SIGNAL_RECORD_BYTES)
        library().__register_atfork(None, library().getchar, None, None)


def forget_signals(numbers: Collection[signal.Signals]) -> None:
    """Take the blocked signals that have come, so that only a later one ends a `fork`."""
    library().__fpurge(_stream("stdin"))
    while signal.sigtimedwait(numbers, 0):
        pass


@functools.cache
def _room() -> ctypes.Array[ctypes.c_char]:
    """Return memory for one record of a signal, in a page of its own that no fork copies."""
    return (ctypes.c_char * _SIGNAL_RECORD_BYTES).from_buffer(mmap.mmap(-1, mmap.PAGESIZE))


def _stream(name: str) -> ctypes.c_void_p:
    return ctypes.c_void_p.in_dll(library(), name)


def line_buffer_stdout() -> None:
    """Make C's stdout line-buffered, so that a killed process leaves its last lines."""
    library().setvbuf(_stream("stdout"), None, _LINE_BUFFERED, ctypes.c_size_t(1 << 12))


def flush_streams() -> None:
    """Write out the buffers of all C streams."""
    flush_streams_call()()


def flush_streams_call() -> Call:
    """Prepare `flush_streams`."""
    return call("fflush", None)


def _checked(returned: int, what: str) -> int:
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return returned
