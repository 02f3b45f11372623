"""The centro-symmetry parameter of every atom, dumped during a run."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import every_slot, phrasings, same, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw an fcc or bcc crystal, an interval of output and a file name."""
    setting = draw_setting(rng, pool, ("fcc", "bcc"))
    t, every = setting.temperature, rng.choice((50, 100, 200))
    file = rng.choice(("csp.dump", "centro.dump", "csp.lammpstrj", "defects.dump"))
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"compute 1 all centro/atom {setting.material.structure}",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"dump 1 all custom {every} {file} id type x y z c_1",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.DUMP, file=file, target=setting.num_steps // every),
    )
    return setting.brief(
        commands, checks, temperature=temperature_slot(t), every=every_slot(every), file=same(file)
    )


FAMILY = Family(
    name="centrosymmetry",
    summary="Dump the centro-symmetry parameter of the atoms of a crystal in NVT.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "centro-symmetry of {crystal}, NVT {temperature}, dump {every} to {file},"
            " {run}{extras}",
            "CSP per atom: {crystal}, {temperature}, {every} -> {file}, nvt {run}{extras}",
            "{crystal}, nvt {temperature}, positions and centro/atom {every} in {file},"
            " {run}{extras}",
        ),
        textbook=(
            "Compute the centro-symmetry parameter of the atoms of {crystal} in NVT at"
            " {temperature} and dump it with the positions {every} to {file}, {run}{extras}.",
            "To find defects, dump positions and centro-symmetry of {crystal} {every} into {file}"
            " during an NVT run at {temperature}, {run}{extras}.",
        ),
        goal=(
            "I want to see how disordered {crystal} is at {temperature}: dump the CSP {every} to"
            " {file}, NVT, {run}{extras}.",
            "Please dump x, y, z and the centro-symmetry of {crystal} {every} to {file}, NVT at"
            " {temperature}, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. NVT at {temperature}. Compute centro/atom. Dump it {every} to {file}."
            " Run {run}{extras}.",
            "1. {crystal} 2. nvt {temperature} 3. centro/atom, dump {every} to {file}"
            " 4. {run}{extras}",
        ),
        chinese=(
            "{crystal} 的中心对称参数，NVT {temperature}，{every}输出到 {file}，{run}{extras}",
            "在 {temperature} 的 NVT 下计算 {crystal} 各原子的中心对称参数，{every}连同坐标写入"
            " {file}，{run}{extras}。",
            "请{every}把 {crystal} 的原子坐标和 CSP 输出到 {file}，NVT，{temperature}，"
            "{run}{extras}。",
        ),
    ),
)
