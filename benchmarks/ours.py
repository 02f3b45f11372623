"""MDX as a contestant: the steps that `mdx-train sft` and `mdx-train grpo` take, farm left out."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import shapes
from benchmarks.shapes import EOS, PAD, Work
from mdx.data.batch import Batch
from mdx.data.packing import TokenizedDocument, best_fit, fill_batch
from mdx.lammps.run import Reward
from mdx.model.attention import can_share_prompts
from mdx.model.config import ComputeConfig
from mdx.model.decoder import resolve
from mdx.model.hf import load_hf
from mdx.model.sampler import SampledTokens, sample
from mdx.tasks.task import Task
from mdx.trajectory import Completion, StopReason, Trajectory, TrajectoryGroup
from trainers.loop import DataConfig
from trainers.losses import make_loss_sum, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.packing import row_shape
from trainers.policy_loss import PolicyLossConfig
from trainers.policy_update import UpdateConfig, make_logprobs, make_updater
from trainers.prompts import Prompt
from trainers.rollouts import Rollout
from trainers.state import create_state
from trainers.step import make_train_step, tokens_at_once

DEEP_FROM = 8  # layers; from here on they are scanned, as in the configurations of real sizes
OPTIM = OptimConfig(peak_lr=shapes.LEARNING_RATE, warmup_steps=0, num_steps=1000)


def prepare(work: Work, model_dir: Path) -> Callable[[], int]:
    """Return what does one repetition of `work`."""
    if work.name.startswith("generate"):
        return _generate(work, model_dir)
    if work.name.startswith("grpo"):
        return _grpo(work, model_dir)
    return _sft(work, model_dir)


def _sft(work: Work, model_dir: Path) -> Callable[[], int]:
    compute = ComputeConfig(scan_layers=work.shape.num_hidden_layers >= DEEP_FROM)
    model, graphdef, params = load_hf(str(model_dir), compute)
    compute = resolve(compute, model, jax.devices()[0])
    optimizer = make_optimizer(OPTIM)
    loss = make_next_token_loss(make_loss_sum(graphdef, vocab_block=compute.vocab_block))
    data = DataConfig(batch_size=work.num_rows, seq_len=shapes.SEQ_LEN)
    step = make_train_step(
        loss,
        optimizer,
        make_schedule(OPTIM),
        num_microbatches=data.num_microbatches(max_tokens=tokens_at_once(jax.devices()[0])),
    )
    state = create_state(params, optimizer, jax.random.key(0))
    batches = itertools.cycle(_packed(work) if work.name == "sft_56" else [_full(work)])

    def run() -> int:
        nonlocal state
        batch = next(batches)
        state, metrics = step(state, batch)
        float(metrics["loss"])
        return int((batch.segment_ids > 0).sum())

    return run


def _full(work: Work) -> Batch:
    tokens = shapes.full_rows(work)
    return fill_batch([[_document(row)] for row in tokens], shapes.SEQ_LEN)


def _packed(work: Work) -> list[Batch]:
    documents = [_document(tokens) for tokens in shapes.documents(work)]
    rows = best_fit([len(document.tokens) for document in documents], shapes.SEQ_LEN)
    filled = [[documents[i] for i in row] for row in rows]
    starts = range(0, len(filled) - work.num_rows + 1, work.num_rows)
    return [fill_batch(filled[i : i + work.num_rows], shapes.SEQ_LEN) for i in starts]


def _document(tokens: np.ndarray) -> TokenizedDocument:
    return TokenizedDocument(tokens=tokens, targets=np.ones(len(tokens), bool))


def _generate(work: Work, model_dir: Path) -> Callable[[], int]:
    _, graphdef, params = load_hf(str(model_dir))
    prompts = shapes.prompts(work, shapes.NUM_PROMPTS)
    seeds = itertools.count()

    def run() -> int:
        groups = _sampled(work, graphdef, params, prompts, next(seeds))
        return sum(len(completion.tokens) for group in groups for completion in group)

    return run


def _sampled(
    work: Work, graphdef: Any, params: Any, prompts: list[list[int]], seed: int
) -> list[list[SampledTokens]]:
    return sample(
        graphdef,
        params,
        prompts,
        num_samples=work.num_samples,
        max_new_tokens=work.max_new_tokens,
        eos_ids=(EOS,),
        key=jax.random.key(seed),
    )


def _grpo(work: Work, model_dir: Path) -> Callable[[], int]:
    model, graphdef, params = load_hf(str(model_dir))
    compute = resolve(ComputeConfig(), model, jax.devices()[0])
    config = UpdateConfig(
        seq_len=640, microbatch_rows=2, loss=PolicyLossConfig(kl_coef=0.0, replay_coef=0.0)
    )
    shape = row_shape(
        num_segments=shapes.GROUPS * shapes.GROUP_SIZE,
        max_segment=shapes.PROMPT_TOKENS + work.max_new_tokens,
        seq_len=config.seq_len,
        microbatch_rows=config.microbatch_rows,
        share_prompts=can_share_prompts(compute.attention),
    )
    updater = make_updater(
        config,
        OPTIM,
        make_logprobs(graphdef, temperature=1.0, vocab_block=compute.vocab_block),
        shape=shape,
        add_reference=lambda batch: batch,
        place=lambda batch: batch,
        pad_id=PAD,
    )
    state = create_state(params, make_optimizer(OPTIM), jax.random.key(0))
    prompts = shapes.prompts(work, shapes.GROUPS)
    seeds = itertools.count()

    def run() -> int:
        nonlocal state
        groups = _sampled(work, graphdef, state.params, prompts, next(seeds))
        rollouts = [_rollout(p, group) for p, group in zip(prompts, groups, strict=True)]
        state, _ = updater.update(state, rollouts, [], np.random.default_rng(0))
        return sum(len(completion.tokens) for group in groups for completion in group)

    return run


def _rollout(prompt: list[int], group: list[SampledTokens]) -> Rollout:
    task = Task(id="benchmark", family="benchmark", prompt="")
    trajectories = [
        Trajectory(
            id=str(number),
            task=task,
            prompt_tokens=tuple(prompt),
            completion=Completion(
                tokens=sampled.tokens,
                logprobs=sampled.logprobs,
                text=shapes.text_of(list(sampled.tokens)),
                stop_reason=StopReason.LENGTH,
            ),
            reward=Reward(total=shapes.reward_of(shapes.text_of(list(sampled.tokens[:1])))),
        )
        for number, sampled in enumerate(group)
    ]
    return Rollout(
        prompt=Prompt(task=task, tokens=tuple(prompt)),
        group=TrajectoryGroup(trajectories=tuple(trajectories)),
    )
