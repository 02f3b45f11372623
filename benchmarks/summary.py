"""From the repetitions of a run to medians, ratios, a table and JSON.

A contestant's figure is its median over the repetitions after the warm-up. A ratio compares MDX
with the better of the peers named in `PEERS`, and is above 1 where MDX is better; the plain torch
loop is shown beside them, for it is no trainer.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

OURS = "mdx"
PEERS = ("tunix", "trl", "trl-packed")
WARM_UPS = 2  # the first repetition compiles; tunix's second one compiles again


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """What a worker measured: useful tokens, seconds, CPU seconds and the growth of memory."""

    tokens: float
    seconds: float
    cpu_seconds: float
    peak_bytes: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Medians of one contestant at one work item. Compiling is what the warm-ups took beyond it."""

    tokens_per_s: float
    tokens_per_cpu_s: float
    seconds: float
    cpu_seconds: float
    compile_s: float
    compile_cpu_s: float
    peak_bytes: float


def mean(steps: Sequence[Repetition]) -> Repetition:
    """Return one repetition that stands for those of a turn; of memory the largest growth."""
    return Repetition(
        tokens=statistics.fmean(step.tokens for step in steps),
        seconds=statistics.fmean(step.seconds for step in steps),
        cpu_seconds=statistics.fmean(step.cpu_seconds for step in steps),
        peak_bytes=max(step.peak_bytes for step in steps),
    )


def summarise(repetitions: Sequence[Repetition]) -> Figures:
    """Return the medians; the first `WARM_UPS` repetitions count for compiling alone."""
    warm, steady = repetitions[:WARM_UPS], repetitions[WARM_UPS:]
    assert steady, "a contestant needs a repetition after its warm-ups"
    seconds = statistics.median(r.seconds for r in steady)
    cpu_seconds = statistics.median(r.cpu_seconds for r in steady)
    return Figures(
        tokens_per_s=statistics.median(r.tokens / r.seconds for r in steady),
        tokens_per_cpu_s=statistics.median(r.tokens / r.cpu_seconds for r in steady),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        compile_s=sum(r.seconds for r in warm) - len(warm) * seconds,
        compile_cpu_s=sum(r.cpu_seconds for r in warm) - len(warm) * cpu_seconds,
        peak_bytes=statistics.median(r.peak_bytes for r in steady),
    )


def gain(measure: str, figures: Mapping[str, Figures]) -> dict[str, float]:
    """Return {"wall": .., "cpu": ..}: how much better MDX is than the better peer, 1 being equal.

    Tokens a second are divided by the peer's; times and bytes divide the peer's. Empty without
    MDX or without a peer.
    """
    peers = [figures[name] for name in PEERS if name in figures]
    if OURS not in figures or not peers:
        return {}
    ours = figures[OURS]
    if measure == "tokens":
        return {
            "wall": ours.tokens_per_s / max(peer.tokens_per_s for peer in peers),
            "cpu": ours.tokens_per_cpu_s / max(peer.tokens_per_cpu_s for peer in peers),
        }
    if measure == "compile":
        return {
            "wall": min(peer.compile_s for peer in peers) / ours.compile_s,
            "cpu": min(peer.compile_cpu_s for peer in peers) / ours.compile_cpu_s,
        }
    return {"bytes": min(peer.peak_bytes for peer in peers) / ours.peak_bytes}


def as_json(
    measure: str, repetitions: Mapping[str, Sequence[Repetition]], errors: Mapping[str, str]
) -> dict[str, Any]:
    """Return one work item's part of the JSON: every repetition, the medians and the ratios."""
    figures = {name: summarise(values) for name, values in repetitions.items()}
    return {
        "measure": measure,
        "ratio_to_better_peer": gain(measure, figures),
        "medians": {name: asdict(value) for name, value in figures.items()},
        "repetitions": {name: [asdict(r) for r in values] for name, values in repetitions.items()},
        "errors": dict(errors),
    }


def table(results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> Table:
    """Return the table of all work items that `results` (work -> its JSON) has."""
    contestants = [
        name
        for name in (OURS, *PEERS, "torch")
        if any(name in result["medians"] for result in results.values())
    ]
    columns = Table("work", "unit", *contestants, "ratio (CPU)")
    for work, result in results.items():
        cells = [_cell(result, name) for name in contestants]
        columns.add_row(titles[work], UNITS[result["measure"]], *cells, _ratio(result))
    return columns


UNITS = {"tokens": "tokens/s", "compile": "s (CPU-s)", "memory": "GB"}


def _cell(result: Mapping[str, Any], name: str) -> str:
    if name not in result["medians"]:
        return "-"
    medians = result["medians"][name]
    if result["measure"] == "tokens":
        return f"{medians['tokens_per_s']:,.0f}"
    if result["measure"] == "compile":
        return f"{medians['compile_s']:.1f} ({medians['compile_cpu_s']:.1f})"
    return f"{medians['peak_bytes'] / 1e9:.2f}"


def _ratio(result: Mapping[str, Any]) -> str:
    ratio = result["ratio_to_better_peer"]
    if "bytes" in ratio:
        return f"{ratio['bytes']:.2f}"
    return f"{ratio['wall']:.2f} ({ratio['cpu']:.2f})" if ratio else "-"
