"""The task families, listed one by one.

A new family is a file beside these with a `draw` function and a `FAMILY`, named in the list below.
`ramps` and `spheres` hold what two families share.
"""

from mdx.tasks.families import (
    compression,
    crystal,
    equation_of_state,
    heating,
    langevin,
    lattice_constant,
    lj_liquid,
    msd,
    nanosphere,
    npt,
    nve,
    nvt,
    quench,
    rdf,
    repair,
    surface,
    tension,
    trajectory,
    vacancy,
    void,
)
from mdx.tasks.family import Family

SIMULATION_FAMILIES: tuple[Family, ...] = (
    lattice_constant.FAMILY,
    equation_of_state.FAMILY,
    vacancy.FAMILY,
    surface.FAMILY,
    nve.FAMILY,
    nvt.FAMILY,
    langevin.FAMILY,
    npt.FAMILY,
    heating.FAMILY,
    quench.FAMILY,
    rdf.FAMILY,
    msd.FAMILY,
    trajectory.FAMILY,
    tension.FAMILY,
    compression.FAMILY,
    crystal.FAMILY,
    nanosphere.FAMILY,
    void.FAMILY,
    lj_liquid.FAMILY,
)

FAMILIES: tuple[Family, ...] = (
    *SIMULATION_FAMILIES,
    repair.repair_of(SIMULATION_FAMILIES),
)
