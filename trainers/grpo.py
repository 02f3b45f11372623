"""MD-GRPO: the policy writes scripts, the farm runs them, and what really happened is the reward.

One step, top to bottom (`_step`):

1. choose prompts: tasks that are sometimes solved, and failures worth a repair, within a budget;
2. sample groups; each script goes to the farm as its row ends, while others are written;
3. refill, a bounded number of times, while too few groups have unequal rewards;
4. remember: pass rates, failures to repair, successes to replay;
5. update the policy on the groups that teach (`trainers.policy_loss` states the loss);
6. write metrics and examples, and save everything in one atomic step.

A step never fails because scripts failed, and nothing is scored because infrastructure failed.
Over several processes each samples and runs its share of the prompts (`trainers.joint_rollouts`).
Not here: a judge, asynchronous updates.

    mdx-train grpo --config configs/tiny/grpo.yaml run_dir=runs/grpo init_from=runs/sft/export
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mdx.data.tasks import load_tasks
from mdx.errors import ConfigError, FarmError
from mdx.model.attention import can_share_prompts
from mdx.model.config import ModelConfig
from mdx.model.decoder import abstract_params, structure
from mdx.model.lora import attach
from mdx.model.sharding import (
    batch_parts,
    fetch,
    make_mesh,
    shard_batch,
    to_this_process,
    tree_shardings,
)
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer
from rollout_farm.client import Farm
from trainers.checkpoint import Checkpointer
from trainers.export import finish
from trainers.grpo_config import GrpoConfig
from trainers.hooks import MetricsWriter, ProgressDisplay, StopSignals, of_the_first
from trainers.joint_rollouts import roll_out_jointly
from trainers.memory import Memory
from trainers.optim import make_optimizer
from trainers.packing import RowShape, Segment, row_shape
from trainers.policy import Policy, Weights, describe_policy, start_weights
from trainers.policy_loss import GrpoBatch
from trainers.policy_update import PolicyUpdater, make_logprobs, make_reference, make_updater
from trainers.prompts import first_prompt
from trainers.rollout_report import (
    TrajectoryTable,
    example_rows,
    summarise_queue,
    summarise_rollouts,
)
from trainers.rollouts import PhaseClock, Rollout, Workshop, make_sample
from trainers.run_dir import claim_run_dir, is_complete
from trainers.state import TrainState, create_state

MAX_LOST_STEPS = 3


def run(config: GrpoConfig) -> str:
    """Train from the newest checkpoint, or from `init_from`, to `optim.num_steps`, and export.

    Returns `run_dir`. Raises UsageError or ConfigError for what cannot be run, FarmError when the
    farm ran no script in three steps in a row, StoppedError after SIGTERM.
    """
    claim_run_dir(config.run_dir, config)
    if is_complete(config.run_dir, config.update.in_updates(config.optim).num_steps):
        return config.run_dir
    with config.farm.connect() as farm:
        stage, state = _prepare(config, farm)
        state = _train(stage, state)
    finish(config.run_dir, stage.policy, state, stage.base, init_from=config.init_from)
    return config.run_dir


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What does not change during a run, and the memory, which does."""

    config: GrpoConfig
    policy: Policy
    base: Any  # the frozen weights of LoRA, or None
    sampling_base: Any  # the same, on this process's devices
    mesh: Mesh
    workshop: Workshop
    updater: PolicyUpdater
    memory: Memory


