"""Keep benchmarks out of what models learn from: runs of words that both have in common.

`read_benchmark` takes JSON, JSONL (lists or objects of any shape: every text in them counts;
answers written as "BASE64:" + base64 of JSON are opened) and plain text. Texts of fewer words than
an n-gram count only if they are at least five words long and occur as a whole.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdx.corpus.config import BenchmarkConfig
from mdx.corpus.quality import words_of
from mdx.errors import UsageError

_ENCODED = "BASE64:"
_SHORTEST_WORDS = 5  # "fill_blank", "A", "lj/cut" are in every text


class Benchmarks:
    """The n-grams of all items of the named benchmark files."""

    def __init__(self, config: BenchmarkConfig) -> None:
        self._config = config
        self._items: list[str] = []
        self._sizes: list[int] = []
        self._lengths: set[int] = set()
        self._index: dict[int, list[int]] = {}
        for file in config.files:
            for text in read_benchmark(file):
                self._add(text, file)

    @property
    def num_items(self) -> int:
        """How many texts are guarded."""
        return len(self._items)

    def _add(self, text: str, file: str) -> None:
        words = words_of(text)
        if len(words) < _SHORTEST_WORDS:
            return
        size = min(len(words), self._config.ngram_words)
        ngrams = set(_ngrams(words, size))
        self._items.append(f"{Path(file).name}: {' '.join(text.split())[:120]}")
        self._sizes.append(len(ngrams))
        self._lengths.add(size)
        for ngram in ngrams:
            self._index.setdefault(ngram, []).append(len(self._items) - 1)

    def repeated_in(self, text: str) -> str | None:
        """Return the first benchmark item of which `text` holds too much, or None."""
        if not self._items:
            return None
        words = words_of(text)
        found: dict[int, int] = {}
        for size in sorted(self._lengths):
            for ngram in set(_ngrams(words, size)):
                for item in self._index.get(ngram, ()):
                    found[item] = found.get(item, 0) + 1
        for item in sorted(found):
            if found[item] >= self._config.max_share * self._sizes[item]:
                return self._items[item]
        return None


def read_benchmark(file: str) -> Iterator[str]:
    """Yield every text of a benchmark file. Raises UsageError where it cannot be read."""
    try:
        content = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"benchmark {file} cannot be read as UTF-8 text: {error}") from error
    suffix = Path(file).suffix.lower()
    if suffix not in (".json", ".jsonl"):
        yield from (part for part in content.split("\n\n") if part.strip())
        return
    try:
        if suffix == ".json":
            yield from _texts(json.loads(content))
        else:
            for line in filter(str.strip, content.splitlines()):
                yield from _texts(json.loads(line))
    except ValueError as error:
        raise UsageError(f"benchmark {file} is no valid {suffix[1:].upper()}: {error}") from error


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield from _texts(_opened(node)) if node.startswith(_ENCODED) else (node,)
    elif isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _opened(text: str) -> Any:
    try:
        return json.loads(base64.b64decode(text.removeprefix(_ENCODED), validate=True))
    except (binascii.Error, ValueError):
        return ""


def _ngrams(words: list[str], size: int) -> Iterator[int]:
    return (hash_words(words[i : i + size]) for i in range(len(words) - size + 1))


def hash_words(words: list[str]) -> int:
    """Return an integer that is equal for equal words, in this process."""
    return hash(" ".join(words))
