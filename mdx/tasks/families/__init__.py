"""The task families, listed one by one."""

from mdx.tasks.families import langevin, lattice_constant, npt, nve, nvt
from mdx.tasks.family import Family

FAMILIES: tuple[Family, ...] = (
    lattice_constant.FAMILY,
    nve.FAMILY,
    nvt.FAMILY,
    langevin.FAMILY,
    npt.FAMILY,
)
