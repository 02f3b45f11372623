"""GRPO's updates on 8 virtual devices are those of one device, for each way to split them.

Every term of the loss counts (clipped policy gradient, KL to a reference that is scored on the same
mesh, replay, error lines), over epochs and minibatches, for all weights and for adapters alone.
"""

import functools

import jax
import numpy as np
import pytest

from mdx.lammps.run import Reward
from mdx.model.config import ComputeConfig, LoraConfig
from mdx.model.decoder import init, structure
from mdx.model.lora import init_adapters
from mdx.model.sharding import batch_parts, make_mesh, shard_batch, shard_params
from mdx.tasks.task import Task
from mdx.trajectory import Completion, StopReason, Trajectory, TrajectoryGroup
from trainers.optim import OptimConfig, make_optimizer
from trainers.packing import Segment, row_shape
from trainers.policy_loss import PolicyLossConfig
from trainers.policy_update import UpdateConfig, make_logprobs, make_reference, make_updater
from trainers.prompts import Prompt
from trainers.rollouts import Rollout
from trainers.state import create_state

from .test_meshes import LORA, MESHES, MODEL

UPDATE = UpdateConfig(
    num_epochs=2,
    num_minibatches=2,
    seq_len=32,
    microbatch_rows=2,
    loss=PolicyLossConfig(kl_coef=0.1, replay_coef=0.05, error_coef=0.05),
)
OPTIM = OptimConfig(num_steps=9, peak_lr=1e-2, warmup_steps=0)
NUM_PROMPTS, GROUP, TEMPERATURE = 8, 4, 0.8
COMPUTE = ComputeConfig(attention="xla", scan_layers=True, vocab_block=64)
NAMES = ("data", "fsdp", "tensor, above the kv heads", "tensor 2", "data x fsdp x tensor")


@pytest.fixture(autouse=True, scope="module")
def quick_to_compile():
    """Compile without most optimizations, which is where these tests would spend their time."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@functools.cache
def rollouts() -> list[Rollout]:
    """Return groups of random completions, about as likely under the policy as their logprobs."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(NUM_PROMPTS):
        task = Task(id=f"t{number}", family="nve", prompt="")
        prompt = Prompt(task=task, tokens=tuple(rng.integers(3, 64, 5)), error_span=(1, 3))
        trajectories = tuple(
            Trajectory(
                id=f"{number}.{index}",
                task=task,
                prompt_tokens=prompt.tokens,
                completion=_completion(rng, length),
                reward=Reward(total=float(rng.random())),
            )
            for index, length in enumerate(rng.integers(3, 11, GROUP))
        )
        found.append(Rollout(prompt=prompt, group=TrajectoryGroup(trajectories=trajectories)))
    return found


def _completion(rng: np.random.Generator, length: int) -> Completion:
    return Completion(
        tokens=tuple(rng.integers(3, 64, length)),
        logprobs=tuple(rng.normal(-np.log(64), 0.2, length)),
        text="",
        stop_reason=StopReason.EOS,
    )


def update(mesh, lora: LoraConfig):
    """Return the trained weights and the metrics after all epochs over the rollouts."""
    weights = shard_params(init(MODEL, key=jax.random.key(0))[1], mesh)
    trained, base, reference = weights, None, jax.tree.map(lambda leaf: leaf + 0.0, weights)
    if lora.rank:
        adapters = init_adapters(MODEL, lora, jax.random.key(1))
        adapters = jax.tree.map(lambda leaf: leaf + 0.01, adapters)  # B starts at 0
        trained, base, reference = shard_params(adapters, mesh), weights, weights
    shape = row_shape(
        num_segments=NUM_PROMPTS * GROUP + 1,
        max_segment=16,
        seq_len=UPDATE.seq_len,
        microbatch_rows=UPDATE.microbatch_rows,
        num_parts=batch_parts(mesh),
        share_prompts=True,
    )
    logprobs, plain = (
        make_logprobs(structure(MODEL, COMPUTE, which), temperature=TEMPERATURE, vocab_block=64)
        for which in (lora, None)
    )
    updater = make_updater(
        UPDATE,
        OPTIM,
        logprobs,
        shape=shape,
        base=base,
        add_reference=make_reference(reference, plain, shape, lambda b: shard_batch(b, mesh)),
        place=lambda b: shard_batch(b, mesh),
        pad_id=0,
    )
    state = create_state(trained, make_optimizer(OPTIM), jax.random.key(2))
    replayed = [Segment(prompt=(4, 5), completion=(6, 7, 8), replay_weight=1.0)]
    state, metrics = updater.update(state, rollouts(), replayed, np.random.default_rng(3))
    assert int(state.step) == UPDATE.updates_per_step
    del metrics["row_fill"]  # a mesh has its own number of rows to fill
    return jax.device_get(state.params), metrics


@functools.cache
def on_one_device(lora: LoraConfig):
    params, metrics = update(make_mesh(devices=jax.devices()[:1]), lora)
    assert metrics["clip_fraction"] > 0.05
    assert min(metrics[name] for name in ("kl", "replay_loss", "error_loss", "grad_norm")) > 1e-4
    return params, metrics


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", NAMES)
def test_updates_on_a_mesh_are_those_of_one_device(name, lora):
    params, metrics = update(make_mesh(MESHES[name]), lora)
    expected_params, expected = on_one_device(lora)
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-5)
    # Adam makes whole steps (1e-2) of gradients near 0: one weight in 3,000 is 1.1e-5 off.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), params, expected_params)
