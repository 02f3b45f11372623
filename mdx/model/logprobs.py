"""Log-probabilities and entropies of tokens, without ever holding the logits of a whole batch.

The head, the log-softmax and the entropy are computed for a stretch of time of every row at
once; the backward pass computes the stretch's logits again. Both passes therefore hold one
[block, V] array, whatever the batch. Rows stay rows, so a batch sharded over devices needs no
exchange. Where a mask says that few tokens of a row matter (the completions), the wanted tokens
are moved to the front of their row and the stretches behind them are skipped.

Legend: B batch, T time, D hidden, V vocabulary, C time steps in a stretch, S stretches.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def token_logprobs(
    hidden_BTD: Float[Array, "B T D"],
    head_VD: Float[Array, "V D"],
    tokens_BT: Int[Array, "B T"],
    *,
    temperature: float | Array = 1.0,
    block: int = 2048,
    mask_BT: Float[Array, "B T"] | None = None,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """Return log p(tokens[t] | tokens[<t]) and the entropy of p( . | tokens[<t]), float32.

    p = softmax(hidden[t-1] head^T / temperature). Both are 0 at t = 0, and the values at a
    segment's first token belong to no distribution of that segment: mask them.

    temperature: > 0; a constant for differentiation.
    block: at most this many tokens' logits exist at one time (at least one a row).
    mask_BT: where given, tokens of mask 0 get 0, and stretches without a wanted one cost nothing.
    """
    B, T = tokens_BT.shape
    hidden_BTD, targets_BT = hidden_BTD[:, :-1], tokens_BT[:, 1:]
    wanted_BT = jnp.ones((B, T - 1), bool) if mask_BT is None else mask_BT[:, 1:] != 0
    if mask_BT is not None:
        order_BT = jnp.argsort(~wanted_BT, axis=1, stable=True)
        hidden_BTD = jnp.take_along_axis(hidden_BTD, order_BT[:, :, None], axis=1)
        targets_BT = jnp.take_along_axis(targets_BT, order_BT, axis=1)
        wanted_BT = jnp.take_along_axis(wanted_BT, order_BT, axis=1)
    scale = 1.0 / jnp.asarray(temperature, jnp.float32)
    steps = min(max(block // B, 1), max(T - 1, 1))
    stretches = [_stretches(x, steps) for x in (hidden_BTD, targets_BT, wanted_BT)]
    values_SBC2 = _scored(stretches[0], head_VD, stretches[1], stretches[2], scale)
    values_BT2 = values_SBC2.transpose(1, 0, 2, 3).reshape(B, -1, 2)[:, : T - 1]
    if mask_BT is not None:
        inverse_BT = jnp.argsort(order_BT, axis=1)
        values_BT2 = jnp.take_along_axis(values_BT2, inverse_BT[:, :, None], axis=1)
    values_BT2 = jnp.pad(values_BT2, ((0, 0), (1, 0), (0, 0)))
    return values_BT2[..., 0], values_BT2[..., 1]


def _stretches(x_BT: Array, steps: int) -> Array:
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
    return _scored_forward(hidden_SBCD, head_VD, targets_SBC, wanted_SBC, scale)[0]


def _scored_forward(
    hidden_SBCD: Array, head_VD: Array, targets_SBC: Array, wanted_SBC: Array, scale: Array
) -> tuple[Array, tuple]:
    def score(hidden_BCD: Array, targets_BC: Array, wanted_BC: Array) -> Array:
        log_p_BCV = _log_softmax(hidden_BCD, head_VD, scale)
        chosen_BC = jnp.take_along_axis(log_p_BCV, targets_BC[..., None], axis=-1)[..., 0]
        entropy_BC = -jnp.sum(jnp.exp(log_p_BCV) * log_p_BCV, axis=-1)
        values_BC2 = jnp.stack([chosen_BC, entropy_BC], axis=-1)
        return jnp.where(wanted_BC[..., None], values_BC2, 0.0)

    def step(carry: None, stretch: tuple[Array, Array, Array]) -> tuple[None, Array]:
        skip = partial(jnp.zeros, (*stretch[1].shape, 2), jnp.float32)
        return carry, jax.lax.cond(jnp.any(stretch[2]), lambda: score(*stretch), skip)

    _, values_SBC2 = jax.lax.scan(step, None, (hidden_SBCD, targets_SBC, wanted_SBC))
    residuals = (hidden_SBCD, head_VD, targets_SBC, wanted_SBC, scale, values_SBC2[..., 1])
    return values_SBC2, residuals


def _scored_backward(residuals: tuple, gradient_SBC2: Array) -> tuple:
    """With z = hidden head^T scale: dlogp/dz = onehot - p and dH/dz = -p (log p + H)."""
    hidden_SBCD, head_VD, targets_SBC, wanted_SBC, scale, entropy_SBC = residuals

    def step(d_head_VD: Array, stretch: tuple[Array, ...]) -> tuple[Array, Array]:
        hidden_BCD, targets_BC, wanted_BC, entropy_BC, gradient_BC2 = stretch

        def pull() -> tuple[Array, Array]:
            log_p_BCV = _log_softmax(hidden_BCD, head_VD, scale)
            gradient = jnp.where(wanted_BC[..., None], gradient_BC2, 0.0) * scale
            d_chosen, d_entropy = gradient[..., :1], gradient[..., 1:]
            d_z_BCV = -jnp.exp(log_p_BCV) * (
                d_chosen + d_entropy * (log_p_BCV + entropy_BC[..., None])
            )
            is_target_BCV = targets_BC[..., None] == jnp.arange(head_VD.shape[0])[None, None]
            d_z_BCV = (d_z_BCV + jnp.where(is_target_BCV, d_chosen, 0.0)).astype(hidden_BCD.dtype)
            d_hidden = jnp.einsum("BCV,VD->BCD", d_z_BCV, head_VD.astype(hidden_BCD.dtype))
            d_head = jnp.einsum(
                "BCV,BCD->VD", d_z_BCV, hidden_BCD, preferred_element_type=jnp.float32
            )
            return d_head_VD + d_head, d_hidden

        skip = (d_head_VD, jnp.zeros_like(hidden_BCD))
        return jax.lax.cond(jnp.any(wanted_BC), pull, lambda: skip)

    start = jnp.zeros(head_VD.shape, jnp.float32)
    stretches = (hidden_SBCD, targets_SBC, wanted_SBC, entropy_SBC, gradient_SBC2)
    d_head_VD, d_hidden_SBCD = jax.lax.scan(step, start, stretches)
    return d_hidden_SBCD, d_head_VD.astype(head_VD.dtype), None, None, None


_scored.defvjp(_scored_forward, _scored_backward)


def _log_softmax(hidden_BCD: Array, head_VD: Array, scale: Array) -> Array:
    logits_BCV = jnp.einsum(
        "BCD,VD->BCV",
        hidden_BCD,
        head_VD.astype(hidden_BCD.dtype),
        preferred_element_type=jnp.float32,
    )
    return jax.nn.log_softmax(logits_BCV * scale, axis=-1)
