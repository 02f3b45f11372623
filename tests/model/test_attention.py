import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.attention import attend
from mdx.model.rowwise import cuts_of, run_starts

SHAPE = dict(B=3, T=37, N=6, G=3, H=8)


jitted = jax.jit(attend, static_argnames=("implementation", "block"))


def reference(query, key, value, segments, branches=None):
    """Causal attention within segments and their branches, written out in float64."""
    branches = np.zeros_like(segments) if branches is None else branches
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    B, T, N, H = query.shape
    repeats = N // key.shape[2]
    out = np.zeros_like(query)
    for b in range(B):
        for n in range(N):
            for t in range(T):
                seen = [
                    k
                    for k in range(t + 1)
                    if segments[b, k] == segments[b, t] and branches[b, k] in (0, branches[b, t])
                ]
                scores = key[b, seen, n // repeats] @ query[b, t, n] / np.sqrt(H)
                weights = np.exp(scores - scores.max())
                out[b, t, n] = weights @ value[b, seen, n // repeats] / weights.sum()
    return out


@pytest.fixture(scope="module")
def inputs():
    B, T, N, G, H = SHAPE.values()
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (B, T, N, H))
    key, value = (jax.random.normal(k, (B, T, G, H)) for k in keys[1:])
    segments = np.ones((B, T), np.int32)
    segments[1, 10:] = 2
    segments[1, 30:] = 0
    segments[2] = np.arange(T) // 9 + 1
    return query, key, value, jnp.asarray(segments)


@pytest.fixture(scope="module")
def branches():
    """Prompts of several lengths and their branches, one of which is the prompt alone."""
    found = np.zeros((SHAPE["B"], SHAPE["T"]), np.int32)
    found[0, 5:17], found[0, 17:18], found[0, 18:] = 1, 2, 3
    found[1, 4:10] = 1
    found[1, 11:20], found[1, 20:30] = 1, 2
    found[2, 9 * 2 + 1 : 9 * 2 + 4], found[2, 9 * 2 + 4 : 27] = 1, 2
    return jnp.asarray(found)


FORMS = [
    *(("rowwise", 4), ("rowwise", 8), ("rowwise", 64)),
    *(("blocked", 8), ("blocked", 64), ("xla", 0)),
]


@pytest.mark.parametrize(("implementation", "block"), FORMS)
def test_attention_equals_its_definition(inputs, implementation, block):
    mixed = jitted(*inputs, implementation=implementation, block=block)
    np.testing.assert_allclose(mixed, reference(*inputs), atol=2e-6)


@pytest.mark.parametrize(("implementation", "block"), FORMS)
def test_continuations_see_their_prompt_and_themselves(inputs, branches, implementation, block):
    mixed = jitted(*inputs, branches, implementation=implementation, block=block)
    np.testing.assert_allclose(mixed, reference(*inputs, branches), atol=2e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_agree_between_implementations(inputs, branches, shared):
    query, key, value, segments = inputs
    branches = branches if shared else None
    direction = jax.random.normal(jax.random.key(9), query.shape)

    def gradients(implementation, block):
        def objective(query, key, value):
            mixed = attend(
                query, key, value, segments, branches, implementation=implementation, block=block
            )
            return jnp.sum(mixed * direction)

        return jax.jit(jax.grad(objective, argnums=(0, 1, 2)))(query, key, value)

    expected = gradients("xla", 0)
    for found in (gradients("rowwise", 8), gradients("rowwise", 4), gradients("blocked", 8)):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=5e-6)


def test_rowwise_gradient_is_the_finite_difference(inputs):
    query, key, value, segments = inputs

    @jax.jit
    def objective(key):
        mixed = attend(query, key, value, segments, implementation="rowwise", block=8)
        return jnp.sum(jnp.sin(mixed))

    direction = jax.random.normal(jax.random.key(5), key.shape)
    step = 1e-2
    difference = (objective(key + step * direction) - objective(key - step * direction)) / 2 / step
    slope = jnp.vdot(jax.jit(jax.grad(objective))(key), direction)
    np.testing.assert_allclose(slope, difference, rtol=2e-3)


def test_one_row_of_one_token_and_bfloat16_work(inputs):
    query, key, value, segments = (x[:1, :1] for x in inputs)
    mixed = jitted(query, key, value, segments, implementation="rowwise", block=128)
    np.testing.assert_allclose(mixed, jnp.repeat(value, 2, axis=2), atol=1e-6)
    half = [x.astype(jnp.bfloat16) for x in inputs[:3]]
    mixed = jitted(*half, inputs[3], implementation="rowwise", block=8)
    assert mixed.dtype == jnp.bfloat16
    np.testing.assert_allclose(mixed.astype(jnp.float32), reference(*inputs), atol=0.05)


def test_runs_start_where_any_id_changes():
    segments = jnp.asarray([[1, 1, 2, 2, 2, 0, 0], [5, 6, 7, 7, 8, 8, 8]])
    branches = jnp.asarray([[0, 1, 1, 1, 2, 0, 0], [0, 0, 0, 0, 0, 1, 1]])
    starts = run_starts(segments, branches)
    np.testing.assert_array_equal(starts, [[0, 1, 2, 2, 4, 5, 5], [0, 1, 2, 2, 4, 5, 5]])
    starts = run_starts(segments)
    np.testing.assert_array_equal(starts, [[0, 0, 2, 2, 2, 5, 5], [0, 1, 2, 2, 4, 4, 4]])


@pytest.mark.parametrize("num_tokens", [1, 7, 64, 640, 1000, 1408, 2048, 32768])
def test_cuts_cover_a_row_with_equal_blocks_and_little_padding(num_tokens):
    spans, blocks, size = cuts = cuts_of(num_tokens, 128)
    assert num_tokens <= spans * blocks * size < num_tokens + spans * blocks
    assert blocks * size == cuts.span
    assert min(num_tokens, 128) <= size < 256
    assert blocks <= 5


def test_rowwise_never_holds_scores_of_a_whole_row():
    B, T, block = 2, 2560, 64
    query, key = jnp.zeros((B, T, 4, 8)), jnp.zeros((B, T, 2, 8))

    def objective(query, key, value):
        segments = jnp.ones((B, T), jnp.int32)
        return attend(query, key, value, segments, implementation="rowwise", block=block).sum()

    traced = jax.make_jaxpr(jax.grad(objective, argnums=(0, 1, 2)))(query, key, key)
    sizes = [size for size in _sizes(traced.jaxpr) if size]
    assert max(sizes) <= B * T * 4 * 8  # the queries themselves; scores would be B * 4 * T * T


def _sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (getattr(v.aval, "size", 0) for v in equation.outvars)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _sizes(inner)
