"""Supervised fine-tuning as its users run it; what it teaches; how it resumes."""

import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from mdx.config import load_config
from mdx.data.pipeline import sft_batches
from mdx.errors import UsageError
from mdx.model.decoder import apply, output_head
from mdx.model.hf import load_hf
from mdx.model.logprobs import token_logprobs
from mdx.tokenizer import Tokenizer
from trainers.hooks import TIMING_FIELDS, read_metrics
from trainers.sft import SftConfig, run

from .compilations import compilations

NUM_STEPS = 30


@pytest.fixture(scope="module")
def sft(tiny_stage):
    return tiny_stage(
        "sft",
        "init_from=",
        "compute.attention=xla",
        "data.batch_size=4",
        "data.microbatch_size=2",
        "data.seq_len=128",
        f"optim.num_steps={NUM_STEPS}",
        "optim.warmup_steps=3",
        "optim.peak_lr=2e-2",
        "checkpoint.save_every=4",
    )


@pytest.fixture(scope="module")
def whole(sft, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("sft") / "whole"
    code, text = sft.finish(run_dir, JAX_LOG_COMPILES="1")
    assert code == 0, text
    (run_dir / "said").write_text(text)
    return run_dir


def _untimed(run_dir: Path):
    lines = read_metrics(str(run_dir))
    return [{k: v for k, v in line.items() if k not in TIMING_FIELDS} for line in lines]


def test_the_step_is_compiled_once_and_nothing_after_it(whole):
    """Not by later batches, saves or the export either."""
    names = [name for name, _ in compilations((whole / "said").read_text())]
    assert names.count("update") == 1
    assert names[-1] == "update"


def test_run_killed_at_a_random_step_and_while_saving_ends_bit_for_bit_the_same(
    sft, whole, tmp_path
):
    sft.survive_two_kills(tmp_path, NUM_STEPS)
    assert _untimed(tmp_path) == _untimed(whole)
    weights = "export/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (whole / weights).read_bytes()


def test_ctrl_c_saves_and_exits_130_with_one_line(sft, tmp_path):
    def one_step_is_done(run_dir: Path) -> bool:
        file = run_dir / "metrics.jsonl"
        return file.exists() and file.stat().st_size > 0

    code, text = sft.signal_when(tmp_path, one_step_is_done, signal.SIGINT)
    assert code == 130, text
    assert text.splitlines()[-1].startswith("interrupted: what was saved is kept")
    assert "Traceback" not in text
    saved = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert max(saved) == _untimed(tmp_path)[-1]["step"]


def test_the_end_of_the_turn_is_learnt(whole, tiny_data):
    """EOS is a target of its own, though PAD fills the rows: a trained model ends its turns."""
    export = str(whole / "export")
    tokenizer = Tokenizer.load(export)
    assert tokenizer.eos_id != tokenizer.pad_id
    _, graphdef, params = load_hf(export)
    batch = next(
        sft_batches(
            tiny_data.data_dir, export, split="validation", batch_size=4, seq_len=128, seed=0
        )
    )

    @jax.jit
    def logprobs(params):
        hidden = apply(graphdef, params, batch.tokens, batch.segment_ids, batch.positions)
        return token_logprobs(hidden, output_head(params), batch.tokens)[0]

    is_end = (batch.tokens == tokenizer.eos_id) & (batch.loss_mask > 0)
    ends_of_user_turns = (batch.tokens == tokenizer.eos_id) & (batch.loss_mask == 0)
    assert is_end.sum() == ends_of_user_turns.sum() >= 4
    assert np.exp(np.asarray(logprobs(params))[is_end]).min() > 0.5


def test_only_the_assistant_is_a_target_in_batches_of_the_shape_asked_for(whole):
    for line in _untimed(whole):
        assert 0 < line["targets"] < 0.9 * line["tokens"]
        assert line["tokens"] / (1 - line["padding_share"]) == pytest.approx(4 * 128)


def test_share_of_questions_moves_the_first_step(sft, whole, tmp_path):
    """Answers are a word long: with many of them few tokens are targets."""
    assert sft.finish(tmp_path, "qa_share=0.9", "optim.num_steps=1")[0] == 0
    line, base = _untimed(tmp_path)[0], _untimed(whole)[0]
    assert line["targets"] / line["tokens"] < 0.8 * base["targets"] / base["tokens"]


def test_a_mixture_of_the_configuration_is_what_is_read(sft, whole, tiny_data, tmp_path):
    other = f"data.mixture=[{{name: md_instruct_qa, data_dir: {tiny_data.data_dir}}}]"
    assert sft.finish(tmp_path, other, "optim.num_steps=1")[0] == 0
    line, base = _untimed(tmp_path)[0], _untimed(whole)[0]
    assert line["targets"] / line["tokens"] < 0.8 * base["targets"] / base["tokens"]


def test_mistakes_in_a_mixture_are_named(sft, tmp_path):
    for mixture, words in (
        ("name: md_papers", "not of 'md_papers'"),
        ("name: x, weight: 0", "above 0"),
    ):
        code, text = sft.finish(tmp_path / words[:5], f"data.mixture=[{{{mixture}}}]")
        assert code == 2
        assert words in text


def test_missing_model_directory_is_named(tiny_data, tmp_path):
    overrides = [f"run_dir={tmp_path}", "init_from=no/such/model"]
    with pytest.raises(UsageError, match=r"no/such/model/config\.json does not exist"):
        run(load_config(SftConfig, None, overrides))
