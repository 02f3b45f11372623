"""The client of the farm: give it requests, get results; workers may come, go and die.

    with Farm() as farm:                                  # a worker of our own on a unix socket
        result = farm.run(RunRequest(script=text))
    farm = Farm("host1:50051,host2:50051")                # or dns:///name:port, dir:/path
    futures = [farm.submit(request) for request in requests]

Each worker holds as many of our requests as it has slots, and two more; the next request goes to
the one with the most room. A failed script is a result. Whatever else goes wrong (a worker that
is killed, hangs or is full) is tried again, elsewhere if there is an elsewhere, after a pause with
jitter; what fails several times over, or finds no worker for `patience_s`, ends in a `FarmError`.
A worker that says how long it wants no more (`grpc-retry-pushback-ms`) is left alone for so long.
"""

import contextlib
import functools
import heapq
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Self

import grpc
import msgspec

from mdx.errors import FarmError, MdxError, UsageError
from mdx.lammps.run import RunRequest, RunResult
from rollout_farm import wire
from rollout_farm.config import ClientSecurity, WorkerConfig
from rollout_farm.fleet import Fleet
from rollout_farm.proto import farm_pb2
from rollout_farm.remote import SILENCE_S, RemoteWorker, explain
from rollout_farm.security import load_access

_MAX_ATTEMPTS = 5
_MAX_REFUSALS = 200  # by full queues: some 15 minutes
_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0
_MAX_REST_S = 60.0
_DOWN_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
_REFUSALS = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED)
_FINAL_CODES = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(kw_only=True, eq=False)
class _Job:
    request: RunRequest
    message: farm_pb2.RunScriptRequest
    future: "Future[RunResult]" = field(default_factory=Future)
    num_failures: int = 0
    num_refusals: int = 0
    last_worker: RemoteWorker | None = None


