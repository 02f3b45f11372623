"""LAMMPS inputs and logs as documents: inputs fenced as scripts, logs thinned to what teaches.

Of a thermo table the first and the last rows are kept; timing tables and neighbour statistics stay,
since they are short. Data and potential files that merely look like inputs are refused.
"""

import re

from mdx.corpus.decode import UnreadableError
from mdx.lammps.commands import known_styles
from mdx.lammps.script import Script

_MIN_COMMANDS = 3
_MIN_COMMAND_SHARE = 0.6
_ROWS_HEAD, _ROWS_TAIL = 12, 4
_NUMBERS = re.compile(r"^\s*[-+]?\d\S*(\s+[-+]?(\d\S*|nan|inf))*\s*$")


def read_input(text: str) -> str:
    """Return the script in a fence.

    Raises UnreadableError for what is no LAMMPS input.
    """
    commands = Script.parse(text).commands
    known = sum(command.name in known_styles()["command"] for command in commands)
    if known < _MIN_COMMANDS or known < _MIN_COMMAND_SHARE * len(commands):
        raise UnreadableError("no LAMMPS input", f"{known} of {len(commands)} commands are known")
    body = text.strip("\n")
    return f"```lammps\n{body}\n```\n"


def read_log(text: str, max_chars: int) -> str:
    """Return the log with its tables thinned, cut in the middle to about `max_chars`.

    Raises UnreadableError for what is no LAMMPS log.
    """
    if not text.lstrip().startswith("LAMMPS (") and "\nLAMMPS (" not in text[:5000]:
        raise UnreadableError("no LAMMPS log", "it does not begin as logs do")
    lines = _thinned(text.splitlines())
    body = "\n".join(lines).strip("\n")
    if len(body) > max_chars:
        half = max_chars // 2
        head, tail = body[:half].rsplit("\n", 1)[0], body[-half:].split("\n", 1)[-1]
        body = f"{head}\n[...]\n{tail}"
    return f"```\n{body}\n```\n"


def _thinned(lines: list[str]) -> list[str]:
    """Return the lines with the middle of every long run of rows of numbers left out."""
    kept: list[str] = []
    rows: list[str] = []
    for line in [*lines, ""]:
        if _NUMBERS.match(line):
            rows.append(line)
            continue
        if len(rows) > _ROWS_HEAD + _ROWS_TAIL:
            rows = [*rows[:_ROWS_HEAD], "[...]", *rows[-_ROWS_TAIL:]]
        kept += [*rows, line]
        rows = []
    return kept
