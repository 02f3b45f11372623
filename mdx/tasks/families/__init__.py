"""The task families, listed one by one.

A new family is a file beside these with a `draw` function and a `FAMILY`, named in the list below.
`ramps` and `spheres` hold what two families share.
"""

from collections.abc import Sequence

from mdx.errors import UsageError
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


def choose_families(names: Sequence[str]) -> tuple[Family, ...]:
    """Return the families of these names in their listed order; all if there are none.

    Repairs are of the chosen families' scripts, so a family that is held out is nowhere. Raises
    UsageError for a name that no family has.
    """
    known = {family.name: family for family in FAMILIES}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no task family {name!r}; there are {', '.join(known)}")
    bases = tuple(f for f in SIMULATION_FAMILIES if not names or f.name in names)
    repairs = (repair.repair_of(bases or SIMULATION_FAMILIES),)
    return (*bases, *(f for f in repairs if not names or f.name in names))
