"""`mdx-farm bench`: what it says follows from what it ran."""

import json

import pytest
from click.testing import CliRunner

from rollout_farm import bench
from rollout_farm.bench import Speed
from rollout_farm.cli import main
from rollout_farm.client import Farm


def _speeds(*cpu_ms: float) -> list[Speed]:
    return [Speed(cpu_ms=value, scripts_per_s=1000 / value) for value in cpu_ms]


def test_a_machine_that_slows_down_changes_no_difference():
    # Turn by turn: farm, limit, bare, limit; all but the difference grows by 1 a turn.
    comparison = bench._compare(
        {
            "lmp": _speeds(200, 210, 220),
            "farm": _speeds(15, 19, 23),
            "in_process": _speeds(11, 13, 15, 17, 19, 21),
            "bare": _speeds(12 + 3, 16 + 3, 20 + 3),
        }
    )
    assert comparison.overhead_ms == pytest.approx(3)
    assert comparison.evidence_ms == pytest.approx(0)
    assert comparison.lmp.cpu_ms == 210
    assert comparison.in_process.cpu_ms == 16


def test_the_report_is_of_real_runs():
    command = ["bench", "--rounds", "1", "--kind", "failing", "--kind", "trivial", "--json"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report["kinds"]) == {"failing", "trivial"}
    for row in report["kinds"].values():
        for way in ("lmp", "farm", "bare", "in_process"):
            assert row[way]["cpu_ms"] > 0
        assert row["times_lmp"] == pytest.approx(
            row["farm"]["scripts_per_s"] / row["lmp"]["scripts_per_s"]
        )
    assert report["client_cpu_ms"] > 0


def test_every_way_counts_what_failed():
    scripts = ["print 1\n", "nonsense\n", "print 2\n", "print 3\n"]
    with Farm() as farm, bench._limit(2) as in_process:
        turns = [
            bench._on_farm(farm, scripts, want_evidence=False),
            bench._on_farm(farm, scripts, want_evidence=True),
            bench._lmp(2, scripts),
            in_process(scripts),
        ]
    for turn in turns:
        assert (turn.num_scripts, turn.num_failed) == (4, 1)
