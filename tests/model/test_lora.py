"""Adapters: nothing at the start, the same merged and apart, trained alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.errors import ConfigError
from mdx.model.config import LORA_TARGETS, ComputeConfig, LoraConfig
from mdx.model.decoder import apply, output_head, structure
from mdx.model.lora import abstract_adapters, attach, init_adapters, merge
from mdx.model.sampler import sample

LORA = LoraConfig(rank=3, alpha=12.0)
TOKENS = np.random.default_rng(0).integers(0, 61, (2, 19)).astype(np.int32)


def logits(graphdef, params):
    tokens = jnp.asarray(TOKENS)
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    hidden = jax.jit(apply, static_argnums=0)(
        graphdef, params, tokens, jnp.ones_like(tokens), places
    )
    return hidden.astype(jnp.float32) @ output_head(params).astype(jnp.float32).T


def trained(config, lora=LORA, seed=1):
    """Return adapters without zeros."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape, np.float32)),
        abstract_adapters(config, lora),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_new_adapters_change_no_bit(model_factory, dtype):
    compute = ComputeConfig(dtype=dtype)
    config, plain, params = model_factory(compute)
    adapters = init_adapters(config, LORA, jax.random.key(0))
    found = logits(structure(config, compute, LORA), attach(params, adapters))
    np.testing.assert_array_equal(found, logits(plain, params))
    jax.tree.map(np.testing.assert_array_equal, merge(attach(params, adapters), LORA), params)
    spreads = [leaf.std() for leaf in jax.tree.leaves(adapters)]
    assert sum(spread > 0 for spread in spreads) == len(LORA_TARGETS)


@pytest.mark.parametrize("targets", [LORA_TARGETS, ("o_proj",), ("down_proj", "k_proj")])
def test_merged_weights_give_the_logits_of_the_adapters_beside_them(tiny_model, targets):
    config, plain, params = tiny_model
    lora = LoraConfig(rank=3, alpha=12.0, targets=targets)
    both = attach(params, trained(config, lora))
    apart = logits(structure(config, None, lora), both)
    np.testing.assert_allclose(logits(plain, merge(both, lora)), apart, atol=1e-4)
    assert np.abs(apart - logits(plain, params)).max() > 0.1


def test_merging_adds_the_scaled_product_in_float64_terms(tiny_model):
    config, _, params = tiny_model
    both = attach(params, trained(config))
    found = merge(both, LORA)["layers"]
    for block, name in (("self_attn", "o_proj"), ("self_attn", "k_proj"), ("mlp", "down_proj")):
        weights = {k: np.asarray(v, np.float64) for k, v in both["layers"][block].items()}
        for layer in range(config.num_hidden_layers):
            a, b = weights[f"{name}_lora_a"][layer], weights[f"{name}_lora_b"][layer]
            product = 4.0 * a @ b.reshape(3, -1)
            expected = weights[name][layer] + product.reshape(weights[name][layer].shape)
            np.testing.assert_allclose(found[block][name][layer], expected, atol=1e-6)


def test_samples_are_those_of_the_merged_model(tiny_model):
    config, plain, params = tiny_model
    both = attach(params, trained(config))
    settings = {"num_samples": 2, "max_new_tokens": 12, "eos_ids": (), "key": jax.random.key(0)}
    prompts = [[3, 14, 15], [9, 2]]
    apart = sample(structure(config, None, LORA), both, prompts, **settings)
    merged = sample(plain, merge(both, LORA), prompts, **settings)
    assert [[s.tokens for s in g] for g in apart] == [[s.tokens for s in g] for g in merged]
    base = sample(plain, params, prompts, **settings)
    assert [[s.tokens for s in g] for g in apart] != [[s.tokens for s in g] for g in base]


def test_layers_may_be_scanned_and_rematerialised(tiny_model):
    config, _, params = tiny_model
    both = attach(params, trained(config))
    expected = logits(structure(config, None, LORA), both)
    compute = ComputeConfig(scan_layers=True, remat="full")
    np.testing.assert_allclose(logits(structure(config, compute, LORA), both), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rank": -1}, "lora.rank must be 0 or more"),
        ({"alpha": 0.0}, "lora.alpha above 0"),
        ({"targets": ("q_proj", "lm_head")}, "lora.targets must be one of q_proj"),
        ({"rank": 2, "targets": ()}, "must name at least one"),
        ({"base_dtype": "float16"}, "lora.base_dtype must be one of"),
    ],
)
def test_impossible_adapters_are_refused_by_name(fields, said):
    with pytest.raises(ConfigError, match=said):
        LoraConfig(**fields)
