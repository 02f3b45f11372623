"""The slots of a worker: who is idle, who waits, who is lost, and one more try for its job.

Lives in the worker's event loop, which waits for all slots at once; only starting and ending a
slot, and scoring, happen in threads. Nothing here forks.
"""

import asyncio
import contextlib
import dataclasses
import heapq
import itertools
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mdx.errors import FarmError
from mdx.lammps.run import RunRequest, RunResult
from mdx.rewards import score
from rollout_farm import canary
from rollout_farm.config import WorkerConfig
from rollout_farm.messages import Hello
from rollout_farm.outcome import refused, to_result, wanted_outputs
from rollout_farm.slot import Finished, Run, Slot, SlotLostError, encode_files, time_to_give_up_s

T = TypeVar("T")
Watcher = Callable[[Run], None]
_NUM_TRIES = 2
_RESPAWN_PAUSE_S = 1.0
_SMOOTHING = 0.05
_SHORT_BYTES = 16 << 10


class Pool:
    """A fixed number of slots, each replaced when it is lost, wrong or worn."""

    def __init__(self, config: WorkerConfig):
        self.config = config
        self.num_busy = self.num_waiting = self.num_runs = self.num_lost = 0
        self.run_s = 0.0  # how long a script runs, a moving mean
        self.hello = Hello()
        self._idle: list[Slot] = []
        self._waiting: list[tuple[int, int, asyncio.Future[Slot]]] = []  # heap
        self._arrivals = itertools.count()
        self._slots: set[Slot] = set()
        self._heard: set[Slot] = set()  # those that the event loop listens to
        self._ready: dict[Slot, asyncio.Future[None]] = {}  # who waits for a slot's answer
        self._closing = False
        self._repairs: set[asyncio.Task[None]] = set()
        # one thread for each slot, and one for each that starts in place of a lost one
        self._threads = ThreadPoolExecutor(2 * config.slots, thread_name_prefix="slot")

    @property
    def expected_wait_s(self) -> float:
        """How long a request that came now would wait, roughly."""
        return self.run_s * (self.num_waiting + 1) / self.config.slots

    async def start(self) -> None:
        """Start all slots. Raises FarmError where one cannot be made safe or gets sums wrong."""
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
            self._offer(slot)

    async def close(self) -> None:
        """End every slot with whatever runs in it."""
        self._closing = True
        for _, _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(FarmError("this worker has stopped"))
        repairs = list(self._repairs)
        for task in repairs:
            task.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        for slot in self._slots:
            self._stop_hearing(slot)
        await asyncio.gather(*(self._in_thread(slot.close) for slot in self._slots))
        self._threads.shutdown(wait=False)

    async def run(self, request: RunRequest, watch: Watcher | None = None) -> RunResult:
        """Run a request on the next idle slot, score it and return what the caller asked for.

        `watch` is called with each run that begins. Cancelling this coroutine kills the script.
        Raises FarmError when slot after slot is lost.
        """
        if refusal := refused(request, self.hello):
            return await self._finish(request, refusal)
        files = await self._encode(request)
        arrived = time.monotonic()
        for attempt in range(1, _NUM_TRIES + 1):
            slot = await self._next_idle(request.priority)
            queue_s = time.monotonic() - arrived
            try:
                finished = await self._run_on(slot, request, files, watch)
                result = to_result(request, finished, queue_s=queue_s, hello=slot.hello)
                return await self._finish(request, result)
            except SlotLostError as error:
                self.num_lost += 1
                if attempt == _NUM_TRIES:
                    raise FarmError(f"the job lost {attempt} slots, last: {error}") from error
        raise AssertionError("unreachable")

    async def _next_idle(self, priority: int) -> Slot:
        if self._closing:
            raise FarmError("this worker has stopped")
        if self._idle:
            return self._idle.pop()
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority, next(self._arrivals), turn))
        self.num_waiting += 1
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._offer(turn.result())
            raise
        finally:
            self.num_waiting -= 1

    def _offer(self, slot: Slot) -> None:
        """Give an idle slot to whoever has waited longest among the most urgent."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(slot)
                return
        self._idle.append(slot)

    async def _encode(self, request: RunRequest) -> bytes:
        """Put the probes into a script; a long one in a thread, so that others do not wait."""
        num_bytes = len(request.script) + sum(map(len, request.files.values()))
        if num_bytes <= _SHORT_BYTES:
            return encode_files(request)
        return await self._in_thread(encode_files, request)

    async def _run_on(
        self, slot: Slot, request: RunRequest, files: bytes, watch: Watcher | None
    ) -> Finished:
        self.num_busy += 1
        lost = True
        try:
            run = slot.begin(request, files)
            if watch:
                watch(run)
            try:
                await self._readable(slot, time_to_give_up_s(request))
            except asyncio.CancelledError:
                slot.cancel(run)
                await self._readable(slot, time_to_give_up_s(request))
                with contextlib.suppress(SlotLostError):  # nobody is there to run it for again
                    slot.end(run)
                    lost = False
                raise
            finished = slot.end(run)
            lost = False
            self.run_s += _SMOOTHING * (finished.report.wall_s - self.run_s)
            return finished
        finally:
            self.num_busy -= 1
            self._give_back(slot, lost)

    async def _readable(self, slot: Slot, timeout_s: float) -> None:
        """Wait until the slot has something to say, or `timeout_s` are over."""
        loop = asyncio.get_running_loop()
        self._ready[slot] = ready = loop.create_future()
        if slot not in self._heard:
            self._heard.add(slot)
            loop.add_reader(slot.fileno(), self._wake, slot)
        timer = loop.call_later(timeout_s, _complete, ready)
        try:
            await ready
        finally:
            timer.cancel()
            del self._ready[slot]

    def _wake(self, slot: Slot) -> None:
        """Tell who waits for a slot; where nobody does, listen to it no more until then."""
        if slot in self._ready:
            _complete(self._ready[slot])
        else:
            self._stop_hearing(slot)

    def _stop_hearing(self, slot: Slot) -> None:
        if slot in self._heard:
            self._heard.remove(slot)
            asyncio.get_running_loop().remove_reader(slot.fileno())

    async def _finish(self, request: RunRequest, result: RunResult) -> RunResult:
        """Add the reward, leave out the outputs that nobody asked for."""
        if not request.task and not result.outputs:
            return result
        reward = None
        if request.task:  # in a thread: whatever a stranger's script left is read there
            reward = await self._in_thread(score, request.task, request.script, result)
        outputs = wanted_outputs(result.outputs, request.want_outputs)
        return dataclasses.replace(result, reward=reward, outputs=outputs)

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _give_back(self, slot: Slot, lost: bool) -> None:
        self.num_runs += 1
        if self._closing:
            return
        every = self.config.canary_every
        if lost or slot.num_jobs >= self.config.recycle_every:
            self._repair(self._replace(slot))
        elif every and slot.num_jobs % every == 0:
            self._repair(self._check(slot))
        else:
            self._offer(slot)

    def _repair(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _check(self, slot: Slot) -> None:
        """Offer a slot again if it still gets a known script right."""
        try:
            await self._in_thread(canary.check, slot)
        except Exception:  # whatever it is, the slot is not to be used again
            self.num_lost += 1
            await self._replace(slot)
        else:
            self._offer(slot)

    async def _replace(self, slot: Slot) -> None:
        """Put a new slot in the place of `slot`, however long that takes."""
        self._slots.discard(slot)
        self._stop_hearing(slot)
        await self._in_thread(slot.close)
        while True:
            with contextlib.suppress(Exception):  # tried again until it works
                new = await self._start_slot()
                self._slots.add(new)
                self._offer(new)
                return
            await asyncio.sleep(_RESPAWN_PAUSE_S)

    async def _start_slot(self) -> Slot:
        """Return a new slot; one that nobody waits for any more is closed."""
        starting = self._in_thread(self._new_slot)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(FarmError, OSError):
                await self._in_thread((await starting).close)
            raise

    def _new_slot(self) -> Slot:
        slot = Slot(
            without=self.config.without_layers, allow_unsandboxed=self.config.allow_unsandboxed
        )
        try:
            canary.check(slot)
        except BaseException:
            slot.close()
            raise
        return slot


def _complete(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
