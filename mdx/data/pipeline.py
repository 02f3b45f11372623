"""Grain pipelines: data sets -> packed batches that continue bit for bit after a restart.

The story: tokenize each split once into a store on disk (`mdx.data.token_store`); shuffle by epoch
and mix with Grain; take documents in windows; pack each window into rows (`mdx.data.packing`),
shuffle the rows; cut the endless sequence of rows into batches. Every step is a function of (data,
seed, position), so the state of an iterator is two integers, and a process of several takes its
rows of every global batch: the same batches come out whatever the number of processes.

Packing needs lengths alone, so a process reads only the tokens of its own rows, through a memory
map: memory does not grow with the corpus. `prefetched` makes batches ahead in a thread.

Training iterators are endless. Those of other splits make one pass, in order, and fill up the last
batch with empty rows. Batches hold NumPy arrays.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import grain
import numpy as np

from mdx.data.batch import Batch
from mdx.data.datasets import BUILDERS
from mdx.data.documents import DocumentView, conversation_view, text_view
from mdx.data.packing import TokenizedDocument, best_fit, fill_batch
from mdx.errors import CheckpointError, UsageError

_WINDOW = 1024  # documents that are packed together, at least
_WINDOW_ROWS = 128  # rows that they fill, at least: one row of a window is part empty

Item = tuple[int, int]  # source, document


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set in a mixture, with its share of the documents (shares need not add up to 1)."""

    name: str  # md_knowledge, md_instruct_qa or md_code_gen
    weight: float = 1.0
    data_dir: str = ""


def cpt_batches(
    data_dir: str,
    tokenizer_dir: str,
    *,
    split: str,
    batch_size: int,
    seq_len: int,
    seed: int,
    local_rows: Sequence[int] | None = None,
) -> "PackedIterator":
    """Return batches of MD-Knowledge in which every token but a document's first is a target.

    Documents end with PAD's token `<|endoftext|>`; those longer than `seq_len` are cut into
    several. `batch_size` is global, in rows; a process that needs only some of them says which.
    """
    return mixed_batches(
        [Source(data_dir=data_dir, name="md_knowledge")],
        tokenizer_dir,
        split=split,
        batch_size=batch_size,
        seq_len=seq_len,
        seed=seed,
        local_rows=local_rows,
    )


def sft_batches(
    data_dir: str,
    tokenizer_dir: str,
    *,
    split: str,
    batch_size: int,
    seq_len: int,
    seed: int,
    local_rows: Sequence[int] | None = None,
    qa_share: float = 0.1,
) -> "PackedIterator":
    """Return batches of conversations in which what the assistant writes is the target.

    `qa_share` of the conversations come from MD-InstructQA, the others from MD-CodeGen, repairs
    included. Conversations are never cut: those longer than `seq_len` are left out and counted
    in `stats`. `batch_size` is global, in rows.
    """
    weights = {"md_code_gen": 1.0 - qa_share, "md_instruct_qa": qa_share}
    return mixed_batches(
        [Source(data_dir=data_dir, name=n, weight=w) for n, w in weights.items() if w > 0],
        tokenizer_dir,
        split=split,
        batch_size=batch_size,
        seq_len=seq_len,
        seed=seed,
        local_rows=local_rows,
    )


def mixed_batches(
    sources: Sequence[Source],
    tokenizer_dir: str,
    *,
    split: str,
    batch_size: int,
    seq_len: int,
    seed: int,
    local_rows: Sequence[int] | None = None,
) -> "PackedIterator":
    """Return batches of several data sets, each with its weight's share of the documents.

    MD-Knowledge gives texts, all of whose tokens are targets, cut at `seq_len`; the other two give
    conversations. Raises UsageError for weights that are not positive, and missing data.
    """
    if not sources or any(not source.weight > 0 for source in sources):
        raise UsageError("a mixture needs at least one data set, each with a weight above 0")
    views = []
    for source in sources:
        if source.name not in BUILDERS:
            raise UsageError(f"a mixture is of {', '.join(BUILDERS)}, not of {source.name!r}")
        make_view = text_view if source.name == "md_knowledge" else conversation_view
        views.append(make_view(source.data_dir, source.name, split, tokenizer_dir, seq_len))
    weights = [source.weight for source in sources]
    rows = _Rows(views, weights, seq_len=seq_len, seed=seed, endless=split == "train")
    return PackedIterator(rows, batch_size, local_rows)


def prefetched(batches: "PackedIterator", depth: int = 2) -> grain.DatasetIterator[Batch]:
    """Return the same batches, up to `depth` of them made ahead in a thread.

    Its state is that of the last batch taken, whatever was made ahead. `close()` ends the thread.
    """
    return grain.experimental.ThreadPrefetchDatasetIterator(batches, depth)