def _prepare(config: GrpoConfig, farm: Farm) -> tuple[_Stage, TrainState]:
    """Load the policy and the tasks; return the stage and the state before the first step."""
    policy = describe_policy(
        ModelConfig(), config.compute, config.lora, init_from=config.init_from, tokenizer_dir=""
    )
    tokenizer = Tokenizer.load(policy.tokenizer_dir)
    tasks = _usable_tasks(config, tokenizer)
    mesh = make_mesh(config.mesh)
    tree_shardings(abstract_params(policy.model), mesh)  # refuses what the mesh does not divide
    key = jax.random.key(config.seed)
    weights = start_weights(
        policy, mesh, init_from=config.init_from, run_dir=config.run_dir, key=key
    )
    stage = _Stage(
        config=config,
        policy=policy,
        base=weights.base,
        sampling_base=to_this_process(weights.base, mesh),
        mesh=mesh,
        workshop=Workshop(
            sample=make_sample(policy.graphdef, config.rollout, eos_id=tokenizer.eos_id),
            farm=farm,
            tokenizer=tokenizer,
            limits=config.farm.limits,
        ),
        updater=_make_updater(config, policy, weights, mesh, tokenizer.pad_id),
        memory=Memory.blank(config.recycle, tasks, tokenizer, config.rollout.max_prompt_tokens),
    )
    return stage, create_state(weights.trained, make_optimizer(config.optim), key)


def update_shape(config: GrpoConfig, mesh: Mesh, *, attention: str) -> RowShape:
    """Return the shape of the rows of every update, for a model of that `attention`."""
    rollout = config.rollout
    return row_shape(
        num_segments=rollout.max_trajectories + config.recycle.replay_per_step,
        max_segment=rollout.max_prompt_tokens + rollout.max_new_tokens,
        seq_len=config.update.seq_len,
        microbatch_rows=config.update.microbatch_rows,
        num_parts=batch_parts(mesh),
        share_prompts=can_share_prompts(attention),
    )


def _make_updater(
    config: GrpoConfig, policy: Policy, weights: Weights, mesh: Mesh, pad_id: int
) -> PolicyUpdater:
    rollout, update = config.rollout, config.update
    logprobs = partial(
        make_logprobs, temperature=rollout.temperature, vocab_block=policy.compute.vocab_block
    )
    shape = update_shape(config, mesh, attention=policy.compute.attention)

    def place(batch: GrpoBatch) -> GrpoBatch:
        return shard_batch(batch, mesh)

    return make_updater(
        update,
        config.optim,
        logprobs(policy.graphdef),
        shape=shape,
        base=weights.base,
        add_reference=make_reference(
            _reference(weights) if update.loss.kl_coef else None,
            logprobs(structure(policy.model, config.compute)),
            shape,
            place,
        ),
        place=place,
        pad_id=pad_id,
    )


def _reference(weights: Weights) -> Any:
    """Return the weights before the first step: a copy, since the state is donated to it.

    With LoRA they are the base, which nothing changes: the reference costs no memory.
    """
    return jax.tree.map(jnp.copy, weights.trained) if weights.base is None else weights.base


def _train(stage: _Stage, state: TrainState) -> TrainState:
    """Resume, step, record, save, until `optim.num_steps`."""
    config = stage.config
    with (
        Checkpointer(config.run_dir, keep=config.checkpoint.keep) as checkpointer,
        StopSignals() as signals,
    ):
        state, done = _resume(stage, state, checkpointer)
        num_steps = config.optim.num_steps
        with (
            of_the_first(lambda: MetricsWriter(config.run_dir, done)) as writer,
            of_the_first(lambda: TrajectoryTable(config.run_dir, done)) as table,
            of_the_first(
                lambda: ProgressDisplay("grpo", done=done, num_steps=num_steps)
            ) as display,
        ):
            steps_lost = 0
            for step in range(done + 1, num_steps + 1):
                state, rollouts, metrics = _step(stage, state, step)
                writer.write(step, metrics)
                table.write(step, example_rows(rollouts, config.rollout.num_examples))
                display.update(step, metrics)
                steps_lost = steps_lost + 1 if _lost_all_runs(rollouts) else 0
                _check_farm(steps_lost)
                stopping = signals.agree_at_once()
                if stopping or step == num_steps or config.checkpoint.is_due(step):
                    writer.sync()
                    table.sync()
                    extra = {"step": step, "memory": stage.memory.to_json()}
                    checkpointer.save(step, state, extra)
                if stopping:
                    checkpointer.wait()
                    signals.stop(step)
    return state


