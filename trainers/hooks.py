"""What surrounds a training loop: the metrics file, the progress display, signals to stop.

Each is a context manager with one or two methods, independent of the others, so a loop of its own
(GRPO's) uses those it needs. Of several processes the first alone has the real ones.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, TypeVar

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mdx.errors import StoppedError
from trainers.processes import is_first, largest

METRICS = "metrics.jsonl"
TIMING_FIELDS = ("step_s", "tokens_per_s")  # all that may differ between two equal runs
_PLAIN_LINE_EVERY_S = 10.0

Metrics = Mapping[str, float]
W = TypeVar("W")


class Silent:
    """Stands in, in processes that write nothing, for each of the writers below."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, step: int, _: object) -> None:
        """Write nothing."""

    def update(self, step: int, metrics: Metrics) -> None:
        """Show nothing."""

    def sync(self) -> None:
        """Have nothing to put on the disk."""


def of_the_first(make: Callable[[], W]) -> W | Silent:
    """Return what `make` makes in the first process, and in the others a stand-in."""
    return make() if is_first() else Silent()


class MetricsWriter:
    """Appends one JSON line a step to `<run_dir>/metrics.jsonl`.

    Opening it cuts off every line after `restored_step` (and a line torn by a kill), so that the
    file of a resumed run is that of an uninterrupted one. Non-finite values are written as null.
    """

    def __init__(self, run_dir: str, restored_step: int = 0) -> None:
        self.path = Path(run_dir) / METRICS
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = self.path.open("ab", buffering=0)
        self._file.truncate(_bytes_to_keep(self.path, restored_step))

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, step: int, metrics: Metrics) -> None:
        """Append the line of `step`, complete when this returns."""
        line = {"step": step, **{name: _finite(value) for name, value in metrics.items()}}
        self._file.write((json.dumps(line) + "\n").encode())

    def sync(self) -> None:
        """Put what was written on the disk, as a checkpoint is about to rely on it."""
        os.fsync(self._file.fileno())


def read_metrics(run_dir: str) -> list[dict[str, float | None]]:
    """Return the lines of a run's metrics file, in order."""
    text = (Path(run_dir) / METRICS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


class ProgressDisplay:
    """Shows the step, the loss and the remaining time.

    A bar on a terminal; elsewhere one plain line every ten seconds and at the end. All of it goes
    to stderr.
    """

    def __init__(
        self,
        stage: str,
        *,
        done: int,
        num_steps: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._num_steps, self._done = stage, num_steps, done
        self._clock = clock
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=num_steps, completed=done, figures="")
        self._started = self._last_step = self._last_line = clock()

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, step: int, metrics: Metrics) -> None:
        """Show that `step` steps are done."""
        figures = _figures(metrics)
        self._bar.update(self._task, completed=step, figures=figures)
        self._last_step = now = self._clock()
        due = now - self._last_line >= _PLAIN_LINE_EVERY_S or step == self._num_steps
        if due and not self._console.is_terminal:
            self._last_line = now
            line = f"{self._stage} {step}/{self._num_steps} {figures}, "
            line += f"{self.left_s(step):.0f} s left"
            print(line, file=sys.stderr, flush=True)

    def skip(self, num_steps: int) -> None:
        """Count steps of an earlier run; the time since the last step went into passing them."""
        self._done += num_steps
        now = self._clock()
        self._started += now - self._last_step
        self._last_step = now

    def left_s(self, step: int) -> float:
        """Return how long the steps after `step` will take if they are like those done here."""
        elapsed_s = self._clock() - self._started
        return elapsed_s / max(step - self._done, 1) * (self._num_steps - step)


class StagesDisplay:
    """Shows one stage after another, each with a `ProgressDisplay` of its own.

    Call it with what is being done, how much is done and how much there is in all.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._display: ProgressDisplay | None = None

    def __enter__(self) -> "StagesDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.__exit__()

    def __call__(self, stage: str, done: int, num_steps: int) -> None:
        """Show that `done` of `num_steps` steps of `stage` are done."""
        if self._display is None or stage != self._stage:
            self.__exit__()
            self._stage = stage
            self._display = ProgressDisplay(stage, done=done, num_steps=num_steps).__enter__()
        self._display.update(done, {})


class StopSignals:
    """Turns SIGTERM and the first Ctrl-C into a request that the loop answers after its step.

    Over several processes, a signal to one must stop all at the same step: `agree` is what they
    look at. A second Ctrl-C interrupts at once. Outside the main thread signals cannot be caught:
    there it never requests anything.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._asked: jax.Array | None = None  # the largest signal number of all processes
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def agree(self) -> bool:
        """Tell whether some process had received a signal when all last called this.

        Every process must call it once a step, and all get the same answer. It costs no waiting:
        the answer is that to the previous call, which the devices found out behind that step.
        """
        if jax.process_count() == 1:
            return self.received is not None
        if self._asked is not None and (number := int(self._asked)):
            self.received = signal.Signals(number)
            return True
        self._asked = largest(self.received or 0)
        return False

    def agree_at_once(self) -> bool:
        """Tell whether some process has received a signal by now; waits for all to ask.

        For loops whose steps are long and end with the processes in step anyway.
        """
        if jax.process_count() > 1 and (number := int(largest(self.received or 0))):
            self.received = signal.Signals(number)
        return self.received is not None

    def stop(self, step: int) -> None:
        """Raise what ends the program: KeyboardInterrupt after Ctrl-C, else StoppedError."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise StoppedError(f"saved after step {step}; the same command goes on from there")

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


def _bytes_to_keep(path: Path, restored_step: int) -> int:
    """Return the length of the leading whole lines whose step is at most `restored_step`."""
    kept = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n") or json.loads(line)["step"] > restored_step:
                break
            kept += len(line)
    return kept


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figures(metrics: Metrics) -> str:
    shown = {"loss": "loss {:.3f}", "reward": "reward {:.3f}", "tokens_per_s": "{:,.0f} tokens/s"}
    return ", ".join(form.format(metrics[name]) for name, form in shown.items() if name in metrics)
