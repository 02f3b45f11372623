"""Documents of a data set as a pipeline reads them: tokenized once, cut or left out by length.

Texts (MD-Knowledge) end with PAD's token and are cut at the length of a row; conversations are
never cut: those that are too long are left out. Both are views of a store on disk that holds them
whole, so one store serves every length of row.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

import mdx.chat
from mdx.chat import END_OF_TURN, Message, render_conversation
from mdx.code_digest import code_digest
from mdx.data.datasets import folder_of, iter_records, open_source
from mdx.data.packing import TokenizedDocument
from mdx.data.tasks import conversation_of_record
from mdx.data.token_store import TokenStore, cache_root, cached_store
from mdx.errors import UsageError
from mdx.tokenizer import Tokenizer

_CHUNK = 512  # records that are tokenized at once


class DocumentView:
    """Pieces of a store's documents: piece i is tokens starts[i] : starts[i] + lengths[i]."""

    def __init__(
        self,
        store: TokenStore,
        documents: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        num_dropped: int = 0,
    ):
        self._store = store
        self._documents = documents
        self._starts = starts
        self._lengths = lengths
        self.num_dropped = num_dropped  # documents left out

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def fingerprint(self) -> str:
        """Stands for the content of the whole store."""
        return self._store.facts.sha256

    @property
    def num_tokens(self) -> int:
        """Tokens of all pieces."""
        return int(self._lengths.sum())

    @property
    def num_targets(self) -> int:
        """Targets of all pieces; this reads them."""
        return sum(int(self.read(i).targets[1:].sum()) for i in range(len(self)))

    def length(self, index: int) -> int:
        """Return the tokens of a piece."""
        return int(self._lengths[index])

    def read(self, index: int) -> TokenizedDocument:
        """Return a piece."""
        start = int(self._starts[index])
        return self._store.read(int(self._documents[index]), start, start + self.length(index))


def text_view(
    data_dir: str, name: str, split: str, tokenizer_dir: str, seq_len: int
) -> DocumentView:
    """Return the texts of a split, cut into pieces of at most `seq_len` tokens.

    A piece takes the last token of the one before as its first, so that each is once a target.
    """

    def documents() -> Iterator[TokenizedDocument]:
        tokenizer = Tokenizer.load(tokenizer_dir)
        texts = (record["text"] for record in iter_records(data_dir, name, split))
        for some in _chunks(texts):
            for ids in tokenizer.encode_batch(some):
                tokens = np.asarray([*ids, tokenizer.pad_id], np.int32)
                yield TokenizedDocument(tokens=tokens, targets=np.ones(len(tokens), bool))

    store = _store(data_dir, name, split, tokenizer_dir, documents())
    lengths = store.lengths
    counts = -(-np.maximum(lengths - 1, 1) // (seq_len - 1))
    owners = np.repeat(np.arange(len(store)), counts)
    pieces = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = pieces * (seq_len - 1)
    return DocumentView(store, owners, starts, np.minimum(seq_len, lengths[owners] - starts))


def conversation_view(
    data_dir: str, name: str, split: str, tokenizer_dir: str, seq_len: int
) -> DocumentView:
    """Return the conversations of a split that have at most `seq_len` tokens."""

    def documents() -> Iterator[TokenizedDocument]:
        tokenizer = Tokenizer.load(tokenizer_dir)
        if tokenizer.encode(END_OF_TURN) != [tokenizer.eos_id]:
            raise UsageError(
                f"conversations end turns with {END_OF_TURN}, but the tokenizer in {tokenizer_dir} "
                "has no such token, so the end would never be learnt: add it as a special token"
            )
        for some in _chunks(iter_records(data_dir, name, split)):
            yield from encode_conversations(map(conversation_of_record, some), tokenizer)

    store = _store(data_dir, name, split, tokenizer_dir, documents())
    lengths = store.lengths
    (fitting,) = np.nonzero(lengths <= seq_len)
    return DocumentView(
        store, fitting, np.zeros_like(fitting), lengths[fitting], len(store) - len(fitting)
    )


def encode_conversations(
    conversations: Iterable[Sequence[Message]], tokenizer: Tokenizer
) -> list[TokenizedDocument]:
    """Return each conversation (a list of messages) as a document, cut after its last target."""
    segments = [render_conversation(messages)[:-1] for messages in conversations]
    encoded = iter(tokenizer.encode_batch([text for parts in segments for text, _ in parts]))
    documents = []
    for parts in segments:
        tokens: list[int] = []
        targets: list[bool] = []
        for _, is_target in parts:
            ids = next(encoded)
            tokens += ids
            targets += [is_target] * len(ids)
        documents.append(
            TokenizedDocument(
                tokens=np.asarray(tokens, np.int32), targets=np.asarray(targets, bool)
            )
        )
    return documents


def _store(
    data_dir: str,
    name: str,
    split: str,
    tokenizer_dir: str,
    documents: Iterator[TokenizedDocument],
) -> TokenStore:
    """Return the store of a split, keyed by its files, the tokenizer and the code that renders."""
    open_source(data_dir, name, split)  # says what is missing
    files = [
        f"{file.name} {file.stat().length} {file.stat().mtime}"
        for file in sorted(folder_of(data_dir, name).glob(f"{name}-{split}.*"))
    ]
    parts = [Path(tokenizer_dir) / file for file in ("tokenizer.json", "tokenizer_config.json")]
    Tokenizer.load(tokenizer_dir)  # says what is missing
    code = [Path(mdx.chat.__file__).read_bytes(), *(part.read_bytes() for part in parts)]
    identity = [
        str(folder_of(data_dir, name)),
        *files,
        code_digest(("mdx/data",)),
        *(hashlib.sha256(content).hexdigest() for content in code),
    ]
    return cached_store(cache_root(data_dir), identity, documents)


def _chunks(items: Iterable) -> Iterator[list]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
