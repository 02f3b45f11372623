"""Which split a document belongs to: decided by the hash of its family, never by its place.

Pages about one thing stay together: of a manual's pages (`pair_lj_cut.rst`, `pair_lj_smooth.html`)
the first two words of the name are the family (`pair_lj`), of inputs, logs and the notes beside
them the folder. So a page and its variants, or an input and its log, are never in two splits.
"""

import hashlib

from mdx.corpus.config import CorpusConfig, Kind

_BY_FOLDER = (Kind.LAMMPS_INPUT, Kind.LAMMPS_LOG, Kind.PYTHON, Kind.TEXT)


def family_of(name: str, kind: Kind) -> str:
    """Return the family of the file `name` (its path below the source)."""
    folder, _, base = name.rpartition("/")
    if kind in _BY_FOLDER and folder:
        return f"folder {folder}"
    stem = base.split(".")[0] if kind not in _BY_FOLDER else base.split(".", 1)[-1]
    return "page " + "_".join(stem.lower().replace("-", "_").split("_")[:2])


def split_of(family: str, config: CorpusConfig) -> str:
    """Return train, validation or test, by the hash of `family`."""
    percent = int(hashlib.sha256(f"{config.seed}/{family}".encode()).hexdigest()[:8], 16) % 100
    if percent < config.split.validation_percent:
        return "validation"
    held_out = config.split.validation_percent + config.split.test_percent
    return "test" if percent < held_out else "train"
