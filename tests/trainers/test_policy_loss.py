"""The policy loss against NumPy in float64, finite differences and closed forms.

The policy of these tests is a table of logits, one row a preceding token: small enough that every
gradient can be written down.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.errors import ConfigError
from trainers.policy_loss import (
    GrpoBatch,
    PolicyLossConfig,
    count_grpo_tokens,
    kl_k3_sum,
    make_policy_loss,
    policy_gradient_sum,
    weighted_nll_sum,
)

NUM_TOKENS = 7
CLIPS = {"clip_low": 0.2, "clip_high": 0.28}


def table_logprobs(temperature=1.0):
    def logprobs(params, batch):
        previous = jnp.pad(batch.tokens, ((0, 0), (1, 0)))[:, :-1]
        logs = jax.nn.log_softmax(params["table"][previous] / temperature, axis=-1)
        chosen = jnp.take_along_axis(logs, batch.tokens[..., None], axis=-1)[..., 0]
        return chosen, -jnp.sum(jnp.exp(logs) * logs, axis=-1)

    return logprobs


def random_params(seed=0):
    table = np.random.default_rng(seed).normal(size=(NUM_TOKENS, NUM_TOKENS))
    return {"table": jnp.asarray(table, jnp.float32)}


def random_batch(seed=1, rows=4, length=9, old_noise=0.3):
    rng = np.random.default_rng(seed)
    size = (rows, length)
    tokens = rng.integers(0, NUM_TOKENS, size).astype(np.int32)
    mask = (rng.random(size) < 0.6).astype(np.float32)
    mask[:, 0] = 0
    replay = np.where(mask == 0, rng.random(size), 0.0).astype(np.float32)
    error = ((mask == 0) & (rng.random(size) < 0.6)).astype(np.float32)
    replay[:, 0] = error[:, 0] = 0
    batch = GrpoBatch(
        tokens=tokens,
        loss_mask=mask,
        segment_ids=np.ones(size, np.int32),
        positions=np.broadcast_to(np.arange(length, dtype=np.int32), size).copy(),
        advantages=rng.normal(size=size).astype(np.float32),
        old_logprobs=np.zeros(size, np.float32),
        reference_logprobs=rng.normal(-2, 0.3, size).astype(np.float32),
        replay_weights=replay,
        error_mask=(rng.random(size) < 0.2)
        * (mask == 0)
        * (np.arange(length) > 0).astype(np.float32),
    )
    old = table_logprobs()(random_params(), batch)[0] + old_noise * rng.normal(size=size)
    return replace(batch, old_logprobs=np.asarray(old, np.float32))


def replace(batch, **changes):
    return GrpoBatch(**{**vars(batch), **changes})


@functools.cache
def differentiated(config, temperature=1.0):
    """Return the jitted (params, batch, totals) -> ((loss, metrics), gradient)."""
    loss_fn = make_policy_loss(table_logprobs(temperature), config)
    return jax.jit(jax.value_and_grad(loss_fn, has_aux=True))


def loss_and_gradient(params, batch, config, temperature=1.0, totals=None):
    totals = totals or count_grpo_tokens(batch)
    (loss, metrics), gradient = differentiated(config, temperature)(params, batch, totals)
    return float(loss), {name: float(value) for name, value in metrics.items()}, gradient["table"]


def numpy_loss(table, batch, config):
    """Return the whole loss in float64, token by token, as MD_GRPO's formula reads."""
    policy, kl, replay, error = [], [], [], []
    for row in range(batch.tokens.shape[0]):
        for t in range(1, batch.tokens.shape[1]):
            logits = table[batch.tokens[row, t - 1]]
            logp = logits[batch.tokens[row, t]] - np.log(np.sum(np.exp(logits)))
            if batch.loss_mask[row, t]:
                ratio = np.exp(logp - np.float64(batch.old_logprobs[row, t]))
                clipped = min(max(ratio, 1 - config.clip_low), 1 + config.clip_high)
                advantage = np.float64(batch.advantages[row, t])
                policy.append(-min(ratio * advantage, clipped * advantage))
                gap = np.float64(batch.reference_logprobs[row, t]) - logp
                kl.append(np.exp(gap) - gap - 1)
            if batch.replay_weights[row, t]:
                replay.append(-np.float64(batch.replay_weights[row, t]) * logp)
            if batch.error_mask[row, t]:
                error.append(-logp)
    return (
        np.mean(policy)
        + config.kl_coef * np.mean(kl)
        + config.replay_coef * np.sum(replay) / len(replay)
        + config.error_coef * np.mean(error)
    )


PLAIN = PolicyLossConfig(kl_coef=0.0, replay_coef=0.0, error_coef=0.0)
FULL = PolicyLossConfig(kl_coef=0.3, replay_coef=0.2, error_coef=0.4)


def test_loss_agrees_with_numpy_in_float64():
    batch = random_batch()
    loss, _, _ = loss_and_gradient(random_params(), batch, FULL)
    table = np.asarray(random_params()["table"], np.float64)
    assert loss == pytest.approx(numpy_loss(table, batch, FULL), abs=2e-6)


