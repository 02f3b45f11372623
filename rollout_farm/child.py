"""The throw-away process: put on the sandbox, run one script, write down what happened.

Everything after `confine` runs under the sandbox, the reading of the job and the collecting of
the evidence included, and counts against the script's limits. The process ends by `os._exit`; a
script that ends it itself (`quit`, a crash) leaves no record, and that is how it is found out.
"""

import os
from typing import NoReturn

import msgspec

from mdx.lammps import postmortem, probes
from mdx.lammps.library import Lammps, LammpsError
from mdx.lammps.run import Evidence
from mdx.tasks.task import Potential
from rollout_farm import libc
from rollout_farm.messages import SCRIPT_NAME, ChildRecord, Job, Order, write_all
from rollout_farm.sandbox import Confinement, confine

_OUT_OF_MEMORY_TEXTS = ("Failed to allocate", "Failed to reallocate", "bad_alloc")
_UNTOUCHED = (0, 0)  # access and modification time of files that are not the script's work


def run_child(
    lammps: Lammps, confinement: Confinement, order: Order, job: int, record: int
) -> NoReturn:
    """Run the job in the memory file `job`, write its `ChildRecord` to `record`, and exit."""
    try:
        confine(confinement, order.limits)
        os.closerange(3, min(job, record))  # the channel and the ruleset lie there
        outcome = _run(lammps, job, order.tag)
    except MemoryError:
        outcome = ChildRecord(out_of_memory=True)
    except BaseException as error:  # the boundary: this process runs a stranger's script
        outcome = ChildRecord(defect=f"{type(error).__name__}: {error}")
    try:
        write_all(record, msgspec.json.encode(outcome))
    finally:
        os._exit(0)


def _run(lammps: Lammps, job_file: int, tag: str) -> ChildRecord:
    job = _read_job(job_file)
    _write_files(job, tag)
    error: str | None = None
    try:
        lammps.file(SCRIPT_NAME)
    except LammpsError as failure:
        error = str(failure)
    libc.flush_streams()
    evidence, note = _collect(lammps, job.potential if error is None else None, tag)
    libc.flush_streams()
    return ChildRecord(
        error=error,
        out_of_memory=any(text in (error or "") for text in _OUT_OF_MEMORY_TEXTS),
        evidence=evidence,
        note=note,
    )


def _read_job(descriptor: int) -> Job:
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.close(descriptor)
    return msgspec.msgpack.decode(content, type=Job)


def _write_files(job: Job, tag: str) -> None:
    files = probes.instrument_files(job.files, job.script, tag)
    files[SCRIPT_NAME] = probes.instrument(job.script, tag).encode()
    for name, content in files.items():
        with open(name, "wb") as file:
            file.write(content)
        os.utime(name, _UNTOUCHED)


def _collect(lammps: Lammps, potential: Potential | None, tag: str) -> tuple[Evidence, str | None]:
    """Return the evidence, as far as it can be had, and why it ends where it does."""
    evidence = Evidence()
    try:
        evidence = Evidence(runs=probes.collect(".", tag))
        final = postmortem.final_state(lammps, potential)
        return Evidence(runs=evidence.runs, final=final), None
    except (LammpsError, OSError, ValueError) as failure:
        return evidence, f"{type(failure).__name__}: {failure}"
