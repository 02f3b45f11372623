"""The zygote: one bare process per slot that has LAMMPS ready and forks a child per script.

    python -I -c BOOT ROOT SETTINGS        (rollout_farm.slot starts it)

Start-up: load the libraries, enter the namespaces, MPI_Init, open one LAMMPS instance, prove the
sandbox, say `Hello`. Then, one at a time: take an `Order`, fork, watch the child's time and
files, report. It holds no secret and never sees a task's checks. It ends when its worker does:
the channel then reads end-of-file.
"""

import contextlib
import dataclasses
import functools
import gc
import os
import socket
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import msgspec

from mdx.errors import MdxError
from mdx.lammps.library import Lammps, initialise_mpi, load_library, potentials_dir
from mdx.lammps.recorder import Recorder
from mdx.lammps.run import RunLimits
from rollout_farm import files, libc, namespaces, pages, sandbox
from rollout_farm.child import LogEnd, RecordMemory, end_runs_after, prepare_child, rehearse
from rollout_farm.messages import (
    Hello,
    Leftovers,
    Order,
    Report,
    ZygoteSettings,
    receive,
    send,
)
from rollout_farm.watch import Watch

ARGUMENTS = ("-log", "none", "-echo", "screen", "-nocite")
_OUTPUTS = (1, 2)  # descriptors
_MAX_DESCRIPTORS = 1024
_ROOM_FOR_MPI = 96 << 20
_FRESH_HEAP = 16 << 20  # more than small systems need; bigger ones no longer notice page faults
_WATCH_EVERY_S = 0.2  # only where /job is no mount of its own that bounds itself


@dataclass(frozen=True, kw_only=True)
class Zygote:
    """What a ready zygote works with."""

    channel: socket.socket
    lammps: Lammps
    recorder: Recorder
    log_end: LogEnd
    record: RecordMemory
    confinement: sandbox.Confinement
    nothing: int  # the descriptor of /dev/null
    no_input: libc.Call  # makes it a child's standard input
    watch: Watch
    mount: namespaces.JobMount | None  # of the job folder; None without namespaces
    heap: tuple[tuple[int, int], ...] = ()  # where large pages are worth while

    def collapse_heap(self) -> None:
        """Put what Python and malloc hold into large pages; only while there is no child."""
        for start, end in self.heap:
            pages.collapse(start, end)

    @property
    def own_root(self) -> bool:
        """Whether nobody outside sees this zygote's files: it has a root of its own."""
        return self.mount is not None

    @property
    def owner(self) -> int | None:
        """The uid that scripts run as, None for the zygote's own."""
        return self.confinement.owner


def main() -> None:
    """Start up, say hello and serve until the worker is gone."""
    settings = msgspec.json.decode(sys.argv[1], type=ZygoteSettings)
    os.umask(0o022)  # the worker's own may hide the potentials from the children
    channel = socket.socket(fileno=settings.channel)
    channel.set_inheritable(False)
    try:
        zygote, hello, mappings = start(channel, settings)
    except Exception as error:  # the boundary: the worker turns it into one line
        kind = "" if isinstance(error, MdxError) else f"{type(error).__name__}: "
        send(channel, Hello(error=f"{kind}{error}"))
        raise
    send(channel, hello)
    gc.collect()
    gc.freeze()
    gc.disable()
    fresh = pages.reserve_heap(_FRESH_HEAP)
    heap = tuple((m.start, fresh) for m in mappings if m.path == pages.HEAP)
    zygote = dataclasses.replace(zygote, heap=heap)
    zygote.collapse_heap()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(zygote)
    if not zygote.own_root:
        files.clear(settings.scratch)
        os.rmdir(settings.scratch)


def start(
    channel: socket.socket, settings: ZygoteSettings
) -> tuple[Zygote, Hello, list[pages.Mapping]]:
    """Prepare everything that scripts share; return it with what to tell the worker.

    The third are this process's mappings, where they can be made better.
    """
    missing = dict.fromkeys(settings.without, "left out by request")
    owner = namespaces.NOBODY if os.geteuid() == 0 else None
    potentials, jobs, job = potentials_dir(), settings.scratch, f"{settings.scratch}/now"
    load_library()
    own_bytes = _address_space() + _ROOM_FOR_MPI + 2 * _FRESH_HEAP
    if "namespaces" not in missing and (reason := namespaces.why_not(potentials)):
        missing["namespaces"] = reason
    own_root = "namespaces" not in missing
    if own_root:
        listing = namespaces.enter(potentials)
        potentials, jobs, job = namespaces.POTENTIALS, namespaces.JOBS, namespaces.JOB
    else:
        os.mkdir(jobs, mode=0o700)
        listing = pages.open_mappings()
    os.environ["LAMMPS_POTENTIALS"] = potentials
    lammps = _open_lammps()
    pages.forget_code(pages.read_mappings(listing))
    rehearse(ARGUMENTS, jobs)
    mappings = pages.read_mappings(listing)
    pages.hold_libraries(mappings)
    if own_root:
        namespaces.seal()
    os.closerange(3, settings.channel)  # the listing, and MPI's, mapped by now
    os.closerange(settings.channel + 1, _MAX_DESCRIPTORS)
    if not own_root:
        os.mkdir(job, mode=0o700)
    confinement, failed = sandbox.prepare(
        writable=jobs if own_root else job,  # mounts below it are covered too
        job_dir=job,
        potentials=potentials,
        owner=owner if own_root else None,
        own_bytes=own_bytes,
    )
    missing = failed | missing
    confinement = sandbox.without(confinement, missing)
    log_end, nothing = LogEnd(), os.dup(_OUTPUTS[0])
    zygote = Zygote(
        channel=channel,
        lammps=lammps,
        recorder=Recorder(lammps, on_error=log_end.note),
        log_end=log_end,
        record=RecordMemory(),
        watch=Watch(
            channel, None if own_root else functools.partial(files.exceeds, job), _WATCH_EVERY_S
        ),
        confinement=confinement,
        nothing=nothing,
        no_input=libc.call("dup2", nothing, 0),
        mount=namespaces.JobMount(confinement.owner or 0) if own_root else None,
    )
    missing = _prove(zygote) | missing
    own = [layer for layer in sandbox.LAYERS if layer != "cgroup"]  # that is the worker's to add
    layers = tuple(layer for layer in own if layer not in missing)
    hello = Hello(layers=layers, missing=missing, lammps_version=str(lammps.version()))
    confinement = sandbox.without(confinement, missing)
    return dataclasses.replace(zygote, confinement=confinement), hello, mappings


