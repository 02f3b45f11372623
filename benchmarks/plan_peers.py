"""MDX's SFT step beside google-tunix's at one TPU topology: compiled by one compiler, projected.

    python -m benchmarks.plan_peers --topology v5p:4x4x4 --seq-len 4096 --rows-a-device 2

Three programs: MDX as it is configured, tunix with the settings of its tuned examples and the
compiler's defaults, and tunix with MDX's compiler options. Each step sees the same rows and is
projected by `trainers.plan_project`; no time here was measured on a TPU. Prints a table, and with
--json writes it down.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import jax
from rich.console import Console
from rich.table import Table

from mdx.model.tpu import compiler_options
from trainers.plan import PlanConfig, load_plan_config, make_plan
from trainers.plan_count import model_flops
from trainers.plan_hlo import parse_module
from trainers.plan_project import project
from trainers.plan_topology import Topology, parse_topology, tpu_devices

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {
    "hbm_bytes_per_chip": ("GB a device", 1e-9),
    "live_bytes": ("GB in use", 1e-9),
    "projected_step_s": ("step, s", 1.0),
    "projected_mfu": ("MFU, %", 100.0),
    "compile_cpu_s": ("compile, CPU-s", 1.0),
}


@click.command(help=__doc__)
@click.option("--topology", default="v5p:4x4x4", show_default=True)
@click.option("--size", default="8b", show_default=True, help="One of configs/qwen3_*.")
@click.option("--seq-len", default=4096, show_default=True)
@click.option("--rows-a-device", default=2, show_default=True)
@click.option("--peers", default=".venv-peers", show_default=True, help="Peers' environments.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write figures here.")
def main(
    topology: str, size: str, seq_len: int, rows_a_device: int, peers: str, json_path: str | None
) -> None:
    """Compile all three and compare."""
    python = Path(peers) / "tunix" / "bin" / "python"
    if not python.exists():
        raise click.UsageError(f"{python} does not exist: `make peers` installs it")
    jax.config.update("jax_platforms", "cpu")
    place = parse_topology(topology)
    rows = rows_a_device * place.num_devices
    folder = f"configs/qwen3_{size}"
    wanted = load_plan_config(
        "sft",
        (f"{folder}/sft.yaml", f"{folder}/{place.generation}.yaml"),
        (
            f"data.seq_len={seq_len}",
            f"data.batch_size={rows}",
            f"data.microbatch_size={rows}",
        ),
    )
    plan = make_plan(wanted, place)
    flops, facts = model_flops(plan.step), {"mdx": plan.to_json()}
    ours = compiler_options(tpu_devices(place)[0])
    for name, options in {"tunix": {}, "tunix, MDX's options": ours}.items():
        if json_path:  # a later one may take long
            Path(json_path).write_text(json.dumps(facts, indent=1) + "\n")
        try:
            facts[name] = tunix(python, wanted, place, flops, rows, seq_len, options)
        except subprocess.CalledProcessError as error:
            last = error.stderr.strip().rpartition("\n")[2][:300]
            click.echo(f"{name} is left out: {last}", err=True)
    show(facts)
    if json_path:
        Path(json_path).write_text(json.dumps(facts, indent=1) + "\n")


def tunix(
    python: Path,
    wanted: PlanConfig,
    topology: Topology,
    flops: float,
    rows: int,
    seq_len: int,
    options: dict[str, str],
) -> dict[str, Any]:
    """Compile tunix's step in its own environment and project it here."""
    settings = {
        "topology": topology.name,
        "model": asdict(wanted.model),
        "rows": rows,
        "seq_len": seq_len,
        "options": options,
    }
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [str(python), "-m", "benchmarks.peer_tunix_plan", json.dumps(settings), folder],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            check=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        facts = json.loads((Path(folder) / "facts.json").read_text())
        projection = project(parse_module((Path(folder) / "step.hlo").read_text()), topology)
    peak = topology.chip.peak_flops * topology.num_devices
    return {
        **facts,
        "projected_step_s": projection.seconds,
        "projected_mfu": flops / (peak * projection.seconds),
        "parts_s": projection.parts,
        "collectives": projection.collectives,
    }


def show(facts: dict[str, dict[str, Any]]) -> None:
    """Print one row for each program."""
    table = Table("program", *(title for title, _ in COLUMNS.values()))
    for name, values in facts.items():
        table.add_row(
            name, *(f"{values[key] * factor:.2f}" for key, (_, factor) in COLUMNS.items())
        )
    Console().print(table)


if __name__ == "__main__":
    main()
