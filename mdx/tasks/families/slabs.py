"""Slabs with vacuum above: what impact, indentation and deposition share.

Not a family itself. The lowest layer of cells is held still: nothing integrates its atoms.
"""

from dataclasses import dataclass
from random import Random

from mdx.tasks.family import DEFAULT_SEED, Simulation, crystal_checks, draw_material
from mdx.tasks.materials import Material, Pool, num_atoms, potential_commands
from mdx.tasks.phrasing import Slot, run_slot
from mdx.tasks.task import Check, CheckKind

VACUUM = 6  # cells
_STRUCTURES = {"fcc": (4, 4, 3), "bcc": (5, 5, 4)}
MAX_COST_US = 3.0


@dataclass(frozen=True, kw_only=True)
class Slab:
    """A slab of some cells below vacuum, its lowest layer held still."""

    material: Material
    cells: tuple[int, int, int]
    temperature: int
    num_steps: int
    timestep: float

    @property
    def num_atoms(self) -> int:
        """Atoms of the slab."""
        return num_atoms(self.material, self.cells)

    def atoms(self, more: tuple[str, ...] = ()) -> list[str]:
        """Return the commands up to the velocities; `more` follow the slab's atoms."""
        nx, ny, nz = self.cells
        a, lattice = self.material.lattice_constant, self.material.crystal.lattice
        top = nz - 0.25  # half a layer above the highest
        return [
            "units metal",
            f"lattice {lattice} {a:g}",
            f"region box block 0 {nx} 0 {ny} 0 {nz + VACUUM}",
            "create_box 1 box",
            f"region slab block INF INF INF INF 0 {top:g}",
            "create_atoms 1 region slab",
            "region low block INF INF INF INF INF 0.75",
            "group fixed region low",
            *more,
            "group mobile subtract all fixed",
            *potential_commands(self.material),
            f"velocity mobile create {2 * self.temperature} {DEFAULT_SEED}",
        ]

    def run(self) -> list[str]:
        """Return the commands that integrate."""
        return [f"timestep {self.timestep:g}", f"run {self.num_steps}"]

    def simulation(
        self,
        commands: list[str],
        checks: tuple[Check, ...],
        ensemble: str,
        slots: dict[str, Slot],
        atoms: int | None = None,
    ) -> Simulation:
        """Return the simulation; texts say the slab and the run."""
        count = self.num_atoms if atoms is None else atoms
        nx, ny, nz = self.cells
        volume = nx * ny * (nz + VACUUM) * self.material.lattice_constant**3 / count
        return Simulation(
            commands=tuple(commands),
            checks=(
                *crystal_checks(count),
                Check(kind=CheckKind.ENSEMBLE, text=ensemble, tolerance=0.4),
                Check(kind=CheckKind.NUM_STEPS, target=self.num_steps),
                Check(kind=CheckKind.TIMESTEP, target=self.timestep),
                *checks,
            ),
            slots={
                "slab": self.slot(),
                "run": run_slot(self.num_steps, self.timestep),
                **slots,
            },
            material=self.material,
            volume_per_atom=round(volume, 4),
            num_steps=self.num_steps,
        )

    def slot(self) -> Slot:
        """Say a slab of 4x4x3 Cu cells below 6 cells of vacuum."""
        size, m = "x".join(map(str, self.cells)), self.material
        article = "an" if m.english[0] in "aeiou" else "a"
        return Slot(
            english=(
                f"a slab of {size} {m.name} cells below {VACUUM} cells of vacuum (lowest cell layer"
                " fixed)",
                f"{article} {m.english} slab ({size} cells, {VACUUM} cells of vacuum above, bottom"
                " cell layer fixed)",
            ),
            chinese=(
                f"{m.name} 平板（{size} 晶胞，上方真空 {VACUUM} 个晶胞，最下一层晶胞固定）",
                f"{m.chinese}板（{size} 晶胞，真空层 {VACUUM} 个晶胞，底层晶胞固定）",
            ),
        )


def draw_slab(rng: Random, pool: Pool) -> Slab:
    """Draw a cheap metal and what its slab goes through."""
    while True:
        material = draw_material(rng, pool)
        if material.structure in _STRUCTURES and material.cost_us <= MAX_COST_US:
            break
    return Slab(
        material=material,
        cells=_STRUCTURES[material.structure],
        temperature=50 * rng.randint(1, 6),
        num_steps=rng.choice((300, 400, 500)),
        timestep=0.5 * material.timestep,
    )
