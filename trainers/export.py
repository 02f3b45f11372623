"""From a training state to a Hugging Face directory that anything else can read.

mdx-train export --run-dir runs/sft --out my-model
"""

from pathlib import Path
from typing import Any

import yaml

from mdx.errors import UsageError
from mdx.model.config import LoraConfig, ModelConfig
from mdx.model.decoder import abstract_params
from mdx.model.hf import save_hf
from mdx.model.hf_config import read_config
from mdx.model.lora import abstract_adapters, attach
from mdx.model.peft import save_adapters
from mdx.model.rope import RopeScaling
from trainers.checkpoint import restore_params
from trainers.policy import Policy, load_base
from trainers.processes import is_first, meet
from trainers.run_dir import ADAPTER, CONFIG, EXPORT, mark_complete
from trainers.state import PyTree, TrainState


def finish(
    run_dir: str,
    policy: Policy,
    state: TrainState,
    base: PyTree | None = None,
    *,
    init_from: str = "",
) -> None:
    """Export the last state of a run to `<run_dir>/export` and mark the run complete.

    With LoRA, `base` are the frozen weights, from `init_from`, that the adapters of the state are
    merged into; the adapters alone go to `<run_dir>/adapter`, as peft writes them.
    """
    params = attach(base, state.params)
    out_dir = f"{run_dir}/{EXPORT}"
    save_hf(params, policy.model, policy.tokenizer_dir, out_dir, lora=policy.lora)
    if policy.lora.rank:
        save_adapters(state.params, policy.lora, init_from, f"{run_dir}/{ADAPTER}")
    if is_first():
        mark_complete(run_dir, int(state.step))
    meet("exported")


def export_run(run_dir: str, out_dir: str, *, dtype: str = "float32") -> int:
    """Write the newest checkpoint of `run_dir` to `out_dir`; return the step it is of.

    Works for every stage: a run's configuration says where its model and tokenizer came from.
    `dtype` is that of the files. Raises UsageError where `run_dir` is no run or has no checkpoint
    yet.
    """
    file = Path(run_dir) / CONFIG
    if not file.is_file():
        raise UsageError(f"--run-dir must hold a run of mdx-train, but {file} does not exist")
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    init_from = config.get("init_from") or ""
    model = read_config(init_from) if init_from else _model(config["model"])
    tokenizer_dir = config.get("data", {}).get("tokenizer_dir") or init_from
    lora = LoraConfig(**config.get("lora", {}))
    trained = abstract_adapters(model, lora) if lora.rank else abstract_params(model)
    restored = restore_params(run_dir, trained)
    if restored is None:
        raise UsageError(f"{run_dir} has no checkpoint yet: nothing to export")
    step, params = restored
    base = load_base(run_dir, lora, init_from=init_from) if lora.rank else None
    save_hf(attach(base, params), model, tokenizer_dir, out_dir, lora=lora, dtype=dtype)
    return step


def _model(fields: dict[str, Any]) -> ModelConfig:
    scaling = RopeScaling(**fields.pop("rope_scaling", {}))
    return ModelConfig(**fields, rope_scaling=scaling)
