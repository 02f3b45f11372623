"""The files that a script left behind, read with bounds and without following links."""

import contextlib
import os
import stat
from collections.abc import Iterator

import msgspec

from mdx.lammps.run import Output
from rollout_farm.messages import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILES,
    MAX_OUTPUTS_BYTES,
    Outputs,
)

_MAX_DEPTH = 3
_MAX_ENTRIES = 2000


def collect(folder: str, tag: str) -> bytes:
    """Return the script's outputs as msgpack of `Outputs`, keyed by path below `folder`.

    Left out are MDX's own files (their names hold `tag`) and those that the child put there and
    the script did not touch (modification time 0). A file is cut at 1 MiB, all of them at 4 MiB.
    """
    outputs: Outputs = {}
    left = MAX_OUTPUTS_BYTES
    for path, name, parent in _walk(folder):
        if tag in name or len(outputs) >= MAX_OUTPUT_FILES:
            continue
        output = _read(name, parent, min(left, MAX_OUTPUT_BYTES))
        if output is not None:
            outputs[os.fsencode(path).decode(errors="replace")] = output
            left -= len(output.content)
    return msgspec.msgpack.encode(outputs)


def is_full(folder: str) -> bool:
    """Whether the file system of `folder` has no blocks or no inodes left."""
    usage = os.statvfs(folder)
    return usage.f_bavail == 0 or usage.f_ffree == 0


def exceeds(folder: str, num_bytes: int) -> bool:
    """Whether `folder` holds more bytes than that, or more files than a script may make."""
    total = 0
    for index, (_, name, parent) in enumerate(_walk(folder)):
        with contextlib.suppress(OSError):  # the script still runs and may just have removed it
            total += os.stat(name, dir_fd=parent, follow_symlinks=False).st_blocks * 512
        if total > num_bytes or index >= _MAX_ENTRIES - 1:
            return True
    return False


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
        if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns == 0:
            return None
        content = file.read(num_bytes)
    return Output(
        size_bytes=status.st_size, content=content, truncated=len(content) < status.st_size
    )
