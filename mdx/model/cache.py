"""The key-value cache and one decode step: what sampling computes for one token of each row.

Decoding is bound by reading weights and cache, not by arithmetic, so both are laid out for it:
the projections that share an input are fused into one matrix, keys lie [row, G, H, S] and values
[row, G, S, H] so that both reductions run over contiguous lanes, each layer has its own arrays
(none is sliced inside the step), new entries are scattered in place, and only the first `window`
places that some row uses are read. Places beyond a row's own position are masked, so a row's
result does not depend on its neighbours.

Legend: B rows, P prompts, T prompt time, S places, D hidden, N heads, G kv heads, R = N / G,
H head_dim, F ffn, V vocabulary.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from mdx.model.config import LoraConfig, ModelConfig
from mdx.model.decoder import GraphDef, Params, output_head, rms_norm
from mdx.model.lora import merge_layer
from mdx.model.rope import rotate
from mdx.model.rotary import rotary
from mdx.model.rowwise import NEGATIVE

MAX_WINDOWS = 5


class Cache(NamedTuple):
    """One array a layer: rotated keys [rows, G, H, S] and values [rows, G, S, H]."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]

    @property
    def num_places(self) -> int:
        """Return S."""
        return self.values[0].shape[2]


class LayerWeights(NamedTuple):
    """One layer's weights, fused: qkv [D, (N + 2G) H], gate_up [D, 2F]."""

    input_norm: Array
    qkv: Array
    q_norm: Array
    k_norm: Array
    output: Array
    mlp_norm: Array
    gate_up: Array
    down: Array


class DecodeWeights(NamedTuple):
    """All weights in the compute dtype, laid out for decoding."""

    embedding: Array  # [V, D]
    layers: tuple[LayerWeights, ...]
    norm: Array
    head: Array  # [D, V]


def fuse_weights(
    config: ModelConfig, lora: LoraConfig, params: Params, dtype: jnp.dtype
) -> DecodeWeights:
    """Return the weights merged, cast, fused and unstacked; call it once a loop, inside `jit`."""
    D = config.hidden_size

    def layer(index: int) -> LayerWeights:
        weights = jax.tree.map(lambda stacked: stacked[index], params["layers"])
        weights = merge_layer(weights, lora)
        attention, mlp = weights["self_attn"], weights["mlp"]
        projections = [attention[name].reshape(D, -1) for name in ("q_proj", "k_proj", "v_proj")]
        return LayerWeights(
            input_norm=weights["input_layernorm"],
            qkv=jnp.concatenate(projections, axis=1).astype(dtype),
            q_norm=attention["q_norm"],
            k_norm=attention["k_norm"],
            output=attention["o_proj"].reshape(-1, D).astype(dtype),
            mlp_norm=weights["post_attention_layernorm"],
            gate_up=jnp.concatenate([mlp["gate_proj"], mlp["up_proj"]], axis=1).astype(dtype),
            down=mlp["down_proj"].astype(dtype),
        )

    return DecodeWeights(
        embedding=params["embed_tokens"].astype(dtype),
        layers=tuple(layer(index) for index in range(config.num_hidden_layers)),
        norm=params["norm"],
        head=output_head(params).T.astype(dtype),
    )


def empty_cache(config: ModelConfig, num_rows: int, num_places: int, dtype: jnp.dtype) -> Cache:
    """Return a cache of zeros."""
    G, H, depth = config.num_key_value_heads, config.head_dim, range(config.num_hidden_layers)
    return Cache(
        keys=tuple(jnp.zeros((num_rows, G, H, num_places), dtype) for _ in depth),
        values=tuple(jnp.zeros((num_rows, G, num_places, H), dtype) for _ in depth),
    )


def prefill(
    graphdef: GraphDef,
    params: Params,
    prompts_PT: Int[Array, "P T"],
    num_prompts: Int[Array, ""],
    *,
    chunk: int,
) -> Cache:
    """Return the cache of every prompt, one row a prompt; `chunk` prompts at a time.

    Prompts are padded at the end, which causal attention never sees. Chunks wholly beyond
    `num_prompts` are skipped, so that a bucket that is not full costs memory only.
    """
    P, T = prompts_PT.shape
    model = nnx.merge(graphdef, params)
    ones = jnp.ones((chunk, T), jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(T)[None], (chunk, T))

    def run(tokens: Array) -> tuple[Array, Array]:
        keys_LPTGH, values_LPTGH = model.prefill(tokens, ones, positions)
        return keys_LPTGH.transpose(0, 1, 3, 4, 2), values_LPTGH.transpose(0, 1, 3, 2, 4)

    shapes = jax.eval_shape(run, jax.ShapeDtypeStruct((chunk, T), prompts_PT.dtype))

    def step(_: None, work: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        start, tokens = work
        skip = lambda _: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)  # noqa: E731
        return None, jax.lax.cond(start < num_prompts, run, skip, tokens)

    starts = jnp.arange(0, P, chunk)
    _, (keys, values) = jax.lax.scan(step, None, (starts, prompts_PT.reshape(-1, chunk, T)))
    per_layer = [
        tuple(x[:, index].reshape(P, *x.shape[3:]) for index in range(x.shape[1]))
        for x in (keys, values)
    ]
    return Cache(keys=per_layer[0], values=per_layer[1])


