"""Low-rank adapters: made, attached to frozen weights, and merged into them.

The decoder computes y = x W + scale (x A) B wherever its weights bring an A and a B. `attach` lays
the adapters beside the base, for training and for prefilling; `merge_layer` adds scale A B to W
in float32, for decoding and for exports. Without adapters both return what they were given.

    adapters = init_adapters(config, lora, key)            # trained; B = 0, so nothing changes yet
    hidden_BTD = apply(structure(config, compute, lora), attach(base, adapters), ...)

Not covered: dropout on adapters, biases, adapters of embeddings.

Legend: D inputs, R rank.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mdx.model.config import LoraConfig, ModelConfig
from mdx.model.decoder import Params, abstract_params

LORA_A, LORA_B = "_lora_a", "_lora_b"


def abstract_adapters(config: ModelConfig, lora: LoraConfig) -> Params:
    """Return the adapters' shapes and dtypes, nested as the weights they belong to."""
    return _adapters(abstract_params(config, lora))


def init_adapters(config: ModelConfig, lora: LoraConfig, key: Array) -> Params:
    """Return float32 adapters: A uniform within 1 / sqrt(inputs), B zero, as PEFT starts them."""
    leaves, tree = jax.tree.flatten_with_path(abstract_adapters(config, lora))
    keys = jax.random.split(key, len(leaves))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct, key: Array) -> Array:
        if path[-1].key.endswith(LORA_B):
            return jnp.zeros(leaf.shape, leaf.dtype)
        bound = leaf.shape[-2] ** -0.5
        return jax.random.uniform(key, leaf.shape, leaf.dtype, -bound, bound)

    return jax.tree.unflatten(
        tree, [draw(*leaf, key) for leaf, key in zip(leaves, keys, strict=True)]
    )


def attach(base: Params | None, adapters: Params) -> Params:
    """Return one tree with the leaves of both; without a base, `adapters` are all the weights."""
    merged = dict(base or {})
    for name, leaf in adapters.items():
        merged[name] = attach(merged.get(name), leaf) if isinstance(leaf, dict) else leaf
    return merged


def merge(params: Params, lora: LoraConfig) -> Params:
    """Return the weights of a model without adapters that computes the same; see `merge_layer`."""
    return {**params, "layers": jax.vmap(lambda layer: merge_layer(layer, lora))(params["layers"])}


def merge_layer(weights: Params, lora: LoraConfig) -> Params:
    """Return one layer's weights without adapters: W + scale A B in float32 where there were."""
    merged: dict[str, Any] = {}
    for name, leaf in weights.items():
        if isinstance(leaf, dict):
            merged[name] = merge_layer(leaf, lora)
        elif f"{name}{LORA_A}" in weights:
            merged[name] = merge_weight(
                leaf, weights[f"{name}{LORA_A}"], weights[f"{name}{LORA_B}"], lora
            )
        elif not name.endswith((LORA_A, LORA_B)):
            merged[name] = leaf
    return merged


def merge_weight(weight: Array, a_DR: Array, b: Array, lora: LoraConfig) -> Array:
    """Return W + scale A B in float32, in the shape of W."""
    product = jnp.matmul(a_DR, b.reshape(lora.rank, -1), precision=jax.lax.Precision.HIGHEST)
    return weight.astype(jnp.float32) + lora.scale * product.reshape(weight.shape)


def _adapters(params: Params) -> Params:
    kept: Params = {}
    for name, leaf in params.items():
        if isinstance(leaf, dict):
            inner = _adapters(leaf)
            kept |= {name: inner} if inner else {}
        elif name.endswith((LORA_A, LORA_B)):
            kept[name] = leaf
    return kept
