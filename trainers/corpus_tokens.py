"""How many tokens a corpus has: counted by a tokenizer that the manifest names.

The tokenizer is the one that `count.tokenizer_dir` names, or MDX's own, trained on the train splits
of this corpus and left in `out_dir/tokenizer`, where training can use it. What a token is depends
on it: pieces learned from many words are longer than words, and each digit is a piece of its own.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mdx.chat import render_conversation
from mdx.corpus.build import Progress
from mdx.corpus.config import CorpusConfig
from mdx.data.datasets import Record
from mdx.data.tasks import conversation_of_record
from mdx.tokenizer import Tokenizer, lammps_words, train_tokenizer
from trainers.data_records import digest_of
from trainers.run_dir import write_atomically

_CHUNK = 256  # texts counted at once
_MADE_OF = "made_of.json"  # beside a trained tokenizer: what it was trained on


def count_tokens(
    data_sets: Mapping[str, Mapping[str, Sequence[Record]]],
    config: CorpusConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Return the tokenizer's name and hash, and the tokens of each split of each data set.

    Empty where the configuration asks for no tokenizer. Raises UsageError where its directory
    holds none.
    """
    folder = config.count.tokenizer_dir
    if not folder and not config.count.vocab_size:
        return {}
    name = folder or f"MDX's own: SentencePiece BPE, vocab_size {config.count.vocab_size}"
    folder = folder or _trained(data_sets, config, progress)
    tokenizer = Tokenizer.load(folder)
    num_records = sum(len(r) for splits in data_sets.values() for r in splits.values())
    counts: dict[str, dict[str, int]] = {}
    done = 0
    for data_set, splits in data_sets.items():
        counts[data_set] = {}
        for split, records in splits.items():
            total = 0
            for begin in range(0, len(records), _CHUNK):
                texts = [text_of(record) for record in records[begin : begin + _CHUNK]]
                total += sum(map(len, tokenizer.encode_batch(texts)))
                done += len(texts)
                progress("tokens counted of records", done, num_records)
            counts[data_set][split] = total
    sha256 = hashlib.sha256((Path(folder) / "tokenizer.json").read_bytes()).hexdigest()
    return {
        "tokenizer": name,
        "num_pieces": tokenizer.vocab_size,
        "tokenizer_sha256": sha256,
        **counts,
        "total": {data_set: sum(of.values()) for data_set, of in counts.items()},
    }


def text_of(record: Record) -> str:
    """Return what a model reads of a record of MD-Knowledge or MD-InstructQA."""
    if "question" not in record:
        return str(record["text"])
    return "".join(text for text, _ in render_conversation(conversation_of_record(record)))


def _trained(
    data_sets: Mapping[str, Mapping[str, Sequence[Record]]],
    config: CorpusConfig,
    progress: Progress,
) -> str:
    """Train a tokenizer on the train splits, unless that was done; return its folder."""
    folder = Path(config.out_dir) / "tokenizer"
    splits = [splits["train"] for splits in data_sets.values()]
    made_of = {
        "vocab_size": config.count.vocab_size,
        "seed": config.seed,
        "texts": [digest_of(records) for records in splits],
    }
    mark = folder / _MADE_OF
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == made_of:
        return str(folder)
    num_texts = sum(map(len, splits))

    def texts() -> Iterator[str]:
        for done, record in enumerate(chain(*splits), 1):
            progress("tokenizer reads records", done, num_texts)
            yield text_of(record)

    whole = lammps_words(map(text_of, chain(*splits)))
    train_tokenizer(texts(), str(folder), config.count.vocab_size, config.seed, whole)
    write_atomically(mark, json.dumps(made_of, indent=2) + "\n")
    return str(folder)
