"""Log-probabilities and entropies of tokens, without ever holding the logits of a whole batch.

The head, the log-softmax and the entropy are computed for a stretch of time of every row at
once; the backward pass computes the stretch's logits again. Both passes therefore hold one
[block, V] array, whatever the batch. Every device scores its own rows with the whole head, which
is gathered once; the head's gradient is summed over the devices once. Where a mask says that few
tokens of a row matter (the completions), the wanted tokens are moved to the front of their row and
the stretches behind them are skipped.

Legend: B batch, T time, D hidden, V vocabulary, C time steps in a stretch, S stretches.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdx.model.rowwise import prompt_ends
from mdx.model.sharding import as_joined, over_rows


def token_logprobs(
    hidden_BTD: Float[Array, "B T D"],
    head_VD: Float[Array, "V D"],
    tokens_BT: Int[Array, "B T"],
    *,
    temperature: float | Array = 1.0,
    block: int = 1024,
    mask_BT: Float[Array, "B T"] | None = None,
    branches_BT: Int[Array, "B T"] | None = None,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """Return log p(tokens[t] | tokens[<t]) and the entropy of p( . | tokens[<t]), float32.

    p = softmax(hidden[t-1] head^T / temperature). Both are 0 at t = 0, and the values at a
    segment's first token belong to no distribution of that segment: mask them.

    temperature: > 0; a constant for differentiation.
    block: at most this many tokens' logits exist on a device at one time (at least one a row).
    mask_BT: where given, tokens of mask 0 get 0, and stretches without a wanted one cost nothing.
    branches_BT: where given (`mdx.model.attention.attend`), what stands before the first token of a
    continuation is the last token of its prompt.
    """
    scale = 1.0 / jnp.asarray(temperature, jnp.float32)
    if not jax.sharding.get_abstract_mesh().empty:
        head_VD = head_VD.astype(hidden_BTD.dtype)  # what devices send each other is half as much
    values_BT2 = over_rows(
        partial(_score_rows, block=block),
        (hidden_BTD, tokens_BT, mask_BT, branches_BT),
        head_VD,
        scale,
    )
    return values_BT2[..., 0], values_BT2[..., 1]


def _score_rows(
    rows: tuple[Array, Array, Array | None, Array | None],
    head_VD: Array,
    scale: Array,
    *,
    block: int,
) -> Array:
    """Return [B, T, 2]: the log-probability and the entropy of every token of these rows."""
    hidden_BTD, tokens_BT, mask_BT, branches_BT = rows
    B, T = tokens_BT.shape
    targets_BT = tokens_BT[:, 1:]
    if branches_BT is None:
        hidden_BTD = hidden_BTD[:, :-1]
    else:
        places_BT = places_before(branches_BT)[:, 1:]
        hidden_BTD = jnp.take_along_axis(hidden_BTD, places_BT[:, :, None], axis=1)
    wanted_BT = jnp.ones((B, T - 1), bool) if mask_BT is None else mask_BT[:, 1:] != 0
    order_BT = None
    if mask_BT is not None:
        order_BT, (hidden_BTD, targets_BT, wanted_BT) = wanted_first(
            wanted_BT, (hidden_BTD, targets_BT, wanted_BT)
        )
    steps = min(max(block // B, 1), max(T - 1, 1))
    hidden_SBCD, targets_SBC, wanted_SBC = (
        stretches(x, steps) for x in (hidden_BTD, targets_BT, wanted_BT)
    )
    values_SBC2 = _scored(hidden_SBCD, head_VD, targets_SBC, wanted_SBC, scale)
    values_BT2 = values_SBC2.transpose(1, 0, 2, 3).reshape(B, -1, 2)[:, : T - 1]
    if order_BT is not None:
        inverse_BT = jnp.argsort(order_BT, axis=1)
        values_BT2 = jnp.take_along_axis(values_BT2, inverse_BT[:, :, None], axis=1)
    return jnp.pad(values_BT2, ((0, 0), (1, 0), (0, 0)))


def places_before(branches_BT: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Return the place in the row of what stands before each token: of its branch, or its prompt.

    Those of a segment's first token are not in its segment, and that of a row's is 0.
    """
    places_1T = jnp.arange(branches_BT.shape[1])[None]
    same_BT = jnp.pad(branches_BT[:, 1:] == branches_BT[:, :-1], ((0, 0), (1, 0)))
    return jnp.where(
        same_BT | (branches_BT == 0), jnp.maximum(places_1T - 1, 0), prompt_ends(branches_BT) - 1
    )


