"""Sample completions: every prompt prefilled once, rows refilled inside the compiled loop.

`sample` returns the completions of all prompts; `sample_stream` yields each as its row ends, so
that its script can run while later ones are written.

Shapes come in buckets (prompts, prompt length, max_new_tokens, rows), so few compilations serve
all calls. A completion depends on the weights, the prompt, the key, its prompt index and its
sample index alone: its token t is drawn with fold_in(fold_in(fold_in(key, prompt), sample), t),
whatever row it runs in and whoever its neighbours are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from mdx.errors import UsageError
from mdx.model.config import ModelConfig
from mdx.model.decode_loop import Done, Settings, State, Work, advance, shrink, start
from mdx.model.decoder import GraphDef, Params

MAX_EOS = 8
SHRINK_FROM = 16  # rows; below, another compilation costs more than it saves
HALVE_FROM = 32  # rows; below, one step to a quarter of them is enough
POOL_BYTES = 1 << 30  # of prompts' caches; more prompts are sampled in several goes


@dataclass(frozen=True, kw_only=True)
class SampledTokens:
    """One completion: its tokens, the EOS that ended it included, and their log-probabilities.

    logprobs: natural logarithms under softmax(logits / temperature), before any top_p cut; at
    temperature 0, those at temperature 1.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


def sample(
    graphdef: GraphDef,
    params: Params,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    key: Array,
    temperature: float = 1.0,
    top_p: float = 1.0,
    num_slots: int = 32,
    prompt_indices: Sequence[int] | None = None,
    min_prompt_bucket: int = 0,
) -> list[list[SampledTokens]]:
    """Return `num_samples` completions of each prompt, as [prompt][sample].

    temperature: 0 takes the likeliest token. top_p: the nucleus's mass; 1 keeps all tokens.
    num_slots: rows decoded at once; finished rows are refilled, so many more items than slots
        is the efficient case.
    prompt_indices: the prompts' places in a larger list that is sampled in parts; their
        completions are then those of sampling it whole.
    min_prompt_bucket: prompts are filled up to at least this length, so that calls whose prompts
        differ in length share one compilation.

    Raises UsageError for an empty prompt, or one that leaves no room in the model's context.
    """
    results: list[list[SampledTokens | None]] = [[None] * num_samples for _ in prompts]
    stream = sample_stream(
        graphdef,
        params,
        prompts,
        num_samples=num_samples,
        max_new_tokens=max_new_tokens,
        eos_ids=eos_ids,
        key=key,
        temperature=temperature,
        top_p=top_p,
        num_slots=num_slots,
        prompt_indices=prompt_indices,
        min_prompt_bucket=min_prompt_bucket,
    )
    for prompt, index, completion in stream:
        results[prompt][index] = completion
    return [[completion for completion in group if completion] for group in results]


def sample_stream(
    graphdef: GraphDef,
    params: Params,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    key: Array,
    temperature: float = 1.0,
    top_p: float = 1.0,
    num_slots: int = 32,
    prompt_indices: Sequence[int] | None = None,
    min_prompt_bucket: int = 0,
) -> Iterator[tuple[int, int, SampledTokens]]:
    """Yield (prompt, sample, completion) as rows end; arguments and errors as for `sample`."""
    model = nnx.merge(graphdef, params)
    config: ModelConfig = model.config
    _check(config, prompts, max_new_tokens, num_samples, eos_ids)
    indices = np.asarray(range(len(prompts)) if prompt_indices is None else prompt_indices)
    length = _bucket(max(min_prompt_bucket, *map(len, prompts), 1), 32)
    most = _max_prompts(config, length, jnp.dtype(model.compute.dtype).itemsize)
    settings = Settings(
        temperature=np.float32(temperature),
        top_p=np.float32(top_p),
        limit=np.int32(max_new_tokens),
        eos_ids=np.asarray((*eos_ids, *[-1] * (MAX_EOS - len(eos_ids))), np.int32),
    )
    for begin in range(0, len(prompts), most):
        part = prompts[begin : begin + most]
        num_rows = min(_power(num_slots), _power(len(part) * num_samples))
        work, state = start(
            graphdef,
            params,
            *_padded(part, indices[begin : begin + most], length, most),
            np.int32(len(part)),
            key,
            settings,
            num_samples=num_samples,
            max_new_tokens=_bucket(max_new_tokens, 32),
            num_rows=num_rows,
        )
        num_items = len(part) * num_samples
        for item, completion in _run(config, work, state, num_items):
            yield begin + item // num_samples, item % num_samples, completion


