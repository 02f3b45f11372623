"""The report of a code generation benchmark: its types, its JSON and its Markdown.

A finished evaluation is a folder: `report.json` (`CodegenReport`), `report.md` (the same for
people) and `trajectories.jsonl` (every completion, run and reward, so that each figure can be
recomputed). `report.json` is written last: where it exists, the evaluation is finished.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mdx.errors import UsageError
from mdx.lammps.run import from_json, to_json
from mdx.trajectory import Trajectory

REPORT_FILE = "report.json"
MARKDOWN_FILE = "report.md"
TRAJECTORIES_FILE = "trajectories.jsonl"

METRIC_TITLES = {
    "exec_success_at_1": "ExecSuccess@1",
    "exec_success_at_3": "ExecSuccess@3",
    "pass_rate": "Pass rate (R >= 0.9)",
    "mean_reward": "Mean reward",
}
_MAX_FAILURES_SHOWN = 15


@dataclass(frozen=True, kw_only=True)
class CodegenConfig:
    """How to sample and run. `num_slots` is a matter of speed and memory, not of the result."""

    num_samples: int = 3
    temperature: float = 0.7
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int = 256
    num_slots: int = 64  # completions that are written at one time
    wall_time_s: float = 10.0  # limit of one run on the farm


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """One task's scored samples. `rewards` keeps the order of sampling, for pairing."""

    task_id: str
    family: str
    rewards: tuple[float, ...]
    num_executed: int
    num_passed: int
    num_lost: int = 0


@dataclass(frozen=True, kw_only=True)
class FamilyScore:
    """Means over the tasks of one family."""

    family: str
    num_tasks: int
    exec_success_at_1: float
    pass_rate: float
    mean_reward: float


@dataclass(frozen=True, kw_only=True)
class FailureCount:
    """How often one kind of failure was seen; `example` is the id of a trajectory."""

    signature: str
    count: int
    example: str


@dataclass(frozen=True, kw_only=True)
class CodegenReport:
    """The figures of one model on one set of tasks. `evals.scoring` defines each of them.

    Metrics are None where nothing was scored (for @3: fewer than three samples a task).
    """

    model: str
    fingerprint: str  # of the model's files, the tasks and the configuration
    config: CodegenConfig
    num_tasks: int
    num_trajectories: int
    num_lost: int  # trajectories without a reward: the infrastructure failed
    exec_success_at_1: float | None
    exec_success_at_3: float | None
    pass_rate: float | None
    mean_reward: float | None
    ci95: Mapping[str, tuple[float, float]]  # metric -> (low, high)
    per_task: tuple[TaskScore, ...]
    families: tuple[FamilyScore, ...] = ()
    failures: tuple[FailureCount, ...] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)
    components: Mapping[str, float] = field(default_factory=dict)  # means over trajectories


def write_report(report: CodegenReport, trajectories: Iterable[Trajectory], out_dir: str) -> None:
    """Write the three files into `out_dir`, `report.json` last and atomically."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / TRAJECTORIES_FILE, "wb") as lines:
        for trajectory in trajectories:
            lines.write(to_json(trajectory) + b"\n")
    (folder / MARKDOWN_FILE).write_text(render_markdown(report), encoding="utf-8")
    unfinished = folder / f".{REPORT_FILE}.unfinished"
    unfinished.write_bytes(msgspec.json.format(to_json(report)))
    os.replace(unfinished, folder / REPORT_FILE)


def read_report(path: str) -> CodegenReport:
    """Read a report from its folder or its JSON file; raises UsageError if it is none."""
    file = Path(path)
    file = file / REPORT_FILE if file.is_dir() else file
    if not file.is_file():
        raise UsageError(f"a finished report is needed, but there is no {file}")
    try:
        return from_json(file.read_bytes(), CodegenReport)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{file} is no code generation report: {error}") from error


def read_trajectories(out_dir: str) -> list[Trajectory]:
    """Read the trajectories that lie beside a report."""
    lines = (Path(out_dir) / TRAJECTORIES_FILE).read_bytes().splitlines()
    return [from_json(line, Trajectory) for line in lines]


def render_markdown(report: CodegenReport) -> str:
    """Return the report for people: headline figures, families, failures."""
    config = report.config
    parts = [
        f"# Code generation: {report.model}",
        f"{report.num_tasks} tasks, {config.num_samples} samples each, temperature "
        f"{config.temperature:g}, seed {config.seed}. Intervals: 95 %, bootstrap over tasks.",
        _metrics_table(report),
        _lost_line(report),
        "## By family\n\n" + _families_table(report),
        "## What went wrong\n\n" + _failures_table(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metrics_table(report: CodegenReport) -> str:
    rows = []
    for metric, title in METRIC_TITLES.items():
        value = getattr(report, metric)
        if value is not None:
            low, high = report.ci95[metric]
            rows.append((title, f"{value:.3f}", f"{low:.3f} to {high:.3f}"))
    return _table(("metric", "value", "95 % interval"), rows)


def _lost_line(report: CodegenReport) -> str:
    if not report.num_lost:
        return ""
    return (
        f"{report.num_lost} of {report.num_trajectories} trajectories were lost to the farm's "
        "infrastructure. They have no reward and count nowhere above."
    )


def _families_table(report: CodegenReport) -> str:
    rows = [
        (
            score.family,
            str(score.num_tasks),
            f"{score.exec_success_at_1:.3f}",
            f"{score.pass_rate:.3f}",
            f"{score.mean_reward:.3f}",
        )
        for score in report.families
    ]
    return _table(("family", "tasks", "ExecSuccess@1", "pass rate", "mean reward"), rows)


def _failures_table(report: CodegenReport) -> str:
    shown = report.failures[:_MAX_FAILURES_SHOWN]
    rows = [(str(f.count), f.signature.replace("|", "\\|"), f.example) for f in shown]
    return _table(("count", "failure", "example"), rows) if rows else "Nothing."


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
