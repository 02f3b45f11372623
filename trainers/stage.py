"""What CPT and SFT share once their batches are there: mesh, state, step, loop, export."""

from contextlib import closing
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from mdx.data.pipeline import PackedIterator, prefetched
from mdx.model.config import ComputeConfig, LoraConfig
from mdx.model.decoder import GraphDef, abstract_params
from mdx.model.sharding import (
    MeshConfig,
    batch_parts,
    local_rows,
    make_mesh,
    shard_batch,
    tree_shardings,
)
from trainers.checkpoint import CheckpointConfig
from trainers.export import finish
from trainers.loop import DataConfig, fit
from trainers.losses import make_loss_sum, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.policy import Policy, start_weights
from trainers.state import create_state
from trainers.step import make_train_step, tokens_at_once


class StageConfig(Protocol):
    """What the configurations of both stages hold."""

    @property
    def run_dir(self) -> str: ...  # noqa: D102
    @property
    def init_from(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def compute(self) -> ComputeConfig: ...  # noqa: D102
    @property
    def lora(self) -> LoraConfig: ...  # noqa: D102
    @property
    def data(self) -> DataConfig: ...  # noqa: D102
    @property
    def optim(self) -> OptimConfig: ...  # noqa: D102
    @property
    def mesh(self) -> MeshConfig: ...  # noqa: D102
    @property
    def checkpoint(self) -> CheckpointConfig: ...  # noqa: D102


def next_token_parts(
    config: StageConfig, graphdef: GraphDef, mesh: Mesh, *, vocab_block: int
) -> dict[str, Any]:
    """Return what the stage's step is made of, as arguments of `trainers.step.make_train_step`."""
    return {
        "loss_fn": make_next_token_loss(make_loss_sum(graphdef, vocab_block=vocab_block)),
        "optimizer": make_optimizer(config.optim),
        "schedule": make_schedule(config.optim),
        "num_microbatches": config.data.num_microbatches(
            batch_parts(mesh), max_tokens=tokens_at_once(mesh.devices.flat[0])
        ),
    }


def local_rows_of(config: StageConfig, policy: Policy) -> list[int]:
    """Return which rows of each batch the devices of this process hold.

    Raises ConfigError where the mesh does not divide the model or the batch: before any weight is
    made or text is read.
    """
    mesh = make_mesh(config.mesh)
    tree_shardings(abstract_params(policy.model), mesh)
    return local_rows(mesh, config.data.batch_size)


def train_next_token(
    config: StageConfig, policy: Policy, batches: PackedIterator, *, stage: str
) -> None:
    """Train `policy` on the targets of `batches`, made ahead in a thread, and export it.

    Resumes from the newest checkpoint in `run_dir`. Raises what `trainers.loop.fit` raises.
    """
    mesh = make_mesh(config.mesh)
    params_key, state_key = jax.random.split(jax.random.key(config.seed))
    weights = start_weights(
        policy, mesh, init_from=config.init_from, run_dir=config.run_dir, key=params_key
    )
    optimizer = make_optimizer(config.optim)
    train_step = make_train_step(
        **next_token_parts(config, policy.graphdef, mesh, vocab_block=policy.compute.vocab_block),
        base=weights.base,
    )
    with closing(prefetched(batches)) as ahead:
        state = fit(
            create_state(weights.trained, optimizer, state_key),
            ahead,
            train_step,
            stage=stage,
            run_dir=config.run_dir,
            num_steps=config.optim.num_steps,
            checkpoint=config.checkpoint,
            place=lambda batch: shard_batch(batch, mesh, config.data.batch_size),
        )
    finish(config.run_dir, policy, state, weights.base, init_from=config.init_from)
