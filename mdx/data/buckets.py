"""Prompts by length: each goes to the shortest bucket that holds it, so little is padding.

A bucket is one static shape, compiled once; a few of them (128, 192, 384) keep short prompts from
being filled up to the length of the longest.
"""

from collections.abc import Sequence


def by_length(lengths: Sequence[int], buckets: Sequence[int]) -> dict[int, list[int]]:
    """Return the indices of `lengths` by bucket, shortest bucket first, in their order.

    A length beyond the last bucket goes to the last: whoever has a limit checks it before.

    >>> by_length([5, 60, 9, 200], [16, 64])
    {16: [0, 2], 64: [1, 3]}
    """
    edges = sorted(buckets)
    members: dict[int, list[int]] = {edge: [] for edge in edges}
    for index, length in enumerate(lengths):
        members[next((edge for edge in edges if length <= edge), edges[-1])].append(index)
    return {edge: indices for edge, indices in members.items() if indices}


def padding_share(lengths: Sequence[int], buckets: Sequence[int]) -> float:
    """Return the share of the buckets' cells that no prompt fills."""
    cells = sum(edge * len(indices) for edge, indices in by_length(lengths, buckets).items())
    return 1.0 - sum(lengths) / cells
