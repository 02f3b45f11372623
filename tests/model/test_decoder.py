"""The decoder against transformers' torch Qwen3, and against itself computed otherwise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import nnx
from transformers import Qwen3ForCausalLM

from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import (
    CPU_VOCAB_BLOCK,
    MAX_LOGITS_ON_CPU,
    ROWWISE_BLOCK,
    SHORT_BLOCK,
    apply,
    output_head,
    resolve,
)
from mdx.model.hf import load_hf, save_hf
from mdx.model.logprobs import token_logprobs
from mdx.model.rope import RopeScaling
from mdx.model.tpu import SPLASH_BLOCK

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


YARN = RopeScaling(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024)
HEADS = [(3, 1), (5, 5), (6, 2), (7, 7)]
CASES = [
    {"tie_word_embeddings": True, "num_hidden_layers": 1},
    {"tie_word_embeddings": False, "num_hidden_layers": 1},
    {"tie_word_embeddings": False, "num_hidden_layers": 3, "rope_theta": 70.0},
    {"num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 6, "rms_norm_eps": 1e-2},
    *({"num_attention_heads": n, "num_key_value_heads": g} for n, g in HEADS),
    {"num_hidden_layers": 3, "rope_theta": 1e6, "rope_scaling": YARN},
]


def packed(lengths):
    """Return the segment ids and positions of rows with documents of these lengths."""
    segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    places = np.concatenate([np.arange(n) for n in lengths])
    return (np.tile(x.astype(np.int32), (B, 1)) for x in (segments, places))


def torch_forward(oracle, tokens, segments, places):
    """Return torch's logits and the loss over the targets that follow a token of their segment."""
    same = torch.tensor(segments[:, :, None] == segments[:, None, :])
    seen = torch.tril(same)[:, None]
    tokens, places = (torch.tensor(x, dtype=torch.long) for x in (tokens, places))
    logits = oracle(tokens, attention_mask=seen, position_ids=places).logits
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1)
    chosen = torch.gather(logprobs, 2, tokens[:, 1:, None])[..., 0]
    mask = torch.tensor(segments[:, 1:] == segments[:, :-1])
    return logits, -(chosen * mask).sum() / mask.sum()


def make_forward(graphdef):
    """Return what gives our logits, loss and gradients, quick to compile."""

    def loss(params, tokens, segments, places):
        same = segments[:, 1:] == segments[:, :-1]
        mask = jnp.pad(same, ((0, 0), (1, 0))).astype(jnp.float32)
        hidden = apply(graphdef, params, tokens, segments, places)
        head = output_head(params)
        logprobs, _ = token_logprobs(hidden, head, tokens, block=64, mask_BT=mask)
        return -(logprobs * mask).sum() / mask.sum(), hidden @ head.T

    return jax.jit(
        jax.value_and_grad(loss, has_aux=True),
        compiler_options={"xla_backend_optimization_level": "0"},
    )


def assert_equal_to_torch(model, rows, folder):
    """Compare logits, loss and the gradient of every weight, for each (tokens, ids, positions)."""
    config, graphdef, params = model
    save_hf(params, config, None, str(folder))
    oracle = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    forward = make_forward(graphdef)
    for row in rows:
        oracle.zero_grad()
        expected_logits, expected_loss = torch_forward(oracle, *row)
        expected_loss.backward()
        (loss, logits), gradients = forward(params, *row)
        np.testing.assert_allclose(logits, expected_logits.detach().numpy(), atol=1e-4)
        np.testing.assert_allclose(loss, expected_loss.item(), rtol=1e-5)
        weights = {name: weight.grad for name, weight in oracle.named_parameters()}
        safetensors.torch.save_file(weights, folder / "model.safetensors")
        expected = load_hf(str(folder))[2]
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected)) > 1e-2
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradients, expected)


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_logits_loss_and_gradients_equal_those_of_transformers(
    model_factory, tokens, tmp_path, changes
):
    """One document a row, and four."""
    model = model_factory(ComputeConfig(scan_layers=True), **changes)
    rows = [(tokens, *packed(lengths)) for lengths in ((19,), (5, 9, 1, 4))]
    assert_equal_to_torch(model, rows, tmp_path)


