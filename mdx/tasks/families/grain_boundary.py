"""A twist grain boundary: two fcc grains turned against each other about z (sigma 5)."""

from math import sqrt
from random import Random

from mdx.tasks.family import Family, Simulation, crystal_checks, draw_static
from mdx.tasks.materials import Pool, potential_commands
from mdx.tasks.phrasing import cells_slot, material_slot, phrasings
from mdx.tasks.task import Check, CheckKind

_TOLERANCE = 0.1  # of the cohesive energy: boundaries cost a few percent of it in so small a box


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an fcc metal and the repeats of its coincidence cell."""
    material, _ = draw_static(rng, pool, ("fcc",), max_cost_us=4.0)
    n, nz = 1, rng.choice((2, 3, 4))
    a = material.lattice_constant
    x, z = n * sqrt(10) * a, nz * a  # [3 1 0] and [3 -1 0] are as long; z of one grain
    atoms = 2 * round(4 * x * x * z / a**3)
    commands = (
        "units metal",
        f"lattice fcc {a:g} orient x 3 1 0 orient y -1 3 0 orient z 0 0 1",
        f"region box block 0 {x:.8g} 0 {x:.8g} {-z:.8g} {z:.8g} units box",
        "create_box 1 box",
        "region lower block INF INF INF INF INF -0.01 units box",
        "region upper block INF INF INF INF -0.01 INF units box",
        "create_atoms 1 region lower",
        f"lattice fcc {a:g} orient x 3 -1 0 orient y 1 3 0 orient z 0 0 1",
        "create_atoms 1 region upper",
        *potential_commands(material),
        "minimize 0 1e-4 400 4000",
    )
    checks = (
        *crystal_checks(atoms),
        Check(kind=CheckKind.ENSEMBLE, text="minimize"),
        Check(kind=CheckKind.MINIMIZED),
        Check(kind=CheckKind.ENERGY, target=material.energy_per_atom, tolerance=_TOLERANCE),
        Check(kind=CheckKind.BOX_LENGTH, target=round(x, 4), tolerance=0.002, axis="x"),
        Check(kind=CheckKind.BOX_LENGTH, target=round(2 * z, 4), tolerance=0.002, axis="z"),
    )
    return Simulation(
        commands=commands,
        checks=checks,
        slots={"material": material_slot(material), "height": cells_slot((n, n, nz))},
        material=material,
        volume_per_atom=material.volume_per_atom,
    )


FAMILY = Family(
    name="grain_boundary",
    summary="Relax a sigma 5 twist boundary between two fcc grains.",
    draw=draw,
    names_potential=True,
    phrasings=phrasings(
        terse=(
            "sigma 5 (001) twist boundary in {material}: x [310] / [3-10], each grain {height}"
            " periods ([310], [-130], [001]), minimise{extras}",
            "{material} bicrystal, lower grain x [310], upper x [3-10], {height} periods each in"
            " [310] [-130] [001], relax{extras}",
            "twist grain boundary, {material}, sigma 5, grains of {height} periods (sqrt(10) a,"
            " sqrt(10) a, a), minimisation{extras}",
        ),
        textbook=(
            "Build a sigma 5 twist boundary of {material} normal to z: lower grain with x [310],"
            " upper grain with x [3-10], each {height} periods of length sqrt(10) a, sqrt(10) a and"
            " a; minimise the energy at fixed box{extras}.",
            "Relax a periodic bicrystal of {material} whose halves (each {height} periods of [310],"
            " [-130], [001]) are turned about z against each other, x [310] below and [3-10]"
            " above{extras}.",
        ),
        goal=(
            "What is the energy of the sigma 5 (001) twist boundary in {material}? Grains of"
            " {height} periods ([310], [-130], [001]), x [310] and [3-10], minimised{extras}.",
            "I need a relaxed twist boundary in {material}: x [310] below z = 0, x [3-10] above,"
            " each {height} periods ([310], [-130], [001]){extras}.",
        ),
        steps=(
            "Make a box for two grains of {height} periods ([310], [-130], [001]) stacked in z."
            " Fill the lower with {material}, x [310], the upper with x [3-10]. Minimise{extras}.",
            "1. {material}, two grains of {height} periods ([310], [-130], [001]) 2. lower x [310],"
            " upper x [3-10] 3. minimize{extras}",
        ),
        chinese=(
            "{material} 的 Σ5 (001) 扭转晶界：下晶粒 x [310]，上晶粒 x [3-10]，各 {height} 个周期"
            "（[310]、[-130]、[001]），最小化{extras}",
            "沿 z 堆叠两个 {material} 晶粒（各 {height} 个 [310]、[-130]、[001] 周期），下方 x 沿"
            " [310]，上方沿 [3-10]，固定盒子做能量最小化{extras}。",
            "请计算 {material} Σ5 扭转晶界的能量：两晶粒各 {height} 周期（[310]、[-130]、[001]），"
            "x 分别为 [310] 与 [3-10]，弛豫{extras}。",
        ),
    ),
)
