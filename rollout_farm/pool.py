"""The slots of a worker: who is idle, who is lost, and one more try for a lost slot's job.

Lives in the worker's event loop. Slots block in threads of their own; nothing here forks.
"""

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mdx.errors import FarmError
from mdx.lammps.run import RunRequest, RunResult
from mdx.rewards import score
from rollout_farm.config import WorkerConfig
from rollout_farm.messages import Hello
from rollout_farm.outcome import to_result, wanted_outputs
from rollout_farm.slot import Slot, SlotLostError

T = TypeVar("T")
_NUM_TRIES = 2
_RESPAWN_PAUSE_S = 1.0


class Pool:
    """A fixed number of slots, each replaced when it is lost or worn."""

    def __init__(self, config: WorkerConfig):
        self.config = config
        self.num_busy = self.num_waiting = self.num_runs = self.num_lost = 0
        self.hello = Hello()
        self._idle: asyncio.Queue[Slot] = asyncio.Queue()
        self._slots: set[Slot] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        # one thread for each slot, and one for each that starts in place of a lost one
        self._threads = ThreadPoolExecutor(2 * config.slots, thread_name_prefix="slot")

    async def start(self) -> None:
        """Start all slots. Raises FarmError where one cannot be made safe."""
        started = await asyncio.gather(
            *(self._in_thread(self._new_slot) for _ in range(self.config.slots)),
            return_exceptions=True,
        )
        self._slots = {slot for slot in started if isinstance(slot, Slot)}
        for slot in started:
            if isinstance(slot, BaseException):
                await self.close()
                raise slot
            self.hello = slot.hello
            self._idle.put_nowait(slot)

    async def close(self) -> None:
        """End every slot with whatever runs in it."""
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*(self._in_thread(slot.close) for slot in self._slots))
        self._threads.shutdown(wait=False)

    async def run(self, request: RunRequest) -> RunResult:
        """Run a request on the next idle slot, score it and return what the caller asked for.

        Cancelling this coroutine kills the script. Raises FarmError when slot after slot is lost.
        """
        arrived = time.monotonic()
        for attempt in range(1, _NUM_TRIES + 1):
            slot = await self._next_idle()
            try:
                return await self._run_on(slot, request, time.monotonic() - arrived)
            except SlotLostError as error:
                self.num_lost += 1
                if attempt == _NUM_TRIES:
                    raise FarmError(f"the job lost {attempt} slots, last: {error}") from error
        raise AssertionError("unreachable")

    async def _next_idle(self) -> Slot:
        self.num_waiting += 1
        try:
            return await self._idle.get()
        finally:
            self.num_waiting -= 1

    async def _run_on(self, slot: Slot, request: RunRequest, queue_s: float) -> RunResult:
        cancelled = threading.Event()
        work = self._in_thread(self._run_and_score, slot, request, cancelled, queue_s)
        self.num_busy += 1
        lost = False
        try:
            return await asyncio.shield(work)
        except SlotLostError:
            lost = True
            raise
        except asyncio.CancelledError:
            cancelled.set()
            slot.cancel()
            [ended] = await asyncio.gather(work, return_exceptions=True)
            lost = isinstance(ended, SlotLostError)
            raise
        finally:
            self.num_busy -= 1
            self._give_back(slot, lost)

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _run_and_score(
        self, slot: Slot, request: RunRequest, cancelled: threading.Event, queue_s: float
    ) -> RunResult:
        finished = slot.run(request, cancelled)
        result = to_result(request, finished, queue_s=queue_s, hello=slot.hello)
        reward = score(request.task, request.script, result) if request.task else None
        outputs = wanted_outputs(result.outputs, request.want_outputs)
        return dataclasses.replace(result, reward=reward, outputs=outputs)

    def _give_back(self, slot: Slot, lost: bool) -> None:
        self.num_runs += 1
        if lost or slot.num_jobs >= self.config.recycle_every:
            task = asyncio.get_running_loop().create_task(self._replace(slot))
            self._replacing.add(task)
            task.add_done_callback(self._replacing.discard)
        else:
            self._idle.put_nowait(slot)

    async def _replace(self, slot: Slot) -> None:
        """Put a new slot in the place of `slot`, however long that takes."""
        self._slots.discard(slot)
        await self._in_thread(slot.close)
        while True:
            with contextlib.suppress(FarmError, OSError):
                new = await self._in_thread(self._new_slot)
                self._slots.add(new)
                self._idle.put_nowait(new)
                return
            await asyncio.sleep(_RESPAWN_PAUSE_S)

    def _new_slot(self) -> Slot:
        return Slot(
            without=self.config.without_layers, allow_unsandboxed=self.config.allow_unsandboxed
        )
