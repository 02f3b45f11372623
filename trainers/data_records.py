"""The records of the three data sets: from kept examples, questions and documents to dictionaries.

Everything is in the order drawn, and nothing measured in seconds is part of a record: equal inputs
give equal records, and equal files.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdx.data.datasets import SPLITS, Record
from mdx.errors import UsageError
from mdx.lammps.library import potentials_dir
from mdx.lammps.run import to_json
from mdx.tasks.generate import Example
from mdx.tasks.knowledge import draw_documents
from mdx.tasks.qa import draw_questions
from mdx.tasks.splits import skeleton
from mdx.tasks.task import Potential
from trainers.reference_runs import Outcome

RECORDS_CODE = Path(__file__)  # what is written depends on it
_CHINESE = re.compile("[\u4e00-\u9fff]")
_HELD_OUT_PERCENT = {"validation": 2, "test": 4}  # of questions and documents


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An example whose reference solves its task, with the proof."""

    example: Example
    reward: float
    outcome: Outcome


def code_records(kept: Iterable[Kept]) -> list[Record]:
    """Return the records of MD-CodeGen."""
    return [_code_record(item.example, item.reward, item.outcome) for item in kept]


def _code_record(example: Example, reward: float, outcome: Outcome) -> Record:
    facts = outcome.facts
    return {
        "id": example.task.id,
        "family": example.task.family,
        "prompt": example.task.prompt,
        "script": example.script,
        "task": to_json(example.task).decode(),
        "failed_script": example.failed_script or "",
        "error": example.error or "",
        "reward": reward,
        "register": example.task.parameters.get("register", "unspecified"),
        "language": _language(example.task.prompt),
        "skeleton_sha256": _sha256(skeleton(example.script).encode()),
        "evidence": outcome.evidence,
        "observables": [{"name": n, "value": v} for n, v in sorted(facts.observables.items())],
        "num_atoms": facts.num_atoms,
        "num_steps": facts.num_steps,
        "cost_s": facts.cost_s,
        "elements": list(example.task.elements),
        "lammps_version": outcome.lammps_version,
        "potential_sha256": _potential_sha256(example.task.potential),
        "source": "MDX task families",
        "licence": "Apache-2.0",
    }


def question_records(seed: int, count: int) -> dict[str, list[Record]]:
    """Return the records of MD-InstructQA by split. A question occurs once."""
    records: dict[str, Record] = {}
    for item in draw_questions(seed, count):
        digest = _sha256(item.question.encode())
        records.setdefault(
            digest,
            {
                "id": f"qa-{digest[:12]}",
                "kind": item.kind,
                "type": "open_qa",
                "question": item.question,
                "answer": item.answer,
                "answer_text": item.answer,
                "language": _language(item.question),
                "source": item.source,
                "licence": item.licence,
            },
        )
    return _split_by_hash(records)


def document_records(examples: Sequence[Example], seed: int) -> dict[str, list[Record]]:
    """Return the records of MD-Knowledge by split, drawn from the *train* examples alone."""
    records: dict[str, Record] = {}
    for item in draw_documents(examples, seed):
        digest = _sha256(item.text.encode())
        origin = {"source": item.source, "licence": item.licence}
        language = _language(item.text)
        record = {"text": item.text, "language": language, "sha256": digest, **origin}
        records.setdefault(digest, record)
    return _split_by_hash(records)


def digest_of(records: Iterable[Record]) -> str:
    """Return a hash of the records and their order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _split_by_hash(records: dict[str, Record]) -> dict[str, list[Record]]:
    """Split by the hash of the content; a split that chance left empty takes one from train."""
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for digest, record in records.items():
        percent = int(digest[:8], 16) % 100
        low = _HELD_OUT_PERCENT["validation"]
        held_out = low + _HELD_OUT_PERCENT["test"]
        split = "validation" if percent < low else "test" if percent < held_out else "train"
        splits[split].append(record)
    for split in ("validation", "test"):
        if not splits[split] and splits["train"]:
            splits[split].append(splits["train"].pop())
    if not splits["train"]:
        raise UsageError(
            f"at least 3 different records are needed for three splits, but there are "
            f"{len(records)}: ask for more questions or scripts"
        )
    return splits


@functools.cache
def _potential_sha256(potential: Potential | None) -> str:
    """Return the hashes of the potential's files, separated by spaces; empty without files."""
    words = dict.fromkeys(" ".join(potential.coeffs).split()) if potential else {}
    files = [Path(potentials_dir()) / word for word in words]
    return " ".join(_sha256(file.read_bytes()) for file in files if file.is_file())


def _language(text: str) -> str:
    """Return zh for a text with Chinese characters, else en: MDX's own texts are in no other."""
    return "zh" if _CHINESE.search(text) else "en"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
