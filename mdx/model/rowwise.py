"""Attention for CPUs: one row after another, span by span, never a [T, T] array.

A row is cut into spans of queries and a span into blocks. The whole span meets the keys before it
block by block, from the first that one of its queries sees; in the span itself each block of
queries meets the span's keys up to its own end at once, so that little above the diagonal is
computed. All heads of a row go together: products are then large enough for a library to share
each of them among the cores, while loops that do not depend on each other XLA runs one after the
other all the same. The running maximum and sum are those of FlashAttention (Dao 2022); the
backward pass keeps q, k, v, the output and the log of the sums, and computes scores again.

Rows run in a loop, so a row cannot be split over devices; GPUs and TPUs use other paths.

Legend: T time, H head_dim, G kv heads, R query heads per kv head, Q queries (of all R), K keys.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

NEGATIVE = -1e30
MAX_BLOCKS = 5  # of a span
APART = 16  # unused numbers between rows: at powers of two apart, columns share a cache's lines


class Cuts(NamedTuple):
    """How a row is cut: `spans` of `blocks` of `size` tokens."""

    spans: int
    blocks: int
    size: int

    @property
    def span(self) -> int:
        """Return how many tokens a span has."""
        return self.blocks * self.size


def cuts_of(num_tokens: int, smallest: int) -> Cuts:
    """Return equal blocks of at least `smallest` tokens (or all) with next to no padding."""
    blocks = max(num_tokens // smallest, 1)
    spans = -(-blocks // MAX_BLOCKS)
    blocks //= spans
    return Cuts(spans, blocks, -(-num_tokens // (spans * blocks)))


class Keys(NamedTuple):
    """Keys that queries meet at once: `length` of them from `place` on.

    last: whether its last block is that of the queries themselves, half of which is after them.
    """

    place: Array
    length: int
    last: bool

    def of(self, x_GTH: Array) -> Array:
        """Return their rows [G, K, H]."""
        return jax.lax.dynamic_slice_in_dim(x_GTH, self.place, self.length, 1)


class Sight(NamedTuple):
    """What a query sees up to its own place: all from `start` on but what is `between` two others.

    Places in the row, [B, T] or cut from it. between: where the prompt ends and the query's own
    branch of it starts, if continuations share prompts.
    """

    start: Array
    between: tuple[Array, Array] | None = None

    def cut(self, index: Array, span: int) -> "Sight":
        """Return those of the queries of one span."""
        return jax.tree.map(lambda x_T: _cut(x_T, index, span), self)

    def of(self, rows: slice) -> "Sight":
        """Return those of some queries."""
        return jax.tree.map(lambda x_Q: x_Q[rows], self)


Arrays = tuple[Array, ...]
State = tuple[Arrays, Arrays]  # what queries of a row sum up; what the keys of all rows do
Meet = Callable[[slice, Keys, Arrays], State]


def rowwise_attention(
    query_BTNH: Float[Array, "B T N H"],
    key_BTGH: Float[Array, "B T G H"],
    value_BTGH: Float[Array, "B T G H"],
    segment_ids_BT: Int[Array, "B T"],
    branches_BT: Int[Array, "B T"] | None = None,
    *,
    block: int,
) -> Float[Array, "B T N H"]:
    """Return causal attention within segments, which must be runs of equal ids.

    branches_BT: as in `mdx.model.attention.attend`; runs of equal ids too, the prompt's first.
    block: queries per block at least (`cuts_of`).
    """
    B, T, N, H = query_BTNH.shape
    G = key_BTGH.shape[2]
    cuts = cuts_of(T, block)
    padding = cuts.spans * cuts.span - T
    sight = jax.tree.map(
        lambda x_BT: jnp.pad(x_BT, ((0, 0), (0, padding)), mode="edge"),
        sight_of(segment_ids_BT, branches_BT),
    )
    query_BTNH, key_BTGH, value_BTGH = (
        jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0)))
        for x in (query_BTNH * H**-0.5, key_BTGH, value_BTGH)
    )
    mixed_BGRTH = _attend_rows(
        cuts,
        query_BTNH.reshape(B, -1, G, N // G, H).transpose(0, 2, 3, 1, 4),
        key_BTGH.transpose(0, 2, 1, 3),
        value_BTGH.transpose(0, 2, 1, 3),
        sight,
    )
    return mixed_BGRTH.transpose(0, 3, 1, 2, 4).reshape(B, T + padding, N, H)[:, :T]


def sight_of(segment_ids_BT: Int[Array, "B T"], branches_BT: Int[Array, "B T"] | None) -> Sight:
    """Return what each token sees of a row."""
    if branches_BT is None:
        return Sight(run_starts(segment_ids_BT))
    between = prompt_ends(branches_BT), run_starts(segment_ids_BT, branches_BT)
    return Sight(run_starts(segment_ids_BT), between)


def prompt_ends(branches_BT: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Return the place behind the last token of a prompt at or before each token."""
    places_1T = jnp.arange(branches_BT.shape[1])[None]
    return jax.lax.cummax(jnp.where(branches_BT == 0, places_1T + 1, 0), axis=1)


