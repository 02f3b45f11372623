"""Several processes as one run: how they find each other, agree, and end together.

JAX's coordination service (in process 0) introduces the processes to each other; from then on each
runs the same program on its own devices. On TPUs and under Slurm everything is found by itself,
elsewhere three options say it (`Membership`). What is added here:

* process 0 alone writes; `first_says` and `meet` let the others wait for what it did;
* a process that fails tells the others why, so that all end with one line and no one hangs;
* `exchange` gives every process what each of them has, as bytes.

One process needs none of this: every function then does nothing, or the obvious.
"""

import contextlib
import functools
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed  # the service's key-value store has no public name
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mdx.cli import INTERRUPTED_EXIT_CODE, exit_code_and_line
from mdx.errors import MdxError, StoppedError, UsageError
from trainers.membership import Membership

_FAILED = "mdx/failed"
_WAIT_MS = 7 * 24 * 3600 * 1000  # the watch ends a wait for a process that is gone
_meetings = itertools.count()  # all processes meet in the same order, so equal numbers meet
_LAST_WORDS_S = 2.0  # how long the service stays after a failure, so that all can read why
_STOP_TOGETHER_MS = 5_000
_STOPPED = (StoppedError.exit_code, INTERRUPTED_EXIT_CODE)
_LOST = "error: lost another process in mid-step; the same command goes on from the last save"
_LOST_SIGNS = ("Gloo", "UNAVAILABLE", "Connection reset", "Connection closed", "heartbeat")


@contextlib.contextmanager
def joined(membership: Membership) -> Iterator[None]:
    """Be one process of many inside the `with`; leave together.

    A failure inside is told to the other processes, printed as one line, and ends this process.
    """
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours to answer
    _find_each_other(membership)
    watch = threading.Thread(target=_end_with_the_others, daemon=True)
    watch.start()
    try:
        _check_counts()
        yield
        meet("end")
    except BaseException as error:
        _end_all(error)
    jax.distributed.shutdown()


def _find_each_other(membership: Membership) -> None:
    """Meet the other processes; raises UsageError where a cluster does not say where they are."""
    try:
        jax.distributed.initialize(
            membership.coordinator,
            membership.num_processes,
            membership.process_id,
            initialization_timeout=membership.connect_timeout_s,
            heartbeat_timeout_seconds=membership.peer_timeout_s,
            cluster_detection_method="deactivate" if membership.coordinator else None,
        )
    except (OSError, RuntimeError, ValueError) as error:
        if membership.coordinator or isinstance(error, jax.errors.JaxRuntimeError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            "a TPU pod or Slurm started this process, but does not say where the others are "
            f"({reason}): give --coordinator, --num-processes and --process-id"
        ) from error


def is_first() -> bool:
    """Tell whether this is the process that writes."""
    return jax.process_index() == 0


def meet(name: str) -> None:
    """Return when all processes have come here, however long the last one takes.

    It is the coordination service that waits, not a collective: those time out (Gloo's after half
    a minute), so whatever may take processes unequally long is followed by a meeting.
    """
    if jax.process_count() > 1:
        _client().wait_at_barrier(f"mdx/{name}/{next(_meetings)}", _WAIT_MS)


def first_says(number: int) -> int:
    """Return what process 0 called this with; the others' numbers are ignored."""
    if jax.process_count() == 1:
        return number
    key = f"mdx/first/{next(_meetings)}"
    if is_first():
        _client().key_value_set(key, str(number))
    return int(_client().blocking_key_value_get(key, _WAIT_MS))


def largest(number: int) -> jax.Array:
    """Return the largest of all processes' numbers, without waiting for it: read it with `int`."""
    split, maximum = _maximum_of_all()
    mine = np.full(jax.local_device_count(), number, np.int32)
    return maximum(jax.make_array_from_process_local_data(split, mine))


@functools.cache
def _maximum_of_all() -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("devices"))
    return split, jax.jit(jnp.max, out_shardings=everywhere)


def exchange(mine: bytes) -> list[bytes]:
    """Return what each process called this with, in the order of the processes."""
    if jax.process_count() == 1:
        return [mine]
    meet("exchange")
    sizes = multihost_utils.process_allgather(np.array([len(mine)], np.int32)).reshape(-1)
    room = 1 << int(sizes.max()).bit_length()  # few sizes, so few compilations
    padded = np.zeros(room, np.uint8)
    padded[: len(mine)] = np.frombuffer(mine, np.uint8)
    everyone = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(everyone, sizes, strict=True)]


def _client() -> Any:
    """Return the connection to the coordination service, which is a key-value store too."""
    return distributed.global_state.client


def _check_counts() -> None:
    client, count = _client(), str(distributed.global_state.num_processes)
    if distributed.global_state.process_id == 0:
        client.key_value_set("mdx/count", count)
    expected = client.blocking_key_value_get("mdx/count", 60_000)
    if count != expected:
        raise UsageError(
            f"all processes need the same --num-processes, but process 0 has {expected} and "
            f"process {distributed.global_state.process_id} has {count}"
        )


def _end_with_the_others() -> None:
    """Wait until some process fails, and end with it. Runs in a thread of its own."""
    try:
        failure = _client().blocking_key_value_get(_FAILED, _WAIT_MS)
    except Exception:  # the service has ended, or this process is about to
        return
    who, code, line = failure.split("\n", 2)
    if int(who) == distributed.global_state.process_id:
        return
    if int(code) == StoppedError.exit_code:
        _leave(int(code), f"stopped: process {who} was told to stop: {line}")
    _leave(MdxError.exit_code, f"error: process {who} ended: {line}")


def _end_all(error: BaseException) -> None:
    """Leave with the others where all were stopped together, else tell them of `error` first."""
    try:
        code, line = exit_code_and_line(error)
    except BaseException as defect:
        code, line = 1, _line_of(defect)
        if line != _LOST:
            sys.excepthook(type(defect), defect, defect.__traceback__)
    if line == _LOST:
        time.sleep(_LAST_WORDS_S)  # the process that failed may be about to say why
    with contextlib.suppress(Exception):  # the service may be gone, or another was first
        if code in _STOPPED and _all_stopped():
            jax.distributed.shutdown()
        else:
            reason = line.partition(": ")[2]
            failure = f"{distributed.global_state.process_id}\n{code}\n{reason}"
            _client().key_value_set(_FAILED, failure)
    _leave(code, line)


def _all_stopped() -> bool:
    """Tell whether all processes end here: those that agreed on a step come at the same time."""
    try:
        _client().wait_at_barrier("mdx/stopped", _STOP_TOGETHER_MS)
    except Exception:
        return False
    return True


def _line_of(defect: BaseException) -> str:
    text = " ".join(str(defect).split())
    if isinstance(defect, jax.errors.JaxRuntimeError) and any(s in text for s in _LOST_SIGNS):
        return _LOST
    return f"error: {type(defect).__name__}: {text[:200]}"


def _leave(code: int, line: str) -> None:
    """End without the shutdown of a service in which others may no longer take part."""
    with contextlib.suppress(OSError):  # nobody may be reading any more
        print(line, file=sys.stderr, flush=True)
    if distributed.global_state.service is not None:
        time.sleep(_LAST_WORDS_S)  # it ends with this process, and others may still have to ask
    os._exit(code)
