"""Elastic constants by finite strain: a relaxed crystal, strained along x by a percent or two."""

from random import Random

from mdx.tasks.families.strained import strained
from mdx.tasks.family import Family, Simulation, draw_static
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal whose energy under uniaxial strain was measured."""
    material, cells = draw_static(rng, pool)
    while not material.uniaxial_energy:
        material, cells = draw_static(rng, pool)
    percent, energy = rng.choice(material.uniaxial_energy)
    length = cells[0] * material.lattice_constant * (1 + percent / 100)
    box = Check(kind=CheckKind.BOX_LENGTH, target=round(length, 4), tolerance=0.001, axis="x")
    change = f"change_box all x scale {1 + percent / 100:g} remap"
    simulation = strained(material, cells, [change], energy, (box,))
    sign = "+" if percent > 0 else "-"
    return simulation.asking({**simulation.slots, "strain": same(f"{sign}{abs(percent)} %")})


FAMILY = Family(
    name="elastic",
    summary="Strain a crystal along x and relax its atoms, for C11 by finite differences.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "C11 of {crystal}: strain x by {strain}, minimise{extras}",
            "uniaxial strain {strain} (x) on {crystal}, relax atoms{extras}",
            "{crystal}, x scaled by {strain}, static minimisation{extras}",
        ),
        textbook=(
            "Strain {crystal} uniaxially by {strain} along x at fixed y and z and minimise the"
            " energy with respect to the atoms{extras}.",
            "For the elastic constant C11, apply a strain of {strain} along x to {crystal} with"
            " remapped atoms and relax them in the fixed box{extras}.",
        ),
        goal=(
            "I need the energy of {crystal} under {strain} of strain along x, atoms relaxed, for"
            " C11{extras}.",
            "How much energy does it cost to strain {crystal} by {strain} in x? Minimise at fixed"
            " box{extras}.",
        ),
        steps=(
            "Build {crystal}. Scale x by {strain} with remap. Minimise{extras}.",
            "1. {crystal} 2. change_box x, {strain}, remap 3. minimize{extras}",
        ),
        chinese=(
            "{crystal}，沿 x 施加 {strain} 应变后最小化，用于 C11{extras}",
            "对 {crystal} 沿 x 施加 {strain} 的单轴应变（y、z 不变），弛豫原子并求能量{extras}。",
            "请用有限应变法计算 C11：{crystal} 的 x 方向应变 {strain}，盒子固定，能量最小化"
            "{extras}。",
        ),
    ),
)
