"""The stage's real step without a single weight: what training would jit, on shapes alone.

    step = planned_step("sft", config, model, devices)
    step.lower().compile()

The functions are those that the stages run (`trainers.stage`, `trainers.policy_update`); state,
frozen base and batch are `jax.ShapeDtypeStruct`s with the shardings that training would give them.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mdx.data.batch import Batch
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import abstract_params, resolve, structure
from mdx.model.lora import abstract_adapters
from mdx.model.sharding import BATCH_AXES, batch_parts, check_rows, make_mesh, tree_shardings
from trainers.cpt import CptConfig
from trainers.grpo import update_shape
from trainers.grpo_config import GrpoConfig
from trainers.policy_loss import GrpoBatch
from trainers.policy_update import make_logprobs, policy_parts
from trainers.sft import SftConfig
from trainers.stage import next_token_parts
from trainers.state import TrainState, planned_state
from trainers.step import jit_update, make_update

PyTree = Any
StageConfig = CptConfig | SftConfig | GrpoConfig
_INTS = ("tokens", "segment_ids", "positions", "branches")  # of a batch; the rest is float32


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step that could be compiled, and the sizes of what it works on."""

    model: ModelConfig
    compute: ComputeConfig  # with nothing left open
    mesh: Mesh
    state: TrainState
    base: PyTree | None
    batch: Batch
    num_microbatches: int
    jitted: Any

    def lower(self) -> jax.stages.Lowered:
        """Trace the step for the mesh's devices."""
        return self.jitted.lower(self.state, self.base, self.batch)

    @property
    def rows(self) -> int:
        """Rows of the whole batch."""
        return self.batch.tokens.shape[0]

    @property
    def seq_len(self) -> int:
        """Tokens of a row."""
        return self.batch.tokens.shape[1]

    @property
    def row_parts(self) -> int:
        """Devices, or groups of them, that share the rows."""
        return batch_parts(self.mesh)

    @property
    def argument_bytes(self) -> int:
        """Bytes of state, base and batch on one device, counted by hand from their shardings."""
        leaves = jax.tree.leaves((self.state, self.base, self.batch))
        return sum(_bytes_on_one_device(leaf) for leaf in leaves)


def planned_step(config: StageConfig, model: ModelConfig, devices: list[Any]) -> PlannedStep:
    """Return the step of the stage that `config` configures, for `devices` it need not have.

    Raises ConfigError where the mesh does not fit the devices, the model or the batch.
    """
    mesh = make_mesh(config.mesh, devices)
    compute = resolve(config.compute, model, devices[0])
    graphdef = structure(model, compute, config.lora)
    trained, base = _weights(config, model, mesh)
    if isinstance(config, GrpoConfig):
        shape = update_shape(config, mesh, attention=compute.attention)
        logprobs = make_logprobs(
            graphdef,
            temperature=config.rollout.temperature,
            vocab_block=compute.vocab_block,
        )
        parts = policy_parts(config.update, config.optim, logprobs, shape)
        batch = _batch(GrpoBatch, shape.num_rows, shape.seq_len, mesh)
        if not shape.share_prompts:
            batch = replace(batch, branches=None)
    else:
        check_rows(mesh, "data.batch_size", config.data.batch_size)
        parts = next_token_parts(config, graphdef, mesh, vocab_block=compute.vocab_block)
        batch = _batch(Batch, config.data.batch_size, config.data.seq_len, mesh)
    state = planned_state(trained, parts["optimizer"])
    return PlannedStep(
        model=model,
        compute=compute,
        mesh=mesh,
        state=state,
        base=base,
        batch=batch,
        num_microbatches=parts["num_microbatches"],
        jitted=jit_update(make_update(**parts), state),
    )


def _weights(config: StageConfig, model: ModelConfig, mesh: Mesh) -> tuple[PyTree, PyTree | None]:
    params = _placed(abstract_params(model), mesh)
    if not config.lora.rank:
        return params, None
    dtype = jnp.dtype(config.lora.base_dtype)
    base = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding), params
    )
    return _placed(abstract_adapters(model, config.lora), mesh), base


def _placed(tree: PyTree, mesh: Mesh) -> PyTree:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        tree_shardings(tree, mesh),
    )


def _batch(kind: type[Batch], rows: int, seq_len: int, mesh: Mesh) -> Any:
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    fields = {
        name: jax.ShapeDtypeStruct(
            (rows, seq_len),
            jnp.int32 if name in _INTS else jnp.float32,
            sharding=sharding,
        )
        for name in kind.__dataclass_fields__
    }
    return kind(**fields)


def _bytes_on_one_device(leaf: jax.ShapeDtypeStruct) -> int:
    shape = leaf.sharding.shard_shape(leaf.shape)
    itemsize = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
    size = itemsize
    for dim in shape:
        size *= dim
    return size
