"""Continued pre-training as its users run it: killed anywhere, and resumed by the same command."""

import signal
from pathlib import Path

import pytest

from mdx.config import load_config
from mdx.errors import UsageError
from mdx.model.hf import load_hf
from mdx.tokenizer import Tokenizer
from trainers.cpt import CptConfig, run
from trainers.hooks import TIMING_FIELDS, read_metrics

from .compilations import compilations

NUM_STEPS = 24


@pytest.fixture(scope="module")
def cpt(tiny_stage):
    return tiny_stage(
        "cpt",
        "data.batch_size=8",
        "data.seq_len=64",
        f"optim.num_steps={NUM_STEPS}",
        "optim.warmup_steps=3",
        "optim.peak_lr=1e-2",
        "checkpoint.save_every=3",
    )


@pytest.fixture(scope="module")
def whole(cpt, tmp_path_factory):
    """Return the run_dir of a run that nobody disturbed."""
    run_dir = tmp_path_factory.mktemp("cpt") / "whole"
    code, text = cpt.finish(run_dir, JAX_LOG_COMPILES="1")
    assert code == 0, text
    (run_dir / "said").write_text(text)
    assert f"complete: the model is in {run_dir}/export" in text
    return run_dir


def _untimed(run_dir: Path):
    lines = read_metrics(str(run_dir))
    return [{k: v for k, v in line.items() if k not in TIMING_FIELDS} for line in lines]


def _assert_same(run_dir: Path, whole: Path) -> None:
    assert _untimed(run_dir) == _untimed(whole)
    weights = "export/model.safetensors"
    assert (run_dir / weights).read_bytes() == (whole / weights).read_bytes()


def test_it_learns(whole):
    losses = [line["loss"] for line in _untimed(whole)]
    assert len(losses) == NUM_STEPS
    assert losses[-1] < 0.7 * losses[0]


def test_the_step_is_compiled_once_and_nothing_after_it(whole):
    """Not by later batches, saves or the export either."""
    names = [name for name, _ in compilations((whole / "said").read_text())]
    assert names.count("update") == 1
    assert names[-1] == "update"


def test_run_killed_at_a_random_step_and_while_saving_ends_bit_for_bit_the_same(
    cpt, whole, tmp_path
):
    cpt.survive_two_kills(tmp_path, NUM_STEPS)
    _assert_same(tmp_path, whole)


def test_sigterm_saves_exits_75_and_the_same_command_goes_on(cpt, whole, tmp_path):
    def one_step_is_done(run_dir: Path) -> bool:
        file = run_dir / "metrics.jsonl"
        return file.exists() and file.stat().st_size > 0

    code, text = cpt.signal_when(tmp_path, one_step_is_done, signal.SIGTERM)
    assert code == 75, text
    assert "stopped: saved after step" in text
    assert "Traceback" not in text
    assert cpt.finish(tmp_path)[0] == 0
    _assert_same(tmp_path, whole)


def test_finished_run_returns_at_once(cpt, whole):
    weights = whole / "export" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    code, text = cpt.finish(whole)
    assert code == 0
    assert text == f"already complete: the model is in {whole}/export\n"
    assert weights.stat().st_mtime_ns == before


def test_another_configuration_in_the_same_run_dir_is_refused(cpt, whole):
    config = load_config(CptConfig, None, [*cpt.overrides, f"run_dir={whole}", "seed=5"])
    with pytest.raises(UsageError, match="was started with seed=0, but now seed=5"):
        run(config)


def test_a_mixture_of_the_configuration_is_what_is_read(cpt, whole, tmp_path):
    """What it reads by itself, named, is the same; with another data set it is not."""
    for mixture, is_same in (
        ("{name: md_knowledge, weight: 3}", True),
        ("{name: md_instruct_qa}", False),
    ):
        run_dir = tmp_path / str(is_same)
        code, text = cpt.finish(run_dir, f"data.mixture=[{mixture}]", "optim.num_steps=1")
        assert code == 0, text
        loss, base = (_untimed(folder)[0]["loss"] for folder in (run_dir, whole))
        assert (loss == base) == is_same


def test_eight_devices_compute_what_one_does(cpt, whole, tmp_path):
    """In this process, which has eight: weights, moments and rows are split over them."""
    overrides = [*cpt.overrides, f"run_dir={tmp_path}", "optim.num_steps=2", "mesh.tensor=1"]
    line = _untimed(Path(run(load_config(CptConfig, None, overrides))))[0]
    one_device = _untimed(whole)[0]
    assert line["loss"] == pytest.approx(one_device["loss"], rel=1e-5)
    assert line["grad_norm"] == pytest.approx(one_device["grad_norm"], rel=1e-4)


def test_seed_moves_the_first_step(cpt, whole, tmp_path):
    assert cpt.finish(tmp_path, "seed=1", "optim.num_steps=1")[0] == 0
    line, base = _untimed(tmp_path)[0], _untimed(whole)[0]
    assert line["loss"] != base["loss"]
    assert line["grad_norm"] != base["grad_norm"]


def test_model_to_start_from_moves_the_first_step(cpt, whole, tmp_path):
    code, text = cpt.finish(tmp_path, f"init_from={whole}/export", "optim.num_steps=1")
    assert code == 0, text
    assert _untimed(tmp_path)[0]["loss"] < 0.8 * _untimed(whole)[0]["loss"]


def test_batches_have_the_shape_asked_for(whole):
    for line in _untimed(whole):
        assert line["tokens"] / (1 - line["padding_share"]) == pytest.approx(8 * 64)


def test_export_is_the_model_and_its_tokenizer(whole, tiny_data):
    model, _, params = load_hf(str(whole / "export"))
    assert (model.hidden_size, model.num_hidden_layers, model.vocab_size) == (32, 2, 384)
    assert params["embed_tokens"].shape == (384, 32)
    text = "units metal\nrun 100"
    exported = Tokenizer.load(str(whole / "export"))
    assert exported.encode(text) == Tokenizer.load(tiny_data.tokenizer_dir).encode(text)
