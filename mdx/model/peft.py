"""Adapters as PEFT directories: adapter_config.json and adapter_model.safetensors.

What peft, vLLM and transformers load beside a base model. Reading is strict: a setting that changes
what the adapters compute, and that MDX does not compute, is an error. adapter_config.json is
written last: a directory that has one is complete.

Reference: github.com/huggingface/peft, "PEFT checkpoint format".
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from mdx.errors import UsageError
from mdx.model.config import LORA_TARGETS, LoraConfig, ModelConfig
from mdx.model.decoder import Params
from mdx.model.hf import on_host
from mdx.model.lora import LORA_A, LORA_B, abstract_adapters
from mdx.model.tensor_files import read_header, write_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Settings that say nothing about what trained adapters compute; all others must be off.
HARMLESS = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode"),
    *("lora_dropout", "megatron_core", "peft_version", "revision", "task_type"),
    *("qalora_group_size", "ensure_weight_tying"),
}
READ = {"peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "init_lora_weights"}


def save_adapters(adapters: Params, lora: LoraConfig, base_model: str, out_dir: str) -> None:
    """Write float32 adapters of `base_model`, a directory or name. All processes must call this."""
    out = epath.Path(out_dir)
    places = list(_places(adapters))
    writes = jax.process_index() == 0
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        (out / CONFIG).unlink(missing_ok=True)
    tensors = (_to_torch(on_host(place.leaf, place.layer)) for place in places)
    if not writes:
        for _ in tensors:
            pass
        return
    shapes = {place.name: _torch_shape(place.leaf.shape[1:]) for place in places}
    write_tensors(out / WEIGHTS, shapes, np.dtype(np.float32), tensors)
    (out / CONFIG).write_text(json.dumps(_to_json(lora, base_model), indent=2, sort_keys=True))


def load_adapters(directory: str, config: ModelConfig) -> tuple[LoraConfig, Params]:
    """Return the adapters' settings and the adapters, for a base of the shape `config`.

    Raises UsageError where a file, setting or tensor is missing, unknown or of another shape.
    """
    folder = epath.Path(directory)
    lora = _read_settings(folder / CONFIG)
    tensors = read_header(folder / WEIGHTS)
    abstract = abstract_adapters(config, lora)
    params = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
    for place in _places(params):
        shape = _torch_shape(place.leaf.shape[1:])
        found = tensors.pop(place.name, None)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has shape {found.shape}"
            raise UsageError(f"{folder}: {place.name} {what}, where {shape} is needed")
        place.leaf[place.layer] = found.read().T.reshape(place.leaf.shape[1:])
    if tensors:
        raise UsageError(f"{folder} has tensors that MDX does not know, such as {min(tensors)}")
    return lora, jax.tree.map(jnp.asarray, params)


class _Place(NamedTuple):
    name: str
    leaf: Any
    layer: int


def _places(adapters: Params) -> Iterator[_Place]:
    """Yield every tensor of the file, layer by layer."""
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(adapters):
        *inner, last = (entry.key for entry in key_path[1:])
        part = LORA_A if last.endswith(LORA_A) else LORA_B
        module = ".".join([*inner, last.removesuffix(part)])
        suffix = "lora_A" if part == LORA_A else "lora_B"
        for layer in range(leaf.shape[0]):
            name = f"base_model.model.model.layers.{layer}.{module}.{suffix}.weight"
            yield _Place(name, leaf, layer)


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return [outputs, inputs] of A [inputs, rank] or B [rank, *outputs]."""
    return math.prod(shape[1:]), shape[0]


def _to_torch(matrix: np.ndarray) -> np.ndarray:
    return matrix.reshape(matrix.shape[0], -1).T.astype(np.float32, copy=False)


def _to_json(lora: LoraConfig, base_model: str) -> dict[str, Any]:
    return {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": list(lora.targets),
        "task_type": "CAUSAL_LM",
    }


def _read_settings(path: epath.Path) -> LoraConfig:
    if not path.exists():
        raise UsageError(f"an adapter directory needs {CONFIG}, but {path} does not exist")
    fields: dict[str, Any] = json.loads(path.read_text())
    targets: Any = fields.get("target_modules")
    off: tuple[Any, ...] = (None, False, "none", {}, [])
    wrong = [
        f"{name} = {value!r}"
        for name, value in sorted(fields.items())
        if name not in HARMLESS | READ and value not in off
    ]
    if fields.get("peft_type") != "LORA":
        wrong.append(f"peft_type = {fields.get('peft_type')!r}")
    if (start := fields.get("init_lora_weights", True)) not in (True, False, "gaussian"):
        wrong.append(f"init_lora_weights = {start!r} (the base may have been changed)")
    if not isinstance(targets, list) or set(targets) - set(LORA_TARGETS):
        wrong.append(f"target_modules = {targets!r} (MDX knows {', '.join(LORA_TARGETS)})")
    if wrong:
        raise UsageError(f"{path} asks for what MDX does not compute: {'; '.join(wrong)}")
    rank = int(fields["r"])
    alpha = float(fields["lora_alpha"]) * (rank**0.5 if fields.get("use_rslora") else 1.0)
    return LoraConfig(
        rank=rank, alpha=alpha, targets=tuple(t for t in LORA_TARGETS if t in targets)
    )
