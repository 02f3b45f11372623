"""Two stages: equilibrate at constant temperature, then produce at constant energy."""

from dataclasses import replace
from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, run_slot, steps_count_slot, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, the steps of its equilibration and those of its production."""
    setting = draw_setting(rng, pool)
    first = rng.choice((100, 150, 200, 250, 300))
    last = rng.choice((300, 350, 400, 450, 500))
    t = setting.temperature
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"timestep {setting.timestep:g}",
        f"run {first}",
        "unfix 1",
        "fix 2 all nve",
        f"run {last}",
    ]
    setting = replace(setting, num_steps=first + last)
    checks = (
        *setting.checks("nve"),
        Check(kind=CheckKind.ENERGY_DRIFT),
        # NVE keeps the energy of the moment: the mean is off by a fluctuation.
        Check(kind=CheckKind.TEMPERATURE, target=t, tolerance=0.12),
    )
    return setting.brief(
        commands,
        checks,
        temperature=temperature_slot(t),
        first=steps_count_slot(first),
        run=run_slot(last, setting.timestep),
    )


FAMILY = Family(
    name="equilibrate",
    summary="Equilibrate a crystal in NVT, then continue in NVE.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "{crystal}: NVT {temperature} for {first}, then NVE, {run}{extras}",
            "equilibrate {crystal} at {temperature} (NVT, {first}), produce in NVE, {run}{extras}",
            "{crystal}, two stages: nvt {temperature} {first}; nve {run}{extras}",
        ),
        textbook=(
            "Equilibrate {crystal} at {temperature} in NVT for {first}; then remove the thermostat"
            " and produce in NVE, {run}{extras}.",
            "After {first} of Nose-Hoover equilibration at {temperature}, follow {crystal} at"
            " constant energy for {run}{extras}.",
        ),
        goal=(
            "I want microcanonical data of {crystal} at about {temperature}: first NVT for {first},"
            " then NVE for {run}{extras}.",
            "Please thermalise {crystal} at {temperature} with NVT for {first} and then switch to"
            " NVE, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Run NVT at {temperature} for {first}. Unfix it. Run NVE for"
            " {run}{extras}.",
            "1. {crystal} 2. nvt {temperature}, {first} 3. unfix 4. nve, {run}{extras}",
        ),
        chinese=(
            "{crystal}，先 NVT {temperature} {first}，再 NVE，{run}{extras}",
            "先用 NVT 在 {temperature} 平衡 {crystal} {first}，然后撤去热浴，在 NVE"
            " 下{run}{extras}。",
            "请把 {crystal} 在 {temperature} 下平衡（NVT，{first}），之后做 NVE 采样，"
            "{run}{extras}。",
        ),
    ),
)
