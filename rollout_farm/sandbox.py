"""What a child process gives up before it reads a script, and the proof that it did.

Layers, each named as in results: `zygote` (a separate process with an empty environment and no
descriptors), `namespaces` (rollout_farm.namespaces), `limits` (rlimits), `landlock`, `seccomp`,
and `cgroup`, which the worker puts around a zygote (rollout_farm.cgroups). A farm needs zygote,
limits, seccomp, and one of namespaces or landlock. `self_test` finds out what holds with real
operations in forked children; nothing is believed because a call returned 0.

What all children share is done once, in the zygote (`prepare`); a child pays for the rest with
every page it touches, so its `steps` are prepared before the fork.
"""

import ctypes
import fcntl
import functools
import math
import os
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mdx.lammps.run import RunLimits
from rollout_farm import landlock, libc, seccomp

LAYERS = ("zygote", "namespaces", "limits", "landlock", "seccomp", "cgroup")
_ALLOWED_VARIABLES = {
    *("LC_CTYPE", "PATH", "LAMMPS_POTENTIALS"),  # LC_CTYPE: Python's own coercion
    *("PYTHONMALLOC", "GLIBC_TUNABLES"),
}
_ALLOWED_PREFIXES = ("OMP_", "UCX_")
_MAX_DESCRIPTORS = 256
_PROBE_BYTES = 1 << 16
NO_PID = (ctypes.c_uint32 * 1)()  # nobody reads it


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What the children of one zygote may use."""

    job_dir: str
    owner: int | None  # the uid to become, None to stay
    own_bytes: int  # address space that the zygote itself takes
    ruleset: int | None  # of landlock, None to leave that layer out
    filter: seccomp.Filter | None  # None to leave that layer out
    limits: bool  # False to leave that layer out

    @property
    def own_pid(self) -> "ctypes.Array[ctypes.c_uint32]":
        """Where a process that takes the steps puts its id first."""
        return self.filter.own_pid if self.filter else NO_PID


def required_missing(layers: tuple[str, ...]) -> str | None:
    """Return the name of the first layer that a farm needs and that does not hold, or None."""
    for layer in ("zygote", "limits", "seccomp"):
        if layer not in layers:
            return layer
    if not {"namespaces", "landlock"} & set(layers):
        return "namespaces"
    return None


def prepare(
    *, writable: str, job_dir: str, potentials: str, owner: int | None, own_bytes: int
) -> tuple[Confinement, dict[str, str]]:
    """Do in this process what all its children share; return layer -> why for what cannot be."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    # A limit of 0 does not stop a dump into a program such as systemd-coredump, one byte does; the
    # attribute above is gone once a child has changed its uid.
    for kind, value in ((resource.RLIMIT_CORE, 1), (resource.RLIMIT_MEMLOCK, 0)):
        resource.setrlimit(kind, (value, value))
    missing = {}
    ruleset, program = None, None
    try:
        ruleset = landlock.make_ruleset(potentials, writable)
    except OSError as error:
        missing["landlock"] = str(error)
    try:
        program = seccomp.Filter()
    except OSError as error:
        missing["seccomp"] = str(error)
    confinement = Confinement(
        job_dir=job_dir,
        owner=owner,
        own_bytes=own_bytes,
        ruleset=ruleset,
        filter=program,
        limits=True,
    )
    return confinement, missing


def without(confinement: Confinement, layers: Mapping[str, str]) -> Confinement:
    """Return the confinement with `layers` left out."""
    return replace(
        confinement,
        ruleset=None if "landlock" in layers else confinement.ruleset,
        filter=None if "seccomp" in layers else confinement.filter,
        limits=confinement.limits and "limits" not in layers,
    )


@functools.lru_cache(maxsize=16)
def steps(confinement: Confinement, limits: RunLimits) -> tuple[libc.Call, ...]:
    """Prepare what a process makes of itself, in this order, to give up what no script needs."""
    made = [*_dropped(confinement.owner)]
    # after the uid: changing it clears this
    made.append(libc.attribute_set(libc.PR_SET_PDEATHSIG, signal.SIGKILL))
    made.append(libc.call("chdir", ctypes.c_char_p(os.fsencode(confinement.job_dir))))
    if confinement.limits:
        made += _limited(confinement.own_bytes, limits)
    if confinement.ruleset is not None:
        made.append(landlock.restricted(confinement.ruleset))
    if confinement.filter is not None:
        made.append(confinement.filter.restricted)
    return tuple(made)


