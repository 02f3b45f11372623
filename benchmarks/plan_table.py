"""docs/plans.md: what every shipped configuration needs, compiled or counted by `mdx-train plan`.

    python -m benchmarks.plan_table                       # count what is missing
    python -m benchmarks.plan_table --compile 8b/sft@v5p  # compile one row, and keep its result

Results are kept in docs/plans.json, one entry a row: what is not named is not compiled again.
--compile may be repeated.
"""

import argparse
import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from mdx.errors import UsageError
from trainers.plan import load_plan_config, make_plan, parse_topology

RECORDS, TABLE = Path("docs/plans.json"), Path("docs/plans.md")
STAGES = ("cpt", "sft", "sft_lora", "grpo", "grpo_lora")
TOPOLOGIES = {
    "0.6b": {"v5e": "v5e:2x4", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2", "h200": "h200:1"},
    "4b": {"v5e": "v5e:4x4", "v5p": "v5p:2x2x2", "v6e": "v6e:4x4", "h200": "h200:1"},
    "8b": {"v5e": "v5e:8x8", "v5p": "v5p:4x4x4", "v6e": "v6e:8x8", "h200": "h200:1"},
    "32b": {"v5e": "v5e:16x16", "v5p": "v5p:4x4x4", "v6e": "v6e:8x8", "h200": "h200:1"},
}
HEAD = """# What Qwen3 needs

Written by `python -m benchmarks.plan_table` from `docs/plans.json`. Each row is
`configs/qwen3_SIZE/STAGE.yaml` with the hardware's file behind it: 64 rows of 8,192 tokens a step
for CPT and SFT, all rows of an update for GRPO. "compiled" rows are the compiler's own sums for the
real step; "estimated" rows are counted by hand and show no time. No row was measured on the
hardware (`docs/howto/plan.md` says how the figures come about). "when": date, jax, libtpu.

"GB in use" is the most at one time, and "GB a device" what the compiler reports in all, an upper
bound: 4 to 6 GB more at 8B, which a count by hand leaves out.

"""
COLUMNS = (
    *("model", "stage", "topology", "remat"),
    *("GB in use", "by hand", "GB a device", "of", "fits"),
    *("step, s", "MFU", "compiled in, s", "method", "when"),
)


def main() -> None:
    """Fill in what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="append", default=[], metavar="SIZE/STAGE@HARDWARE")
    wanted = set(parser.parse_args().compile)
    jax.config.update("jax_platforms", "cpu")
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
    for size, topologies in TOPOLOGIES.items():
        for stage in STAGES:
            for hardware, topology in topologies.items():
                name = f"{size}/{stage}@{hardware}"
                if name in records and name not in wanted:
                    continue
                records[name] = record(size, stage, hardware, topology, name not in wanted)
                RECORDS.write_text(json.dumps(records, indent=1) + "\n")
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, records, records.values())]
    TABLE.write_text(HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows))


def record(size: str, stage: str, hardware: str, topology: str, estimate: bool) -> dict[str, Any]:
    """Return one row's report, with its date and versions."""
    folder = f"configs/qwen3_{size}"
    try:
        wanted = load_plan_config(None, (f"{folder}/{stage}.yaml", f"{folder}/{hardware}.yaml"), ())
        facts = make_plan(wanted, parse_topology(topology), estimate=estimate).to_json()
    except UsageError as error:
        raise SystemExit(f"{size}/{stage}@{hardware}: {error}") from error
    versions = f"{jax.__version__}, {version('libtpu')}"
    return {**facts, "when": f"{datetime.date.today()}, {versions}"}


def cells(name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    """Return one row of the table, in the order of `COLUMNS`."""
    size, stage = name.split("@")[0].split("/")
    compiled = facts["compile_s"] > 0
    step = f"{facts['projected_step_s']:.2f}" if facts["projected_step_s"] and compiled else ""
    mfu = f"{facts['projected_mfu']:.0%}" if facts["projected_mfu"] and compiled else ""
    return (
        size.upper(),
        stage,
        facts["topology"],
        facts["remat"],
        f"{facts['live_bytes'] / 1e9:.1f}" if facts["live_bytes"] else "",
        f"{facts['estimated_bytes'] / 1e9:.1f}",
        f"{facts['hbm_bytes_per_chip'] / 1e9:.1f}",
        f"{facts['hbm_limit_bytes'] / 1e9:.1f}",
        "yes" if facts["fits"] else f"no, {facts['over_bytes'] / 1e9:.1f} GB over",
        step,
        mfu,
        f"{facts['compile_s']:.0f}" if compiled else "",
        "compiled" if compiled else "estimated",
        facts["when"],
    )


if __name__ == "__main__":
    main()
