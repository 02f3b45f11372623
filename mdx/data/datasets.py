"""The three data sets as TFDS data sets in ArrayRecord files.

    md_knowledge     text for continued pre-training
    md_instruct_qa   questions with checked answers
    md_code_gen      tasks with scripts that were run and scored

Each record names its source and licence. TFDS writes and reads them without TensorFlow, and
nothing here downloads anything: the records come from `trainers.build_data`. `read_records` gives
them back as dictionaries of str and float. Importing this module takes no JAX.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from mdx.errors import UsageError

SPLITS = ("train", "validation", "test")
Record = Mapping[str, Any]

_TEXT = tfds.features.Text()
_NUMBER = tfds.features.Scalar(np.float64)


class _RecordsBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Writes records that are already in memory, in their order."""

    VERSION = tfds.core.Version("1.0.0")
    FIELDS: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, *, records: Mapping[str, Sequence[Record]], data_dir: str):
        self._records = records
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(dict(self.FIELDS)),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterable[tuple[int, Record]]]:
        return {split: self._generate_examples(split) for split in self._records}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Record]]:
        for key, record in enumerate(self._records[split]):
            yield key, {name: record[name] for name in self.FIELDS}


class MdKnowledge(_RecordsBuilder):
    """MD-Knowledge: texts about molecular dynamics and LAMMPS, for continued pre-training."""

    FIELDS = dict.fromkeys(("text", "source", "licence", "sha256"), _TEXT)


class MdInstructQa(_RecordsBuilder):
    """MD-InstructQA: questions about LAMMPS with checked answers."""

    FIELDS = dict.fromkeys(("id", "kind", "question", "answer", "source", "licence"), _TEXT)


class MdCodeGen(_RecordsBuilder):
    """MD-CodeGen: tasks in plain words with reference scripts that were run and scored.

    `task` is the whole `mdx.tasks.task.Task` as JSON and `evidence` what the run showed, as JSON.
    `failed_script` and `error` are empty but for repairs. `reward` is R of `script`.
    """

    FIELDS: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(("id", "family", "prompt", "script", "task"), _TEXT),
        **dict.fromkeys(("failed_script", "error", "evidence", "lammps_version"), _TEXT),
        **dict.fromkeys(("reward", "wall_time_s"), _NUMBER),
        **dict.fromkeys(("source", "licence", "potential_sha256"), _TEXT),
    }


BUILDERS = {builder.name: builder for builder in (MdKnowledge, MdInstructQa, MdCodeGen)}


def write_dataset(name: str, data_dir: str, records: Mapping[str, Sequence[Record]]) -> None:
    """Write the data set `name` with the splits of `records`, in order, replacing an older one.

    Raises UsageError for a split without records, which TFDS cannot store.
    """
    empty = [split for split in records if not records[split]]
    if empty:
        raise UsageError(f"{name} needs at least one record in each split; {empty[0]} has none")
    folder = epath.Path(data_dir) / name
    if folder.exists():
        folder.rmtree()
    tfds.disable_progress_bar()
    builder = BUILDERS[name](records=records, data_dir=data_dir)
    # TFDS announces a download, and makes a folder for it, though there is none
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as nothing:
        builder.download_and_prepare(download_dir=nothing)


def open_source(data_dir: str, name: str, split: str) -> Sequence[Mapping[str, Any]]:
    """Return the split as TFDS's random-access data source; texts are bytes.

    Raises UsageError where the data set or the split is not there.
    """
    folder = epath.Path(data_dir) / name / str(BUILDERS[name].VERSION)
    if not folder.exists():
        raise UsageError(f"{data_dir} holds no {name}: build the data first (mdx-data build)")
    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise UsageError(f"{name} has the splits {known}, not {split!r}")
    return builder.as_data_source(split)


def read_records(data_dir: str, name: str, split: str) -> list[dict[str, Any]]:
    """Return all records of a split as dictionaries of str and float, in the order written."""
    source = open_source(data_dir, name, split)
    raw = source.__getitems__(list(range(len(source))))  # type: ignore[attr-defined]
    return [{key: _plain(value) for key, value in record.items()} for record in raw]


def _plain(value: Any) -> Any:
    return value.decode("utf-8") if isinstance(value, bytes) else float(value)
