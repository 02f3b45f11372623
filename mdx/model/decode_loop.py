"""The compiled decode loop: a pool of prefilled prompts, and rows refilled from it in place.

`start` prefills every prompt once and fuses the weights; `advance` decodes up to `SEGMENT` steps,
in which a row that ends is flushed and takes the next (prompt, sample) item; `shrink` moves the
last rows to a smaller batch once nothing is left to refill with. All state stays on the device.

Legend: P prompts, T prompt time, I items (prompt, sample), M max_new_tokens, B rows,
V vocabulary.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from mdx.model.cache import (
    Cache,
    DecodeWeights,
    decode_step,
    empty_cache,
    fuse_weights,
    load_row,
    prefill,
)
from mdx.model.config import ModelConfig
from mdx.model.decoder import GraphDef, Params
from mdx.model.draw import draw_tokens

SEGMENT = 64  # decode steps between two looks of the host at what is finished
PREFILL_CHUNK = 16  # prompts prefilled at one time


class Settings(NamedTuple):
    """How to draw and when to stop; traced, so changing them compiles nothing."""

    temperature: Any  # float32; 0 is greedy
    top_p: Any  # float32
    limit: Any  # int32, new tokens per completion
    eos_ids: Any  # int32, filled up with -1


class Work(NamedTuple):
    """What stays the same while a set of prompts is sampled."""

    weights: DecodeWeights
    pool: Cache  # one row a prompt
    last_tokens: Array  # [P] of the prompts
    lengths: Array  # [P] of the prompts
    uniforms: Array  # [I, M]
    num_items: Array
    num_samples: Array  # items per prompt
    settings: Settings


class Done(NamedTuple):
    """Finished completions; row I is scratch for rows that held no item."""

    tokens: Array  # [I + 1, M]
    logprobs: Array  # [I + 1, M]
    counts: Array  # [I + 1], 0 while unfinished


class Rows(NamedTuple):
    """The batch being decoded."""

    cache: Cache
    items: Array  # [B] item of each row
    active: Array  # [B]
    next_tokens: Array  # [B] to feed next
    positions: Array  # [B] of that token
    counts: Array  # [B] new tokens so far
    tokens: Array  # [B, M]
    logprobs: Array  # [B, M]


class State(NamedTuple):
    """What one decode step turns into the next."""

    rows: Rows
    next_item: Array
    done: Done


@partial(jax.jit, static_argnums=0, static_argnames=("num_samples", "max_new_tokens", "num_rows"))
def start(
    graphdef: GraphDef,
    params: Params,
    prompts_PT: Array,
    lengths_P: Array,
    indices_P: Array,
    num_prompts: Array,
    key: Array,
    settings: Settings,
    *,
    num_samples: int,
    max_new_tokens: int,
    num_rows: int,
) -> tuple[Work, State]:
    """Prefill the prompts and return the loop's constants and its first state, rows idle."""
    model = nnx.merge(graphdef, params)
    config, dtype = model.config, jnp.dtype(model.compute.dtype)
    P, T = prompts_PT.shape
    work = Work(
        weights=fuse_weights(config, model.lora, params, dtype),
        pool=prefill(graphdef, params, prompts_PT, num_prompts, chunk=min(PREFILL_CHUNK, P)),
        last_tokens=prompts_PT[jnp.arange(P), lengths_P - 1],
        lengths=lengths_P,
        uniforms=_uniforms(key, indices_P, num_samples, max_new_tokens),
        num_items=num_prompts * num_samples,
        num_samples=jnp.asarray(num_samples),
        settings=settings,
    )
    no_row = jnp.zeros(num_rows, jnp.int32)
    rows = Rows(
        cache=empty_cache(config, num_rows, T + max_new_tokens, dtype),
        items=no_row + P * num_samples,
        active=no_row > 0,
        next_tokens=no_row,
        positions=no_row,
        counts=no_row,
        tokens=jnp.zeros((num_rows, max_new_tokens), jnp.int32),
        logprobs=jnp.zeros((num_rows, max_new_tokens)),
    )
    done = Done(
        tokens=jnp.zeros((P * num_samples + 1, max_new_tokens), jnp.int32),
        logprobs=jnp.zeros((P * num_samples + 1, max_new_tokens)),
        counts=jnp.zeros(P * num_samples + 1, jnp.int32),
    )
    state = State(rows=rows, next_item=jnp.zeros((), jnp.int32), done=done)
    return work, _refill(work, state, no_row == 0)


