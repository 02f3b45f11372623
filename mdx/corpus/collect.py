"""Find the files of a source: in one order, without following links, with every oddity named.

Nothing is opened here but folders. Links are never followed (they may lead out of the source or in
circles, and what they lead to inside is found anyway), and only regular files are read.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mdx.corpus.config import Kind, SourceConfig
from mdx.errors import UsageError

_SUFFIXES = {
    ".rst": Kind.RST,
    ".html": Kind.HTML,
    ".htm": Kind.HTML,
    ".md": Kind.MARKDOWN,
    ".markdown": Kind.MARKDOWN,
    ".pdf": Kind.PDF,
    ".py": Kind.PYTHON,
    ".txt": Kind.TEXT,
}
_INPUT_SUFFIXES = (".in", ".lmp", ".lammps")
_LOG_SUFFIXES = (".log", ".screen")
_OTHER = re.compile(r"\.(c|cpp|h|hpp|cu|f90|f|sh|java|js|css|json|yaml|yml|xml|png|jpg|data)$")


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to read. `name` is its path below the source's folder, with forward slashes."""

    source: str
    name: str
    path: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file that gives no document, and why."""

    source: str
    name: str
    reason: str
    detail: str = ""


def kind_of(name: str) -> Kind | None:
    """Tell a file's kind from its name; None for what MDX has no reader for."""
    base = name.rsplit("/", 1)[-1].lower().removesuffix(".gz")
    suffix = os.path.splitext(base)[1]
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if _OTHER.search(base):
        return None
    if base.startswith("log.") or suffix in _LOG_SUFFIXES:
        return Kind.LAMMPS_LOG
    if base.startswith("in.") or suffix in _INPUT_SUFFIXES:
        return Kind.LAMMPS_INPUT
    return Kind.TEXT if base.startswith("readme") else None


def collect(source: SourceConfig, root: str, max_files: int) -> Iterator[File | Skipped]:
    """Yield the files of `source` sorted by name, and what is skipped.

    Raises UsageError where the source's path does not exist or a kind is unknown.
    """
    unknown = set(source.kinds) - set(Kind)
    if unknown:
        raise UsageError(
            f"source {source.name!r}: kinds must be among {', '.join(Kind)}, not {min(unknown)!r}"
        )
    top = Path(root) / source.path
    if not top.exists():
        raise UsageError(f"source {source.name!r}: {top} does not exist")
    num_files = 0
    for name, path, oddity in _walk(top):
        kind = kind_of(name)
        if kind is None and not oddity:
            continue
        if not _wanted(source, name, kind):
            continue
        if oddity or kind is None:
            yield Skipped(source=source.name, name=name, reason=oddity)
        elif num_files >= max_files:
            yield Skipped(source=source.name, name=name, reason="too many files")
        else:
            num_files += 1
            yield File(source=source.name, name=name, path=path, kind=kind)
    if not num_files:
        yield Skipped(source=source.name, name=source.path, reason="nothing to read")


def _wanted(source: SourceConfig, name: str, kind: Kind | None) -> bool:
    if source.kinds and kind is not None and kind not in source.kinds:
        return False
    if any(fnmatch(name, pattern) for pattern in source.exclude):
        return False
    return not source.patterns or any(fnmatch(name, pattern) for pattern in source.patterns)


def _walk(top: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (name, path, what is odd about it) of everything below `top`, sorted by name."""
    if top.is_file():
        yield top.name, str(top), ""
        return
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield _below(folder, top), str(folder), f"unreadable folder: {error.strerror}"
            continue
        if not entries:
            yield _below(folder, top), str(folder), "empty folder"
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield _below(Path(entry.path), top), entry.path, _oddity(entry)
        folders = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        pending += reversed(folders)


def _oddity(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "symbolic link"
    return "" if entry.is_file(follow_symlinks=False) else "not a regular file"


def _below(path: Path, top: Path) -> str:
    """Return the path below `top`; what is no UTF-8 in a file's name is shown escaped."""
    name = path.relative_to(top).as_posix()
    return name.encode("utf-8", "backslashreplace").decode("utf-8") if name != "." else "."
