"""Constant temperature by friction and noise: a Langevin thermostat on NVE."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal in a Langevin bath."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    commands = [
        *setting.crystal(),
        setting.velocity(),
        "fix 1 all nve",
        f"fix 2 all langevin {t} {t} 0.1 {setting.seed}",
        *setting.run(),
    ]
    return setting.simulation(commands, setting.thermostat_checks("langevin"))


FAMILY = Family(
    name="langevin",
    summary="Hold a crystal at constant temperature with a Langevin thermostat.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "Langevin {material} {cells}, {temperature}, {steps}, dt {timestep}{extras}",
            "langevin: {material}, {cells} cells, {temperature}, {steps} of {timestep}{extras}",
            "{material} {cells} cells, fix langevin at {temperature}, timestep {timestep},"
            " {steps}{extras}",
        ),
        textbook=(
            "Perform Langevin dynamics of {cells} cells of {material} at {temperature} for {steps}"
            " with a timestep of {timestep}{extras}.",
            "Couple a {cells} {material} crystal to a Langevin heat bath at {temperature}, {steps},"
            " timestep {timestep}{extras}.",
            "Crystalline {material}, {cells} cells, is kept at {temperature} by fix langevin. Use"
            " a timestep of {timestep} and {steps}{extras}.",
        ),
        goal=(
            "I want {material} ({cells} cells) thermalised at {temperature} with a Langevin"
            " thermostat, {steps} at dt {timestep}{extras}.",
            "Please equilibrate {cells} {material} at {temperature} with friction and noise"
            " (Langevin) for {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Add a Langevin thermostat at {temperature}."
            " Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. Langevin {temperature} 3. dt {timestep}"
            " 4. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，Langevin 热浴，{temperature}，步长 {timestep}，"
            "运行 {steps}{extras}",
            "在 {temperature} 下对 {cells} 的 {material} 做朗之万（Langevin）动力学，"
            "时间步长 {timestep}，共 {steps}{extras}。",
            "请用 Langevin 恒温器把 {cells} 的 {material} 晶体保持在 {temperature}，"
            "步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