def test_gradient_agrees_with_finite_differences():
    batch = random_batch()
    _, _, gradient = loss_and_gradient(random_params(), batch, FULL)
    table = np.asarray(random_params()["table"], np.float64)
    numeric = np.zeros_like(table)
    for place in np.ndindex(table.shape):
        step = np.zeros_like(table)
        step[place] = 1e-6
        above, below = numpy_loss(table + step, batch, FULL), numpy_loss(table - step, batch, FULL)
        numeric[place] = (above - below) / 2e-6
    np.testing.assert_allclose(gradient, numeric, atol=2e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_on_policy_ratio_is_one_and_the_gradient_is_reinforce(temperature):
    params = random_params()
    batch = random_batch()
    old, _ = table_logprobs(temperature)(params, batch)
    batch = replace(batch, old_logprobs=np.asarray(old))
    _, metrics, gradient = loss_and_gradient(params, batch, PLAIN, temperature)

    def reinforce(params):
        logprobs = table_logprobs(temperature)(params, batch)[0]
        return -jnp.sum(batch.loss_mask * batch.advantages * logprobs) / jnp.sum(batch.loss_mask)

    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["clip_fraction"] == 0.0
    np.testing.assert_allclose(gradient, jax.grad(reinforce)(params)["table"], atol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.1, 2.0, -2.2, -2.2),  # inside the clips: free
        (1.5, 2.0, -2.56, 0.0),  # gained enough: 1.28 * 2 and no gradient
        (1.5, -2.0, 3.0, 3.0),  # grew though bad: pulled back in full
        (0.5, 2.0, -1.0, -1.0),  # shrank though good: pulled back in full
        (0.5, -2.0, 1.6, 0.0),  # lost enough: 0.8 * 2 and no gradient
    ],
)
def test_clipping_stops_only_what_has_gone_far_enough(ratio, advantage, loss, slope):
    def one_token(logprob):
        total, metrics = policy_gradient_sum(
            jnp.reshape(logprob, (1, 1)),
            jnp.zeros((1, 1)),
            jnp.full((1, 1), advantage),
            jnp.ones((1, 1)),
            **CLIPS,
        )
        return total, metrics

    (value, metrics), gradient = jax.value_and_grad(one_token, has_aux=True)(jnp.log(ratio))
    assert float(value) == pytest.approx(loss, rel=1e-6)
    assert float(gradient) == pytest.approx(slope, abs=1e-6)
    assert float(metrics["clip_fraction"]) == (1.0 if slope == 0 else 0.0)


def test_loss_is_one_mean_over_tokens_however_the_batch_is_cut():
    batch, params = random_batch(rows=4), random_params()
    totals = count_grpo_tokens(batch)
    _, _, whole = loss_and_gradient(params, batch, FULL)
    cuts = [jax.tree.map(lambda x, r=row: x[r : r + 1], batch) for row in range(4)]
    parts = [loss_and_gradient(params, cut, FULL, totals=totals)[2] for cut in cuts]
    lengths = {float(cut.loss_mask.sum()) for cut in cuts}
    assert len(lengths) > 1, "rows of equal length could not tell a mean from a mean of means"
    np.testing.assert_allclose(sum(parts), whole, atol=1e-6)


def test_masked_tokens_change_neither_loss_nor_gradient_even_if_nan():
    batch = random_batch()
    outside = batch.loss_mask == 0
    spoiled = replace(
        batch,
        advantages=np.where(outside, np.nan, batch.advantages),
        old_logprobs=np.where(outside, np.nan, batch.old_logprobs),
        reference_logprobs=np.where(outside, np.nan, batch.reference_logprobs),
    )
    clean_loss, _, clean = loss_and_gradient(random_params(), batch, FULL)
    loss, _, gradient = loss_and_gradient(random_params(), spoiled, FULL)
    assert loss == clean_loss
    np.testing.assert_array_equal(gradient, clean)


def test_without_coefficients_references_and_replay_are_never_looked_at():
    batch, params = random_batch(), random_params()
    spoiled = replace(
        batch,
        reference_logprobs=np.full_like(batch.reference_logprobs, np.nan),
        replay_weights=np.full_like(batch.replay_weights, np.nan),
        error_mask=np.full_like(batch.error_mask, np.nan),
    )
    plain = loss_and_gradient(params, batch, PLAIN)
    other = loss_and_gradient(params, spoiled, PLAIN)
    assert plain[0] == other[0]
    assert "kl" not in plain[1]
    assert "replay_loss" not in plain[1]
    np.testing.assert_array_equal(plain[2], other[2])


def test_kl_is_zero_at_the_reference_positive_elsewhere_and_unbiased():
    logp = jnp.log(jnp.asarray([[0.2, 0.5, 0.3]]))
    reference = jnp.log(jnp.asarray([[0.4, 0.35, 0.25]]))
    ones = jnp.ones((1, 3))
    assert float(kl_k3_sum(logp, logp, ones)) == 0.0
    each = [float(kl_k3_sum(logp, reference, ones.at[0, i].set(0))) for i in range(3)]
    assert min(each) > 0
    # Weighted by the policy's own probabilities, k3 sums to the true divergence.
    expected = float(jnp.sum(jnp.exp(logp) * (logp - reference)))
    per_token = [
        float(kl_k3_sum(logp[:, i : i + 1], reference[:, i : i + 1], ones[:, :1])) for i in range(3)
    ]
    estimate = sum(float(jnp.exp(logp[0, i])) * per_token[i] for i in range(3))
    assert estimate == pytest.approx(expected, rel=1e-5)


def test_replay_is_the_weighted_negative_log_likelihood():
    logprobs = jnp.asarray([[-1.0, -2.0, -3.0, jnp.nan]])
    weights = jnp.asarray([[0.5, 0.0, 1.0, 0.0]])
    assert float(weighted_nll_sum(logprobs, weights)) == pytest.approx(3.5)


@pytest.mark.parametrize("wrong", [{"clip_low": 0.0}, {"clip_high": -0.1}, {"error_coef": -1.0}])
def test_impossible_coefficients_are_refused(wrong):
    with pytest.raises(ConfigError, match="loss"):
        PolicyLossConfig(**wrong)
