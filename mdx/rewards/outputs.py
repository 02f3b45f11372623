"""Marks for the files that the text asked for: they exist, parse, and hold what was asked.

A file cut to the bounded size that comes back from the farm is judged by what is there; its
number of frames or rows is extrapolated by size.
"""

import fnmatch
import itertools
import math
import re
from collections.abc import Callable, Mapping

from mdx.lammps.run import Output
from mdx.rewards.facts import Facts, relative_mark
from mdx.tasks.task import Check, CheckKind

_RESTART_MAGIC = b"LammpS RestartT"
_FRAME = re.compile(r"^ITEM: TIMESTEP$", re.MULTILINE)
_FRAME_ATOMS = re.compile(r"^ITEM: NUMBER OF ATOMS\n(\d+)", re.MULTILINE)
_HEADER_ATOMS = re.compile(r"^\s*(\d+)\s+atoms\b", re.MULTILINE)
_ATOMS_SECTION = re.compile(r"^Atoms\b.*\n\s*\n((?:.*\S.*\n?)*)", re.MULTILINE)


def dump(facts: Facts, check: Check) -> float:
    """Mark a dump: the frames asked for (at least two), the right atoms, frames that differ."""
    texts, scale = _texts(facts, check)
    frames = [frame for text in texts for frame in _frames(text)]
    if not frames:
        return 0.0
    wanted = check.target or 2.0
    atoms_right = all(count == facts.num_atoms for count, _ in frames)
    moves = wanted < 2 or (len(frames) > 1 and frames[0][1] != frames[-1][1])
    return min(1.0, len(frames) * scale / wanted) * atoms_right * moves


def table(facts: Facts, check: Check) -> float:
    """Mark a table: the rows asked for, all finite, the last at the end of the simulation."""
    texts, scale = _texts(facts, check)
    rows = _rows("\n".join(texts))
    if not rows:
        return 0.0
    share = min(1.0, len(rows) * scale / (check.target or 1.0))
    ends = scale > 1 or _ends_at_last_step(facts, rows)
    return share * (1.0 if ends else 0.5)


def data_file(facts: Facts, check: Check) -> float:
    """Mark a data file: the atoms asked for, in its header and in its Atoms section."""
    texts, scale = _texts(facts, check)
    header = _HEADER_ATOMS.search(texts[0]) if texts else None
    section = _ATOMS_SECTION.search(texts[0]) if texts else None
    if header is None or section is None:
        return 0.0
    count = int(header.group(1))
    listed = len(section.group(1).splitlines())
    complete = listed == count or scale > 1
    return relative_mark(count, check.target or facts.num_atoms, 0.0) * complete


def restart(facts: Facts, check: Check) -> float:
    """Mark a restart file: it begins as LAMMPS's do, and is no stub."""
    outputs = matching_outputs(facts, check.file or "*")
    least = 24 * (check.target or facts.num_atoms)  # three coordinates an atom
    good = [o.content.startswith(_RESTART_MAGIC) and o.size_bytes >= least for o in outputs]
    return float(bool(good) and all(good))


OUTPUTS: Mapping[CheckKind, Callable[[Facts, Check], float]] = {
    CheckKind.DUMP: dump,
    CheckKind.TABLE: table,
    CheckKind.DATA_FILE: data_file,
    CheckKind.RESTART: restart,
}


def matching_outputs(facts: Facts, pattern: str) -> list[Output]:
    """Return the outputs whose name matches a glob pattern, by name."""
    outputs = facts.result.outputs
    return [outputs[name] for name in sorted(outputs) if fnmatch.fnmatchcase(name, pattern)]


def count_frames(output: Output) -> float:
    """Return how many frames a dump holds; extrapolated where its content is cut."""
    frames = output.content.count(b"ITEM: TIMESTEP")
    return frames * output.size_bytes / max(1, len(output.content))


def _texts(facts: Facts, check: Check) -> tuple[list[str], float]:
    """Return the contents of the check's files, and by how much their counts are scaled up."""
    outputs = matching_outputs(facts, check.file or "*")
    seen = sum(len(output.content) for output in outputs)
    size = sum(output.size_bytes for output in outputs)
    texts = [output.content.decode(errors="replace") for output in outputs]
    return texts, max(1.0, size / seen) if seen else 1.0


def _frames(text: str) -> list[tuple[int, str]]:
    """Return (atoms, body) of each frame of a LAMMPS text dump or an xyz file."""
    parts = _FRAME.split(text)[1:]
    if parts:
        found = [(_FRAME_ATOMS.search(part), part) for part in parts]
        return [
            (int(match.group(1)), part.partition("ITEM: ATOMS")[2])
            for match, part in found
            if match
        ]
    return _xyz_frames(text)


def _xyz_frames(text: str) -> list[tuple[int, str]]:
    lines, frames, at = text.splitlines(), [], 0
    while at < len(lines) and lines[at].strip().isdigit():
        count = int(lines[at])
        frames.append((count, "\n".join(lines[at + 2 : at + 2 + count])))
        at += count + 2
    return frames


def _rows(text: str) -> list[list[float]]:
    """Return the lines that consist of finite numbers only."""
    rows = []
    for line in text.splitlines():
        try:
            row = [float(field) for field in line.split()]
        except ValueError:
            continue
        if row and all(map(math.isfinite, row)):
            rows.append(row)
    return rows


def _ends_at_last_step(facts: Facts, rows: list[list[float]]) -> bool:
    """Whether the last row is within one interval of the final step (where rows count steps)."""
    first = [row[0] for row in rows]
    rises = all(b > a for a, b in itertools.pairwise(first))
    if not rises or len(rows) < 2 or not facts.runs:
        return True  # not a table over time, as of fix ave/chunk
    return abs(first[-1] - facts.runs[-1].last_step) <= first[-1] - first[-2]
