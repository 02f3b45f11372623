"""Build MD-Knowledge and MD-InstructQA from folders of texts: what `mdx-data corpus` does.

    mdx-data corpus --config configs/corpus.yaml out_dir=data/corpus

`mdx.corpus` reads, cleans and chooses the documents, `mdx.manual` makes questions of the sources
that are marked as LAMMPS's manual; here both become TFDS data sets, and a tokenizer counts them.
`corpus.json` holds their hashes and counts, `questions.json` how many questions of each kind there
are, which were dropped and why, and what blind guessing scores.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from mdx.corpus.benchmarks import Benchmarks
from mdx.corpus.build import Progress, build_documents, read_documents
from mdx.corpus.config import CorpusConfig, SourceConfig
from mdx.corpus.splits import split_of
from mdx.data.datasets import SPLITS, Record, write_dataset
from mdx.manual.checks import blind_baselines, keep_sound
from mdx.manual.distill import pages_to_ask, questions_of, request_for
from mdx.manual.endpoint import ask_all
from mdx.manual.facts import facts_of
from mdx.manual.pages import ManualPage, read_pages
from mdx.manual.questions import ManualQuestion, draw_questions
from trainers.corpus_tokens import count_tokens
from trainers.data_records import digest_of
from trainers.hooks import StagesDisplay
from trainers.run_dir import write_atomically

CORPUS_MANIFEST = "corpus.json"
QUESTIONS_REPORT = "questions.json"

DataSets = Mapping[str, Mapping[str, Sequence[Record]]]


def run(config: CorpusConfig) -> dict[str, Any]:
    """Build what `config` asks for; return the manifest that is written to its out_dir."""
    with StagesDisplay() as progress:
        data_sets, facts = corpus_records(config, progress)
        for done, (name, splits) in enumerate(data_sets.items(), 1):
            write_dataset(name, config.out_dir, {s: r for s, r in splits.items() if r})
            progress("data sets", done, len(data_sets))
    manifest = {"config": asdict(config), **facts, "data_sets": _summary(data_sets)}
    path = Path(config.out_dir) / CORPUS_MANIFEST
    write_atomically(path, json.dumps(manifest, indent=2) + "\n")
    return manifest


def corpus_records(config: CorpusConfig, progress: Progress) -> tuple[DataSets, dict[str, Any]]:
    """Return the records that a corpus gives, by data set and split, and counts for a manifest."""
    report = build_documents(config, progress)
    data_sets: dict[str, Mapping[str, Sequence[Record]]] = {
        "md_knowledge": knowledge_records(config.out_dir),
    }
    if any(source.manual for source in config.sources):
        data_sets["md_instruct_qa"] = question_records(config, progress)
    return data_sets, {
        "num_files": report.num_files,
        "num_documents": report.num_kept,
        "num_words": report.num_tokens,
        "tokens": count_tokens(data_sets, config, progress),
    }


def knowledge_records(corpus_dir: str) -> dict[str, list[Record]]:
    """Return the records of MD-Knowledge that a corpus gives, by split."""
    return {
        split: [asdict(document) for document in read_documents(corpus_dir, split)]
        for split in SPLITS
    }


def question_records(config: CorpusConfig, progress: Progress) -> dict[str, list[Record]]:
    """Return the records of MD-InstructQA by split; write questions.json beside them."""
    benchmarks = Benchmarks(config.benchmarks)
    dropped: Counter[str] = Counter()
    records: dict[str, list[Record]] = {split: [] for split in SPLITS}
    costs: dict[str, Any] = {}
    kept: list[ManualQuestion] = []
    for source in (source for source in config.sources if source.manual):
        for item in _questions(source, config, dropped, costs, progress):
            if benchmarks.repeated_in(f"{item.question} {item.answer_text}"):
                dropped["repeats a benchmark"] += 1
                continue
            kept.append(item)
            records[split_of(item.group, config)].append(_question_record(item, source))
    report = {
        "num_questions": len(kept),
        "by_type": Counter(item.type for item in kept),
        "by_kind": Counter(item.kind for item in kept),
        "by_language": Counter(item.language for item in kept),
        "dropped": dropped,
        "blind_baselines": blind_baselines(kept),
        "distillation": costs,
    }
    text = json.dumps(report, indent=2) + "\n"
    write_atomically(Path(config.out_dir) / QUESTIONS_REPORT, text)
    return records


def _questions(
    source: SourceConfig,
    config: CorpusConfig,
    dropped: Counter[str],
    costs: dict[str, Any],
    progress: Progress,
) -> Iterator[ManualQuestion]:
    pages = list(read_pages(str(Path(config.root) / source.path)))
    facts = facts_of(pages)
    drawn = draw_questions(
        facts,
        config.questions,
        config.seed,
        lambda done: progress(f"questions from facts of {source.name}", done, len(facts)),
    )
    if config.questions.distill.base_url:
        distilled, costs[source.name] = _distilled(pages, config, dropped, progress)
        drawn = chain(drawn, distilled)
    return keep_sound(drawn, {page.name: page for page in pages}, dropped)


def _distilled(
    pages: Sequence[ManualPage], config: CorpusConfig, dropped: Counter[str], progress: Progress
) -> tuple[list[ManualQuestion], dict[str, Any]]:
    """Return the questions that an endpoint's model wrote from the pages, and what they cost."""
    setting = config.questions.distill
    asked = pages_to_ask(pages, setting)
    replies, cost = ask_all(
        [request_for(page, setting) for page in asked],
        setting,
        config.out_dir,
        lambda done, total: progress("pages answered by the endpoint", done, total),
    )
    questions = [
        question
        for page, reply in zip(asked, replies, strict=True)
        for question in questions_of(reply, page, config.seed, dropped)
    ]
    return questions, cost


def _question_record(item: ManualQuestion, source: SourceConfig) -> Record:
    record = {name: value for name, value in asdict(item).items() if name != "group"}
    origin = {"source": f"{source.name}: {item.page}.rst", "licence": source.licence}
    return {**record, "options": list(item.options), **origin}


def _summary(data_sets: DataSets) -> dict[str, Any]:
    return {
        name: {
            split: {"num_records": len(records), "sha256": digest_of(records)}
            for split, records in splits.items()
        }
        for name, splits in data_sets.items()
    }
