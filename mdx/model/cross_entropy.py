"""The weighted cross-entropy of tokens, whose forward pass also makes its gradient.

The loss of CPT and SFT is linear in the log-probabilities, with weights that are known beforehand.
So the stretch of logits that gives a stretch's loss gives its gradient too, up to the factor that
the backward pass brings: three products of the head instead of the four of
`mdx.model.logprobs.token_logprobs`, whose weights are not known until the loss is, and like there
never more than one [block, V] array. Without differentiation the forward pass is the loss alone.

Legend: B batch, T time, D hidden, V vocabulary, C time steps in a stretch, S stretches,
N tokens of a stretch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdx.model.logprobs import logits_of, stretches, wanted_first
from mdx.model.sharding import as_joined, over_rows


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
    """Return the sum and its gradients by the hidden states and, unless it is frozen, the head."""
    hidden_SBCD, head_VD, targets_SBC, weights_SBC = (x.value for x in primals)
    trained = primals[1].perturbed
    total, *gradients = jax.lax.platform_dependent(
        *(hidden_SBCD, head_VD, targets_SBC, weights_SBC),
        cpu=partial(sum_and_gradients_on_cpu, trained=trained),
        default=partial(sum_and_gradients, trained=trained),
    )
    return total, (*gradients, jnp.zeros((0,), head_VD.dtype))


def sum_and_gradients(
    hidden_SBCD: Array, head_VD: Array, targets_SBC: Array, weights_SBC: Array, *, trained: bool
) -> tuple[Array, Array, Array | None]:
    """Return the sum and its gradients by the hidden states and the head, if that is `trained`.

    With z = hidden head^T: d/dz = weight (p - onehot).
    """
    dtype = hidden_SBCD.dtype
    places_11V = jnp.arange(head_VD.shape[0])[None, None]

    def score(d_head_DV: Array | None, stretch: tuple[Array, ...]) -> tuple[Any, ...]:
        hidden_BCD, targets_BC, weights_BC = stretch
        whole_VD = as_joined(head_VD)
        loss, e_BCV, total_BC1 = _loss(stretch, whole_VD)
        hit_BCV = places_11V == targets_BC[..., None]
        d_z_BCV = (weights_BC[..., None] * (e_BCV / total_BC1 - hit_BCV)).astype(dtype)
        d_hidden_BCD = jnp.einsum("BCV,VD->BCD", d_z_BCV, whole_VD.astype(dtype))
        if d_head_DV is not None:
            flat_z, flat_hidden = (x.reshape(-1, x.shape[-1]) for x in (d_z_BCV, hidden_BCD))
            d_head_DV += jnp.matmul(flat_hidden.T, flat_z, preferred_element_type=jnp.float32)
        return loss, d_head_DV, d_hidden_BCD

    return _over_stretches(score, head_VD, trained, (hidden_SBCD, targets_SBC, weights_SBC))


def sum_and_gradients_on_cpu(
    hidden_SBCD: Array, head_VD: Array, targets_SBC: Array, weights_SBC: Array, *, trained: bool
) -> tuple[Array, Array, Array | None]:
    """Do the same with one pass over the logits less, and products that a CPU is quick at.

    With e = exp(z - max z): d/dz = weight / total (e - total onehot). The factor goes to the hidden
    states, and the target is corrected in place. Only for a left side stored row by row does XLA
    use its quickest product, so the head's gradient is summed up transposed.
    """
    S, B, C, D = hidden_SBCD.shape
    dtype = hidden_SBCD.dtype
    columns_SDN = hidden_SBCD.reshape(S, B * C, D).swapaxes(1, 2)
    rows_N = jnp.arange(B * C)

    def score(d_head_DV: Array | None, stretch: tuple[Array, ...]) -> tuple[Any, ...]:
        _, targets_BC, weights_BC, columns_DN = stretch
        loss, e_BCV, total_BC1 = _loss(stretch[:3], head_VD)
        total_N = total_BC1.reshape(-1)
        e_NV = e_BCV.reshape(B * C, -1).at[rows_N, targets_BC.reshape(-1)].add(-total_N)
        e_NV, factor_N = e_NV.astype(dtype), weights_BC.reshape(-1) / total_N
        d_hidden_ND = (e_NV @ head_VD.astype(dtype)) * factor_N[:, None]
        if d_head_DV is not None:
            columns_DN = (columns_DN * factor_N[None]).astype(dtype)
            d_head_DV += jnp.matmul(columns_DN, e_NV, preferred_element_type=jnp.float32)
        return loss, d_head_DV, d_hidden_ND.astype(dtype).reshape(B, C, D)

    arrays_S = (hidden_SBCD, targets_SBC, weights_SBC, columns_SDN)
    return _over_stretches(score, head_VD, trained, arrays_S)


def _over_stretches(
    score: Callable[[Array | None, tuple[Array, ...]], tuple[Any, ...]],
    head_VD: Array,
    trained: bool,
    arrays_S: tuple[Array, ...],
) -> tuple[Array, Array, Array | None]:
    """Sum up what `score` makes of the stretches that have a weight; join their hidden states'.

    The head's gradient is summed up as [D, V], as the gathered head lies (`over_rows`).
    """

    def step(sums: tuple[Array, Array | None], stretch: tuple[Array, ...]) -> tuple[Any, Array]:
        def scored() -> tuple[tuple[Array, Array | None], Array]:
            loss, d_head_DV, d_hidden_BCD = score(sums[1], stretch)
            return (sums[0] + loss, d_head_DV), d_hidden_BCD

        skipped = (sums, jnp.zeros_like(stretch[0]))
        return jax.lax.cond(jnp.any(stretch[2] != 0), scored, lambda: skipped)

    d_head_DV = jnp.zeros(head_VD.shape[::-1], jnp.float32) if trained else None
    (total, d_head_DV), d_hidden_SBCD = jax.lax.scan(step, (_zero(), d_head_DV), arrays_S)
    return total, d_hidden_SBCD, None if d_head_DV is None else d_head_DV.T


def _summed_backward(residuals: tuple, gradient: Array) -> tuple:
    """Multiply the forward pass's gradients by the sum's."""
    d_hidden_SBCD, d_head_VD, like_head = residuals
    d_hidden_SBCD = (d_hidden_SBCD * gradient).astype(d_hidden_SBCD.dtype)
    d_head_VD = None if d_head_VD is None else (d_head_VD * gradient).astype(like_head.dtype)
    return d_hidden_SBCD, d_head_VD, None, None


_summed.defvjp(_summed_forward, _summed_backward, symbolic_zeros=True)


def _loss(stretch: tuple[Array, ...], head_VD: Array) -> tuple[Array, Array, Array]:
    """Return the stretch's weighted loss, exponentials [B, C, V] and their sum [B, C, 1]."""
    hidden_BCD, targets_BC, weights_BC = stretch
    z_BCV = logits_of(hidden_BCD, head_VD)
    highest_BC1 = jnp.max(z_BCV, axis=-1, keepdims=True)
    exponentials_BCV = jnp.exp(z_BCV - highest_BC1)
    total_BC1 = jnp.sum(exponentials_BCV, axis=-1, keepdims=True)
    chosen_BC1 = jnp.take_along_axis(z_BCV, targets_BC[..., None], axis=-1) - highest_BC1
    loss = jnp.sum(weights_BC * (jnp.log(total_BC1) - chosen_BC1)[..., 0])
    return loss, exponentials_BCV, total_BC1


def _zero() -> Array:
    return jnp.zeros((), jnp.float32)
