"""The throw-away process: put on the sandbox, run one script, write down what happened.

Everything after `confine` runs under the sandbox and counts against the script's limits. The
process ends by `os._exit`; a script that ends it itself (`quit`, a crash) leaves no record, and
that is how it is found out. Each object that is touched here costs the copy of a page: whatever
can be done before the fork or after the end is done there.
"""

import os
import time
from typing import NoReturn

import msgspec

from mdx.lammps import postmortem
from mdx.lammps.library import Lammps, LammpsError
from mdx.lammps.run import IMAGE_NAME
from rollout_farm import libc
from rollout_farm.messages import SCRIPT_NAME, ChildRecord, Order, write_all
from rollout_farm.sandbox import Confinement, confine

_OUT_OF_MEMORY_TEXTS = ("Failed to allocate", "Failed to reallocate", "bad_alloc")
_LOG = 1
_SHORTEST_SOFT_LIMIT_S = 2  # `timer timeout` counts whole seconds


def run_child(lammps: Lammps, confinement: Confinement, order: Order, record: int) -> NoReturn:
    """Run the script in the job folder, write its `ChildRecord` to `record`, and exit."""
    try:
        confine(confinement, order.limits)
        os.closerange(3, record)  # the channel and the ruleset lie there
        outcome = _run(lammps, order)
    except MemoryError:
        outcome = ChildRecord(out_of_memory=True)
    except BaseException as error:  # the boundary: this process runs a stranger's script
        outcome = ChildRecord(defect=f"{type(error).__name__}: {error}")
    try:
        write_all(record, msgspec.json.encode(outcome))
    finally:
        os._exit(0)


def _run(lammps: Lammps, order: Order) -> ChildRecord:
    started = time.monotonic()
    soft_limit_s = int(order.limits.wall_time_s) - 1
    if soft_limit_s >= _SHORTEST_SOFT_LIMIT_S:
        _end_runs_after(lammps, soft_limit_s)
    error: str | None = None
    try:
        lammps.file(SCRIPT_NAME)
    except LammpsError as failure:
        error = str(failure)
    libc.flush_streams()
    end_of_log = os.lseek(_LOG, 0, os.SEEK_CUR)
    timed_out = time.monotonic() - started >= soft_limit_s >= _SHORTEST_SOFT_LIMIT_S
    final, note = None, None
    try:
        if order.image_pixels:
            _draw(lammps, order.image_pixels)
        if order.want_final_state:
            potential = None if error or timed_out else order.potential
            final = postmortem.final_state(lammps, potential)
    except (LammpsError, OSError, ValueError) as failure:
        note = f"{type(failure).__name__}: {failure}"
    libc.flush_streams()
    os.ftruncate(_LOG, end_of_log)  # what LAMMPS said since is not the script's
    return ChildRecord(
        error=error,
        out_of_memory=error is not None and any(t in error for t in _OUT_OF_MEMORY_TEXTS),
        timed_out=timed_out,
        final=final,
        note=note,
    )


def _draw(lammps: Lammps, pixels: int) -> None:
    """Write a picture of the system as it is now. Raises LammpsError where that cannot be."""
    if lammps.extract_setting("box_exist") != 1:
        raise LammpsError("there is no simulation box to draw")
    size = f"size {pixels} {pixels}"
    lammps.command(f"write_dump all image {IMAGE_NAME} type type {size} modify backcolor white")


def _end_runs_after(lammps: Lammps, seconds: int) -> None:
    """Have LAMMPS end runs by itself then: thermo output and probes stay whole."""
    lammps.command(f"timer timeout {seconds} every 10")
    os.ftruncate(_LOG, 0)  # what LAMMPS said about it
    os.lseek(_LOG, 0, os.SEEK_SET)
