"""Plain GRPO in one page, for comparison: no queue, no replay, no refill, no memory but pass rates.

    python plain_grpo.py CONFIG OUT_DIR

Trains as `mdx-train grpo --config CONFIG` would with all of MD-GRPO's additions off, and writes
the policy to OUT_DIR. Run by `test_grpo.py`.
"""

import sys

import jax
import numpy as np

from mdx.chat import render_prompt, task_messages
from mdx.config import load_config
from mdx.data.tasks import load_tasks
from mdx.lammps.run import RunRequest
from mdx.lammps.script import extract_script
from mdx.model.hf import load_hf, save_hf
from mdx.model.sampler import sample
from mdx.model.sharding import make_mesh, shard_batch, shard_params
from mdx.tokenizer import Tokenizer
from mdx.trajectory import leave_one_out_advantages
from rollout_farm.client import Farm
from trainers.grpo_config import GrpoConfig
from trainers.optim import make_optimizer, make_schedule
from trainers.packing import Segment, pack, row_shape
from trainers.policy_loss import count_grpo_tokens, make_policy_loss
from trainers.policy_update import make_logprobs
from trainers.state import create_state
from trainers.step import make_train_step
from trainers.task_sampler import PassRates


def train(config, farm):
    """Return the model's configuration and its parameters after `optim.num_steps` steps."""
    model, graphdef, params = load_hf(config.init_from, config.compute)
    tokenizer = Tokenizer.load(config.init_from)
    tasks, rates = load_tasks(config.rollout.data_dir, "train"), PassRates()
    optimizer, mesh, shape = make_optimizer(config.optim), make_mesh(), shape_of(config)
    train_step = make_train_step(
        make_policy_loss(
            make_logprobs(graphdef, temperature=1.0, vocab_block=2048), config.update.loss
        ),
        optimizer,
        make_schedule(config.optim),
        num_microbatches=shape.num_microbatches,
        count_fn=count_grpo_tokens,
    )
    state = create_state(shard_params(params, mesh), optimizer, jax.random.key(config.seed))
    for step in range(1, config.optim.num_steps + 1):
        rng = np.random.default_rng([config.seed, step, 0])
        drawn = rates.draw(tasks, config.rollout.num_prompts, rng)
        prompts = [tokenizer.encode(render_prompt(task_messages(task))) for task in drawn]
        key = jax.random.fold_in(jax.random.fold_in(state.key, step), 0)
        groups = sample_groups(config.rollout, graphdef, state.params, prompts, tokenizer, key)
        segments = []
        for task, prompt, group in zip(drawn, prompts, groups, strict=True):
            rewards = [reward_of(task, tokenizer.decode(s.tokens), farm) for s in group]
            rates.record(task, [reward >= 0.9 for reward in rewards])
            if max(rewards) > min(rewards):
                segments += group_segments(prompt, group, rewards)
        batch, _ = pack(segments, shape, pad_id=tokenizer.pad_id)
        state, _ = train_step(state, shard_batch(batch, mesh))
    return model, state.params


def shape_of(config):
    return row_shape(
        num_segments=config.rollout.max_trajectories + config.recycle.replay_per_step,
        max_segment=config.rollout.max_prompt_tokens + config.rollout.max_new_tokens,
        seq_len=config.update.seq_len,
        microbatch_rows=config.update.microbatch_rows,
        share_prompts=True,
    )


def sample_groups(rollout, graphdef, params, prompts, tokenizer, key):
    return sample(
        graphdef,
        params,
        prompts,
        num_samples=rollout.group_size,
        max_new_tokens=rollout.max_new_tokens,
        eos_ids=(tokenizer.eos_id,),
        key=key,
        num_slots=rollout.num_slots,
        min_prompt_bucket=rollout.max_prompt_tokens,
    )


def reward_of(task, text, farm):
    script = extract_script(text)
    if script is None:
        return 0.0
    return farm.run(RunRequest(script=script, task=task)).reward.total


def group_segments(prompt, group, rewards):
    """Return one segment a distinct completion, in order, with how often it was sampled."""
    advantages = leave_one_out_advantages(rewards)
    tokens = [sampled.tokens for sampled in group]
    return [
        Segment(
            prompt=prompt,
            completion=sampled.tokens,
            old_logprobs=sampled.logprobs,
            advantage=advantages[number],
            count=tokens.count(sampled.tokens),
        )
        for number, sampled in enumerate(group)
        if tokens.index(sampled.tokens) == number
    ]


if __name__ == "__main__":
    config_file, out_dir = sys.argv[1:]
    grpo_config = load_config(GrpoConfig, config_file)
    with Farm(num_slots=2) as own_farm:
        trained_model, trained = train(grpo_config, own_farm)
    save_hf(jax.device_get(trained), trained_model, grpo_config.init_from, out_dir)
