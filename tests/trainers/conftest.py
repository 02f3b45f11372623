"""A tiny model and tiny data sets, written by the real builders, shared by the stages' tests."""

import dataclasses

import pytest

from mdx.chat import render_conversation
from mdx.data.datasets import MdCodeGen, write_dataset
from mdx.data.tasks import conversation_of_record
from mdx.lammps.run import to_json
from mdx.tasks.task import Task
from mdx.tokenizer import train_tokenizer


@dataclasses.dataclass(frozen=True)
class TinyData:
    """Where the data sets and their tokenizer lie."""

    data_dir: str
    tokenizer_dir: str


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
    record = dict.fromkeys(MdCodeGen.FIELDS, "")
    numbers = {"reward": 1.0, "wall_time_s": 0.01}
    texts = {"id": task.id, "prompt": task.prompt, "script": _script(i)}
    return {**record, **numbers, **texts, "task": to_json(task).decode()}
