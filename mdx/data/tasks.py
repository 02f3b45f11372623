"""Tasks, examples and conversations out of the data sets. Imports no JAX."""

import string
from collections.abc import Iterator, Mapping
from typing import Any

from mdx.chat import (
    Message,
    render_conversation,
    repair_messages,
    script_reply,
    task_messages,
)
from mdx.data.datasets import read_records
from mdx.lammps.run import from_json
from mdx.tasks.generate import Example
from mdx.tasks.task import Task


def load_examples(data_dir: str, split: str) -> list[Example]:
    """Return the examples of MD-CodeGen in the order drawn; phrasings of a script are neighbours.

    Raises UsageError where the data set or the split is missing.
    """
    return [_example(record) for record in read_records(data_dir, "md_code_gen", split)]


def load_tasks(data_dir: str, split: str) -> list[Task]:
    """Return the tasks of MD-CodeGen that a prompt alone poses: repairs are left out."""
    return [example.task for example in load_examples(data_dir, split) if not example.failed_script]


def conversation_of_example(example: Example) -> list[Message]:
    """Return the conversation that teaches `example`: what is asked, and its script."""
    if example.failed_script:
        asked = repair_messages(example.task, example.failed_script, example.error or "")
    else:
        asked = task_messages(example.task)
    return [*asked, {"role": "assistant", "content": script_reply(example.script)}]


def conversation_of_record(record: Mapping[str, Any]) -> list[Message]:
    """Return the conversation of a record of MD-CodeGen or MD-InstructQA."""
    if "task" in record:
        return conversation_of_example(_example(record))
    return [
        {"role": "user", "content": _asked(record)},
        {"role": "assistant", "content": _answered(record)},
    ]


def _asked(record: Mapping[str, Any]) -> str:
    """Return the question; the options of a choice are lines that begin with their letters."""
    lines = [f"{string.ascii_uppercase[i]}. {o}" for i, o in enumerate(record["options"])]
    return "\n".join([record["question"], *lines])


def _answered(record: Mapping[str, Any]) -> str:
    """Return the answer; of a choice the letters, then what they stand for."""
    if not record["options"]:
        return str(record["answer"])
    return f"{record['answer']}: {record['answer_text']}"


def training_texts(data_dir: str) -> Iterator[str]:
    """Yield every text of the train splits as models read it, for the tokenizer to learn from."""
    for name in ("md_code_gen", "md_instruct_qa"):
        for record in read_records(data_dir, name, "train"):
            segments = render_conversation(conversation_of_record(record))
            yield "".join(text for text, _ in segments)
    for record in read_records(data_dir, "md_knowledge", "train"):
        yield record["text"]


def _example(record: Mapping[str, Any]) -> Example:
    return Example(
        task=from_json(record["task"], Task),
        script=record["script"],
        failed_script=record["failed_script"] or None,
        error=record["error"] or None,
    )
