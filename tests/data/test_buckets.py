"""Buckets: every prompt in the shortest that holds it, and what that saves."""

import pytest

from mdx.data.buckets import by_length, padding_share


def test_every_prompt_goes_to_the_shortest_bucket_that_holds_it():
    lengths = [5, 64, 65, 16, 200, 17]
    members = by_length(lengths, [64, 16, 128])
    assert members == {16: [0, 3], 64: [1, 5], 128: [2, 4]}
    assert list(members) == [16, 64, 128]


def test_more_buckets_leave_less_padding():
    lengths = [10, 12, 60, 100]
    assert padding_share(lengths, [128]) == pytest.approx(1 - 182 / 512)
    assert padding_share(lengths, [16, 64, 128]) == pytest.approx(1 - 182 / 224)
