"""Uniaxial compression to a given fraction of the length."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, same, scale_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that is compressed by 1 to 6 % along one axis."""
    setting = draw_setting(rng, pool)
    percent = rng.randint(94, 99)
    t, axis = setting.temperature, rng.choice("xyz")
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all deform 1 {axis} scale {percent / 100:g}",
        *setting.run(),
    ]
    strain = percent / 100 - 1
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.STRAIN, target=round(strain, 6), axis=axis),
    )
    volume = round(setting.material.volume_per_atom * (1 + 0.75 * strain), 4)
    return setting.simulation(commands, checks, volume, scale=scale_slot(percent), axis=same(axis))


FAMILY = Family(
    name="compression",
    summary="Compress a crystal along one axis to a fraction of its length at constant T.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "compress {material} {cells} along {axis} to {scale}, {temperature}, NVT {steps},"
            " dt {timestep}{extras}",
            "compression: {material}, {cells} cells, {axis} to {scale}, {temperature},"
            " nvt {steps} of {timestep}{extras}",
            "{material} {cells} cells, scale {axis} to {scale}, NVT {temperature}, timestep"
            " {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Compress {cells} cells of {material} along {axis} to {scale} of the length at"
            " {temperature} (NVT) over {steps}, timestep {timestep}{extras}.",
            "Shorten a {cells} {material} crystal along {axis} to {scale} of its initial length"
            " under NVT at {temperature}, {steps}, timestep {timestep}{extras}.",
            "Crystalline {material}, {cells} cells, is compressed along {axis} to {scale} in NVT"
            " at {temperature}. Use a timestep of {timestep} and {steps}{extras}.",
        ),
        goal=(
            "I want {material} ({cells} cells) squeezed along {axis} to {scale} at {temperature},"
            " NVT {steps} at dt {timestep}{extras}.",
            "Please compress {cells} {material} along {axis} to {scale} at {temperature}, NVT,"
            " {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Thermostat with NVT at {temperature}. Compress"
            " {axis} to {scale}. Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT {temperature} 3. deform {axis} scale {scale}"
            " 4. dt {timestep} 5. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，沿 {axis} 压缩到 {scale}，NVT {temperature}，"
            "步长 {timestep}，运行 {steps}{extras}",
            "在 {temperature} 的 NVT 下沿 {axis} 方向把 {cells} 的 {material} 压缩到原长的"
            " {scale}，时间步长 {timestep}，共 {steps}{extras}。",
            "请对 {cells} 的 {material} 晶体做 {axis} 向压缩，长度变为 {scale}，{temperature}，"
            "NVT，步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
