"""Tasks: what is asked of a script, as text for the model and as checks for the scorer.

A `Task` holds everything needed to judge a run; the prompt is the only part the model sees. The
checks name what the text (or plain physics) demands; whatever the text leaves free has no check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class CheckKind(StrEnum):
    """What one check looks at. Targets are in the task's unit style."""

    # specification: what the text asks for (weight: specification)
    UNITS = "units"  # text: the unit style
    POTENTIAL = "potential"  # the task's potential, by energy fingerprint
    NUM_ATOMS = "num_atoms"  # target, tolerance relative (0 = exact)
    ENSEMBLE = "ensemble"  # text: nve nvt npt nph langevin minimize
    NUM_STEPS = "num_steps"  # target: steps asked, over all runs
    TIMESTEP = "timestep"  # target
    METHOD = "method"  # text: style of a fix that acts in the production run
    PAIR_STYLE = "pair_style"  # text: of every run, where no fingerprint can be taken (charges)
    COMPOSITION = "composition"  # text: an atom type; target: its share of the atoms
    # outputs (weight: outputs)
    DUMP = "dump"  # file; target: frames at least
    TABLE = "table"  # file; target: rows at least (fix ave/time, ave/chunk, print file)
    DATA_FILE = "data_file"  # file; target: atoms in it
    RESTART = "restart"  # file, in LAMMPS's binary format
    # physics (weight: physics), over the second half of the longest run
    TEMPERATURE = "temperature"  # target: mean
    FLUCTUATION = "fluctuation"  # temperature fluctuates canonically
    ENERGY_DRIFT = "energy_drift"  # |drift of total energy| / mean kinetic energy
    PRESSURE = "pressure"  # target: mean
    VOLUME = "volume"  # target: volume per atom, mean
    RAMP = "ramp"  # target: temperature at the end; start: at the beginning
    MINIMIZED = "minimized"  # energy not above the start; target: largest force, or the default
    FINITE = "finite"  # every probe value finite
    # observable (weight: observable)
    ENERGY = "energy"  # target: final potential energy per atom
    BOX_LENGTH = "box_length"  # target: final length along axis
    STRAIN = "strain"  # target: final over initial length along axis, minus 1


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing the outcome must show.

    `tolerance` is the relative deviation that still earns full marks (None: the default of
    REWARDS for that kind); marks fall linearly to zero at 4 times that.
    """

    kind: CheckKind
    target: float | None = None
    start: float | None = None
    tolerance: float | None = None
    text: str | None = None
    file: str | None = None
    axis: str | None = None  # x, y or z


@dataclass(frozen=True, kw_only=True)
class Potential:
    """An interatomic potential as LAMMPS names it, for the atom types in order.

    `coeffs` are the arguments of one `pair_coeff` command each.
    """

    style: str  # "eam/alloy", "lj/cut 2.5"
    coeffs: tuple[str, ...]  # ("* * Cu_mishin1.eam.alloy Cu",)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One problem: its text, and how its solution is judged."""

    id: str
    family: str
    prompt: str
    checks: tuple[Check, ...] = ()
    potential: Potential | None = None
    elements: tuple[str, ...] = ()
    volume_per_atom: float | None = None  # reference, distance units cubed; caps the reward
    num_steps: int = 0  # steps asked over all runs; 0: geometry or minimisation only
    files: Mapping[str, bytes] = field(default_factory=dict)  # given to the script
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the family, for reports
