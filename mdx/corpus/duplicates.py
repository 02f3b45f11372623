"""Find documents that repeat another one: exactly, or nearly, by MinHash and LSH.

Two documents are near-duplicates where the Jaccard similarity of their sets of word shingles,
estimated from MinHash signatures (Broder 1997), reaches the threshold. Locality-sensitive hashing
(datasketch) finds the candidates without comparing all pairs. The first in the order of the corpus
stays. Memory: a signature of 8 bytes a permutation for each document, never the texts.
"""

import hashlib
import re
import zlib

import numpy as np
from datasketch import MinHash, MinHashLSH

from mdx.corpus.config import DuplicateConfig
from mdx.corpus.quality import words_of

Signature = np.ndarray  # [num_permutations] uint64
_NUMBERS = re.compile(r"\S*\d\S*")
_SCHEME = "affine32"  # how datasketch permutes 32-bit hashes


def exact_key(text: str) -> str:
    """Return a digest that is equal for texts of equal words."""
    return hashlib.sha256(" ".join(words_of(text)).encode()).hexdigest()


def without_numbers(text: str) -> str:
    """Return `text` without words that hold a digit.

    Two logs that differ in these alone, as those of one input on one and on four processors, say
    the same.
    """
    return _NUMBERS.sub(" ", text)


def signature_of(text: str, config: DuplicateConfig) -> Signature:
    """Return the MinHash signature of the shingles of `text`."""
    words = words_of(text)
    size = min(config.shingle_words, max(len(words), 1))
    shingles = {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}
    hashes = [zlib.crc32(shingle.encode()) for shingle in shingles]
    sketch = MinHash(num_perm=config.num_permutations, hashfunc=int, scheme=_SCHEME)
    if hashes:
        sketch.update_batch(hashes)
    return np.asarray(sketch.hashvalues)


class DuplicateFinder:
    """Tells of each document whether an earlier one says the same."""

    def __init__(self, config: DuplicateConfig) -> None:
        self._config = config
        self._lsh = MinHashLSH(threshold=config.threshold, num_perm=config.num_permutations)
        self._signatures: dict[str, MinHash] = {}
        self._ranks: dict[str, int] = {}
        self._exact: dict[str, str] = {}

    def original_of(self, name: str, key: str, signature: Signature) -> tuple[str, bool] | None:
        """Return (the earlier document that this one repeats, whether exactly), else remember it.

        `key` is the document's `exact_key`, `signature` its `signature_of`.
        """
        if key in self._exact:
            return self._exact[key], True
        size = self._config.num_permutations
        sketch = MinHash(num_perm=size, hashfunc=int, hashvalues=signature, scheme=_SCHEME)
        for other in sorted(self._lsh.query(sketch), key=self._ranks.__getitem__):
            if sketch.jaccard(self._signatures[other]) >= self._config.threshold:
                return other, False
        self._exact[key] = name
        self._signatures[name] = sketch
        self._ranks[name] = len(self._ranks)
        self._lsh.insert(name, sketch)
        return None
