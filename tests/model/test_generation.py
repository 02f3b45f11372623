"""The sampler against transformers' torch Qwen3: what it writes and how likely it says that is.

Prompts of unequal length share the batch, rows end at an EOS or at the limit and are refilled, so
every way in which a cache, a position or a row could be another's would show.
"""

import jax
import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from mdx.model.hf import save_hf
from mdx.model.sampler import sample

LENGTHS = (1, 30, 7, 12, 19, 25, 4)
NUM_SAMPLES, MAX_NEW, PAD = 3, 40, 0
TEMPERATURE = 0.7


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def model(request, model_factory, tmp_path_factory):
    """Return our structure and weights, and the same model as transformers reads it."""
    folder = tmp_path_factory.mktemp("model")
    config, graphdef, params = model_factory(
        initializer_range=0.25, tie_word_embeddings=request.param
    )
    save_hf(params, config, None, str(folder))
    return graphdef, params, Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    return [rng.integers(3, 61, length).tolist() for length in LENGTHS]


def draw(graphdef, params, prompts, eos_ids, temperature):
    """Return completions of all prompts, of which four are written at one time."""
    return sample(
        graphdef,
        params,
        prompts,
        num_samples=NUM_SAMPLES,
        max_new_tokens=MAX_NEW,
        eos_ids=eos_ids,
        key=jax.random.key(5),
        temperature=temperature,
        num_slots=4,
    )


def generate(oracle, prompts, eos_ids):
    """Return transformers' greedy completions, each up to its EOS; prompts are padded at left."""
    longest = max(map(len, prompts))
    padded = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    rows = oracle.generate(
        padded,
        attention_mask=seen,
        do_sample=False,
        max_new_tokens=MAX_NEW,
        eos_token_id=list(eos_ids) or None,
        pad_token_id=PAD,
    )[:, longest:].tolist()
    ends = [next((i + 1 for i, t in enumerate(row) if t in eos_ids), MAX_NEW) for row in rows]
    return [tuple(row[:end]) for row, end in zip(rows, ends, strict=True)]


def torch_logprobs(oracle, prompt, completion, temperature):
    tokens = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        logits = oracle(tokens).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits / temperature, -1)[range(len(completion)), completion].numpy()


def test_greedy_completions_are_those_of_transformers_token_for_token(model, prompts):
    graphdef, params, oracle = model
    endless = generate(oracle, prompts, ())
    eos_ids = [  # end some of the rows, at different lengths, but not the last
        next(token for token in row[5 * number :] if token not in endless[-1])
        for number, row in enumerate(endless[:4])
    ]
    expected = generate(oracle, prompts, eos_ids)
    assert len({len(tokens) for tokens in expected}) > 3
    assert any(len(tokens) == MAX_NEW for tokens in expected)
    groups = draw(graphdef, params, prompts, eos_ids, 0.0)
    assert [[s.tokens for s in group] for group in groups] == [[t] * NUM_SAMPLES for t in expected]
    for prompt, group in zip(prompts, groups, strict=True):
        logprobs = torch_logprobs(oracle, prompt, group[0].tokens, 1.0)
        np.testing.assert_allclose(group[0].logprobs, logprobs, atol=1e-4)


def test_log_probabilities_of_sampled_tokens_are_those_of_transformers(model, prompts):
    graphdef, params, oracle = model
    groups = draw(graphdef, params, prompts, (1, 2), TEMPERATURE)
    assert len({s.tokens for group in groups for s in group}) == len(prompts) * NUM_SAMPLES
    for prompt, group in zip(prompts, groups, strict=True):
        for sampled in group:
            logprobs = torch_logprobs(oracle, prompt, sampled.tokens, TEMPERATURE)
            np.testing.assert_allclose(sampled.logprobs, logprobs, atol=1e-4)
