"""LAMMPS logs and error messages, for people and for repair prompts; no score reads them.

A script controls its log (`thermo_style`, `print`), so nothing here is evidence. Only lines that
begin with `ERROR` are errors: the MPI library prints the word in lines of its own.
"""

import math
import re

from mdx.lammps.run import ThermoTable

_ERROR = re.compile(r"^ERROR.*", re.MULTILINE)
_LAST_INPUT = re.compile(r"^Last input line: *(.*)", re.MULTILINE)
_SOURCE = re.compile(r" ?\((?:\.\./)?src/\S*:\d+\)")
_HEADER = re.compile(r"Step(?:[ \t]+[A-Za-z]\S*)*[ \t]*$", re.MULTILINE)


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
    errors = list(_ERROR.finditer(log))
    if not errors:
        return None
    command = _LAST_INPUT.search(log, errors[-1].end())
    name = command.group(1).strip() if command else None
    return clean_error(errors[-1].group()), name or None


def parse_thermo(log: str) -> tuple[ThermoTable, ...]:
    """Return the thermo tables of a log (styles one and custom), also one cut off by an error."""
    tables, position = [], 0
    while header := _HEADER.search(log, position):
        if log[log.rfind("\n", 0, header.start()) + 1 : header.start()].strip():
            position = header.end()
            continue
        columns = tuple(header.group().split())
        rows: list[tuple[float | None, ...]] = []
        position = header.end() + 1
        while position < len(log):
            end = log.find("\n", position) % (len(log) + 1)  # the log's end where there is none
            line = log[position:end]
            values = _numbers(line.split(), len(columns))
            if values is not None:
                rows.append(values)
            elif not line.startswith(("WARNING", "Fix halt")):
                break
            position = end + 1
        if rows:
            tables.append(ThermoTable(columns=columns, rows=tuple(rows)))
    return tuple(tables)


def _numbers(fields: list[str], num_fields: int) -> tuple[float | None, ...] | None:
    if len(fields) != num_fields:
        return None
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return tuple(value if math.isfinite(value) else None for value in values)
