"""LAMMPS logs and error messages, for people and for repair prompts; no score reads them.

A script controls its log (`thermo_style`, `print`), so nothing here is evidence. Only lines that
begin with `ERROR` are errors: the MPI library prints the word in lines of its own.
"""

import math
import re
from collections import deque

from mdx.lammps.run import ThermoTable

_ERROR = re.compile(r"^ERROR.*", re.MULTILINE)
_LAST_INPUT = re.compile(r"^Last input line: *(.*)", re.MULTILINE)
_SOURCE = re.compile(r" ?\((?:\.\./)?src/\S*:\d+\)")
_COLUMN = re.compile(r"[A-Za-z]")
_HEADER = re.compile(r"\n[ \t]*Step(?=\s|\Z)")


def clean_error(message: str) -> str:
    """Return the first `ERROR` line of a message or log without the place in LAMMPS's source.

    >>> clean_error("ERROR: Unknown command: foo (src/src/input.cpp:408)")
    'ERROR: Unknown command: foo'
    """
    match = _ERROR.search(message)
    return _SOURCE.sub("", match.group() if match else message).strip()


def find_error(log: str) -> tuple[str, str | None] | None:
    """Return (error, failed command) of a log or an error message; None if there is no error.

    The command is None where LAMMPS does not name it.
    """
    last = deque(_ERROR.finditer(log), maxlen=1)
    if not last:
        return None
    command = _LAST_INPUT.search(log, last[0].end())
    name = command.group(1).strip() if command else None
    return clean_error(last[0].group()), name or None


def parse_thermo(log: str) -> tuple[ThermoTable, ...]:
    """Return the thermo tables of a log (styles one and custom), also one cut off by an error."""
    tables, end = [], 0
    log = f"\n{log}"
    while header := _HEADER.search(log, end):
        columns, _, end = _line(log, header.start())
        if not all(map(_COLUMN.match, columns)):
            continue
        rows: list[tuple[float | None, ...]] = []
        while end < len(log):
            fields, line, next_end = _line(log, end)
            values = _numbers(fields, len(columns))
            if values is not None:
                rows.append(values)
            elif not line.startswith(("WARNING", "Fix halt")):
                break
            end = next_end
        if rows:
            tables.append(ThermoTable(columns=tuple(columns), rows=tuple(rows)))
    return tuple(tables)


def _line(log: str, end: int) -> tuple[list[str], str, int]:
    """Return the fields of the line after the one that ends at `end`, the line, and its end."""
    next_end = log.find("\n", end + 1) % (len(log) + 1)  # the log's end where there is none
    line = log[end + 1 : next_end]
    return line.split(), line, next_end


def _numbers(fields: list[str], num_fields: int) -> tuple[float | None, ...] | None:
    if len(fields) != num_fields:
        return None
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return tuple(value if math.isfinite(value) else None for value in values)