def serve(zygote: Zygote) -> None:
    """Run one order after the other. Raises EOFError when the worker is gone."""
    while True:
        order, files_given, descriptors = receive(zygote.channel, Order)
        if order.cancel:  # it came after the end of its job
            continue
        [log] = descriptors
        content = msgspec.msgpack.decode(files_given, type=dict[str, bytes])
        zygote.record.clear()
        with _job_folder(zygote, order.limits, content) as folder:
            try:
                files.place(folder, content, zygote.owner)
            except OSError:  # what was given is larger than what the folder may hold
                report, outputs = Report(number=order.number, storage_full=True), {}
            else:
                report = _run(zygote, order, log)
                outputs = files.collect(folder, content)
            leftovers = Leftovers(record=zygote.record.read(), outputs=outputs)
            bulk = msgspec.msgpack.encode(leftovers)
            if zygote.own_root:  # nobody else sees the folder: the worker reads while we tidy up
                send(zygote.channel, report, bulk=bulk)
        if not zygote.own_root:
            send(zygote.channel, report, bulk=bulk)
        os.close(log)


def _run(zygote: Zygote, order: Order, log: int) -> Report:
    """Fork a child for the order and wait for its end."""
    started = time.monotonic()
    steps = (zygote.no_input, *sandbox.steps(zygote.confinement, order.limits))
    ends_at_s = end_runs_after(zygote.lammps, order.limits.wall_time_s)
    zygote.watch.begin(started + order.limits.wall_time_s, order.limits.output_bytes)
    run = prepare_child(
        zygote.lammps,
        zygote.recorder,
        zygote.log_end,
        zygote.confinement.own_pid,
        steps,
        order,
        ends_at_s,
        zygote.record,
    )
    for stream in _OUTPUTS:
        os.dup2(log, stream)
    child = libc.fork()
    if child == 0:
        run()
    status, usage, killed_for = zygote.watch.end(child, order.number)
    for stream in _OUTPUTS:
        os.dup2(zygote.nothing, stream)
    if zygote.watch.num_looks > 1:  # each broke up large pages
        zygote.collapse_heap()
    if zygote.own_root and zygote.confinement.filter is None:  # under a filter nothing forks
        _kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return Report(
        number=order.number,
        exit_signal=max(0, -code),
        exit_code=max(0, code),
        killed_for=killed_for,
        storage_full=_is_storage_full(zygote, order.limits),
        wall_s=time.monotonic() - started,
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


def _is_storage_full(zygote: Zygote, limits: RunLimits) -> bool:
    folder = zygote.confinement.job_dir
    return files.is_full(folder) if zygote.own_root else files.exceeds(folder, limits.output_bytes)


def _kill_descendants() -> None:
    """End whatever else lives in this pid namespace; the kernel asks all processes of the host."""
    if libc.kill_all():
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


@contextlib.contextmanager
def _job_folder(zygote: Zygote, limits: RunLimits, placed: Collection[str] = ()) -> Iterator[str]:
    """Provide an empty job folder for files of these names, leave nothing of it behind."""
    folder = zygote.confinement.job_dir
    if zygote.mount is not None:
        zygote.mount.open(limits.output_bytes)
        try:
            yield folder
        finally:
            zygote.mount.close(placed)
    else:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # landlock's rule is for this very one
        try:
            yield folder
        finally:
            files.clear(folder)


def _prove(zygote: Zygote) -> dict[str, str]:
    """Return layer -> reason for each layer that the self-test finds wanting."""
    failures = {}
    if zygote.own_root and (reason := namespaces.self_test()):
        failures["namespaces"] = reason
    with _job_folder(zygote, RunLimits()):
        return failures | sandbox.self_test(zygote.confinement)


def _open_lammps() -> Lammps:
    """Return the one LAMMPS instance, which every child inherits unused."""
    libc.line_buffer_stdout()
    initialise_mpi()
    return Lammps(ARGUMENTS)


def _address_space() -> int:
    """Return the bytes of address space in use now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
