"""MDX's SFT step beside google-tunix's at one TPU topology: compiled by one compiler, projected.

    python -m benchmarks.plan_peers --topology v5p:4x4x4 --seq-len 4096 --rows-a-device 2

Four programs: MDX as it is configured; MDX with every layer computed again in the backward pass, as
tunix has it; tunix with the settings of its tuned examples and the compiler's defaults; and tunix
with MDX's compiler options. Each step sees the same rows and is projected by
`trainers.plan_project`; no time here was measured on a TPU. tunix's layers are unrolled: with MDX's
options all of a real model's take the better part of an hour to compile, and --layers 4 minutes.
Prints a table, and with --json writes it down.
"""

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
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
from trainers.plan_step import planned_step
from trainers.plan_topology import Topology, parse_topology, tpu_devices

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {
    "hbm_bytes_per_chip": ("GB a device", 1e-9),
    "live_bytes": ("GB in use", 1e-9),
    "projected_step_s": ("step, s", 1.0),
    "projected_mfu": ("MFU, %", 100.0),
    "compile_cpu_s": ("compile, CPU-s", 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every program has in common."""

    topology: Topology
    files: tuple[str, ...]
    seq_len: int
    rows: int  # of a step, all devices together
    layers: int | None  # in place of the model's own; None: those

    def wanted(self, *overrides: str) -> PlanConfig:
        """Return MDX's SFT step, configured as the files say but for `overrides`."""
        rows = (f"data.batch_size={self.rows}", f"data.microbatch_size={self.rows}")
        found = load_plan_config(
            "sft", self.files, (f"data.seq_len={self.seq_len}", *rows, *overrides)
        )
        if self.layers is None:
            return found
        cut = dataclasses.replace(found.model, num_hidden_layers=self.layers)
        return dataclasses.replace(found, model=cut)


@click.command(help=__doc__)
@click.option("--topology", default="v5p:4x4x4", show_default=True)
@click.option("--size", default="8b", show_default=True, help="One of configs/qwen3_*.")
@click.option("--seq-len", default=4096, show_default=True)
@click.option("--rows-a-device", default=2, show_default=True)
@click.option("--layers", type=int, help="Fewer than the model has: compiles in minutes.")
@click.option("--peers", default=".venv-peers", show_default=True, help="Peers' environments.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write figures here.")
def main(
    topology: str,
    size: str,
    seq_len: int,
    rows_a_device: int,
    layers: int | None,
    peers: str,
    json_path: str | None,
) -> None:
    """Compile all programs and compare."""
    python = Path(peers) / "tunix" / "bin" / "python"
    if not python.exists():
        raise click.UsageError(f"{python} does not exist: `make peers` installs it")
    jax.config.update("jax_platforms", "cpu")
    place = parse_topology(topology)
    setting = Setting(
        topology=place,
        files=tuple(f"configs/qwen3_{size}/{name}.yaml" for name in ("sft", place.generation)),
        seq_len=seq_len,
        rows=rows_a_device * place.num_devices,
        layers=layers,
    )
    ours = compiler_options(tpu_devices(place)[0])
    programs: dict[str, Callable[[], dict[str, Any]]] = {
        "MDX": lambda: make_plan(setting.wanted(), place).to_json(),
        "MDX, layers computed again": lambda: make_plan(
            setting.wanted("compute.remat=full"), place
        ).to_json(),
        "tunix": lambda: tunix(python, setting, {}),
        "tunix, MDX's options": lambda: tunix(python, setting, ours),
    }
    facts: dict[str, dict[str, Any]] = {}
    for name, compiled in programs.items():
        try:
            facts[name] = compiled()
        except subprocess.CalledProcessError as error:
            last = error.stderr.strip().rpartition("\n")[2][:300]
            click.echo(f"{name} is left out: {last}", err=True)
        if json_path:  # the next one may take long
            Path(json_path).write_text(json.dumps(facts, indent=1) + "\n")
    show(facts)


def tunix(python: Path, setting: Setting, options: dict[str, str]) -> dict[str, Any]:
    """Compile tunix's step in its own environment and project it here."""
    topology, wanted = setting.topology, setting.wanted()
    settings = {
        "topology": topology.name,
        "model": dataclasses.asdict(wanted.model),
        "rows": setting.rows,
        "seq_len": setting.seq_len,
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
    flops = model_flops(planned_step(wanted.config, wanted.model, tpu_devices(topology)))
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