class Farm:
    """Runs scripts on workers: those at `addresses`, or one of its own where none are given.

    Args:
        addresses: of the workers, in the forms of `rollout_farm.addresses`.
        security: the token and certificates that they want; None: none.
        num_slots: scripts that the own worker runs at a time; None: one for each core.
        connect_timeout_s: how long to wait for the first worker to answer.
        patience_s: how long requests wait while no worker answers.
        silence_s: a worker that gives no sign of life for so long is gone.
        allow_unsandboxed: let the own worker run scripts on a host that cannot sandbox them.

    Raises FarmError where no worker answers and UsageError for addresses and files that cannot
    be used. Thread-safe.
    """

    def __init__(
        self,
        addresses: str | Sequence[str] = (),
        *,
        security: ClientSecurity | None = None,
        num_slots: int | None = None,
        connect_timeout_s: float = 3.0,
        patience_s: float = 30.0,
        silence_s: float = SILENCE_S,
        allow_unsandboxed: bool = False,
    ):
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._paused: list[tuple[float, int, _Job]] = []  # heap, by when to try again
        self._sent: set[_Job] = set()
        self._counter = itertools.count()
        self._closed = False
        self._patience_s = patience_s
        config = WorkerConfig(num_slots=num_slots or 0, allow_unsandboxed=allow_unsandboxed)
        access = load_access(security or ClientSecurity())
        self._fleet = Fleet(addresses, access, config, connect_timeout_s, self._changed, silence_s)
        self._dispatcher = threading.Thread(target=self._dispatch, name="farm", daemon=True)
        self._dispatcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_slots(self) -> int:
        """How many scripts run at a time on all the workers that answer now."""
        with self._changed:
            return self._fleet.num_slots

    @property
    def fleet(self) -> Fleet:
        """The workers, for reports and tests."""
        return self._fleet

    def submit(self, request: RunRequest) -> "Future[RunResult]":
        """Return a future of the result; it raises FarmError where infrastructure failed.

        Raises UsageError at once for a request that no worker could run.
        """
        wire.check_request(request)
        job = _Job(request=request, message=wire.pack_request(request))
        with self._changed:
            if self._closed:
                raise FarmError("the farm is closed")
            self._waiting.append(job)
            self._changed.notify_all()
        return job.future

    def run(self, request: RunRequest) -> RunResult:
        """Run one script and wait for its result. Raises FarmError."""
        return self.submit(request).result()

    def watch(self, request: RunRequest, show: Callable[[str], None]) -> RunResult:
        """Run one script and `show` its log, line by line, while it runs.

        Where the worker fails the script is run again elsewhere and its log shown at the end.
        Raises FarmError, and UsageError for a request that no worker could run.
        """
        wire.check_request(request)
        with self._changed:
            worker = self._fleet.with_most_room(None)
        if worker is not None:
            with contextlib.suppress(grpc.RpcError):
                return worker.watch(request, show)
        result = self.run(request)
        show(result.log)
        return result

    def close(self) -> None:
        """Stop: what has not ended fails with FarmError, and a worker of our own ends."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            left = [*self._waiting, *(job for _, _, job in self._paused), *self._sent]
            self._waiting.clear()
            self._paused.clear()
            self._sent.clear()
            self._changed.notify_all()
        for job in left:
            _fail(job, FarmError("the farm was closed before the script had run"))
        self._dispatcher.join()
        self._fleet.close()

    def _dispatch(self) -> None:
        """Send what waits to whoever has room, until closed."""
        while True:
            with self._changed:
                if self._closed:
                    return
                given_up = self._give_up()
                self._wake_paused()
                self._send_waiting()
                if not given_up:
                    self._changed.wait(self._next_wake_s())
            for job in given_up:
                _fail(job, FarmError(self._fleet.why_down()))

    def _give_up(self) -> list[_Job]:
        """Take out every job if no worker lets us in or has answered for `patience_s`."""
        if not self._fleet.is_refused and self._fleet.down_s() <= self._patience_s:
            return []
        given_up = [*self._waiting, *(job for _, _, job in self._paused)]
        self._waiting.clear()
        self._paused.clear()
        return given_up

    def _wake_paused(self) -> None:
        now = time.monotonic()
        while self._paused and self._paused[0][0] <= now:
            self._waiting.append(heapq.heappop(self._paused)[2])

    def _next_wake_s(self) -> float | None:
        """Return the seconds until something is to be done unasked; None: never."""
        wakes = [self._paused[0][0] - time.monotonic()] if self._paused else []
        if self._waiting and self._fleet.down_s() > 0:
            wakes.append(self._patience_s - self._fleet.down_s())
        rested_s = self._fleet.next_rested_s() if self._waiting else None
        if rested_s is not None:
            wakes.append(rested_s)
        return max(0.0, min(wakes)) + 0.001 if wakes else None

    def _send_waiting(self) -> None:
        while self._waiting:
            worker = self._fleet.with_most_room(self._waiting[0].last_worker)
            if worker is None:
                return
            job = self._waiting.popleft()
            if job.last_worker is None and not job.future.set_running_or_notify_cancel():
                continue  # cancelled while it waited
            job.last_worker = worker
            worker.num_outstanding += 1
            self._sent.add(job)
            worker.start(job.request, job.message, functools.partial(self._ended, job))

    def _ended(self, job: _Job, call: grpc.Future) -> None:
        """Take the end of a call: a result, a failure for good, or one to try again."""
        worker, outcome = job.last_worker, _read(call)
        assert worker is not None
        with self._changed:
            worker.num_outstanding -= 1
            self._changed.notify_all()
            if job not in self._sent:  # closed meanwhile
                return
            self._sent.remove(job)
            if outcome is None:
                outcome = self._pause(call, job, worker)
        if isinstance(outcome, RunResult):
            job.future.set_result(outcome)
        elif outcome is not None:
            _fail(job, outcome)

    def _pause(self, call: grpc.Future, job: _Job, worker: RemoteWorker) -> FarmError | None:
        """Plan another attempt; return the error instead if there were enough."""
        code, pushback_s = call.code(), _pushback_s(call)
        if code in _DOWN_CODES:
            self._fleet.mark_down(worker, call)
        elif pushback_s:
            rest_s = min(_MAX_REST_S, pushback_s) * random.uniform(1.0, 1.5)
            worker.resting_until = time.monotonic() + rest_s
        if pushback_s is not None or code in _REFUSALS:
            job.num_refusals += 1
        else:
            job.num_failures += 1
        if job.num_failures >= _MAX_ATTEMPTS or job.num_refusals >= _MAX_REFUSALS:
            return FarmError(
                f"a script could not be run in {job.num_failures + job.num_refusals} attempts; "
                f"the last failed at {worker.address}: {explain(call)}"
            )
        # 0: at once, elsewhere
        doublings = 0 if pushback_s == 0 else min(10, job.num_failures + job.num_refusals)
        pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2**doublings)
        wake = time.monotonic() + pause_s * random.uniform(0.5, 1.5)
        heapq.heappush(self._paused, (wake, next(self._counter), job))
        return None


def _read(call: grpc.Future) -> RunResult | MdxError | None:
    """Return the result of an ended call, the error that no retry helps against, or None."""
    code = call.code()
    try:
        if code is grpc.StatusCode.OK:
            return wire.unpack_result(call.result())
    except msgspec.DecodeError as error:
        return FarmError(f"a worker's reply cannot be read (versions differ?): {error}")
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return UsageError(explain(call))
    return FarmError(explain(call)) if code in _FINAL_CODES else None


def _pushback_s(call: grpc.Future) -> float | None:
    """Return for how long a worker that did not start a script wants to be left alone, or None."""
    for key, value in call.trailing_metadata() or ():
        if key == wire.PUSHBACK and str(value).isdecimal():
            return int(value) / 1000
    return None


def _fail(job: _Job, error: MdxError) -> None:
    if job.last_worker is not None or job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)
