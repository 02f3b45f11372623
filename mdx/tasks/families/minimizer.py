"""Minimisers: shake a crystal out of its minimum and let one of LAMMPS's minimisers find it."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, crystal_commands, num_atoms, potential_commands
from mdx.tasks.phrasing import crystal_slot, length_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind

_STYLES = ("cg", "sd", "fire", "quickmin", "hftn")
_STRUCTURES = ("fcc", "bcc", "diamond", "zb", "b2", "l12")


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, how far its atoms are displaced, and a minimiser."""
    material, cells = draw_static(rng, pool, _STRUCTURES, max_cost_us=4.0)
    style, shift = rng.choice(_STYLES), rng.choice((0.05, 0.08, 0.1, 0.12, 0.15))
    random = " ".join(3 * [f"{shift:g}"])
    return Simulation(
        commands=(
            *crystal_commands(material, cells),
            f"displace_atoms all random {random} {DEFAULT_SEED} units box",
            *potential_commands(material),
            f"min_style {style}",
            "minimize 0 1e-3 2000 20000",
        ),
        checks=(
            *crystal_checks(num_atoms(material, cells)),
            Check(kind=CheckKind.ENSEMBLE, text="minimize"),
            Check(kind=CheckKind.MINIMIZED),
            Check(kind=CheckKind.ENERGY, target=material.energy_per_atom, tolerance=0.0003),
        ),
        slots={
            "crystal": crystal_slot(material, cells),
            "shift": length_slot(shift),
            "style": same(style),
        },
        material=material,
        volume_per_atom=material.volume_per_atom,
    )


FAMILY = Family(
    name="minimizer",
    summary="Displace the atoms of a crystal at random and minimise with a given minimiser.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "{crystal}, random displacements up to {shift}, minimise with {style}{extras}",
            "min_style {style}: {crystal} displaced at random by {shift}{extras}",
            "rattle {crystal} by {shift}, relax with {style}{extras}",
        ),
        textbook=(
            "Displace the atoms of {crystal} at random by up to {shift} per direction and minimise"
            " the energy with the {style} minimiser{extras}.",
            "Starting from {crystal} with random displacements of at most {shift}, recover the"
            " perfect crystal with min_style {style}{extras}.",
        ),
        goal=(
            "Does {style} find the minimum of {crystal} after random displacements of"
            " {shift}? Minimise{extras}.",
            "I want to test the {style} minimiser on {crystal} rattled by {shift}{extras}.",
        ),
        steps=(
            "Build {crystal}. Displace all atoms at random by {shift}. Set min_style {style}."
            " Minimise{extras}.",
            "1. {crystal} 2. displace_atoms random {shift} 3. min_style {style}"
            " 4. minimize{extras}",
        ),
        chinese=(
            "{crystal}，随机位移 {shift}，用 {style} 最小化{extras}",
            "把 {crystal} 的原子随机移动最多 {shift}，再用 {style} 算法做能量最小化{extras}。",
            "请测试 {style} 最小化器：{crystal}，随机扰动 {shift}{extras}。",
        ),
    ),
)
