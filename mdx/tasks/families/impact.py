"""Impact: an atom or a small cluster hits a slab."""

from random import Random

from mdx.tasks.families.slabs import draw_slab
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a slab and the speed of one atom that comes from above."""
    slab = draw_slab(rng, pool)
    speed = rng.choice((20, 30, 40, 50, 60))  # Angstrom/ps
    height = rng.choice((2, 3, 4))
    nx, ny, nz = slab.cells
    commands = [
        *slab.atoms(
            (
                f"create_atoms 1 single {nx / 2 + 0.2:g} {ny / 2 + 0.1:g} {nz - 0.5 + height:g}",
                f"group shot id {slab.num_atoms + 1}",
            )
        ),
        f"velocity shot set 0 0 -{speed}",
        "fix 1 mobile nve",
        *slab.run(),
    ]
    slots = {
        "speed": same(f"{speed} A/ps"),
        "height": number_slot(height),
        "temperature": temperature_slot(2 * slab.temperature),
    }
    checks = (Check(kind=CheckKind.ENERGY_DRIFT, tolerance=0.05),)
    return slab.simulation(commands, checks, "nve", slots, slab.num_atoms + 1)


FAMILY = Family(
    name="impact",
    summary="Shoot an atom at a slab.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "impact of one atom on {slab}: {height} cells above the surface, {speed} downwards,"
            " slab velocities {temperature}, NVE, {run}{extras}",
            "{slab}; 1 projectile atom, {height} cells up, v = {speed}, slab created at"
            " {temperature}, nve {run}{extras}",
            "shoot an atom ({speed}) at {slab} from {height} cells, velocity create"
            " {temperature}, {run}{extras}",
        ),
        textbook=(
            "Let one atom of the same element, {height} cells above the top layer, hit {slab} at"
            " normal incidence with {speed}; initial velocities of the slab at {temperature}, NVE,"
            " {run}{extras}.",
            "Simulate the impact of a single atom (speed {speed}, started {height} cells above the"
            " top layer) on {slab}, velocities created at {temperature}, mobile atoms in NVE,"
            " {run}{extras}.",
        ),
        goal=(
            "What happens when an atom hits at {speed}? {slab}, projectile {height} cells above,"
            " slab at {temperature} initially, NVE, {run}{extras}.",
            "I want to bombard {slab} with one atom of {speed} from {height} cells above its"
            " surface, velocities {temperature}, NVE, {run}{extras}.",
        ),
        steps=(
            "Build {slab}. Add one atom {height} cells above the top layer. Create velocities at"
            " {temperature}. Give the atom {speed} downwards. NVE. Run {run}{extras}.",
            "1. {slab} 2. one atom {height} cells above 3. velocities {temperature}, atom -z"
            " {speed} 4. nve 5. {run}{extras}",
        ),
        chinese=(
            "单原子撞击 {slab}：高出表面 {height} 个晶胞，速度 {speed} 向下，板初速度"
            " {temperature}，NVE，{run}{extras}",
            "让一个同种原子从表面上方 {height} 个晶胞处以 {speed} 垂直撞击 {slab}，"
            "板的速度按 {temperature} 生成，NVE，{run}{extras}。",
            "请模拟轰击：{slab}，入射原子速度 {speed}，起始高度 {height} 个晶胞，初始温度"
            " {temperature}，NVE，{run}{extras}。",
        ),
    ),
)
