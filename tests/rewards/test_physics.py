"""Marks against closed forms: linear ramps between full and zero marks, errors from 5 blocks."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mdx.lammps.run import ActiveFix, Evidence, FinalState, ProbedRun, RunResult, RunStatus
from mdx.lammps.script import Script
from mdx.rewards.facts import Facts, block_means, gather, ramp, relative_mark, standard_error
from mdx.rewards.physics import OBSERVABLE, PHYSICS
from mdx.rewards.specification import SPECIFICATION
from mdx.tasks.task import Check, CheckKind, Task

N = 256
STEPS = np.arange(101) * 5.0


def run(**series: Sequence[float]) -> ProbedRun:
    """500 steps of 256 atoms at 300 K in 3000 A^3; `series` replace what is given."""
    constant = {
        "temperature": np.full(101, 300.0),
        "potential_energy": np.full(101, -900.0),
        "kinetic_energy": np.full(101, 10.0),
        "pressure": np.zeros(101),
        "volume": np.full(101, 3072.0),
        "num_atoms": np.full(101, float(N)),
    }
    values = {"step": STEPS, **constant, **series}
    return ProbedRun(
        command="run",
        first_step=0,
        last_step=500,
        num_atoms_before=N,
        num_atoms_after=N,
        timestep=0.002,
        series={name: tuple(map(float, v)) for name, v in values.items()},
        fixes=(ActiveFix(style="nvt", group="all"),),
        pair_style="eam/alloy",
        first_box_lengths=(10.0, 10.0, 30.0),
    )


def facts(*runs: ProbedRun, **final: object) -> Facts:
    state: dict[str, object] = {
        "units": "metal",
        "step": 500,
        "num_atoms": N,
        "num_types": 1,
        "pair_style": "eam/alloy",
        "fixes": (),
        "box_lengths": (10.3, 10.0, 30.0),
        "requested_potential_energy": -900.0,
        "max_force": 0.01,
        "group_counts": {"all": N, "half": N // 2},
    }
    result = RunResult(
        status=RunStatus.OK,
        evidence=Evidence(runs=runs, final=FinalState(**{**state, **final})),
    )
    task = Task(id="t", family="f", prompt="p", num_steps=500)
    return gather(task, Script.parse("units metal\n"), result)


def mark(found: Facts, kind: CheckKind, **check: object) -> float:
    return {**PHYSICS, **OBSERVABLE, **SPECIFICATION}[kind](found, Check(kind=kind, **check))


@pytest.mark.parametrize(
    ("deviation", "expected"), [(0.0, 1.0), (1.0, 1.0), (1.75, 0.75), (2.5, 0.5), (4.0, 0), (9, 0)]
)
def test_ramp_falls_linearly_from_full_to_zero(deviation: float, expected: float):
    assert ramp(deviation, 1.0, 4.0) == pytest.approx(expected)


def test_ramp_of_nan_is_zero():
    assert ramp(math.nan, 1.0, 4.0) == 0.0


def test_standard_error_is_that_of_five_block_means():
    values = np.random.default_rng(0).normal(size=100)
    means = values.reshape(5, 20).mean(axis=1)
    assert block_means(values.tolist()) == pytest.approx(means.tolist())
    assert standard_error(values.tolist()) == pytest.approx(means.std(ddof=1) / math.sqrt(5))


def test_temperature_falls_from_3_to_12_percent():
    for percent, expected in ((2.9, 1.0), (7.5, 0.5), (12.1, 0.0)):
        found = facts(run(temperature=np.full(101, 300 * (1 + percent / 100))))
        assert mark(found, CheckKind.TEMPERATURE, target=300.0) == pytest.approx(expected)


def test_temperature_looks_at_the_second_half_only():
    values = np.where(STEPS < 250, 900.0, 300.0)
    assert mark(facts(run(temperature=values)), CheckKind.TEMPERATURE, target=300.0) == 1.0


def test_noise_widens_the_tolerance_by_three_standard_errors_but_within_bounds():
    blocks = np.repeat([300.0, 300.0, 300.0, 300.0, 300.0], 10.2)
    window = np.concatenate([blocks, [300.0] * 51])[:51]
    shift = np.repeat([-30.0, 30.0, -30.0, 30.0, 0.0], 11)[:51]
    values = np.concatenate([np.full(50, 300.0), window + shift + 15.0])
    found = facts(run(temperature=values))
    error = standard_error(found.window["temperature"])
    deviation = abs(float(np.mean(found.window["temperature"])) - 300.0)
    assert 9.0 < deviation < 3 * error  # outside 3 %, inside 3 se
    assert mark(found, CheckKind.TEMPERATURE, target=300.0) == 1.0
    wild = np.where(np.arange(101) % 2, 0.0, 2000.0) + 300.0
    assert mark(facts(run(temperature=wild)), CheckKind.TEMPERATURE, target=300.0) == 0.0


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.25, 0), (0.35, 1), (1.0, 1), (2.9, 1), (3.1, 0)]
)
def test_fluctuation_is_canonical_within_a_factor(ratio: float, expected: float):
    canonical = 300.0 * math.sqrt(2 / (3 * (N - 1)))
    wave = np.where(np.arange(101) % 2, 1.0, -1.0)
    wave[50:] -= wave[50:].mean()
    wave /= wave[50:].std(ddof=1)
    found = facts(run(temperature=300.0 + ratio * canonical * wave))
    assert mark(found, CheckKind.FLUCTUATION) == expected


@pytest.mark.parametrize(("drift", "expected"), [(0.01, 1.0), (0.11, 0.5), (0.25, 0.0)])
def test_energy_drift_is_the_linear_change_over_the_window(drift: float, expected: float):
    slope = drift * 10.0 / 50  # kinetic energy 10, 51 samples in the window
    found = facts(run(potential_energy=-900.0 + slope * np.arange(101)))
    assert mark(found, CheckKind.ENERGY_DRIFT) == pytest.approx(expected)


@pytest.mark.parametrize(("bar", "expected"), [(900.0, 1.0), (3000.0, 0.5), (5100.0, 0.0)])
def test_pressure_falls_from_1_to_5_kbar(bar: float, expected: float):
    found = facts(run(pressure=np.full(101, bar)))
    assert mark(found, CheckKind.PRESSURE, target=0.0) == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "expected"), [(1.009, 1.0), (0.975, 0.5), (1.041, 0.0)])
def test_volume_falls_from_1_to_4_percent(factor: float, expected: float):
    found = facts(run(volume=np.full(101, 3072.0 * factor)))
    assert mark(found, CheckKind.VOLUME, target=12.0) == pytest.approx(expected)


def test_ramp_needs_its_end_and_its_way():
    up = 100.0 + 500.0 * STEPS / 500
    check = {"start": 100.0, "target": 600.0}
    assert mark(facts(run(temperature=up)), CheckKind.RAMP, **check) == 1.0
    assert mark(facts(run(temperature=up[::-1])), CheckKind.RAMP, **check) == 0.0
    flat = np.full(101, 575.0)
    assert mark(facts(run(temperature=flat)), CheckKind.RAMP, **check) == 0.5
    down = {"start": 600.0, "target": 100.0}
    assert mark(facts(run(temperature=up[::-1])), CheckKind.RAMP, **down) == 1.0


def minimization(start: float, end: float) -> ProbedRun:
    return ProbedRun(
        command="minimize",
        first_step=0,
        last_step=20,
        num_atoms_before=N,
        num_atoms_after=N,
        timestep=0.001,
        series={"step": (0.0, 20.0), "potential_energy": (start, end)},
    )


def test_minimisation_needs_lower_energy_and_small_forces():
    assert mark(facts(minimization(-890, -900)), CheckKind.MINIMIZED) == 1.0
    assert mark(facts(minimization(-900, -890)), CheckKind.MINIMIZED) == 0.5
    rough = facts(minimization(-890, -900), max_force=0.125)
    assert mark(rough, CheckKind.MINIMIZED) == pytest.approx(0.75)
    assert mark(facts(run()), CheckKind.MINIMIZED) == 0.0
    assert mark(facts(minimization(-890, -900), run(), max_force=5.0), CheckKind.MINIMIZED) == 1.0


def test_one_missing_value_is_not_finite():
    broken = run()
    series = {**broken.series, "pressure": (None, *broken.series["pressure"][1:])}
    assert mark(facts(run()), CheckKind.FINITE) == 1.0
    assert mark(facts(ProbedRun(**{**vars(broken), "series": series})), CheckKind.FINITE) == 0.0
    assert mark(facts(run(), finite=False), CheckKind.FINITE) == 0.0


def test_an_explosion_earns_nothing_and_breaks_nothing():
    huge = np.full(101, 1e300)
    found = facts(run(temperature=huge, pressure=-huge, volume=huge, kinetic_energy=huge))
    for kind in PHYSICS:
        assert mark(found, kind, target=300.0) == 0.0, kind
    wild = facts(run(temperature=np.where(np.arange(101) % 2, 1e99, -1e99)))
    assert mark(wild, CheckKind.TEMPERATURE, target=300.0) == 0.0


def test_observables_are_relative_to_their_targets():
    found = facts(run())
    assert mark(found, CheckKind.ENERGY, target=-900 / N) == 1.0
    assert mark(found, CheckKind.ENERGY, target=-900 / N / 1.025) == pytest.approx(0.5)
    assert mark(found, CheckKind.BOX_LENGTH, target=30.0, axis="z") == 1.0
    assert mark(found, CheckKind.STRAIN, target=0.03, axis="x") == 1.0
    assert mark(found, CheckKind.STRAIN, target=0.03, axis="y") == 0.0


@pytest.mark.parametrize(
    ("fixes", "expected"),
    [
        (["nvt all"], "nvt"),
        (["nve all"], "nve"),
        (["npt all"], "npt"),
        (["nph all"], "nph"),
        (["nve all", "langevin all"], "langevin"),
        (["nve all", "temp/csvr all"], "nvt"),
        (["nve all", "temp/berendsen all", "press/berendsen all"], "npt"),
        (["nph all", "langevin all"], "npt"),
        (["nvt all", "nve all"], None),
        (["nve all", "temp/rescale all"], None),
        (["nvt half", "nve all"], "nve"),
        (["nve all", "langevin half"], None),
        (["nvt half"], None),
        ([], None),
    ],
)
def test_fixes_make_the_ensemble(fixes: list[str], expected: str | None):
    active = tuple(ActiveFix(style=s, group=g) for s, g in map(str.split, fixes))
    found = facts(ProbedRun(**{**vars(run()), "fixes": active}))
    for text in ("nve", "nvt", "npt", "nph", "langevin"):
        accepted = text == expected or (text, expected) == ("nvt", "langevin")
        assert mark(found, CheckKind.ENSEMBLE, text=text) == accepted, text


def test_fingerprint_tells_a_millionth_of_an_electronvolt_per_atom():
    within, beyond = -900.0 + 0.9e-6 * N, -900.0 + 1.1e-6 * N
    assert mark(facts(run(), requested_potential_energy=within), CheckKind.POTENTIAL) == 1.0
    assert mark(facts(run(), requested_potential_energy=beyond), CheckKind.POTENTIAL) == 0.0
    assert mark(facts(run(), requested_potential_energy=None), CheckKind.POTENTIAL) == 0.0


def test_numbers_of_the_specification_are_compared():
    found = facts(run())
    assert mark(found, CheckKind.NUM_ATOMS, target=256, tolerance=0.0) == 1.0
    assert mark(found, CheckKind.NUM_ATOMS, target=257, tolerance=0.0) == 0.0
    assert mark(found, CheckKind.NUM_ATOMS, target=250, tolerance=0.012) == pytest.approx(2 / 3)
    assert mark(found, CheckKind.NUM_STEPS, target=500) == 1.0
    assert mark(found, CheckKind.NUM_STEPS, target=1000) == 0.0
    assert mark(found, CheckKind.TIMESTEP, target=0.002) == 1.0
    assert mark(found, CheckKind.TIMESTEP, target=0.001) == 0.0
    assert mark(found, CheckKind.UNITS, text="metal") == 1.0
    assert mark(found, CheckKind.UNITS, text="real") == 0.0


def test_relative_mark_without_a_value_is_zero():
    assert relative_mark(None, 1.0, 0.1) == 0.0
