"""What the records of the three data sets hold: features, descriptions, licences, citation.

Every field has a `tfds.features` type and a sentence of documentation, both stored with the data.
A record that is written may leave out fields: they get the empty value of their type (`complete`).
`plain` is the way back, from what TFDS reads to str, int, float, lists and dictionaries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mdx.tasks.phrasing import Register

QUESTION_TYPES = ("single_choice", "multiple_choice", "fill_blank", "open_qa")
UNSPECIFIED = "unspecified"
REGISTERS = (*map(str, Register), UNSPECIFIED)
DIFFICULTIES = ("easy", "medium", "hard", UNSPECIFIED)

RELEASE_NOTES = {
    "2.0.0": "Observables, modelled cost, registers and languages; question types and options;"
    " held-out test splits. Measured times are in timings.jsonl, outside the records.",
    "1.0.0": "First release.",
}

CITATION = """\
@misc{mdx,
  title        = {MDX: training language models to write, run and repair MD scripts},
  howpublished = {MD-Knowledge, MD-InstructQA and MD-CodeGen, built by mdx-data},
  note         = {After the data sets of MDAgent2, arXiv:2601.02075; scripts run with LAMMPS,
                  A. P. Thompson et al., Comp. Phys. Comm. 271 (2022) 10817}
}
"""

Feature = Any  # tfds.features.FeatureConnector, which has no types


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The form of one data set's records. Every field has a documented feature."""

    title: str
    description: str
    licence: str
    features: Mapping[str, Feature]


def _text(doc: str) -> Feature:
    return tfds.features.Text(doc=doc)


def _number(doc: str) -> Feature:
    return tfds.features.Scalar(np.float64, doc=doc)


def _count(doc: str) -> Feature:
    return tfds.features.Scalar(np.int64, doc=doc)


def _one_of(names: tuple[str, ...], doc: str) -> Feature:
    return tfds.features.ClassLabel(names=list(names), doc=doc)


def _texts(doc: str) -> Feature:
    return tfds.features.Sequence(tfds.features.Text(), doc=doc)


def _named_numbers(doc: str) -> Feature:
    return tfds.features.Sequence({"name": tfds.features.Text(), "value": np.float64}, doc=doc)


_ORIGIN: Mapping[str, Feature] = {
    "source": _text("Where the record comes from."),
    "licence": _text("The licence of the source."),
}

MD_KNOWLEDGE = Schema(
    title="MD-Knowledge",
    description="Texts about molecular dynamics and LAMMPS, for continued pre-training.",
    licence="Each record names the licence of its source in `licence`.",
    features={
        "text": _text("The text, in Markdown where it has structure."),
        "title": _text("The title of the page or file; empty where it has none."),
        "language": _text("ISO 639-1 code of the prose; empty: scripts, tables or not known."),
        "notice": _text("Licence notices that stood in the text and were taken out of it."),
        "sha256": _text("Of the text in UTF-8."),
        **_ORIGIN,
    },
)

MD_INSTRUCT_QA = Schema(
    title="MD-InstructQA",
    description="Questions about LAMMPS and molecular dynamics with checked answers.",
    licence="Each record names the licence of its source in `licence`.",
    features={
        "id": _text("qa- and twelve hexadecimal digits."),
        "kind": _text("What is asked: units, syntax, an error's cause, ..."),
        "type": _one_of(QUESTION_TYPES, "The form of the question."),
        "question": _text("The question, without its options."),
        "options": _texts("The options in order (A, B, ...); empty but for choices."),
        "answer": _text("The answer; for choices the letter or letters (B; A, C)."),
        "answer_text": _text("What the letters stand for; otherwise the answer."),
        "explanation": _text("Why the answer is right, where that is known."),
        "language": _text("ISO 639-1 code."),
        "difficulty": _one_of(DIFFICULTIES, "How hard the question is."),
        "page": _text("Page of the manual that the answer is from; empty: MDX's own facts."),
        "section": _text("Section of that page."),
        "quote": _text("The words of the page that hold the answer."),
        "page_sha256": _text("The state of that page."),
        **_ORIGIN,
    },
)

MD_CODE_GEN = Schema(
    title="MD-CodeGen",
    description=(
        "Tasks in plain words with reference scripts for LAMMPS, every one of which was run in a "
        "sandbox and reached R >= 0.95 under MDX's reward."
    ),
    licence="Apache-2.0",
    features={
        "id": _text("The family and twelve hexadecimal digits of a hash of text and script."),
        "family": _text("The task family."),
        "register": _one_of(REGISTERS, "How the text speaks."),
        "language": _text("ISO 639-1 code of the text."),
        "prompt": _text("What is asked, in plain words."),
        "script": _text("The reference script."),
        "skeleton_sha256": _text("Of the script without its seeds; no two splits share one."),
        "task": _text("The whole specification with its checks: mdx.tasks.task.Task as JSON."),
        "failed_script": _text("Repairs only: the broken script that is to be repaired."),
        "error": _text("Repairs only: what LAMMPS said about it."),
        "reward": _number("R of the script for this text, in [0, 1]."),
        "evidence": _text("What the run showed, as JSON: runs, steps, final state, components."),
        "observables": _named_numbers("Reference values of our own run, in the script's units."),
        "num_atoms": _count("Atoms at the end of the run."),
        "num_steps": _count("Time steps of all runs."),
        "cost_s": _number("Modelled CPU seconds of the script: the same on every machine."),
        "elements": _texts("Chemical symbols of the atom types in order."),
        "lammps_version": _text("The version that ran the script."),
        "potential_sha256": _text("Of the potential's files, separated by spaces."),
        **_ORIGIN,
    },
)


def complete(record: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return `record` with an empty value for each field of `schema` that it leaves out."""
    unknown = set(record) - set(schema.features)
    assert not unknown, f"{schema.title} has no field {min(unknown)!r}"
    return {
        name: record[name] if name in record else _empty(feature)
        for name, feature in schema.features.items()
    }


def plain(feature: Feature, value: Any) -> Any:
    """Return what TFDS read for one field as str, int, float, or a list of those."""
    if isinstance(feature, tfds.features.Sequence):
        inner = feature.feature
        if isinstance(inner, tfds.features.FeaturesDict):
            columns = [[plain(inner[name], item) for item in value[name]] for name in inner]
            return [dict(zip(inner, row, strict=True)) for row in zip(*columns, strict=True)]
        return [plain(inner, item) for item in value]
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.int2str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return int(value) if np.issubdtype(feature.np_dtype, np.integer) else float(value)


def _empty(feature: Feature) -> Any:
    if isinstance(feature, tfds.features.Sequence):
        return []
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.names[-1]
    return "" if isinstance(feature, tfds.features.Text) else 0
