"""The cross-entropy that makes its own gradient, against definitions that hold all logits."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.cross_entropy import (
    cross_entropy_sum,
    sum_and_gradients,
    sum_and_gradients_on_cpu,
)

B, T, D, V = 3, 23, 16, 50


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 5)
    hidden = jax.random.normal(keys[0], (B, T, D))
    head = jax.random.normal(keys[1], (V, D))
    tokens = jax.random.randint(keys[2], (B, T), 0, V)
    weights = jax.random.normal(keys[3], (B, T)) * (jax.random.uniform(keys[4], (B, T)) < 0.3)
    return hidden, head, tokens, weights.at[1].set(0.0)


def plain(hidden, head, tokens, weights):
    log_p = jax.nn.log_softmax(hidden[:, :-1] @ head.T)
    chosen = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
    return -(weights[:, 1:] * chosen).sum()


@pytest.mark.parametrize("block", [1, 9, 1000])
def test_value_and_gradients_equal_those_of_the_plain_form(inputs, block):
    def scaled(hidden, head, tokens, weights):
        return cross_entropy_sum(hidden, head, tokens, weights, block=block) / 7.0

    found = jax.jit(jax.value_and_grad(scaled, argnums=(0, 1)))(*inputs)
    expected = jax.jit(jax.value_and_grad(plain, argnums=(0, 1)))(*inputs)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, np.asarray(b) / 7.0, atol=1e-5)
    value = jax.jit(scaled)(*inputs)
    np.testing.assert_allclose(value, found[0], rtol=1e-6, err_msg="the loss alone")


def test_logits_are_computed_once_and_a_frozen_head_has_no_product(inputs):
    objective = cross_entropy_sum
    gradients = [jax.grad(objective, argnums=numbers) for numbers in (0, (0, 1))]
    frozen, trained = (f(*inputs) for f in gradients)
    np.testing.assert_array_equal(frozen, trained[0])
    products = [jax.jit(f).lower(*inputs).as_text().count("dot_general") for f in gradients]
    assert products == [2, 3], "logits, the hidden states', and the head's where it is trained"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_on_cpus_are_those_on_accelerators(inputs, dtype):
    hidden, head, tokens, weights = inputs
    by_stretch = jnp.stack([hidden, 2 * hidden]).astype(dtype), head
    of_tokens = jnp.stack([tokens, tokens + 1]) % V, jnp.stack([weights, 0 * weights])
    found, expected = (
        jax.jit(form, static_argnames="trained")(*by_stretch, *of_tokens, trained=True)
        for form in (sum_and_gradients_on_cpu, sum_and_gradients)
    )
    tolerance = 1e-5 if dtype == "float32" else 0.05
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_weights_of_zero_give_zero_gradients(inputs):
    hidden, head, tokens, weights = inputs
    gradients = jax.grad(cross_entropy_sum, argnums=(0, 1))(hidden, head, tokens, 0 * weights)
    for gradient in gradients:
        assert not np.any(np.asarray(gradient))


def test_gradients_keep_the_dtypes_of_what_they_belong_to(inputs):
    hidden, head, tokens, weights = inputs
    hidden = hidden.astype(jnp.bfloat16)
    found = jax.grad(cross_entropy_sum, argnums=(0, 1))(hidden, head, tokens, weights)
    exact = jax.grad(plain, argnums=(0, 1))(
        hidden.astype(jnp.float32), head.astype(jnp.bfloat16).astype(jnp.float32), tokens, weights
    )
    assert [x.dtype for x in found] == [jnp.bfloat16, jnp.float32]
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=0.05, atol=0.05)


def test_no_buffer_of_logits_is_larger_than_a_block():
    rows, time, vocabulary, block = 4, 256, 4096, 64
    hidden, head = jnp.zeros((rows, time, 8)), jnp.zeros((vocabulary, 8))
    tokens, weights = jnp.zeros((rows, time), jnp.int32), jnp.ones((rows, time))

    def objective(hidden, head):
        return cross_entropy_sum(hidden, head, tokens, weights, block=block)

    compiled = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(hidden, head).compile()
    shapes = re.findall(r"[a-z]+\d+\[([\d,]+)\]", compiled.as_text())
    sizes = [np.prod([*map(int, s.split(","))]) for s in shapes if str(vocabulary) in s.split(",")]
    assert max(sizes) == block * vocabulary
    assert compiled.memory_analysis().temp_size_in_bytes < 8 * block * vocabulary * 4
