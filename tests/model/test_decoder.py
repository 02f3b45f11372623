"""The decoder against transformers' torch Qwen3, and against itself computed otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from mdx.model.config import ComputeConfig
from mdx.model.decoder import apply, output_head
from mdx.model.hf import _from_tensors, save_hf
from mdx.model.logprobs import token_logprobs

B, T = 2, 19


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(0, 61, (B, T)).astype(np.int32)


def positions(tokens):
    return jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)


def logits(graphdef, params, tokens, segments=None, places=None):
    tokens = jnp.asarray(tokens)
    segments = jnp.ones_like(tokens) if segments is None else jnp.asarray(segments)
    places = positions(tokens) if places is None else jnp.asarray(places)
    run = jax.jit(apply, static_argnums=0)
    return run(graphdef, params, tokens, segments, places) @ output_head(params).T


CASES = [
    {"tie_word_embeddings": True, "num_hidden_layers": 1},
    {"tie_word_embeddings": False, "num_hidden_layers": 3, "rope_theta": 70.0},
    {"num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 6, "rms_norm_eps": 1e-2},
]


@pytest.mark.parametrize("changes", CASES)
def test_logits_and_gradients_equal_those_of_transformers(model_factory, tokens, tmp_path, changes):
    config, graphdef, params = model_factory(**changes)
    save_hf(params, config, None, str(tmp_path))
    oracle = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    batch = torch.tensor(tokens, dtype=torch.long)
    expected = oracle(batch, labels=batch)
    expected.loss.backward()

    def loss(params):
        arrays = (jnp.asarray(tokens), jnp.ones((B, T), jnp.int32), positions(tokens))
        hidden = apply(graphdef, params, *arrays)
        logprobs, _ = token_logprobs(hidden, output_head(params), arrays[0], block=8)
        return -logprobs.sum() / (B * (T - 1)), hidden

    (value, hidden), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    logits = hidden @ output_head(params).T
    np.testing.assert_allclose(logits, expected.logits.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(value, expected.loss.item(), rtol=1e-5)
    oracle_gradients = _from_tensors(
        {name: weight.grad.numpy() for name, weight in oracle.named_parameters()}, config
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradients, oracle_gradients
    )


def test_packed_documents_equal_unpacked_ones(tiny_model):
    _, graphdef, params = tiny_model
    documents = [np.arange(3, 12), np.arange(20, 25), np.arange(40, 60)]
    lengths = [len(document) for document in documents]
    packed = np.concatenate([*documents, np.zeros(3, int)])[None].astype(np.int32)
    segments = np.repeat([1, 2, 3, 0], [*lengths, 3])[None]
    places = np.concatenate([np.arange(n) for n in [*lengths, 3]])[None]
    together = logits(graphdef, params, packed, segments, places)[0]
    rows = np.stack([np.resize(document, packed.shape[1]) for document in documents])
    alone = logits(graphdef, params, rows.astype(np.int32))
    expected = np.concatenate([row[:n] for row, n in zip(alone, lengths, strict=True)])
    np.testing.assert_allclose(together[: sum(lengths)], expected, atol=2e-5)
    leaky = logits(graphdef, params, packed, np.ones_like(segments), places)[0]
    assert np.abs(leaky - together)[12:].max() > 0.1


@pytest.mark.parametrize(
    "compute",
    [
        ComputeConfig(remat="full", attention_block=4),
        ComputeConfig(remat="minimal", attention="blocked", attention_block=8),
        ComputeConfig(attention="xla", scan_layers=True),
    ],
    ids=lambda compute: f"{compute.remat}-{compute.attention}",
)
def test_how_it_is_computed_changes_neither_values_nor_gradients(
    model_factory, tokens, as_by_default, compute
):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=5e-4, rtol=1e-4),
        value_and_gradients(model_factory, compute, tokens),
        as_by_default,
    )


@pytest.fixture(scope="module")
def as_by_default(model_factory, tokens):
    return value_and_gradients(model_factory, ComputeConfig(), tokens)


def value_and_gradients(model_factory, compute, tokens):
    _, graphdef, params = model_factory(compute)

    def objective(params):
        arrays = (jnp.asarray(tokens), jnp.ones((B, T), jnp.int32), positions(tokens))
        return jnp.sum(jnp.sin(apply(graphdef, params, *arrays)))

    return jax.jit(jax.value_and_grad(objective))(params)


def test_bfloat16_is_near_float32_and_keeps_float32_weights(model_factory, tokens):
    _, graphdef, params = model_factory(ComputeConfig(dtype="bfloat16"))
    hidden = jax.jit(apply, static_argnums=0)(
        graphdef, params, jnp.asarray(tokens), jnp.ones((B, T), jnp.int32), positions(tokens)
    )
    assert hidden.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    _, exact, _ = model_factory()
    expected = logits(exact, params, tokens)
    found = hidden.astype(jnp.float32) @ output_head(params).T
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_a_token_sees_nothing_of_the_future(tiny_model, tokens):
    _, graphdef, params = tiny_model
    changed = tokens.copy()
    changed[:, 10:] = (changed[:, 10:] + 1) % 61
    before, after = (logits(graphdef, params, x) for x in (tokens, changed))
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert np.abs(before[:, 10:] - after[:, 10:]).min(axis=-1).max() > 0
