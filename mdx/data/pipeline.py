"""Grain pipelines: data sets -> packed batches that continue bit for bit after a restart.

The story: read a split and tokenize it once into memory; shuffle by epoch and mix with Grain; take
documents in windows; pack each window into rows (`mdx.data.packing`), shuffle the rows; cut the
endless sequence of rows into batches. Every step is a function of (data, seed, position), so the
state of an iterator is two integers, and process p of P simply takes its slice of every global
batch: the same batches come out whatever the number of processes.

Training iterators are endless. Those of other splits make one pass, in order, and fill up the last
batch with empty rows. Batches hold NumPy arrays. All processes tokenize the whole split, which is
right for corpora that fit in memory; nothing here streams from disk.
"""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import grain
import numpy as np

from mdx.chat import Message, render_conversation
from mdx.data.batch import Batch
from mdx.data.datasets import read_records
from mdx.data.packing import TokenizedDocument, best_fit, fill_batch
from mdx.data.tasks import conversation_of_record
from mdx.errors import CheckpointError, UsageError
from mdx.tokenizer import Tokenizer

_WINDOW = 1024  # documents that are packed together


def cpt_batches(
    data_dir: str,
    tokenizer_dir: str,
    *,
    split: str,
    batch_size: int,
    seq_len: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> "PackedIterator":
    """Return batches of MD-Knowledge in which every token but a document's first is a target.

    Documents end with PAD's token `<|endoftext|>`; those longer than `seq_len` are cut into
    several. `batch_size` is global, in rows: each process gets batch_size / process_count.
    """
    tokenizer = Tokenizer.load(tokenizer_dir)
    texts = [record["text"] for record in read_records(data_dir, "md_knowledge", split)]
    documents = []
    for ids in tokenizer.encode_batch(texts):
        tokens = np.asarray([*ids, tokenizer.pad_id], np.int32)
        # a cut takes the last token of the one before as its first, so that each is once a target
        starts = range(0, max(1, len(tokens) - 1), seq_len - 1)
        documents += [_document(tokens[start : start + seq_len]) for start in starts]
    rows = _Rows([documents], (1.0,), seq_len=seq_len, seed=seed, endless=split == "train")
    return PackedIterator(rows, batch_size, process_index, process_count)


def sft_batches(
    data_dir: str,
    tokenizer_dir: str,
    *,
    split: str,
    batch_size: int,
    seq_len: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    qa_share: float = 0.1,
) -> "PackedIterator":
    """Return batches of conversations in which what the assistant writes is the target.

    `qa_share` of the conversations come from MD-InstructQA, the others from MD-CodeGen, repairs
    included. Conversations are never cut: those longer than `seq_len` are left out and counted
    in `stats`. `batch_size` is global, in rows.
    """
    tokenizer = Tokenizer.load(tokenizer_dir)
    weights = {"md_code_gen": 1.0 - qa_share, "md_instruct_qa": qa_share}
    sources, dropped = [], 0
    for name in (name for name, weight in weights.items() if weight > 0):
        records = read_records(data_dir, name, split)
        every = encode_conversations(map(conversation_of_record, records), tokenizer)
        sources.append([document for document in every if len(document.tokens) <= seq_len])
        dropped += len(every) - len(sources[-1])
    shares = tuple(weight for weight in weights.values() if weight > 0)
    rows = _Rows(sources, shares, seq_len=seq_len, seed=seed, endless=split == "train")
    return PackedIterator(rows, batch_size, process_index, process_count, num_dropped=dropped)


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


@dataclass(frozen=True, kw_only=True)
class PackingStats:
    """What a pipeline holds. `padding_share` is measured on the first window of rows."""

    num_documents: int
    num_dropped: int  # conversations longer than a row
    num_tokens: int
    num_targets: int
    padding_share: float


class PackedIterator(grain.DatasetIterator[Batch]):
    """Batches of packed rows. `get_state` and `set_state` exchange a small JSON dictionary."""

    def __init__(
        self,
        rows: "_Rows",
        batch_size: int,
        process_index: int,
        process_count: int,
        *,
        num_dropped: int = 0,
    ):
        super().__init__()
        if batch_size % process_count:
            raise UsageError(
                f"batch_size must be a multiple of the {process_count} processes, not {batch_size}"
            )
        self._rows = rows
        self._batch_size = batch_size
        share = batch_size // process_count
        self._slice = slice(process_index * share, (process_index + 1) * share)
        self._num_dropped = num_dropped
        self._window = self._row = 0  # of the next row

    def __next__(self) -> Batch:
        """Return this process's rows of the next global batch."""
        rows: list[list[TokenizedDocument]] = []
        while len(rows) < self._batch_size and self._window < self._rows.num_windows:
            window = self._rows.window(self._window)
            taken = window[self._row : self._row + self._batch_size - len(rows)]
            rows += taken
            self._row += len(taken)
            if self._row == len(window):
                self._window, self._row = self._window + 1, 0
        if not rows:
            raise StopIteration
        rows += [[]] * (self._batch_size - len(rows))
        return fill_batch(rows[self._slice], self._rows.seq_len)

    def get_state(self) -> dict[str, Any]:
        """Return the position, and a fingerprint of the data and seed that it belongs to."""
        return {
            "window": self._window,
            "row": self._row,
            "fingerprint": self._rows.fingerprint,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`; raises CheckpointError if it was taken from other data."""
        if state["fingerprint"] != self._rows.fingerprint:
            raise CheckpointError(
                "the checkpoint was made with other data, another tokenizer, seed or seq_len: "
                "give back the old ones, or begin in a new run_dir"
            )
        self._window, self._row = int(state["window"]), int(state["row"])

    @property
    def stats(self) -> PackingStats:
        """Counts over all documents, and the padding of the first window."""
        documents = self._rows.documents
        rows = self._rows.window(0)
        filled = sum(len(document.tokens) for row in rows for document in row)
        return PackingStats(
            num_documents=len(documents),
            num_dropped=self._num_dropped,
            num_tokens=sum(len(document.tokens) for document in documents),
            num_targets=int(sum(document.targets[1:].sum() for document in documents)),
            padding_share=1.0 - filled / (len(rows) * self._rows.seq_len),
        )


class _Rows:
    """The sequence of packed rows as a function of the window: no state but a cache of one."""

    def __init__(
        self,
        sources: Sequence[list[TokenizedDocument]],
        weights: Sequence[float],
        *,
        seq_len: int,
        seed: int,
        endless: bool,
    ):
        self.documents = [document for source in sources for document in source]
        if not all(sources):
            raise UsageError(f"no document fits into seq_len {seq_len}: choose a longer one")
        self.seq_len = seq_len
        self._seed = seed
        self._endless = endless
        self._stream = _stream(sources, weights, seed) if endless else self.documents
        self.num_windows = 1 << 62 if endless else 1
        self.fingerprint = _fingerprint(self.documents, (seq_len, seed, endless, *weights))
        self._cached: tuple[int, list[list[TokenizedDocument]]] = (-1, [])

    def window(self, index: int) -> list[list[TokenizedDocument]]:
        """Return the rows of window `index`, each a list of documents."""
        if self._cached[0] != index:
            self._cached = (index, self._pack(index))
        return self._cached[1]

    def _pack(self, index: int) -> list[list[TokenizedDocument]]:
        if not self._endless:
            documents = self.documents
        else:
            begin = index * _WINDOW
            documents = [self._stream[i] for i in range(begin, begin + _WINDOW)]
        rows = best_fit([len(document.tokens) for document in documents], self.seq_len)
        if self._endless:
            np.random.default_rng((self._seed, index)).shuffle(rows)
        return [[documents[i] for i in row] for row in rows]


class _Shuffled:
    """The endless sequence of a source's documents, each epoch in an order of its own.

    (Grain's own shuffle draws indices one by one from 2^16 or more, rejecting those beyond the
    end: with a hundred documents that takes longer than everything else here.)
    """

    def __init__(self, documents: Sequence[TokenizedDocument], seed: tuple[int, int]):
        self._documents = documents
        self._seed = seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: SupportsIndex) -> TokenizedDocument:
        epoch, offset = divmod(int(index), len(self._documents))
        if self._order[0] != epoch:
            rng = np.random.default_rng((*self._seed, epoch))
            self._order = (epoch, rng.permutation(len(self._documents)))
        return self._documents[self._order[1][offset]]


def _stream(
    sources: Sequence[list[TokenizedDocument]], weights: Sequence[float], seed: int
) -> grain.MapDataset[TokenizedDocument]:
    """Return the endless mixture of `sources`, in which each has its share of the documents."""
    datasets = [
        grain.MapDataset.source(_Shuffled(source, (seed, number)))
        for number, source in enumerate(sources)
    ]
    return datasets[0] if len(datasets) == 1 else grain.MapDataset.mix(datasets, weights)


def _document(tokens: np.ndarray) -> TokenizedDocument:
    return TokenizedDocument(tokens=tokens, targets=np.ones(len(tokens), bool))


def _fingerprint(documents: Sequence[TokenizedDocument], facts: tuple[Any, ...]) -> str:
    digest = hashlib.sha256(repr(facts).encode())
    for document in documents:
        digest.update(len(document.tokens).to_bytes(4, "little"))
        digest.update(document.tokens.tobytes())
    return digest.hexdigest()[:16]
