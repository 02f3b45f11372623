"""Repeated requests: join the one in flight, or answer from the results kept in memory.

Runs are deterministic, so that a result may stand for an identical request. Timeouts, crashes and
other ends that depend on the machine are never kept, and an infrastructure failure never is.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from mdx.lammps.run import RunRequest, RunResult, RunStatus, to_json

_KEPT = (RunStatus.OK, RunStatus.ERROR)


def request_key(request: RunRequest) -> str:
    """Return the identity of a request: everything that its result depends on."""
    parts = [
        request.script.encode(),
        to_json(request.limits),
        to_json(request.task),
        to_json(request.want_outputs),
    ]
    for name, content in sorted(request.files.items()):
        parts += [name.encode(), content]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


class ResultCache:
    """Runs each request once at a time and keeps up to `max_bytes` of encoded results."""

    def __init__(self, run: Callable[[RunRequest], Awaitable[RunResult]], max_bytes: int):
        self.num_hits = 0
        self._run = run
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._in_flight: dict[str, asyncio.Task[bytes]] = {}
        self._num_callers: dict[str, int] = {}

    async def get(self, request: RunRequest) -> tuple[bytes, bool]:
        """Return the result as JSON and whether another request had it run.

        When every caller of a run in flight is cancelled the run is cancelled too.
        """
        key = request_key(request)
        if key in self._kept:
            self._kept.move_to_end(key)
            self.num_hits += 1
            return self._kept[key], True
        joined = key in self._in_flight
        if not joined:
            task = asyncio.get_running_loop().create_task(self._run_and_keep(key, request))
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
            self._in_flight[key] = task
        self.num_hits += joined
        return await self._wait(key, self._in_flight[key]), joined

    async def _wait(self, key: str, task: "asyncio.Task[bytes]") -> bytes:
        self._num_callers[key] = self._num_callers.get(key, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self._num_callers[key] -= 1
            if not self._num_callers[key]:
                del self._num_callers[key]
                if not task.done():
                    self._in_flight.pop(key, None)
                    task.cancel()

    async def _run_and_keep(self, key: str, request: RunRequest) -> bytes:
        result = await self._run(request)
        encoded = to_json(result)
        if result.status in _KEPT and len(encoded) <= self._max_bytes:
            self._kept[key] = encoded
            self._num_bytes += len(encoded)
            while self._num_bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._num_bytes -= len(dropped)
        return encoded
