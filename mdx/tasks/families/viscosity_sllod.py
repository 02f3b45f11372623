"""Viscosity by SLLOD: a fluid is sheared at a constant rate under a matching thermostat."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid and its shear rate."""
    fluid = draw_fluid(rng, heights=(3, 4))
    rate, t = rng.choice((0.05, 0.08, 0.1, 0.15, 0.2)), f"{fluid.temperature:g}"
    commands = [
        *fluid.atoms(("change_box all triclinic",)),
        f"fix 1 all nvt/sllod temp {t} {t} 0.5",
        f"fix 2 all deform 1 xy erate {rate:g} remap v",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nvt"),
        Check(kind=CheckKind.METHOD, text="nvt/sllod"),
        Check(kind=CheckKind.METHOD, text="deform"),
        # The streaming velocity is part of the plain temperature.
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature, tolerance=0.15),
    )
    return fluid.simulation(commands, checks, {"rate": number_slot(rate)})


FAMILY = Family(
    name="viscosity_sllod",
    summary="Shear a fluid at a constant rate with the SLLOD equations.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "SLLOD shear: {fluid}, T = {temperature}, xy rate {rate}, {run}{extras}",
            "{fluid}, fix nvt/sllod T* {temperature}, deform xy erate {rate} remap v,"
            " {run}{extras}",
            "NEMD viscosity, {fluid}, T {temperature}, shear rate {rate} in xy, {run}{extras}",
        ),
        textbook=(
            "Shear {fluid}, in xy at the rate {rate} with the SLLOD equations of motion and a"
            " thermostat at T = {temperature}, {run}{extras}.",
            "Simulate Couette flow of {fluid} at T = {temperature} by fix nvt/sllod and a box"
            " deformed in xy at {rate} (remap v), {run}{extras}.",
        ),
        goal=(
            "I want the viscosity of {fluid} at T = {temperature} and shear rate {rate} (xy) by"
            " SLLOD, {run}{extras}.",
            "Please shear {fluid}, homogeneously: nvt/sllod at T = {temperature}, xy rate {rate},"
            " {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. Make the box triclinic. Use nvt/sllod at {temperature}. Deform xy at"
            " {rate} with remap v. Run {run}{extras}.",
            "1. {fluid} 2. triclinic 3. nvt/sllod {temperature} 4. deform xy erate {rate} remap v"
            " 5. {run}{extras}",
        ),
        chinese=(
            "SLLOD 剪切：{fluid}，T = {temperature}，xy 剪切率 {rate}，{run}{extras}",
            "用 nvt/sllod 在 T = {temperature} 下以 {rate} 的剪切率对 {fluid} 做 xy 均匀剪切，"
            "{run}{extras}。",
            "请用 SLLOD 方法求 {fluid} 的粘度，温度 {temperature}，xy 剪切率 {rate}，"
            "{run}{extras}。",
        ),
    ),
)
