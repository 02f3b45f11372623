"""From folders to documents: collect, read, filter, drop duplicates and benchmarks, split, report.

    out_dir/journal.jsonl                            what came of every file (to go on after a kill)
    out_dir/documents/{train,validation,test}.jsonl  the documents kept, one JSON object a line
    out_dir/report.json, report.md                   counts and samples by reason

The order is that of the sources and of the names in them, so equal inputs give equal bytes, killed
in between or not. Texts go from the journal to the documents one by one: memory holds signatures
and counts only.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from mdx.corpus.benchmarks import Benchmarks
from mdx.corpus.collect import File, Skipped, collect
from mdx.corpus.config import CorpusConfig, SourceConfig
from mdx.corpus.duplicates import DuplicateFinder
from mdx.corpus.reading import Reading, ReadingJournal, ReadSetting, key_of, read_missing
from mdx.corpus.report import Report, write_report
from mdx.corpus.splits import family_of, split_of
from mdx.errors import UsageError

SPLITS = ("train", "validation", "test")
DOCUMENTS = "documents"
_JOURNAL = "journal.jsonl"

Progress = Callable[[str, int, int], None]  # what is done, how many are done and in all


@dataclass(frozen=True, kw_only=True)
class Document:
    """One record of MD-Knowledge: a text with its origin. `sha256` is of the text."""

    text: str
    title: str
    source: str
    licence: str
    sha256: str
    language: str = ""
    notice: str = ""


def build_documents(config: CorpusConfig, progress: Progress) -> Report:
    """Write the documents and the report of `config` to its out_dir; return the report.

    Raises UsageError where no source is given, two have one name, or nothing is kept.
    """
    sources = _checked(config.sources)
    found = [
        item
        for source in sources.values()
        for item in collect(source, config.root, config.limits.max_documents)
    ]
    files = [item for item in found if isinstance(item, File)]
    setting = ReadSetting(
        limits=config.limits, filters=config.filters, duplicates=config.duplicates
    )
    out_dir = Path(config.out_dir)
    report = Report(num_files=len(files))
    with ReadingJournal(out_dir / _JOURNAL) as journal:
        for done in read_missing(files, setting, journal, config.num_workers):
            progress("files", done, len(files))
        for item in found:
            if isinstance(item, Skipped):
                report.drop(item.source, item.name, item.reason, item.detail)
        kept = _kept(files, sources, setting.digest, journal, config, report, progress)
        _write(kept, out_dir)
    write_report(report, out_dir)
    if not report.num_kept:
        raise UsageError(f"no document was kept: {out_dir}/report.md tells why")
    return report


def read_documents(out_dir: str, split: str) -> Iterator[Document]:
    """Yield the documents of a split that `build_documents` wrote, in order."""
    file = Path(out_dir) / DOCUMENTS / f"{split}.jsonl"
    if not file.is_file():
        raise UsageError(f"{out_dir} holds no documents: run mdx-data corpus first")
    with file.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Document)


def _checked(sources: Sequence[SourceConfig]) -> dict[str, SourceConfig]:
    if not sources:
        raise UsageError("sources must name at least one folder: see configs/corpus.yaml")
    named = {source.name: source for source in sources}
    if len(named) < len(sources):
        raise UsageError("two sources have one name: each needs its own")
    return named


def _kept(
    files: Sequence[File],
    sources: dict[str, SourceConfig],
    digest: str,
    journal: ReadingJournal,
    config: CorpusConfig,
    report: Report,
    progress: Progress,
) -> Iterator[tuple[str, Document]]:
    """Yield (split, document) of what stays, and count everything in `report`."""
    finder, benchmarks = DuplicateFinder(config.duplicates), Benchmarks(config.benchmarks)
    for number, file in enumerate(files, 1):
        progress("documents", number, len(files))
        reading = journal.get(key_of(file, digest))
        reason, detail = _objection(file, reading, finder, benchmarks)
        if reason:
            report.drop(file.source, file.name, reason, detail, reading.text)
            continue
        split = split_of(family_of(file.name, file.kind), config)
        document = Document(
            text=reading.text,
            title=reading.title,
            source=f"{file.source}: {file.name}",
            licence=sources[file.source].licence,
            sha256=reading.sha256,
            language=reading.language,
            notice=reading.notice,
        )
        report.keep(file.source, file.name, split, file.kind, document.text)
        yield split, document


def _objection(
    file: File, reading: Reading, finder: DuplicateFinder, benchmarks: Benchmarks
) -> tuple[str, str]:
    """Return why the document is dropped, and a detail; two empty texts where it stays."""
    if reading.reason:
        return reading.reason, reading.detail
    if item := benchmarks.repeated_in(reading.text):
        return "repeats a benchmark", item
    name = f"{file.source}: {file.name}"
    signature = np.frombuffer(reading.signature, dtype=np.uint64)
    if (original := finder.original_of(name, reading.exact, signature)) is not None:
        other, exactly = original
        return ("duplicate" if exactly else "near-duplicate"), f"of {other}"
    return "", ""


def _write(documents: Iterator[tuple[str, Document]], out_dir: Path) -> None:
    """Write each split's file beside the old one and then put it in its place."""
    folder = out_dir / DOCUMENTS
    folder.mkdir(parents=True, exist_ok=True)
    partial = {split: folder / f"{split}.jsonl.partial" for split in SPLITS}
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {
            split: stack.enter_context(path.open("wb")) for split, path in partial.items()
        }
        for split, document in documents:
            opened[split].write(msgspec.json.encode(document) + b"\n")
    for split, path in partial.items():
        os.replace(path, folder / f"{split}.jsonl")
