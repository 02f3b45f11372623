"""Build MD-Knowledge from folders of texts: what `mdx-data corpus` does.

    mdx-data corpus --config configs/corpus.yaml out_dir=data/corpus

`mdx.corpus` reads, cleans and chooses the documents; here they become the TFDS data set, with
`manifest.json` that holds their hashes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mdx.corpus.build import build_documents, read_documents
from mdx.corpus.config import CorpusConfig
from mdx.corpus.report import Report
from mdx.data.datasets import SPLITS, Record, write_dataset
from trainers.data_records import digest_of
from trainers.hooks import ProgressDisplay
from trainers.run_dir import write_atomically

CORPUS_MANIFEST = "corpus.json"


def run(config: CorpusConfig) -> dict[str, Any]:
    """Build what `config` asks for; return the manifest that is written to its out_dir."""
    report = _documents(config)
    data_sets: dict[str, Mapping[str, Sequence[Record]]] = {
        "md_knowledge": knowledge_records(config.out_dir),
    }
    for name, splits in data_sets.items():
        write_dataset(name, config.out_dir, {s: r for s, r in splits.items() if r})
    manifest = {
        "config": asdict(config),
        "num_files": report.num_files,
        "num_documents": report.num_kept,
        "num_tokens": report.num_tokens,
        "data_sets": {
            name: {
                split: {"num_records": len(records), "sha256": digest_of(records)}
                for split, records in splits.items()
            }
            for name, splits in data_sets.items()
        },
    }
    path = Path(config.out_dir) / CORPUS_MANIFEST
    write_atomically(path, json.dumps(manifest, indent=2) + "\n")
    return manifest


def knowledge_records(corpus_dir: str) -> dict[str, list[Record]]:
    """Return the records of MD-Knowledge that a corpus gives, by split."""
    return {
        split: [asdict(document) for document in read_documents(corpus_dir, split)]
        for split in SPLITS
    }


def _documents(config: CorpusConfig) -> Report:
    display: ProgressDisplay | None = None

    def progress(done: int, num_files: int) -> None:
        nonlocal display
        if display is None:
            display = ProgressDisplay("files", done=done, num_steps=num_files)
            display.__enter__()
        display.update(done, {})

    try:
        return build_documents(config, progress)
    finally:
        if display is not None:
            display.__exit__()
