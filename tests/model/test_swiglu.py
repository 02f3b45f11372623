"""The gated activation against its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.swiglu import swiglu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_swiglu_are_those_of_its_definition_however_large_the_gate(dtype):
    gate = jnp.concatenate([jnp.linspace(-30, 30, 601), jnp.array([-1e4, -200, 200, 1e4])])
    up = jnp.cos(jnp.arange(gate.size))
    gate, up = gate.astype(dtype), up.astype(dtype)

    def plain(gate, up):
        return jax.nn.silu(gate) * up

    found = jax.jit(jax.grad(lambda *x: swiglu(*x).astype(jnp.float32).sum(), argnums=(0, 1)))
    with jax.enable_x64(True):
        exact = jax.grad(lambda *x: plain(*x).sum(), argnums=(0, 1))(
            gate.astype(jnp.float64), up.astype(jnp.float64)
        )
    tolerance = 3e-6 if dtype == "float32" else 3e-2
    for a, b in zip(found(gate, up), exact, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=tolerance, atol=tolerance)


def test_backward_pass_of_swiglu_keeps_no_sigmoid():
    depth, width = 6, 1024
    x, up, down = jnp.ones((64, 8)), jnp.ones((8, width)), jnp.ones((width, 8))

    def layers(x, up, down):
        for _ in range(depth):
            x = x + swiglu(x @ up, x @ (2 * up)) @ down
        return x.sum()

    gradient = jax.jit(jax.grad(layers, argnums=(0, 1, 2)))
    taken = gradient.lower(x, up, down).compile().memory_analysis().temp_size_in_bytes
    # Three arrays a layer (gate, up and what goes down) and those at work; sigmoids make it 31.
    assert taken / (64 * width * x.itemsize) < 3 * depth + 10