def confine(confinement: Confinement, prepared: tuple[libc.Call, ...]) -> None:
    """Give up, in this process and for ever, whatever a script does not need (see `steps`).

    Raises OSError where the host denies a step; the caller must then not run the script.
    """
    confinement.own_pid[0] = os.getpid()
    libc.make(prepared)


def _dropped(owner: int | None) -> list[libc.Call]:
    if owner is None:
        return [libc.capabilities_dropped()]
    ids = [owner] * 3  # a new uid loses the capabilities too
    return [
        libc.call("setgroups", ctypes.c_size_t(0), None),
        libc.call("setresgid", *ids),
        libc.call("setresuid", *ids),
    ]


def _limited(own_bytes: int, limits: RunLimits) -> list[libc.Call]:
    memory_bytes = own_bytes + limits.memory_bytes
    cpu_s = math.ceil(limits.cpu_time_s)  # the kernel counts whole seconds
    values = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_FSIZE: (limits.output_bytes, limits.output_bytes),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_NPROC: (0, 0),
    }
    return [
        libc.call("setrlimit", int(kind), (ctypes.c_ulong * 2)(*pair))
        for kind, pair in values.items()
    ]


def self_test(confinement: Confinement) -> dict[str, str]:
    """Return layer -> what went wrong, for each layer but the namespaces that does not hold."""
    everything = dict.fromkeys(LAYERS, "")

    def only(layer: str) -> Confinement:
        return without(confinement, {name: "" for name in everything if name != layer})

    probes: dict[str, tuple[Callable[[], str | None], ...]] = {
        "zygote": (_bare_process,),
        "limits": (lambda: _ends(only("limits"), _write_too_much, by=signal.SIGXFSZ),),
        "landlock": (
            lambda: _ends(only("landlock"), lambda: os.listdir(confinement.job_dir)),
            lambda: _ends(only("landlock"), lambda: os.listdir("/"), error=13),
        ),
        "seccomp": tuple(
            lambda attack=attack: _ends(only("seccomp"), attack, by=signal.SIGSYS)  # type: ignore[misc]
            for attack in (os.fork, _execute, _open_socket, lambda: os.kill(1, 0))
        ),
    }
    failures = {}
    for layer in probes:
        reasons = [reason for probe in probes[layer] if (reason := probe())]
        if reasons:
            failures[layer] = reasons[0]
    return failures


def _ends(
    confinement: Confinement, operation: Callable[[], object], *, by: int = 0, error: int = 0
) -> str | None:
    """Try `operation` in a confined child; say so unless it ends by that signal or errno."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            confine(confinement, steps(confinement, RunLimits(output_bytes=_PROBE_BYTES)))
            code = 254
            operation()
            code = 0
        except OSError as failure:
            code = failure.errno if code == 254 and failure.errno else code
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    wanted = -by if by else error
    return None if status == wanted else f"an attack on it ended with {status}, not {wanted}"


def _write_too_much() -> None:
    probe = os.open("probe", os.O_CREAT | os.O_WRONLY, 0o600)
    for _ in range(3):
        os.write(probe, bytes(_PROBE_BYTES))


def _execute() -> None:
    os.execv("/nonexistent", ["nonexistent"])


def _open_socket() -> None:
    libc.library().socket(2, 1, 0)


def _bare_process() -> str | None:
    """Return what this process holds that it should not: variables or descriptors."""
    for name in os.environ:
        if name not in _ALLOWED_VARIABLES and not name.startswith(_ALLOWED_PREFIXES):
            return f"the environment holds {name}"
    held = [number for number in range(3, _MAX_DESCRIPTORS) if _is_open(number)]
    own = 3  # the channel, /dev/null, the ruleset
    return f"descriptors {held} are open" if len(held) > own else None


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True
