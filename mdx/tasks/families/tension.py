"""Uniaxial tension at a constant engineering strain rate."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, rate_slot, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that is stretched by 1 to 8 % along one axis."""
    while True:
        setting = draw_setting(rng, pool)
        rate = rng.choice((0.02, 0.04, 0.05, 0.06, 0.08, 0.1))  # 1/ps
        strain = rate * setting.num_steps * setting.timestep
        if 0.01 <= strain <= 0.08:
            break
    t, axis = setting.temperature, rng.choice("xyz")
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all deform 1 {axis} erate {rate:g}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.STRAIN, target=round(strain, 6), axis=axis),
    )
    volume = round(setting.material.volume_per_atom * (1 + 0.75 * strain), 4)
    return setting.simulation(commands, checks, volume, rate=rate_slot(rate), axis=same(axis))


FAMILY = Family(
    name="tension",
    summary="Stretch a crystal along one axis at a constant strain rate and temperature.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "tension of {material} {cells} along {axis}, rate {rate}, {temperature}, NVT {steps},"
            " dt {timestep}{extras}",
            "tensile: {material}, {cells} cells, {axis}, {rate}, {temperature}, nvt {steps} of"
            " {timestep}{extras}",
            "{material} {cells} cells, stretch {axis} at {rate}, NVT {temperature}, timestep"
            " {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Deform {cells} cells of {material} in uniaxial tension along {axis} at a strain rate"
            " of {rate} and {temperature} (NVT), {steps}, timestep {timestep}{extras}.",
            "Stretch a {cells} {material} crystal along {axis} with engineering strain rate {rate}"
            " under NVT at {temperature}, {steps}, timestep {timestep}{extras}.",
            "Crystalline {material}, {cells} cells, is pulled along {axis} at {rate} in NVT at"
            " {temperature}. Use a timestep of {timestep} and {steps}{extras}.",
        ),
        goal=(
            "I want the tensile response of {material} ({cells} cells) along {axis} at"
            " {temperature}, strain rate {rate}, NVT {steps} at dt {timestep}{extras}.",
            "Please pull {cells} {material} along {axis} at {rate} and {temperature}, NVT, {steps},"
            " timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Thermostat with NVT at {temperature}. Stretch along"
            " {axis} at {rate}. Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT {temperature} 3. deform {axis} erate {rate}"
            " 4. dt {timestep} 5. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，沿 {axis} 拉伸，应变率 {rate}，NVT {temperature}，"
            "步长 {timestep}，运行 {steps}{extras}",
            "在 {temperature} 的 NVT 下以应变率 {rate} 沿 {axis} 方向拉伸 {cells} 的 {material}，"
            "时间步长 {timestep}，共 {steps}{extras}。",
            "请对 {cells} 的 {material} 晶体做 {axis} 向单轴拉伸，应变率 {rate}，{temperature}，"
            "NVT，步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
