import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.draw import draw_tokens

V = 100  # not a multiple of the block


@pytest.fixture(scope="module")
def logits():
    return 2 * jax.random.normal(jax.random.key(0), (V,))


draw = jax.jit(draw_tokens)


def test_tokens_are_those_of_the_inverted_cumulative_sum(logits):
    uniforms = jnp.linspace(0, 1, 4001)[:-1]
    rows = jnp.broadcast_to(logits[None], (len(uniforms), V))
    tokens, _ = draw(rows, uniforms, jnp.float32(0.8), jnp.float32(1))
    p = np.exp(np.asarray(logits, np.float64) / 0.8)
    cumulative = np.cumsum(p / p.sum())
    expected = np.searchsorted(cumulative, np.asarray(uniforms), side="right")
    near = np.abs(cumulative[None] - np.asarray(uniforms)[:, None]).min(axis=1) < 1e-6
    np.testing.assert_array_equal(np.asarray(tokens)[~near], expected[~near])
    assert near.mean() < 0.01


def test_frequencies_match_probabilities_by_chi_square(logits):
    count = 40_000
    uniforms = jax.random.uniform(jax.random.key(1), (count,))
    rows = jnp.broadcast_to(logits[None], (count, V))
    tokens, _ = draw(rows, uniforms, jnp.float32(1), jnp.float32(1))
    expected = count * np.asarray(jax.nn.softmax(logits), np.float64)
    observed = np.bincount(np.asarray(tokens), minlength=V)
    rare = expected < 5
    observed, expected = (np.append(x[~rare], x[rare].sum()) for x in (observed, expected))
    chi_square = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_logprobs_are_those_of_the_tempered_distribution(logits):
    uniforms = jax.random.uniform(jax.random.key(2), (50,))
    rows = jax.random.normal(jax.random.key(3), (50, V))
    tokens, logprobs = draw(rows, uniforms, jnp.float32(0.5), jnp.float32(0.7))
    expected = jax.nn.log_softmax(rows / 0.5)[jnp.arange(50), tokens]
    np.testing.assert_allclose(logprobs, expected, atol=2e-6)


def test_temperature_zero_takes_the_likeliest_token_at_its_plain_logprob(logits):
    rows = jax.random.normal(jax.random.key(3), (20, V))
    tokens, logprobs = draw(rows, jnp.full(20, 0.99), jnp.float32(0), jnp.float32(1))
    np.testing.assert_array_equal(tokens, rows.argmax(-1))
    np.testing.assert_allclose(logprobs, jax.nn.log_softmax(rows).max(-1), atol=2e-6)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_nucleus_is_the_smallest_set_of_likeliest_tokens_with_the_mass(logits, top_p):
    uniforms = jnp.linspace(0, 1, 20_001)[:-1]
    rows = jnp.broadcast_to(logits[None], (len(uniforms), V))
    tokens, _ = draw(rows, uniforms, jnp.float32(1), jnp.float32(top_p))
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    order = np.argsort(-p)
    size = np.searchsorted(np.cumsum(p[order]), top_p) + 1
    allowed = set(order[:size].tolist())
    drawn = set(np.asarray(tokens).tolist())
    assert drawn <= allowed
    assert {t for t in allowed if p[t] > 2e-4} <= drawn


def test_a_token_of_probability_zero_is_never_drawn():
    rows = jnp.full((1000, V), -jnp.inf).at[:, 17].set(0.0).at[:, 63].set(0.0)
    uniforms = jnp.linspace(0, 1, 1001)[:-1]
    tokens, logprobs = draw(rows, uniforms, jnp.float32(1), jnp.float32(1))
    assert set(np.asarray(tokens).tolist()) == {17, 63}
    np.testing.assert_allclose(logprobs, np.log(0.5), atol=1e-6)
