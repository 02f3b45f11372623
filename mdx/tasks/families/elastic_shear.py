"""Elastic constants by finite shear: a crystal tilted by a few percent, its atoms relaxed."""

from random import Random

from mdx.tasks.families.strained import strained
from mdx.tasks.family import Family, Simulation, draw_static
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, same


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal whose energy under shear was measured."""
    material, cells = draw_static(rng, pool)
    while not material.shear_energy or material.structure == "hcp":
        material, cells = draw_static(rng, pool)
    percent, energy = rng.choice(material.shear_energy)
    tilt = percent / 100 * cells[1] * material.lattice_constant
    changes = [
        "change_box all triclinic",
        f"change_box all xy delta {tilt:.5g} remap units box",
    ]
    simulation = strained(material, cells, changes, energy)
    return simulation.asking({**simulation.slots, "strain": same(f"{percent} %")})


FAMILY = Family(
    name="elastic_shear",
    summary="Tilt a crystal in xy and relax its atoms, for C44 by finite differences.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "C44 of {crystal}: shear xy by {strain} of its height, minimise{extras}",
            "static xy shear of {strain} on {crystal}, relax atoms{extras}",
            "{crystal}, triclinic, xy tilt {strain} of ly, minimisation{extras}",
        ),
        textbook=(
            "Shear {crystal} by an engineering strain of {strain} in xy (triclinic box, atoms"
            " remapped) and minimise the energy of the atoms{extras}.",
            "For the elastic constant C44, tilt the box of {crystal} in xy by {strain} of its"
            " y length and relax the atoms{extras}.",
        ),
        goal=(
            "I need the energy of {crystal} after a static xy shear of {strain}, atoms relaxed, for"
            " C44{extras}.",
            "What does an xy shear strain of {strain} cost in {crystal}? Minimise in the tilted"
            " box{extras}.",
        ),
        steps=(
            "Build {crystal}. Make the box triclinic. Tilt xy by {strain} of ly with remap."
            " Minimise{extras}.",
            "1. {crystal} 2. triclinic 3. xy tilt of {strain}, remap 4. minimize{extras}",
        ),
        chinese=(
            "{crystal}，xy 剪切 {strain} 后最小化，用于 C44{extras}",
            "把 {crystal} 的盒子改为三斜并施加 {strain} 的 xy 剪切应变（原子随动），"
            "再弛豫原子{extras}。",
            "请用有限剪切法计算 C44：{crystal}，xy 剪切应变 {strain}，盒子固定，"
            "能量最小化{extras}。",
        ),
    ),
)
