"""The difference between two reports on the same tasks, with paired intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

from evals.report import METRIC_TITLES, CodegenReport
from evals.scoring import METRICS, per_task_values
from evals.statistics import Estimate, paired_difference
from mdx.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Second minus first, over the tasks that both reports scored."""

    first: str
    second: str
    num_tasks: int
    differences: Mapping[str, Estimate]  # metric -> mean difference with its 95 % interval


def compare_reports(first: CodegenReport, second: CodegenReport, *, seed: int = 0) -> Comparison:
    """Compare two reports task by task; raises UsageError if they share no scored task."""
    differences = {}
    num_tasks = 0
    for metric in METRICS:
        ours, theirs = (per_task_values(r.per_task, metric) for r in (first, second))
        shared = [task_id for task_id in ours if task_id in theirs]
        if shared:
            pairs = [ours[t] for t in shared], [theirs[t] for t in shared]
            differences[metric] = paired_difference(*pairs, seed=seed)
            num_tasks = max(num_tasks, len(shared))
    if not differences:
        raise UsageError(
            f"{first.model} and {second.model} share no scored task: "
            "evaluate both with the same --data, --split and --num-tasks"
        )
    return Comparison(
        first=first.model, second=second.model, num_tasks=num_tasks, differences=differences
    )


def render_comparison(comparison: Comparison) -> str:
    """Return the comparison as lines of text, one a metric."""
    lines = [f"{comparison.second} minus {comparison.first}, {comparison.num_tasks} tasks, paired:"]
    for metric, difference in comparison.differences.items():
        verdict = "better" if difference.low > 0 else "worse" if difference.high < 0 else "unclear"
        lines.append(
            f"  {METRIC_TITLES[metric]:<22} {difference.mean:+.3f}  "
            f"(95 % {difference.low:+.3f} to {difference.high:+.3f})  {verdict}"
        )
    return "\n".join(lines)
