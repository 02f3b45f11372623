"""Spheres in crystals: what nanospheres and voids share.

Not a family itself: `nanosphere` and `void` draw their spheres here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from mdx.tasks.materials import Material
from mdx.tasks.phrasing import Slot, cells_slot, material_slot, number_slot, same

# Lattice units; none passes through a site (16 r^2 is no integer).
RADII = tuple(r / 10 for r in range(12, 50) if (16 * r * r) % 100 != 0)
FILES = ("sphere.data", "data.sphere", "system.data", "data.lmp")


@dataclass(frozen=True, kw_only=True)
class Sphere:
    """A sphere in the middle of a cubic box, and the file it ends in."""

    edge: int  # of the box, in cells
    radius: float  # lattice units
    file: str

    @property
    def region(self) -> str:
        """The region command of the sphere."""
        return f"region ball sphere {' '.join(3 * [f'{self.edge / 2:g}'])} {self.radius:g}"

    @property
    def write(self) -> str:
        """The command that writes the data file."""
        return f"write_data {self.file}"


def draw_sphere(rng: Random, edges: tuple[int, ...]) -> Sphere:
    """Draw a sphere with at least half a cell between it and the faces of its box."""
    edge = rng.choice(edges)
    radius = rng.choice([r for r in RADII if 2 * r <= edge - 1])
    return Sphere(edge=edge, radius=radius, file=rng.choice(FILES))


def sphere_slots(material: Material, sphere: Sphere) -> Mapping[str, Slot]:
    """Return the slots of a sphere's family."""
    return {
        "material": material_slot(material),
        "cells": cells_slot((sphere.edge,) * 3),
        "radius": number_slot(sphere.radius),
        "file": same(sphere.file),
    }
