"""Tokenized documents on disk: written once, then read by index with flat memory.

Each document is a stretch of one file of 32-bit words: the token id, and in the highest bit whether
the token is a training target. The file is mapped into memory, so processes of one host share its
pages, start at once, and hold only what they read.

    tokens.u32   the words of all documents, one after the other
    ends.npy     where each document ends (int64)
    store.json   counts, the sha256 of the content, and what was left out

`cached_store` makes the store of (data set files, tokenizer, rendering) the first time it is asked
for, in a folder named by a hash of these, and finds it again afterwards. A store is written beside
its place and renamed, so that a kill leaves none, and of two processes that write the same one the
later finds the first's.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mdx.data.packing import TokenizedDocument

_TARGET = np.uint32(1 << 31)
_ID = np.uint32((1 << 31) - 1)
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What a store holds."""

    num_documents: int
    num_tokens: int
    num_targets: int  # but for first tokens, which nothing precedes
    sha256: str


class TokenStore:
    """The documents of one folder that `write_store` made."""

    def __init__(self, folder: Path):
        self.facts = StoreFacts(**json.loads((folder / "store.json").read_text()))
        self._ends = np.load(folder / "ends.npy", mmap_mode="r")
        # an empty file cannot be mapped
        self._words = (
            np.memmap(folder / "tokens.u32", dtype=np.uint32, mode="r")
            if self.facts.num_tokens
            else np.empty(0, np.uint32)
        )

    def __len__(self) -> int:
        return self.facts.num_documents

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each document, int64."""
        return np.diff(self._ends, prepend=0)

    def read(self, index: int, start: int = 0, end: int | None = None) -> TokenizedDocument:
        """Return the tokens from `start` to `end` of a document."""
        first = int(self._ends[index - 1]) if index else 0
        last = int(self._ends[index]) if end is None else first + end
        words = np.asarray(self._words[first + start : last])
        return TokenizedDocument(
            tokens=(words & _ID).astype(np.int32), targets=(words & _TARGET) != 0
        )


def write_store(folder: Path, documents: Iterable[TokenizedDocument]) -> None:
    """Write `documents` into the new folder `folder`, one at a time; an existing one is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(partial, documents)
        with suppress(OSError):  # another process was first
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def cached_store(
    root: Path, identity: Iterable[str], documents: Iterator[TokenizedDocument]
) -> TokenStore:
    """Return the store of `identity` below `root`, written from `documents` if it is not there."""
    name = hashlib.sha256("\n".join((str(_FORMAT), *identity)).encode()).hexdigest()[:24]
    folder = root / name
    if not (folder / "store.json").is_file():
        write_store(folder, documents)
    return TokenStore(folder)


def cache_root(data_dir: str) -> Path:
    """Return where stores of `data_dir` are: beside it, or in a folder of one's own.

    MDX_TOKEN_CACHE names another place, such as a fast local disk; a data folder that cannot be
    written (or is not on a disk) has its stores in the user's cache.
    """
    named = os.environ.get("MDX_TOKEN_CACHE")
    if named:
        return Path(named)
    if "://" not in data_dir and os.access(data_dir, os.W_OK):
        return Path(data_dir) / "token_cache"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mdx" / "tokens"


def _write(folder: Path, documents: Iterable[TokenizedDocument]) -> None:
    ends, num_targets, digest = [], 0, hashlib.sha256()
    end = 0
    with (folder / "tokens.u32").open("wb") as file:
        for document in documents:
            words = document.tokens.astype(np.uint32) | np.where(document.targets, _TARGET, 0)
            content = words.astype("<u4").tobytes()
            file.write(content)
            digest.update(len(words).to_bytes(8, "little") + content)
            end += len(words)
            ends.append(end)
            num_targets += int(document.targets[1:].sum())
    np.save(folder / "ends.npy", np.asarray(ends, np.int64))
    facts = StoreFacts(
        num_documents=len(ends),
        num_tokens=end,
        num_targets=num_targets,
        sha256=digest.hexdigest(),
    )
    (folder / "store.json").write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")
