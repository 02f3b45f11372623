"""The loop that CPT and SFT share: resume, step, record, save, until `num_steps`.

The host stays one step behind the device: a step's metrics are read after the next one has been
dispatched, so nothing waits for a value that is still being computed. Two runs with the same
configuration write the same metrics, however often they were killed between.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax

from mdx.data.batch import Batch
from mdx.data.pipeline import Source
from mdx.errors import ConfigError, MdxError
from trainers.checkpoint import CheckpointConfig, Checkpointer
from trainers.hooks import MetricsWriter, ProgressDisplay, Silent, StopSignals, of_the_first
from trainers.losses import Metrics
from trainers.state import TrainState
from trainers.step import TrainStep

MAX_SKIPPED_IN_A_ROW = 10


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where batches come from and their shape."""

    data_dir: str = "data/tiny"
    tokenizer_dir: str = ""  # empty: that of init_from
    batch_size: int = 16  # rows of a step, over all devices and microbatches
    # rows computed at once, or more so that each device has one; 0: all, on CPUs as many as caches
    # hold (`trainers.step.tokens_at_once`)
    microbatch_size: int = 0
    seq_len: int = 256  # tokens of a row
    # data sets with their shares of the documents; a data_dir of "" is the one above; empty: what
    # the stage reads by itself
    mixture: list[Source] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.seq_len < 2:
            raise ConfigError(
                "data.batch_size must be 1 or more and data.seq_len 2 or more, not "
                f"{self.batch_size} and {self.seq_len}"
            )
        if self.microbatch_size < 0 or self.batch_size % (self.microbatch_size or 1):
            raise ConfigError(
                f"data.microbatch_size must divide data.batch_size={self.batch_size} "
                f"(or be 0), not {self.microbatch_size}"
            )

    def sources(self, by_default: Mapping[str, float]) -> list[Source]:
        """Return the mixture to read: `by_default` holds the weight of each data set's name."""
        sources = [s if s.data_dir else replace(s, data_dir=self.data_dir) for s in self.mixture]
        return sources or [
            Source(data_dir=self.data_dir, name=name, weight=weight)
            for name, weight in by_default.items()
            if weight > 0
        ]

    def num_microbatches(self, num_parts: int = 1, *, max_tokens: int = 0) -> int:
        """Return into how many cuts a batch goes whose rows are split over `num_parts` devices.

        A microbatch has `microbatch_size` rows, or more so that the devices share them evenly.
        Where that is 0 it has all rows, or, where `max_tokens` is not 0, the most equal share of
        them of which a device has no more tokens than that (or one row).
        """
        size = self.microbatch_size or self.batch_size
        if self.microbatch_size == 0 and max_tokens and self.batch_size % num_parts == 0:
            local = self.batch_size // num_parts
            most = max(max_tokens // self.seq_len, 1)
            size = num_parts * max(n for n in range(1, local + 1) if local % n == 0 and n <= most)
        rows = -(-size // num_parts) * num_parts
        if self.batch_size % rows and self.batch_size > rows:
            raise ConfigError(
                f"data.batch_size must be a multiple of the {rows} rows that a microbatch has on "
                f"{num_parts} devices, not {self.batch_size}"
            )
        return max(self.batch_size // rows, 1)


class Batches(Protocol):
    """An iterator over batches whose place can be saved as JSON and found again."""

    def __next__(self) -> Batch:
        """Return the next batch, as NumPy arrays."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Return the place after the batches taken so far, as JSON."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a place that `get_state` returned."""
        ...


def fit(
    state: TrainState,
    batches: Batches,
    train_step: TrainStep,
    *,
    stage: str,
    run_dir: str,
    num_steps: int,
    checkpoint: CheckpointConfig,
    place: Callable[[Batch], Batch],
) -> TrainState:
    """Train from the newest checkpoint in `run_dir`, or from `state`, to `num_steps`.

    `place` puts a batch of the pipeline on the devices. The last state is always saved. Raises
    StoppedError or KeyboardInterrupt after saving when told to stop, CheckpointError when a save
    fails, MdxError when the loss stays non-finite.
    """
    with Checkpointer(run_dir, keep=checkpoint.keep) as checkpointer, StopSignals() as signals:
        state, skips = _resume(checkpointer, state, batches)
        done = int(state.step)
        with (
            of_the_first(lambda: MetricsWriter(run_dir, done)) as writer,
            of_the_first(lambda: ProgressDisplay(stage, done=done, num_steps=num_steps)) as display,
        ):
            recorder = _Recorder(writer, display, skips)
            for step in range(done + 1, num_steps + 1):
                state, metrics = train_step(state, place(next(batches)))
                recorder.push(step, metrics)
                stopping = signals.agree()
                if stopping or step == num_steps or checkpoint.is_due(step):
                    recorder.flush()
                    extra = {"batches": batches.get_state(), "skips": recorder.skips}
                    checkpointer.save(step, state, extra)
                if stopping:
                    checkpointer.wait()
                    signals.stop(step)
    return state


def _resume(
    checkpointer: Checkpointer, state: TrainState, batches: Batches
) -> tuple[TrainState, dict[str, int]]:
    restored = checkpointer.restore_latest(state)
    if restored is None:
        return state, {"total": 0, "in_a_row": 0}
    state, extra = restored
    batches.set_state(extra["batches"])
    return state, extra["skips"]


class _Recorder:
    """Holds the newest step's metrics back until the next step is on its way."""

    def __init__(
        self,
        writer: MetricsWriter | Silent,
        display: ProgressDisplay | Silent,
        skips: dict[str, int],
    ) -> None:
        self._writer, self._display = writer, display
        self.skips = dict(skips)
        self._pending: tuple[int, Metrics] | None = None
        self._previous_end = time.perf_counter()

    def push(self, step: int, metrics: Metrics) -> None:
        """Record the step before this one, which has ended or is about to."""
        self._record()
        self._pending = (step, metrics)

    def flush(self) -> None:
        """Record everything, on the disk: a checkpoint comes next."""
        self._record()
        self._writer.sync()

    def _record(self) -> None:
        if self._pending is None:
            return
        (step, on_device), self._pending = self._pending, None
        metrics = {name: float(value) for name, value in jax.device_get(on_device).items()}
        now = time.perf_counter()
        elapsed, self._previous_end = now - self._previous_end, now
        line = self._line(metrics, elapsed)
        self._writer.write(step, line)
        self._display.update(step, line)
        if self.skips["in_a_row"] >= MAX_SKIPPED_IN_A_ROW:
            raise MdxError(
                f"the loss or its gradient was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a "
                f"row, up to step {step}: lower optim.peak_lr or raise optim.warmup_steps, and "
                "start in a new run_dir"
            )

    def _line(self, metrics: dict[str, float], elapsed: float) -> dict[str, float]:
        skipped = int(metrics.pop("skipped"))
        self.skips["total"] += skipped
        self.skips["in_a_row"] = (self.skips["in_a_row"] + 1) * skipped
        tokens, cells = metrics["tokens"], metrics.pop("cells")
        return {
            **metrics,
            "padding_share": 1.0 - tokens / cells,
            "num_skipped": self.skips["total"],
            "step_s": elapsed,
            "tokens_per_s": tokens / elapsed,
        }