@dataclass(frozen=True, kw_only=True)
class PackingStats:
    """What a pipeline holds. `padding_share` is measured on the first window of rows."""

    num_documents: int
    num_dropped: int  # conversations longer than a row
    num_tokens: int
    num_targets: int
    padding_share: float


class PackedIterator(grain.DatasetIterator[Batch]):
    """Batches of packed rows, endless for training.

    `get_state` and `set_state` carry the position in data alone: an iterator with the same
    arguments goes on with the batches that this one would have returned.
    """

    def __init__(self, rows: "_Rows", batch_size: int, local_rows: Sequence[int] | None = None):
        super().__init__()
        self._rows = rows
        self._batch_size = batch_size
        self._local_rows = range(batch_size) if local_rows is None else local_rows
        self._window = self._row = 0  # of the next row

    def __next__(self) -> Batch:
        """Return this process's rows of the next global batch."""
        rows: list[list[Item]] = []
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
        mine = [[self._rows.read(item) for item in rows[index]] for index in self._local_rows]
        return fill_batch(mine, self._rows.seq_len)

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
        views = self._rows.views
        rows = self._rows.window(0)
        filled = sum(views[source].length(index) for row in rows for source, index in row)
        return PackingStats(
            num_documents=sum(len(view) for view in views),
            num_dropped=sum(view.num_dropped for view in views),
            num_tokens=sum(view.num_tokens for view in views),
            num_targets=sum(view.num_targets for view in views),
            padding_share=1.0 - filled / (len(rows) * self._rows.seq_len),
        )


class _Rows:
    """The sequence of packed rows as a function of the window: no state but a cache of one."""

    def __init__(
        self,
        views: Sequence[DocumentView],
        weights: Sequence[float],
        *,
        seq_len: int,
        seed: int,
        endless: bool,
    ):
        if not all(len(view) for view in views):
            raise UsageError(f"no document fits into seq_len {seq_len}: choose a longer one")
        self.views = views
        self.seq_len = seq_len
        self._seed = seed
        self._endless = endless
        self._stream = _stream([len(view) for view in views], weights, seed) if endless else None
        self.num_windows = 1 << 62 if endless else 1
        facts = (seq_len, seed, endless, *weights, *(view.fingerprint for view in views))
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        self._window_size = _window_size(views, weights, seq_len)
        self._cached: tuple[int, list[list[Item]]] = (-1, [])

    def read(self, item: Item) -> TokenizedDocument:
        """Return a document."""
        source, index = item
        return self.views[source].read(index)

    def window(self, index: int) -> list[list[Item]]:
        """Return the rows of window `index`, each a list of documents."""
        if self._cached[0] != index:
            self._cached = (index, self._pack(index))
        return self._cached[1]

    def _pack(self, index: int) -> list[list[Item]]:
        items = self._items(index)
        lengths = [self.views[source].length(document) for source, document in items]
        rows = best_fit(lengths, self.seq_len)
        if self._endless:
            np.random.default_rng((self._seed, index)).shuffle(rows)
        return [[items[i] for i in row] for row in rows]

    def _items(self, index: int) -> list[Item]:
        if self._stream is None:
            return [(s, d) for s, view in enumerate(self.views) for d in range(len(view))]
        begin = index * self._window_size
        return [self._stream[i] for i in range(begin, begin + self._window_size)]


class _Shuffled:
    """The endless sequence of a source's documents, each epoch in an order of its own.

    (Grain's own shuffle draws indices one by one from 2^16 or more, rejecting those beyond the
    end: with a hundred documents that takes longer than everything else here.)
    """

    def __init__(self, source: int, num_documents: int, seed: int):
        self._source = source
        self._num_documents = num_documents
        self._seed = (seed, source)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: SupportsIndex) -> Item:
        epoch, offset = divmod(int(index), self._num_documents)
        if self._order[0] != epoch:
            rng = np.random.default_rng((*self._seed, epoch))
            self._order = (epoch, rng.permutation(self._num_documents))
        return self._source, int(self._order[1][offset])


def _stream(sizes: Sequence[int], weights: Sequence[float], seed: int) -> grain.MapDataset[Item]:
    """Return the endless mixture of sources, in which each has its share of the documents."""
    datasets = [
        grain.MapDataset.source(_Shuffled(number, size, seed)) for number, size in enumerate(sizes)
    ]
    return datasets[0] if len(datasets) == 1 else grain.MapDataset.mix(datasets, weights)


def _window_size(views: Sequence[DocumentView], weights: Sequence[float], seq_len: int) -> int:
    """Return how many documents to pack together: enough for the last row not to matter."""
    means = [view.num_tokens / len(view) for view in views]
    mean = float(np.average(means, weights=weights))
    return max(_WINDOW, round(_WINDOW_ROWS * seq_len / mean))
