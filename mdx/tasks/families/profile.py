"""A profile along an axis: density and temperature in slabs, averaged over a run."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, the axis, the number of slabs and a file name."""
    setting = draw_setting(rng, pool)
    t, axis, slabs = setting.temperature, rng.choice("xyz"), rng.choice((4, 5, 8, 10, 20))
    file = rng.choice(("profile.txt", "density.profile", "slabs.txt", "prof.dat"))
    samples = setting.num_steps // 10
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"compute 1 all chunk/atom bin/1d {axis} lower {1 / slabs:g} units reduced",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all ave/chunk 10 {samples} {setting.num_steps} 1 density/number temp file {file}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.TABLE, file=file, target=slabs),
    )
    return setting.brief(
        commands,
        checks,
        temperature=temperature_slot(t),
        axis=same(axis),
        slabs=number_slot(slabs),
        file=same(file),
    )


FAMILY = Family(
    name="profile",
    summary="Average density and temperature of a crystal in slabs along an axis.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "density and temperature profile of {crystal} along {axis}, {slabs} bins, NVT"
            " {temperature}, {file}, {run}{extras}",
            "profile: {crystal}, {slabs} slabs in {axis} -> {file}, nvt {temperature},"
            " {run}{extras}",
            "{crystal}, ave/chunk in {slabs} bins along {axis} to {file}, NVT {temperature},"
            " {run}{extras}",
        ),
        textbook=(
            "Divide {crystal} into {slabs} slabs along {axis} and average number density and"
            " temperature in each over an NVT run at {temperature}; write {file}; {run}{extras}.",
            "Compute the {axis} profile ({slabs} bins) of density and temperature of {crystal} in"
            " NVT at {temperature}, output {file}, {run}{extras}.",
        ),
        goal=(
            "I need density and temperature of {crystal} in {slabs} layers along {axis}, averaged"
            " into {file}, NVT at {temperature}, {run}{extras}.",
            "Is {crystal} uniform along {axis} at {temperature}? Write the profile in {slabs} bins"
            " to {file}, NVT, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. NVT at {temperature}. Bin the atoms in {slabs} slabs along {axis}."
            " Average density and temperature into {file}. Run {run}{extras}.",
            "1. {crystal} 2. nvt {temperature} 3. chunk/atom, {slabs} bins in {axis}, ave/chunk to"
            " {file} 4. {run}{extras}",
        ),
        chinese=(
            "{crystal} 沿 {axis} 的密度和温度分布，{slabs} 层，NVT {temperature}，写入 {file}，"
            "{run}{extras}",
            "把 {crystal} 沿 {axis} 分为 {slabs} 层，在 {temperature} 的 NVT 中平均各层的数密度和"
            "温度，输出 {file}，{run}{extras}。",
            "请用 ave/chunk 求 {crystal} 沿 {axis} 方向（{slabs} 个区间）的密度与温度剖面，"
            "{temperature}，NVT，文件 {file}，{run}{extras}。",
        ),
    ),
)
