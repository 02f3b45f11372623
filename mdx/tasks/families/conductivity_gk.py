"""Thermal conductivity by Green-Kubo: the heat flux is correlated with itself."""

from random import Random

from mdx.tasks.families.fluids import draw_fluid
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a fluid, the length of the correlation and its file."""
    fluid = draw_fluid(rng, heights=(3, 4))
    lags = rng.choice((10, 20, 25))
    file = rng.choice(("J0Jt.dat", "hfacf.dat", "heatflux.corr", "hcacf.txt"))
    t = f"{fluid.temperature:g}"
    commands = [
        *fluid.atoms(),
        "compute 1 all ke/atom",
        "compute 2 all pe/atom",
        "compute 3 all stress/atom NULL virial",
        "compute 4 all heat/flux 1 2 3",
        f"fix 1 all nvt temp {t} {t} 0.5",
        f"fix 2 all ave/correlate 5 {lags} {fluid.num_steps} c_4[1] c_4[2] c_4[3] type auto"
        f" file {file}",
        *fluid.run(),
    ]
    checks = (
        *fluid.checks("nvt"),
        Check(kind=CheckKind.TEMPERATURE, target=fluid.temperature),
        Check(kind=CheckKind.TABLE, file=file, target=lags),
    )
    return fluid.simulation(commands, checks, {"lags": number_slot(lags), "file": same(file)})


FAMILY = Family(
    name="conductivity_gk",
    summary="Heat flux autocorrelation of a fluid, for its conductivity by Green-Kubo.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "Green-Kubo heat flux: {fluid}, T = {temperature}, NVT, {lags} lags of 5 steps to"
            " {file}, {run}{extras}",
            "{fluid}, nvt T* {temperature}, heat/flux autocorrelation ({lags} points, every 5) in"
            " {file}, {run}{extras}",
            "HFACF of {fluid}, T {temperature}, ave/correlate 5 {lags} -> {file}, nvt"
            " {run}{extras}",
        ),
        textbook=(
            "Sample the heat flux of {fluid}, in NVT at T = {temperature} every 5 steps and write"
            " its autocorrelation with {lags} lags to {file}, {run}{extras}.",
            "For a Green-Kubo estimate of the thermal conductivity, correlate the heat flux of a"
            " {fluid}, T = {temperature} (NVT), over {lags} intervals of 5 steps; output {file};"
            " {run}{extras}.",
        ),
        goal=(
            "I need the heat flux correlation of {fluid} at T = {temperature} for Green-Kubo:"
            " {lags} lags, sampled every 5 steps, {file}, NVT, {run}{extras}.",
            "Please set up Green-Kubo for {fluid}, NVT at T = {temperature}: every 5 steps,"
            " {lags} correlation points, file {file}, {run}{extras}.",
        ),
        steps=(
            "Make {fluid}. NVT at {temperature}. Compute the heat flux every 5 steps. Correlate"
            " it over {lags} lags into {file}. Run {run}{extras}.",
            "1. {fluid} 2. nvt {temperature} 3. heat/flux 4. ave/correlate every 5, {lags} lags,"
            " {file} 5. {run}{extras}",
        ),
        chinese=(
            "Green-Kubo 热流自相关：{fluid}，T = {temperature}，NVT，每 5 步采样，{lags} 个时延，"
            "写入 {file}，{run}{extras}",
            "在 T = {temperature} 的 NVT 下每 5 步采样 {fluid} 的热流，计算 {lags} 个时延的自相关并"
            "输出 {file}，{run}{extras}。",
            "请为 Green-Kubo 热导率准备数据：{fluid}，温度 {temperature}，热流每 5 步一次，"
            "相关长度 {lags}，文件 {file}，NVT，{run}{extras}。",
        ),
    ),
)
