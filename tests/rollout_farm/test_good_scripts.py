"""Good scripts of many kinds print the same thermo rows on the farm as by plain `lmp`.

Digit by digit. The scripts are in `good/`; `lmp` is the wheel's own program, which knows nothing
of probes, sandboxes or forks. What it prints is read here without MDX's parser.
"""

import itertools
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from mdx.lammps.library import potentials_dir
from mdx.lammps.run import RunStatus

SCRIPTS = sorted((Path(__file__).parent / "good").glob("*.in"))
LMP = Path(sysconfig.get_path("scripts")) / "lmp"
_NUMBER = re.compile(r"-?\d[\d.]*(e[+-]\d+)?|-?nan|-?inf")
WATER = """water

3 atoms
2 bonds
1 angles

Coords

1 0.0 0.0 0.0
2 0.8 0.6 0.0
3 -0.8 0.6 0.0

Types

1 1
2 2
3 2

Charges

1 -0.82
2 0.41
3 0.41

Bonds

1 1 1 2
2 1 1 3

Angles

1 1 2 1 3
"""


def _polymer(num_beads: int = 60) -> str:
    """Return a data file with one chain that winds through a lattice, a bead at each site."""
    sites = [
        (0.97 * (x if y % 2 == 0 else 4 - x), 0.97 * (y if z % 2 == 0 else 3 - y), 0.97 * z)
        for z in range(3)
        for y in range(4)
        for x in range(5)
    ][:num_beads]
    for (x, y, z), (u, v, w) in itertools.pairwise(sites):
        assert abs(x - u) + abs(y - v) + abs(z - w) == pytest.approx(0.97)
    atoms = [f"{i} 1 1 {x:.4f} {y:.4f} {z:.4f}" for i, (x, y, z) in enumerate(sites, 1)]
    bonds = [f"{i} 1 {i} {i + 1}" for i in range(1, num_beads)]
    head = f"chain\n\n{num_beads} atoms\n{num_beads - 1} bonds\n1 atom types\n1 bond types\n"
    box = "\n".join(f"-1 8 {axis}lo {axis}hi" for axis in "xyz")
    return (
        f"{head}\n{box}\n\nMasses\n\n1 1.0\n\nAtoms # bond\n\n"
        + "\n".join(atoms)
        + "\n\nBonds\n\n"
        + "\n".join(bonds)
        + "\n"
    )


FILES = {
    "polymer_from_a_data_file": {"polymer.data": _polymer()},
    "water_molecules": {"water.txt": WATER},
}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_thermo_rows_are_those_of_plain_lammps(run, tmp_path, path):
    files = FILES.get(path.stem, {})
    expected = _tables(_plain(path, files, tmp_path))
    result = run(
        path.read_text(), files={n: text.encode() for n, text in files.items()}, log_bytes=1 << 20
    )
    assert result.status is RunStatus.OK, result.error
    assert sum(map(len, expected)) > 2 * len(expected) > 0
    assert _tables(result.log) == expected
    parsed = [[list(t.columns), *map(list, t.rows)] for t in result.thermo]
    assert parsed == [[t[0], *([float(v) for v in row] for row in t[1:])] for t in expected]


def test_scripts_are_diverse():
    commands = [line.split() for path in SCRIPTS for line in path.read_text().splitlines()]
    styles: dict[str, set[str]] = {}
    for name, style in ((words[0], words[1]) for words in commands if len(words) > 1):
        styles.setdefault(name, set()).add(style)
    assert len(SCRIPTS) >= 25
    assert len(styles["pair_style"]) >= 10
    assert styles["units"] >= {"lj", "metal", "real"}
    assert styles.keys() >= {"minimize", "rerun", "read_restart", "read_data", "include", "jump"}


def _plain(path: Path, files: dict[str, str], folder: Path) -> str:
    for name, text in {path.name: path.read_text(), **files}.items():
        (folder / name).write_text(text)
    done = subprocess.run(
        [LMP, "-log", "none", "-in", path.name],
        cwd=folder,
        env=os.environ | {"LAMMPS_POTENTIALS": str(potentials_dir())},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-500:]
    return done.stdout


def _tables(log: str) -> list[list[list[str]]]:
    """Return each thermo table as printed: its header and rows, in words."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in log.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            tables.append([words])
            inside = True
        elif line.startswith("Loop time"):
            inside = False
        elif inside and len(words) == len(tables[-1][0]) and all(map(_NUMBER.fullmatch, words)):
            tables[-1].append(words)
    return tables