def _uniforms(key: Array, indices_P: Array, num_samples: int, max_new_tokens: int) -> Array:
    """Return the uniform number of each (prompt, sample) item and token: [I, M]."""

    def number(prompt: Array, sample: Array, token: Array) -> Array:
        folded = jax.random.fold_in(jax.random.fold_in(key, prompt), sample)
        return jax.random.uniform(jax.random.fold_in(folded, token))

    of_tokens = jax.vmap(number, (None, None, 0))
    of_samples = jax.vmap(of_tokens, (None, 0, None))
    of_prompts = jax.vmap(of_samples, (0, None, None))
    uniforms_PSM = of_prompts(indices_P, jnp.arange(num_samples), jnp.arange(max_new_tokens))
    return uniforms_PSM.reshape(-1, max_new_tokens)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def advance(config: ModelConfig, small: int, work: Work, state: State) -> tuple[State, Done]:
    """Decode up to `SEGMENT` steps; stop early when all is done or `small` rows would do.

    The finished completions come back a second time, as buffers the host may keep.
    """

    def goes_on(carry: tuple[Array, State]) -> Array:
        steps, state = carry
        num_active = jnp.sum(state.rows.active)
        refillable = state.next_item < work.num_items
        return (steps < SEGMENT) & (num_active > 0) & (refillable | (num_active > small))

    def step(carry: tuple[Array, State]) -> tuple[Array, State]:
        steps, state = carry
        rows, ended_B = _decode(config, work, state.rows)
        return steps + 1, _refill(work, state._replace(rows=rows), ended_B)

    _, state = jax.lax.while_loop(goes_on, step, (jnp.zeros((), jnp.int32), state))
    return state, state.done


@partial(jax.jit, static_argnums=1)
def shrink(state: State, num_rows: int) -> State:
    """Keep `num_rows` rows, the active ones first."""
    kept_B = jnp.argsort(~state.rows.active, stable=True)[:num_rows]
    return state._replace(rows=jax.tree.map(lambda x: x[kept_B], state.rows))


def _decode(config: ModelConfig, work: Work, rows: Rows) -> tuple[Rows, Array]:
    """Write one token in every row; also return which rows ended with it."""
    settings = work.settings
    used = jnp.max(jnp.where(rows.active, rows.positions, 0)) + 1
    logits_BV, cache = decode_step(
        config, work.weights, rows.cache, rows.next_tokens, rows.positions, used
    )
    uniforms_B = work.uniforms.at[rows.items, rows.counts].get(mode="clip")
    tokens_B, logprobs_B = draw_tokens(logits_BV, uniforms_B, settings.temperature, settings.top_p)
    new_BM = jnp.arange(rows.tokens.shape[1])[None] == rows.counts[:, None]
    counts_B = rows.counts + rows.active
    is_eos_B = jnp.any(tokens_B[:, None] == settings.eos_ids[None], axis=1)
    ended_B = rows.active & (is_eos_B | (counts_B >= settings.limit))
    rows = rows._replace(
        cache=cache,
        next_tokens=tokens_B,
        positions=rows.positions + rows.active,
        counts=counts_B,
        tokens=jnp.where(new_BM, tokens_B[:, None], rows.tokens),
        logprobs=jnp.where(new_BM, logprobs_B[:, None], rows.logprobs),
    )
    return rows, ended_B


def _refill(work: Work, state: State, ended_B: Array) -> State:
    """Flush each ended row's completion and give the row the next item, or leave it idle."""

    def swap(carry: tuple[Array, State]) -> tuple[Array, State]:
        ended_B, (rows, new, done) = carry
        row = jnp.argmax(ended_B)
        old = rows.items[row]
        done = Done(
            tokens=done.tokens.at[old].set(rows.tokens[row]),
            logprobs=done.logprobs.at[old].set(rows.logprobs[row]),
            counts=done.counts.at[old].set(rows.counts[row]),
        )
        is_item = new < work.num_items
        prompt = jnp.where(is_item, new // work.num_samples, 0)
        rows = rows._replace(
            cache=load_row(rows.cache, row, work.pool, prompt),
            items=rows.items.at[row].set(jnp.where(is_item, new, done.counts.shape[0] - 1)),
            active=rows.active.at[row].set(is_item),
            next_tokens=rows.next_tokens.at[row].set(work.last_tokens[prompt]),
            positions=rows.positions.at[row].set(jnp.where(is_item, work.lengths[prompt] - 1, 0)),
            counts=rows.counts.at[row].set(0),
        )
        state = State(rows=rows, next_item=new + is_item, done=done)
        return ended_B.at[row].set(False), state

    return jax.lax.while_loop(lambda carry: jnp.any(carry[0]), swap, (ended_B, state))[1]
