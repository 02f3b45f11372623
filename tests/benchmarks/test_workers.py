"""Workers, models and inputs of the comparison; nothing here is timed."""

import dataclasses

import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks.compare import measure
from benchmarks.models import write_model
from benchmarks.ours import prepare
from benchmarks.shapes import (
    MEAN_RAGGED,
    NUM_PROMPTS,
    NUM_ROWS,
    SEQ_LEN,
    WORKS,
    Shape,
    Work,
    documents,
    full_rows,
    prompts,
    reward_of,
    text_of,
)
from benchmarks.stepping import Stepper
from mdx.model.hf import read_config

TINY = Shape(
    name="small",
    vocab_size=64,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)


class Lines:
    """A console that keeps what is printed."""

    def __init__(self):
        self.printed = []

    def print(self, line):
        self.printed.append(line)


def test_contestants_take_turns_and_a_missing_one_is_one_line(tmp_path):
    console = Lines()
    result = measure(
        WORKS["compile_4"],
        write_model(TINY, tmp_path),
        ["mdx", "tunix", "trl"],
        rounds=2,
        peers=tmp_path / "none",
        console=console,
    )
    assert len(result["repetitions"]["mdx"]) == 3
    assert all(r["tokens"] == 2 * SEQ_LEN for r in result["repetitions"]["mdx"])
    assert "make peers" in result["errors"]["tunix"]
    assert "trl" not in result["errors"], "torch compiles nothing: no part in this work"
    assert sum("tunix" in line for line in console.printed) == 2  # gets ready, is left out


def test_a_turn_has_the_steps_of_its_work_in_a_row(tmp_path):
    work = dataclasses.replace(WORKS["sft_full"], shape=TINY, in_a_row=3)
    console = Lines()
    result = measure(
        work, write_model(TINY, tmp_path), ["mdx"], rounds=3, peers=tmp_path, console=console
    )
    first, second, *turns = result["repetitions"]["mdx"]
    assert len(turns) == 2, "two warm-ups of one step, then turns"
    assert all(r["tokens"] == NUM_ROWS * SEQ_LEN for r in (first, second, *turns))


def test_every_work_sees_the_same_inputs_each_time():
    work = WORKS["sft_56"]
    assert np.array_equal(full_rows(work), full_rows(work))
    lengths = [len(document) for document in documents(work)]
    assert lengths == [len(document) for document in documents(work)]
    assert max(lengths) == SEQ_LEN
    assert np.mean(lengths) / SEQ_LEN == pytest.approx(0.56, abs=0.005)
    assert len({tuple(prompt) for prompt in prompts(work, 8)}) == 8


def test_prompts_survive_the_tokenizer_and_the_config_is_ours(tmp_path):
    folder = write_model(TINY, tmp_path)
    work = Work(name="x", title="x", shape=TINY)
    (prompt,) = prompts(work, 1)
    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text_of(prompt))
    assert encoded.ids == prompt
    assert read_config(str(folder)).rope_theta == 1_000_000.0


def test_rewards_differ_between_completions():
    assert reward_of("w17 w4") == 7.0
    assert reward_of("<eos>") == 0.0


def test_a_stepper_takes_one_step_a_call_and_hands_errors_on():
    steps = []

    def train(pause):
        for number in range(2):
            pause()
            steps.append(number)
        pause()
        raise ValueError("out of data")

    step = Stepper(train)
    assert steps == []
    step()
    assert steps == [0]
    step()
    with pytest.raises(ValueError, match="out of data"):
        step()


def test_ragged_completions_are_as_long_on_average_as_their_title_says(tmp_path):
    work = WORKS["generate_ragged"]
    run = prepare(work, write_model(work.shape, tmp_path))
    lengths = [run() / (NUM_PROMPTS * work.num_samples) for _ in range(4)]
    # 256 draws of a geometric law cut at 128 have a standard error of 2.
    assert np.mean(lengths) == pytest.approx(MEAN_RAGGED, abs=6)
