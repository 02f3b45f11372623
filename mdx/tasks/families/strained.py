"""Static deformation: what the two families of elastic constants share.

Not a family itself: `elastic` and `elastic_shear` build their simulations here.
"""

from mdx.tasks.family import Simulation, crystal_checks
from mdx.tasks.materials import Cells, Material, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import crystal_slot
from mdx.tasks.task import Check, CheckKind

ENERGY_TOLERANCE = 2e-5  # a strain of 1 % is about 1e-4 of the cohesive energy


def strained(
    material: Material,
    cells: Cells,
    changes: list[str],
    energy: float,
    checks: tuple[Check, ...] = (),
) -> Simulation:
    """Return the relaxation of a crystal after `changes` of its box, with its energy per atom."""
    return Simulation(
        commands=(
            *crystal_commands(material, cells),
            *changes,
            *potential_commands(material),
            "minimize 0 1e-5 400 4000",
        ),
        checks=(
            *crystal_checks(num_atoms(material, cells)),
            Check(kind=CheckKind.ENSEMBLE, text="minimize"),
            Check(kind=CheckKind.MINIMIZED),
            Check(kind=CheckKind.ENERGY, target=energy, tolerance=ENERGY_TOLERANCE),
            *checks,
        ),
        slots={"crystal": crystal_slot(material, cells)},
        material=material,
        volume_per_atom=material.volume_per_atom,
    )
