"""The pipelines: what is a target, resuming bit for bit, slices for processes, mixtures."""

import json
import shutil
from collections import Counter
from functools import partial
from itertools import islice

import jax
import numpy as np
import pytest

from mdx.chat import script_reply
from mdx.data.datasets import read_records, write_dataset
from mdx.data.pipeline import (
    Source,
    cpt_batches,
    mixed_batches,
    prefetched,
    sft_batches,
)
from mdx.errors import CheckpointError, UsageError
from mdx.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_dir):
    return Tokenizer.load(tokenizer_dir)


@pytest.fixture(scope="module", params=[cpt_batches, sft_batches])
def batches(request, data_dir, tokenizer_dir):
    """Either pipeline over the train split with 4 rows of 128."""
    defaults = {"split": "train", "batch_size": 4, "seq_len": 128, "seed": 3}
    return lambda **changes: request.param(data_dir, tokenizer_dir, **{**defaults, **changes})


@pytest.fixture(scope="module")
def sft(data_dir, tokenizer_dir):
    return partial(sft_batches, data_dir, tokenizer_dir, batch_size=4, seq_len=256, seed=3)


@pytest.fixture(scope="module")
def cpt(data_dir, tokenizer_dir):
    return partial(cpt_batches, data_dir, tokenizer_dir, batch_size=4, seq_len=64, seed=3)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def segments(batch):
    """Yield (tokens, loss_mask) of each segment of a batch."""
    for b in range(len(batch.tokens)):
        for segment in range(1, batch.segment_ids[b].max() + 1):
            inside = batch.segment_ids[b] == segment
            yield batch.tokens[b][inside], batch.loss_mask[b][inside]


def test_batches_after_a_resume_are_bit_identical(batches):
    straight = batches(batch_size=32)
    expected, states = [], []
    for _ in range(40):
        states.append(json.dumps(straight.get_state()))
        expected.append(next(straight))
    assert straight.get_state()["window"] >= 1  # windows were crossed
    for taken in (0, 1, 35):
        resumed = batches(batch_size=32)
        resumed.set_state(json.loads(states[taken]))
        for batch, other in zip(expected[taken:], resumed, strict=False):
            assert_equal(batch, other)


def test_slices_of_the_processes_add_up_to_the_global_batch(batches):
    parts = [batches(local_rows=rows) for rows in ([0, 1], [2, 3])]
    for whole, first, second in islice(zip(batches(), *parts, strict=False), 20):
        assert first.tokens.shape == (2, 128)
        assert_equal(whole, jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second))


def test_another_seed_gives_another_order(batches):
    assert not np.array_equal(next(batches()).tokens, next(batches(seed=4)).tokens)


def test_state_of_other_data_is_refused(batches):
    state = batches().get_state()
    with pytest.raises(CheckpointError, match="other data"):
        batches(seed=4).set_state(state)
    with pytest.raises(CheckpointError, match="other data"):
        batches(seq_len=96).set_state(state)


def test_targets_of_sft_are_the_answers_and_nothing_else(sft, data_dir, examples, tokenizer):
    answers = {script_reply(item.script) for item in examples["validation"]}
    answers |= {
        record["answer"] for record in read_records(data_dir, "md_instruct_qa", "validation")
    }
    found = Counter()
    for batch in sft(split="validation", qa_share=0.5):
        for tokens, mask in segments(batch):
            text = tokenizer.decode(tokens[mask == 1], skip_special_tokens=False)
            assert text.endswith("<|im_end|>")
            found[text.removesuffix("<|im_end|>")] += 1
            prompt = tokenizer.decode(tokens[mask == 0], skip_special_tokens=False)
            assert prompt.startswith("<|im_start|>user\n")
            assert prompt.endswith("<|im_start|>assistant\n")
    assert found == Counter(answers)  # each once, in one pass


def test_the_targets_of_cpt_are_every_token_but_the_first_of_a_text_once(cpt, data_dir, tokenizer):
    expected = Counter()
    for record in read_records(data_dir, "md_knowledge", "test"):
        expected += Counter([*tokenizer.encode(record["text"]), tokenizer.pad_id][1:])
    found = Counter()
    for batch in cpt(split="test"):
        found += Counter(batch.tokens[batch.loss_mask == 1].tolist())
    assert found == expected


def test_a_text_that_fits_into_a_row_is_whole(cpt, data_dir, tokenizer):
    texts = {
        record["text"] + "<|endoftext|>"
        for record in read_records(data_dir, "md_knowledge", "test")
    }
    found = {
        tokenizer.decode(tokens, skip_special_tokens=False)
        for batch in cpt(split="test", seq_len=1024)
        for tokens, _ in segments(batch)
    }
    assert found == texts


def test_training_takes_each_document_once_an_epoch(sft):
    batches = sft(split="train", qa_share=0.0, batch_size=1)
    seen = Counter()
    while batches.get_state()["window"] == 0:  # 1024 documents: 4 epochs of 256
        for tokens, _ in segments(next(batches)):
            seen[tuple(tokens)] += 1
    assert len(seen) == 256
    assert set(seen.values()) == {4}


