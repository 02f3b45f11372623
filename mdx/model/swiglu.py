"""silu(gate) * up, whose backward pass keeps nothing but gate and up.

Left to itself the backward pass would keep the sigmoid and silu(gate), too: two more arrays as wide
as the MLP for every layer. Reference: Shazeer 2020, "GLU Variants Improve Transformer".
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def swiglu(gate: Float[Array, "..."], up: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return silu(gate) * up, silu(x) = x sigmoid(x); gradients are computed in float32."""
    return jax.nn.silu(gate) * up


def _swiglu_forward(gate: Array, up: Array) -> tuple[Array, tuple[Array, Array]]:
    return swiglu(gate, up), (gate, up)


def _swiglu_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """With s = sigmoid(gate): d gate = up s (1 + gate (1 - s)), d up = gate s.

    s comes from exp(-|gate|), which no compiler takes for the forward pass's exp(-gate) and keeps.
    """
    dtype = gradient.dtype
    gate, up, gradient = (x.astype(jnp.float32) for x in (*kept, gradient))
    small = jnp.exp(-jnp.abs(gate))
    sigmoid = jnp.where(gate < 0, small, 1) / (1 + small)
    d_gate = gradient * up * sigmoid * (1 + gate * (1 - sigmoid))
    return d_gate.astype(dtype), (gradient * gate * sigmoid).astype(dtype)


swiglu.defvjp(_swiglu_forward, _swiglu_backward)
