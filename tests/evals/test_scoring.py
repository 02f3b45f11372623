"""What counts as executed, passed, lost, and how the counts become the figures of a report."""

import pytest

from evals.codegen import summarise
from evals.report import CodegenConfig, CodegenReport
from evals.scoring import count_failures, executed, failure_signature
from mdx.lammps.run import RunStatus


def report_of(*trajectories) -> CodegenReport:
    return summarise(trajectories, CodegenConfig(), model="m", fingerprint="f")


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"completion": 0.5}, False),
        ({"flags": ("frozen",)}, False),
        ({"flags": ("wrong_potential",)}, True),
        ({"flags": ("wrong_potential", "frozen")}, False),
        ({"status": RunStatus.TIMEOUT}, False),
        ({"status": RunStatus.ERROR, "error": "Unknown command"}, False),
    ],
)
def test_executed_means_ok_complete_and_unflagged_whatever_the_quality(
    make_trajectory, change, counts
) -> None:
    assert executed(make_trajectory("t", 0.3, **change)) is counts


def test_figures_of_two_tasks_are_those_computed_by_hand(make_trajectory) -> None:
    ran = {"status": RunStatus.OK}
    broken = {"status": RunStatus.ERROR, "error": "x", "completion": 0.0}
    report = report_of(
        make_trajectory("a", 1.0, index=0, **ran),
        make_trajectory("a", 0.6, index=1, **ran),
        make_trajectory("a", 0.1, index=2, **broken),
        make_trajectory("a", 0.1, index=3, **broken),
        make_trajectory("b", 0.2, index=0, **broken),
        make_trajectory("b", 0.2, index=1, **broken),
        make_trajectory("b", 0.2, index=2, **broken),
        make_trajectory("b", 0.2, index=3, **broken),
    )

    assert report.exec_success_at_1 == pytest.approx((2 / 4 + 0) / 2)
    # Of the 4 triples of task a's samples none misses both of those that ran.
    assert report.exec_success_at_3 == pytest.approx((1 + 0) / 2)
    assert report.pass_rate == pytest.approx((1 / 4 + 0) / 2)
    assert report.mean_reward == pytest.approx((1.8 / 4 + 0.2) / 2)
    assert report.statuses == {"ok": 2, "error": 6}
    assert report.components["completion"] == pytest.approx(2 / 8)


def test_lost_trajectories_are_reported_and_change_no_figure(make_trajectory) -> None:
    scored = [make_trajectory("a", r, index=i) for i, r in enumerate((1.0, 0.4, 0.7))]
    lost = [make_trajectory("a", None, index=3), make_trajectory("b", None, index=0)]

    with_lost, without = report_of(*scored, *lost), report_of(*scored)
    assert with_lost.num_lost == 2
    assert with_lost.mean_reward == without.mean_reward == pytest.approx(0.7)
    assert with_lost.exec_success_at_3 == without.exec_success_at_3
    assert with_lost.failures[-1].signature.startswith("lost")


def test_three_samples_are_needed_for_success_at_three(make_trajectory) -> None:
    report = report_of(make_trajectory("a", 1.0), make_trajectory("a", 1.0, index=1))

    assert report.exec_success_at_3 is None
    assert "exec_success_at_3" not in report.ci95


def test_intervals_hold_their_means_and_widen_with_the_spread_between_tasks(
    make_trajectory,
) -> None:
    even = report_of(*(make_trajectory(f"t{i}", 0.5) for i in range(20)))
    spread = report_of(*(make_trajectory(f"t{i}", float(i % 2)) for i in range(20)))

    assert even.ci95["mean_reward"] == pytest.approx((0.5, 0.5))
    low, high = spread.ci95["mean_reward"]
    assert low < spread.mean_reward < high
    assert high - low > 0.3  # 2 x 1.96 x 0.5 / sqrt(20) = 0.44


def test_families_are_averaged_apart(make_trajectory) -> None:
    report = report_of(
        make_trajectory("a", 1.0, family="npt"),
        make_trajectory("b", 0.5, family="npt"),
        make_trajectory("c", 0.1, family="eos"),
    )

    rewards = {family.family: family.mean_reward for family in report.families}
    assert rewards == pytest.approx({"eos": 0.1, "npt": 0.75})


def test_errors_that_differ_in_names_numbers_and_places_are_one_failure(make_trajectory) -> None:
    first = "Unrecognized pair style 'eam/aloy' line 12 (src/force.cpp:279)"
    second = "Unrecognized pair style 'tersof' line 7 (/tmp/x/force.cpp:301)"
    failures = count_failures(
        [
            make_trajectory("a", 0.1, status=RunStatus.ERROR, error=first),
            make_trajectory("b", 0.1, status=RunStatus.ERROR, error=second),
            make_trajectory("c", 0.4),
            make_trajectory("d", 0.95),
        ]
    )

    assert [(f.count, f.example) for f in failures] == [(2, "a/0"), (1, "c/0")]
    assert failures[0].signature == "error: Unrecognized pair style '*' line #"
    assert failures[1].signature == "ran, but lost most in: quality"


def test_every_way_to_fail_has_a_signature(make_trajectory) -> None:
    assert failure_signature(make_trajectory("a", 0.9)) is None
    assert failure_signature(make_trajectory("a", None)).startswith("lost")
    assert failure_signature(make_trajectory("a", 0.1, flags=("frozen",))) == "flag: frozen"
    timeout = make_trajectory("a", 0.1, status=RunStatus.TIMEOUT)
    assert failure_signature(timeout) == "timeout: no message"