def test_the_share_of_questions_is_the_one_asked_for(sft, tokenizer):
    texts = [
        tokenizer.decode(tokens)
        for batch in islice(sft(split="train", qa_share=0.25), 60)
        for tokens, _ in segments(batch)
    ]
    share = sum("What does fix" in text for text in texts) / len(texts)
    assert abs(share - 0.25) < 0.02


def test_conversations_longer_than_a_row_are_left_out_and_counted(sft):
    lengths = [len(tokens) for batch in sft(split="validation") for tokens, _ in segments(batch)]
    limit = sorted(lengths)[len(lengths) // 2]
    shorter = sft(split="validation", seq_len=limit)
    kept = [len(tokens) for batch in shorter for tokens, _ in segments(batch)]
    assert sorted(kept) == [length for length in sorted(lengths) if length <= limit]
    assert shorter.stats.num_dropped == len(lengths) - len(kept) > 0
    with pytest.raises(UsageError, match="seq_len 8"):
        sft(split="validation", seq_len=8)


def test_stats_count_what_the_batches_hold(sft):
    batches = sft(split="validation")
    stats = batches.stats
    every = list(batches)
    assert stats.num_documents == 20
    assert stats.num_targets == sum(int(batch.loss_mask.sum()) for batch in every)
    assert stats.num_tokens == sum(int((batch.segment_ids > 0).sum()) for batch in every)
    rows = sum(int((batch.segment_ids.max(axis=1) > 0).sum()) for batch in every)
    assert stats.padding_share == pytest.approx(1 - stats.num_tokens / (rows * 256))


def test_batches_made_ahead_in_a_thread_are_the_same_and_resume_in_the_middle_of_a_window(batches):
    plain = batches()
    expected = [next(plain) for _ in range(12)]
    ahead = prefetched(batches(), depth=3)
    for batch in expected[:5]:
        assert_equal(batch, next(ahead))
    state = json.loads(json.dumps(ahead.get_state()))
    assert state["row"] > 0
    ahead.close()
    resumed = prefetched(batches(), depth=3)
    resumed.set_state(state)
    for batch in expected[5:]:
        assert_equal(batch, next(resumed))
    resumed.close()


def test_a_split_is_tokenized_once_and_again_when_data_or_tokenizer_change(
    data_dir, tokenizer_dir, tmp_path
):
    shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("token_cache"))
    data_dir, cache = str(tmp_path / "data"), tmp_path / "data" / "token_cache"
    arguments = {"split": "test", "batch_size": 2, "seq_len": 64, "seed": 0}
    first = next(cpt_batches(data_dir, tokenizer_dir, **arguments))
    (store,) = cache.iterdir()
    written = (store / "tokens.u32").stat().st_mtime_ns
    assert_equal(first, next(cpt_batches(data_dir, tokenizer_dir, **arguments)))
    assert (store / "tokens.u32").stat().st_mtime_ns == written
    write_dataset("md_knowledge", data_dir, {"test": [{"text": "Other."}]})
    other = next(cpt_batches(data_dir, tokenizer_dir, **arguments))
    assert not np.array_equal(first.tokens, other.tokens)
    assert len(list(cache.iterdir())) == 2


def test_data_sets_of_several_folders_are_mixed_by_weight(data_dir, tokenizer_dir, tokenizer):
    sources = [
        Source(data_dir=data_dir, name="md_knowledge", weight=3.0),
        Source(data_dir=data_dir, name="md_instruct_qa", weight=1.0),
    ]
    batches = mixed_batches(
        sources, tokenizer_dir, split="train", batch_size=4, seq_len=512, seed=3
    )
    texts = [tokenizer.decode(t) for batch in islice(batches, 60) for t, _ in segments(batch)]
    share = sum("What does fix" in text for text in texts) / len(texts)
    assert abs(share - 0.25) < 0.03
    with pytest.raises(UsageError, match="weight above 0"):
        mixed_batches([], tokenizer_dir, split="train", batch_size=4, seq_len=64, seed=3)


def test_the_end_of_a_turn_is_learnt_where_it_also_pads(data_dir, tokenizer_dir, tmp_path):
    shutil.copytree(tokenizer_dir, tmp_path / "same")
    file = tmp_path / "same" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({key: config[key] for key in config if key != "pad_token"}))
    tokenizer = Tokenizer.load(str(tmp_path / "same"))
    assert tokenizer.pad_id == tokenizer.eos_id
    batches = sft_batches(
        data_dir, str(tmp_path / "same"), split="validation", batch_size=4, seq_len=256, seed=0
    )
    for batch in batches:
        for tokens, mask in segments(batch):
            assert tokens[-1] == tokenizer.eos_id
            assert mask[-1] == 1


def test_a_tokenizer_that_cannot_end_a_turn_is_refused(data_dir, tokenizer_dir, tmp_path):
    shutil.copytree(tokenizer_dir, tmp_path / "other")
    for file in (tmp_path / "other").glob("tokenizer*.json"):
        file.write_text(file.read_text().replace("<|im_end|>", "</s>"))
    with pytest.raises(UsageError, match="the end would never be learnt"):
        sft_batches(
            data_dir, str(tmp_path / "other"), split="test", batch_size=4, seq_len=256, seed=0
        )
