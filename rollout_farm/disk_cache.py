"""Results on disk, for workers that start again and for workers that share a folder.

One file a result, named by its key: the hash of everything that the result depends on, the
machine's kind of processor and the LAMMPS build included. Each begins with the hash of its content,
so that a torn or damaged file is a miss. The folder is kept below its size by deleting what was
not asked for longest; several workers may do so at once.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from mdx.errors import UsageError

_DIGEST_BYTES = 32
_SHRINK_TO = 0.9  # of the size, so that not every new file makes for another look


class DiskCache:
    """The results in one folder. Raises UsageError where the folder cannot be written."""

    def __init__(self, folder: str, max_bytes: int):
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self._folder).close()
        except OSError as error:
            raise UsageError(f"cache.dir: {folder} cannot be written: {error}") from error
        self._num_bytes = sum(size for size, _, _ in self._files())

    def get(self, key: str) -> bytes | None:
        """Return what was stored for `key`, None where there is nothing (whole)."""
        path = self._path(key)
        try:
            stored = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Store a result. A full disk leaves it out: a cache may forget."""
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                try:
                    file.write(hashlib.sha256(content).digest() + content)
                    file.flush()
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
            self._num_bytes += _DIGEST_BYTES + len(content)
            if self._num_bytes > self._max_bytes:
                self._shrink()

    def _shrink(self) -> None:
        files = sorted(self._files(), key=lambda file: file[1])
        self._num_bytes = sum(size for size, _, _ in files)
        for size, _, path in files:
            if self._num_bytes <= _SHRINK_TO * self._max_bytes:
                return
            with contextlib.suppress(OSError):  # another user's, in a shared folder
                path.unlink(missing_ok=True)
                self._num_bytes -= size

    def _files(self) -> list[tuple[int, float, Path]]:
        """Return (size, last use, path) of every file."""
        found = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another worker may just have deleted it
                status = path.stat()
                found.append((status.st_size, status.st_mtime, path))
        return found

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key
