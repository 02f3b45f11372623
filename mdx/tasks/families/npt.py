"""Constant temperature and zero pressure: the box breathes isotropically."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal at zero pressure."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"fix 1 all npt temp {t} {t} 0.1 iso 0 0 0.5",
        *setting.run(),
    ]
    volume = round(setting.material.volume_per_atom_at(t), 4)
    checks = (
        *setting.thermostat_checks("npt"),
        Check(kind=CheckKind.PRESSURE, target=0),
        Check(kind=CheckKind.VOLUME, target=volume),
    )
    return setting.simulation(commands, checks, volume)


FAMILY = Family(
    name="npt",
    summary="Hold a crystal at constant temperature and zero pressure.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "NPT {material} {cells}, {temperature}, 0 bar, {steps}, dt {timestep}{extras}",
            "npt: {material}, {cells} cells, {temperature}, zero pressure,"
            " {steps} of {timestep}{extras}",
            "{material} {cells} cells, NPT iso at {temperature} and P = 0, timestep {timestep},"
            " {steps}{extras}",
        ),
        textbook=(
            "Simulate {cells} cells of {material} in the isothermal-isobaric (NPT) ensemble at"
            " {temperature} and zero pressure for {steps}, timestep {timestep}{extras}.",
            "Run molecular dynamics of a {cells} {material} crystal at constant pressure 0 and"
            " {temperature}, NPT, {steps}, timestep {timestep}{extras}.",
            "Crystalline {material}, {cells} cells, is kept at {temperature} and 0 bar by fix npt."
            " Use a timestep of {timestep} and {steps}{extras}.",
        ),
        goal=(
            "I want the volume of {material} ({cells} cells) at {temperature} and zero pressure"
            " from NPT, {steps} at dt {timestep}{extras}.",
            "Please equilibrate {cells} {material} at {temperature} and no pressure in NPT for"
            " {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Apply NPT at {temperature} and 0 bar."
            " Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NPT iso {temperature}, 0 bar 3. dt {timestep}"
            " 4. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，NPT 系综，{temperature}，零压，步长 {timestep}，"
            "运行 {steps}{extras}",
            "在 {temperature} 和零压下对 {cells} 的 {material} 做 NPT 模拟，时间步长 {timestep}，"
            "共 {steps}{extras}。",
            "请用 NPT 把 {cells} 的 {material} 晶体保持在 {temperature}、0 bar，步长 {timestep}，"
            "{steps}{extras}。",
        ),
    ),
)
