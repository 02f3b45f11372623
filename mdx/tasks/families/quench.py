"""A linear cooling ramp at constant volume."""

from random import Random

from mdx.tasks.families.ramps import draw_ramp_setting, ramp
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that is cooled to at most half of its temperature."""
    setting, low, high = draw_ramp_setting(rng, pool)
    return ramp(setting, high, low)


FAMILY = Family(
    name="quench",
    summary="Cool a crystal linearly from one temperature to another at constant volume.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "quench {material} {cells} from {start} to {end}, {steps}, dt {timestep}{extras}",
            "cooling ramp: {material}, {cells} cells, {start} -> {end}, NVT,"
            " {steps} of {timestep}{extras}",
            "{material} {cells} cells, {start} to {end} quench, timestep {timestep},"
            " {steps}{extras}",
        ),
        textbook=(
            "Cool {cells} cells of {material} linearly from {start} to {end} at constant volume"
            " over {steps}, timestep {timestep}{extras}.",
            "Lower the temperature of a {cells} {material} crystal from {start} to {end} with a"
            " Nose-Hoover thermostat in {steps}, timestep {timestep}{extras}.",
            "Crystalline {material}, {cells} cells, is quenched from {start} to {end} in NVT. Use"
            " a timestep of {timestep} and {steps}{extras}.",
        ),
        goal=(
            "I want to quench {material} ({cells} cells) from {start} down to {end}, {steps} at dt"
            " {timestep}{extras}.",
            "Please cool {cells} {material} from {start} to {end} within {steps}, timestep"
            " {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Start at {start}. Cool to {end} with NVT."
            " Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT cooling {start} to {end} 3. dt {timestep}"
            " 4. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，从 {start} 降温到 {end}，步长 {timestep}，"
            "运行 {steps}{extras}",
            "在 NVT 下把 {cells} 的 {material} 从 {start} 线性冷却到 {end}，时间步长 {timestep}，"
            "共 {steps}{extras}。",
            "请将 {cells} 的 {material} 晶体由 {start} 淬火至 {end}，步长 {timestep}，"
            "{steps}{extras}。",
        ),
    ),
)
