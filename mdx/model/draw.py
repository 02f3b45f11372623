"""Draw one token a row from logits: exact, one uniform number a row, log-probability for free.

The distribution is softmax(logits / temperature), cut to its nucleus where top_p < 1. Inverting
its cumulative sum at two levels (blocks of 32, then inside one block) touches each probability
once and needs no sort, no Gumbel noise and no pass over a vocabulary-wide cumulative sum.

Legend: B rows, V vocabulary, K blocks.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK = 32


def draw_tokens(
    logits_BV: Float[Array, "B V"],
    uniforms_B: Float[Array, " B"],
    temperature: Float[Array, ""],
    top_p: Float[Array, ""],
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Return a token for each row and its log-probability.

    The log-probability is that of softmax(logits / temperature) before the nucleus is cut, the
    quantity a policy-gradient ratio needs. temperature 0 takes the likeliest token (the first of
    equals) and reports its log-probability at temperature 1.

    uniforms_B: in [0, 1).
    """
    greedy = temperature <= 0
    scaled_BV = logits_BV / jnp.where(greedy, 1.0, temperature)
    highest_B1 = jnp.max(scaled_BV, axis=-1, keepdims=True)
    weights_BV = jnp.exp(scaled_BV - highest_B1)
    tokens_B = jax.lax.cond(
        greedy,
        lambda: jnp.argmax(logits_BV, axis=-1).astype(jnp.int32),
        lambda: _invert(jax.lax.cond(top_p < 1, _nucleus, _whole, weights_BV, top_p), uniforms_B),
    )
    chosen_B = jnp.take_along_axis(scaled_BV - highest_B1, tokens_B[:, None], axis=1)[:, 0]
    return tokens_B, chosen_B - jnp.log(jnp.sum(weights_BV, axis=-1))


def _whole(weights_BV: Array, top_p: Array) -> Array:
    del top_p
    return weights_BV


def _nucleus(weights_BV: Array, top_p: Array) -> Array:
    """Zero all but the smallest set of likeliest tokens with mass >= top_p (ties are kept).

    The set is {weight >= t}. Non-negative floats are ordered as their bit patterns are, so 31
    halvings find the largest t exactly, with no sort.
    """
    bits_BV = jax.lax.bitcast_convert_type(weights_BV, jnp.int32)
    wanted_B = top_p * jnp.sum(weights_BV, axis=-1)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low_B, high_B = bounds
        middle_B = low_B + (high_B - low_B) // 2
        kept_B = jnp.sum(jnp.where(bits_BV >= middle_B[:, None], weights_BV, 0.0), axis=-1)
        enough_B = kept_B >= wanted_B
        return jnp.where(enough_B, middle_B, low_B), jnp.where(enough_B, high_B, middle_B)

    low_B = jnp.zeros(bits_BV.shape[0], jnp.int32)
    high_B = jnp.max(bits_BV, axis=-1) + 1
    low_B, _ = jax.lax.fori_loop(0, 31, halve, (low_B, high_B))
    return jnp.where(bits_BV >= low_B[:, None], weights_BV, 0.0)


def _invert(weights_BV: Array, uniforms_B: Array) -> Array:
    """Return the first token whose cumulative weight exceeds uniform * total."""
    B, V = weights_BV.shape
    padded = jnp.pad(weights_BV, ((0, 0), (0, -V % BLOCK)))
    weights_BKb = padded.reshape(B, -1, BLOCK)
    sums_BK = jnp.sum(weights_BKb, axis=-1)
    cumulative_BK = jnp.cumsum(sums_BK, axis=-1)
    target_B1 = (uniforms_B * cumulative_BK[:, -1])[:, None]
    block_B1 = _first_above(cumulative_BK, sums_BK, target_B1)
    inside_Bb = jnp.take_along_axis(weights_BKb, block_B1[:, :, None], axis=1)[:, 0]
    before_B1 = jnp.take_along_axis(cumulative_BK - sums_BK, block_B1, axis=1)
    place_B1 = _first_above(before_B1 + jnp.cumsum(inside_Bb, axis=-1), inside_Bb, target_B1)
    return (block_B1 * BLOCK + place_B1)[:, 0].astype(jnp.int32)


def _first_above(cumulative_BK: Array, weights_BK: Array, target_B1: Array) -> Array:
    """Return the first index with cumulative > target; rounding never picks a zero weight."""
    index_B1 = jnp.sum(cumulative_BK <= target_B1, axis=-1, keepdims=True)
    positive_BK = weights_BK > 0
    first_B1 = jnp.argmax(positive_BK, axis=-1, keepdims=True)
    from_end_B1 = jnp.argmax(positive_BK[:, ::-1], axis=-1, keepdims=True)
    return jnp.clip(index_B1, first_B1, weights_BK.shape[1] - 1 - from_end_B1)
