"""From a training state to a Hugging Face directory that anything else can read.

mdx-train export --run-dir runs/sft --out my-model
"""

from pathlib import Path

import jax
import yaml

from mdx.errors import UsageError
from mdx.model.config import ModelConfig
from mdx.model.decoder import abstract_params
from mdx.model.hf import read_config, save_hf
from trainers.checkpoint import restore_params
from trainers.policy import Policy
from trainers.run_dir import CONFIG, EXPORT, mark_complete
from trainers.state import TrainState


def finish(run_dir: str, policy: Policy, state: TrainState) -> None:
    """Export the last state of a run to `<run_dir>/export` and mark the run complete."""
    # on the host, where slicing the stacked layers compiles nothing
    params = jax.device_get(state.params)
    save_hf(params, policy.model, policy.tokenizer_dir, f"{run_dir}/{EXPORT}")
    mark_complete(run_dir, int(state.step))


def export_run(run_dir: str, out_dir: str) -> int:
    """Write the newest checkpoint of `run_dir` to `out_dir`; return the step it is of.

    Works for every stage: a run's configuration says where its model and tokenizer came from.
    Raises UsageError where `run_dir` is no run or has no checkpoint yet.
    """
    file = Path(run_dir) / CONFIG
    if not file.is_file():
        raise UsageError(f"--run-dir must hold a run of mdx-train, but {file} does not exist")
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    init_from = config.get("init_from") or ""
    model = read_config(init_from) if init_from else ModelConfig(**config["model"])
    tokenizer_dir = config.get("data", {}).get("tokenizer_dir") or init_from
    restored = restore_params(run_dir, abstract_params(model))
    if restored is None:
        raise UsageError(f"{run_dir} has no checkpoint yet: nothing to export")
    step, params = restored
    save_hf(jax.device_get(params), model, tokenizer_dir, out_dir)
    return step
