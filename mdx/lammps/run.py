"""What goes to the farm and what comes back: requests, limits, evidence and results.

All types are frozen dataclasses that `msgspec` encodes to JSON as they are (`to_json`,
`from_json`), so one definition serves the wire, the disk and Python. A failed script is a
`RunResult` whose `status` is not `ok`; broken infrastructure is an exception
(`mdx.errors.FarmError`) and never a result.

`Evidence` is what MDX itself recorded inside the process that ran the script: probes before each
`run` and `minimize`, and the state afterwards. Scores rest on it and never on the log, which the
script controls. Non-finite numbers are stored as None, since JSON has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import msgspec

from mdx.tasks.task import Potential, Task

T = TypeVar("T")
Series = tuple[float | None, ...]
IMAGE_NAME = "final.jpg"
INTERACTIVE = 1  # priority of what a person waits for, before a training's 0


class RunStatus(StrEnum):
    """How a run ended."""

    OK = "ok"
    SCREENED = "screened"  # refused before, or denied by the sandbox while running
    ERROR = "error"  # LAMMPS reported an error
    CRASHED = "crashed"  # the process died, or left no result record (`quit`)
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """Hard limits of one run. Exceeding one ends the run with the status of that name."""

    wall_time_s: float = 20.0
    cpu_time_s: float = 20.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 32 << 20  # all files the script writes, its log included
    log_bytes: int = 1 << 16  # how much of the log's end comes back


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One script to run. With a `task` the farm scores the result beside the logs."""

    script: str
    files: Mapping[str, bytes] = field(default_factory=dict)  # plain names, no folders
    limits: RunLimits = RunLimits()
    task: Task | None = None
    want_outputs: tuple[str, ...] = ()  # glob patterns of the files to send back
    image_pixels: int = 0  # width of a picture of the final state (IMAGE_NAME); 0: none
    want_evidence: bool = True  # a task's request has it in any case
    priority: int = 0  # the higher is run first

    @property
    def is_probed(self) -> bool:
        """Whether runs are probed and the final state is read."""
        return self.want_evidence or self.task is not None

    @property
    def potential(self) -> Potential | None:
        """The potential that the finished configuration is evaluated with again, if any."""
        return self.task.potential if self.task else None


@dataclass(frozen=True, kw_only=True)
class ActiveFix:
    """A fix that was active in a run: its style and the group it acts on."""

    style: str
    group: str


@dataclass(frozen=True, kw_only=True)
class ProbedRun:
    """One `run` or `minimize` as the probes saw it.

    `series` maps each of step, temperature (K or the unit style's), potential_energy,
    kinetic_energy (both of the whole system), pressure, volume, num_atoms, lx, ly, lz to equally
    long tuples sampled evenly over the run, at most 256 values. A minimisation has only step and
    potential_energy, at its start and end.
    """

    command: str  # "run" or "minimize"
    first_step: int
    last_step: int
    num_atoms_before: int
    num_atoms_after: int
    timestep: float
    series: Mapping[str, Series] = field(default_factory=dict)
    fixes: tuple[ActiveFix, ...] = ()
    pair_style: str = ""
    first_box_lengths: tuple[float, float, float] | None = None
    num_forceless: int | None = None  # atoms with exactly no force at the last step of a `run`
    finished: bool = True  # False: an error ended it
    # False: `run ... every` executed commands that could have changed what was recorded
    trusted: bool = True


@dataclass(frozen=True, kw_only=True)
class FinalState:
    """The system after the script, read through the LAMMPS library in the same process."""

    units: str
    step: int
    num_atoms: int
    num_types: int
    pair_style: str
    fixes: tuple[str, ...]  # ids of the fixes that are still active
    box_lengths: tuple[float, float, float]  # distance units of the unit style
    masses: tuple[float, ...] = ()  # per type
    type_counts: tuple[int, ...] = ()  # atoms of each type
    # of the whole system by the task's potential; by the script's own: the last run's last sample
    requested_potential_energy: float | None = None
    max_force: float | None = None  # largest force component
    num_forceless: int | None = None  # atoms on which the potential exerts exactly no force
    group_counts: Mapping[str, int] = field(default_factory=dict)  # atoms in each group
    finite: bool = True


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What MDX recorded in the child process; empty where the process died."""

    runs: tuple[ProbedRun, ...] = ()
    final: FinalState | None = None


@dataclass(frozen=True, kw_only=True)
class ThermoTable:
    """One thermo table of the log, for people: the log can be forged, so no score reads it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file that the script wrote; `content` is cut to a bounded size."""

    size_bytes: int
    content: bytes
    truncated: bool = False


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Seconds spent waiting for a slot, running (wall) and computing (CPU, child process)."""

    queue_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Reward:
    """R in [0, 1] with its components, each in [0, 1], and the integrity flags that capped it."""

    total: float
    components: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run came to. `error` is LAMMPS's own message, `failed_command` its culprit."""

    status: RunStatus
    error: str | None = None
    failed_command: str | None = None
    thermo: tuple[ThermoTable, ...] = ()
    log: str = ""
    outputs: Mapping[str, Output] = field(default_factory=dict)
    evidence: Evidence = Evidence()
    timings: Timings = Timings()
    sandbox: tuple[str, ...] = ()  # the layers that held, e.g. ("zygote", "namespaces", "seccomp")
    lammps_version: str = ""
    reward: Reward | None = None


def to_json(value: object) -> bytes:
    """Encode any of these dataclasses as JSON (bytes fields become base64)."""
    return msgspec.json.encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Decode JSON into `kind`; raises msgspec.ValidationError naming the field that is wrong."""
    return msgspec.json.decode(data, type=kind)
