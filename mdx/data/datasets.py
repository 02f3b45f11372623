"""The three data sets as TFDS data sets in ArrayRecord files.

    md_knowledge     text for continued pre-training
    md_instruct_qa   questions with checked answers
    md_code_gen      tasks with scripts that were run and scored

Features, descriptions, citations and licences are in `mdx.data.schema`; `tfds.
builder_from_directory` reads the folders without MDX. TFDS writes and reads them without
TensorFlow, and nothing here downloads anything: the records come from `trainers.build_data` and
`trainers.build_corpus`. `read_records` gives them back as plain dictionaries. Importing this module
takes no JAX.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath
from tensorflow_datasets.proto import tf_example_generated_pb2

from mdx.data import schema
from mdx.errors import UsageError

SPLITS = ("train", "validation", "test")
Record = Mapping[str, Any]


class _RecordsBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Writes records that are already in memory, in their order."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = schema.RELEASE_NOTES
    SCHEMA: ClassVar[schema.Schema]

    def __init__(self, *, records: Mapping[str, Sequence[Record]], data_dir: str):
        self._records = records
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.SCHEMA.description,
            features=tfds.features.FeaturesDict(dict(self.SCHEMA.features)),
            citation=schema.CITATION,
            license=self.SCHEMA.licence,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterable[tuple[int, Record]]]:
        return {split: self._generate_examples(split) for split in self._records}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Record]]:
        for key, record in enumerate(self._records[split]):
            yield key, schema.complete(record, self.SCHEMA)


class MdKnowledge(_RecordsBuilder):
    """MD-Knowledge: see `mdx.data.schema.MD_KNOWLEDGE`."""

    SCHEMA = schema.MD_KNOWLEDGE


class MdInstructQa(_RecordsBuilder):
    """MD-InstructQA: see `mdx.data.schema.MD_INSTRUCT_QA`."""

    SCHEMA = schema.MD_INSTRUCT_QA


class MdCodeGen(_RecordsBuilder):
    """MD-CodeGen: see `mdx.data.schema.MD_CODE_GEN`."""

    SCHEMA = schema.MD_CODE_GEN


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
    for file in sorted(folder_of(data_dir, name).glob("*.array_record*")):
        _make_canonical(str(file))


def _make_canonical(file: str) -> None:
    """Write the records of `file` again with their fields in order, so that equal is equal bytes.

    TFDS serializes a protocol buffer's map as it lies in memory, which differs between processes.
    """
    reader = ArrayRecordReader(file, "readahead_buffer_size:0,max_parallelism:0")
    records = [reader.read([index])[0] for index in range(reader.num_records())]
    reader.close()
    writer = ArrayRecordWriter(file, "group_size:1")  # as TFDS writes them
    for record in records:
        example = tf_example_generated_pb2.Example.FromString(record)
        writer.write(example.SerializeToString(deterministic=True))
    writer.close()


def folder_of(data_dir: str, name: str) -> epath.Path:
    """Return the folder with the files of the data set, whether it is there or not."""
    return epath.Path(data_dir) / name / str(BUILDERS[name].VERSION)


def splits_of(data_dir: str, name: str) -> dict[str, int]:
    """Return the splits of a data set and their numbers of records.

    Raises UsageError where the data set is not there.
    """
    infos = _open(data_dir, name).info.splits
    return {split: infos[split].num_examples for split in infos}


def open_source(data_dir: str, name: str, split: str) -> Sequence[Mapping[str, Any]]:
    """Return the split as TFDS's random-access data source; texts are bytes, classes numbers.

    Raises UsageError where the data set or the split is not there.
    """
    builder = _open(data_dir, name)
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise UsageError(f"{name} has the splits {known}, not {split!r}")
    return builder.as_data_source(split)


def read_records(data_dir: str, name: str, split: str) -> list[dict[str, Any]]:
    """Return all records of a split as plain dictionaries, in the order written."""
    return list(iter_records(data_dir, name, split))


def iter_records(
    data_dir: str, name: str, split: str, *, chunk: int = 1024
) -> Iterator[dict[str, Any]]:
    """Yield the records of a split as plain dictionaries in order, `chunk` in memory at once."""
    source = open_source(data_dir, name, split)
    features = BUILDERS[name].SCHEMA.features
    for start in range(0, len(source), chunk):
        indices = list(range(start, min(start + chunk, len(source))))
        for raw in source.__getitems__(indices):  # type: ignore[attr-defined]
            yield {key: schema.plain(features[key], raw[key]) for key in features}


def _open(data_dir: str, name: str) -> tfds.core.DatasetBuilder:
    folder = folder_of(data_dir, name)
    if not folder.exists():
        raise UsageError(f"{data_dir} holds no {name}: build the data first (mdx-data build)")
    return tfds.builder_from_directory(folder)
