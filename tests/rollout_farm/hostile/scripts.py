"""What a hostile or careless script looks like: the entries of the catalogue, and its parts.

Each entry names every status that is right for it. Whatever the status, nothing outside the job
may change, no secret may come back, no process may stay, and the slot must run the next script
(`arena` looks at all that). The words in capitals between at signs stand for places of the arena:
@SECRET@ a readable file outside, @OUTSIDE@ a writable folder, @UP@ the way there from the job,
@PORT@ a TCP port that listens on loopback, @UNIX@ a socket in the file system.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TOKEN = "mdx-was-here"  # part of every name that a script makes outside its job

OK = frozenset({"ok"})
ERROR = frozenset({"error"})
DENIED = frozenset({"screened"})
CRASHED = frozenset({"crashed"})
TIMEOUT = frozenset({"timeout"})
MEMORY = frozenset({"out_of_memory"})
OUTPUT = frozenset({"output_limit"})


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One script, what it comes with, and the statuses that are right for it."""

    script: str
    allowed: frozenset[str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    native: str = ""  # C source of a library beside the script, native.so
    absent: tuple[str, ...] = ()  # texts that must appear nowhere in the result
    wall_s: float = 20.0  # less only for what would never end


def attack(script: str, *allowed: frozenset[str], **fields: object) -> Attack:
    """Return an entry; several sets of statuses mean that any of them is right."""
    return Attack(script=script, allowed=frozenset().union(*allowed), **fields)  # type: ignore[arg-type]


BOX = """units lj
lattice fcc 0.8442
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
"""
GAS = BOX + "velocity all create 1.0 87287\nfix 1 all nve\n"


def loop(body: str, times: int | None = None) -> str:
    """Return `body` in a loop by label and jump, without end where `times` is None."""
    if times is None:
        return f"label again\n{body}jump SELF again\n"
    return f"variable turn loop {times}\nlabel again\n{body}next turn\njump SELF again\n"