def run_starts(*ids_BT: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Return the place in the row at which each token's run of equal `ids_BT` starts."""
    places_1T = jnp.arange(ids_BT[0].shape[1])[None]
    changed_BT = jnp.any(jnp.stack([x[:, 1:] != x[:, :-1] for x in ids_BT]), axis=0)
    first_BT = jnp.pad(changed_BT, ((0, 0), (1, 0)), constant_values=True)
    return jax.lax.cummax(jnp.where(first_BT, places_1T, 0), axis=1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_rows(
    cuts: Cuts, query_BGRTH: Array, key_BGTH: Array, value_BGTH: Array, sight: Sight
) -> Array:
    return _attend_rows_forward(cuts, query_BGRTH, key_BGTH, value_BGTH, sight)[0]


def _attend_rows_forward(
    cuts: Cuts, query_BGRTH: Array, key_BGTH: Array, value_BGTH: Array, sight: Sight
) -> tuple[Array, tuple]:
    inputs = (query_BGRTH, key_BGTH, value_BGTH, sight)

    def of_row(b: Array, done: Arrays) -> Arrays:
        return _forward(cuts, b, _row(inputs, b), done)

    empty = (jnp.zeros_like(query_BGRTH), jnp.zeros((*query_BGRTH.shape[:-1], 1)))
    mixed_BGRTH, log_total_BGRT1 = jax.lax.fori_loop(0, len(query_BGRTH), of_row, empty)
    return mixed_BGRTH, (*inputs, mixed_BGRTH, log_total_BGRT1)


def _attend_rows_backward(cuts: Cuts, residuals: tuple, gradient_BGRTH: Array) -> tuple:
    key_BGTH = residuals[1]
    B, G, T, H = key_BGTH.shape

    def of_row(b: Array, gradients: Arrays) -> Arrays:
        return _backward(cuts, b, _row((*residuals, gradients[0]), b), gradients)

    empty_BGHT = jnp.zeros((B, G, H, T + APART))
    gradients = (gradient_BGRTH, empty_BGHT, empty_BGHT)  # a row's first, then its queries'
    d_query_BGRTH, *of_keys = jax.lax.fori_loop(0, B, of_row, gradients)
    d_key_BGTH, d_value_BGTH = (x[..., :T].swapaxes(2, 3).astype(key_BGTH.dtype) for x in of_keys)
    return d_query_BGRTH, d_key_BGTH, d_value_BGTH, None


_attend_rows.defvjp(_attend_rows_forward, _attend_rows_backward)


def _row(arrays: Any, b: Array) -> Any:
    """Return row `b` of each array."""
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, b, keepdims=False), arrays)


