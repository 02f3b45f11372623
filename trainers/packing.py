"""How trajectories become the rows of an update: packed, masked, of one static shape.

Several trajectories share a row, each a segment of its own: prompt (loss mask 0), then completion
(loss mask 1, with its advantage and the sampler's log-probabilities). The number of rows is what
the worst case needs, so the shape never changes and nothing is compiled twice; rows are filled
microbatch by microbatch, and empty microbatches are not computed (`trainers.step`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdx.errors import ConfigError
from trainers.policy_loss import GrpoBatch

_FLOATS = (
    "loss_mask",
    "advantages",
    "old_logprobs",
    "reference_logprobs",
    "replay_weights",
    "error_mask",
)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One prompt with what followed it, and what each token of that counts for.

    `advantage` applies to a sampled completion, `count` says how often it was sampled;
    `replay_weight` applies to a replayed success; `error_span` is where in the prompt the error
    line stands, if it is to be predicted.
    """

    prompt: Sequence[int]
    completion: Sequence[int]
    old_logprobs: Sequence[float] = ()
    advantage: float = 0.0
    count: int = 1
    replay_weight: float = 0.0
    error_span: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, kw_only=True)
class RowShape:
    """The static shape of the rows of one update."""

    seq_len: int
    num_rows: int
    num_microbatches: int


def row_shape(
    *, num_segments: int, max_segment: int, seq_len: int, microbatch_rows: int, num_parts: int = 1
) -> RowShape:
    """Return the shape that holds any `num_segments` segments of at most `max_segment` tokens.

    A microbatch has `microbatch_rows`, or more so that `num_parts` devices share them evenly.
    Raises ConfigError if one segment alone does not fit into a row.
    """
    if max_segment > seq_len:
        raise ConfigError(
            f"seq_len must hold a prompt with its completion, {max_segment} tokens, but is "
            f"{seq_len}: raise seq_len or lower max_prompt_tokens or max_new_tokens"
        )
    microbatch_rows = -(-microbatch_rows // num_parts) * num_parts
    rows = -(-num_segments // (seq_len // max_segment))
    num_microbatches = -(-rows // microbatch_rows)
    return RowShape(
        seq_len=seq_len,
        num_rows=num_microbatches * microbatch_rows,
        num_microbatches=num_microbatches,
    )


def pack(segments: Sequence[Segment], shape: RowShape, *, pad_id: int) -> tuple[GrpoBatch, float]:
    """Pack `segments` into rows; return the batch and the share of computed cells that is real.

    First fit, longest first: a row is at least as full as in the worst case that `row_shape`
    allows for. `reference_logprobs` are left at 0.
    """
    rows = _assign(segments, shape.seq_len)
    assert len(rows) <= shape.num_rows, f"{len(rows)} rows do not fit into {shape.num_rows}"
    size = (shape.num_rows, shape.seq_len)
    ints: dict[str, Any] = {
        "tokens": np.full(size, pad_id, np.int32),
        "segment_ids": np.zeros(size, np.int32),
        "positions": np.zeros(size, np.int32),
    }
    floats: dict[str, Any] = {name: np.zeros(size, np.float32) for name in _FLOATS}
    for index, row in enumerate(rows):
        start = 0
        for number, segment in enumerate(row, start=1):
            place = (_row_of(index, shape), slice(start, start + len(segment)))
            ints["tokens"][place] = [*segment.prompt, *segment.completion]
            ints["segment_ids"][place] = number
            ints["positions"][place] = np.arange(len(segment))
            written = (place[0], slice(start + len(segment.prompt), start + len(segment)))
            if segment.replay_weight:
                floats["replay_weights"][written] = segment.replay_weight
            else:
                floats["loss_mask"][written] = segment.count
                floats["advantages"][written] = segment.advantage
                floats["old_logprobs"][written] = segment.old_logprobs
            first, end = segment.error_span
            floats["error_mask"][place[0], start + first : start + end] = 1.0
            start += len(segment)
    return GrpoBatch(**ints, **floats), _fill(rows, shape)


def _assign(segments: Sequence[Segment], seq_len: int) -> list[list[Segment]]:
    rows: list[list[Segment]] = []
    room: list[int] = []
    for segment in sorted(segments, key=len, reverse=True):  # stable: equal lengths keep order
        row = next((i for i, free in enumerate(room) if free >= len(segment)), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(seq_len)
        rows[row].append(segment)
        room[row] -= len(segment)
    return rows


def _row_of(index: int, shape: RowShape) -> int:
    """Return where the `index`-th filled row goes: microbatch m takes rows m, m + n, m + 2n, ...

    (`trainers.step` cuts a batch so that each device keeps its own rows.)
    """
    microbatch_rows = shape.num_rows // shape.num_microbatches
    microbatch, place = divmod(index, microbatch_rows)
    return place * shape.num_microbatches + microbatch


def _fill(rows: list[list[Segment]], shape: RowShape) -> float:
    if not rows:
        return 0.0
    microbatch_rows = shape.num_rows // shape.num_microbatches
    computed = -(-len(rows) // microbatch_rows) * microbatch_rows * shape.seq_len
    return sum(len(segment) for row in rows for segment in row) / computed
