"""The quickstart's summary: the stage table, the reward curve and the time of each phase.

Reads the finished evaluations of a run directory and writes `summary.json` (for programs),
`summary.md` (for people) and `reward_curve.png`. `summary.json` is written last.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.compare import compare_reports
from evals.figures import plot_curve, read_metrics, stage_table
from evals.report import METRIC_TITLES, CodegenReport, read_report
from trainers.run_dir import write_atomically

STAGES = ("base", "cpt", "sft", "grpo")
SUMMARY = "summary.json"
_CURVE = "reward_curve.png"


def write_summary(run_dir: str, phase_seconds: Mapping[str, float]) -> str:
    """Write the three files and return the Markdown."""
    directory = Path(run_dir)
    reports = {stage: read_report(str(directory / "eval" / stage)) for stage in STAGES}
    summary = summarise(reports, phase_seconds, agent_run_dir=str(directory / "agent"))
    plot_curve(read_metrics(run_dir)["grpo"], "reward").savefig(directory / _CURVE, dpi=120)
    markdown = render_summary(summary, reports)
    write_atomically(directory / "summary.md", markdown)
    write_atomically(directory / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return markdown


def summarise(
    reports: Mapping[str, CodegenReport], phase_seconds: Mapping[str, float], *, agent_run_dir: str
) -> dict[str, Any]:
    """Return the summary as plain data; its keys are stable: programs read it."""
    difference = compare_reports(reports["sft"], reports["grpo"]).differences["mean_reward"]
    return {
        "stages": [_stage(stage, reports[stage]) for stage in reports],
        "grpo_minus_sft": {
            "mean": difference.mean,
            "ci95": [difference.low, difference.high],
        },
        "phases": [{"name": name, "wall_s": wall_s} for name, wall_s in phase_seconds.items()],
        "agent_run_dir": agent_run_dir,
    }


def render_summary(summary: Mapping[str, Any], reports: Mapping[str, CodegenReport]) -> str:
    """Return the summary as Markdown."""
    gain, (low, high) = summary["grpo_minus_sft"]["mean"], summary["grpo_minus_sft"]["ci95"]
    total = sum(phase["wall_s"] for phase in summary["phases"])
    return "\n".join(
        [
            "# Quickstart",
            "",
            "Held-out tasks; in brackets the 95 % interval over tasks.",
            "",
            stage_table(reports),
            "",
            f"GRPO minus SFT, mean R, paired: {gain:+.3f} ({low:+.3f} to {high:+.3f})",
            "",
            f"![mean reward of the rollouts by GRPO step]({_CURVE})",
            "",
            "| phase | wall time (s) |",
            "|---|---|",
            *(f"| {phase['name']} | {phase['wall_s']:.1f} |" for phase in summary["phases"]),
            f"| total | {total:.1f} |",
            "",
            f"The agent's run: {summary['agent_run_dir']}",
            "",
        ]
    )


def _stage(name: str, report: CodegenReport) -> dict[str, Any]:
    return {
        "name": name,
        "num_tasks": report.num_tasks,
        **{metric: getattr(report, metric) for metric in METRIC_TITLES},
        "ci95": {
            metric: list(report.ci95[metric]) for metric in METRIC_TITLES if metric in report.ci95
        },
    }
