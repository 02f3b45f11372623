import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.logprobs import places_before, token_logprobs

B, T, D, V = 3, 23, 16, 50


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (B, T, D))
    head = jax.random.normal(keys[1], (V, D))
    tokens = jax.random.randint(keys[2], (B, T), 0, V)
    mask = (jax.random.uniform(keys[3], (B, T)) < 0.3).astype(jnp.float32)
    return hidden, head, tokens, mask.at[1].set(0.0)


def reference(hidden, head, tokens, temperature):
    z = np.einsum("btd,vd->btv", *(np.asarray(x, np.float64) for x in (hidden, head)))[:, :-1]
    z = z / temperature - z.max(-1, keepdims=True) / temperature
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, np.asarray(tokens)[:, 1:, None], axis=-1)[..., 0]
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    return tuple(np.pad(x, ((0, 0), (1, 0))) for x in (chosen, entropy))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("block", [1, 20, 1000])
def test_values_equal_the_definition(inputs, temperature, block):
    hidden, head, tokens, _ = inputs
    found = token_logprobs(hidden, head, tokens, temperature=temperature, block=block)
    for a, b in zip(found, reference(hidden, head, tokens, temperature), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
        assert np.all(np.asarray(a)[:, 0] == 0)


def test_the_last_token_of_a_prompt_stands_before_each_of_its_continuations():
    branches = jnp.asarray([[0, 0, 1, 1, 2, 3, 0, 0, 1], [0, 1, 0, 0, 0, 1, 1, 2, 2]])
    expected = [[0, 0, 1, 2, 1, 1, 5, 6, 7], [0, 0, 1, 2, 3, 4, 5, 4, 7]]
    np.testing.assert_array_equal(places_before(branches), expected)


def test_values_come_from_the_places_before(inputs):
    hidden, head, tokens, mask = inputs
    branches = jnp.zeros((B, T), jnp.int32).at[:, 4:9].set(1).at[:, 9:15].set(2).at[:, 15:].set(3)
    before = places_before(branches)
    found = token_logprobs(hidden, head, tokens, block=9, mask_BT=mask, branches_BT=branches)
    moved = jnp.take_along_axis(hidden, before[:, 1:, None], axis=1)
    moved = jnp.pad(moved, ((0, 0), (0, 1), (0, 0)))  # as the plain form reads it
    for a, b in zip(found, reference(moved, head, tokens, 1.0), strict=True):
        np.testing.assert_allclose(a, b * np.asarray(mask), atol=2e-5)


def test_masked_tokens_are_zero_and_the_others_unchanged(inputs):
    hidden, head, tokens, mask = inputs
    found = token_logprobs(hidden, head, tokens, block=9, mask_BT=mask)
    whole = token_logprobs(hidden, head, tokens, block=1000)
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a, np.asarray(b) * np.asarray(mask), atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_equal_those_of_the_plain_form(inputs, masked):
    hidden, head, tokens, mask = inputs
    weights = jax.random.normal(jax.random.key(7), (2, B, T)) * mask[None]

    def blocked(hidden, head):
        values = token_logprobs(
            hidden, head, tokens, temperature=0.7, block=9, mask_BT=mask if masked else None
        )
        return sum((w * v).sum() for w, v in zip(weights, values, strict=True))

    def plain(hidden, head):
        log_p = jax.nn.log_softmax(hidden[:, :-1] @ head.T / 0.7)
        chosen = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
        entropy = -(jnp.exp(log_p) * log_p).sum(-1)
        return (weights[0, :, 1:] * chosen).sum() + (weights[1, :, 1:] * entropy).sum()

    found = jax.jit(jax.grad(blocked, argnums=(0, 1)))(hidden, head)
    expected = jax.jit(jax.grad(plain, argnums=(0, 1)))(hidden, head)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_frozen_head_costs_no_gradient_and_changes_none(inputs):
    hidden, head, tokens, _ = inputs

    def objective(hidden, head):
        return token_logprobs(hidden, head, tokens, block=9)[0].sum()

    frozen, trained = jax.grad(objective), jax.grad(objective, argnums=(0, 1))
    np.testing.assert_array_equal(frozen(hidden, head), trained(hidden, head)[0])
    products = [
        str(jax.make_jaxpr(f)(hidden, head)).count("dot_general") for f in (frozen, trained)
    ]
    assert products == [3, 4], (
        "logits twice, the hidden states', and the head's where it is trained"
    )


def test_a_mask_without_any_token_gives_zero_gradients(inputs):
    hidden, head, tokens, mask = inputs

    def objective(hidden, head):
        return token_logprobs(hidden, head, tokens, block=9, mask_BT=0 * mask)[0].sum()

    for gradient in jax.grad(objective, argnums=(0, 1))(hidden, head):
        assert not np.any(np.asarray(gradient))


@pytest.mark.parametrize("with_mask", [False, True])
def test_no_buffer_of_logits_is_larger_than_a_block(with_mask):
    rows, time, vocabulary, block = 4, 256, 4096, 64
    hidden, head = jnp.zeros((rows, time, 8)), jnp.zeros((vocabulary, 8))
    tokens, mask = jnp.zeros((rows, time), jnp.int32), jnp.ones((rows, time))

    def objective(hidden, head):
        values = token_logprobs(
            hidden, head, tokens, block=block, mask_BT=mask if with_mask else None
        )
        return values[0].sum() + values[1].sum()

    compiled = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(hidden, head).compile()
    largest = max(
        np.prod([int(n) for n in shape.split(",")])
        for shape in _shapes(compiled.as_text())
        if str(vocabulary) in shape.split(",")
    )
    assert largest == block * vocabulary
    assert compiled.memory_analysis().temp_size_in_bytes < 8 * block * vocabulary * 4


def _shapes(hlo):
    return re.findall(r"[a-z]+\d+\[([\d,]+)\]", hlo)
