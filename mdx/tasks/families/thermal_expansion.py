"""Thermal expansion: heating at zero pressure."""

from random import Random

from mdx.tasks.families.ramps import draw_ramp_setting
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import phrasings, temperature_slot
from mdx.tasks.task import Check, CheckKind


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a crystal that expands freely while it is heated."""
    setting, low, high = draw_ramp_setting(rng, pool)
    commands = [
        *setting.crystal(),
        setting.velocity(low),
        f"fix 1 all npt temp {low} {high} 0.05 iso 0 0 0.5",
        *setting.run(),
    ]
    # The second half of the run is warm by three quarters of the ramp on average.
    volume = round(setting.material.volume_per_atom_at(0.25 * low + 0.75 * high), 4)
    checks = (
        *setting.checks("npt"),
        Check(kind=CheckKind.RAMP, start=low, target=high),
        Check(kind=CheckKind.VOLUME, target=volume),
        Check(kind=CheckKind.PRESSURE, target=0),
    )
    return setting.brief(
        commands, checks, volume, start=temperature_slot(low), end=temperature_slot(high)
    )


FAMILY = Family(
    name="thermal_expansion",
    summary="Heat a crystal at zero pressure, so that it expands freely.",
    draw=draw,
    phrasings=phrasings(
        terse=(
            "thermal expansion of {crystal}, NPT {start} -> {end}, 0 bar, {run}{extras}",
            "{crystal}, npt iso ramp from {start} to {end} at zero pressure, {run}{extras}",
            "expansion: {crystal}, {start} to {end}, P = 0, {run}{extras}",
        ),
        textbook=(
            "Heat {crystal} from {start} to {end} at zero pressure in NPT to obtain its thermal"
            " expansion, {run}{extras}.",
            "Record how {crystal} expands between {start} and {end}: one isobaric ramp at 0 bar,"
            " {run}{extras}.",
        ),
        goal=(
            "How much does the volume grow when {crystal} is warmed from {start} to {end} at no"
            " pressure? {run}{extras}.",
            "I need the expansion of {crystal} from {start} up to {end}, NPT at 0 bar,"
            " {run}{extras}.",
        ),
        steps=(
            "Build {crystal}. Start at {start}. Ramp to {end} with fix npt iso at 0 bar. Run"
            " {run}{extras}.",
            "1. {crystal} 2. npt ramp {start} to {end}, zero pressure 3. {run}{extras}",
        ),
        chinese=(
            "{crystal} 的热膨胀，NPT 零压，{start} 升到 {end}，{run}{extras}",
            "在零压 NPT 下把 {crystal} 从 {start} 加热到 {end}，考察热膨胀，{run}{extras}。",
            "请计算 {crystal} 由 {start} 升温至 {end} 时的体积膨胀，压力 0 bar，{run}{extras}。",
        ),
    ),
)
