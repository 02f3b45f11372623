"""The mean coordination number over time, written to a file."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, length_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind

# Between the first and the second shell, in lattice constants.
_CUTOFFS = {"fcc": 0.85, "diamond": 0.57, "zb": 0.57, "bcc": 1.2, "b1": 0.6, "l12": 0.85}


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, a cutoff between two shells, an interval and a file name."""
    setting = draw_setting(rng, pool, tuple(_CUTOFFS))
    t, every = setting.temperature, rng.choice((10, 20, 50))
    material = setting.material
    cutoff = round(_CUTOFFS[material.structure] * material.lattice_constant, 1)
    file = rng.choice(("coord.txt", "coordination.dat", "cn.txt", "neighbors.dat"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"compute 1 all coord/atom cutoff {cutoff:g}",
        "compute 2 all reduce ave c_1",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all ave/time {every} 1 {every} c_2 file {file}",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.TABLE, file=file, target=setting.num_steps // every),
    )
    return setting.brief(
        commands,
        checks,
        temperature=temperature_slot(t),
        cutoff=length_slot(cutoff),
        every=every_slot(every),
        file=same(file),
    )


FAMILY = Family(
    name="coordination",
    summary="Write the mean coordination number of a crystal in NVT.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "coordination number of {crystal}, r < {cutoff}, {every} to {file}, NVT {temperature},"
            " {run}{extras}",
            "mean CN: {crystal}, {temperature}, cutoff {cutoff}, {every} -> {file}, {run}{extras}",
            "{crystal}, compute coord/atom within {cutoff}, average {every} in {file}, nvt"
            " {temperature}, {run}{extras}",
        ),
        textbook=(
            "Average the coordination number of {crystal} within {cutoff} over all atoms and write"
            " it {every} to {file}; NVT at {temperature}, {run}{extras}.",
            "In an NVT run at {temperature}, count the neighbours closer than {cutoff} in {crystal}"
            " and output their mean {every} to {file}, {run}{extras}.",
        ),
        goal=(
            "How many neighbours within {cutoff} do the atoms of {crystal} have at {temperature}?"
            " Mean {every} to {file}, NVT, {run}{extras}.",
            "I need the mean coordination ({cutoff}) of {crystal} {every} in {file}, NVT at"
            " {temperature}, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. NVT at {temperature}. Compute coord/atom with cutoff {cutoff}. Write"
            " the mean {every} to {file}. Run {run}{extras}.",
            "1. {crystal} 2. nvt {temperature} 3. coordination within {cutoff}, mean {every} to"
            " {file} 4. {run}{extras}",
        ),
        chinese=(
            "{crystal} 的平均配位数，截断 {cutoff}，{every}写入 {file}，NVT {temperature}，"
            "{run}{extras}",
            "在 {temperature} 的 NVT 下统计 {crystal} 在 {cutoff} 以内的平均配位数，"
            "{every}输出到 {file}，{run}{extras}。",
            "请计算 {crystal} 的配位数（截断 {cutoff}），{every}把平均值写入 {file}，"
            "{temperature}，NVT，{run}{extras}。",
        ),
    ),
)
