"""The next-token loss against NumPy in float64, and what must not reach its gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.data.batch import Batch
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import abstract_params, apply, output_head, structure
from trainers.losses import count_tokens, make_loss_sum, make_next_token_loss

TINY = ModelConfig(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(scale=0.1, size=leaf.shape), jnp.float32),
        abstract_params(TINY),
    )
    return structure(TINY, ComputeConfig(scan_layers=True)), params


@pytest.fixture(scope="module")
def loss_and_gradient(model):
    graphdef, _ = model
    loss_fn = make_next_token_loss(make_loss_sum(graphdef, vocab_block=8))

    def loss(params, batch):
        return loss_fn(params, batch, count_tokens(batch))[0]

    return jax.jit(jax.value_and_grad(loss))


def _batch(seed: int = 0) -> Batch:
    """Two rows: one with two segments and padding, one full; about half of it targets."""
    rng = np.random.default_rng(seed)
    segment_ids = np.array([[1] * 5 + [2] * 4 + [0] * 3, [1] * 12], np.int32)
    positions = np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 0, 0], range(12)], np.int32)
    mask = (rng.random((2, 12)) < 0.5) & (segment_ids > 0) & (positions > 0)
    mask[0, 7] = mask[1, 8] = True
    mask[0, 2] = mask[1, 11] = False
    tokens = rng.integers(0, TINY.vocab_size, (2, 12)).astype(np.int32)
    return Batch(
        tokens=tokens,
        loss_mask=mask.astype(np.float32),
        segment_ids=segment_ids,
        positions=positions,
    )


def test_loss_is_the_mean_cross_entropy_over_targets(model, loss_and_gradient):
    graphdef, params = model
    batch = _batch()
    hidden = jax.jit(apply, static_argnums=0)(
        graphdef, params, batch.tokens, batch.segment_ids, batch.positions
    )
    logits = np.asarray(hidden, np.float64) @ np.asarray(output_head(params), np.float64).T
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = 0.0
    for b, t in zip(*np.nonzero(batch.loss_mask), strict=True):
        total -= log_p[b, t - 1, batch.tokens[b, t]]
    expected = total / batch.loss_mask.sum()
    assert float(loss_and_gradient(params, batch)[0]) == pytest.approx(expected, rel=1e-5)


def test_counts_are_of_the_whole_batch():
    batch = _batch()
    totals = count_tokens(jax.tree.map(jnp.asarray, batch))
    assert float(totals["targets"]) == batch.loss_mask.sum()
    assert float(totals["tokens"]) == 9 + 12
    assert float(totals["cells"]) == 24


def test_last_token_outside_the_mask_changes_no_gradient(model, loss_and_gradient):
    """Row 1 ends with a token that is no target and that nothing follows: it must not matter."""
    params, batch = model[1], _batch()
    reference = loss_and_gradient(params, batch)
    tokens = batch.tokens.copy()
    tokens[1, 11] = (tokens[1, 11] + 1) % TINY.vocab_size
    changed = loss_and_gradient(params, dataclasses.replace(batch, tokens=tokens))
    jax.tree.map(np.testing.assert_array_equal, reference, changed)


def test_padding_changes_no_gradient(model, loss_and_gradient):
    params, batch = model[1], _batch()
    reference = loss_and_gradient(params, batch)
    tokens = batch.tokens.copy()
    tokens[0, 9:] = 63
    changed = loss_and_gradient(params, dataclasses.replace(batch, tokens=tokens))
    jax.tree.map(np.testing.assert_array_equal, reference, changed)


def test_a_prompt_token_is_never_predicted_though_it_is_read(model, loss_and_gradient):
    """Adding it to the mask moves the loss; so does changing it, through the targets after it."""
    params, batch = model[1], _batch()
    reference = float(loss_and_gradient(params, batch)[0])
    mask = batch.loss_mask.copy()
    mask[0, 2] = 1.0
    as_target = float(loss_and_gradient(params, dataclasses.replace(batch, loss_mask=mask))[0])
    tokens = batch.tokens.copy()
    tokens[1, 4] = (tokens[1, 4] + 1) % TINY.vocab_size
    as_context = float(loss_and_gradient(params, dataclasses.replace(batch, tokens=tokens))[0])
    assert as_target != reference
    assert as_context != reference


def test_segments_do_not_see_each_other(model, loss_and_gradient):
    """Only the second segment has targets: the first one's tokens must not matter."""
    params, batch = model[1], _batch()
    mask = np.zeros_like(batch.loss_mask)
    mask[0, 6:9] = 1.0
    batch = dataclasses.replace(batch, loss_mask=mask)
    reference = loss_and_gradient(params, batch)
    tokens = batch.tokens.copy()
    tokens[0, :5] = (tokens[0, :5] + 7) % TINY.vocab_size
    changed = loss_and_gradient(params, dataclasses.replace(batch, tokens=tokens))
    assert float(reference[0]) == float(changed[0])


def test_batch_without_targets_has_no_loss_and_no_gradient(model, loss_and_gradient):
    batch = dataclasses.replace(_batch(), loss_mask=np.zeros((2, 12), np.float32))
    loss, gradient = loss_and_gradient(model[1], batch)
    assert float(loss) == 0.0
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))
