"""Solid beside liquid: melt half of a crystal, then hold all of it at one temperature."""

from random import Random

from mdx.tasks.family import Family, Setting, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import material_slot, phrasings, run_slot, steps_count_slot
from mdx.tasks.phrasing import temperature_slot as kelvin

_CELLS = (3, 3, 6)


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, the temperature of the melt, that of the coexistence, and durations."""
    setting = draw_setting(rng, pool, ("fcc", "bcc"))
    material = setting.material
    together = 50 * round(material.max_temperature * rng.choice((1.2, 1.4, 1.6)) / 50)
    hot = 50 * round(material.max_temperature * rng.choice((2.5, 3.0)) / 50)
    first, last = rng.choice((100, 150, 200)), rng.choice((400, 500))
    setting = Setting(
        material=material,
        cells=_CELLS,
        temperature=together,
        timestep=material.timestep,
        num_steps=first + last,
        stated_seed=setting.stated_seed,
    )
    commands = [
        *setting.crystal()[:-2],
        "region upper block INF INF INF INF 2.9 INF",
        "group melt region upper",
        *setting.crystal()[-2:],
        f"velocity all create {hot} {setting.seed}",
        f"fix 1 melt nvt temp {hot} {hot} 0.05",
        f"timestep {setting.timestep:g}",
        f"run {first}",
        "unfix 1",
        f"fix 1 all nvt temp {together} {together} 0.05",
        f"run {last}",
    ]
    checks = setting.thermostat_checks("nvt")
    simulation = setting.simulation(commands, checks)
    slots = {
        "material": material_slot(material),
        "hot": kelvin(hot),
        "temperature": kelvin(together),
        "first": steps_count_slot(first),
        "run": run_slot(last, setting.timestep),
    }
    return simulation.asking(slots)


FAMILY = Family(
    name="coexistence",
    summary="Melt the upper half of a crystal, then let solid and liquid coexist.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "solid-liquid coexistence of {material}, 3x3x6 cells: upper half at {hot} for {first},"
            " then all NVT {temperature}, {run}{extras}",
            "{material} 3x3x6: melt the upper half ({hot}, {first}), then nvt {temperature}"
            " {run}{extras}",
            "two-phase {material} (3x3x6 cells), top half {hot} for {first}, both {temperature},"
            " {run}{extras}",
        ),
        textbook=(
            "Melt the upper half (z) of 3x3x6 cells of {material} at {hot} for {first} while the"
            " rest is held still; then run everything in NVT at {temperature}, {run}{extras}.",
            "Prepare coexisting solid and liquid {material} in 3x3x6 cells: thermostat only the"
            " upper half in z at {hot} for {first}, then the whole box at {temperature},"
            " {run}{extras}.",
        ),
        goal=(
            "I want solid and liquid {material} side by side: 3x3x6 cells, upper z half melted at"
            " {hot} ({first}), then NVT of all atoms at {temperature}, {run}{extras}.",
            "Does {material} freeze or melt at {temperature}? Take 3x3x6 cells, melt the upper half"
            " at {hot} for {first}, then NVT of all, {run}{extras}.",
        ),
        steps=(
            "Build 3x3x6 cells of {material}. Group the upper half in z. NVT on it at {hot} for"
            " {first}. Then NVT on all atoms at {temperature}. Run {run}{extras}.",
            "1. {material}, 3x3x6 cells 2. nvt of the upper z half, {hot}, {first} 3. nvt of all,"
            " {temperature} 4. {run}{extras}",
        ),
        chinese=(
            "{material} 固液共存，3x3x6 晶胞，上半部 {hot} {first}，再整体 NVT {temperature}，"
            "{run}{extras}",
            "取 3x3x6 晶胞的 {material}，先只把 z 方向上半部在 {hot} 熔化（{first}），"
            "再让全部原子在 {temperature} 做 NVT，{run}{extras}。",
            "请构造 {material} 的固液两相体系（3x3x6 晶胞）：上半部 {hot} 加热 {first}，"
            "然后整体控温 {temperature}，{run}{extras}。",
        ),
    ),
)
