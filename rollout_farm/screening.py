"""Refuse, before running it, a script that says in plain words what the sandbox will not let it do.

For friendly messages and to save the time; it protects nothing. What is hidden (in variables,
included files, conditions) runs and is stopped by the sandbox, with the same status and reasons.
"""

import re

from mdx.lammps.script import Command, Script

_BUILT_IN_SHELL = {"cd", "mkdir", "mv", "rm", "rmdir", "putenv"}  # done by LAMMPS itself
_NETWORK_FIXES = {"imd", "ipi", "mdi/qm", "mdi/qmmm"}
_COMPRESSED = re.compile(r"\.(gz|bz2|zst|xz|lz4|lzma)$")
_FILE_COMMANDS = {
    "dump": slice(4, 5),
    "read_data": slice(0, 1),
    "read_dump": slice(0, 1),
    "rerun": slice(0, None),
    "write_dump": slice(2, 3),
}
_SUSPECT = re.compile(r"shell|imd|ipi|mdi|python|\.(gz|bz2|zst|xz|lz4|lzma)")


def may_be_refused(text: str) -> bool:
    """Return False where `refuse` finds nothing in a script, without parsing it.

    Words broken off by `&` apart: the sandbox stops those.
    """
    return _SUSPECT.search(text) is not None


def refuse(script: Script) -> tuple[str, str] | None:
    """Return the first command that would be denied and why, None if none is seen."""
    for command in script.commands:
        if command.name in ("jump", "quit"):
            return None  # what follows may never run
        if reason := why_denied(command):
            line = command.lines[0] + 1
            return command.text.strip(), f"refused at line {line}: {reason}"
    return None


def why_denied(command: Command) -> str | None:
    """Return why the sandbox denies a command, as far as its text shows it."""
    name, arguments = command.name, command.arguments
    if name == "shell" and arguments and arguments[0] not in _BUILT_IN_SHELL:
        return f"`shell {arguments[0]}` starts a program, and scripts may not start programs"
    if name == "fix" and len(arguments) > 2 and arguments[2] in _NETWORK_FIXES:
        return f"`fix {arguments[2]}` opens a network connection, which scripts may not"
    if name == "variable" and len(arguments) > 1 and arguments[1] == "python":
        return "`variable python` runs Python code, which scripts may not"
    for file in arguments[_FILE_COMMANDS.get(name, slice(0, 0))]:
        if _COMPRESSED.search(file):
            return (
                f"{file!r} would be packed or unpacked by another program, and scripts may not "
                "start programs: use a name without that ending"
            )
    return None
