"""The throw-away process: put on the sandbox, run one script, write down what happened.

Everything after the sandbox's steps runs under the sandbox and counts against the script's limits.
The process ends by `os._exit`; a script that ends it itself (`quit`, a crash) leaves no record, and
that is how it is found out. Each object that is touched here costs the copy of a page: whatever
can be done before the fork or after the end is done there.
"""

import ctypes
import itertools
import math
import mmap
import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from mdx.lammps import postmortem
from mdx.lammps.library import Lammps, LammpsError
from mdx.lammps.recorder import Recorder
from mdx.lammps.run import IMAGE_NAME, Evidence, RunLimits
from rollout_farm import libc
from rollout_farm.messages import MAX_RECORD_BYTES, SCRIPT_NAME, ChildRecord, Order
from rollout_farm.sandbox import NO_PID

_OUT_OF_MEMORY_TEXTS = ("Failed to allocate", "Failed to reallocate", "bad_alloc")
_LOG = 1
_SHORTEST_SOFT_LIMIT_S = 2
_MAX_DESCRIPTORS = 256
_NUM_REHEARSALS = 10  # Python 3.11 makes a function faster at its eighth call
_REHEARSAL = """units lj
lattice fcc 0.8442
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 1.2
pair_coeff 1 1 1.0 1.0
fix 1 all nve
"""
_LENGTH = struct.Struct("q")
_PLAIN = ChildRecord()  # of a script that reached its end, where nobody wants evidence


class LogEnd:
    """Where the script's part of the log ends."""

    def __init__(self) -> None:
        self._position: int | None = None

    def note(self) -> None:
        """Remember how long the log is, unless that was done: the rest is not the script's."""
        if self._position is None:
            libc.flush_streams()
            self._position = os.lseek(_LOG, 0, os.SEEK_CUR)

    def cut(self) -> None:
        """Drop what LAMMPS said since."""
        libc.flush_streams()
        os.ftruncate(_LOG, self._position or 0)


class RecordMemory:
    """Memory that a zygote shares with its children, for one `ChildRecord` after the other.

    It has no descriptor: what /proc lists of a process can be opened by a script where no
    namespace hides it.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _LENGTH.size + MAX_RECORD_BYTES)
        self._address = ctypes.byref(ctypes.c_char.from_buffer(self._shared))

    def clear(self) -> None:
        """Forget what the last child wrote."""
        _LENGTH.pack_into(self._shared, 0, 0)

    def write(self, record: ChildRecord) -> None:
        """Write a record; one that is too long says only that."""
        content = msgspec.json.encode(record)
        if len(content) > MAX_RECORD_BYTES:
            note = f"its record had {len(content)} bytes"
            content = msgspec.json.encode(replace(record, evidence=Evidence(), note=note))
        self._shared[_LENGTH.size : _LENGTH.size + len(content)] = content
        _LENGTH.pack_into(self._shared, 0, len(content))

    def write_call(self, record: ChildRecord) -> libc.Call:
        """Prepare to write a short record."""
        content = msgspec.json.encode(record)
        whole = _LENGTH.pack(len(content)) + content
        return libc.call("memmove", self._address, whole, ctypes.c_size_t(len(whole)))

    def read(self) -> bytes:
        """Return what the child wrote, empty if it wrote nothing."""
        (length,) = _LENGTH.unpack_from(self._shared)
        return self._shared[_LENGTH.size : _LENGTH.size + min(max(length, 0), MAX_RECORD_BYTES)]


def prepare_child(
    lammps: Lammps,
    recorder: Recorder,
    log_end: LogEnd,
    own_pid: "ctypes.Array[ctypes.c_uint32]",
    steps: tuple[libc.Call, ...],
    order: Order,
    ends_at_s: float | None,
    record: RecordMemory,
    *,
    close: Callable[[int, int], None] = os.closerange,
    leave: Callable[[int], object] = os._exit,
) -> Callable[[], None]:
    """Return what a forked child calls at once: it runs the script in the job folder and exits.

    It leaves a `ChildRecord` in `record`. What a script needs that reaches its end, and of which
    nobody wants evidence, is looked up here, before the fork. `own_pid` and `steps` are those of
    the sandbox.
    """
    run_script, has_error = lammps.file_call(SCRIPT_NAME), lammps.has_error_call()
    flush, write_plain = libc.flush_streams_call(), record.write_call(_PLAIN)
    get_pid, now = os.getpid, time.monotonic
    is_plain = not (order.want_evidence or order.image_pixels)
    soft_end_s = math.inf if ends_at_s is None else ends_at_s

    def child() -> None:
        try:
            own_pid[0] = get_pid()
            for step in steps:
                if step() < 0:
                    libc.make([step])  # once more, for the error's name
            close(_LOG + 2, _MAX_DESCRIPTORS)  # the channel and the ruleset lie there
            run_script()
            if is_plain and not has_error() and now() < soft_end_s:
                flush()
                write_plain()
            else:
                record.write(_outcome(lammps, recorder, log_end, order, soft_end_s))
        except MemoryError:
            record.write(ChildRecord(out_of_memory=True))
        except BaseException as error:  # the boundary: this process runs a stranger's script
            record.write(ChildRecord(defect=f"{type(error).__name__}: {error}"))
        finally:
            leave(0)

    return child


class _Rehearsed(Lammps):
    """An instance without commands of MDX's, which LAMMPS knows once a process: it calls them."""

    def __init__(self, arguments: tuple[str, ...]):
        super().__init__(arguments)
        self._functions: list[Callable[[list[str]], None]] = []

    def add_command(self, name: str, function: Callable[[list[str]], None]) -> None:
        """Remember a function for `file_call`."""
        self._functions.append(function)

    def file_call(self, path: str) -> Callable[[], None]:
        """Prepare to run a script, and then each function with the arguments of a short run."""
        run_script, has_error = super().file_call(path), self.has_error_call()

        def rehearsed() -> None:
            run_script()
            if not has_error():
                for function, words in zip(self._functions, ("10", "0 0 1 1"), strict=True):
                    function(words.split())

        return rehearsed


