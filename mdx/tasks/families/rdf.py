"""The radial distribution function of a thermalised crystal, written to a file."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal, a number of bins and a file name."""
    setting = draw_setting(rng, pool)
    t = setting.temperature
    bins = rng.choice((40, 50, 60, 80, 100))
    file = rng.choice(("rdf.txt", "rdf.dat", "gr.txt", "gr.dat"))
    samples = setting.num_steps // 10
    commands = [
        *setting.crystal(),
        setting.velocity(),
        f"compute 1 all rdf {bins}",
        f"fix 1 all nvt temp {t} {t} 0.1",
        f"fix 2 all ave/time 10 {samples} {setting.num_steps} c_1[*] file {file} mode vector",
        *setting.run(),
    ]
    checks = (
        *setting.thermostat_checks("nvt"),
        Check(kind=CheckKind.TABLE, file=file, target=bins),
    )
    return setting.simulation(commands, checks, bins=number_slot(bins), file=same(file))


FAMILY = Family(
    name="rdf",
    summary="Average the radial distribution function of a crystal at constant temperature.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "RDF of {material} {cells} at {temperature}, NVT {steps}, dt {timestep}, {bins} bins,"
            " file {file}{extras}",
            "rdf: {material}, {cells} cells, {temperature}, {bins} bins -> {file},"
            " nvt {steps} of {timestep}{extras}",
            "{material} {cells} cells, g(r) with {bins} bins to {file}, NVT {temperature},"
            " timestep {timestep}, {steps}{extras}",
        ),
        textbook=(
            "Compute the radial distribution function of {cells} cells of {material} at"
            " {temperature} in NVT for {steps}, timestep {timestep}; write {bins} bins to"
            " {file}{extras}.",
            "Average g(r) of a {cells} {material} crystal over an NVT run of {steps} at"
            " {temperature}, timestep {timestep}, {bins} bins, output {file}{extras}.",
            "Crystalline {material}, {cells} cells, runs in NVT at {temperature}, timestep"
            " {timestep}, {steps}. Write its RDF with {bins} bins to {file}{extras}.",
        ),
        goal=(
            "I want the pair correlation of {material} ({cells} cells) at {temperature}: {bins}"
            " bins in {file}, NVT {steps} at dt {timestep}{extras}.",
            "Please write the RDF ({bins} bins) of {cells} {material} at {temperature} to {file},"
            " NVT, {steps}, timestep {timestep}{extras}.",
        ),
        steps=(
            "Build {cells} cells of {material}. Thermostat with NVT at {temperature}. Average the"
            " RDF with {bins} bins into {file}. Timestep {timestep}. Run {steps}{extras}.",
            "1. {material} crystal, {cells} 2. NVT {temperature} 3. rdf {bins} bins to {file}"
            " 4. dt {timestep} 5. run {steps}{extras}",
        ),
        chinese=(
            "{material} {cells} 晶胞，NVT {temperature}，径向分布函数 {bins} 个区间写入 {file}，"
            "步长 {timestep}，运行 {steps}{extras}",
            "在 {temperature} 下对 {cells} 的 {material} 做 NVT 模拟，步长 {timestep}，{steps}，"
            "RDF 取 {bins} 个区间，输出到 {file}{extras}。",
            "请计算 {cells} 的 {material} 在 {temperature} 的 g(r)，{bins} 个区间，文件 {file}，"
            "NVT，步长 {timestep}，{steps}{extras}。",
        ),
    ),
)
