"""Packing: nothing is lost, nothing is padded in vain, and the shape never changes."""

from dataclasses import replace

import numpy as np
import pytest

from mdx.errors import ConfigError
from trainers.packing import Segment, pack, row_shape
from trainers.policy_loss import policy_gradient_sum

PAD = 99


def random_segments(count, rng, max_prompt=12, max_completion=20):
    segments = []
    for number in range(count):
        prompt = rng.integers(1, 90, rng.integers(1, max_prompt + 1)).tolist()
        completion = rng.integers(1, 90, rng.integers(1, max_completion + 1)).tolist()
        replayed = number % 5 == 4
        segments.append(
            Segment(
                prompt=prompt,
                completion=completion,
                old_logprobs=[] if replayed else rng.normal(size=len(completion)).tolist(),
                advantage=0.0 if replayed else float(number + 1),
                replay_weight=0.25 if replayed else 0.0,
            )
        )
    return segments


def unpack(batch):
    """Return the segments that `batch` holds, read back cell by cell."""
    found = []
    for row in range(batch.tokens.shape[0]):
        for number in range(1, batch.segment_ids[row].max() + 1):
            cells = np.flatnonzero(batch.segment_ids[row] == number)
            assert (np.diff(cells) == 1).all()
            assert (batch.positions[row, cells] == np.arange(len(cells))).all()
            written = (batch.loss_mask[row, cells] > 0) | (batch.replay_weights[row, cells] > 0)
            prompt_length = int(np.argmax(written))
            assert written[prompt_length:].all()
            tokens = batch.tokens[row, cells].tolist()
            found.append(
                (
                    tokens[:prompt_length],
                    tokens[prompt_length:],
                    batch.old_logprobs[row, cells][prompt_length:].tolist(),
                    float(batch.advantages[row, cells][-1]),
                    float(batch.replay_weights[row, cells][-1]),
                )
            )
    return found


def as_tuple(segment):
    logprobs = segment.old_logprobs or [0.0] * len(segment.completion)
    return (
        list(segment.prompt),
        list(segment.completion),
        np.float32(logprobs).tolist(),
        segment.advantage,
        segment.replay_weight,
    )


def test_every_segment_comes_back_once_with_all_it_carries():
    segments = random_segments(23, np.random.default_rng(0))
    shape = row_shape(num_segments=23, max_segment=32, seq_len=64, microbatch_rows=4)
    batch, _ = pack(segments, shape, pad_id=PAD)
    assert sorted(unpack(batch)) == sorted(map(as_tuple, segments))
    padding = batch.segment_ids == 0
    assert (batch.tokens[padding] == PAD).all()
    assert not batch.loss_mask[padding].any()
    assert not batch.replay_weights[padding].any()


def test_the_shape_depends_on_limits_only_and_holds_the_worst_case():
    shape = row_shape(num_segments=10, max_segment=32, seq_len=70, microbatch_rows=2)
    assert (shape.num_rows, shape.num_microbatches) == (6, 3)
    shared = row_shape(num_segments=10, max_segment=32, seq_len=70, microbatch_rows=2, num_parts=4)
    assert (shared.num_rows, shared.num_microbatches) == (8, 2)
    worst = [Segment(prompt=[1], completion=[2] * 31, old_logprobs=[0.0] * 31)] * 10
    few, _ = pack(worst[:1], shape, pad_id=PAD)
    many, _ = pack(worst, shape, pad_id=PAD)
    assert few.tokens.shape == many.tokens.shape == (6, 70)
    assert (many.segment_ids > 0).sum() == 320


def test_filled_rows_share_microbatches_so_that_the_others_stay_empty():
    shape = row_shape(num_segments=16, max_segment=8, seq_len=8, microbatch_rows=4)
    segments = [Segment(prompt=[1], completion=[2] * 7, old_logprobs=[0.0] * 7)] * 6
    batch, fill = pack(segments, shape, pad_id=PAD)
    # The training step gives microbatch m the rows m, m + n, m + 2n, ...
    by_microbatch = batch.segment_ids.reshape(4, shape.num_microbatches, 8).swapaxes(0, 1)
    assert [int((part > 0).any(axis=1).sum()) for part in by_microbatch] == [4, 2, 0, 0]
    assert fill == pytest.approx(6 / 8), "two rows of the second microbatch are waste"


def test_short_segments_fill_rows_well():
    segments = random_segments(200, np.random.default_rng(1))
    shape = row_shape(num_segments=200, max_segment=32, seq_len=128, microbatch_rows=2)
    _, fill = pack(segments, shape, pad_id=PAD)
    assert fill > 0.9


def test_error_line_is_marked_inside_its_prompt_only():
    segments = [
        Segment(prompt=[1, 2, 3], completion=[4], old_logprobs=[0.0]),
        Segment(prompt=[5, 6, 7, 8], completion=[9], old_logprobs=[0.0], error_span=(1, 3)),
    ]
    shape = row_shape(num_segments=2, max_segment=5, seq_len=10, microbatch_rows=1)
    batch, _ = pack(segments, shape, pad_id=PAD)
    assert batch.tokens[batch.error_mask > 0].tolist() == [6, 7]