def load_row(cache: Cache, row: Array, pool: Cache, prompt: Array) -> Cache:
    """Copy the prompt's entries of the pool to the first places of a row."""

    def load(target: Array, source: Array) -> Array:
        entry = jax.lax.dynamic_slice_in_dim(source, prompt, 1, axis=0)
        return jax.lax.dynamic_update_slice(target, entry, (row, 0, 0, 0))

    return jax.tree.map(load, cache, pool)


def decode_step(
    config: ModelConfig,
    weights: DecodeWeights,
    cache: Cache,
    tokens_B: Int[Array, " B"],
    positions_B: Int[Array, " B"],
    used: Int[Array, ""],
) -> tuple[Float[Array, "B V"], Cache]:
    """Feed each row its token at its position; return float32 logits and the longer cache.

    used: how many places of the cache any row that matters occupies, this token's included.
    """
    H, eps = config.head_dim, config.rms_norm_eps
    N, G = config.num_attention_heads, config.num_key_value_heads
    B = tokens_B.shape[0]
    rows = jnp.arange(B)
    cosines, sines = rotary(positions_B, config)
    x_BD = weights.embedding[tokens_B]
    keys, values = [], []
    for layer, key_BGHS, value_BGSH in zip(weights.layers, cache.keys, cache.values, strict=True):
        qkv = rms_norm(x_BD, layer.input_norm, eps) @ layer.qkv
        query, key, value = (
            x.reshape(B, -1, H) for x in jnp.split(qkv, (N * H, (N + G) * H), axis=1)
        )
        query = rotate(rms_norm(query, layer.q_norm, eps), cosines, sines)
        key = rotate(rms_norm(key, layer.k_norm, eps), cosines, sines)
        key_BGHS = key_BGHS.at[rows, :, :, positions_B].set(key)
        value_BGSH = value_BGSH.at[rows, :, positions_B].set(value)
        mixed = _attend(query.reshape(B, G, N // G, H), key_BGHS, value_BGSH, positions_B, used)
        x_BD = x_BD + mixed @ layer.output
        gate, up = jnp.split(rms_norm(x_BD, layer.mlp_norm, eps) @ layer.gate_up, 2, axis=1)
        x_BD = x_BD + (jax.nn.silu(gate) * up) @ layer.down
        keys.append(key_BGHS)
        values.append(value_BGSH)
    hidden_BD = rms_norm(x_BD, weights.norm, eps)
    logits_BV = jnp.matmul(hidden_BD, weights.head, preferred_element_type=jnp.float32)
    return logits_BV, Cache(keys=tuple(keys), values=tuple(values))


def _attend(
    query_BGRH: Array, key_BGHS: Array, value_BGSH: Array, positions_B: Array, used: Array
) -> Array:
    """Attend to the shortest of a few static windows that holds all used places."""
    places = value_BGSH.shape[2]
    unit = 32 * -(-places // (32 * MAX_WINDOWS))
    windows = [*range(unit, places, unit), places]
    branches = [partial(_attend_window, window) for window in windows]
    index = jnp.clip((used - 1) // unit, 0, len(windows) - 1)
    return jax.lax.switch(index, branches, query_BGRH, key_BGHS, value_BGSH, positions_B)


def _attend_window(
    window: int, query_BGRH: Array, key_BGHS: Array, value_BGSH: Array, positions_B: Array
) -> Array:
    """Return the heads' outputs [B, N H].

    Products and sums are fused loops that read the cache in place: a library matrix product
    would copy the window first, which takes twice the time at these shapes.
    """
    B, _, _, H = query_BGRH.shape
    query = query_BGRH.astype(jnp.float32) * H**-0.5
    key_BGHW = key_BGHS[..., :window].astype(jnp.float32)
    value_BGWH = value_BGSH[:, :, :window].astype(jnp.float32)
    scores_BGRW = jnp.sum(query[..., None] * key_BGHW[:, :, None], axis=3)
    seen_BW = jnp.arange(window)[None] <= positions_B[:, None]
    scores_BGRW = jnp.where(seen_BW[:, None, None], scores_BGRW, NEGATIVE)
    weights_BGRW = jnp.exp(scores_BGRW - jnp.max(scores_BGRW, axis=-1, keepdims=True))
    total_BGR1 = jnp.sum(weights_BGRW, axis=-1, keepdims=True)
    mixed_BGRH = jnp.sum(weights_BGRW[..., None] * value_BGWH[:, :, None], axis=3) / total_BGR1
    return mixed_BGRH.reshape(B, -1).astype(query_BGRH.dtype)
