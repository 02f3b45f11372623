"""Planning: the stage's real step, compiled for a topology or counted by hand, as one report.

    wanted = load_plan_config("sft", ("configs/qwen3_8b/sft.yaml",), ())
    plan = make_plan(wanted, parse_topology("v5p:4x4x4"))

Memory is exact where a plan is compiled: it is the compiler's own sum. The step's time is a
projection (`trainers.plan_project`), good for ranking, and says so.
"""

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.errors import JaxRuntimeError

from mdx.config import load_config
from mdx.errors import UsageError
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import VOCAB_BLOCK
from mdx.model.hf import read_config
from trainers.cpt import CptConfig
from trainers.grpo_config import GrpoConfig
from trainers.plan_count import estimate_memory, estimate_seconds, model_flops
from trainers.plan_hlo import parse_module
from trainers.plan_project import Projection, project
from trainers.plan_step import PlannedStep, StageConfig, planned_step
from trainers.plan_topology import GPU, Topology, parse_topology, tpu_devices
from trainers.sft import SftConfig

__all__ = ["Plan", "PlanConfig", "load_plan_config", "make_plan", "parse_topology"]

KINDS = {"cpt": CptConfig, "sft": SftConfig, "grpo": GrpoConfig}
COMPILED = (
    "memory and collectives: compiled ahead of time by libtpu; time: projected from the schedule "
    "(compiler's cycles, bytes over bandwidth, exposed collectives over links, / 0.9)"
)
OVER = "memory: the compiler's own refusal; time: none, since there is no program"
ESTIMATED = "memory: counted by hand; time: hand-counted FLOPs at 60 % of the peak; not compiled"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What is to be planned."""

    stage: str
    config: StageConfig
    model: ModelConfig

    @property
    def compute(self) -> ComputeConfig:
        """How the model is computed."""
        return self.config.compute


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The report. Bytes are those of one device, FLOPs those of a whole step."""

    wanted: PlanConfig
    topology: Topology
    step: PlannedStep
    method: str
    hbm_bytes: int
    temporary_bytes: int
    compiled_argument_bytes: int | None  # None where nothing was compiled, or the compiler refused
    live_bytes: int | None  # the most in use at one time; None as above
    estimated_bytes: int
    compile_s: float
    compile_cpu_s: float
    projection: Projection | None

    @property
    def over_bytes(self) -> int:
        """By how much it is over the limit; negative: what is left."""
        return self.hbm_bytes - self.topology.chip.hbm_bytes

    @property
    def mfu(self) -> float | None:
        """Model FLOPs over what the chips could do in the projected time."""
        if self.projection is None:
            return None
        peak = self.topology.chip.peak_flops * self.topology.num_devices
        return model_flops(self.step) / (peak * self.projection.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON: the nine keys of `mdx-train plan --json`, then details."""
        projection = self.projection
        return {
            "fits": self.over_bytes <= 0,
            "hbm_bytes_per_chip": self.hbm_bytes,
            "hbm_limit_bytes": self.topology.chip.hbm_bytes,
            "model_flops": model_flops(self.step),
            "collectives": projection.collectives if projection else None,
            "projected_step_s": projection.seconds if projection else None,
            "projected_mfu": self.mfu,
            "compile_s": self.compile_s,
            "method": self.method,
            "stage": self.wanted.stage,
            "topology": self.topology.name,
            "mesh": dict(self.step.mesh.shape),
            "over_bytes": self.over_bytes,
            "argument_bytes": self.step.argument_bytes,
            "compiled_argument_bytes": self.compiled_argument_bytes,
            "temporary_bytes": self.temporary_bytes,
            "live_bytes": self.live_bytes,
            "estimated_bytes": self.estimated_bytes,
            "sampler_bytes": sampler_bytes(self.wanted, self.step),
            "tokens_per_step": self.step.rows * self.step.seq_len,
            "num_microbatches": self.step.num_microbatches,
            "remat": self.wanted.compute.remat,
            "compile_cpu_s": self.compile_cpu_s,
            "parts_s": projection.parts if projection else None,
        }


def load_plan_config(
    stage: str | None, paths: Sequence[str], overrides: Sequence[str]
) -> PlanConfig:
    """Return the stage's configuration and the model that it names.

    The model is that of `init_from`; where that directory is not here, that of the config.json
    beside the first file. Raises UsageError where neither says what the model is.
    """
    name = Path(paths[0]).stem if paths else ""
    stage = stage or next((known for known in KINDS if name.startswith(known)), None)
    if stage is None:
        raise UsageError(f"--stage must be one of {', '.join(KINDS)}: the file's name does not say")
    config: Any = load_config(KINDS[stage], tuple(paths), overrides)
    beside = Path(paths[0]).parent if paths else Path()
    if config.init_from and (Path(config.init_from) / "config.json").is_file():
        model = read_config(config.init_from)
    elif (beside / "config.json").is_file():
        model = read_config(str(beside))
    elif hasattr(config, "model") and not config.init_from:
        model = config.model
    else:
        raise UsageError(
            f"plan needs the model's shape: init_from={config.init_from!r} holds no config.json, "
            "and there is none beside --config"
        )
    return PlanConfig(stage=stage, config=config, model=model)


def on_hardware(wanted: PlanConfig, topology: Topology) -> tuple[PlanConfig, list[Any]]:
    """Return the devices to plan for, and `wanted` with what they would not decide as they should.

    No compiler is at hand for GPUs: CPU devices stand in for them.
    """
    if topology.generation != GPU:
        return wanted, tpu_devices(topology)
    compute = dataclasses.replace(
        wanted.compute, vocab_block=wanted.compute.vocab_block or VOCAB_BLOCK
    )
    return with_overrides(wanted, compute=compute), jax.devices("cpu")[: topology.num_devices]


def make_plan(
    wanted: PlanConfig,
    topology: Topology,
    *,
    estimate: bool = False,
    keep_text: Callable[[str], Any] | None = None,
) -> Plan:
    """Return the plan for `topology`, compiled unless `estimate` or the hardware is no TPU.

    `keep_text` is given the text of the scheduled module. Raises UsageError for a topology that
    does not exist or a mesh that does not fit it.
    """
    wanted, devices = on_hardware(wanted, topology)
    step = planned_step(wanted.config, wanted.model, devices)
    guess = estimate_memory(step)
    facts: dict[str, Any] = {
        "method": ESTIMATED,
        "hbm_bytes": guess.total,
        "temporary_bytes": guess.temporaries,
        "compiled_argument_bytes": None,
        "live_bytes": None,
        "compile_s": 0.0,
        "compile_cpu_s": 0.0,
        "projection": Projection(
            seconds=estimate_seconds(step, topology.chip), parts={}, collectives={}
        ),
    }
    if topology.generation != GPU and not estimate:
        facts |= _compiled(step, topology, keep_text)
    return Plan(wanted=wanted, topology=topology, step=step, estimated_bytes=guess.total, **facts)


def _compiled(
    step: PlannedStep, topology: Topology, keep_text: Callable[[str], Any] | None
) -> dict[str, Any]:
    """Compile the step; return what the compiler says, or by how much it refuses."""
    lowered = step.lower()
    started, cpu = time.perf_counter(), time.process_time()
    over = 0
    program: Any = None  # jax.stages.Compiled, whose analyses may be None elsewhere
    try:
        program = lowered.compile()
    except JaxRuntimeError as error:
        over = used_bytes(str(error), step.argument_bytes)
    facts = {
        "compile_s": time.perf_counter() - started,
        "compile_cpu_s": time.process_time() - cpu,
    }
    if program is None:
        temporaries = over - step.argument_bytes
        return {
            **facts,
            "method": OVER,
            "hbm_bytes": over,
            "temporary_bytes": temporaries,
            "projection": None,
        }
    memory = program.memory_analysis()
    text = program.as_text()
    if keep_text:
        keep_text(text)
    written = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        **facts,
        "method": COMPILED,
        "hbm_bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes + written,
        "temporary_bytes": memory.temp_size_in_bytes,
        "compiled_argument_bytes": memory.argument_size_in_bytes,
        "live_bytes": memory.peak_memory_in_bytes,
        "projection": project(parse_module(text), topology, loop_trips=step.num_microbatches),
    }


def used_bytes(message: str, argument_bytes: int) -> int:
    """Return the bytes that the compiler says a program would use, from its refusal.

    It names either all of them or, where those alone are too many, the temporaries. Raises the
    message as UsageError where it is another failure.
    """
    found = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    temporaries = re.search(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds", message)
    named = found or temporaries
    if named is None:
        raise UsageError(f"the compiler refused: {message.splitlines()[0]}")
    return int(float(named[1]) * _UNITS[named[2]]) + (0 if found else argument_bytes)


def sampler_bytes(wanted: PlanConfig, step: PlannedStep) -> int | None:
    """Return what sampling adds on one device while it runs: weights once more and the cache.

    By hand: weights in the compute dtype, sharded as the trained ones, and keys and values of
    every slot at full length. None for stages that do not sample.
    """
    if not isinstance(wanted.config, GrpoConfig):
        return None
    rollout, model = wanted.config.rollout, wanted.model
    width = 2 if wanted.compute.dtype == "bfloat16" else 4
    length = rollout.max_prompt_tokens + rollout.max_new_tokens
    heads = 2 * model.num_key_value_heads * model.head_dim
    cache = rollout.num_slots * length * model.num_hidden_layers * heads * width
    return width * model.num_parameters // step.mesh.size + cache


def with_overrides(wanted: PlanConfig, **changes: Any) -> PlanConfig:
    """Return `wanted` with other sections (`compute`, `mesh`, ...) in its configuration."""
    return dataclasses.replace(wanted, config=dataclasses.replace(wanted.config, **changes))
