"""A small copy of the three data sets, and a tokenizer for them, built once a session."""

from pathlib import Path

import pytest

from mdx.data.datasets import write_dataset
from mdx.data.tasks import conversation_of_example
from mdx.lammps.run import to_json
from mdx.tasks.generate import Example
from mdx.tasks.task import Check, CheckKind, Task
from mdx.tokenizer import train_tokenizer

ELEMENTS = ("Cu", "Ni", "Al", "Fe", "硅")


def example(i: int, split: str) -> Example:
    """Return the i-th example of a split; every eighth is a repair."""
    element, steps = ELEMENTS[i % 5], 100 + i
    task = Task(
        id=f"{split}-{i}",
        family="nvt",
        prompt=f"Run {element} for {steps} steps" + " at constant volume" * (i % 3) + ".",
        checks=(Check(kind=CheckKind.NUM_STEPS, target=steps),),
        files={"in.data": bytes(range(i % 7))},
    )
    script = f"units metal\nlattice fcc 3.{i}\n" + f"fix {i} all nve\n" * (i % 4) + f"run {steps}\n"
    if i % 8 != 7:
        return Example(task=task, script=script)
    broken = script.replace("lattice", "latice")
    return Example(task=task, script=script, failed_script=broken, error="ERROR: Unknown command")


def code_record(item: Example) -> dict[str, object]:
    """Return the MD-CodeGen record of an example."""
    return {
        **dict.fromkeys(("evidence", "lammps_version", "source", "licence"), "x"),
        "id": item.task.id,
        "family": item.task.family,
        "prompt": item.task.prompt,
        "script": item.script,
        "task": to_json(item.task).decode(),
        "failed_script": item.failed_script or "",
        "error": item.error or "",
        "reward": 0.99,
        "potential_sha256": "",
    }


def qa_record(i: int) -> dict[str, str]:
    """Return the i-th question."""
    return {
        "id": f"q{i}",
        "kind": "style",
        "question": f"What does fix {i} do?",
        "answer": f"It fixes {i} things.",
        "source": "x",
        "licence": "x",
    }


def text_record(i: int) -> dict[str, str]:
    """Return the i-th text, some of them longer than a row."""
    text = f"Document {i}: " + "units metal sets eV and angstrom. " * (1 + 7 * i % 23)
    return {"text": text, "source": "x", "licence": "x", "sha256": str(i)}


SIZES = {"train": 256, "validation": 10, "test": 6}


@pytest.fixture(scope="session")
def examples() -> dict[str, list[Example]]:
    return {split: [example(i, split) for i in range(n)] for split, n in SIZES.items()}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, examples: dict[str, list[Example]]) -> str:
    folder = str(tmp_path_factory.mktemp("data"))
    for name, make in (("md_instruct_qa", qa_record), ("md_knowledge", text_record)):
        write_dataset(name, folder, {s: [make(i) for i in range(n)] for s, n in SIZES.items()})
    code = {split: [code_record(item) for item in items] for split, items in examples.items()}
    write_dataset("md_code_gen", folder, code)
    return folder


@pytest.fixture(scope="session")
def tokenizer_dir(data_dir: str, examples: dict[str, list[Example]]) -> str:
    folder = str(Path(data_dir) / "tokenizer")
    conversations = (conversation_of_example(item) for item in examples["train"])
    texts = [message["content"] for messages in conversations for message in messages]
    train_tokenizer(texts, folder, vocab_size=512)
    return folder
