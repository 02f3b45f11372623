"""Constant energy: velocities are drawn once and nothing thermostats them."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal with initial velocities at the stated temperature."""
    setting = draw_setting(rng, pool)
    commands = [
        *setting.crystal(),
        f"velocity all create {setting.temperature} {setting.seed}",
        "fix 1 all nve",
        *setting.run(),
    ]
    checks = (
        *setting.checks("nve"),
        Check(kind=CheckKind.ENERGY_DRIFT),
        # Equipartition: half of the stated temperature stays kinetic on a perfect lattice.
        Check(kind=CheckKind.TEMPERATURE, target=setting.temperature / 2, tolerance=0.15),
    )
    return setting.simulation(commands, checks)


FAMILY = Family(
    name="nve",
    summary="Integrate a crystal at constant energy from velocities of a given temperature.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "NVE {material} {cells}, velocities at {temperature}, {steps}, dt {timestep}{extras}",
            "nve: {material}, {cells} cells, initial {temperature}, {steps} of {timestep}{extras}",
            "{material} {cells} cells, velocity create {temperature}, NVE {steps},"
            " timestep {timestep}{extras}",
        ),
        textbook=(
            "Simulate {cells} cells of {material} in the microcanonical (NVE) ensemble, initial"
            " velocities drawn at {temperature}, {steps}, timestep {timestep}{extras}.",
            "Integrate a {cells} {material} crystal at constant energy. The velocities start at"
            " {temperature}; use {steps} and a timestep of {timestep}{extras}.",
            "Run crystalline {material} of {cells} cells with fix nve from velocities of"
            " {temperature}, timestep {timestep}, {steps}{extras}.",
        ),
        goal=(
            "I want to see energy conservation of {material} ({cells} cells) in NVE, initial"
            " temperature {temperature}, {steps} at dt {timestep}{extras}.",
            "Please run {cells} {material} without a thermostat (NVE), started at {temperature},"
            " {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Create velocities at {temperature}. Integrate with"
            " NVE. Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. velocities {temperature} 3. NVE 4. dt {timestep}"
            " 5. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，NVE 系综，初始速度 {temperature}，步长 {timestep}，"
            "运行 {steps}{extras}",
            "对 {cells} 的 {material} 做 NVE 模拟，初始温度 {temperature}，时间步长 {timestep}，"
            "共 {steps}{extras}。",
            "请用微正则系综（NVE）模拟 {cells} 的 {material} 晶体，速度按 {temperature} 生成，"
            "步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
