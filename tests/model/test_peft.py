"""Adapter directories: what peft reads, and what MDX reads of peft's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from mdx.errors import UsageError
from mdx.model.config import LoraConfig
from mdx.model.lora import abstract_adapters
from mdx.model.peft import load_adapters, save_adapters
from mdx.model.sharding import make_mesh, shard_params
from mdx.model.tensor_files import read_header

LORA = LoraConfig(rank=4, alpha=6.0, targets=("q_proj", "o_proj", "down_proj"))


@pytest.fixture
def adapters(tiny_model):
    rng = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32)),
        abstract_adapters(tiny_model[0], LORA),
    )


def test_adapters_come_back_equal_to_the_bit_from_one_device_and_many(
    tiny_model, adapters, tmp_path
):
    config, *_ = tiny_model
    save_adapters(adapters, LORA, "base", str(tmp_path / "one"))
    lora, found = load_adapters(str(tmp_path / "one"), config)
    assert lora == LORA
    jax.tree.map(np.testing.assert_array_equal, found, adapters)
    save_adapters(shard_params(adapters, make_mesh()), LORA, "base", str(tmp_path / "many"))
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "many" / file).read_bytes()


def test_tensors_have_the_names_and_layout_of_peft(tiny_model, adapters, tmp_path):
    """The update is x A^T B^T in torch's layout: A is [rank, inputs], B is [outputs, rank]."""
    save_adapters(adapters, LORA, "base", str(tmp_path))
    tensors = read_header(epath.Path(tmp_path) / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1.self_attn.o_proj"
    a, b = (tensors[f"{prefix}.lora_{part}.weight"].read() for part in "AB")
    config, *_ = tiny_model
    heads = config.num_attention_heads * config.head_dim
    assert (a.shape, b.shape) == ((4, heads), (config.hidden_size, 4))
    ours = adapters["layers"]["self_attn"]
    product = ours["o_proj_lora_a"][1] @ ours["o_proj_lora_b"][1]
    np.testing.assert_allclose(a.T @ b.T, product, atol=1e-5)
    assert len(tensors) == 2 * 3 * config.num_hidden_layers


def edit(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_rank_stabilised_scales_are_read(tiny_model, adapters, tmp_path):
    save_adapters(adapters, LORA, "base", str(tmp_path))
    edit(tmp_path, use_rslora=True, lora_bias=False, rank_pattern={}, peft_version="0.18.0")
    lora, _ = load_adapters(str(tmp_path), tiny_model[0])
    assert lora.scale == pytest.approx(6.0 / 4**0.5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"use_dora": True}, "use_dora = True"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"target_modules": "all-linear"}, "target_modules = 'all-linear'"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"peft_type": "IA3"}, "peft_type = 'IA3'"),
        ({"r": 8}, r"lora_[AB]\.weight has shape"),
        ({"target_modules": ["q_proj", "o_proj", "up_proj"]}, "up_proj.* is missing"),
        ({"target_modules": ["q_proj", "o_proj"]}, "tensors that MDX does not know"),
    ],
)
def test_what_is_not_computed_or_does_not_fit_is_refused(
    tiny_model, adapters, tmp_path, fields, said
):
    save_adapters(adapters, LORA, "base", str(tmp_path))
    edit(tmp_path, **fields)
    with pytest.raises(UsageError, match=said):
        load_adapters(str(tmp_path), tiny_model[0])


def test_a_directory_without_adapters_is_named(tiny_model, tmp_path):
    with pytest.raises(UsageError, match=r"needs adapter_config\.json"):
        load_adapters(str(tmp_path), tiny_model[0])
