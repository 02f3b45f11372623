"""Read many files in processes of their own, with a journal, so that no file can stop the others.

Each file has its CPU time and its memory: a reader that exceeds the time is killed with its
process, one that exceeds the memory fails alone. CPU time, so that a busy machine keeps what an
idle one does; only a reader that waits instead of computing is killed by the clock, after
`_PATIENCE` times as much. Every outcome is a line of the journal, written before the
next is awaited. A run that was killed goes on where it stopped; a file that changed, or that other
code or settings read, is read again.
"""

import hashlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mdx.code_digest import code_digest
from mdx.corpus.clean import clean
from mdx.corpus.collect import File
from mdx.corpus.config import DuplicateConfig, FilterConfig, Kind, ReadLimits
from mdx.corpus.decode import UnreadableError
from mdx.corpus.duplicates import exact_key, signature_of, without_numbers
from mdx.corpus.quality import fault_of, language_of
from mdx.corpus.readers import load_readers, read
from mdx.journal import Journal

_CODE = ("mdx/corpus",)
_AHEAD = 64  # files a worker may have waiting
_PATIENCE = 30  # seconds by the clock for each second of CPU time


@dataclass(frozen=True, kw_only=True)
class ReadSetting:
    """What reading depends on, beside the files."""

    limits: ReadLimits
    filters: FilterConfig
    duplicates: DuplicateConfig

    @property
    def digest(self) -> str:
        """A text that changes with the settings and with the code that reads."""
        content = msgspec.json.encode(self) + code_digest(_CODE).encode()
        return hashlib.sha256(content).hexdigest()[:16]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading one file: a text, or why there is none (`reason`)."""

    key: str  # source, name, size and time of the file, and the setting
    title: str = ""
    text: str = ""
    notice: str = ""
    language: str = ""
    sha256: str = ""  # of the text
    exact: str = ""
    signature: bytes = b""
    reason: str = ""
    detail: str = ""


def read_one(file: File, key: str, setting: ReadSetting) -> Reading:
    """Read, clean and judge one file."""
    try:
        page = read(file, setting.limits)
    except UnreadableError as error:
        return Reading(key=key, reason=error.reason, detail=error.detail)
    except MemoryError:
        return Reading(key=key, reason="needs too much memory")
    except RecursionError:
        return Reading(key=key, reason="nested too deeply")
    cleaned = clean(page.text)
    language = language_of(cleaned.text)
    fault = fault_of(cleaned.text, language, setting.filters)
    compared = without_numbers(cleaned.text) if file.kind == Kind.LAMMPS_LOG else cleaned.text
    signature = signature_of(compared, setting.duplicates) if not fault else None
    return Reading(
        key=key,
        title=" ".join(page.title.split())[:200],
        text=cleaned.text,
        notice=cleaned.notice,
        language=language,
        sha256=hashlib.sha256(cleaned.text.encode()).hexdigest(),
        exact=exact_key(cleaned.text),
        signature=signature.astype(np.uint64).tobytes() if signature is not None else b"",
        reason=fault,
        detail=cleaned.text[:160] if fault else "",
    )


def _read_in_time(file: File, key: str, setting: ReadSetting) -> Reading:
    """Do `read_one`; SIGPROF ends this process, also inside a library, when its time is over."""
    signal.setitimer(signal.ITIMER_PROF, setting.limits.max_seconds)
    try:
        return read_one(file, key, setting)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


def key_of(file: File, setting: str) -> str:
    """Return what identifies the file's state; a file that is gone has a key as well."""
    try:
        status = os.lstat(file.path)
        state = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        state = "gone"
    return hashlib.sha256(f"{file.source}\0{file.name}\0{state}\0{setting}".encode()).hexdigest()


class ReadingJournal(Journal[Reading]):
    """Outcomes on disk; only their places are kept in memory."""

    def __init__(self, path: Path) -> None:
        self._places: dict[str, int] = {}
        super().__init__(path, Reading, self._remember)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> Reading:
        """Return a stored outcome."""
        return self.at(self._places[key])

    def _remember(self, place: int, reading: Reading) -> None:
        self._places[reading.key] = place


def read_missing(
    files: Sequence[File], setting: ReadSetting, journal: ReadingJournal, num_workers: int
) -> Iterator[int]:
    """Read the files that the journal lacks; yield how many of `files` are done, now and then."""
    digest = setting.digest
    missing = [(file, key) for file in files if (key := key_of(file, digest)) not in journal]
    done = len(files) - len(missing)
    yield done
    if not missing:
        return
    patience_s = _PATIENCE * setting.limits.max_seconds
    with _pool(num_workers or os.cpu_count() or 1, setting.limits) as pool:
        for batch in _batches(missing, _AHEAD):
            futures = [
                (key, pool.schedule(_read_in_time, (file, key, setting), timeout=patience_s))
                for file, key in batch
            ]
            for key, future in futures:
                journal.add(_outcome(key, future))
                done += 1
                yield done


def _outcome(key: str, future: Any) -> Reading:
    """Return the reading, or that the process which should make it did not survive."""
    from pebble import ProcessExpired

    try:
        result: Reading = future.result()
        return result
    except FutureTimeout:
        return Reading(key=key, reason="reader stood still")
    except (ProcessExpired, MemoryError) as error:
        if isinstance(error, ProcessExpired) and error.exitcode == -signal.SIGPROF:
            return Reading(key=key, reason="takes too long")
        return Reading(key=key, reason="reader died", detail=str(error))


@contextmanager
def _pool(num_workers: int, limits: ReadLimits) -> Iterator[Any]:
    from pebble import ProcessPool

    context = multiprocessing.get_context("spawn")  # a fork would copy threads of others
    pool = ProcessPool(
        max_workers=num_workers,
        max_tasks=0,
        initializer=_start_reader,
        initargs=(limits.max_memory_bytes,),
        context=context,
    )
    try:
        yield pool
    finally:
        pool.stop()
        pool.join()


def _start_reader(max_bytes: int) -> None:
    """Limit the memory, and load libraries before the time of the first file begins."""
    # a parent that ignores or blocks the signal (libtpu makes it so) hands that down
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    load_readers()


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
