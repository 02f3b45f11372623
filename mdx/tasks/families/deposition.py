"""Deposition: atoms land on a slab, one after another."""

from random import Random

from mdx.tasks.families.slabs import VACUUM, draw_slab
from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, number_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a slab, how many atoms land on it, how often and how fast."""
    slab = draw_slab(rng, pool)
    count, every = rng.choice((3, 4, 5, 6)), rng.choice((30, 40, 50))
    speed, t = rng.choice((5, 8, 10)), slab.temperature  # Angstrom/ps
    nx, ny, nz = slab.cells
    commands = [
        *slab.atoms(),
        f"region source block 0 {nx} 0 {ny} {nz + VACUUM - 3} {nz + VACUUM - 2}",
        f"fix 1 mobile nvt temp {t} {t} 0.1",
        f"fix 2 mobile deposit {count} 1 {every} {DEFAULT_SEED} region source near 1"
        f" vz -{speed} -{speed} units box",
        *slab.run(),
    ]
    slots = {
        "count": number_slot(count),
        "every": every_slot(every),
        "speed": same(f"{speed} A/ps"),
        "temperature": temperature_slot(t),
    }
    checks = (Check(kind=CheckKind.METHOD, text="deposit"),)
    return slab.simulation(commands, checks, "nvt", slots, slab.num_atoms + count)


FAMILY = Family(
    name="deposition",
    summary="Deposit atoms one by one on a slab.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "deposit {count} atoms, one {every}, {speed} downwards, on {slab}, NVT"
            " {temperature}, {run}{extras}",
            "{slab}; fix deposit {count}, {every} one, vz -{speed}, mobile atoms nvt"
            " {temperature}, {run}{extras}",
            "film growth on {slab}: {count} atoms, {every}, {speed}, {temperature} NVT,"
            " {run}{extras}",
        ),
        textbook=(
            "Deposit {count} atoms of the same element, one {every}, with a speed of {speed}"
            " towards {slab}; mobile atoms in NVT at {temperature}, {run}{extras}.",
            "Grow on {slab} by fix deposit: {count} atoms in all, one {every}, velocity {speed}"
            " along -z, NVT at {temperature}, {run}{extras}.",
        ),
        goal=(
            "I want {count} atoms to land on {slab}, one {every} with {speed}, NVT at"
            " {temperature}, {run}{extras}.",
            "Please simulate vapour deposition ({count} atoms, one {every}, {speed}) on {slab},"
            " {temperature} NVT, {run}{extras}.",
        ),
        steps=(
            "Build {slab}. NVT of the mobile atoms at {temperature}. Deposit {count} atoms from"
            " above, one {every}, speed {speed}. Run {run}{extras}.",
            "1. {slab} 2. nvt {temperature} (mobile) 3. deposit {count}, one {every}, -z {speed}"
            " 4. {run}{extras}",
        ),
        chinese=(
            "在 {slab} 上沉积 {count} 个原子，{every}一个，速度 {speed} 向下，NVT {temperature}，"
            "{run}{extras}",
            "用 fix deposit {every}向 {slab} 投放一个同种原子，共 {count} 个，速度 {speed}，"
            "可动原子 NVT {temperature}，{run}{extras}。",
            "请模拟薄膜沉积：{slab}，共 {count} 个原子，{every}一个，沿 -z 速度 {speed}，"
            "{temperature}，NVT，{run}{extras}。",
        ),
    ),
)
