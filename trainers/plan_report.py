"""The plan as a table for people; `Plan.to_json` is the one for programs."""

from typing import Any

from rich.console import Console
from rich.table import Table

_GB = 1e9


def print_plan(facts: dict[str, Any]) -> None:
    """Print what `Plan.to_json` returns, the verdict first."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for name, value in rows(facts):
        table.add_row(name, value)
    console = Console(highlight=False, width=240)  # the terminal wraps, nothing is cut off
    console.print(verdict(facts))
    console.print(table)


def verdict(facts: dict[str, Any]) -> str:
    """Say in one line whether it fits, and by how much."""
    limit, over = facts["hbm_limit_bytes"] / _GB, facts["over_bytes"] / _GB
    what = f"{facts['stage']} on {facts['topology']}"
    if over > 0:
        return f"{what} does NOT fit: {over:.2f} GB over the {limit:.1f} GB of a device"
    return f"{what} fits: {-over:.2f} GB of {limit:.1f} GB a device are left"


def rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the report's lines as (name, value)."""
    lines = [
        ("mesh", " x ".join(f"{axis}={size}" for axis, size in facts["mesh"].items())),
        ("remat, microbatches", f"{facts['remat']}, {facts['num_microbatches']}"),
        ("HBM a device", f"{facts['hbm_bytes_per_chip'] / _GB:.2f} GB"),
        ("  arguments", f"{facts['argument_bytes'] / _GB:.2f} GB (by hand, exact)"),
        ("  temporaries", f"{facts['temporary_bytes'] / _GB:.2f} GB"),
        ("  in use at a time", _gb(facts["live_bytes"])),
        ("  the same, by hand", _gb(facts["estimated_bytes"])),
        ("tokens a step", f"{facts['tokens_per_step']:,}"),
        ("model FLOPs a step", f"{facts['model_flops']:.3e} (causal half of attention)"),
    ]
    if facts["sampler_bytes"] is not None:
        lines.append(("sampling adds", f"{facts['sampler_bytes'] / _GB:.2f} GB (by hand)"))
    for kind, record in sorted((facts["collectives"] or {}).items()):
        sent = f"{record['count']:,.0f} a step, {record['bytes'] / _GB:.2f} GB"
        lines.append((kind, sent))
    if facts["projected_step_s"] is not None:
        lines += [
            ("projected step", f"{facts['projected_step_s']:.2f} s"),
            ("projected MFU", f"{facts['projected_mfu']:.1%}"),
        ]
    for name, seconds in (facts["parts_s"] or {}).items():
        lines.append((f"  {name}", f"{seconds:.2f} s"))
    if "overrides" in facts:
        lines.append(("use", " ".join(facts["overrides"])))
    return [
        *lines,
        ("compile", f"{facts['compile_s']:.0f} s ({facts['compile_cpu_s']:.0f} CPU-s)"),
        ("method", facts["method"]),
    ]


def _gb(num_bytes: int | None) -> str:
    return "not compiled" if num_bytes is None else f"{num_bytes / _GB:.2f} GB"
