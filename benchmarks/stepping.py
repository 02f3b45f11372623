"""Turn a library's own training loop into a function that takes one step of it.

The loop runs in a thread and calls `pause` before every step; calling the `Stepper` lets it go on
to the next pause. So a library is timed as its users run it, and stands still meanwhile.
"""

import queue
import threading
from collections.abc import Callable


class Stepper:
    """`Stepper(train)()` takes one step of `train(pause)`; raises what the loop raises."""

    def __init__(self, train: Callable[[Callable[[], None]], object]):
        self._go: queue.Queue[None] = queue.Queue()
        self._paused: queue.Queue[BaseException | None] = queue.Queue()
        self._train = train
        threading.Thread(target=self._run, daemon=True).start()
        self._wait()

    def __call__(self) -> None:
        """Take one step."""
        self._go.put(None)
        self._wait()

    def pause(self) -> None:
        """Wait, inside the loop, until the next step is wanted."""
        self._paused.put(None)
        self._go.get()

    def _wait(self) -> None:
        error = self._paused.get()
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._train(self.pause)
            self._paused.put(RuntimeError("the training loop ended before it was asked to"))
        except BaseException as error:
            self._paused.put(error)
