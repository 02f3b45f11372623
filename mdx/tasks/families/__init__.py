"""The task families, listed one by one.

A new family is a file beside these with a `draw` function and a `FAMILY`, named in the list below.
`ramps` and `spheres` hold what two families share.
"""

from collections.abc import Sequence

from mdx.errors import UsageError
from mdx.tasks.families import (
    berendsen,
    centrosymmetry,
    coexistence,
    compression,
    conductivity_ehex,
    conductivity_gk,
    conductivity_mp,
    coordination,
    crystal,
    csvr,
    deposition,
    dpd,
    elastic,
    elastic_shear,
    equation_of_state,
    equilibrate,
    evaporation,
    gcmc,
    heat_capacity,
    heating,
    impact,
    indentation,
    interstitial,
    langevin,
    lattice_constant,
    lj_diffusion,
    lj_liquid,
    melt_quench,
    minimizer,
    morse,
    msd,
    nanoparticle_melting,
    nanosphere,
    noble_gas,
    nph,
    npt,
    npt_flexible,
    nve,
    nvt,
    other_phase,
    profile,
    quench,
    rdf,
    repair,
    restart,
    shear,
    stress_strain,
    surface,
    tension,
    thermal_expansion,
    trajectory,
    vacancy,
    vacf,
    viscosity_mp,
    viscosity_sllod,
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
    berendsen.FAMILY,
    centrosymmetry.FAMILY,
    coexistence.FAMILY,
    coordination.FAMILY,
    csvr.FAMILY,
    elastic.FAMILY,
    elastic_shear.FAMILY,
    equilibrate.FAMILY,
    heat_capacity.FAMILY,
    interstitial.FAMILY,
    melt_quench.FAMILY,
    minimizer.FAMILY,
    nanoparticle_melting.FAMILY,
    nph.FAMILY,
    npt_flexible.FAMILY,
    other_phase.FAMILY,
    profile.FAMILY,
    restart.FAMILY,
    shear.FAMILY,
    stress_strain.FAMILY,
    thermal_expansion.FAMILY,
    vacf.FAMILY,
    conductivity_ehex.FAMILY,
    conductivity_gk.FAMILY,
    conductivity_mp.FAMILY,
    deposition.FAMILY,
    dpd.FAMILY,
    evaporation.FAMILY,
    gcmc.FAMILY,
    impact.FAMILY,
    indentation.FAMILY,
    lj_diffusion.FAMILY,
    morse.FAMILY,
    noble_gas.FAMILY,
    viscosity_mp.FAMILY,
    viscosity_sllod.FAMILY,
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
