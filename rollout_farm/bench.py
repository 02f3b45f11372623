"""How fast the farm is, beside plain `lmp` and beside LAMMPS with nothing around it.

    mdx-farm bench                              (rollout_farm.cli)
    python -m rollout_farm.bench KIND COUNT     one process that runs scripts one after the other

Four scripts, each many times with another seed so that no cache helps. Four ways to run them, as
many at a time as the farm has slots: `lmp` started for each; the farm as rewards need it, with
probes; the farm without evidence, every layer of the sandbox on all the same (`bare`); and in one
process that clears LAMMPS in between, the limit and no way to run strangers' scripts.
The ways take turns, round after round; figures are medians over rounds, and differences are the
medians of each round's. CPU time is that of all processes of a
way: of the farm its worker, zygotes and children, not the client.
"""

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mdx.errors import FarmError
from mdx.lammps.library import Lammps, LammpsError, potentials_dir
from mdx.lammps.run import RunRequest, RunStatus
from rollout_farm.client import Farm
from rollout_farm.slot import ROOT

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
_COUNTS = {  # scripts a round and slot: a second or two each, since the kernel counts in 10 ms
    "lmp": {"trivial": 8, "failing": 8, "lj": 8, "eam": 6},
    "farm": {"trivial": 300, "failing": 300, "lj": 100, "eam": 40},
    "bare": {"trivial": 300, "failing": 300, "lj": 100, "eam": 40},
    "in_process": {"trivial": 500, "failing": 150, "lj": 50, "eam": 20},
}
# The limit is taken before and after: a machine's speed drifts, and how well a process's memory
# lies in the caches is a matter of luck, 1 % of what EAM takes.
_TURNS = ("lmp", "farm", "in_process", "bare", "in_process")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One way to run one kind of script."""

    cpu_ms: float  # a script, over all processes; 0 for workers elsewhere
    scripts_per_s: float


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
    samples: dict[tuple[str, str], list[Speed]] = {}
    client_s, num_sent = 0.0, 0
    ways = {"lmp": _lmp, "farm": _farm, "in_process": _in_process, "bare": _bare}
    for round_number in range(num_rounds):
        for kind in kinds:
            for way in _TURNS:
                say(f"round {round_number + 1} of {num_rounds}: {kind}, {way}")
                count = _COUNTS[way][kind] * farm.num_slots
                started = time.process_time()
                speed = ways[way](farm, kind, count, round_number)
                if (way, kind) == ("farm", "trivial"):
                    client_s, num_sent = client_s + time.process_time() - started, num_sent + count
                samples.setdefault((kind, way), []).append(speed)
            samples[kind, "in_process"][-2:] = [_mean(samples[kind, "in_process"][-2:])]
    status = farm.fleet.workers[0].status(5.0)
    return Report(
        num_slots=farm.num_slots,
        layers=tuple(status.sandbox),
        kinds={
            kind: Comparison(
                **{way: _median(samples[kind, way]) for way in ways},
                overhead_ms=_difference_ms(samples[kind, "bare"], samples[kind, "in_process"]),
                evidence_ms=_difference_ms(samples[kind, "farm"], samples[kind, "bare"]),
            )
            for kind in kinds
        },
        client_cpu_ms=1000 * client_s / max(1, num_sent),
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


def _median(speeds: Sequence[Speed]) -> Speed:
    return Speed(
        cpu_ms=statistics.median(speed.cpu_ms for speed in speeds),
        scripts_per_s=statistics.median(speed.scripts_per_s for speed in speeds),
    )


def _mean(speeds: Sequence[Speed]) -> Speed:
    return Speed(
        cpu_ms=statistics.fmean(speed.cpu_ms for speed in speeds),
        scripts_per_s=statistics.harmonic_mean([speed.scripts_per_s for speed in speeds]),
    )


def _difference_ms(more: Sequence[Speed], less: Sequence[Speed]) -> float:
    """Return the median over rounds of what one way takes more of CPU than another."""
    return statistics.median(a.cpu_ms - b.cpu_ms for a, b in zip(more, less, strict=True))


def _farm(farm: Farm, kind: str, count: int, round_number: int) -> Speed:
    return _on_farm(farm, kind, count, round_number, want_evidence=True)


def _bare(farm: Farm, kind: str, count: int, round_number: int) -> Speed:
    return _on_farm(farm, kind, count, round_number, want_evidence=False)


def _on_farm(farm: Farm, kind: str, count: int, round_number: int, *, want_evidence: bool) -> Speed:
    embedded = farm.fleet.embedded
    nonce = f"# {os.urandom(8).hex()}\n"  # no cached result of an earlier benchmark
    before = _tree_cpu_s(embedded.pid) if embedded else 0.0
    started = time.monotonic()
    scripts = [_script(kind, round_number * count + index) + nonce for index in range(count)]
    futures = [
        farm.submit(RunRequest(script=script, want_evidence=want_evidence)) for script in scripts
    ]
    statuses = {future.result().status for future in futures}
    wall_s = time.monotonic() - started
    cpu_s = _tree_cpu_s(embedded.pid) - before if embedded else 0.0
    if statuses != {RunStatus.ERROR if kind == "failing" else RunStatus.OK}:
        raise FarmError(f"the script {kind!r} ended with {', '.join(sorted(statuses))}")
    return Speed(cpu_ms=1000 * cpu_s / count, scripts_per_s=count / wall_s)


def _lmp(farm: Farm, kind: str, count: int, round_number: int) -> Speed:
    """Start LAMMPS's own program for each script."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LAMMPS_POTENTIALS": potentials_dir()}
    program = Path(sys.executable).with_name("lmp")  # the command that comes with the wheel
    with tempfile.TemporaryDirectory(prefix="mdx-bench-") as folder:

        def run(index: int) -> None:
            path = Path(folder, f"in.{index}")
            path.write_text(_script(kind, round_number * count + index))
            subprocess.run(
                [program, "-in", path.name, "-log", "none"],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=kind != "failing",
            )

        before, started = _children_cpu_s(), time.monotonic()
        with ThreadPoolExecutor(farm.num_slots) as threads:
            list(threads.map(run, range(count)))
        wall_s, cpu_s = time.monotonic() - started, _children_cpu_s() - before
    return Speed(cpu_ms=1000 * cpu_s / count, scripts_per_s=count / wall_s)


