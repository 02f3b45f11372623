"""What a child process gives up before it reads a script, and the proof that it did.

Layers, each named as in results: `zygote` (a separate process with an empty environment and no
descriptors), `namespaces` (rollout_farm.namespaces), `limits` (rlimits), `landlock`, `seccomp`.
A farm needs zygote, limits, seccomp, and one of namespaces or landlock. `self_test` finds out
what holds with real operations in forked children; nothing is believed because a call returned 0.
"""

import fcntl
import os
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rollout_farm import landlock, libc, namespaces, seccomp

LAYERS = ("zygote", "namespaces", "limits", "landlock", "seccomp")
ALLOWED_VARIABLES = {"LC_CTYPE", "PATH", "LAMMPS_POTENTIALS"}  # LC_CTYPE: Python's own coercion
ALLOWED_PREFIXES = ("OMP_", "UCX_")
_MAX_DESCRIPTORS = 256
_PROBE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What one child may use. `owner` is the uid to become, None to stay."""

    job_dir: str
    potentials_dir: str
    memory_bytes: int  # address space in all, the zygote's own included
    cpu_time_s: float
    output_bytes: int  # of one file
    owner: int | None = None
    layers: tuple[str, ...] = LAYERS


def required_missing(layers: tuple[str, ...]) -> str | None:
    """Return the name of the first layer that a farm needs and that does not hold, or None."""
    for layer in ("zygote", "limits", "seccomp"):
        if layer not in layers:
            return layer
    if not {"namespaces", "landlock"} & set(layers):
        return "namespaces"
    return None


def confine(confinement: Confinement) -> None:
    """Give up, in this process and for ever, whatever a script does not need.

    Raises OSError where the host denies a step; the caller must then not run the script.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if confinement.owner is not None:
        os.setgroups([])
        os.setresgid(*[confinement.owner] * 3)
        os.setresuid(*[confinement.owner] * 3)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the uid: changing it clears this
    libc.drop_capabilities()
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    os.chdir(confinement.job_dir)
    if "limits" in confinement.layers:
        _limit(confinement)
    if "landlock" in confinement.layers:
        landlock.restrict((confinement.potentials_dir,), (confinement.job_dir,))
    if "seccomp" in confinement.layers:
        seccomp.restrict()


def _limit(confinement: Confinement) -> None:
    cpu_s = max(1, round(confinement.cpu_time_s + 0.5))
    for kind, soft, hard in (
        (resource.RLIMIT_AS, confinement.memory_bytes, confinement.memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_FSIZE, confinement.output_bytes, confinement.output_bytes),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def self_test(confinement: Confinement) -> Mapping[str, str]:
    """Return layer -> what went wrong, for each of `confinement.layers` that does not hold."""
    probes: dict[str, tuple[Callable[[], object], ...]] = {
        "zygote": (_bare_process,),
        "namespaces": (namespaces.self_test,),
        "limits": (lambda: _dies(confinement, "limits", signal.SIGXFSZ, _write_too_much),),
        "landlock": (
            lambda: _dies(confinement, "landlock", 0, lambda: os.listdir(confinement.job_dir)),
            lambda: _dies(confinement, "landlock", 13, lambda: os.listdir("/")),
        ),
        "seccomp": (
            lambda: _dies(confinement, "seccomp", signal.SIGSYS, os.fork),
            lambda: _dies(confinement, "seccomp", signal.SIGSYS, lambda: os.execv("/x", ["x"])),
            lambda: _dies(confinement, "seccomp", signal.SIGSYS, _open_socket),
            lambda: _dies(confinement, "seccomp", signal.SIGSYS, lambda: os.kill(1, 0)),
        ),
    }
    failures = {}
    for layer in confinement.layers:
        for probe in probes[layer]:
            if reason := probe():
                failures[layer] = str(reason)
                break
    return failures


def _dies(
    confinement: Confinement, layer: str, expected: int, operation: Callable[[], object]
) -> str | None:
    """Fork, put on one layer, try `operation`; say so unless it ended as `expected`.

    `expected` is a signal, or the errno with which the operation must fail (0: it must work).
    """
    child = os.fork()
    if child == 0:
        outcome = 255
        try:
            confine(_only(confinement, layer))
            outcome = 254
            operation()
            outcome = 0
        except OSError as error:
            outcome = error.errno if outcome == 254 and error.errno else outcome
        finally:
            os._exit(outcome)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    wanted = expected if expected in (0, 13) else -expected
    if status == wanted:
        return None
    return f"a forbidden operation ended with {status}, not {wanted}"


def _only(confinement: Confinement, layer: str) -> Confinement:
    return Confinement(
        job_dir=confinement.job_dir,
        potentials_dir=confinement.potentials_dir,
        memory_bytes=confinement.memory_bytes,
        cpu_time_s=confinement.cpu_time_s,
        output_bytes=_PROBE_BYTES,
        owner=confinement.owner,
        layers=(layer,),
    )


def _write_too_much() -> None:
    probe = os.open("probe", os.O_CREAT | os.O_WRONLY, 0o600)
    for _ in range(3):
        os.write(probe, bytes(_PROBE_BYTES))


def _open_socket() -> None:
    libc.library().socket(2, 1, 0)


def _bare_process() -> str | None:
    """Return what this process holds that it should not: variables or descriptors."""
    for name in os.environ:
        if name not in ALLOWED_VARIABLES and not name.startswith(ALLOWED_PREFIXES):
            return f"the environment holds {name}"
    held = [number for number in range(3, _MAX_DESCRIPTORS) if _is_open(number)]
    return f"descriptors {held} are open" if len(held) > 1 else None  # one: the channel


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True
