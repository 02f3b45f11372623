"""The data sets on disk: lossless, in order, without TensorFlow, JAX or the network."""

import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from mdx.data.datasets import BUILDERS, folder_of, read_records, write_dataset
from mdx.data.tasks import conversation_of_example, load_examples, load_tasks
from mdx.errors import UsageError

RECORD = {
    "text": "units metal\n分子 🙂\x00",
    "title": "",
    "language": "",
    "notice": "",
    "sha256": "00",
    "source": "s",
    "licence": "GPL-2.0",
}

OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError(f"network access: {args}")
socket.socket.connect = socket.getaddrinfo = refuse
from mdx.data.datasets import write_dataset
from mdx.data.tasks import load_tasks
write_dataset("md_knowledge", sys.argv[2], {"train": [dict.fromkeys(
    ("text", "source", "licence", "sha256"), "x")]})
load_tasks(sys.argv[1], "test")
print(sorted({"jax", "tensorflow", "torch", "grain"} & set(sys.modules)))
"""


def test_examples_come_back_equal_and_in_order(data_dir, examples):
    for split, items in examples.items():
        assert load_examples(data_dir, split) == items


def test_tasks_are_those_of_the_examples_that_are_no_repairs(data_dir, examples):
    expected = [item.task for item in examples["train"] if not item.failed_script]
    assert load_tasks(data_dir, "train") == expected
    assert len(expected) == 224  # of 256: every eighth is a repair


def test_a_repair_teaches_the_script_after_the_failed_one_and_its_error(examples):
    repair = examples["train"][7]
    asked, answer = conversation_of_example(repair)
    assert asked["content"] == (
        f"{repair.task.prompt}\n```lammps\n{repair.failed_script}```\nERROR: Unknown command"
    )
    assert answer == {"role": "assistant", "content": f"```lammps\n{repair.script}```"}


def test_text_survives_unchanged(tmp_path):
    write_dataset("md_knowledge", str(tmp_path), {"train": [RECORD, {**RECORD, "sha256": "01"}]})
    assert read_records(str(tmp_path), "md_knowledge", "train") == [
        RECORD,
        {**RECORD, "sha256": "01"},
    ]


def test_writing_again_replaces_the_data_set(tmp_path):
    for text in ("old", "new"):
        write_dataset("md_knowledge", str(tmp_path), {"train": [{**RECORD, "text": text}]})
    (record,) = read_records(str(tmp_path), "md_knowledge", "train")
    assert record["text"] == "new"


def test_data_is_written_and_read_without_network_or_heavy_imports(data_dir, tmp_path):
    command = [sys.executable, "-c", OFFLINE, data_dir, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_missing_data_is_a_usage_error_that_says_what_to_do(data_dir, tmp_path):
    with pytest.raises(UsageError, match="mdx-data build"):
        load_tasks(str(tmp_path), "test")
    with pytest.raises(UsageError, match="'tset'"):
        load_tasks(data_dir, "tset")


def test_an_empty_split_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="test has none"):
        write_dataset("md_knowledge", str(tmp_path), {"train": [RECORD], "test": []})


def test_any_tfds_reads_the_files_with_their_documentation(data_dir, examples):
    folder = folder_of(data_dir, "md_code_gen")
    builder = tfds.builder_from_directory(folder)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        split: len(items) for split, items in examples.items()
    }
    assert "LAMMPS" in builder.info.description
    assert "MDAgent2" in builder.info.citation
    assert builder.info.redistribution_info.license == "Apache-2.0"
    assert builder.info.features["register"].names[0] == "terse"
    assert builder.info.features["reward"].doc.desc
    record = builder.as_data_source("train")[0]
    assert record["prompt"].decode() == examples["train"][0].task.prompt


def test_every_field_of_every_data_set_is_documented():
    for builder in BUILDERS.values():
        assert str(builder.VERSION) in builder.RELEASE_NOTES
        for name, feature in builder.SCHEMA.features.items():
            assert feature.doc.desc, name


def test_records_come_back_as_written_and_what_they_leave_out_is_empty(tmp_path):
    record = {
        "id": "q",
        "type": "multiple_choice",
        "options": ["一", "two"],
        "answer": "A, B",
    }
    write_dataset("md_instruct_qa", str(tmp_path), {"train": [record]})
    (read,) = read_records(str(tmp_path), "md_instruct_qa", "train")
    assert {name: read[name] for name in record} == record
    assert (read["difficulty"], read["page"]) == ("unspecified", "")
    code = {
        "id": "c",
        "observables": [{"name": "mean_temperature", "value": 300.5}],
        "num_atoms": 4,
    }
    write_dataset("md_code_gen", str(tmp_path), {"train": [code]})
    (read,) = read_records(str(tmp_path), "md_code_gen", "train")
    assert {name: read[name] for name in code} == code
    assert (read["elements"], read["reward"]) == ([], 0.0)


def test_two_writes_of_the_same_records_are_equal_files(tmp_path):
    contents = []
    for name in ("one", "two"):
        write_dataset("md_knowledge", str(tmp_path / name), {"train": [RECORD] * 3})
        folder = folder_of(str(tmp_path / name), "md_knowledge")
        contents.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert contents[0] == contents[1]