def _step(
    stage: _Stage, state: TrainState, step: int
) -> tuple[TrainState, list[Rollout], dict[str, float]]:
    """Roll out, remember, update; return the new state, the rollouts and the step's metrics."""
    clock = PhaseClock()
    version = step - 1
    rollouts = _collect(stage, state, step, clock)
    stage.memory.learn(rollouts, version)
    replayed = _fitting_replays(stage) if stage.config.update.loss.replay_coef else []
    rng = np.random.default_rng([stage.config.seed, step, 1])
    state, learnt = stage.updater.update(state, rollouts, replayed, rng)
    clock.lap("update")
    seconds = {f"time/{phase}_s": spent for phase, spent in clock.seconds.items()}
    metrics = {
        **summarise_rollouts(rollouts, stage.config.rollout.num_prompts),
        **learnt,
        **summarise_queue(stage.memory.queue, version),
        "num_replayed": len(replayed),
        "num_successes": len(stage.memory.successes.kept),
        **seconds,
        "step_s": sum(seconds.values()),
    }
    return state, rollouts, metrics


def _collect(stage: _Stage, state: TrainState, step: int, clock: PhaseClock) -> list[Rollout]:
    """Return the rollouts of one step, refilled with first attempts while too few groups teach."""
    config = stage.config.rollout
    rng = np.random.default_rng([stage.config.seed, step, 0])
    key = jax.random.fold_in(fetch(state.key), step)
    params = attach(stage.sampling_base, to_this_process(state.params, stage.mesh))
    rollouts: list[Rollout] = []
    for round_number in range(config.max_refills + 1):
        prompts = stage.memory.choose_prompts(
            config.num_prompts, step - 1, rng, repairs=round_number == 0
        )
        clock.lap("other")
        rollouts += roll_out_jointly(
            params,
            prompts,
            jax.random.fold_in(key, round_number),
            stage.workshop,
            name=f"{step}.{round_number}",
            clock=clock,
        )
        if sum(rollout.teaches for rollout in rollouts) >= config.refill_below * config.num_prompts:
            break
    return rollouts


def _fitting_replays(stage: _Stage) -> list[Segment]:
    """Return the successes to replay, but for those that a row may not hold.

    A script is framed anew for replay, by a few tokens more than it may have been sampled with.
    """
    rollout = stage.config.rollout
    limit = rollout.max_prompt_tokens + rollout.max_new_tokens
    return [segment for segment in stage.memory.replay() if len(segment) <= limit]


def _resume(stage: _Stage, state: TrainState, checkpointer: Checkpointer) -> tuple[TrainState, int]:
    restored = checkpointer.restore_latest(state)
    if restored is None:
        return state, 0
    state, extra = restored
    stage.memory.load_json(extra["memory"])
    return state, extra["step"]


def _usable_tasks(config: GrpoConfig, tokenizer: Tokenizer) -> list[Task]:
    """Return the tasks whose prompts fit; raises ConfigError where those are too few."""
    tasks = load_tasks(config.rollout.data_dir, config.rollout.split)
    limit = config.rollout.max_prompt_tokens
    usable = [task for task in tasks if len(first_prompt(task, tokenizer).tokens) <= limit]
    if len(usable) < config.rollout.num_prompts:
        raise ConfigError(
            f"rollout.num_prompts={config.rollout.num_prompts} needs as many tasks, but only "
            f"{len(usable)} of the {len(tasks)} in {config.rollout.data_dir} have a prompt of at "
            f"most rollout.max_prompt_tokens={limit} tokens"
        )
    return usable


def _lost_all_runs(rollouts: Sequence[Rollout]) -> bool:
    """Tell whether scripts were sent to the farm and none of them came back."""
    sent = [t for r in rollouts for t in r.group.trajectories if t.script is not None]
    return bool(sent) and all(trajectory.reward is None for trajectory in sent)


def _check_farm(steps_lost: int) -> None:
    if steps_lost >= MAX_LOST_STEPS:
        raise FarmError(
            f"the farm ran no script in {steps_lost} steps: check it with `mdx-farm status`; "
            "the same command goes on from the last checkpoint"
        )
