"""How trajectories become the rows of an update: packed, masked, of one static shape.

Several trajectories share a row: prompt (loss mask 0), then completion (loss mask 1, with its
advantage and the sampler's log-probabilities). Where attention allows it, those of one prompt form
one segment, the prompt once and each completion a branch of it: of a group's prompts, all but one a
row cost nothing. Elsewhere each is a segment of its own. The number of rows is what the worst case
needs, so the shape never changes and nothing is compiled twice; rows are filled microbatch by
microbatch, and empty microbatches are not computed (`trainers.step`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    share_prompts: bool = False  # a prompt stands once before all its completions in a row


def row_shape(
    *,
    num_segments: int,
    max_segment: int,
    seq_len: int,
    microbatch_rows: int,
    num_parts: int = 1,
    share_prompts: bool = False,
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
        share_prompts=share_prompts,
    )


def pack(segments: Sequence[Segment], shape: RowShape, *, pad_id: int) -> tuple[GrpoBatch, float]:
    """Pack `segments` into rows; return the batch and the share of computed cells that is real.

    First fit, longest first: a row is at least as full as in the worst case that `row_shape`
    allows for. `reference_logprobs` are left at 0.
    """
    rows = _assign(segments, shape)
    assert len(rows) <= shape.num_rows, f"{len(rows)} rows do not fit into {shape.num_rows}"
    size = (shape.num_rows, shape.seq_len)
    ints: dict[str, Any] = {
        "tokens": np.full(size, pad_id, np.int32),
        "segment_ids": np.zeros(size, np.int32),
        "positions": np.zeros(size, np.int32),
        "branches": np.zeros(size, np.int32) if shape.share_prompts else None,
    }
    floats: dict[str, Any] = {name: np.zeros(size, np.float32) for name in _FLOATS}
    for index, row in enumerate(rows):
        start, place = 0, _row_of(index, shape)
        for number, bundle in enumerate(row.bundles, start=1):
            prompt = bundle[0].prompt
            cells = (place, slice(start, start + len(prompt)))
            ints["tokens"][cells] = prompt
            ints["segment_ids"][cells] = number
            ints["positions"][cells] = np.arange(len(prompt))
            for first, end in (segment.error_span for segment in bundle):
                floats["error_mask"][place, start + first : start + end] = 1.0
            start += len(prompt)
            for branch, segment in enumerate(bundle, start=1):
                length = len(segment.completion)
                cells = (place, slice(start, start + length))
                ints["tokens"][cells] = segment.completion
                ints["segment_ids"][cells] = number
                ints["positions"][cells] = len(prompt) + np.arange(length)
                if shape.share_prompts:
                    ints["branches"][cells] = branch
                if segment.replay_weight:
                    floats["replay_weights"][cells] = segment.replay_weight
                else:
                    floats["loss_mask"][cells] = segment.count
                    floats["advantages"][cells] = segment.advantage
                    floats["old_logprobs"][cells] = segment.old_logprobs
                start += length
    return GrpoBatch(**ints, **floats), _fill(rows, shape)


@dataclass
class _Row:
    """What a row holds: bundles, each of segments that stand behind one prompt."""

    room: int
    bundles: list[list[Segment]] = field(default_factory=list)

    def add(self, bundle: list[Segment]) -> None:
        """Put a prompt with completions behind it at the end."""
        self.bundles.append(bundle)
        self.room -= _length(bundle)


def _assign(segments: Sequence[Segment], shape: RowShape) -> list[_Row]:
    """Give every segment a row, and open a new one only where it fits into none.

    Groups that share a prompt go first into a row that holds all of them.
    """
    groups: dict[Any, list[Segment]] = {}
    for number, segment in enumerate(segments):
        name = tuple(segment.prompt) if shape.share_prompts else number
        groups.setdefault(name, []).append(segment)
    rows: list[_Row] = []
    # Sorting is stable: those of equal length keep their order.
    for group in sorted(groups.values(), key=_length, reverse=True):
        whole = next((row for row in rows if row.room >= _length(group)), None)
        if whole:
            whole.add(group)
            continue
        last: _Row | None = None  # that holds some of the group
        for segment in sorted(group, key=len, reverse=True):
            if last and last.room >= len(segment.completion):
                last.bundles[-1].append(segment)
                last.room -= len(segment.completion)
                continue
            last = next((row for row in rows if row.room >= len(segment)), None)
            if last is None:
                last = _Row(shape.seq_len)
                rows.append(last)
            last.add([segment])
    return rows


def _length(bundle: Sequence[Segment]) -> int:
    """Return the tokens of a prompt and all completions behind it."""
    return len(bundle[0].prompt) + sum(len(segment.completion) for segment in bundle)


def _row_of(index: int, shape: RowShape) -> int:
    """Return where the `index`-th filled row goes: microbatch m takes rows m, m + n, m + 2n, ...

    (`trainers.step` cuts a batch so that each device keeps its own rows.)
    """
    microbatch_rows = shape.num_rows // shape.num_microbatches
    microbatch, place = divmod(index, microbatch_rows)
    return place * shape.num_microbatches + microbatch


def _fill(rows: list[_Row], shape: RowShape) -> float:
    if not rows:
        return 0.0
    microbatch_rows = shape.num_rows // shape.num_microbatches
    computed = -(-len(rows) // microbatch_rows) * microbatch_rows * shape.seq_len
    return sum(shape.seq_len - row.room for row in rows) / computed
