"""Grand-canonical Monte Carlo: a gas exchanges atoms with a reservoir."""

import math
from random import Random

from mdx.tasks.families.fluids import Fluid
from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings
from mdx.tasks.task import Check, CheckKind

_EXCHANGES = 40


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a gas that is near the density of its reservoir, and the chemical potential."""
    temperature, density = rng.choice((2.0, 2.5, 3.0)), rng.choice((0.06, 0.08, 0.1, 0.12))
    fluid = Fluid(
        density=density,
        temperature=temperature,
        edge=rng.choice((4, 5)),
        height=4,
        num_steps=rng.choice((300, 400, 500)),
    )
    # Ideal gas, whose thermal wavelength is 1 in units lj; the excess part is small.
    mu = round(temperature * math.log(density), 1)
    t = f"{temperature:g}"
    commands = [
        *fluid.atoms(),
        f"fix 1 all nvt temp {t} {t} 0.5",
        f"fix 2 all gcmc 10 {_EXCHANGES} 0 1 {DEFAULT_SEED} {t} {mu:g} 0.1",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nvt", fluid.num_atoms, tolerance=0.4),
        Check(kind=CheckKind.METHOD, text="gcmc"),
        Check(kind=CheckKind.TEMPERATURE, target=temperature, tolerance=0.1),
    )
    return fluid.simulation(commands, checks, {"mu": number_slot(mu)}, fluid.num_atoms)


FAMILY = Family(
    name="gcmc",
    summary="A Lennard-Jones gas in the grand-canonical ensemble by fix gcmc.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "GCMC: {fluid}, T = {temperature}, mu = {mu}, 40 exchanges every 10 steps, nvt,"
            " {run}{extras}",
            "{fluid}, nvt T* {temperature} + fix gcmc every 10 (40 exchanges, mu {mu}),"
            " {run}{extras}",
            "grand-canonical {fluid}, T {temperature}, chemical potential {mu}, every 10 steps 40"
            " insertions/deletions, {run}{extras}",
        ),
        textbook=(
            "Simulate {fluid}, as an open system: NVT dynamics at T = {temperature} and every 10"
            " steps 40 attempted exchanges with a reservoir of chemical potential {mu} (fix gcmc),"
            " {run}{extras}.",
            "Couple {fluid} at T = {temperature} (fix nvt) to a particle reservoir with"
            " mu = {mu}: fix gcmc, 40 exchange attempts each 10 steps, {run}{extras}.",
        ),
        goal=(
            "I want the equilibrium density at mu = {mu} and T = {temperature}: start from a"
            " {fluid}, GCMC with 40 exchanges every 10 steps plus NVT, {run}{extras}.",
            "Please let {fluid}, exchange atoms with a reservoir (mu = {mu}, T = {temperature},"
            " 40 tries every 10 steps) while it moves in NVT, {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. NVT at {temperature}. Fix gcmc every 10 steps with 40 exchanges,"
            " mu = {mu}. Run {run}{extras}.",
            "1. {fluid} 2. nvt {temperature} 3. gcmc 10 40 0, mu {mu} 4. {run}{extras}",
        ),
        chinese=(
            "GCMC：{fluid}，T = {temperature}，化学势 {mu}，每 10 步 40 次交换，NVT，{run}{extras}",
            "在 T = {temperature} 的 NVT 中用 fix gcmc 让 {fluid} 与化学势 {mu} 的粒子库交换"
            "（每 10 步尝试 40 次），{run}{extras}。",
            "请做巨正则模拟：{fluid}，温度 {temperature}，mu = {mu}，每 10 步 40 次插入或删除，"
            "同时 NVT，{run}{extras}。",
        ),
    ),
)
