"""The job folder: put there what a script finds; bound, read and remove what it makes of it.

A script may leave anything there: links, thousands of folders, deep nests, files that it still
writes to. Links are not followed, nothing recurses, and everything is bounded.
"""

import contextlib
import itertools
import os
import stat
from collections.abc import Collection, Iterator, Mapping

from mdx.lammps.probes import is_ours
from mdx.lammps.run import Output
from rollout_farm.messages import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILES,
    MAX_OUTPUTS_BYTES,
    write_all,
)

_MAX_DEPTH = 3  # of files that are sent back
_MAX_ENTRIES = 2000
_UNTOUCHED = 0  # modification time of files that are not the script's work
_MAX_OPEN = 500  # folders at a time; a script that makes more than 2000 is stopped before
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place(folder: str, files: Mapping[str, bytes], owner: int | None) -> None:
    """Write the files that a script finds into its new folder, as its own. Raises OSError."""
    for name, content in files.items():
        descriptor = os.open(
            os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            write_all(descriptor, content)
            if owner is not None:
                os.fchown(descriptor, owner, owner)
            os.utime(descriptor, ns=(_UNTOUCHED, _UNTOUCHED))
        finally:
            os.close(descriptor)


def collect(folder: str, given: Collection[str]) -> dict[str, Output]:
    """Return what the script wrote, by path below `folder`.

    That is neither MDX's own files nor those of `given` that the script did not touch. A file is
    cut at 1 MiB, all of them at 4 MiB.
    """
    names = os.listdir(folder)
    if all(is_ours(name) or (name in given and _is_untouched(folder, name)) for name in names):
        return {}
    outputs: dict[str, Output] = {}
    left = MAX_OUTPUTS_BYTES
    for path, name, parent in _walk(folder):
        if is_ours(name) or len(outputs) >= MAX_OUTPUT_FILES:
            continue
        output = _read(name, parent, min(left, MAX_OUTPUT_BYTES))
        if output is not None:
            outputs[os.fsencode(path).decode(errors="replace")] = output
            left -= len(output.content)
    return outputs


def is_full(folder: str) -> bool:
    """Whether the file system of `folder` has no blocks or no inodes left."""
    usage = os.statvfs(folder)
    return usage.f_bavail == 0 or usage.f_ffree == 0


def exceeds(folder: str, num_bytes: int) -> bool:
    """Whether `folder` holds more bytes than that, or more than 2000 files and folders."""
    total, num_entries = 0, 0
    folders = [os.open(folder, _FOLDER)]
    try:
        while folders:
            parent = folders.pop()
            try:
                for name in os.listdir(parent):
                    num_entries += 1
                    with contextlib.suppress(OSError):  # the script still runs: it may be gone
                        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                        total += status.st_blocks * 512
                        if stat.S_ISDIR(status.st_mode) and len(folders) < _MAX_OPEN:
                            folders.append(os.open(name, _FOLDER, dir_fd=parent))
                    if total > num_bytes or num_entries >= _MAX_ENTRIES:
                        return True
            finally:
                os.close(parent)
    finally:
        for parent in folders:
            os.close(parent)
    return False


def clear(folder: str) -> None:
    """Remove everything in `folder`, however deep: what lies in a folder is moved up first."""
    parent = os.open(folder, _FOLDER)
    numbers = itertools.count()
    new = os.urandom(8).hex()
    try:
        while names := os.listdir(parent):
            for name in names:
                if not _is_folder(name, parent):
                    os.unlink(name, dir_fd=parent)
                    continue
                child = os.open(name, _FOLDER, dir_fd=parent)
                for below in os.listdir(child):
                    _is_folder(below, child)
                    moved = f"{new}-{next(numbers)}"
                    os.rename(below, moved, src_dir_fd=child, dst_dir_fd=parent)
                os.close(child)
                os.rmdir(name, dir_fd=parent)
    finally:
        os.close(parent)


def _is_folder(name: str, parent: int) -> bool:
    """Whether it is a folder, which is then made ours to move and to look into."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        return False
    os.chmod(name, 0o700, dir_fd=parent)
    return True


def _is_untouched(folder: str, name: str) -> bool:
    return os.lstat(os.path.join(folder, name)).st_mtime_ns == _UNTOUCHED


def _walk(folder: str) -> Iterator[tuple[str, str, int]]:
    """Yield (path below `folder`, name, descriptor of the parent) of files, in name order."""
    for path, folders, names, parent in os.fwalk(folder, follow_symlinks=False):
        below = os.path.relpath(path, folder)
        folders.sort()
        if below.count(os.sep) >= _MAX_DEPTH:
            folders.clear()
        for name in sorted(names)[:_MAX_ENTRIES]:
            yield os.path.normpath(os.path.join(below, name)), name, parent


def _read(name: str, parent: int, num_bytes: int) -> Output | None:
    """Return a regular file that the script wrote, cut to `num_bytes`; None for anything else."""
    try:
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent
        )
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns == _UNTOUCHED:
            return None
        content = file.read(num_bytes)
    return Output(
        size_bytes=status.st_size, content=content, truncated=len(content) < status.st_size
    )
