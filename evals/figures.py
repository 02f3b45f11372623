"""Tables and figures of a run directory, for the notebook and for whoever wants one of them.

A run directory holds report folders (`evals.report`) and training runs (`metrics.jsonl`) at any
depth. Nothing here computes a new number: figures show what reports and metrics files say.
Figures are plain `matplotlib.figure.Figure`s, so no display and no global state are needed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from evals.report import METRIC_TITLES, REPORT_FILE, CodegenReport, read_report
from mdx.errors import UsageError

METRICS_FILE = "metrics.jsonl"
Rows = Sequence[Mapping[str, float | None]]

_MAX_BARS = 12
_MAX_SIGNATURE = 60


def find_reports(run_dir: str) -> dict[str, CodegenReport]:
    """Return the reports under `run_dir` by folder, in the order in which they were written.

    Raises UsageError where there is none.
    """
    files = sorted(Path(run_dir).rglob(REPORT_FILE), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        raise UsageError(f"{run_dir} holds no {REPORT_FILE}: evaluate with `mdx-eval codegen`")
    root = Path(run_dir)
    return {str(file.parent.relative_to(root)): read_report(str(file)) for file in files}


def stage_table(reports: Mapping[str, CodegenReport]) -> str:
    """Return a Markdown table: one row a report, each metric with its 95 % interval."""
    lines = [f"| report | tasks | {' | '.join(METRIC_TITLES.values())} |"]
    lines.append("|---" * (2 + len(METRIC_TITLES)) + "|")
    for name, report in reports.items():
        cells = [_cell(report, metric) for metric in METRIC_TITLES]
        lines.append(f"| {name} | {report.num_tasks} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(report: CodegenReport, metric: str) -> str:
    value = getattr(report, metric)
    if value is None:
        return "not measured"
    low, high = report.ci95[metric]
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def plot_stages(reports: Mapping[str, CodegenReport]) -> Figure:
    """Plot every metric of every report with its interval."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for index, (name, report) in enumerate(reports.items()):
        measured = [m for m in METRIC_TITLES if getattr(report, m) is not None]
        places = [list(METRIC_TITLES).index(m) + 0.8 * index / len(reports) for m in measured]
        values = [getattr(report, m) for m in measured]
        bounds = [report.ci95[m] for m in measured]
        below = [max(v - low, 0.0) for v, (low, _) in zip(values, bounds, strict=True)]
        above = [max(high - v, 0.0) for v, (_, high) in zip(values, bounds, strict=True)]
        axes.bar(places, values, 0.7 / len(reports), yerr=(below, above), label=name, capsize=3)
    axes.set_xticks([i + 0.3 for i in range(len(METRIC_TITLES))], list(METRIC_TITLES.values()))
    axes.set_ylim(0, 1)
    axes.legend()
    return figure


def read_metrics(run_dir: str) -> dict[str, list[dict[str, float | None]]]:
    """Return the lines of each `metrics.jsonl` under `run_dir`, by folder."""
    root = Path(run_dir)
    return {
        str(file.parent.relative_to(root)): [
            json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()
        ]
        for file in sorted(root.rglob(METRICS_FILE))
    }


def plot_curve(rows: Rows, metric: str, *, smooth_over: int = 10) -> Figure:
    """Plot `metric` over the step, with the running mean of the last `smooth_over` values.

    Raises UsageError naming the metrics there are where `metric` was never written.
    """
    points = [(r["step"], r[metric]) for r in rows if r.get(metric) is not None]
    if not points:
        known = sorted({name for row in rows for name in row} - {"step"})
        raise UsageError(f"no metric {metric!r} was written; there are {', '.join(known)}")
    steps, values = zip(*points, strict=True)
    smooth = [
        sum(values[max(0, i - smooth_over + 1) : i + 1]) / min(i + 1, smooth_over)
        for i in range(len(values))
    ]
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, values, alpha=0.35)
    axes.plot(steps, smooth)
    axes.set_xlabel("step")
    axes.set_ylabel(metric)
    return figure


def plot_failures(report: CodegenReport) -> Figure:
    """Plot the most frequent failures as shares of all trajectories."""
    failures = report.failures[:_MAX_BARS][::-1]
    figure = Figure(figsize=(8, 1 + 0.3 * len(failures)), layout="constrained")
    axes = figure.subplots()
    shares = [failure.count / report.num_trajectories for failure in failures]
    axes.barh([failure.signature[:_MAX_SIGNATURE] for failure in failures], shares)
    axes.set_xlabel("share of trajectories")
    return figure
