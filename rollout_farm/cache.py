"""Repeated requests: join the one in flight, or answer from the results kept in memory or on disk.

Runs are deterministic, so that a result may stand for an identical request. Timeouts, crashes and
other ends that depend on the machine are never kept, and an infrastructure failure never is.
"""

import asyncio
import contextlib
import functools
import hashlib
import platform
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from mdx.code_digest import code_digest
from mdx.lammps.library import package_dir, potentials_dir
from mdx.lammps.run import RunRequest, RunResult, RunStatus, to_json
from rollout_farm.config import CacheConfig
from rollout_farm.disk_cache import DiskCache
from rollout_farm.pool import Watcher

_KEPT = (RunStatus.OK, RunStatus.ERROR)


def machine_digest(lammps_version: str) -> str:
    """Return the hash of what a result depends on beside its request.

    That is the LAMMPS build and its potential files (by name and size), MDX's own code for runs and
    rewards, and the processor, whose kind decides the last digits.
    """
    digest = hashlib.sha256(f"{lammps_version}\n{_processor()}\n{code_digest()}\n".encode())
    for path in [package_dir() / "liblammps.so", *sorted(Path(potentials_dir()).iterdir())]:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as info:
        lines = [line for line in info if line.startswith(("model name", "CPU part"))]
        return lines[0] if lines else platform.machine()
    return platform.machine()


def request_key(request: RunRequest, machine: str = "") -> str:
    """Return the identity of a request: everything that its result depends on."""
    known = (machine, request.script, request.limits, request.task)
    wanted = (request.want_outputs, request.image_pixels, request.want_evidence)
    parts = [to_json((*known, *wanted))]
    for name, content in sorted(request.files.items()):
        parts += [name.encode(), content]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


class ResultCache:
    """Runs each request once at a time and keeps encoded results, on disk too where asked to.

    `run` is given a request and who wants to watch it; `machine` is part of every key.
    """

    def __init__(
        self,
        run: Callable[[RunRequest, Watcher | None], Awaitable[RunResult]],
        config: CacheConfig,
        machine: str,
    ):
        self.num_hits = 0
        self._run = run
        self._machine = machine
        self._max_bytes = config.memory_bytes
        self._disk = DiskCache(config.dir, config.disk_bytes) if config.dir else None
        self._num_bytes = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._in_flight: dict[str, asyncio.Task[bytes]] = {}
        self._num_callers: Counter[asyncio.Task[bytes]] = Counter()

    async def get(self, request: RunRequest, watch: Watcher | None = None) -> tuple[bytes, bool]:
        """Return the result as JSON and whether another request had it run.

        `watch` sees the run if it is begun for this request. When every caller of a run in flight
        is cancelled the run is cancelled too.
        """
        key = request_key(request, self._machine)
        if (kept := self._find(key)) is not None:
            self.num_hits += 1
            return kept, True
        joined = key in self._in_flight
        if not joined:
            task = asyncio.get_running_loop().create_task(self._run_and_keep(key, request, watch))
            task.add_done_callback(functools.partial(self._forget, key))
            self._in_flight[key] = task
        self.num_hits += joined
        return await self._wait(key, self._in_flight[key]), joined

    def _forget(self, key: str, task: "asyncio.Task[bytes]") -> None:
        """Let nobody join a run any more; another one of the same key may be in flight by now."""
        if self._in_flight.get(key) is task:
            del self._in_flight[key]

    def _find(self, key: str) -> bytes | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._disk and (content := self._disk.get(key)) is not None:
            self._keep(key, content)
            return content
        return None

    def _keep(self, key: str, encoded: bytes) -> None:
        if len(encoded) > self._max_bytes:
            return
        self._kept[key] = encoded
        self._num_bytes += len(encoded)
        while self._num_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._num_bytes -= len(dropped)

    async def _wait(self, key: str, task: "asyncio.Task[bytes]") -> bytes:
        self._num_callers[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._num_callers[task] -= 1
            if not self._num_callers[task]:
                del self._num_callers[task]
                if not task.done():
                    self._forget(key, task)
                    task.cancel()

    async def _run_and_keep(self, key: str, request: RunRequest, watch: Watcher | None) -> bytes:
        result = await self._run(request, watch)
        encoded = to_json(result)
        if result.status in _KEPT:
            self._keep(key, encoded)
            if self._disk:
                self._disk.put(key, encoded)
        return encoded
