"""The training step: accumulation, the guard against NaN, placement, compilation.

The model is a table of logits for the next token, one row a preceding token: its gradient has a
closed form, and compiling it costs nothing.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mdx.data.batch import Batch
from trainers.losses import make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.state import create_state
from trainers.step import make_train_step

NUM_TOKENS = 8
CONFIG = OptimConfig(num_steps=20, warmup_steps=2, peak_lr=0.1, weight_decay=0.0)


def _logprobs(params, batch):
    previous = jnp.pad(batch.tokens, ((0, 0), (1, 0)))[:, :-1]
    log_p = jax.nn.log_softmax(params["table"][previous], axis=-1)
    return jnp.take_along_axis(log_p, batch.tokens[..., None], axis=-1)[..., 0]


def _summed(logprobs):
    return lambda params, batch: -(logprobs(params, batch) * batch.loss_mask).sum()


def _params(seed: int = 0):
    return {"table": jax.random.normal(jax.random.key(seed), (NUM_TOKENS, NUM_TOKENS))}


def _batch(rows: int = 8, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    shape = (rows, 6)
    mask = (rng.random(shape) < np.linspace(0.1, 0.9, rows)[:, None]).astype(np.float32)
    mask[:, 0] = 0
    mask[-1, 1:] = 1
    return Batch(
        tokens=rng.integers(0, NUM_TOKENS, shape).astype(np.int32),
        loss_mask=mask,
        segment_ids=np.ones(shape, np.int32),
        positions=np.tile(np.arange(6, dtype=np.int32), (rows, 1)),
    )


def _step(num_microbatches: int = 1, config: OptimConfig = CONFIG, logprobs=_logprobs):
    optimizer = make_optimizer(config)
    step = make_train_step(
        make_next_token_loss(_summed(logprobs)),
        optimizer,
        make_schedule(config),
        num_microbatches=num_microbatches,
    )
    return step, optimizer


def _run(num_microbatches: int, steps: int = 3):
    step, optimizer = _step(num_microbatches)
    state = create_state(_params(), optimizer, jax.random.key(0))
    history = []
    for seed in range(steps):
        state, metrics = step(state, _batch(seed=seed))
        history.append(metrics)
    return state, history


@pytest.mark.parametrize("num_microbatches", [2, 8])
def test_accumulated_gradient_is_that_of_the_whole_batch(num_microbatches):
    """Rows have very different numbers of targets: a mean of means would be far off."""
    whole, whole_history = _run(1)
    cut, cut_history = _run(num_microbatches)
    np.testing.assert_allclose(cut.params["table"], whole.params["table"], rtol=0, atol=2e-6)
    for a, b in zip(cut_history, whole_history, strict=True):
        for name in ("loss", "grad_norm", "targets", "tokens"):
            np.testing.assert_allclose(a[name], b[name], rtol=2e-6)


def test_gradient_norm_and_loss_agree_with_the_closed_form():
    step, optimizer = _step()
    batch, table = _batch(), np.asarray(_params()["table"], np.float64)
    _, metrics = step(create_state(_params(), optimizer, jax.random.key(0)), batch)
    gradient, loss = np.zeros_like(table), 0.0
    for b, t in zip(*np.nonzero(batch.loss_mask), strict=True):
        before, token = batch.tokens[b, t - 1], batch.tokens[b, t]
        p = np.exp(table[before]) / np.exp(table[before]).sum()
        loss -= np.log(p[token])
        gradient[before] += p
        gradient[before, token] -= 1
    targets = batch.loss_mask.sum()
    assert float(metrics["loss"]) == pytest.approx(loss / targets, rel=1e-5)
    norm = np.linalg.norm(gradient / targets)
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-5)


def test_rows_must_divide_into_microbatches():
    step, optimizer = _step(3)
    with pytest.raises(ValueError, match="8 rows cannot be cut into 3"):
        step(create_state(_params(), optimizer, jax.random.key(0)), _batch())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_loss_skips_the_update_and_is_counted(bad):
    def logprobs(params, batch):
        return _logprobs(params, batch) * jnp.where(batch.positions == 99, bad, 1.0)

    step, optimizer = _step(logprobs=logprobs)
    state = create_state(_params(), optimizer, jax.random.key(0))
    state, metrics = step(state, _batch(seed=0))
    assert float(metrics["skipped"]) == 0.0
    before = jax.tree.map(np.array, (state.params, state.opt_state))
    poisoned = dataclasses.replace(_batch(seed=1), positions=np.full((8, 6), 99, np.int32))
    state, metrics = step(state, poisoned)
    assert float(metrics["skipped"]) == 1.0
    assert int(state.step) == 2
    jax.tree.map(np.testing.assert_array_equal, before, (state.params, state.opt_state))
    state, metrics = step(state, _batch(seed=2))
    assert float(metrics["skipped"]) == 0.0
    assert float(metrics["lr"]) == pytest.approx(float(make_schedule(CONFIG)(2)))
    assert np.isfinite(state.params["table"]).all()


def test_non_finite_gradient_under_a_finite_loss_skips_too():
    def logprobs(params, batch):
        # the square root of zero has an infinite slope
        kink = jnp.sqrt(jnp.abs(params["table"] - params["table"]).sum())
        return _logprobs(params, batch) + kink

    step, optimizer = _step(logprobs=logprobs)
    state = create_state(_params(), optimizer, jax.random.key(0))
    state, metrics = step(state, _batch())
    assert np.isfinite(float(metrics["loss"]))
    assert float(metrics["skipped"]) == 1.0
    np.testing.assert_array_equal(state.params["table"], _params()["table"])


def test_sharded_step_equals_the_step_on_one_device_and_keeps_its_placement():
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("data", "fsdp"))
    sharding = NamedSharding(mesh, PartitionSpec("fsdp", None))
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None))
    step, optimizer = _step(2)
    params = jax.device_put(_params(), sharding)
    state = create_state(params, optimizer, jax.random.key(0))
    assert optax.tree_utils.tree_get(state.opt_state, "mu")["table"].sharding == sharding
    for seed in range(3):
        batch = jax.tree.map(lambda x: jax.device_put(x, rows), _batch(16, seed))
        state, _ = step(state, batch)
        assert state.params["table"].sharding == sharding
        assert optax.tree_utils.tree_get(state.opt_state, "nu")["table"].sharding == sharding
    step, optimizer = _step(1)
    alone = create_state(_params(), optimizer, jax.random.key(0))
    for seed in range(3):
        alone, _ = step(alone, _batch(16, seed))
    np.testing.assert_allclose(state.params["table"], alone.params["table"], rtol=0, atol=2e-6)


def test_step_compiles_once():
    traces, events = [], []
    step, optimizer = _step(logprobs=_counted(traces))
    state = create_state(_params(), optimizer, jax.random.key(0))

    def listen(event, _, **__):
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for seed in range(4):
            state, _ = step(state, _batch(seed=seed))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(traces) == 1
    assert sum(event.endswith("backend_compile_duration") for event in events) == 1


def _counted(traces: list[int]):
    def logprobs(params, batch):
        traces.append(1)
        return _logprobs(params, batch)

    return logprobs
