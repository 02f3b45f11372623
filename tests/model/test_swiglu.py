"""The gated activation against its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.swiglu import gradients, gradients_on_cpu, swiglu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_swiglu_are_those_of_its_definition_however_large_the_gate(dtype):
    gate, up = gates_and_ups(dtype)
    found = jax.jit(jax.grad(lambda *x: swiglu(*x).astype(jnp.float32).sum(), argnums=(0, 1)))
    tolerance = 3e-6 if dtype == "float32" else 3e-2
    for a, b in zip(found(gate, up), exact_gradients(gate, up), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("form", [gradients, gradients_on_cpu])
def test_every_platforms_form_of_the_gradients_is_exact(form):
    gate, up = gates_and_ups("float32")
    found = jax.jit(form)(gate, up, jnp.ones_like(gate))
    for a, b in zip(found, exact_gradients(gate, up), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=3e-6)


def gates_and_ups(dtype):
    gate = jnp.concatenate([jnp.linspace(-30, 30, 601), jnp.array([-1e4, -200, 200, 1e4])])
    return gate.astype(dtype), jnp.cos(jnp.arange(gate.size)).astype(dtype)


def exact_gradients(gate, up):
    with jax.enable_x64(True):
        gradient = jax.grad(lambda gate, up: (jax.nn.silu(gate) * up).sum(), argnums=(0, 1))
        return gradient(gate.astype(jnp.float64), up.astype(jnp.float64))


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
