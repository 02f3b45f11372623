"""Read and write models as Hugging Face directories, bit for bit.

A directory holds config.json (Qwen3ForCausalLM), model.safetensors (float32, or several of them
and an index), generation_config.json and the tokenizer's files, so transformers, vLLM and the
like load it. config.json is written last: a directory that has one is complete.

Reading is strict: a field of config.json that MDX does not know, or knows to change the
mathematics in a way MDX does not compute, is an error; so is a tensor too many or too few.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from mdx.errors import UsageError
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import GraphDef, Params, abstract_params, structure

MAX_SHARD_BYTES = 4 << 30
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
# Fields that must have these values, for MDX computes nothing else.
FIXED_FIELDS: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_act": "silu",
    "attention_bias": False,
    "rope_scaling": None,
    "use_sliding_window": False,
}
# Fields that do not change what the weights compute without dropout.
HARMLESS_FIELDS = {
    *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "return_dict"),
    *("attention_dropout", "chunk_size_feed_forward", "max_window_layers", "sliding_window"),
    *("id2label", "label2id", "is_encoder_decoder", "problem_type"),
    *("output_attentions", "output_hidden_states"),
}
OPTIONAL_FIELDS = {"initializer_range", "tie_word_embeddings"}


def save_hf(params: Params, config: ModelConfig, tokenizer_dir: str | None, out_dir: str) -> None:
    """Write the weights, the configuration and the tokenizer of `tokenizer_dir` to `out_dir`.

    The end-of-sequence and padding tokens of the tokenizer are entered in both configurations.
    """
    out = epath.Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").unlink(missing_ok=True)
    _write_tensors(out, params, config)
    special = _copy_tokenizer(epath.Path(tokenizer_dir), out) if tokenizer_dir else {}
    _write_json(out / "generation_config.json", special)
    _write_json(out / "config.json", _to_json(config) | special)


def load_hf(
    directory: str, compute: ComputeConfig | None = None
) -> tuple[ModelConfig, GraphDef, Params]:
    """Return the configuration, the model's structure and its weights in float32.

    Raises UsageError where a file, field or tensor is missing, unknown or of another shape.
    """
    folder = epath.Path(directory)
    config = read_config(directory)
    tensors = _read_tensors(folder)
    params = _from_tensors(tensors, config)
    if tensors:
        raise UsageError(f"{folder} has tensors that a Qwen3 model has not: {_some(tensors)}")
    return config, structure(config, compute), params


def read_config(directory: str) -> ModelConfig:
    """Return the ModelConfig that `directory`/config.json describes; see `load_hf`."""
    path = epath.Path(directory) / "config.json"
    if not path.exists():
        raise UsageError(f"a model directory needs a config.json, but {path} does not exist")
    fields: dict[str, Any] = json.loads(path.read_text())
    rope = fields.pop("rope_parameters", None) or {"rope_theta": fields.pop("rope_theta", None)}
    fields["rope_theta"] = rope.get("rope_theta")
    wrong = [
        f"{name} = {fields[name]!r} (MDX computes {value!r})"
        for name, value in FIXED_FIELDS.items()
        if fields.get(name, value) != value
    ]
    if rope.get("rope_type", "default") != "default" or set(rope) > {"rope_theta", "rope_type"}:
        wrong.append(f"rope_parameters = {rope!r} (MDX computes rope_type 'default')")
    if set(fields.pop("layer_types", ())) - {"full_attention"}:
        wrong.append("layer_types (MDX computes 'full_attention')")
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    wrong += sorted(set(fields) - names - HARMLESS_FIELDS - set(FIXED_FIELDS))
    if wrong:
        raise UsageError(f"{path} asks for what MDX does not compute: {'; '.join(wrong)}")
    missing = [name for name in names - OPTIONAL_FIELDS if fields.get(name) is None]
    if missing:
        raise UsageError(f"{path} lacks {', '.join(sorted(missing))}")
    fields.setdefault("tie_word_embeddings", False)  # transformers' default, not ours
    return ModelConfig(**{name: fields[name] for name in names if name in fields})


def _to_json(config: ModelConfig) -> dict[str, Any]:
    rope = {"rope_theta": config.rope_theta, "rope_type": "default"}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        **FIXED_FIELDS,
        **dataclasses.asdict(config),
        "rope_parameters": rope,
        "attention_dropout": 0.0,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _tensor_names(config: ModelConfig) -> Iterator[tuple[tuple[str, ...], int | None, str]]:
    """Yield (path in params, layer or None, Hugging Face name) for every tensor."""
    for key_path, _ in jax.tree_util.tree_leaves_with_path(abstract_params(config)):
        path = tuple(entry.key for entry in key_path)
        if path[0] == "layers":
            for layer in range(config.num_hidden_layers):
                yield path, layer, f"model.layers.{layer}.{'.'.join(path[1:])}.weight"
        else:
            prefix = "" if path[0] == "lm_head" else "model."
            yield path, None, f"{prefix}{path[0]}.weight"


def _weight(params: Params, path: tuple[str, ...], layer: int | None) -> Any:
    weight: Any = params
    for key in path:
        weight = weight[key]
    return weight if layer is None else weight[layer]


def _to_tensor(path: tuple[str, ...], weight: np.ndarray) -> np.ndarray:
    """Return torch's layout of one layer's weight: projections as [outputs, inputs]."""
    if not path[-1].endswith("_proj"):
        return np.ascontiguousarray(weight)
    inputs = weight.shape[:2] if path[-1] == "o_proj" else weight.shape[:1]
    return np.ascontiguousarray(weight.reshape(int(np.prod(inputs)), -1).T)


def _write_tensors(out: epath.Path, params: Params, config: ModelConfig) -> None:
    shards: list[dict[str, np.ndarray]] = [{}]
    for path, layer, name in _tensor_names(config):
        tensor = _to_tensor(path, np.asarray(_weight(params, path, layer)))
        if sum(x.nbytes for x in shards[-1].values()) + tensor.nbytes > MAX_SHARD_BYTES:
            shards.append({})
        shards[-1][name] = tensor
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        file = "model.safetensors" if len(shards) == 1 else file
        (out / file).write_bytes(safetensors.numpy.save(shard, metadata={"format": "pt"}))
        index |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        _write_json(out / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def _read_tensors(folder: epath.Path) -> dict[str, np.ndarray]:
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if index.exists():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif single.exists():
        files = [single.name]
    else:
        raise UsageError(f"a model directory needs model.safetensors, but {folder} has none")
    tensors: dict[str, np.ndarray] = {}
    for file in files:
        for name, tensor in safetensors.deserialize((folder / file).read_bytes()):
            if tensor["dtype"] not in DTYPES:
                raise UsageError(f"{name} is {tensor['dtype']}; MDX reads {', '.join(DTYPES)}")
            values = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]])
            tensors[name] = values.reshape(tensor["shape"])
    return tensors


def _from_tensors(tensors: dict[str, np.ndarray], config: ModelConfig) -> Params:
    """Move tensors (taken out of the argument) into params, layers stacked on axis 0."""
    params: Params = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), abstract_params(config))
    head = tensors.get("lm_head.weight")
    if config.tie_word_embeddings and head is not None:
        if not np.array_equal(head, tensors["model.embed_tokens.weight"]):
            raise UsageError("tie_word_embeddings is true, but lm_head is not the embedding")
        del tensors["lm_head.weight"]
    for path, layer, name in _tensor_names(config):
        target = _weight(params, path, layer)
        if name not in tensors:
            raise UsageError(f"the model's weights lack {name}; there are {_some(tensors)}")
        tensor, shape = tensors.pop(name), _to_tensor(path, target).shape
        if tensor.shape != shape:
            raise UsageError(f"{name} must have shape {shape}, not {tensor.shape}")
        target[...] = tensor.T.reshape(target.shape) if path[-1].endswith("_proj") else tensor
    return jax.tree.map(jnp.asarray, params)


def _copy_tokenizer(source: epath.Path, out: epath.Path) -> dict[str, int]:
    """Copy the tokenizer's files; return the ids of its EOS and PAD tokens."""
    for name in TOKENIZER_FILES:
        if (source / name).exists() and source != out:
            (out / name).write_bytes((source / name).read_bytes())
    if not (source / "tokenizer.json").exists():
        raise UsageError(f"a tokenizer directory needs tokenizer.json, but {source} has none")
    backend = json.loads((source / "tokenizer.json").read_text())
    config = json.loads((source / "tokenizer_config.json").read_text())
    ids = backend["model"]["vocab"] | {x["content"]: x["id"] for x in backend["added_tokens"]}
    special = {}
    for name in ("eos_token", "pad_token"):
        token = config.get(name)
        token = token["content"] if isinstance(token, dict) else token
        if token in ids:
            special[f"{name}_id"] = ids[token]
    return special


def _write_json(path: epath.Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _some(names: dict[str, np.ndarray]) -> str:
    return ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")
