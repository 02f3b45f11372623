"""A tiny model and tiny data sets, written by the real builders, shared by the stages' tests."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mdx.chat import render_conversation
from mdx.data.datasets import write_dataset
from mdx.data.tasks import conversation_of_record
from mdx.lammps.run import to_json
from mdx.tasks.task import Task
from mdx.tokenizer import train_tokenizer

from .several import PATIENCE_S


@dataclasses.dataclass(frozen=True)
class TinyData:
    """Where the data sets and their tokenizer lie."""

    data_dir: str
    tokenizer_dir: str


TINY_MODEL = (
    "model.vocab_size=384",
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.head_dim=16",
    "compute.scan_layers=true",  # compiles faster
)


@dataclasses.dataclass(frozen=True)
class TinyStage:
    """Runs one stage of `mdx-train` with the tiny model and data, on one device."""

    stage: str
    overrides: tuple[str, ...]
    cache_dir: str

    def start(self, run_dir: Path, *overrides: str, **more: str) -> subprocess.Popen[str]:
        """Start the command, with `more` in its environment."""
        environment = {**os.environ, "MDX_CACHE_DIR": self.cache_dir, "XLA_FLAGS": "", **more}
        arguments = [self.stage, *self.overrides, f"run_dir={run_dir}", *overrides]
        return subprocess.Popen(
            [sys.executable, "-m", "trainers.cli", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, run_dir: Path, *overrides: str, **more: str) -> tuple[int, str]:
        """Run the command to its end; return its exit code and everything it printed."""
        process = self.start(run_dir, *overrides, **more)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out + err

    def signal_when(
        self, run_dir: Path, condition: Callable[[Path], bool], number: signal.Signals
    ) -> tuple[int, str]:
        """Start the command, send a signal once `condition(run_dir)` holds, wait for the end."""
        process = self.start(run_dir)
        while process.poll() is None and not condition(run_dir):
            time.sleep(0.001)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out + err

    def survive_two_kills(self, run_dir: Path, num_steps: int) -> None:
        """Kill the command at a random step and again while it saves; then let it finish.

        The second kill waits for a later save to begin, and may come when it has just ended.
        """
        step = random.SystemRandom().randrange(1, num_steps // 2)
        first, _ = self.signal_when(run_dir, has_lines(step), signal.SIGKILL)
        second, _ = self.signal_when(run_dir, is_saving(step + 1), signal.SIGKILL)
        code, text = self.finish(run_dir)
        assert code == 0, (step, first, second, text)
        assert first == -signal.SIGKILL, "the run ended before it could be killed"


def has_lines(number: int) -> Callable[[Path], bool]:
    """Return whether a run has recorded `number` steps."""

    def condition(run_dir: Path) -> bool:
        file = run_dir / "metrics.jsonl"
        return file.exists() and file.read_bytes().count(b"\n") >= number

    return condition


def is_saving(after: int) -> Callable[[Path], bool]:
    """Return whether a run is writing a checkpoint, after `after` steps."""

    def condition(run_dir: Path) -> bool:
        saving = any((run_dir / "checkpoints").glob("*tmp*"))
        return saving and has_lines(after)(run_dir)

    return condition


@pytest.fixture(scope="session")
def tiny_stage(tiny_data, tmp_path_factory) -> Callable[..., TinyStage]:
    """Return (stage, overrides) -> TinyStage; compilations are shared by all of them."""
    cache_dir = str(tmp_path_factory.mktemp("cache"))
    data = (f"data.data_dir={tiny_data.data_dir}", f"data.tokenizer_dir={tiny_data.tokenizer_dir}")

    def make(stage: str, *overrides: str) -> TinyStage:
        return TinyStage(stage, (*TINY_MODEL, *data, *overrides), cache_dir)

    return make


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> TinyData:
    """Build MD-Knowledge, MD-InstructQA and MD-CodeGen of a few records, and a tokenizer."""
    data_dir = str(tmp_path_factory.mktemp("data"))
    tokenizer_dir = f"{data_dir}/tokenizer"
    records = {
        "md_knowledge": [_document(i) for i in range(24)],
        "md_instruct_qa": [_question(i) for i in range(12)],
        "md_code_gen": [_task(i) for i in range(24)],
    }
    for name, rows in records.items():
        write_dataset(name, data_dir, {"train": rows, "validation": rows[:4]})
    conversations = [conversation_of_record(row) for row in records["md_code_gen"]]
    texts = [row["text"] for row in records["md_knowledge"]]
    texts += ["".join(t for t, _ in render_conversation(turns)) for turns in conversations]
    train_tokenizer(texts, tokenizer_dir, 384)
    return TinyData(data_dir, tokenizer_dir)


def _script(i: int) -> str:
    return (
        f"units metal\nlattice fcc {3.5 + 0.01 * i:.2f}\n"
        f"region b block 0 {2 + i % 3} 0 2 0 2\ncreate_box 1 b\nrun {10 * (i + 1)}\n"
    )


def _document(i: int) -> dict[str, str]:
    text = f"# case {i}\n{_script(i)}"
    return {"text": text, "source": "test", "licence": "CC0", "sha256": str(i)}


def _question(i: int) -> dict[str, str]:
    return {
        "id": f"qa-{i}",
        "kind": "units",
        "question": f"Unit of time in style {i}?",
        "answer": "ps",
        "source": "test",
        "licence": "CC0",
    }


def _task(i: int) -> dict[str, object]:
    task = Task(id=f"t-{i}", family="nve", prompt=f"Run {10 * (i + 1)} steps of fcc copper.")
    texts = {"id": task.id, "prompt": task.prompt, "script": _script(i)}
    nothing = {"failed_script": "", "error": ""}
    return {**texts, **nothing, "reward": 1.0, "task": to_json(task).decode()}