def _forward(cuts: Cuts, b: Array, row: tuple, done: Arrays) -> Arrays:
    """Write row `b` of the heads' outputs [B, G, R, T, H] and the sums' logs [B, G, R, T, 1]."""
    query_GRTH, key_GTH, value_GTH, sight = row
    G, R, _, H = query_GRTH.shape

    def of_queries(i: Array, done: Arrays) -> Arrays:
        query_GRQH = _cut(query_GRTH, i, cuts.span)
        sight_Q = sight.cut(i, cuts.span)

        def meet(rows: slice, keys: Keys, sums: Arrays) -> State:
            highest_GRQ1, total_GRQ1, mixed_GRQH = sums
            scores_GRQK = _scores(query_GRQH[:, :, rows], keys.of(key_GTH), sight_Q.of(rows), keys)
            new_GRQ1 = jnp.maximum(highest_GRQ1, jnp.max(scores_GRQK, axis=-1, keepdims=True))
            weights_GRQK = jnp.exp(scores_GRQK - new_GRQ1)
            shrink_GRQ1 = jnp.exp(highest_GRQ1 - new_GRQ1)
            total_GRQ1 = total_GRQ1 * shrink_GRQ1 + jnp.sum(weights_GRQK, axis=-1, keepdims=True)
            added_GRQH = _matmul(weights_GRQK.astype(value_GTH.dtype), keys.of(value_GTH))
            return (new_GRQ1, total_GRQ1, mixed_GRQH * shrink_GRQ1 + added_GRQH), ()

        none_GRQ1 = jnp.zeros((G, R, cuts.span, 1))
        sums = (none_GRQ1 + NEGATIVE, none_GRQ1, jnp.zeros((G, R, cuts.span, H)))
        blocks, _ = _over_keys(cuts, b, i, sight_Q, meet, (sums, ()))
        for place, (highest_GRQ1, total_GRQ1, mixed_GRQH) in blocks:
            log_total_GRQ1 = highest_GRQ1 + jnp.log(total_GRQ1)
            mixed_GRQH /= total_GRQ1
            done = _put(done[0], mixed_GRQH, b, place), _put(done[1], log_total_GRQ1, b, place)
        return done

    return jax.lax.fori_loop(0, cuts.spans, of_queries, done)


def _backward(cuts: Cuts, b: Array, row: tuple, gradients: Arrays) -> Arrays:
    """Write row `b` of the gradients of queries [B, G, R, T, H], keys and values [B, G, H, T].

    With w = softmax(q k) and o = w v: dv = w^T do, ds = w (do v^T - do . o), dq = ds k.
    """
    query_GRTH, key_GTH, value_GTH, sight, mixed_GRTH, log_total_GRT1, gradient_GRTH = row
    dtype = query_GRTH.dtype
    products = gradient_GRTH.astype(jnp.float32) * mixed_GRTH.astype(jnp.float32)
    inner_GRT1 = jnp.sum(products, axis=-1, keepdims=True)

    def of_queries(i: Array, gradients: Arrays) -> Arrays:
        rows = (query_GRTH, gradient_GRTH, inner_GRT1, log_total_GRT1)
        of_rows = [_cut(x, i, cuts.span) for x in rows]
        sight_Q = sight.cut(i, cuts.span)

        def meet(rows: slice, keys: Keys, sums: Arrays) -> State:
            query, d_mixed, inner, log_total = (x[:, :, rows] for x in of_rows)
            key_GKH, value_GKH = keys.of(key_GTH), keys.of(value_GTH)
            scores_GRQK = _scores(query, key_GKH, sight_Q.of(rows), keys)
            weights_GRQK = jnp.exp(scores_GRQK - log_total)
            d_weights_GRQK = _matmul(d_mixed, value_GKH.swapaxes(1, 2))
            d_scores_GRQK = (weights_GRQK * (d_weights_GRQK - inner)).astype(dtype)
            d_key_GHK = _over_queries(query, d_scores_GRQK)
            d_value_GHK = _over_queries(d_mixed, weights_GRQK.astype(dtype))
            return (sums[0] + _matmul(d_scores_GRQK, key_GKH),), (d_key_GHK, d_value_GHK)

        none = (jnp.zeros(of_rows[0].shape),)
        blocks, of_keys = _over_keys(cuts, b, i, sight_Q, meet, (none, gradients[1:]))
        d_query_BGRTH = gradients[0]
        for place, (d_query_GRQH,) in blocks:
            d_query_BGRTH = _put(d_query_BGRTH, d_query_GRQH, b, place)
        return d_query_BGRTH, *of_keys

    return jax.lax.fori_loop(0, cuts.spans, of_queries, gradients)


