"""Constant temperature and zero pressure in a box whose lengths, or also angles, are free."""

from random import Random

from mdx.tasks.family import Family, Simulation, draw_setting
from mdx.tasks.materials import Pool, potential_commands
from mdx.tasks.phrasing import Slot, phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind

_COUPLINGS = {
    "aniso": Slot(
        english=("anisotropic", "aniso"), chinese=("各向异性（aniso）", "三个方向独立（aniso）")
    ),
    "tri": Slot(
        english=("fully flexible triclinic", "tri"), chinese=("三斜（tri）", "全柔性三斜（tri）")
    ),
}


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal whose box lengths (aniso), or lengths and tilts (tri), relax."""
    setting = draw_setting(rng, pool)
    t, coupling = setting.temperature, rng.choice(("aniso", "tri"))
    potential = potential_commands(setting.material)
    crystal = setting.crystal()[: -len(potential)]
    commands = [
        *crystal,
        *(["change_box all triclinic"] if coupling == "tri" else []),
        *potential,
        setting.velocity(),
        f"fix 1 all npt temp {t} {t} 0.1 {coupling} 0 0 0.5",
        *setting.run(),
    ]
    volume = round(setting.material.volume_per_atom_at(t), 4)
    checks = (
        *setting.thermostat_checks("npt"),
        Check(kind=CheckKind.PRESSURE, target=0),
        Check(kind=CheckKind.VOLUME, target=volume),
    )
    return setting.brief(
        commands, checks, volume, temperature=temperature_slot(t), coupling=_COUPLINGS[coupling]
    )


FAMILY = Family(
    name="npt_flexible",
    summary="Hold a crystal at zero pressure in a box with free lengths, or lengths and angles.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "NPT, {coupling} box: {crystal}, {temperature}, 0 bar, {run}{extras}",
            "{crystal}, {coupling} NPT at {temperature} and zero pressure, {run}{extras}",
            "fix npt with {coupling} coupling, {crystal}, {temperature}, P = 0, {run}{extras}",
        ),
        textbook=(
            "Simulate {crystal} in NPT at {temperature} and zero pressure with {coupling} pressure"
            " coupling, {run}{extras}.",
            "Let the {coupling} box of {crystal} relax at {temperature} and 0 bar in an NPT run of"
            " {run}{extras}.",
        ),
        goal=(
            "I need {crystal} free of stress at {temperature}: NPT with {coupling} box, 0 bar,"
            " {run}{extras}.",
            "What does the box of {crystal} look like at {temperature}? NPT at zero pressure,"
            " {coupling} coupling, {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Apply fix npt, {temperature}, 0 bar, {coupling}. Run {run}{extras}.",
            "1. {crystal} 2. npt {temperature}, zero pressure, {coupling} 3. {run}{extras}",
        ),
        chinese=(
            "{crystal}，NPT，{temperature}，零压，{coupling}盒子，{run}{extras}",
            "在 {temperature}、0 bar 下对 {crystal} 做{coupling}的 NPT 模拟，{run}{extras}。",
            "请用{coupling}压力耦合的 NPT 弛豫 {crystal} 的盒子，{temperature}，零压，"
            "{run}{extras}。",
        ),
    ),
)
