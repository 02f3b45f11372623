"""TRL's SFTTrainer with packing=True: best-fit rows without padding."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.peer_trl import sft
from benchmarks.shapes import Work


def prepare(work: Work, model_dir: Path) -> Callable[[], int]:
    """Return one step over packed documents."""
    return sft(work, model_dir, packing=True)