def _run(
    config: ModelConfig, work: Work, state: State, num_items: int
) -> Iterator[tuple[int, SampledTokens]]:
    """Advance until every item is done; yield (item, completion) of what each segment finished."""
    seen = np.zeros(num_items, bool)
    small = _fewer(len(state.rows.items))
    while not seen.all():
        state, done = advance(config, small, work, state)
        fresh = np.flatnonzero((np.asarray(done.counts)[:num_items] > 0) & ~seen)
        seen[fresh] = True
        while small and num_items - seen.sum() <= small:
            state, small = shrink(state, small), _fewer(small)
        yield from _completions(done, fresh)


def _fewer(num_rows: int) -> int:
    """Return how many rows to go on with once no more of `num_rows` have work; 0: no fewer."""
    if num_rows < SHRINK_FROM:
        return 0
    return num_rows // (2 if num_rows >= HALVE_FROM else 4)


def _completions(done: Done, items: np.ndarray) -> Iterator[tuple[int, SampledTokens]]:
    tokens, logprobs, counts = (np.asarray(x) for x in done)
    for item in items.tolist():
        count = counts[item]
        yield (
            item,
            SampledTokens(
                tokens=tuple(tokens[item, :count].tolist()),
                logprobs=tuple(logprobs[item, :count].tolist()),
            ),
        )


def _check(
    config: ModelConfig,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    num_samples: int,
    eos_ids: Sequence[int],
) -> None:
    if min(max_new_tokens, num_samples) < 1 or len(eos_ids) > MAX_EOS:
        raise UsageError(
            "sampling needs max_new_tokens and num_samples of at least 1 and at most "
            f"{MAX_EOS} eos_ids, not {max_new_tokens}, {num_samples} and {len(eos_ids)}"
        )
    room = config.max_position_embeddings - max_new_tokens
    for number, prompt in enumerate(prompts):
        if not 1 <= len(prompt) <= room:
            raise UsageError(
                f"prompt {number} has {len(prompt)} tokens; 1 to {room} fit beside "
                f"{max_new_tokens} new ones in the model's {config.max_position_embeddings}"
            )


def _padded(
    prompts: Sequence[Sequence[int]], indices: np.ndarray, length: int, max_prompts: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens [P, T], lengths [P] and indices [P] with P and T filled up to a bucket."""
    P = min(_power(len(prompts)), max_prompts)
    tokens = np.zeros((P, length), np.int32)
    lengths, places = np.ones(P, np.int32), np.zeros(P, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
        lengths[row] = len(prompt)
    places[: len(prompts)] = indices
    return tokens, lengths, places


def _max_prompts(config: ModelConfig, length: int, itemsize: int) -> int:
    """Return how many prompts' caches fit the pool: a power of two."""
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    fitting = max(POOL_BYTES // (per_token * itemsize * length), 1)
    return _power(fitting + 1) // 2


def _power(count: int) -> int:
    """Return the smallest power of two >= count."""
    return 1 << max(count - 1, 0).bit_length()


def _bucket(count: int, unit: int) -> int:
    """Return the smallest unit * 2^k or unit * 3 * 2^k >= count: at most a third is padding."""
    power = unit * _power(-(-count // unit))
    return 3 * power // 4 if power >= 4 * unit and count <= 3 * power // 4 else power
