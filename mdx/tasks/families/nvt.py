"""Constant temperature and volume with the Nose-Hoover thermostat."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal held at one temperature."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"fix 1 all nvt temp {t} {t} 0.1",
        *setting.run(),
    ]
    return setting.simulation(commands, setting.thermostat_checks("nvt"))


FAMILY = Family(
    name="nvt",
    summary="Hold a crystal at constant temperature and volume with a Nose-Hoover thermostat.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "NVT {material} {cells}, {temperature}, {steps}, dt {timestep}{extras}",
            "nvt: {material}, {cells} cells, {temperature}, {steps} of {timestep}{extras}",
            "{material} {cells} cells, NVT at {temperature}, timestep {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Simulate {cells} cells of {material} in the canonical (NVT) ensemble at {temperature}"
            " for {steps} with a timestep of {timestep}{extras}.",
            "Run molecular dynamics of a {cells} {material} crystal at constant volume and"
            " {temperature}, Nose-Hoover NVT, {steps}, timestep {timestep}{extras}.",
            "Crystalline {material}, {cells} cells, is kept at {temperature} by fix nvt. Use a"
            " timestep of {timestep} and {steps}{extras}.",
        ),
        goal=(
            "I want {material} ({cells} cells) thermalised at {temperature} with NVT,"
            " {steps} at dt {timestep}{extras}.",
            "Please equilibrate {cells} {material} at {temperature} in NVT for {steps},"
            " timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Thermostat with NVT at {temperature}."
            " Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT {temperature} 3. dt {timestep}"
            " 4. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，NVT 系综，{temperature}，步长 {timestep}，"
            "运行 {steps}{extras}",
            "在 {temperature} 下对 {cells} 的 {material} 做 NVT 模拟，时间步长 {timestep}，"
            "共 {steps}{extras}。",
            "请用 Nose-Hoover 热浴（NVT）把 {cells} 的 {material} 晶体保持在"
            " {temperature}，步长 {timestep}，"
            "{steps}{extras}。",
        ),
    ),
)
