import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.errors import UsageError
from mdx.model.decode_loop import advance, shrink, start
from mdx.model.decoder import apply, output_head
from mdx.model.logprobs import token_logprobs
from mdx.model.sampler import sample, sample_stream

EOS = (1, 2)
NUM_SAMPLES, MAX_NEW = 3, 40


@pytest.fixture(scope="module")
def model(model_factory):
    return model_factory(initializer_range=0.25)[1:]


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    return [rng.integers(3, 61, length).tolist() for length in (1, 30, 7, 12, 19, 25, 4)]


def draw(model, prompts, **changes):
    settings = {
        "num_samples": NUM_SAMPLES,
        "max_new_tokens": MAX_NEW,
        "eos_ids": EOS,
        "key": jax.random.key(5),
        "num_slots": 16,
    }
    return sample(*model, prompts, **{**settings, **changes})


def rescored(model, prompts, groups, temperature):
    """Yield each completion with the trainer's log-probabilities and the full forward's logits."""
    graphdef, params = model
    rows = [(p, s) for p, group in zip(prompts, groups, strict=True) for s in group]
    tokens = np.zeros((len(rows), 96), np.int32)
    for row, (prompt, completion) in enumerate(rows):
        tokens[row, : len(prompt) + len(completion.tokens)] = [*prompt, *completion.tokens]
    places = jnp.broadcast_to(jnp.arange(96)[None], tokens.shape)

    @jax.jit
    def score(tokens):
        hidden = apply(graphdef, params, tokens, jnp.ones_like(tokens), places)
        head = output_head(params)
        logprobs, _ = token_logprobs(hidden, head, tokens, temperature=temperature)
        return logprobs, hidden @ head.T

    logprobs, logits = (np.asarray(x) for x in score(jnp.asarray(tokens)))
    for row, (prompt, completion) in enumerate(rows):
        new = slice(len(prompt), len(prompt) + len(completion.tokens))
        before = slice(new.start - 1, new.stop - 1)
        yield completion, logprobs[row, new], logits[row, before]


def test_greedy_equals_the_argmax_of_the_full_forward_one_token_at_a_time(model, prompts):
    groups = draw(model, prompts, temperature=0.0)
    for completion, logprobs, logits in rescored(model, prompts, groups, 1.0):
        np.testing.assert_array_equal(completion.tokens, logits.argmax(-1))
        np.testing.assert_allclose(completion.logprobs, logprobs, atol=1e-5)


def test_old_logprobs_are_the_trainers_at_the_sampling_temperature(model, prompts):
    groups = draw(model, prompts, temperature=0.7)
    gaps, plain_gaps = [], []
    for completion, logprobs, logits in rescored(model, prompts, groups, 0.7):
        gaps.append(np.abs(logprobs - completion.logprobs).max())
        plain = np.asarray(jax.nn.log_softmax(logits))[range(len(logits)), completion.tokens]
        plain_gaps.append(np.abs(plain - completion.logprobs).max())
    assert max(gaps) < 1e-5
    assert max(plain_gaps) > 0.1  # a sampler that forgot the temperature would be seen


def test_completions_end_at_eos_or_at_the_limit(model, prompts):
    groups = draw(model, prompts)
    lengths = [len(s.tokens) for group in groups for s in group]
    assert len(set(lengths)) > 5
    for completion in (s for group in groups for s in group):
        assert not set(completion.tokens[:-1]) & set(EOS)
        assert completion.tokens[-1] in EOS or len(completion.tokens) == MAX_NEW
        assert len(completion.logprobs) == len(completion.tokens)


def test_result_depends_on_prompt_key_and_indices_only(model, prompts):
    whole = tokens_of(draw(model, prompts))
    assert tokens_of(draw(model, prompts, key=jax.random.key(6))) != whole
    part = [*prompts[3:], prompts[1], prompts[1]]  # other rows, slots, neighbours and pool
    indices = [3, 4, 5, 6, 1, 11]
    found = tokens_of(draw(model, part, num_samples=2, num_slots=2, prompt_indices=indices))
    assert found[:5] == [group[:2] for group in [*whole[3:], whole[1]]]
    twins = {*found[4], *found[5]}
    assert len(twins) == 4  # equal prompts, yet no completion twice


def tokens_of(groups):
    return [[completion.tokens for completion in group] for group in groups]


def test_a_stream_yields_every_completion_once_and_as_sample_does(model, prompts):
    settings = {"num_samples": NUM_SAMPLES, "max_new_tokens": MAX_NEW, "eos_ids": EOS}
    stream = sample_stream(*model, prompts, **settings, key=jax.random.key(5), num_slots=16)
    found = {(prompt, index): completion for prompt, index, completion in stream}
    whole = draw(model, prompts)
    assert found == {(p, s): c for p, group in enumerate(whole) for s, c in enumerate(group)}


def test_first_tokens_have_the_models_frequencies(model, prompts):
    graphdef, params = model
    count = 2048
    groups = draw(model, [prompts[2]], num_samples=count, max_new_tokens=1, num_slots=64)
    row = jnp.asarray([prompts[2]])
    hidden = jax.jit(apply, static_argnums=0)(
        graphdef, params, row, jnp.ones_like(row), jnp.arange(row.shape[1])[None]
    )
    expected = count * np.asarray(jax.nn.softmax(hidden[0, -1] @ output_head(params).T), float)
    observed = np.bincount([s.tokens[0] for s in groups[0]], minlength=61)
    rare = expected < 5
    observed, expected = (np.append(x[~rare], x[rare].sum()) for x in (observed, expected))
    chi_square = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert freedom > 3
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_calls_of_one_bucket_compile_once(model, prompts):
    draw(model, prompts)
    before = [compiled._cache_size() for compiled in (start, advance, shrink)]
    draw(model, prompts[:5], temperature=0.3, top_p=0.9, key=jax.random.key(8))
    draw(model, [[7] * 32] * 8, max_new_tokens=35, eos_ids=())
    assert [compiled._cache_size() for compiled in (start, advance, shrink)] == before


@pytest.mark.parametrize(
    ("prompts", "changes", "said"),
    [
        ([[3], []], {}, "prompt 1 has 0 tokens"),
        ([[3] * 217], {}, "prompt 0 has 217 tokens; 1 to 216 fit"),
        ([[3]], {"max_new_tokens": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(model, prompts, changes, said):
    with pytest.raises(UsageError, match=said):
        draw(model, prompts, **changes)


def test_no_prompts_give_no_completions(model):
    assert draw(model, []) == []
