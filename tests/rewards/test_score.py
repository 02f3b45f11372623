"""The formula: weights, gate, caps, renormalisation, and what is scored without a run."""

import dataclasses

import pytest

from mdx.lammps.run import (
    ActiveFix,
    Evidence,
    FinalState,
    ProbedRun,
    Reward,
    RunResult,
    RunStatus,
    from_json,
    to_json,
)
from mdx.rewards import RewardWeights, passed, score
from mdx.tasks.task import Check, CheckKind, Task

SCRIPT = """\
units metal
lattice fcc 3.615
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
run 100
"""
TASK = Task(
    id="t",
    family="f",
    prompt="p",
    checks=(
        Check(kind=CheckKind.UNITS, text="metal"),
        Check(kind=CheckKind.NUM_ATOMS, target=256, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
    ),
    num_steps=100,
)


def result(
    steps: int = 100, status: RunStatus = RunStatus.OK, atoms: int = 256, units: str = "metal"
) -> RunResult:
    temperature = tuple(300.0 + (i % 7) for i in range(11))
    run = ProbedRun(
        command="run",
        first_step=0,
        last_step=steps,
        num_atoms_before=atoms,
        num_atoms_after=atoms,
        timestep=0.001,
        series={"step": tuple(steps * i / 10 for i in range(11)), "temperature": temperature},
        fixes=(ActiveFix(style="nve", group="all"),),
    )
    final = FinalState(
        units=units,
        step=steps,
        num_atoms=atoms,
        num_types=1,
        pair_style="eam",
        fixes=(),
        box_lengths=(10.0, 10.0, 10.0),
    )
    return RunResult(status=status, evidence=Evidence(runs=(run,), final=final))


def test_no_script_earns_nothing():
    assert score(TASK, None, None) == Reward(total=0.0, components={"format": 0.0})


def test_without_a_run_only_the_text_earns():
    reward = score(TASK, SCRIPT, None)
    assert reward.total == pytest.approx(0.02 + 0.08 + 0.05)
    assert set(reward.components) == {"format", "syntax", "files"}


def test_everything_right_earns_one():
    reward = score(TASK, SCRIPT, result())
    assert reward.total == pytest.approx(1.0)
    assert passed(reward)


def test_half_of_the_steps_earn_half_of_completion_and_no_quality():
    reward = score(TASK, SCRIPT, result(steps=50))
    assert reward.total == pytest.approx(0.15 + 0.10 + 0.15 * 0.5)
    assert reward.components["quality"] == 0.0


def test_an_error_halves_completion_and_closes_the_gate():
    reward = score(TASK, SCRIPT, result(status=RunStatus.ERROR))
    assert reward.total == pytest.approx(0.15 + 0.10 + 0.15 * 0.5)


def test_quality_is_renormalised_over_the_groups_that_apply():
    reward = score(TASK, SCRIPT, result(units="lj"))
    # specification: units wrong, atoms right: (mean 1/2 + worst 0) / 2; physics: 1
    specification, weights = 0.25, RewardWeights()
    norm = weights.specification + weights.physics
    quality = (weights.specification * specification + weights.physics) / norm
    assert reward.components["quality"] == pytest.approx(quality)
    assert reward.total == pytest.approx(0.4 + 0.6 * quality)
    assert not passed(reward)


def test_a_task_without_checks_is_solved_by_completing():
    task = dataclasses.replace(TASK, checks=())
    assert score(task, SCRIPT, result()).total == pytest.approx(1.0)


def test_a_flag_caps_hardest_and_a_wrong_system_less():
    few = score(TASK, SCRIPT, result(atoms=4))
    assert few.flags == ("too_few_atoms",)
    assert few.total == 0.15
    off = dataclasses.replace(TASK, volume_per_atom=1000 / 256 / 1.05)
    wrong = score(off, SCRIPT, result())
    assert wrong.flags == ("wrong_volume",)
    assert wrong.total == 0.40


def test_every_weight_moves_the_reward():
    task = dataclasses.replace(
        TASK,
        checks=(
            *TASK.checks,
            Check(kind=CheckKind.TABLE, file="missing"),
            Check(kind=CheckKind.BOX_LENGTH, target=11.0, axis="x"),
        ),
        volume_per_atom=None,
    )
    capped = dataclasses.replace(TASK, volume_per_atom=5.0)
    for field in dataclasses.fields(RewardWeights):
        changed = RewardWeights(**{field.name: 0.01})
        before = [score(t, SCRIPT, result(atoms=n)) for t in (task, capped) for n in (4, 256)]
        after = [
            score(t, SCRIPT, result(atoms=n), changed) for t in (task, capped) for n in (4, 256)
        ]
        assert before != after, field.name


def test_default_weights_add_up_to_one():
    weights = RewardWeights()
    names = ("format", "syntax", "files", "box", "completion", "quality")
    assert sum(getattr(weights, name) for name in names) == pytest.approx(1.0)
    groups = ("specification", "outputs", "physics", "observable")
    assert sum(getattr(weights, name) for name in groups) == pytest.approx(1.0)


def test_a_result_stored_as_json_scores_the_same():
    stored = from_json(to_json(result()), RunResult)
    assert score(TASK, SCRIPT, stored) == score(TASK, SCRIPT, result())


def test_no_evidence_is_no_quality():
    crashed = RunResult(status=RunStatus.CRASHED)
    reward = score(TASK, SCRIPT, crashed)
    assert reward.total == pytest.approx(0.15)
    assert reward.flags == ()


def test_how_far_a_script_got_before_its_time_was_up_earns_nothing():
    # it depends on the machine's load, and a run that is resumed must see the same rewards
    timeouts = [score(TASK, SCRIPT, result(steps, RunStatus.TIMEOUT)) for steps in (1, 50, 100)]
    assert [reward.total for reward in timeouts] == [pytest.approx(0.15)] * 3


def test_pass_begins_at_nine_tenths():
    assert passed(Reward(total=0.9))
    assert not passed(Reward(total=0.899))
