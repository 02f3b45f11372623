"""Packing: nothing lost, nothing cut, little padding; and the layout of a batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdx.data.packing import TokenizedDocument, best_fit, fill_batch

SEQ_LEN = 16
lengths_lists = st.lists(st.integers(1, SEQ_LEN), max_size=60)


def document(length, start=1):
    tokens = np.arange(start, start + length, dtype=np.int32)
    return TokenizedDocument(tokens=tokens, targets=tokens % 3 != 0)


@settings(deadline=None)
@given(lengths_lists)
def test_every_document_is_in_exactly_one_row_and_no_row_overflows(lengths):
    rows = best_fit(lengths, SEQ_LEN)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in row) <= SEQ_LEN for row in rows)


@settings(deadline=None)
@given(lengths_lists)
def test_no_two_rows_could_be_one(lengths):
    filled = sorted(sum(lengths[i] for i in row) for row in best_fit(lengths, SEQ_LEN))
    assert len(filled) < 2 or filled[0] + filled[1] > SEQ_LEN


def test_a_document_goes_into_the_fullest_row_that_has_room():
    assert best_fit([4, 9, 6, 12], SEQ_LEN) == [[3, 0], [1, 2]]


def test_the_layout_of_a_batch_is_exactly_the_documented_one():
    batch = fill_batch([[document(3), document(2, start=7)], []], 6)
    np.testing.assert_array_equal(batch.tokens, [[1, 2, 3, 7, 8, 0], [0] * 6])
    np.testing.assert_array_equal(batch.segment_ids, [[1, 1, 1, 2, 2, 0], [0] * 6])
    np.testing.assert_array_equal(batch.positions, [[0, 1, 2, 0, 1, 0], [0] * 6])
    # 3 is no target by its mark, 1 and 7 since they are first
    np.testing.assert_array_equal(batch.loss_mask, [[0, 1, 0, 0, 1, 0], [0] * 6])


def test_batches_have_the_documented_types():
    batch = fill_batch([[document(3)]], 4)
    types = [array.dtype for array in (batch.tokens, batch.segment_ids, batch.positions)]
    assert types == [np.int32] * 3
    assert batch.loss_mask.dtype == np.float32


@pytest.mark.parametrize("seq_len", [512, 2048])
def test_at_most_three_per_cent_of_the_rows_is_padding(seq_len):
    """The lengths are spread as those of the tasks are: log-normal around 200 tokens."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(200), 0.5, 128 * seq_len // 200), 8, seq_len).astype(int)
    rows = best_fit(lengths.tolist(), seq_len)
    assert 1 - lengths.sum() / (len(rows) * seq_len) <= 0.03
