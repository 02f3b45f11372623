"""`mdx-data show`: browse the records of a data set as people read them.

    mdx-data show md_code_gen --data data/full --split test_family --family void
    mdx-data show md_knowledge --data data/full --text "lattice constant" --num 3
    mdx-data show md_code_gen --data data/full --id nvt-0123456789ab

Records are found by split, family (or kind), text and id, shown one below the other, and on a
terminal through a pager. The splits are searched in the order in which they are stored.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

from mdx.data.datasets import iter_records, splits_of
from mdx.errors import UsageError

_LONG = ("text", "script", "failed_script", "prompt", "question", "answer", "error")
_HIDDEN = ("task", "skeleton_sha256", "potential_sha256", "sha256", "page_sha256")
_MARKS = {"md_code_gen": "family", "md_instruct_qa": "kind", "md_knowledge": "source"}


def find_records(
    data_dir: str, name: str, *, split: str = "", family: str = "", text: str = "", id_: str = ""
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield (split, index, record) of the records that have all that is asked for.

    family: of a task, the kind of a question, or a part of a document's source. text: occurs in
    any of the fields, whatever its case. Raises UsageError for missing data or an unknown split.
    """
    splits = splits_of(data_dir, name)
    if split and split not in splits:
        raise UsageError(f"{name} has the splits {', '.join(splits)}, not {split!r}")
    for each in [split] if split else splits:
        for index, record in enumerate(iter_records(data_dir, name, each)):
            if id_ and id_ not in (record.get("id"), record.get("sha256")):
                continue
            if family and not _has_mark(name, record, family):
                continue
            if text and not any(text.lower() in str(v).lower() for v in record.values()):
                continue
            yield each, index, record


def show_records(
    data_dir: str, name: str, *, start: int, count: int, whole: bool, **wanted: str
) -> Iterator[str]:
    """Yield the lines of the records `start` to `start + count` of those that `find_records` finds.

    whole: also the fields for machines. Raises UsageError where there is none.
    """
    found = islice(find_records(data_dir, name, **wanted), start, start + count)
    shown = 0
    for split, index, record in found:
        shown += 1
        yield click.style(f"{name}/{split}[{index}]", bold=True) + "\n"
        yield from _lines(record, whole)
        yield "\n"
    if not shown:
        raise UsageError(
            f"{name} has no record that fits" + (f" from number {start} on" if start else "")
        )


def _lines(record: Mapping[str, Any], whole: bool) -> Iterator[str]:
    for field, value in record.items():
        if (field in _HIDDEN and not whole) or value in ("", []):
            continue
        if field == "observables":
            value = ", ".join(f"{item['name']} {item['value']:g}" for item in value)
        elif field == "evidence" and value.startswith("{") and not whole:
            components = json.loads(value).get("components", {})
            value = ", ".join(f"{part} {mark:g}" for part, mark in components.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        text = str(value).rstrip("\n")
        label = click.style(field, fg="cyan")
        yield f"{label}:\n{text}\n" if field in _LONG and "\n" in text else f"{label}: {text}\n"


def _has_mark(name: str, record: Mapping[str, Any], wanted: str) -> bool:
    mark = record[_MARKS[name]]
    return wanted in mark if name == "md_knowledge" else mark == wanted