def _over_keys(
    cuts: Cuts, b: Array, index: Array, sight_Q: Sight, meet: Meet, state: State
) -> tuple[list[tuple[Array, Arrays]], Arrays]:
    """Let the queries of span `index` of row `b` meet all keys that they see.

    Return the place of each block of queries with what they sum up, and what keys get: [G, H, K] of
    each, added to [B, G, H, T].
    """
    place = index * cuts.span

    def add(rows: slice, keys: Keys, state: State) -> State:
        sums, parts = meet(rows, keys, state[0])
        return sums, tuple(_add(x, y, b, keys.place) for x, y in zip(state[1], parts, strict=True))

    def before(block: Array, state: State) -> State:
        return add(slice(0, cuts.span), Keys(block * cuts.size, cuts.size, last=False), state)

    if cuts.spans > 1:
        first = sight_Q.start[0] // cuts.size
        state = jax.lax.fori_loop(first, index * cuts.blocks, before, state)
    sums, of_keys = state
    blocks = []
    for start in range(0, cuts.span, cuts.size):
        rows = slice(start, start + cuts.size)
        own = tuple(x[:, :, rows] for x in sums)
        own, of_keys = add(rows, Keys(place, rows.stop, last=True), (own, of_keys))
        blocks.append((place + start, own))
    return blocks, of_keys


def _scores(query_GRQH: Array, key_GKH: Array, sight_Q: Sight, keys: Keys) -> Array:
    """Return the masked scores [G, R, Q, K].

    The mask compares a running index with a number or three a query: unlike a comparison of
    segment ids it vectorises, which is worth a factor of two. Whether a place lies between two
    others is one comparison: counted from the first without a sign, places before it are huge.
    """
    scores_GRQK = _matmul(query_GRQH, key_GKH.swapaxes(1, 2))
    shape = scores_GRQK.shape[2:]
    offsets_QK = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    start_Q1 = (sight_Q.start - keys.place)[:, None]
    if keys.last:
        own_Q1 = keys.length - shape[0] + jnp.arange(shape[0])[:, None]
        after_QK, most_Q1 = ((x - start_Q1).astype(jnp.uint32) for x in (offsets_QK, own_Q1))
        seen_QK = after_QK <= most_Q1
    else:
        seen_QK = offsets_QK >= start_Q1
    if sight_Q.between is not None:
        end_Q1, branch_Q1 = ((x_Q - keys.place)[:, None] for x_Q in sight_Q.between)
        seen_QK &= (offsets_QK < end_Q1) | (offsets_QK >= branch_Q1)
    return jnp.where(seen_QK, scores_GRQK, NEGATIVE)


def _matmul(left_GRQn: Array, right_Gnm: Array) -> Array:
    """Return left @ right for each kv head: [G, R, Q, m] in float32."""
    flat_Gqn = left_GRQn.reshape(left_GRQn.shape[0], -1, left_GRQn.shape[-1])
    flat_Gqm = jnp.matmul(flat_Gqn, right_Gnm, preferred_element_type=jnp.float32)
    return flat_Gqm.reshape(*left_GRQn.shape[:3], -1)


def _over_queries(left_GRQn: Array, right_GRQm: Array) -> Array:
    """Return left^T right for each kv head, over all its queries: [G, n, m] in float32."""
    left, right = (x.reshape(x.shape[0], -1, x.shape[-1]) for x in (left_GRQn, right_GRQm))
    return jnp.matmul(left.swapaxes(1, 2), right, preferred_element_type=jnp.float32)


def _cut(x: Array, index: Array, block: int) -> Array:
    """Return block `index` of [G, R, T, n] or [T]."""
    return jax.lax.dynamic_slice_in_dim(x, index * block, block, 2 if x.ndim == 4 else 0)


def _put(x_BGRTn: Array, part_GRQn: Array, b: Array, place: Array) -> Array:
    """Write [G, R, Q, n] into row `b` of [B, G, R, T, n] from `place` on."""
    part_1GRQn = part_GRQn[None].astype(x_BGRTn.dtype)
    return jax.lax.dynamic_update_slice(x_BGRTn, part_1GRQn, (b, 0, 0, place, 0))


def _add(x_BGHT: Array, part_GHK: Array, b: Array, place: Array) -> Array:
    """Add [G, H, K] to row `b` of [B, G, H, T] from `place` on."""
    start, part_1GHK = (b, 0, 0, place), part_GHK[None]
    before_1GHK = jax.lax.dynamic_slice(x_BGHT, start, part_1GHK.shape)
    return jax.lax.dynamic_update_slice(x_BGHT, before_1GHK + part_1GHK, start)
