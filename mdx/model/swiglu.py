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
    """With s = sigmoid(gate): d gate = up (s + gate s (1 - s)), d up = gate s."""
    wide = (x.astype(jnp.float32) for x in (*kept, gradient))
    d_gate, d_up = jax.lax.platform_dependent(*wide, cpu=gradients_on_cpu, default=gradients)
    return d_gate.astype(gradient.dtype), d_up.astype(gradient.dtype)


def gradients(gate: Array, up: Array, gradient: Array) -> tuple[Array, Array]:
    """Return d gate and d up, all arrays float32 and of one shape.

    s comes from exp(-|gate|), which no compiler takes for the forward pass's exp(-gate).
    """
    small = jnp.exp(-jnp.abs(gate))
    sigmoid = jnp.where(gate < 0, small, 1) / (1 + small)
    return gradient * up * sigmoid * (1 + gate * (1 - sigmoid)), gradient * gate * sigmoid


def gradients_on_cpu(gate: Array, up: Array, gradient: Array) -> tuple[Array, Array]:
    """Do the same with s computed twice: a CPU takes longer to keep it and to find it memory.

    XLA keeps what two loops have in common, and also a quotient that one loop uses twice or whose
    shape is not that of the products around it. So each loop has one quotient, of an exponential of
    its own: of -|gate|, and of half of that, squared.
    """
    shape = gate.shape
    gate, up, gradient = (x.reshape(-1, shape[-1]) for x in (gate, up, gradient))
    small = jnp.exp(-jnp.abs(gate))
    above, below = 1 + small + gate * small, small * (1 + small + gate)
    d_gate = gradient * up * (jnp.where(gate < 0, below, above) / jnp.square(1 + small))
    small = jnp.square(jnp.exp(-0.5 * jnp.abs(gate)))
    d_up = gradient * gate * (jnp.where(gate < 0, small, 1) / (1 + small))
    return d_gate.reshape(shape), d_up.reshape(shape)


swiglu.defvjp(_swiglu_forward, _swiglu_backward)