def rehearse(arguments: tuple[str, ...], folder: str) -> None:
    """Do here, with instances of its own, what children do, so that they find it done.

    Python makes code faster after a few calls and remembers where it found attributes; children
    that had to learn it anew would write to pages, and copy them, all over the heap.
    """
    here, log, stdout = os.getcwd(), os.memfd_create("rehearsal"), os.dup(_LOG)
    os.chdir(folder)
    os.dup2(log, _LOG)
    record, orders = RecordMemory(), (Order(number=0), Order(number=0, want_evidence=False))
    try:
        for text, order in itertools.product((_REHEARSAL, "nonsense\n"), orders * _NUM_REHEARSALS):
            with open(SCRIPT_NAME, "w", encoding="utf-8") as script:
                script.write(text)
            lammps, log_end = _Rehearsed(arguments), LogEnd()
            run = prepare_child(
                lammps,
                Recorder(lammps, on_error=log_end.note),
                log_end,
                NO_PID,
                (),
                order,
                end_runs_after(lammps, RunLimits().wall_time_s),
                record,
                close=lambda *_: None,
                leave=lambda _: None,
            )
            run()
            lammps.close()
        os.unlink(SCRIPT_NAME)
    finally:
        os.dup2(stdout, _LOG)
        os.close(stdout)
        os.close(log)
        os.chdir(here)


def end_runs_after(lammps: Lammps, wall_time_s: float) -> float | None:
    """Have LAMMPS end runs a second before a script's wall time is over, counted from now.

    Thermo output and probes stay whole then. Returns when that is, None where it is too soon.
    """
    now, soft_limit_s = time.monotonic(), int(wall_time_s) - 1  # LAMMPS counts whole seconds
    if soft_limit_s < _SHORTEST_SOFT_LIMIT_S:
        lammps.command("timer timeout off")
        return None
    lammps.command(f"timer timeout {soft_limit_s} every 10")
    return now + soft_limit_s


def _outcome(
    lammps: Lammps, recorder: Recorder, log_end: LogEnd, order: Order, soft_end_s: float
) -> ChildRecord:
    """Return what a script came to that has just been run."""
    error: str | None = None
    try:
        lammps.raise_error()
    except LammpsError as failure:
        error = recorder.error or str(failure)
    log_end.note()
    timed_out = time.monotonic() >= soft_end_s
    evidence, note = Evidence(), None
    if order.want_evidence or order.image_pixels:
        evidence, note = _look(lammps, recorder, order, whole=not (error or timed_out))
        log_end.cut()
    return ChildRecord(
        error=error,
        out_of_memory=error is not None and any(t in error for t in _OUT_OF_MEMORY_TEXTS),
        timed_out=timed_out,
        evidence=evidence,
        note=note,
    )


def _look(
    lammps: Lammps, recorder: Recorder, order: Order, *, whole: bool
) -> tuple[Evidence, str | None]:
    """Return the evidence, as far as it can be had, and why it is not all.

    After an error (not `whole`) nothing is run on a state LAMMPS may have left half-built.
    """
    evidence = Evidence()
    try:
        if order.image_pixels:
            _draw(lammps, order.image_pixels)
        if order.want_evidence:
            evidence = Evidence(runs=recorder.finish())
            final = postmortem.final_state(lammps, order.potential if whole else None)
            evidence = Evidence(runs=evidence.runs, final=final)
    except (LammpsError, OSError, ValueError) as failure:
        return evidence, f"{type(failure).__name__}: {failure}"
    return evidence, recorder.note


def _draw(lammps: Lammps, pixels: int) -> None:
    """Write a picture of the system as it is now. Raises LammpsError where that cannot be."""
    if lammps.extract_setting("box_exist") != 1:
        raise LammpsError("there is no simulation box to draw")
    size = f"size {pixels} {pixels}"
    lammps.command(f"write_dump all image {IMAGE_NAME} type type {size} modify backcolor white")
