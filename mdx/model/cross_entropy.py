"""The weighted cross-entropy of tokens, whose forward pass also makes its gradient.

The loss of CPT and SFT is linear in the log-probabilities, with weights that are known beforehand.
So the stretch of logits that gives a stretch's loss gives its gradient too, up to the factor that
the backward pass brings: three products of the head instead of the four of
`mdx.model.logprobs.token_logprobs`, whose weights are not known until the loss is, and like there
never more than one [block, V] array. Without differentiation the forward pass is the loss alone.

Legend: B batch, T time, D hidden, V vocabulary, C time steps in a stretch, S stretches.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdx.model.logprobs import logits_of, stretches, wanted_first
from mdx.model.sharding import over_rows


def cross_entropy_sum(
    hidden_BTD: Float[Array, "B T D"],
    head_VD: Float[Array, "V D"],
    tokens_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    *,
    block: int = 1024,
) -> Float[Array, ""]:
    """Return -sum over t of weights[t] log p(tokens[t] | tokens[<t]), p = softmax(hidden head^T).

    weights_BT: constants for differentiation; weight 0 costs nothing where whole stretches have it
        (`token_logprobs`), and time 0 counts for nothing.
    block: at most this many tokens' logits exist on a device at one time (at least one a row).
    """
    if not jax.sharding.get_abstract_mesh().empty:
        head_VD = head_VD.astype(hidden_BTD.dtype)  # what devices send each other is half as much
    of_devices = over_rows(
        partial(_sum_rows, block=block), (hidden_BTD, tokens_BT, weights_BT), head_VD
    )
    return of_devices.sum()


def _sum_rows(rows: tuple[Array, Array, Array], head_VD: Array, *, block: int) -> Array:
    """Return the sum over these rows, as [1]: what each device brings."""
    hidden_BTD, tokens_BT, weights_BT = rows
    B, T = tokens_BT.shape
    weights_BT = weights_BT[:, 1:].astype(jnp.float32)
    _, arrays = wanted_first(weights_BT != 0, (hidden_BTD[:, :-1], tokens_BT[:, 1:], weights_BT))
    steps = min(max(block // B, 1), max(T - 1, 1))
    hidden_SBCD, targets_SBC, weights_SBC = (stretches(x, steps) for x in arrays)
    return _summed(hidden_SBCD, head_VD, targets_SBC, weights_SBC)[None]


@jax.custom_vjp
def _summed(hidden_SBCD: Array, head_VD: Array, targets_SBC: Array, weights_SBC: Array) -> Array:
    """Return the sum as a scalar."""

    def step(total: Array, stretch: tuple[Array, Array, Array]) -> tuple[Array, None]:
        some = jnp.any(stretch[2] != 0)
        return total + jax.lax.cond(some, lambda: _loss(stretch, head_VD)[0], _zero), None

    return jax.lax.scan(step, _zero(), (hidden_SBCD, targets_SBC, weights_SBC))[0]


def _summed_forward(*primals: Any) -> tuple[Array, tuple]:
    """Return the sum and its gradients by the hidden states and, unless it is frozen, the head.

    With z = hidden head^T: d/dz = weight (p - onehot).
    """
    hidden_SBCD, head_VD, targets_SBC, weights_SBC = (x.value for x in primals)
    dtype = hidden_SBCD.dtype
    places_11V = jnp.arange(head_VD.shape[0])[None, None]

    def step(sums: tuple[Array, Array | None], stretch: tuple[Array, ...]) -> tuple[Any, Array]:
        total, d_head_VD = sums
        hidden_BCD, targets_BC, weights_BC = stretch

        def score() -> tuple[tuple[Array, Array | None], Array]:
            loss, p_BCV = _loss(stretch, head_VD)
            hit_BCV = places_11V == targets_BC[..., None]
            d_z_BCV = (weights_BC[..., None] * (p_BCV - hit_BCV)).astype(dtype)
            d_hidden_BCD = jnp.einsum("BCV,VD->BCD", d_z_BCV, head_VD.astype(dtype))
            if d_head_VD is None:
                return (total + loss, None), d_hidden_BCD
            flat_z, flat_hidden = (x.reshape(-1, x.shape[-1]) for x in (d_z_BCV, hidden_BCD))
            d_head = jnp.matmul(flat_z.T, flat_hidden, preferred_element_type=jnp.float32)
            return (total + loss, d_head_VD + d_head), d_hidden_BCD

        skipped = (sums, jnp.zeros_like(hidden_BCD))
        return jax.lax.cond(jnp.any(weights_BC != 0), score, lambda: skipped)

    d_head_VD = jnp.zeros(head_VD.shape, jnp.float32) if primals[1].perturbed else None
    (total, d_head_VD), d_hidden_SBCD = jax.lax.scan(
        step, (_zero(), d_head_VD), (hidden_SBCD, targets_SBC, weights_SBC)
    )
    like_head = jnp.zeros((0,), head_VD.dtype)
    return total, (d_hidden_SBCD, d_head_VD, like_head)


def _summed_backward(residuals: tuple, gradient: Array) -> tuple:
    """Multiply the forward pass's gradients by the sum's."""
    d_hidden_SBCD, d_head_VD, like_head = residuals
    d_hidden_SBCD = (d_hidden_SBCD * gradient).astype(d_hidden_SBCD.dtype)
    d_head_VD = None if d_head_VD is None else (d_head_VD * gradient).astype(like_head.dtype)
    return d_hidden_SBCD, d_head_VD, None, None


_summed.defvjp(_summed_forward, _summed_backward, symbolic_zeros=True)


def _loss(stretch: tuple[Array, ...], head_VD: Array) -> tuple[Array, Array]:
    """Return the stretch's weighted loss and its probabilities [B, C, V]."""
    hidden_BCD, targets_BC, weights_BC = stretch
    z_BCV = logits_of(hidden_BCD, head_VD)
    shifted_BCV = z_BCV - jnp.max(z_BCV, axis=-1, keepdims=True)
    exponentials_BCV = jnp.exp(shifted_BCV)
    total_BC1 = jnp.sum(exponentials_BCV, axis=-1, keepdims=True)
    chosen_BC = jnp.take_along_axis(shifted_BCV, targets_BC[..., None], axis=-1)[..., 0]
    loss = jnp.sum(weights_BC * (jnp.log(total_BC1[..., 0]) - chosen_BC))
    return loss, exponentials_BCV / total_BC1


def _zero() -> Array:
    return jnp.zeros((), jnp.float32)
