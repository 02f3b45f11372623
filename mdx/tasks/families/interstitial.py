"""A self-interstitial: one atom is added on an octahedral site and everything relaxes."""

from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import crystal_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal whose interstitial energy was measured."""
    material, cells = draw_static(rng, pool, ("fcc", "bcc"))
    while material.interstitial_energy is None:
        material, cells = draw_static(rng, pool, ("fcc", "bcc"))
    atoms = num_atoms(material, cells) + 1
    site = "0.5 0.5 0.5" if material.structure == "fcc" else "0.5 0.5 0"
    energy = material.energy_per_atom + material.interstitial_energy / atoms
    return Simulation(
        commands=(
            *crystal_commands(material, cells),
            f"create_atoms 1 single {site}",
            *potential_commands(material),
            "minimize 0 1e-4 400 4000",
        ),
        checks=(
            *crystal_checks(atoms),
            Check(kind=CheckKind.ENSEMBLE, text="minimize"),
            Check(kind=CheckKind.MINIMIZED),
            Check(kind=CheckKind.ENERGY, target=round(energy, 5), tolerance=0.004),
        ),
        slots={"crystal": crystal_slot(material, cells)},
        material=material,
        volume_per_atom=round(material.volume_per_atom * (atoms - 1) / atoms, 4),
    )


FAMILY = Family(
    name="interstitial",
    summary="Add an atom on an octahedral site of a metal and relax at fixed box.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "octahedral self-interstitial in {crystal}, minimise{extras}",
            "{crystal} + 1 atom on an octahedral site, relax at fixed box{extras}",
            "interstitial in {crystal} (octahedral), energy minimisation{extras}",
        ),
        textbook=(
            "Insert one extra atom on an octahedral site of {crystal} and minimise the energy at"
            " fixed box{extras}.",
            "Relax the atoms around an octahedral self-interstitial in {crystal}{extras}.",
        ),
        goal=(
            "What is the formation energy of an octahedral self-interstitial in {crystal}? Relax at"
            " constant volume{extras}.",
            "I need the relaxed energy of {crystal} with one atom too many on an octahedral"
            " site{extras}.",
        ),
        steps=(
            "Build {crystal}. Create one atom on an octahedral site. Minimise{extras}.",
            "1. {crystal} 2. create_atoms single on the octahedral site 3. minimize{extras}",
        ),
        chinese=(
            "{crystal} 八面体自间隙，最小化{extras}",
            "在 {crystal} 的八面体间隙位置加入一个原子，盒子固定，能量最小化{extras}。",
            "请计算 {crystal} 中八面体自间隙原子的形成能，定容弛豫{extras}。",
        ),
    ),
)
