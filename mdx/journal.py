"""Records on disk, one JSON line each, that a kill at any moment leaves whole.

Long work writes what it has found out to a journal, one record at a time, and goes on after a kill
with what is missing.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

from mdx.errors import UsageError

T = TypeVar("T")


class Journal(Generic[T]):
    """A file of records of one kind that only grows; a last line torn by a kill is cut off.

    Args:
        path: the file; its folder is made.
        kind: the records' class, a msgspec struct or a dataclass.
        found: called with the place and the record of each line that is there, in order, and then
            of each that is added.

    Raises UsageError where the folder cannot be written, another process has the journal, or it
    holds something else.
    """

    def __init__(self, path: Path, kind: type[T], found: Callable[[int, T], None]):
        self._kind, self._found = kind, found
        self._file = _open_alone(path)
        try:
            self._end = self._read(path)
            os.ftruncate(self._file, self._end)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        os.close(self._file)

    def add(self, record: T) -> int:
        """Write a record and return its place; a kill after this returns cannot lose it."""
        place, rest = self._end, msgspec.json.encode(record) + b"\n"
        self._end += len(rest)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._found(place, record)
        return place

    def at(self, place: int) -> T:
        """Return the record at a place."""
        with os.fdopen(os.dup(self._file), "rb") as lines:
            lines.seek(place)
            return msgspec.json.decode(lines.readline(), type=self._kind)

    def _read(self, path: Path) -> int:
        """Return where the whole lines end."""
        end = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = msgspec.json.decode(line, type=self._kind)
                except msgspec.DecodeError as error:
                    raise UsageError(
                        f"{path} must hold what this command wrote, but line {number} does not "
                        f"({error}): move the file away"
                    ) from error
                self._found(end, record)
                end += len(line)
        return end


def _open_alone(path: Path) -> int:
    """Open `path` to read and append, unless another process has it open."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError(
            f"out_dir must be a folder that can be written, but {path.parent} is not: "
            f"{error.strerror}"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise UsageError(f"another build is writing to {path.parent}: wait for it") from error
    return file