def random_groups(count, rng):
    """Return groups of 1 .. 6 segments of one prompt, all advantages different."""
    segments = random_segments(6 * count, rng)
    groups = [segments[6 * i : 6 * i + int(rng.integers(1, 7))] for i in range(count)]
    return [
        replace(s, prompt=[*group[0].prompt, i]) for i, group in enumerate(groups) for s in group
    ]


def unpack_shared(batch):
    """Return the segments of a batch whose prompts are shared."""
    found = []
    for row in range(batch.tokens.shape[0]):
        for number in range(1, batch.segment_ids[row].max() + 1):
            cells = np.flatnonzero(batch.segment_ids[row] == number)
            assert (np.diff(cells) == 1).all()
            branches = batch.branches[row, cells]
            prompt = cells[branches == 0]
            assert branches[0] == 0
            assert (np.diff(branches) >= 0).all()
            assert (batch.positions[row, prompt] == np.arange(len(prompt))).all()
            for branch in range(1, branches.max() + 1):
                own = cells[branches == branch]
                positions = batch.positions[row, own]
                assert (positions == len(prompt) + np.arange(len(own))).all()
                found.append(
                    (
                        batch.tokens[row, prompt].tolist(),
                        batch.tokens[row, own].tolist(),
                        batch.old_logprobs[row, own].tolist(),
                        float(batch.advantages[row, own][-1]),
                        float(batch.replay_weights[row, own][-1]),
                    )
                )
    return found


@pytest.mark.parametrize("seed", range(5))
def test_shared_prompts_lose_nothing_and_save_tokens(seed):
    segments = random_groups(20, np.random.default_rng(seed))
    sizes = {"num_segments": 120, "max_segment": 33, "seq_len": 80, "microbatch_rows": 2}
    shape = row_shape(**sizes, share_prompts=True)
    batch, fill = pack(segments, shape, pad_id=PAD)
    assert sorted(unpack_shared(batch)) == sorted(map(as_tuple, segments))
    repeated, _ = pack(segments, row_shape(**sizes), pad_id=PAD)
    assert repeated.branches is None
    assert (batch.segment_ids > 0).sum() < 0.9 * (repeated.segment_ids > 0).sum()
    assert fill == pytest.approx((batch.segment_ids > 0).sum() / _computed(batch, shape))


def _computed(batch, shape):
    by_microbatch = batch.segment_ids.reshape(-1, shape.num_microbatches, shape.seq_len)
    return (by_microbatch > 0).any(axis=(0, 2)).sum() * by_microbatch[:, 0].size


@pytest.mark.parametrize("seed", range(20))
def test_shared_prompts_never_need_more_rows_than_the_worst_case(seed):
    rng = np.random.default_rng(seed)
    segments = random_groups(int(rng.integers(1, 12)), rng)
    longest = max(map(len, segments))
    seq_len = int(rng.integers(longest, 4 * longest))
    shape = row_shape(
        num_segments=len(segments),
        max_segment=longest,
        seq_len=seq_len,
        microbatch_rows=1,
        share_prompts=True,
    )
    batch, _ = pack(segments, shape, pad_id=PAD)
    assert len(unpack_shared(batch)) == len(segments)


def test_a_group_too_long_for_a_row_repeats_its_prompt_once_a_row():
    segments = [
        Segment(prompt=[1] * 4, completion=[2] * 6, old_logprobs=[0.0] * 6, error_span=span)
        for span in ((1, 3), (0, 0), (0, 0))
    ]
    shape = row_shape(
        num_segments=3, max_segment=10, seq_len=16, microbatch_rows=1, share_prompts=True
    )
    batch, _ = pack(segments, shape, pad_id=PAD)
    assert (batch.segment_ids > 0).sum(axis=1).tolist() == [16, 10, 0]
    assert batch.error_mask.sum() == 2, "the error line counts once"


def test_nothing_to_train_on_gives_an_empty_batch_of_the_same_shape():
    shape = row_shape(num_segments=4, max_segment=8, seq_len=16, microbatch_rows=1)
    batch, fill = pack([], shape, pad_id=PAD)
    assert batch.tokens.shape == (2, 16)
    assert not batch.segment_ids.any()
    assert fill == 0.0


def test_a_row_too_short_for_one_segment_is_refused():
    with pytest.raises(ConfigError, match="seq_len must hold"):
        row_shape(num_segments=4, max_segment=65, seq_len=64, microbatch_rows=1)


def test_a_segment_counts_as_often_as_it_was_sampled():
    segment = {"prompt": [1, 2], "completion": [3, 4, 5], "old_logprobs": [-1.0, -2.0, -0.5]}
    shape = row_shape(num_segments=3, max_segment=5, seq_len=16, microbatch_rows=1)

    def loss_and_tokens(segments):
        batch, _ = pack(segments, shape, pad_id=PAD)
        logprobs_BT = np.where(batch.tokens == 4, -2.2, -0.7).astype(np.float32)
        total, metrics = policy_gradient_sum(
            logprobs_BT,
            batch.old_logprobs,
            batch.advantages,
            batch.loss_mask,
            clip_low=0.2,
            clip_high=0.28,
        )
        return [float(total), float(batch.loss_mask.sum())] + [
            float(value) for value in metrics.values()
        ]

    thrice = loss_and_tokens([Segment(**segment, advantage=0.4)] * 3)
    counted = loss_and_tokens([Segment(**segment, advantage=0.4, count=3)])
    np.testing.assert_allclose(counted, thrice, rtol=1e-6)
