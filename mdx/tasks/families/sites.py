"""Geometry: what families that only build have in common.

Not a family itself. Each of them writes one data file whose atoms are counted here.
"""

from random import Random

from mdx.tasks.family import Simulation
from mdx.tasks.materials import Cells, Material, Pool, crystal_commands, mass_commands
from mdx.tasks.phrasing import Slot, same
from mdx.tasks.task import Check, CheckKind

FILES = ("structure.data", "data.structure", "system.data", "data.lmp", "model.data")


def draw_elemental(rng: Random, pool: Pool, structures: tuple[str, ...]) -> Material:
    """Draw a default material of one of the structures."""
    return rng.choice([m for m in pool.cubic_defaults if m.structure in structures])


def built(
    material: Material,
    commands: list[str],
    atoms: int,
    volume: float,
    file: str,
    slots: dict[str, Slot],
    checks: tuple[Check, ...] = (),
) -> Simulation:
    """Return the simulation that ends in `write_data`; `volume` is the box's (Angstrom^3)."""
    return Simulation(
        commands=(*commands, f"write_data {file}"),
        checks=(
            Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
            Check(kind=CheckKind.DATA_FILE, file=file, target=atoms),
            *checks,
        ),
        slots={**slots, "file": same(file)},
        material=material,
        volume_per_atom=round(volume / atoms, 4),
    )


def box_commands(material: Material, cells: Cells, num_types: int = 1) -> list[str]:
    """Return the commands up to an empty box of `cells`."""
    commands = crystal_commands(material, cells)[:4]
    return [*commands[:3], f"create_box {num_types} box"]


def masses(material: Material, num_types: int = 1) -> list[str]:
    """Return the mass of an element for each of the types."""
    [mass] = mass_commands(material)
    return [mass.replace("mass 1", f"mass {i + 1}") for i in range(num_types)]
