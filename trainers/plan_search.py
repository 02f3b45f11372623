"""Trying meshes, microbatches and rematerialisation: cheap counts first, compilations last.

Every candidate is counted by hand, those over the memory by more than the count may be wrong are
dropped, and the rest ranked by estimate. The compiler then judges them from the best on, until
enough fit or `max_compiles` are used up. Layers are scanned, so a shallow model would compile no
faster: it is the whole model that is compiled.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from mdx.errors import ConfigError, UsageError
from mdx.model.config import REMATS
from mdx.model.sharding import MeshConfig
from trainers.grpo_config import GrpoConfig
from trainers.plan import Plan, PlanConfig, make_plan, on_hardware, with_overrides
from trainers.plan_count import estimate_memory, estimate_seconds
from trainers.plan_project import link_seconds
from trainers.plan_step import planned_step
from trainers.plan_topology import Topology

COUNT_ERROR = 1.25  # a hand count may be this much too high
ENOUGH = 2  # set-ups that fit: the best of them is named


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One set-up with the `key=value` overrides that name it."""

    wanted: PlanConfig
    overrides: tuple[str, ...]
    estimated_bytes: int
    estimated_s: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best plan, and the overrides that lead to it."""

    plan: Plan
    overrides: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan's report with the key `overrides`."""
        return {**self.plan.to_json(), "overrides": list(self.overrides)}


def search(wanted: PlanConfig, topology: Topology, *, max_compiles: int, estimate: bool) -> Found:
    """Return the fastest set-up that fits; progress goes to stderr.

    Raises UsageError where nothing fits, with the smallest count.
    """
    ranked = sorted(candidates(wanted, topology), key=lambda one: one.estimated_s)
    limit = topology.chip.hbm_bytes
    likely = [one for one in ranked if one.estimated_bytes <= limit * COUNT_ERROR]
    click.echo(f"{len(ranked)} set-ups, {len(likely)} of them may fit", err=True)
    fitting: list[Found] = []
    for number, one in enumerate(likely[:max_compiles], start=1):
        plan = make_plan(one.wanted, topology, estimate=estimate)
        words = "fits" if plan.over_bytes <= 0 else f"is {plan.over_bytes / 1e9:.1f} GB over"
        speed = f", projected MFU {plan.mfu:.1%}" if plan.mfu else ""
        named = " ".join(one.overrides)
        click.echo(f"{number}/{min(len(likely), max_compiles)} {named}: {words}{speed}", err=True)
        if plan.over_bytes <= 0:
            fitting.append(Found(plan=plan, overrides=one.overrides))
        if len(fitting) == ENOUGH:
            break
    if not fitting:
        least = min((one.estimated_bytes for one in ranked), default=0)
        raise UsageError(
            f"nothing fits {topology.name} in {max_compiles} compilations: the smallest set-up "
            f"needs about {least / 1e9:.1f} GB of {limit / 1e9:.1f} GB a device; take more devices "
            "or LoRA, or raise --max-compiles"
        )
    return max(fitting, key=lambda found: found.plan.mfu or 0.0)


def candidates(wanted: PlanConfig, topology: Topology) -> Iterator[Candidate]:
    """Yield every set-up whose mesh divides the model and the batch, counted by hand."""
    wanted, devices = on_hardware(wanted, topology)
    tensors = [size for size in (1, 2, 4, 8) if len(devices) % size == 0]
    seen: set[tuple[str, ...]] = set()  # a small batch has fewer rows than we would try
    for tensor, remat, rows in itertools.product(tensors, REMATS, (1, 2, 4)):
        changed, overrides = _changed(wanted, len(devices), tensor, remat, rows)
        if overrides in seen:
            continue
        seen.add(overrides)
        try:
            step = planned_step(changed.config, changed.model, devices)
        except ConfigError:
            continue
        seconds = estimate_seconds(step, topology.chip)
        yield Candidate(
            wanted=changed,
            overrides=overrides,
            estimated_bytes=estimate_memory(step).total,
            estimated_s=max(seconds, _link_seconds(changed, step.num_microbatches, topology))
            + _tensor_seconds(changed, step.rows * step.seq_len, tensor, topology),
        )


def _changed(
    wanted: PlanConfig, num_devices: int, tensor: int, remat: str, rows: int
) -> tuple[PlanConfig, tuple[str, ...]]:
    """Return `wanted` with `rows` on each device at a time, and the overrides that say so."""
    config = wanted.config
    microbatch = rows * (num_devices // tensor)
    changes: dict[str, Any] = {
        "mesh": MeshConfig(fsdp=-1, tensor=tensor),
        "compute": replace(config.compute, remat=remat),
    }
    if isinstance(config, GrpoConfig):
        changes["update"] = replace(config.update, microbatch_rows=microbatch)
        key = "update.microbatch_rows"
    else:
        microbatch = min(microbatch, config.data.batch_size)
        changes["data"] = replace(config.data, microbatch_size=microbatch)
        key = "data.microbatch_size"
    overrides = (f"mesh.tensor={tensor}", f"compute.remat={remat}", f"{key}={microbatch}")
    return with_overrides(wanted, **changes), overrides


def _link_seconds(wanted: PlanConfig, num_microbatches: int, topology: Topology) -> float:
    """Return what weights gathered twice and gradients scattered once take for a microbatch."""
    size = 3 * 2.0 * wanted.model.num_parameters / max(wanted.config.mesh.tensor, 1)
    group = max(topology.num_devices // wanted.config.mesh.tensor, 1)
    return num_microbatches * link_seconds("all-gather", size, group, topology)


def _tensor_seconds(wanted: PlanConfig, tokens: int, tensor: int, topology: Topology) -> float:
    """Return what splitting heads adds: four sums of the residual stream a layer, unhidden."""
    model = wanted.model
    local = tokens * tensor / topology.num_devices
    size = 4 * model.num_hidden_layers * local * model.hidden_size * 2
    return link_seconds("all-reduce", size, tensor, topology)
