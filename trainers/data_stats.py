"""`mdx-data stats`: what data sets hold, as tables and as one page of plots.

`gather_stats` reads every record once and counts; `plot_stats` draws the page. Lengths are in
characters, or in tokens where a tokenizer is given. Times are those of `timings.jsonl`: seconds
that this build measured, beside the modelled cost by which prompts for MD-GRPO are chosen.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mdx.data.datasets import BUILDERS, folder_of, iter_records, splits_of
from mdx.data.tasks import conversation_of_record

_TIMINGS = "timings.jsonl"


@dataclass(frozen=True, kw_only=True)
class DataStats:
    """Counts and values of all records of a folder."""

    records: dict[str, dict[str, int]] = field(default_factory=dict)  # by data set and split
    families: Counter[str] = field(default_factory=Counter)  # of MD-CodeGen's tasks
    registers: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)  # of all records
    lengths: dict[str, list[int]] = field(default_factory=dict)  # by data set
    rewards: list[float] = field(default_factory=list)
    costs_s: list[float] = field(default_factory=list)  # modelled
    wall_times_s: list[float] = field(default_factory=list)  # measured
    cpu_times_s: list[float] = field(default_factory=list)


def gather_stats(data_dir: str, count_tokens: Callable[[str], int] = len) -> DataStats:
    """Read all data sets that are in `data_dir`; `count_tokens` measures a text."""
    stats = DataStats()
    for name in BUILDERS:
        if not folder_of(data_dir, name).exists():
            continue
        stats.records[name] = splits_of(data_dir, name)
        lengths = stats.lengths.setdefault(name, [])
        for split in stats.records[name]:
            for record in iter_records(data_dir, name, split):
                stats.languages[record["language"] or "none"] += 1
                lengths.append(count_tokens(_text_of(record)))
                if name == "md_code_gen":
                    stats.families[record["family"]] += 1
                    stats.registers[record["register"]] += 1
                    stats.rewards.append(record["reward"])
                    stats.costs_s.append(record["cost_s"])
    file = Path(data_dir) / _TIMINGS
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            timing = json.loads(line)
            stats.wall_times_s.append(timing["wall_time_s"])
            stats.cpu_times_s.append(timing["cpu_time_s"])
    return stats


def summary_rows(stats: DataStats, unit: str) -> list[tuple[str, ...]]:
    """Return a table of medians and extremes of what has a distribution."""
    values: dict[str, Sequence[float]] = {
        **{f"{name}, {unit}": lengths for name, lengths in stats.lengths.items()},
        "reward": stats.rewards,
        "modelled cost, s": stats.costs_s,
        "CPU time, s": stats.cpu_times_s,
        "wall time, s": stats.wall_times_s,
    }
    rows: list[tuple[str, ...]] = [("", "mean", "median", "95 %", "most")]
    for name, numbers in values.items():
        if numbers:
            points = (np.mean(numbers), *np.quantile(numbers, (0.5, 0.95, 1.0)))
            rows.append((name, *(f"{point:.4g}" for point in points)))
    return rows


def plot_stats(stats: DataStats, file: str, unit: str) -> None:
    """Write one page of plots to `file` (PNG, or what its ending says)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 12), layout="constrained")
    axes = figure.subplots(3, 2)
    _bars(axes[0, 0], stats.families, "tasks by family")
    _bars(axes[0, 1], stats.registers + stats.languages, "tasks by register, records by language")
    for name, lengths in stats.lengths.items():
        axes[1, 0].hist(np.clip(lengths, 0, np.quantile(lengths, 0.99)), 60, alpha=0.6, label=name)
    axes[1, 0].set(xlabel=unit, ylabel="records", title="lengths (longest 1 % cut)", yscale="log")
    axes[1, 0].legend()
    axes[1, 1].hist(stats.rewards or [0.0], 40)
    axes[1, 1].set(xlabel="R", ylabel="tasks", title="rewards of the references", yscale="log")
    axes[2, 0].hist(
        [stats.costs_s, stats.cpu_times_s], 60, label=["modelled cost", "measured CPU time"]
    )
    axes[2, 0].set(xlabel="seconds", ylabel="references", title="cost of one run", yscale="log")
    axes[2, 0].legend()
    axes[2, 1].hist(stats.wall_times_s or [0.0], 60)
    axes[2, 1].set(xlabel="seconds", ylabel="references", title="wall time of one run")
    figure.savefig(file, dpi=100)


def _bars(axes: Any, counts: Counter[str], title: str) -> None:
    names = [name for name, _ in counts.most_common()]
    axes.bar(names, [counts[name] for name in names])
    axes.set_title(title)
    axes.tick_params(axis="x", labelrotation=90, labelsize=6)


def _text_of(record: dict[str, Any]) -> str:
    """Return what a model reads of a record."""
    if "text" in record:
        return record["text"]
    return "\n".join(message["content"] for message in conversation_of_record(record))
