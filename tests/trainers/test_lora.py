"""Stages with adapters: the base stays, only adapters are saved, exports are merged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.errors import ConfigError, UsageError
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import init
from mdx.model.hf import load_hf, save_hf
from mdx.model.lora import abstract_adapters, attach, merge
from mdx.model.peft import load_adapters
from mdx.model.sharding import make_mesh
from trainers.checkpoint import CheckpointConfig, restore_params
from trainers.export import export_run
from trainers.hooks import read_metrics
from trainers.loop import DataConfig
from trainers.optim import OptimConfig
from trainers.policy import describe_policy, fingerprint, start_weights
from trainers.sft import SftConfig, run

MODEL = ModelConfig(
    vocab_size=384,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
)
LORA = LoraConfig(rank=4, alpha=8.0, base_dtype="float32")


@pytest.fixture(scope="module")
def start(tiny_data, tmp_path_factory):
    """Return a folder with a model to start from (`base`) and a tuned one (`run`), its config.

    The weights of the former are numbers that bfloat16 has too.
    """
    folder = tmp_path_factory.mktemp("lora")
    params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32),
        init(MODEL, key=jax.random.key(3))[1],
    )
    save_hf(params, MODEL, tiny_data.tokenizer_dir, str(folder / "base"))
    config = SftConfig(
        run_dir=str(folder / "run"),
        init_from=str(folder / "base"),
        lora=LORA,
        compute=ComputeConfig(scan_layers=True, attention="blocked"),
        data=DataConfig(data_dir=tiny_data.data_dir, batch_size=8, microbatch_size=8, seq_len=128),
        optim=OptimConfig(num_steps=12, peak_lr=2e-2, warmup_steps=1, end_lr_fraction=1.0),
        checkpoint=CheckpointConfig(save_every=5),
    )
    run(config)
    return config


def test_it_learns_and_saves_adapters_only(start):
    losses = [line["loss"] for line in read_metrics(start.run_dir)]
    assert losses[-1] < losses[0] - 0.2
    abstract = abstract_adapters(MODEL, LORA)
    step, adapters = restore_params(start.run_dir, abstract)
    assert step == 12
    assert jax.tree.map(jnp.shape, adapters) == jax.tree.map(jnp.shape, abstract)
    with pytest.raises(Exception, match=r"it has no params\.embed_tokens"):
        restore_params(start.run_dir, load_hf(start.init_from)[2])


def test_export_is_the_base_with_the_adapters_merged(start, tmp_path):
    _, adapters = restore_params(start.run_dir, abstract_adapters(MODEL, LORA))
    base = load_hf(start.init_from)[2]
    expected = merge(attach(base, adapters), LORA)
    found = load_hf(f"{start.run_dir}/export")[2]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    np.testing.assert_array_equal(found["embed_tokens"], base["embed_tokens"])
    assert export_run(start.run_dir, str(tmp_path / "again")) == 12
    jax.tree.map(np.testing.assert_array_equal, load_hf(str(tmp_path / "again"))[2], found)


def test_a_base_in_bfloat16_stays_as_it_is_and_trains_as_the_same_numbers_in_float32(
    start, tmp_path
):
    half = dataclasses.replace(LORA, base_dtype="bfloat16")
    optim = dataclasses.replace(start.optim, num_steps=5)
    config = dataclasses.replace(start, run_dir=str(tmp_path), lora=half, optim=optim)
    run(config)
    losses = [[line["loss"] for line in read_metrics(c.run_dir)] for c in (config, start)]
    assert losses[0] == pytest.approx(losses[1][:5], rel=1e-6)
    assert losses[0][-1] < losses[0][0]
    weights = weights_of(config, half, config.run_dir)  # refuses another base than the run's
    assert {leaf.dtype for leaf in jax.tree.leaves(weights.base)} == {jnp.dtype("bfloat16")}
    jax.tree.map(np.testing.assert_array_equal, weights.base, load_hf(start.init_from)[2])
    adapters = load_adapters(f"{config.run_dir}/adapter", MODEL)[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(adapters)} == {jnp.dtype("float32")}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        load_hf(f"{config.run_dir}/export")[2],
        merge(attach(weights.base, adapters), half),
    )


def test_adapters_are_left_for_peft_and_may_be_where_a_run_starts(start, tmp_path):
    _, adapters = restore_params(start.run_dir, abstract_adapters(MODEL, LORA))
    saved, found = load_adapters(f"{start.run_dir}/adapter", MODEL)
    assert (saved.rank, saved.alpha) == (LORA.rank, LORA.alpha)
    jax.tree.map(np.testing.assert_array_equal, found, adapters)
    lora = dataclasses.replace(LORA, adapter=f"{start.run_dir}/adapter")
    begun = weights_of(start, lora, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, begun.trained, adapters)
    with pytest.raises(UsageError, match=r"lora\.alpha must be 8\.0, as in .*, not 9"):
        weights_of(start, dataclasses.replace(lora, alpha=9.0), tmp_path)


def weights_of(config, lora, run_dir):
    policy = describe_policy(
        MODEL, config.compute, lora, init_from=config.init_from, tokenizer_dir=""
    )
    return start_weights(
        policy,
        make_mesh(),
        init_from=config.init_from,
        run_dir=str(run_dir),
        key=jax.random.key(0),
    )


def test_resuming_reads_the_base_anew_and_refuses_another_in_one_line(start, tiny_data, tmp_path):
    base = load_hf(start.init_from)[2]
    save_hf(base, MODEL, tiny_data.tokenizer_dir, str(tmp_path / "base"))
    whole = dataclasses.replace(
        start, run_dir=str(tmp_path / "run"), init_from=str(tmp_path / "base")
    )
    run(dataclasses.replace(whole, optim=dataclasses.replace(start.optim, num_steps=5)))
    mlp = {
        **base["layers"]["mlp"],
        "up_proj": base["layers"]["mlp"]["up_proj"].at[1, 2, 3].add(1e-6),
    }
    other = {**base, "layers": {**base["layers"], "mlp": mlp}}
    save_hf(other, MODEL, tiny_data.tokenizer_dir, whole.init_from)
    with pytest.raises(UsageError, match="belong to weights with the fingerprint") as raised:
        run(whole)
    assert "\n" not in str(raised.value)
    save_hf(base, MODEL, tiny_data.tokenizer_dir, whole.init_from)
    run(whole)
    losses = [[line["loss"] for line in read_metrics(c.run_dir)] for c in (whole, start)]
    assert losses[0] == losses[1]


def test_random_weights_are_no_base(start):
    with pytest.raises(ConfigError, match="needs init_from"):
        run(dataclasses.replace(start, run_dir=f"{start.run_dir}-2", init_from=""))


def test_fingerprint_sees_order_names_and_bits_but_not_placement():
    mesh = jax.make_mesh((8,), ("x",))
    leaf = jnp.arange(64.0).reshape(8, 8)
    split = jax.device_put(leaf, jax.NamedSharding(mesh, jax.P("x")))
    assert fingerprint({"a": leaf}) == fingerprint({"a": split})
    others = [{"b": leaf}, {"a": leaf.T}, {"a": leaf.astype(jnp.bfloat16)}, {"a": leaf + 1e-6}]
    assert len({fingerprint(tree) for tree in [{"a": leaf}, *others]}) == 5
