"""What surrounds a training loop: the metrics file, the progress display, signals to stop.

Each is a context manager with one or two methods, independent of the others, so a loop of its own
(GRPO's) uses those it needs.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO

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

METRICS = "metrics.jsonl"
TIMING_FIELDS = ("step_s", "tokens_per_s")  # all that may differ between two equal runs
_PLAIN_LINE_EVERY_S = 10.0

Metrics = Mapping[str, float]


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

    def __init__(self, stage: str, *, done: int, num_steps: int) -> None:
        self._stage, self._num_steps, self._done = stage, num_steps, done
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
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, step: int, metrics: Metrics) -> None:
        """Show that `step` steps are done."""
        figures = _figures(metrics)
        self._bar.update(self._task, completed=step, figures=figures)
        now = time.monotonic()
        due = now - self._last_line >= _PLAIN_LINE_EVERY_S or step == self._num_steps
        if due and not self._console.is_terminal:
            self._last_line = now
            left = (now - self._started) / max(step - self._done, 1) * (self._num_steps - step)
            line = f"{self._stage} {step}/{self._num_steps} {figures}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)


class StopSignals:
    """Turns SIGTERM and the first Ctrl-C into a request that the loop answers after its step.

    A second Ctrl-C interrupts at once. Outside the main thread signals cannot be caught: there it
    never requests anything.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
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
