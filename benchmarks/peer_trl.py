"""TRL as a contestant: SFTTrainer and GRPOTrainer as its users run them, on the CPU in fp32."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from benchmarks import shapes
from benchmarks.shapes import EOS, PAD, Work
from benchmarks.stepping import Stepper

STEPS = 100_000
COMMON = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,  # its default recomputes every layer, which is slower
    "learning_rate": shapes.LEARNING_RATE,
    "max_steps": STEPS,
    "report_to": "none",
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
}


class Pause(TrainerCallback):
    """Lets the trainer's loop stand still before each step."""

    def __init__(self, pause: Callable[[], None]):
        self.pause = pause

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait for the next repetition."""
        self.pause()


def prepare(work: Work, model_dir: Path) -> Callable[[], int]:
    """Return what does one repetition of `work`."""
    if work.name.startswith("generate"):
        return _generate(work, model_dir)
    if work.name.startswith("grpo"):
        return _grpo(work, model_dir)
    return sft(work, model_dir, packing=False)


def sft(work: Work, model_dir: Path, *, packing: bool) -> Callable[[], int]:
    """Return one step of SFTTrainer; packing is TRL's best fit into flattened rows."""
    rows = shapes.documents(work) if work.name == "sft_56" else shapes.full_rows(work)
    dataset = Dataset.from_dict({"input_ids": [row.tolist() for row in rows]})
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=work.num_rows,
        max_length=shapes.SEQ_LEN,
        packing=packing,
        **COMMON,
    )
    trainer = SFTTrainer(
        model=_model(model_dir),
        args=config,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(str(model_dir)),
    )
    seen = [0]
    collate = trainer.data_collator

    def counting(examples: list) -> dict:
        batch = collate(examples)
        mask = batch.get("attention_mask")
        seen.append(int(mask.sum()) if mask is not None else batch["input_ids"].numel())
        return batch

    trainer.data_collator = counting
    step = _stepper(trainer)
    # The loader is one batch ahead of the step.
    counts = itertools.count()

    def run() -> int:
        number = next(counts)
        step()
        return seen[number + 1]

    return run


def _generate(work: Work, model_dir: Path) -> Callable[[], int]:
    model = _model(model_dir).eval()
    prompts = torch.tensor(shapes.prompts(work, shapes.NUM_PROMPTS))
    prompts = prompts.repeat_interleave(work.num_samples, dim=0)

    @torch.no_grad()
    def run() -> int:
        out = model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            max_new_tokens=work.max_new_tokens,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
        ended = (out[:, prompts.shape[1] :] == EOS).cumsum(dim=1)
        return int(((ended == 0) | ((ended == 1) & (out[:, prompts.shape[1] :] == EOS))).sum())

    return run


def _grpo(work: Work, model_dir: Path) -> Callable[[], int]:
    prompts = [shapes.text_of(prompt) for prompt in shapes.prompts(work, shapes.GROUPS)]
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=shapes.GROUPS * work.num_samples,
        num_generations=work.num_samples,
        max_completion_length=work.max_new_tokens,
        beta=0.0,
        **COMMON,
    )
    written = [0]

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        written[0] = sum(map(len, completion_ids))
        return [shapes.reward_of(text) for text in completions]

    trainer = GRPOTrainer(
        model=_model(model_dir),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(str(model_dir), padding_side="left"),
    )
    step = _stepper(trainer)

    def run() -> int:
        step()
        return written[0]

    return run


def _model(model_dir: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(model_dir), dtype=torch.float32)


def _stepper(trainer: Any) -> Stepper:
    def train(pause: Callable[[], None]) -> None:
        trainer.add_callback(Pause(pause))
        trainer.train()

    return Stepper(train)
