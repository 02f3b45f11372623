"""The update on a tiny model: what is cut, packed, skipped and measured from a reference."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.lammps.run import Reward
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import init, structure
from mdx.model.lora import abstract_adapters, init_adapters
from mdx.model.sampler import sample
from mdx.tasks.task import Task
from mdx.trajectory import Completion, StopReason, Trajectory, TrajectoryGroup
from trainers.optim import OptimConfig, make_optimizer
from trainers.packing import Segment, pack, row_shape
from trainers.policy_loss import PolicyLossConfig, count_grpo_tokens, make_policy_loss
from trainers.policy_update import (
    UpdateConfig,
    make_logprobs,
    make_reference,
    make_updater,
    policy_segments,
)
from trainers.prompts import Prompt
from trainers.rollouts import Rollout
from trainers.state import create_state

MODEL = ModelConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    initializer_range=0.5,
)
GRAPHDEF, PARAMS = init(MODEL, ComputeConfig(attention="blocked"), jax.random.key(1))
TEMPERATURE = 0.8
SHAPE = row_shape(
    num_segments=24, max_segment=16, seq_len=32, microbatch_rows=2, share_prompts=True
)
PLAIN = PolicyLossConfig(kl_coef=0.0, replay_coef=0.0)
FULL = PolicyLossConfig(kl_coef=5.0, replay_coef=0.0, error_coef=0.05)
OPTIM = OptimConfig(num_steps=5, peak_lr=1e-2, warmup_steps=0)


def rolled_out(number, rewards):
    """Sample a group for prompt `number` from the model and give it `rewards`."""
    task = Task(id=f"t{number}", family="nve", prompt="")
    prompt = Prompt(task=task, tokens=(3, 4 + number, 5), error_span=(1, 2))
    (group,) = sample(
        GRAPHDEF,
        PARAMS,
        [prompt.tokens],
        num_samples=len(rewards),
        max_new_tokens=8,
        eos_ids=(2,),
        key=jax.random.key(number),
        temperature=TEMPERATURE,
        num_slots=4,
    )
    trajectories = [
        Trajectory(
            id=f"{number}.{i}",
            task=task,
            prompt_tokens=prompt.tokens,
            completion=Completion(
                tokens=sampled.tokens,
                logprobs=sampled.logprobs,
                text="",
                stop_reason=StopReason.EOS,
            ),
            reward=None if reward is None else Reward(total=reward),
        )
        for i, (sampled, reward) in enumerate(zip(group, rewards, strict=True))
    ]
    return Rollout(prompt=prompt, group=TrajectoryGroup(trajectories=tuple(trajectories)))


@pytest.fixture(scope="module")
def rollouts():
    return [
        rolled_out(0, [1.0, 0.0, 0.5, 0.0]),
        rolled_out(1, [0.3, 0.3, 0.3, 0.3]),
        rolled_out(2, [None, 0.9, None, 0.1]),
        rolled_out(3, [0.0, 0.0, 0.0, 1.0]),
    ]


@functools.cache
def make_tiny_updater(loss, with_reference):
    """Return an updater; equal ones share their compilation."""
    logprobs = make_logprobs(GRAPHDEF, temperature=TEMPERATURE, vocab_block=64)
    return make_updater(
        UpdateConfig(seq_len=32, microbatch_rows=2, loss=loss),
        OPTIM,
        logprobs,
        shape=SHAPE,
        add_reference=make_reference(
            PARAMS if with_reference else None, logprobs, SHAPE, lambda batch: batch
        ),
        place=lambda batch: batch,
        pad_id=0,
    )


def updated(rollouts, loss=PLAIN, with_reference=False, **changes):
    updater = make_tiny_updater(loss, with_reference)
    updater = replace(updater, config=replace(updater.config, **changes))
    params = jax.tree.map(jnp.copy, PARAMS)
    state = create_state(params, make_optimizer(OPTIM), jax.random.key(0))
    return updater.update(state, rollouts, [], np.random.default_rng(0))


def test_sampler_and_trainer_agree_on_the_tempered_log_probabilities(rollouts):
    _, metrics = updated(rollouts)
    assert metrics["logprob_gap_max"] < 1e-5
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert 0 < metrics["ratio_max"] == pytest.approx(1.0, abs=1e-5)
    scored = [t for r in (rollouts[0], rollouts[2], rollouts[3]) for t in r.group.scored]
    assert metrics["targets"] == sum(len(t.completion.tokens) for t in scored)


def test_entropy_is_that_of_the_tempered_policy(rollouts):
    _, metrics = updated(rollouts)
    logprobs = make_logprobs(GRAPHDEF, temperature=TEMPERATURE, vocab_block=64)
    segments = [s for r in rollouts if r.teaches for s in policy_segments(r)]
    batch, _ = pack(segments, SHAPE, pad_id=0)
    _, entropy = jax.jit(logprobs)(PARAMS, batch)
    expected = float(jnp.sum(entropy * batch.loss_mask) / batch.loss_mask.sum())
    assert metrics["entropy"] == pytest.approx(expected, rel=1e-5)


def test_groups_of_equal_reward_and_lost_trajectories_leave_no_trace(rollouts):
    with_all, _ = updated(rollouts)
    without, _ = updated([rollouts[0], rollouts[2], rollouts[3]])
    jax.tree.map(np.testing.assert_array_equal, with_all.params, without.params)


def test_a_shared_prompt_gives_the_loss_and_gradient_of_repeated_ones(rollouts):
    segments = [s for r in rollouts if r.teaches for s in policy_segments(r)]
    segments.append(Segment(prompt=(3, 4, 5), completion=(6, 7, 8), replay_weight=0.5))
    logprobs = make_logprobs(GRAPHDEF, temperature=TEMPERATURE, vocab_block=64)
    config = PolicyLossConfig(kl_coef=0.1, replay_coef=0.5, error_coef=0.3)

    @jax.jit
    def value_and_gradient(params, batch):
        loss_fn = make_policy_loss(logprobs, config)
        return jax.value_and_grad(loss_fn, has_aux=True)(params, batch, count_grpo_tokens(batch))

    found = []
    for share_prompts in (False, True):
        batch, _ = pack(segments, replace(SHAPE, share_prompts=share_prompts), pad_id=0)
        (loss, metrics), gradient = value_and_gradient(PARAMS, batch)
        found.append((gradient, loss, metrics))
        num_tokens = int((batch.segment_ids > 0).sum())
        written = sum(len(s.completion) for s in segments)
        if not share_prompts:
            assert num_tokens == written + 3 * len(segments)
        else:  # the prompt of task 0 may stand in two rows
            assert written + 3 * 3 <= num_tokens <= written + 3 * 4
    repeated, shared = found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), shared, repeated)
    assert float(jnp.abs(shared[0]["embed_tokens"]).max()) > 1e-2
    assert min(float(metrics[name]) for name in ("replay_loss", "error_loss")) > 0.1


def test_nothing_to_learn_leaves_everything_but_the_step_count(rollouts):
    state, metrics = updated([rollouts[1]], num_epochs=2)
    assert metrics == {}
    assert int(state.step) == 2
    jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)


def test_every_epoch_and_minibatch_is_an_optimizer_step_on_whole_groups(rollouts):
    state, metrics = updated(rollouts, num_epochs=2, num_minibatches=3)
    assert int(state.step) == 6
    assert metrics["ratio_max"] > 1.001, "later updates see a policy that has moved"
    assert metrics["logprob_gap_max"] < 1e-5, "the gap is that of the first update"
    in_updates = UpdateConfig(num_epochs=2, num_minibatches=3).in_updates(OptimConfig(num_steps=7))
    assert in_updates.num_steps == 42


def test_divergence_from_the_reference_is_zero_until_the_policy_moves(rollouts):
    _, once = updated(rollouts, loss=FULL, with_reference=True)
    _, later = updated(rollouts, loss=FULL, with_reference=True, num_epochs=3)
    assert once["kl"] == pytest.approx(0.0, abs=1e-6)
    assert later["kl"] > 1e-5


def test_adapters_alone_are_trained_and_measured_from_the_base_without_them(rollouts):
    lora = LoraConfig(rank=2, alpha=4.0)
    compute = ComputeConfig(attention="blocked")
    plain, adapted = (
        make_logprobs(structure(MODEL, compute, which), temperature=TEMPERATURE, vocab_block=64)
        for which in (None, lora)
    )
    updater = make_updater(
        UpdateConfig(seq_len=32, microbatch_rows=2, loss=FULL, num_epochs=2),
        OPTIM,
        adapted,
        base=PARAMS,
        shape=SHAPE,
        add_reference=make_reference(PARAMS, plain, SHAPE, lambda batch: batch),
        place=lambda batch: batch,
        pad_id=0,
    )
    before = init_adapters(MODEL, lora, jax.random.key(5))
    state = create_state(jax.tree.map(jnp.copy, before), make_optimizer(OPTIM), jax.random.key(0))
    state, first = updater.update(state, rollouts, [], np.random.default_rng(0))
    assert first["logprob_gap_max"] < 1e-5, "new adapters leave the sampled policy as it was"
    assert first["kl"] > 1e-6, "the second epoch sees adapters that have moved"
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(PARAMS))
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.params, before)
    assert jax.tree.structure(moved) == jax.tree.structure(abstract_adapters(MODEL, lora))
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_error_line_counts_once_a_group(rollouts):
    assert [s.error_span for s in policy_segments(rollouts[2])] == [(1, 2), (0, 0)]
    _, metrics = updated(rollouts, loss=FULL, with_reference=True)
    assert metrics["error_targets"] == 3
    assert metrics["error_loss"] > 0


def test_equal_completions_are_computed_once_and_counted_as_often_as_sampled(rollouts):
    prompt, group = rollouts[0].prompt, rollouts[0].group
    good, bad, *_ = group.trajectories
    twice = replace(bad, reward=Reward(total=0.5))
    repeated = Rollout(
        prompt=prompt, group=TrajectoryGroup(trajectories=(good, bad, good, bad, twice))
    )
    segments = policy_segments(repeated)
    assert [(s.completion, s.count) for s in segments] == [
        (good.completion.tokens, 2),
        (bad.completion.tokens, 2),
        (bad.completion.tokens, 1),
    ]
    assert sum(s.count * s.advantage for s in segments) == pytest.approx(0.0, abs=1e-12)
