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
_COLUMN = re.compile(r"[A-Za-z][\w/\[\]*.-]*")


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
    tables = []
    columns: tuple[str, ...] = ()
    rows: list[tuple[float | None, ...]] = []
    for line in [*log.splitlines(), ""]:
        fields = line.split()
        values = _numbers(fields) if len(fields) == len(columns) and columns else None
        if values is not None:
            rows.append(values)
            continue
        if columns and line.startswith(("WARNING", "Fix halt")):
            continue
        if columns and rows:
            tables.append(ThermoTable(columns=columns, rows=tuple(rows)))
        is_header = bool(fields) and fields[0] == "Step" and all(map(_COLUMN.match, fields))
        columns, rows = (tuple(fields), []) if is_header else ((), [])
    return tuple(tables)


def _numbers(fields: list[str]) -> tuple[float | None, ...] | None:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return tuple(value if math.isfinite(value) else None for value in values)
