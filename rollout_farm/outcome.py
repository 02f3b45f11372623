"""From what a child left behind to a `RunResult` in the words of the user's own script.

The status comes from the kernel (signals, limits) and from the child's record, never from the
log. The log is only shown to people and asked where an error happened, with MDX's probe lines
taken out: a message must make sense beside the script that the user wrote.
"""

import dataclasses
import fnmatch
import signal
from collections.abc import Mapping, Sequence

import msgspec

from mdx.lammps.log import find_error, parse_thermo
from mdx.lammps.probes import PROBED, strip_probes
from mdx.lammps.run import (
    Evidence,
    Output,
    RunLimits,
    RunRequest,
    RunResult,
    RunStatus,
    Timings,
)
from mdx.lammps.script import Script
from rollout_farm.messages import ChildRecord, Hello
from rollout_farm.sandbox import required_missing
from rollout_farm.screening import may_be_refused, refuse
from rollout_farm.slot import Finished, SlotLostError

_DENIED = (
    "denied by the sandbox: a script may not start programs (shell, gzip pipes), open network "
    "connections or signal processes"
)
_NO_RECORD = "the script ended the simulation itself (quit): no result was recorded"
_NO_SPACE = "No space left on device"  # to a dump, while the kernel still counts a page as free
_MAX_SCREENED_CHARS = 1 << 16
_OUT_OF_MEMORY_TEXTS = (b"bad_alloc", b"Failed to allocate", b"Failed to reallocate")


def to_result(
    request: RunRequest, finished: Finished, *, queue_s: float, hello: Hello
) -> RunResult:
    """Return the result of a finished run, with all its outputs and no reward yet.

    Raises SlotLostError where the child was killed from outside: no script is to blame for that.
    """
    record = _decode(finished)
    status, error = _status(request, finished, record)
    report = finished.report
    log = strip_probes(finished.log.decode(errors="replace"))
    failed_command = None
    if status is not RunStatus.OK:
        found = find_error(log) if status is RunStatus.ERROR else None
        where = _until_last_run(log) if record and record.timed_out else log
        failed_command = found[1] if found and found[1] else _last_command(request.script, where)
    note = record.note if record else None
    return RunResult(
        status=status,
        error=strip_probes(error) if error else None,
        failed_command=failed_command,
        thermo=parse_thermo(log),
        log=(log + (f"[mdx] incomplete evidence: {note}\n" if note else ""))[
            -request.limits.log_bytes :
        ],
        outputs=finished.leftovers.outputs,
        evidence=record.evidence if record else Evidence(),
        timings=Timings(queue_s=queue_s, wall_s=report.wall_s, cpu_s=report.cpu_s),
        sandbox=sandbox_stamp(hello),
        lammps_version=hello.lammps_version,
    )


def refused(request: RunRequest, hello: Hello) -> RunResult | None:
    """Return the result of a request that is not run: its script says what will be denied.

    A long script is left to the sandbox: parsing takes a second a megabyte, and others wait.
    """
    if len(request.script) > _MAX_SCREENED_CHARS or not may_be_refused(request.script):
        return None
    found = refuse(Script.parse(request.script))
    if found is None:
        return None
    return RunResult(
        status=RunStatus.SCREENED,
        error=found[1],
        failed_command=found[0],
        sandbox=sandbox_stamp(hello),
        lammps_version=hello.lammps_version,
    )


def sandbox_stamp(hello: Hello) -> tuple[str, ...]:
    """Return the layers that held, led by `unsandboxed` where they are not enough."""
    missing = required_missing(hello.layers)
    return (("unsandboxed",) if missing else ()) + hello.layers


def wanted_outputs(outputs: Mapping[str, Output], patterns: Sequence[str]) -> Mapping[str, Output]:
    """Return the outputs whose path matches one of the glob patterns."""
    return {
        path: _as_without_probes(output)
        for path, output in outputs.items()
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }


def _as_without_probes(output: Output) -> Output:
    """Return a file without what the probes left in it, as in a log that the script opened."""
    if not any(name.encode() in output.content for name in PROBED.values()):
        return output
    text = output.content.decode("utf-8", errors="surrogateescape")
    content = strip_probes(text).encode("utf-8", errors="surrogateescape")
    return dataclasses.replace(output, content=content)


def _decode(finished: Finished) -> ChildRecord | None:
    """Return the child's record if it is one: it is the work of an untrusted process."""
    if not finished.leftovers.record or finished.report.exit_signal or finished.report.exit_code:
        return None
    try:
        record = msgspec.json.decode(finished.leftovers.record, type=ChildRecord)
        msgspec.msgpack.encode(record)  # it takes no integers that are too large for a float
        return record
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        return ChildRecord(unreadable=str(error))


def _status(
    request: RunRequest, finished: Finished, record: ChildRecord | None
) -> tuple[RunStatus, str | None]:
    """Return the status and the error text, in order of what is known best."""
    report, limits = finished.report, request.limits
    if report.killed_for == "timeout" or report.exit_signal == signal.SIGXCPU:
        return RunStatus.TIMEOUT, _over_time(limits)
    if (
        report.killed_for == "output_limit"
        or report.storage_full
        or report.exit_signal == signal.SIGXFSZ
        or (record and _NO_SPACE in (record.error or ""))
    ):
        size_mb = limits.output_bytes / 2**20
        return RunStatus.OUTPUT_LIMIT, f"the script wrote more than {size_mb:g} MiB or 2000 files"
    if report.exit_signal == signal.SIGSYS:
        return RunStatus.SCREENED, _DENIED
    if (
        report.killed_for == "out_of_memory"
        or (record and record.out_of_memory)
        or (record is None and _ran_out_of_memory(finished))
    ):
        size_mb = limits.memory_bytes / 2**20
        return RunStatus.OUT_OF_MEMORY, f"the script needs more than {size_mb:g} MiB of memory"
    if record is not None:
        if record.defect:
            raise SlotLostError(f"the process that runs the script failed: {record.defect}")
        if record.unreadable:
            return RunStatus.CRASHED, f"the script left no readable result: {record.unreadable}"
        if record.timed_out:  # also where a later command failed for it
            return RunStatus.TIMEOUT, _over_time(limits)
        if record.error:
            return RunStatus.ERROR, record.error
        return RunStatus.OK, None
    if report.exit_signal == signal.SIGKILL:
        raise SlotLostError("the child was killed from outside")
    if report.exit_signal:
        name = signal.strsignal(report.exit_signal)
        return RunStatus.CRASHED, f"LAMMPS crashed: {name}"
    return RunStatus.CRASHED, _NO_RECORD


def _over_time(limits: RunLimits) -> str:
    return (
        f"the script ran into its limit of {limits.wall_time_s:g} s wall time "
        f"or {limits.cpu_time_s:g} s CPU time"
    )


def _ran_out_of_memory(finished: Finished) -> bool:
    end = finished.log[-4096:]
    return finished.report.exit_signal in (signal.SIGABRT, signal.SIGSEGV) and any(
        text in end for text in _OUT_OF_MEMORY_TEXTS
    )


def _until_last_run(log: str) -> str:
    """Return the log up to the end of the last run: the one that `timer timeout` cut short."""
    return log[: log.rfind("\nLoop time of")] if "\nLoop time of" in log else log


def _last_command(script: str, log: str) -> str | None:
    """Return the last line of the log that is a line of the script: the command that ran last."""
    commands = {" ".join(line.split()) for line in script.splitlines()} - {""}
    for line in reversed(log.splitlines()):
        if " ".join(line.split()) in commands:
            return line.strip()
    return None
