"""The job folder: put there what a script finds; read, with bounds, what it left behind.

Links are not followed.
"""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping

from mdx.lammps.run import Output
from rollout_farm.messages import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILES,
    MAX_OUTPUTS_BYTES,
    MAX_PROBE_BYTES,
    Leftovers,
    write_all,
)

_MAX_DEPTH = 3
_MAX_ENTRIES = 2000
_UNTOUCHED = 0  # modification time of files that are not the script's work


def place(folder: str, files: Mapping[str, bytes], owner: int | None) -> None:
    """Write the files that a script finds into its new folder, as its own."""
    for name, content in files.items():
        descriptor = os.open(
            os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        write_all(descriptor, content)
        if owner is not None:
            os.fchown(descriptor, owner, owner)
        os.utime(descriptor, ns=(_UNTOUCHED, _UNTOUCHED))
        os.close(descriptor)


def collect(folder: str, tag: str, given: Collection[str]) -> Leftovers:
    """Return the probes' file, named `tag`, and what the script wrote, by path below `folder`.

    No outputs are MDX's own files (their names hold `tag`) and those of `given` that the script did
    not touch. A file is cut at 1 MiB, all of them at 4 MiB.
    """
    names = os.listdir(folder)
    outputs: dict[str, Output] = {}
    if not all(tag in name or (name in given and _is_untouched(folder, name)) for name in names):
        outputs = _collect_outputs(folder, tag)
    parent = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        probes = _read(tag, parent, MAX_PROBE_BYTES) if tag in names else None
    finally:
        os.close(parent)
    return Leftovers(probes=probes.content if probes else b"", outputs=outputs)


def _is_untouched(folder: str, name: str) -> bool:
    return os.lstat(os.path.join(folder, name)).st_mtime_ns == _UNTOUCHED


def _collect_outputs(folder: str, tag: str) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    left = MAX_OUTPUTS_BYTES
    for path, name, parent in _walk(folder):
        if tag in name or len(outputs) >= MAX_OUTPUT_FILES:
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
        if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns == _UNTOUCHED:
            return None
        content = file.read(num_bytes)
    return Output(
        size_bytes=status.st_size, content=content, truncated=len(content) < status.st_size
    )
