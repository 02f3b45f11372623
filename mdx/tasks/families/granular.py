"""Granular matter: spheres fall under gravity on a floor and come to rest."""

from random import Random

from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import number_slot, phrasings, reduced_run_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw the grains, their stiffness and friction, and how long they fall."""
    edge, height = rng.choice((4, 5, 6)), rng.choice((3, 4, 5))
    stiffness, friction = rng.choice((2000, 5000, 10000)), rng.choice((0.3, 0.5, 0.6))
    num_steps, dt, damping = rng.choice((500, 800, 1000)), 0.002, rng.choice((20, 50))
    contact = f"{stiffness} NULL {damping} NULL {friction:g} 1"
    gap = 1.1
    commands = (
        "units lj",
        "boundary p p f",
        "atom_style sphere",
        "comm_modify vel yes",
        f"lattice sc {gap**-3:.6g}",
        f"region box block 0 {edge} 0 {edge} 0 {height + 3}",
        "create_box 1 box",
        f"region grains block INF INF INF INF 1 {height + 0.5:g}",
        "create_atoms 1 region grains",
        "set group all type 1 diameter 1 density 1",
        f"pair_style gran/hooke/history {contact}",
        "pair_coeff * *",
        "fix 1 all nve/sphere",
        "fix 2 all gravity 1 vector 0 0 -1",
        f"fix 3 all wall/gran hooke/history {contact} zplane 0 NULL",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    atoms = edge * edge * height
    checks = (
        Check(kind=CheckKind.UNITS, text="lj"),
        Check(kind=CheckKind.PAIR_STYLE, text="gran/hooke/history"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nve"),
        Check(kind=CheckKind.METHOD, text="gravity"),
        Check(kind=CheckKind.METHOD, text="wall/gran"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
    )
    slots = {
        "edge": number_slot(edge),
        "layers": number_slot(height),
        "kn": number_slot(stiffness),
        "gamma": number_slot(damping),
        "mu": number_slot(friction),
        "run": reduced_run_slot(num_steps, dt),
    }
    volume = round(gap**3 * edge * edge * (height + 3) / atoms, 4)
    return Simulation(
        commands=commands, checks=checks, slots=slots, volume_per_atom=volume, num_steps=num_steps
    )


FAMILY = Family(
    name="granular",
    summary="Let granular spheres fall on a floor under gravity.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "falling grains: sc lattice spacing 1.1, {edge} per edge, {layers} layers, box 3"
            " spacings higher, gran/hooke/history kn {kn}, gamma_n {gamma}, mu {mu}, gravity -z 1,"
            " floor at z = 0, {run}{extras}",
            "DEM: {layers} layers of unit spheres, {edge} per edge (spacing 1.1, 3 spacings of"
            " space), kn = {kn}, gamma = {gamma}, mu = {mu}, g = 1, wall z = 0, {run}{extras}",
            "settle grains (d = 1, rho = 1, sc 1.1, {edge} per edge, {layers} layers, headroom 3),"
            " hooke/history {kn} {gamma} {mu}, gravity 1, floor, {run}{extras}",
        ),
        textbook=(
            "Let {layers} layers of granular spheres (diameter 1, density 1, {edge} per edge on a"
            " simple cubic lattice of spacing 1.1, box 3 spacings higher) fall under gravity 1 on a"
            " floor at z = 0; gran/hooke/history with kn = {kn}, gamma_n = {gamma}, mu = {mu};"
            " {run}{extras}.",
            "Simulate the settling of unit grains in reduced units: {edge} per edge, {layers}"
            " layers, spacing 1.1, headroom of 3 spacings, Hookean contacts with history (kn {kn},"
            " gamma_n {gamma}, friction {mu}), gravity 1 along -z, granular wall at z = 0,"
            " {run}{extras}.",
        ),
        goal=(
            "I want to see grains settle: {edge} per edge, {layers} layers (d = 1, sc spacing 1.1,"
            " 3 spacings of headroom), hooke/history kn {kn}, gamma {gamma}, mu {mu}, gravity 1,"
            " floor at 0, {run}{extras}.",
            "Please drop {layers} layers of unit spheres, {edge} per edge and 1.1 apart, in a box 3"
            " spacings higher, on a floor: gran/hooke/history {kn}, {gamma}, mu = {mu}, gravity 1,"
            " {run}{extras}.",
        ),
        steps=(
            "Use lj units and spheres of diameter and density 1. Build {layers} layers of {edge}"
            " per edge, spacing 1.1, headroom 3 spacings. Contacts hooke/history: kn {kn}, gamma"
            " {gamma}, mu {mu}. Gravity 1 down, wall/gran floor at 0. nve/sphere. Run"
            " {run}{extras}.",
            "1. sc spheres, spacing 1.1, {edge} per edge, {layers} layers, 3 free spacings"
            " 2. gran/hooke/history {kn} {gamma} mu {mu} 3. nve/sphere, gravity 1, floor z = 0"
            " 4. {run}{extras}",
        ),
        chinese=(
            "颗粒下落：间距 1.1 的 sc 排列，每边 {edge}，{layers} 层，上方留 3 个间距，"
            "hooke/history"
            " kn {kn}，gamma {gamma}，mu {mu}，重力 1，底面 z = 0，{run}{extras}",
            "让直径和密度均为 1 的颗粒（每边 {edge}，{layers} 层，间距 1.1，顶部空 3"
            " 个间距）在重力 1"
            " 下落到 z = 0 的底面：gran/hooke/history，kn = {kn}，gamma = {gamma}，mu = {mu}，"
            "{run}{extras}。",
            "请用离散元模拟颗粒沉降：{layers} 层、每边 {edge} 个单位球，间距 1.1，顶部留 3 个间距，"
            "接触参数 {kn}、{gamma}，摩擦 {mu}，重力 1，底面 z = 0，{run}{extras}。",
        ),
    ),
)
