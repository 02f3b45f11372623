"""Component V: the share of the files a script reads that can be found, without running it."""

from mdx.lammps.potentials import known_potentials
from mdx.lammps.script import Command, Script
from mdx.tasks.task import Task

_READS = ("read_data", "read_restart", "include", "molecule", "read_dump", "rerun", "jump")
_WRITES = ("write_data", "write_restart", "write_dump", "restart", "dump", "log", "print")


def files_score(script: Script, task: Task) -> float:
    """Return V in [0, 1]: 1 if no file is read, 0 if the script holds no command."""
    if not script.commands:
        return 0.0
    written = {a for c in script.commands if c.name in _WRITES for a in c.arguments}
    known = {*known_potentials(), *task.files, *written}
    names = [name for command in script.commands for name in files_read(command)]
    return sum(name in known for name in names) / len(names) if names else 1.0


def files_read(command: Command) -> tuple[str, ...]:
    """Return the names of the files that a command reads; names with a `$` are left out.

    A potential's file is an argument of `pair_coeff` after the types that looks like a file name:
    it has a dot and is no number.
    """
    if command.name in _READS:
        position = 1 if command.name == "molecule" else 0
        names = command.arguments[position : position + 1]
    elif command.name == "pair_coeff":
        names = tuple(a for a in command.arguments[2:] if "." in a and not _is_number(a))
    else:
        names = ()
    return tuple(name for name in names if "$" not in name and name != "SELF")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
