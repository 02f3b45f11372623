"""The loop: resuming is exact, stopping saves, and what cannot go on says so.

The model is a table of logits and the batches are made up, so that a run takes milliseconds.
"""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.data.batch import Batch
from mdx.errors import CheckpointError, ConfigError, MdxError, StoppedError
from trainers.checkpoint import CheckpointConfig
from trainers.hooks import TIMING_FIELDS, read_metrics
from trainers.loop import DataConfig, fit
from trainers.losses import make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.state import create_state
from trainers.step import make_train_step

NUM_STEPS = 12
CONFIG = OptimConfig(num_steps=NUM_STEPS, warmup_steps=2, peak_lr=0.1)
OPTIMIZER = make_optimizer(CONFIG)


class Rows:
    """Batches that are a function of their number; `on` does something before one of them."""

    def __init__(self, on=None, poison=()):
        self.number = 0
        self.on = on or {}
        self.poison = poison

    def __next__(self) -> Batch:
        self.number += 1
        if self.number in self.on:
            self.on[self.number]()
        tokens = np.random.default_rng(self.number).integers(0, 8, (4, 6)).astype(np.int32)
        positions = np.tile(np.arange(6, dtype=np.int32), (4, 1))
        segment_ids = np.ones((4, 6), np.int32)
        segment_ids[0, 3:] = 0
        mask = ((positions > 0) & (segment_ids > 0)).astype(np.float32)
        if self.number in self.poison:
            mask *= np.nan
        return Batch(tokens=tokens, loss_mask=mask, segment_ids=segment_ids, positions=positions)

    def get_state(self):
        return {"number": self.number}

    def set_state(self, state):
        self.number = state["number"]


def _loss_sum(params, batch):
    previous = jnp.pad(batch.tokens, ((0, 0), (1, 0)))[:, :-1]
    log_p = jax.nn.log_softmax(params["table"][previous], axis=-1)
    chosen = jnp.take_along_axis(log_p, batch.tokens[..., None], axis=-1)[..., 0]
    return -(chosen * batch.loss_mask).sum()


@pytest.fixture(scope="module")
def train_step():
    return make_train_step(make_next_token_loss(_loss_sum), OPTIMIZER, make_schedule(CONFIG))


@pytest.fixture(scope="module")
def train(train_step):
    def run(run_dir, batches=None, num_steps=NUM_STEPS, save_every=4):
        params = {"table": jax.random.normal(jax.random.key(0), (8, 8))}
        return fit(
            create_state(params, OPTIMIZER, jax.random.key(1)),
            batches or Rows(),
            train_step,
            stage="test",
            run_dir=str(run_dir),
            num_steps=num_steps,
            checkpoint=CheckpointConfig(save_every=save_every, keep=2),
            place=lambda batch: batch,
        )

    return run


