"""Put documents of many lengths into rows of one length, with little padding and no cuts.

Best fit decreasing: the longest document first, each into the fullest row that still has room.
Within 22 % of the fewest rows at worst (Johnson 1973), within a few per cent on real lengths.
Documents are never cut here; whoever has longer ones than a row cuts or drops them before.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdx.data.batch import Batch


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedDocument:
    """Token ids with a mark on each that is a training target. Both arrays have the shape [T]."""

    tokens: np.ndarray  # int32
    targets: np.ndarray  # bool


def best_fit(lengths: Sequence[int], seq_len: int) -> list[list[int]]:
    """Return rows as lists of indices into `lengths`, each row adding up to at most `seq_len`.

    Deterministic: equal lengths keep their order. Every length must be in 1..seq_len.
    """
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (room left, row), sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        assert 0 < length <= seq_len, f"document {index} has {length} tokens, a row {seq_len}"
        place = bisect.bisect_left(open_rows, (length, -1))
        if place == len(open_rows):
            room, row = seq_len, len(rows)
            rows.append([])
        else:
            room, row = open_rows.pop(place)
        rows[row].append(index)
        if room > length:
            bisect.insort(open_rows, (room - length, row))
    return rows


def fill_batch(rows: Sequence[Sequence[TokenizedDocument]], seq_len: int) -> Batch:
    """Return the NumPy `Batch` of shape [len(rows), seq_len] that holds `rows`.

    The first token of a document is no target, whatever its mark: nothing precedes it.
    """
    shape = (len(rows), seq_len)
    tokens, segment_ids, positions = (np.zeros(shape, np.int32) for _ in range(3))
    loss_mask = np.zeros(shape, np.float32)
    for b, row in enumerate(rows):
        start = 0
        for segment, document in enumerate(row, start=1):
            end = start + len(document.tokens)
            tokens[b, start:end] = document.tokens
            loss_mask[b, start + 1 : end] = document.targets[1:]
            segment_ids[b, start:end] = segment
            positions[b, start:end] = np.arange(end - start)
            start = end
    return Batch(tokens=tokens, loss_mask=loss_mask, segment_ids=segment_ids, positions=positions)
