"""google-tunix as a contestant: its PeftTrainer's step, its Sampler and its GRPOLearner."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from transformers import PreTrainedTokenizerFast
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.qwen3.model import ModelConfig
from tunix.models.qwen3.params import create_model_from_safe_tensors
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig, TrainingInput
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from benchmarks import shapes
from benchmarks.shapes import PAD, Work
from benchmarks.stepping import Stepper

STEPS = 100_000


def prepare(work: Work, model_dir: Path) -> Callable[[], int]:
    """Return what does one repetition of `work`."""
    if work.name.startswith("generate"):
        return _generate(work, model_dir)
    if work.name.startswith("grpo"):
        return _grpo(work, model_dir)
    return _sft(work, model_dir)


def _sft(work: Work, model_dir: Path) -> Callable[[], int]:
    trainer = PeftTrainer(
        _model(work, model_dir), _optimizer(), TrainingConfig(eval_every_n_steps=STEPS)
    ).with_gen_model_input_fn(model_input)
    step, _ = trainer.jit_train_and_eval_step(cache_nnx_graph=True)
    batches = itertools.cycle(list(_batches(work)))

    def run() -> int:
        batch = next(batches)
        loss, _, _ = step(batch)
        float(loss)
        return int(batch.input_mask.sum())

    return run


def _batches(work: Work) -> Iterator[TrainingInput]:
    """Yield padded rows: tunix has no packing for SFT."""
    rows = shapes.documents(work) if work.name == "sft_56" else shapes.full_rows(work)
    for start in range(0, len(rows), work.num_rows):
        tokens = np.full((work.num_rows, shapes.SEQ_LEN), PAD, np.int32)
        mask = np.zeros(tokens.shape, bool)
        for number, row in enumerate(rows[start : start + work.num_rows]):
            tokens[number, : len(row)] = row
            mask[number, : len(row)] = True
        yield TrainingInput(input_tokens=tokens, input_mask=mask)


def model_input(batch: TrainingInput) -> dict[str, Any]:
    """Return what tunix's models take, from the rows and their masks."""
    return {
        "input_tokens": batch.input_tokens,
        "input_mask": batch.input_mask,
        "positions": build_positions_from_mask(batch.input_mask),
        "attention_mask": make_causal_attn_mask(batch.input_mask),
    }


def _generate(work: Work, model_dir: Path) -> Callable[[], int]:
    shape = work.shape
    sampler = Sampler(
        _model(work, model_dir),
        _tokenizer(model_dir),
        CacheConfig(
            cache_size=shapes.PROMPT_TOKENS + work.max_new_tokens,
            num_layers=shape.num_hidden_layers,
            num_kv_heads=shape.num_key_value_heads,
            head_dim=shape.head_dim,
        ),
    )
    prompts = [
        shapes.text_of(prompt)
        for prompt in shapes.prompts(work, shapes.NUM_PROMPTS)
        for _ in range(work.num_samples)
    ]
    seeds = itertools.count()

    def run() -> int:
        out = sampler(
            prompts,
            max_generation_steps=work.max_new_tokens,
            max_prompt_length=shapes.PROMPT_TOKENS,
            temperature=1.0,
            top_p=1.0,
            seed=next(seeds),
            return_logprobs=True,
        )
        return _written(work, out.tokens)

    return run


def _written(work: Work, completions: list[np.ndarray]) -> int:
    """Count tokens; tunix cuts the end-of-text token off, which was computed all the same."""
    return sum(min(len(tokens) + 1, work.max_new_tokens) for tokens in completions)


def _grpo(work: Work, model_dir: Path) -> Callable[[], int]:
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    cluster = RLCluster(
        actor=_model(work, model_dir),
        tokenizer=_tokenizer(model_dir),
        cluster_config=ClusterConfig(
            role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), mesh),
            training_config=RLTrainingConfig(
                actor_optimizer=_optimizer(), eval_every_n_steps=STEPS, max_steps=STEPS
            ),
            rollout_config=RolloutConfig(
                max_tokens_to_generate=work.max_new_tokens,
                max_prompt_length=shapes.PROMPT_TOKENS,
                kv_cache_size=shapes.PROMPT_TOKENS + work.max_new_tokens,
                temperature=1.0,
                top_p=1.0,
            ),
        ),
    )
    written = [0]

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        lengths = (len(text.split()) + 1 for text in completions)
        written[0] = sum(min(length, work.max_new_tokens) for length in lengths)
        return [shapes.reward_of(text) for text in completions]

    learner = GRPOLearner(
        rl_cluster=cluster,
        algo_config=GRPOConfig(num_generations=work.num_samples, num_iterations=1, beta=0.0),
        reward_fns=reward,
    )
    prompts = [shapes.text_of(prompt) for prompt in shapes.prompts(work, shapes.GROUPS)]

    def train(pause: Callable[[], None]) -> None:
        def batches() -> Iterator[dict[str, np.ndarray]]:  # a list would be taken for a tree
            while True:
                pause()
                yield {"prompts": np.array(prompts)}

        with mesh:
            learner.train(batches())

    step = Stepper(train)

    def run() -> int:
        step()
        return written[0]

    return run


def _model(work: Work, model_dir: Path) -> Any:
    shape = work.shape
    config = ModelConfig(
        num_layers=shape.num_hidden_layers,
        vocab_size=shape.vocab_size,
        embed_dim=shape.hidden_size,
        hidden_dim=shape.intermediate_size,
        num_heads=shape.num_attention_heads,
        head_dim=shape.head_dim,
        num_kv_heads=shape.num_key_value_heads,
        rope_theta=1_000_000,
        norm_eps=1e-6,
        use_tied_embedding=True,
    )
    return create_model_from_safe_tensors(str(model_dir), config)


def _optimizer() -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(shapes.LEARNING_RATE, weight_decay=0.1)
    )


def _tokenizer(model_dir: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(str(model_dir))
