"""The workers that a client knows: which answer, which has room, and what became of the rest.

Workers that fail are asked again until they answer; an embedded worker that died is started
anew. Everything here is guarded by the client's condition variable, which the methods expect to
be held unless they say otherwise.
"""

import contextlib
import threading
import time
from collections.abc import Sequence

from mdx.errors import FarmError
from rollout_farm.addresses import AddressBook, parse_address, parse_sources
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from rollout_farm.remote import RemoteWorker
from rollout_farm.security import Access

_PROBE_EVERY_S = 0.25
_PROBE_TIMEOUT_S = 2.0


class Fleet:
    """The workers at `addresses`, or an embedded one where there are none.

    Raises FarmError where none answers within `connect_timeout_s`.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        access: Access,
        config: WorkerConfig,
        connect_timeout_s: float,
        changed: threading.Condition,
    ):
        self._config = config
        self._changed = changed
        self._reasons: dict[str, str] = {}
        self._down_since: float | None = time.monotonic()
        self._closed = threading.Event()
        self._repair = threading.Event()  # something is down
        self.embedded = None if addresses else EmbeddedWorker(config)
        if self.embedded is not None:
            addresses = (self.embedded.ready.address,)
        self._access = access
        self._book = AddressBook(sources=parse_sources(addresses))
        self.workers = [RemoteWorker(address, access) for address in self._book.read()]
        try:
            self._connect(connect_timeout_s)
        except BaseException:
            self._close_all()
            raise
        self._keeper = threading.Thread(target=self._keep_up, name="farm-fleet", daemon=True)
        self._keeper.start()

    def with_most_room(self, avoid: RemoteWorker | None) -> RemoteWorker | None:
        """Return the worker that can take most, not `avoid` if another has room; None if full."""
        able = [worker for worker in self.workers if worker.room > 0]
        return max(able, key=lambda worker: (worker is not avoid, worker.room), default=None)

    def mark_down(self, worker: RemoteWorker, reason: str) -> None:
        """Send nothing more to `worker` until it answers again."""
        worker.is_up = False
        self._reasons[worker.address] = reason
        self._note_change()

    def down_s(self) -> float:
        """Return for how many seconds no worker has answered; 0 if one does."""
        return 0.0 if self._down_since is None else time.monotonic() - self._down_since

    def why_down(self) -> str:
        """Return in one line why no worker can be used."""
        what = "; ".join(
            reason if reason.startswith(address) else f"{address}: {reason}"
            for address, reason in self._reasons.items()
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
        for worker in self.workers:
            worker.close()
        if self.embedded is not None:
            self.embedded.close()

    def _connect(self, timeout_s: float) -> None:
        """Ask every worker until one answers or the time is over; then go on with those."""
        deadline = time.monotonic() + timeout_s
        while True:
            askers = [
                threading.Thread(target=self._ask, args=(worker, timeout_s))
                for worker in self.workers
            ]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join()
            if self._down_since is None:
                return
            if time.monotonic() >= deadline:
                raise FarmError(self.why_down())
            time.sleep(_PROBE_EVERY_S)

    def _ask(self, worker: RemoteWorker, timeout_s: float) -> None:
        """Find out whether a worker serves, without the lock."""
        reason = None
        try:
            status = worker.status(timeout_s)
            reason = "it is stopping" if status.draining else None
        except FarmError as error:
            reason = str(error)
        with self._changed:
            if reason is None:
                worker.num_slots, worker.is_up = status.num_slots, True
                self._reasons.pop(worker.address, None)
            else:
                self._reasons[worker.address] = reason
            self._note_change()

    def _note_change(self) -> None:
        if any(worker.is_up for worker in self.workers):
            self._down_since = None
        elif self._down_since is None:
            self._down_since = time.monotonic()
        if not all(worker.is_up for worker in self.workers):
            self._repair.set()
        self._changed.notify_all()

    def _keep_up(self) -> None:
        """Bring back what is down, for as long as the client lives."""
        while self._repair.wait() and not self._closed.is_set():
            self._repair.clear()
            if self.embedded is not None and not self.embedded.is_running:
                with contextlib.suppress(FarmError):
                    self._restart(self.embedded)
            for worker in [worker for worker in self.workers if not worker.is_up]:
                self._ask(worker, _PROBE_TIMEOUT_S)
            self._closed.wait(_PROBE_EVERY_S if self._repair.is_set() else 0)

    def _restart(self, dead: EmbeddedWorker) -> None:
        """Start an embedded worker in the place of a dead one."""
        dead.close()
        try:
            self.embedded = EmbeddedWorker(self._config)
        except FarmError as error:
            with self._changed:
                self._reasons = {"the worker on this machine": str(error)}
            raise
        with self._changed:
            replaced, self.workers = (
                self.workers,
                [RemoteWorker(parse_address(self.embedded.ready.address))],
            )
            self._reasons.clear()
        for worker in replaced:
            worker.close()