def _untimed(run_dir):
    lines = read_metrics(str(run_dir))
    return [{k: v for k, v in line.items() if k not in TIMING_FIELDS} for line in lines]


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """Return the last state and the metrics of an uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole")
    return train(run_dir), _untimed(run_dir)


def _assert_same(state, run_dir, whole):
    jax.tree.map(np.testing.assert_array_equal, state.params, whole[0].params)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, whole[0].opt_state)
    assert _untimed(run_dir) == whole[1]


def test_every_step_has_one_line_with_its_figures(whole):
    lines = whole[1]
    assert [line["step"] for line in lines] == list(range(1, NUM_STEPS + 1))
    schedule = make_schedule(CONFIG)
    for line in lines:
        assert line["tokens"] == 21
        assert line["targets"] == 17
        assert line["padding_share"] == pytest.approx(3 / 24)
        assert line["lr"] == pytest.approx(float(schedule(line["step"] - 1)))
        assert line["grad_norm"] > 0
        assert line["num_skipped"] == 0
    assert lines[-1]["loss"] < lines[0]["loss"]


class CrashError(Exception):
    """Stands for whatever ends a process without warning."""


def _crash():
    raise CrashError


@pytest.mark.parametrize("crash_before", [3, 5, 9, 12])
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(train, whole, tmp_path, crash_before):
    with pytest.raises(CrashError):
        train(tmp_path, Rows(on={crash_before: _crash}))
    _assert_same(train(tmp_path), tmp_path, whole)


def test_finished_run_takes_no_further_step(train, whole, tmp_path):
    train(tmp_path)
    _assert_same(train(tmp_path, Rows(on={NUM_STEPS + 1: _crash})), tmp_path, whole)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, StoppedError), (signal.SIGINT, KeyboardInterrupt)]
)
def test_signal_saves_the_step_under_way_and_the_run_goes_on_exactly(
    train, whole, tmp_path, number, error
):
    with pytest.raises(error):
        train(tmp_path, Rows(on={6: lambda: os.kill(os.getpid(), number)}))
    assert "6" in os.listdir(tmp_path / "checkpoints")
    assert [line["step"] for line in _untimed(tmp_path)] == [1, 2, 3, 4, 5, 6]
    _assert_same(train(tmp_path, Rows(on={3: _crash})), tmp_path, whole)


def test_non_finite_batches_are_skipped_counted_and_survive_a_resume(train, tmp_path):
    poison = (3, 4, 7)
    straight = train(tmp_path / "straight", Rows(poison=poison))
    with pytest.raises(CrashError):
        train(tmp_path / "cut", Rows(poison=poison, on={6: _crash}))
    resumed = train(tmp_path / "cut", Rows(poison=poison))
    _assert_same(resumed, tmp_path / "cut", (straight, _untimed(tmp_path / "straight")))
    lines = _untimed(tmp_path / "cut")
    assert [line["num_skipped"] for line in lines] == [0, 0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    assert [line["step"] for line in lines if line["loss"] is None] == list(poison)


def test_ten_non_finite_steps_in_a_row_stop_with_one_line(train, tmp_path):
    with pytest.raises(MdxError, match="not finite in 10 steps in a row, up to step 11") as caught:
        train(tmp_path, Rows(poison=range(2, 40)), num_steps=40)
    assert "\n" not in str(caught.value)


def test_checkpoint_of_other_data_is_refused_by_the_iterator(train, tmp_path):
    class Other(Rows):
        def set_state(self, state):
            raise CheckpointError("the checkpoint was made with other data")

    train(tmp_path, num_steps=4)
    with pytest.raises(CheckpointError, match="other data"):
        train(tmp_path, Other())


def test_microbatches_follow_from_the_two_sizes():
    assert DataConfig(batch_size=16).num_microbatches() == 1
    assert DataConfig(batch_size=16, microbatch_size=4).num_microbatches() == 4
    assert DataConfig(batch_size=16, microbatch_size=1).num_microbatches(8) == 2
    with pytest.raises(ConfigError, match="multiple of the 12 rows"):
        DataConfig(batch_size=16, microbatch_size=8).num_microbatches(6)


@pytest.mark.parametrize(
    ("sizes", "num_parts", "found"),
    [
        ({"batch_size": 16, "seq_len": 256}, 1, 2),
        ({"batch_size": 16, "seq_len": 256}, 8, 1),
        ({"batch_size": 12, "seq_len": 512}, 1, 3),
        ({"batch_size": 6, "seq_len": 4096}, 2, 3),
        ({"batch_size": 14, "seq_len": 512}, 4, 1),
        ({"batch_size": 16, "seq_len": 256, "microbatch_size": 16}, 1, 1),
    ],
)
def test_a_device_computes_no_more_tokens_at_once_than_it_should(sizes, num_parts, found):
    assert DataConfig(**sizes).num_microbatches(num_parts, max_tokens=2048) == found


@pytest.mark.parametrize(
    ("field", "value"), [("batch_size", 0), ("seq_len", 1), ("microbatch_size", 5)]
)
def test_impossible_shapes_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=f"data.{field}"):
        dataclasses.replace(DataConfig(), **{field: value})
