"""The workers that a client knows: which answer, which has room, and what became of the rest.

Two threads keep the list true. The keeper asks workers that are down until they answer, less and
less often, and starts an embedded worker that died anew. The watcher reads the addresses again
where they can change (`rollout_farm.addresses`): new workers are asked, and one that is no longer
named gets nothing more and is let go when what it holds of ours has ended. What both share is
guarded by the client's condition variable, which the methods expect to be held unless they say
otherwise.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Sequence

import grpc

from mdx.errors import FarmError
from rollout_farm.addresses import Address, AddressBook, parse_address, parse_sources
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from rollout_farm.remote import SILENCE_S, RemoteWorker, explain
from rollout_farm.security import Access

_ROUND_S = 0.25  # between two looks at what is down
_PROBE_TIMEOUT_S = 2.0
_MAX_REASONS = 3  # in one message


class Fleet:
    """The workers at `addresses`, or an embedded one where there are none.

    Raises FarmError where none answers within `connect_timeout_s` or all want another token.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        access: Access,
        config: WorkerConfig,
        connect_timeout_s: float,
        changed: threading.Condition,
        silence_s: float = SILENCE_S,
    ):
        self._config = config
        self._silence_s = silence_s
        self._changed = changed
        self._reasons: dict[str, str] = {}  # address -> why that worker is down
        self._problems: tuple[str, ...] = ()  # of names and folders
        self._down_since: float | None = time.monotonic()
        self._closed = threading.Event()
        self._repair = threading.Event()  # something is down or leaves
        self._book = AddressBook(sources=parse_sources(addresses))
        self._access = access if self._book.sources else Access()
        self.workers: list[RemoteWorker] = []
        self._leaving: list[RemoteWorker] = []
        self.embedded = None if self._book.sources else EmbeddedWorker(config)
        try:
            self._connect(connect_timeout_s)
        except BaseException:
            self._close_all()
            raise
        self._keeper = threading.Thread(target=self._keep_up, name="farm-keeper", daemon=True)
        self._keeper.start()
        # never joined: it may hang for long in a look-up, and does nothing once closed
        if self._book.every_s:
            threading.Thread(target=self._watch, name="farm-watcher", daemon=True).start()

    @property
    def is_refused(self) -> bool:
        """Whether every worker refuses our token, so that waiting is of no use."""
        return bool(self.workers) and all(worker.is_refused for worker in self.workers)

    def with_most_room(self, avoid: RemoteWorker | None) -> RemoteWorker | None:
        """Return the worker that can take most, not `avoid` if another has room; None if full."""
        able = [worker for worker in self._distinct() if worker.room > 0]
        return max(able, key=lambda worker: (worker is not avoid, worker.room), default=None)

    @property
    def num_slots(self) -> int:
        """How many scripts run at a time on all the workers that answer now."""
        return sum(worker.num_slots for worker in self._distinct())

    def _distinct(self) -> list[RemoteWorker]:
        """Return the workers that answer, each once: by the first address that leads to it.

        A name may have an IPv4 and an IPv6 record of the same worker.
        """
        answering = [worker for worker in reversed(self.workers) if worker.is_up]
        return list({worker.identity: worker for worker in answering}.values())

    def next_rested_s(self) -> float | None:
        """Return for how many seconds the first of the workers still wants to be left alone."""
        now = time.monotonic()
        rests = [worker.resting_until - now for worker in self.workers if worker.is_up]
        return min((rest for rest in rests if rest > 0), default=None)

    def mark_down(self, worker: RemoteWorker, call: grpc.Future) -> None:
        """Send nothing more to `worker`, whose call ended so, until it answers again."""
        worker.is_up = False
        worker.is_refused = call.code() is grpc.StatusCode.UNAUTHENTICATED
        worker.probe_later(hurry=True)
        self._note_change(worker, explain(call))

    def down_s(self) -> float:
        """Return for how many seconds no worker has answered; 0 if one does."""
        return 0.0 if self._down_since is None else time.monotonic() - self._down_since

    def why_down(self) -> str:
        """Return in one line why no worker can be used."""
        reasons = [f"{address}: {reason}" for address, reason in self._reasons.items()]
        reasons += self._problems
        more = f"; and {len(reasons) - _MAX_REASONS} more" if len(reasons) > _MAX_REASONS else ""
        what = "; ".join(reasons[:_MAX_REASONS]) + more
        if self.is_refused:
            return (
                f"no farm worker lets us in ({what}); name the file with the token that they were "
                "started with: --farm-token-file, or token_file in a configuration"
            )
        return (
            f"no farm worker answers ({what}); start one with `mdx-farm serve`, or leave the "
            "addresses empty to run scripts on this machine"
        )

    def close(self) -> None:
        """Close the channels and end the embedded worker. Not to be called under the lock."""
        self._closed.set()
        self._repair.set()
        self._keeper.join()
        self._close_all()

    def _close_all(self) -> None:
        self._closed.set()
        with self._changed:
            workers = [*self.workers, *self._leaving]
        for worker in workers:
            worker.close()
        if self.embedded is not None:
            self.embedded.close()

    def _connect(self, timeout_s: float) -> None:
        """Ask every worker until one answers or the time is over; then go on with those."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._read_addresses()
            with self._changed:
                self._probe(timeout_s)
                self._changed.wait_for(
                    lambda: not any(worker.is_asked for worker in self.workers),
                    max(0.0, deadline - time.monotonic()),
                )
                if self._down_since is None:
                    return
                if self.is_refused or time.monotonic() >= deadline:
                    raise FarmError(self.why_down())
            self._closed.wait(min(_ROUND_S, max(0.0, deadline - time.monotonic())))

    def _watch(self) -> None:
        """Follow the addresses, for as long as the client lives."""
        while not self._closed.wait(self._book.every_s):
            self._read_addresses()

    def _read_addresses(self) -> None:
        """Bring the list of workers up to date, without the lock."""
        if self.embedded is not None:
            addresses: tuple[Address, ...] = (parse_address(self.embedded.ready.address),)
        else:
            addresses = self._book.read()
        with self._changed:
            if not self._closed.is_set():
                self._problems = self._book.problems
                self._list(addresses)

    def _list(self, addresses: Sequence[Address]) -> None:
        """Take workers on and let workers go, so that those at `addresses` remain."""
        known = {worker.where: worker for worker in (*self.workers, *self._leaving)}
        before = self.workers
        self.workers = [
            known.pop(address)
            if address in known
            else RemoteWorker(address, self._access, self._silence_s)
            for address in addresses
        ]
        self._leaving = list(known.values())
        if self.workers != before:
            self._note_change()

    def _probe(self, timeout_s: float) -> None:
        """Ask the workers that are down and have not been asked for a while."""
        now = time.monotonic()
        for worker in self.workers:
            if not (worker.is_up or worker.is_asked or worker.probe_at > now):
                worker.is_asked = True
                worker.ask(timeout_s, functools.partial(self._answered, worker))

    def _answered(self, worker: RemoteWorker, call: grpc.Future) -> None:
        """Take the end of a question, in a thread of gRPC's, without the lock."""
        code = call.code()
        reason: str | None = explain(call)
        if code is grpc.StatusCode.OK:
            reason = "it is stopping" if call.result().draining else None
        with self._changed:
            worker.is_asked = False
            worker.is_up = reason is None
            worker.is_refused = code is grpc.StatusCode.UNAUTHENTICATED
            if code is grpc.StatusCode.OK:
                worker.num_slots = call.result().num_slots
                worker.identity = call.result().identity or worker.address
            worker.probe_later(hurry=worker.is_up)
            self._note_change(worker, reason)

    def _note_change(self, worker: RemoteWorker | None = None, reason: str | None = None) -> None:
        if worker is not None and reason is not None:
            self._reasons[worker.address] = reason
        named = {worker.address for worker in self.workers if not worker.is_up}
        self._reasons = {at: why for at, why in self._reasons.items() if at in named}
        if any(worker.is_up for worker in self.workers):
            self._down_since = None
        elif self._down_since is None:
            self._down_since = time.monotonic()
        if self._leaving or not all(worker.is_up for worker in self.workers):
            self._repair.set()
        self._changed.notify_all()

    def _keep_up(self) -> None:
        """Bring back what is down and let go what leaves, for as long as the client lives."""
        while self._repair.wait() and not self._closed.is_set():
            if self.embedded is not None and not self.embedded.is_running:
                with contextlib.suppress(FarmError):
                    self._restart(self.embedded)
            with self._changed:
                self._probe(_PROBE_TIMEOUT_S)
                gone = [worker for worker in self._leaving if not worker.is_busy]
                self._leaving = [worker for worker in self._leaving if worker.is_busy]
                all_well = not self._leaving and all(worker.is_up for worker in self.workers)
                if all_well and not self._closed.is_set():
                    self._repair.clear()
            for worker in gone:
                worker.close()
            self._closed.wait(_ROUND_S)

    def _restart(self, dead: EmbeddedWorker) -> None:
        """Start an embedded worker in the place of a dead one."""
        dead.close()
        try:
            self.embedded = EmbeddedWorker(self._config)
        except (FarmError, OSError) as error:
            with self._changed:
                self._problems = (f"the worker on this machine: {error}",)
            raise FarmError(str(error)) from error
        self._read_addresses()