def _in_process(farm: Farm, kind: str, count: int, round_number: int) -> Speed:
    """Run the scripts in one process for each slot, `clear` in between."""
    share = str(count // farm.num_slots)
    command = [sys.executable, "-P", "-m", "rollout_farm.bench", kind, share, str(round_number)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT})
        for _ in range(farm.num_slots)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise FarmError(f"the script {kind!r} could not be run in one process")
    cpu_s, wall_s = zip(*(map(float, output.split()[-2:]) for output in outputs), strict=True)
    return Speed(cpu_ms=1000 * sum(cpu_s) / count, scripts_per_s=count / max(wall_s))


def _script(kind: str, index: int) -> str:
    return SCRIPTS[kind].format(seed=index + 1)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and all its descendants, those that ended included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(fields[1])
                ticks[int(entry)] = sum(map(int, fields[11:15]))
    tree = {pid}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(ticks.get(member, 0) for member in tree) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run COUNT scripts of KIND in this process; print the CPU and wall seconds it took."""
    kind, count, round_number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.environ.update({"UCX_TLS": "self", "LAMMPS_POTENTIALS": potentials_dir()})
    arguments = ("-log", "none", "-screen", "none", "-nocite")
    lammps = Lammps(arguments)
    with tempfile.TemporaryDirectory(prefix="mdx-bench-") as folder:
        os.chdir(folder)
        cpu_s, wall_s = time.process_time(), time.monotonic()
        for index in range(count):
            Path("in.lammps").write_text(_script(kind, round_number * count + index))
            try:
                lammps.file("in.lammps")
                lammps.command("clear")
            except LammpsError:  # after a few errors an instance runs nothing any more
                lammps.close()
                lammps = Lammps(arguments)
        print(time.process_time() - cpu_s, time.monotonic() - wall_s)


if __name__ == "__main__":
    main()
