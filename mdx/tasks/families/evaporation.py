"""Evaporation: atoms are removed at a steady rate from a fluid."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, number_slot, phrasings
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid, how many atoms leave it, and how often."""
    fluid = draw_fluid(rng, heights=(4, 6))
    every, count = rng.choice((20, 50, 100)), rng.choice((1, 2, 3))
    left = fluid.num_atoms - count * (fluid.num_steps // every)
    t = f"{fluid.temperature:g}"
    commands = [
        *fluid.atoms(),
        f"fix 1 all nvt temp {t} {t} 0.5",
        f"fix 2 all evaporate {every} {count} box {DEFAULT_SEED}",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nvt", left),
        Check(kind=CheckKind.METHOD, text="evaporate"),
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature, tolerance=0.05),
    )
    slots = {"every": every_slot(every), "count": number_slot(count)}
    return fluid.simulation(commands, checks, slots, left)


FAMILY = Family(
    name="evaporation",
    summary="Remove atoms from a fluid at a steady rate with fix evaporate.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "evaporation: {fluid}, NVT T = {temperature}, remove {count} {every} anywhere in the"
            " box, {run}{extras}",
            "{fluid}, nvt T* {temperature}, fix evaporate: {count} atoms {every} from the whole"
            " box, {run}{extras}",
            "{fluid}, T {temperature}, {every} {count} random atoms vanish (evaporate), nvt"
            " {run}{extras}",
        ),
        textbook=(
            "Remove {count} randomly chosen atoms {every} from the whole box of {fluid}, held at"
            " T = {temperature} in NVT (fix evaporate), {run}{extras}.",
            "Simulate steady evaporation: NVT at T = {temperature}, {fluid}, fix evaporate taking"
            " {count} {every} from the entire box, {run}{extras}.",
        ),
        goal=(
            "I want {fluid} at T = {temperature} that loses {count} {every} by fix evaporate,"
            " NVT, {run}{extras}.",
            "Please thin out {fluid}, NVT, T = {temperature}: fix evaporate, {count} atoms"
            " {every}, whole box, {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. NVT at {temperature}. Evaporate {count} {every} from the box region."
            " Run {run}{extras}.",
            "1. {fluid} 2. nvt {temperature} 3. evaporate {count} {every}, whole box"
            " 4. {run}{extras}",
        ),
        chinese=(
            "蒸发：{fluid}，NVT T = {temperature}，{every}从整个盒子移除 {count} 个原子，"
            "{run}{extras}",
            "在 T = {temperature} 的 NVT 下用 fix evaporate {every}随机删除 {fluid} 中 {count} 个"
            "原子（整个盒子），{run}{extras}。",
            "请模拟 {fluid} 的蒸发：温度 {temperature}，NVT，{every}去掉 {count} 个原子，"
            "{run}{extras}。",
        ),
    ),
)
