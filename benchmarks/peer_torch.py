"""transformers in a plain torch loop: the least that a torch user's training step can cost."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from benchmarks import shapes
from benchmarks.shapes import Work


def prepare(work: Work, model_dir: Path) -> Callable[[], int]:
    """Return one step of forward, backward, clip and AdamW."""
    model = AutoModelForCausalLM.from_pretrained(str(model_dir), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=shapes.LEARNING_RATE)
    tokens = torch.from_numpy(shapes.full_rows(work).astype("int64"))

    def run() -> int:
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        return tokens.numel()

    return run
