"""The parent of a training process that is one of several: it turns any end into one line.

When a process of a run dies, XLA's coordination service kills the others from C++, with a stack
trace on stderr that no Python code can catch. So a process of many runs as a child of this
supervisor, which keeps what C++ wrote to file descriptors 1 and 2, hands signals on, and says in
one line why the child ended. It imports no JAX. Setting MDX_NATIVE_LOG shows what C++ writes to
stderr.
"""

import contextlib
import os
import re
import signal
import sys
import threading
from collections import deque
from types import FrameType

from mdx.errors import MdxError
from rollout_farm import libc

_KEPT_LINES = 200
_AGAIN = "the same command on all hosts goes on from the last save"


def run_in_child(coordinator: str | None, connect_timeout_s: int) -> None:
    """Return in a child process; the calling process waits for it and exits as it does.

    The child's Python streams are those of the caller; what C++ prints goes to the supervisor.
    """
    readable, writable = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(readable)
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the child once, through its supervisor
        _divert_native_output(writable)
        return
    os.close(writable)
    sys.exit(_watch(child, readable, coordinator, connect_timeout_s))


def explain(native: str, coordinator: str | None, connect_timeout_s: int) -> str:
    """Return the line for a process that XLA ended with the text `native`.

    The texts are those of jaxlib's coordination service (0.8 to 0.10).
    """
    if "RegisterTask" in native and "Deadline" in native:
        where = f" at {coordinator}" if coordinator else ""
        return (
            f"error: not all processes met{where} within {connect_timeout_s} s: start every one "
            "with the same --coordinator and --num-processes, and check that its port is reachable"
        )
    if "Unexpected task registered" in native:
        return "error: --process-id is not below the --num-processes that process 0 was given"
    if "different incarnation" in native:
        return "error: two processes have the same --process-id, or one was restarted alone"
    if "stopped sending heartbeats" in native:
        found = re.search(r"heartbeats\):\s*([\d, \n]+)", native)
        who = " ".join(found[1].split()) if found else "another"
        return f"error: process {who} is dead or cut off: {_AGAIN}"
    if "Failed to send RPC to coordination service" in native:
        return f"error: process 0, the coordinator, is dead or cut off: {_AGAIN}"
    return ""


def _divert_native_output(writable: int) -> None:
    own = [os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2)]
    os.dup2(writable, 1)
    if "MDX_NATIVE_LOG" not in os.environ:
        os.dup2(writable, 2)
        # quieter ones would hide from us why XLA aborts (gRPC's setting silences all of it)
        os.environ |= {"GRPC_VERBOSITY": "ERROR", "TF_CPP_MIN_LOG_LEVEL": "0"}
    os.close(writable)
    sys.stdout, sys.stderr = own


def _watch(child: int, readable: int, coordinator: str | None, connect_timeout_s: int) -> int:
    """Wait for the child and return the exit code; print a line where the child could not."""

    def hand_on(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    reader = threading.Thread(target=_keep, args=(readable, kept), daemon=True)
    reader.start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code >= 0:
        return code
    reader.join(timeout=1.0)
    line = explain("".join(kept), coordinator, connect_timeout_s)
    if not line:
        sys.stderr.writelines(kept)
        name = signal.Signals(-code).name
        line = f"error: this process was ended by {name} (out of memory?): {_AGAIN}"
    print(line, file=sys.stderr, flush=True)
    return MdxError.exit_code


def _keep(readable: int, kept: deque[str]) -> None:
    with os.fdopen(readable, "r", errors="replace") as lines:
        kept.extend(lines)