@pytest.mark.parametrize(
    ("scaling", "lengths", "tied"),
    [
        (RopeScaling(), (4096,), True),
        (YARN, (4096,), True),
        (YARN, (1, 2500, 300, 1295), False),
    ],
    ids=["default", "yarn", "yarn-packed-untied"],
)
def test_four_thousand_positions_equal_those_of_transformers(
    model_factory, tmp_path, scaling, lengths, tied
):
    model = model_factory(
        tie_word_embeddings=tied,
        num_hidden_layers=1,
        num_attention_heads=3,
        num_key_value_heads=1,
        rope_theta=1e6,
        rope_scaling=scaling,
        max_position_embeddings=4096,
    )
    tokens = np.random.default_rng(1).integers(0, 61, (1, 4096)).astype(np.int32)
    segments, places = (x[:1] for x in packed(lengths))
    assert_equal_to_torch(model, [(tokens, segments, places)], tmp_path)


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
        ComputeConfig(remat="most", scan_layers=True),
        ComputeConfig(remat="attention", attention="xla", scan_layers=True),
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


def test_projections_as_tpus_want_them_change_neither_values_nor_gradients(
    model_factory, tokens, as_by_default
):
    _, graphdef, params = model_factory(ComputeConfig(remat="minimal", scan_layers=True))
    model = nnx.merge(graphdef, params)
    model.layers.self_attn.as_matrices = False  # what `attention="splash"` brings, kernel left out
    as_on_tpu = value_and_gradients(lambda _: (None, nnx.split(model)[0], params), None, tokens)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=5e-4, rtol=1e-4),
        as_on_tpu,
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


@dataclasses.dataclass(frozen=True)
class Device:
    """What `resolve` reads of a device."""

    platform: str
    device_kind: str


CPU, GPU = Device("cpu", "cpu"), Device("gpu", "NVIDIA H200")
TPU, NEW_TPU = Device("tpu", "TPU v5p"), Device("tpu", "TPU v9")


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "attention", "block"),
    [
        (GPU, "bfloat16", 128, "cudnn", SHORT_BLOCK),
        (GPU, "float32", 128, "blocked", SHORT_BLOCK),
        (TPU, "bfloat16", 128, "splash", SPLASH_BLOCK["v5p"]),
        (TPU, "float32", 128, "splash", SPLASH_BLOCK["v5p"]),
        (TPU, "bfloat16", 64, "blocked", SHORT_BLOCK),
        (NEW_TPU, "bfloat16", 128, "splash", SHORT_BLOCK),
        (CPU, "bfloat16", 128, "rowwise", ROWWISE_BLOCK),
        (CPU, "float32", 64, "rowwise", ROWWISE_BLOCK),
    ],
)
def test_each_device_has_its_attention_unless_another_is_asked_for(
    device, dtype, head_dim, attention, block
):
    config = ModelConfig(head_dim=head_dim)
    found = resolve(ComputeConfig(dtype=dtype), config, device)
    assert (found.attention, found.attention_block) == (attention, block)
    asked = ComputeConfig(dtype=dtype, attention="xla", attention_block=7)
    assert resolve(asked, config, device) == dataclasses.replace(
        asked, vocab_block=found.vocab_block
    )


def test_logits_of_a_wide_vocabulary_are_fewer_at_a_time_on_a_cpu():
    cpu = jax.devices()[0]
    narrow, wide = ModelConfig(vocab_size=4096), ModelConfig(vocab_size=151_936)
    assert resolve(ComputeConfig(), narrow, cpu).vocab_block == CPU_VOCAB_BLOCK
    block = resolve(ComputeConfig(), wide, cpu).vocab_block
    assert block * 151_936 <= MAX_LOGITS_ON_CPU < (block + 1) * 151_936
    huge = ModelConfig(vocab_size=2 * MAX_LOGITS_ON_CPU)
    assert resolve(ComputeConfig(), huge, cpu).vocab_block == 1
    assert resolve(ComputeConfig(vocab_block=7), wide, cpu).vocab_block == 7