def wanted_first(
    wanted_BT: Array, arrays: tuple[Array, ...]
) -> tuple[Int[Array, "B T"], tuple[Array, ...]]:
    """Return the order that puts a row's wanted tokens first, and [B, T, ...] `arrays` in it."""
    order_BT = jnp.argsort(~wanted_BT, axis=1, stable=True)

    def ordered(x: Array) -> Array:
        order = order_BT.reshape(*order_BT.shape, *[1] * (x.ndim - 2))
        return jnp.take_along_axis(x, order, axis=1)

    return order_BT, tuple(map(ordered, arrays))


def stretches(x_BT: Array, steps: int) -> Array:
    """Cut time into [S, B, steps, ...], the last stretch filled with zeros."""
    B, T = x_BT.shape[:2]
    count = -(-T // steps)
    padding = [(0, 0), (0, count * steps - T)] + [(0, 0)] * (x_BT.ndim - 2)
    return jnp.pad(x_BT, padding).reshape(B, count, steps, *x_BT.shape[2:]).swapaxes(0, 1)


@jax.custom_vjp
def _scored(
    hidden_SBCD: Array, head_VD: Array, targets_SBC: Array, wanted_SBC: Array, scale: Array
) -> Array:
    """Return [S, B, C, 2]: log-probability and entropy, 0 where not wanted."""
    return _scored_values(hidden_SBCD, head_VD, targets_SBC, wanted_SBC, scale)[0]


def _scored_forward(*primals: Any) -> tuple[Array, tuple]:
    """Return the values and what the backward pass needs, the head's gradient or not included.

    A frozen head (LoRA) has no gradient, and must not cost [V, D] numbers and a third product.
    """
    hidden_SBCD, head_VD, targets_SBC, wanted_SBC, scale = (x.value for x in primals)
    values_SBC2, log_total_SBC = _scored_values(*(x.value for x in primals))
    head_is_trained = () if primals[1].perturbed else None  # the structure is static, no array is
    inputs = (hidden_SBCD, targets_SBC, wanted_SBC, head_VD, scale)
    return values_SBC2, (*inputs, values_SBC2[..., 1], log_total_SBC, head_is_trained)


def _scored_values(
    hidden_SBCD: Array, head_VD: Array, targets_SBC: Array, wanted_SBC: Array, scale: Array
) -> tuple[Array, Array]:
    """Return the values of `_scored` and the logarithm of the sum of exponentials [S, B, C]."""

    def score(hidden_BCD: Array, targets_BC: Array, wanted_BC: Array) -> tuple[Array, Array]:
        z_BCV = logits_of(hidden_BCD, as_joined(head_VD)) * scale
        highest_BC1 = jnp.max(z_BCV, axis=-1, keepdims=True)
        shifted_BCV = z_BCV - highest_BC1
        weights_BCV = jnp.exp(shifted_BCV)
        total_BC = jnp.sum(weights_BCV, axis=-1)
        mean_BC = jnp.sum(weights_BCV * shifted_BCV, axis=-1) / total_BC
        chosen_BC = jnp.take_along_axis(shifted_BCV, targets_BC[..., None], axis=-1)[..., 0]
        log_total_BC = jnp.log(total_BC)
        values_BC2 = jnp.stack([chosen_BC - log_total_BC, log_total_BC - mean_BC], axis=-1)
        values_BC2 = jnp.where(wanted_BC[..., None], values_BC2, 0.0)
        return values_BC2, highest_BC1[..., 0] + log_total_BC

    def step(carry: None, stretch: tuple[Array, Array, Array]) -> tuple[None, Any]:
        shape = stretch[1].shape
        skipped = (jnp.zeros((*shape, 2)), jnp.zeros(shape))
        return carry, jax.lax.cond(jnp.any(stretch[2]), lambda: score(*stretch), lambda: skipped)

    return jax.lax.scan(step, None, (hidden_SBCD, targets_SBC, wanted_SBC))[1]


def _scored_backward(residuals: tuple, gradient_SBC2: Array) -> tuple:
    """With z = hidden head^T scale: dlogp/dz = onehot - p and dH/dz = -p (log p + H)."""
    hidden_SBCD, targets_SBC, wanted_SBC, head_VD, scale = residuals[:5]
    entropy_SBC, log_total_SBC, head_is_trained = residuals[5:]
    gradient_SBC2 = jnp.where(wanted_SBC[..., None], gradient_SBC2, 0.0) * scale
    d_chosen_SBC, d_entropy_SBC = gradient_SBC2[..., 0], gradient_SBC2[..., 1]
    offset_SBC = d_chosen_SBC + d_entropy_SBC * entropy_SBC
    places_11V = jnp.arange(head_VD.shape[0])[None, None]

    def step(d_head_VD: Array | None, stretch: tuple[Array, ...]) -> tuple[Array | None, Array]:
        hidden_BCD, wanted_BC = stretch[:2]
        targets, log_total, d_chosen, d_entropy, offset = (x[..., None] for x in stretch[2:])

        def pull() -> tuple[Array | None, Array]:
            whole_VD = as_joined(head_VD)
            log_p_BCV = logits_of(hidden_BCD, whole_VD) * scale - log_total
            d_z_BCV = -jnp.exp(log_p_BCV) * (offset + d_entropy * log_p_BCV)
            d_z_BCV = (d_z_BCV + jnp.where(places_11V == targets, d_chosen, 0.0)).astype(dtype)
            d_hidden_BCD = jnp.einsum("BCV,VD->BCD", d_z_BCV, whole_VD.astype(dtype))
            if d_head_VD is None:
                return None, d_hidden_BCD
            flat_z, flat_hidden = (x.reshape(-1, x.shape[-1]) for x in (d_z_BCV, hidden_BCD))
            d_head = jnp.matmul(flat_z.T, flat_hidden, preferred_element_type=jnp.float32)
            return d_head_VD + d_head, d_hidden_BCD

        skipped = (d_head_VD, jnp.zeros_like(hidden_BCD))
        return jax.lax.cond(jnp.any(wanted_BC), pull, lambda: skipped)

    dtype = hidden_SBCD.dtype
    values = (targets_SBC, log_total_SBC, d_chosen_SBC, d_entropy_SBC, offset_SBC)
    # Not [D, V] as in `mdx.model.cross_entropy`: a TPU's compiler takes a seventh longer for that
    # here, and the step is no faster (docs/log.md).
    start = None if head_is_trained is None else jnp.zeros(head_VD.shape, jnp.float32)
    d_head_VD, d_hidden_SBCD = jax.lax.scan(step, start, (hidden_SBCD, wanted_SBC, *values))
    d_head_VD = None if d_head_VD is None else d_head_VD.astype(head_VD.dtype)
    return d_hidden_SBCD, d_head_VD, None, None, None


_scored.defvjp(_scored_forward, _scored_backward, symbolic_zeros=True)


def logits_of(hidden_BCD: Array, head_VD: Array) -> Array:
    """Return the head's float32 logits [B, C, V]."""
    return jnp.einsum(
        "BCD,VD->BCV",
        hidden_BCD,
        head_VD.astype(hidden_BCD.dtype),
        preferred_element_type=jnp.float32,
    )
