"""Exports of checkpoints: the same directory that the stage itself leaves at its end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.config import dump_config
from mdx.errors import CheckpointError, UsageError
from mdx.model.config import LoraConfig, ModelConfig
from mdx.model.decoder import abstract_params
from mdx.model.hf import load_hf, save_hf
from trainers.checkpoint import Checkpointer
from trainers.cpt import CptConfig
from trainers.export import export_run, finish
from trainers.loop import DataConfig
from trainers.optim import OptimConfig, make_optimizer
from trainers.policy import describe_policy
from trainers.run_dir import claim_run_dir, is_complete
from trainers.state import create_state

MODEL = ModelConfig(
    vocab_size=384,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)


@pytest.fixture(scope="module")
def run_dir(tiny_data, tmp_path_factory):
    """Return the run_dir of a run that CPT left with a checkpoint of step 5."""
    run_dir = str(tmp_path_factory.mktemp("runs") / "cpt")
    data = DataConfig(data_dir=tiny_data.data_dir, tokenizer_dir=tiny_data.tokenizer_dir)
    config = CptConfig(run_dir=run_dir, model=MODEL, data=data)
    claim_run_dir(run_dir, config)
    with Checkpointer(run_dir) as checkpointer:
        checkpointer.save(5, _state(), {})
    return run_dir


@functools.cache
def _params():
    rng = np.random.default_rng(7)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), abstract_params(MODEL)
    )


def _state():
    params = _params()
    return create_state(params, make_optimizer(OptimConfig()), jax.random.key(0))


def test_exported_weights_are_those_of_the_checkpoint(run_dir, tmp_path):
    assert export_run(run_dir, str(tmp_path / "out")) == 5
    model, _, params = load_hf(str(tmp_path / "out"))
    assert model == MODEL
    jax.tree.map(np.testing.assert_array_equal, params, _params())


def test_run_that_started_from_a_model_directory_takes_its_shape_and_tokenizer(tiny_data, tmp_path):
    start = str(tmp_path / "start")
    save_hf(_params(), MODEL, tiny_data.tokenizer_dir, start)
    config = CptConfig(run_dir=str(tmp_path / "run"), init_from=start)  # `model` is not MODEL
    claim_run_dir(config.run_dir, config)
    with Checkpointer(config.run_dir) as checkpointer:
        checkpointer.save(1, _state(), {})
    assert export_run(config.run_dir, str(tmp_path / "out")) == 1
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "start" / name).read_bytes()


def test_finish_exports_and_marks_the_run_complete(run_dir, tiny_data, tmp_path):
    policy = describe_policy(
        MODEL,
        CptConfig().compute,
        LoraConfig(),
        init_from="",
        tokenizer_dir=tiny_data.tokenizer_dir,
    )
    assert not is_complete(str(tmp_path), 0)
    finish(str(tmp_path), policy, _state())
    assert is_complete(str(tmp_path), 0)
    assert not is_complete(str(tmp_path), 1)
    params = load_hf(str(tmp_path / "export"))[2]
    jax.tree.map(np.testing.assert_array_equal, params, _params())


def test_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="must hold a run of mdx-train"):
        export_run(str(tmp_path), str(tmp_path / "out"))


def test_run_without_a_checkpoint_is_refused(tiny_data, tmp_path):
    data = DataConfig(tokenizer_dir=tiny_data.tokenizer_dir)
    config = CptConfig(run_dir=str(tmp_path), model=MODEL, data=data)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    with pytest.raises(UsageError, match="has no checkpoint yet"):
        export_run(str(tmp_path), str(tmp_path / "out"))


def test_checkpoint_of_another_shape_gives_one_line(run_dir, tiny_data, tmp_path):
    config = CptConfig(run_dir=run_dir, data=DataConfig(tokenizer_dir=tiny_data.tokenizer_dir))
    (tmp_path / "config.yaml").write_text(dump_config(config))
    (tmp_path / "checkpoints").symlink_to(f"{run_dir}/checkpoints")
    with pytest.raises(CheckpointError, match="cannot be restored"):
        export_run(str(tmp_path), str(tmp_path / "out"))


def test_vocabulary_smaller_than_the_tokenizer_is_refused(tiny_data):
    small = ModelConfig(vocab_size=100)
    with pytest.raises(
        UsageError, match="vocab_size must be at least the tokenizer's 384, not 100"
    ):
        describe_policy(
            small,
            CptConfig().compute,
            LoraConfig(),
            init_from="",
            tokenizer_dir=tiny_data.tokenizer_dir,
        )
    with pytest.raises(UsageError, match=r"data\.tokenizer_dir must name"):
        describe_policy(small, CptConfig().compute, LoraConfig(), init_from="", tokenizer_dir="")
