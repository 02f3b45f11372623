"""The Lennard-Jones fluid in reduced units: what transport and open systems share.

Not a family itself. A `Fluid` is an fcc crystal of `edge` cubed cells that melts at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from mdx.tasks.family import DEFAULT_SEED, Simulation
from mdx.tasks.phrasing import Slot, number_slot, reduced_run_slot
from mdx.tasks.task import Check, CheckKind, Potential

CUTOFF = 2.5
TIMESTEP = 0.005


@dataclass(frozen=True, kw_only=True)
class Fluid:
    """A Lennard-Jones fluid in a box of edge x edge x height fcc cells."""

    density: float
    temperature: float
    edge: int
    height: int
    num_steps: int

    @property
    def num_atoms(self) -> int:
        """Atoms at the start."""
        return 4 * self.edge**2 * self.height

    def atoms(self, changes: tuple[str, ...] = ()) -> list[str]:
        """Return the commands up to the velocities; `changes` follow the atoms' creation."""
        return [
            "units lj",
            f"lattice fcc {self.density:g}",
            f"region box block 0 {self.edge} 0 {self.edge} 0 {self.height}",
            "create_box 1 box",
            "create_atoms 1 box",
            *changes,
            "mass 1 1",
            f"pair_style lj/cut {CUTOFF:g}",
            "pair_coeff * * 1 1",
            f"velocity all create {2 * self.temperature:g} {DEFAULT_SEED}",
        ]

    def run(self) -> list[str]:
        """Return the commands that integrate."""
        return [f"timestep {TIMESTEP:g}", f"run {self.num_steps}"]

    def checks(
        self, ensemble: str, atoms: float | None = None, tolerance: float = 0.0
    ) -> tuple[Check, ...]:
        """Return the checks of every fluid; `atoms` where they are not those of the start."""
        count = self.num_atoms if atoms is None else atoms
        return (
            Check(kind=CheckKind.UNITS, text="lj"),
            Check(kind=CheckKind.NUM_ATOMS, target=count, tolerance=tolerance),
            Check(kind=CheckKind.FINITE),
            Check(kind=CheckKind.ENSEMBLE, text=ensemble),
            Check(kind=CheckKind.NUM_STEPS, target=self.num_steps),
            Check(kind=CheckKind.TIMESTEP, target=TIMESTEP),
        )

    def simulation(
        self,
        commands: list[str],
        checks: tuple[Check, ...],
        slots: Mapping[str, Slot],
        atoms: float | None = None,
    ) -> Simulation:
        """Return the simulation; its texts say the fluid, its temperature and the run."""
        return Simulation(
            commands=tuple(commands),
            checks=checks,
            slots={
                "fluid": self.slot(),
                "temperature": number_slot(self.temperature),
                "run": reduced_run_slot(self.num_steps, TIMESTEP),
                **slots,
            },
            potential=Potential(style=f"lj/cut {CUTOFF:g}", coeffs=("* * 1 1",)),
            volume_per_atom=None if atoms else round(1 / self.density, 6),
            num_steps=self.num_steps,
        )

    def slot(self) -> Slot:
        """Say an LJ fluid of 4x4x4 fcc cells (density 0.8, cutoff 2.5)."""
        cells, rho = f"{self.edge}x{self.edge}x{self.height}", f"{self.density:g}"
        return Slot(
            english=(
                f"an LJ fluid of {cells} fcc cells (density {rho}, cutoff {CUTOFF:g})",
                f"a Lennard-Jones fluid ({cells} fcc cells, rho* = {rho}, rc = {CUTOFF:g})",
            ),
            chinese=(
                f"LJ 流体（{cells} 个 fcc 晶胞，密度 {rho}，截断 {CUTOFF:g}）",
                f"Lennard-Jones 流体（{cells} 晶胞，rho* = {rho}，截断半径 {CUTOFF:g}）",
            ),
        )


def draw_fluid(
    rng: Random,
    *,
    densities: tuple[float, ...] = (0.7, 0.75, 0.8, 0.85),
    temperatures: tuple[float, ...] = (1.0, 1.2, 1.35, 1.5, 1.8),
    heights: tuple[int, ...] = (4, 6, 8),
) -> Fluid:
    """Draw a dense fluid, longer along z than along x and y."""
    return Fluid(
        density=rng.choice(densities),
        temperature=rng.choice(temperatures),
        edge=rng.choice((3, 4)),
        height=rng.choice(heights),
        num_steps=rng.choice((300, 400, 500, 600)),
    )
