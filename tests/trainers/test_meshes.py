"""Whole training steps on 8 virtual devices are those of one device, for each way to split them.

Full training and LoRA, CPT's loss with microbatches; and a state saved on one mesh goes on on
others. `tests/model/test_sharding.py` has the parts, `test_several_processes.py` the processes.
"""

import functools

import jax
import numpy as np
import pytest

from mdx.data.batch import Batch
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import init, structure
from mdx.model.lora import init_adapters
from mdx.model.sharding import MeshConfig, make_mesh, shard_batch, shard_params
from trainers.checkpoint import Checkpointer
from trainers.losses import make_loss_sum, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.state import create_state
from trainers.step import make_train_step

MODEL = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=8,
)
COMPUTE = ComputeConfig(attention="blocked", attention_block=16, scan_layers=True, vocab_block=64)
OPTIM = OptimConfig(num_steps=10, peak_lr=1e-2, warmup_steps=0)
LORA = LoraConfig(rank=4, alpha=8.0, base_dtype="float32")
NUM_STEPS = 4
MESHES = {
    "data": MeshConfig(data=8, fsdp=1),
    "fsdp": MeshConfig(fsdp=8),
    "tensor, above the kv heads": MeshConfig(fsdp=1, tensor=8),
    "tensor 2": MeshConfig(fsdp=4, tensor=2),
    "tensor 4, above the kv heads": MeshConfig(fsdp=2, tensor=4),
    "data x fsdp x tensor": MeshConfig(data=2, fsdp=2, tensor=2),
    "slices x fsdp x tensor": MeshConfig(slices=2, fsdp=2, tensor=2),
}


@functools.cache
def batch(number: int) -> Batch:
    """Return 16 packed rows, the half of which each of two microbatches takes."""
    rng = np.random.default_rng(number)
    segments = np.where(np.arange(24)[None] < rng.integers(4, 20, (16, 1)), 1, 2)
    return Batch(
        tokens=rng.integers(0, 64, (16, 24)).astype(np.int32),
        loss_mask=(rng.random((16, 24)) < 0.7).astype(np.float32),
        segment_ids=segments.astype(np.int32),
        positions=np.broadcast_to(np.arange(24, dtype=np.int32), (16, 24)).copy(),
    )


class Training:
    """A state on a mesh and the step that moves it."""

    def __init__(self, mesh, lora: LoraConfig):
        self.mesh = mesh
        weights = shard_params(init(MODEL, key=jax.random.key(0))[1], mesh)
        trained, base = weights, None
        if lora.rank:
            adapters = jax.tree.map(
                lambda leaf: leaf + 0.01,  # B starts at 0, which would hide A's gradient
                init_adapters(MODEL, lora, jax.random.key(1)),
            )
            trained, base = shard_params(adapters, mesh), weights
        optimizer = make_optimizer(OPTIM)
        self.state = create_state(trained, optimizer, jax.random.key(2))
        self._step = make_train_step(
            make_next_token_loss(make_loss_sum(structure(MODEL, COMPUTE, lora), vocab_block=64)),
            optimizer,
            make_schedule(OPTIM),
            base=base,
            num_microbatches=2,
        )

    def step(self, number: int) -> tuple[float, float]:
        """Take one step; return its loss and the norm of its gradient."""
        before = self.state
        self.state, metrics = self._step(before, shard_batch(batch(number), self.mesh))
        donated = jax.tree.leaves((before.params, before.opt_state))
        assert all(leaf.is_deleted() for leaf in donated), "moments and weights never lie twice"
        return float(metrics["loss"]), float(metrics["grad_norm"])


@functools.cache
def on_one_device(lora: LoraConfig) -> tuple[list[tuple[float, float]], dict]:
    training = Training(make_mesh(devices=jax.devices()[:1]), lora)
    return [training.step(n) for n in range(NUM_STEPS)], jax.device_get(training.state.params)


def assert_equals_one_device(training, figures, lora):
    expected, params = on_one_device(lora)
    np.testing.assert_allclose(figures, expected[-len(figures) :], rtol=1e-5, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), training.state.params, params
    )


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", MESHES)
def test_steps_on_a_mesh_are_those_of_one_device(name, lora):
    training = Training(make_mesh(MESHES[name]), lora)
    figures = [training.step(number) for number in range(NUM_STEPS)]
    assert_equals_one_device(training, figures, lora)


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["full", "lora"])
def test_a_state_of_4x2_devices_goes_on_on_2x4_and_on_8x1(tmp_path, lora):
    training = Training(make_mesh(MeshConfig(fsdp=4, tensor=2)), lora)
    for number in range(NUM_STEPS - 1):
        training.step(number)
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(NUM_STEPS - 1, training.state, {"rows": 3})
    for shape in (MeshConfig(fsdp=2, tensor=4), MeshConfig(fsdp=8)):
        other = Training(make_mesh(shape), lora)
        with Checkpointer(str(tmp_path)) as checkpointer:
            restored, extra = checkpointer.restore_latest(other.state)
        assert extra == {"rows": 3}
        placed = jax.tree.map(lambda leaf: leaf.sharding, restored)
        assert placed == jax.tree.map(lambda leaf: leaf.sharding, other.state)
        jax.tree.map(np.testing.assert_array_equal, restored.params, training.state.params)
        other.state = restored
        assert_equals_one_device(other, [other.step(NUM_STEPS - 1)], lora)
