"""Reports survive the disk, and comparisons pair by task."""

from collections.abc import Callable
from pathlib import Path

import pytest

from evals.codegen import summarise
from evals.compare import compare_reports, render_comparison
from evals.report import (
    CodegenConfig,
    CodegenReport,
    read_report,
    read_trajectories,
    render_markdown,
    write_report,
)
from mdx.errors import UsageError

Rewards = dict[str, float]


@pytest.fixture
def report_of(make_trajectory) -> Callable[[str, Rewards], CodegenReport]:
    def report(model: str, rewards: Rewards) -> CodegenReport:
        trajectories = [make_trajectory(task, reward) for task, reward in rewards.items()]
        return summarise(trajectories, CodegenConfig(), model=model, fingerprint=model)

    return report


def test_report_and_trajectories_come_back_as_they_were_written(
    make_trajectory, tmp_path: Path
) -> None:
    trajectories = [make_trajectory("a", 0.4), make_trajectory("b", None)]
    report = summarise(trajectories, CodegenConfig(), model="m", fingerprint="f")
    write_report(report, trajectories, str(tmp_path))

    assert read_report(str(tmp_path)) == read_report(str(tmp_path / "report.json")) == report
    assert read_trajectories(str(tmp_path)) == trajectories


def test_markdown_shows_the_figures_with_intervals_and_the_lost(make_trajectory) -> None:
    text = render_markdown(
        summarise(
            [make_trajectory("a", 0.25), make_trajectory("b", 0.75), make_trajectory("c", None)],
            CodegenConfig(),
            model="m",
            fingerprint="f",
        )
    )

    assert "| Mean reward | 0.500 | 0.250 to 0.750 |" in text
    assert "1 of 3 trajectories were lost" in text


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)

    with pytest.raises(UsageError, match="report") as caught:
        read_report(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_comparison_pairs_tasks_by_id_and_not_by_place(report_of) -> None:
    first = report_of("sft", {"a": 0.1, "b": 0.5, "c": 0.9})
    second = report_of("grpo", {"c": 1.0, "b": 0.6, "a": 0.2, "only-here": 0.0})

    comparison = compare_reports(first, second)
    difference = comparison.differences["mean_reward"]
    assert comparison.num_tasks == 3
    assert (difference.low, difference.mean, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    assert "better" in render_comparison(comparison)


def test_reports_without_a_common_task_cannot_be_compared(report_of) -> None:
    with pytest.raises(UsageError, match="share no scored task"):
        compare_reports(report_of("one", {"a": 0.5}), report_of("two", {"b": 0.5}))
