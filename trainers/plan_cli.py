"""`mdx-train plan`: what a run would need and how fast it might be, without its hardware."""

import importlib
import json
import os
from typing import Any

import click

_STAGES = ("cpt", "sft", "grpo")


@click.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--config", "paths", multiple=True, metavar="FILE", help="Of the stage; repeatable.")
@click.option("--topology", required=True, metavar="NAME", help="Such as v5p:4x4x4 or h200:1.")
@click.option(
    "--stage", type=click.Choice(_STAGES), help="By default what the file's name begins with."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--estimate", is_flag=True, help="Count by hand; compile nothing.")
@click.option("--search", is_flag=True, help="Try meshes, microbatches and remat; name the best.")
@click.option("--max-compiles", default=6, show_default=True, help="At most, with --search.")
def plan(
    overrides: tuple[str, ...],
    paths: tuple[str, ...],
    topology: str,
    stage: str | None,
    as_json: bool,
    estimate: bool,
    search: bool,
    max_compiles: int,
) -> None:
    """Compile a stage's step for hardware that need not be there; report memory and speed.

    Exits with 0 whether or not it fits: the report's `fits` says so.
    """
    _use_host_cpu()
    planning = importlib.import_module("trainers.plan")
    report = importlib.import_module("trainers.plan_report")
    target = planning.parse_topology(topology)
    wanted: Any = planning.load_plan_config(stage, paths, overrides)
    if search:
        found = importlib.import_module("trainers.plan_search").search(
            wanted, target, max_compiles=max_compiles, estimate=estimate
        )
    else:
        found = planning.make_plan(wanted, target, estimate=estimate)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        report.print_plan(found.to_json())


def _use_host_cpu() -> None:
    """Leave accelerators that this machine may have to others: compiling needs none."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_platforms", "cpu")
