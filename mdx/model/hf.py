"""Read and write models as Hugging Face directories, bit for bit, a piece at a time.

A directory holds config.json (Qwen3ForCausalLM), model.safetensors (or several of them and an
index), generation_config.json and the tokenizer's files, so transformers, vLLM and the like load
it. config.json is written last: a directory that has one is complete.

Weights go from the files to their devices part by part: a process reads what its devices hold, and
its host holds no more than one device's part of one weight and one tensor of a file. They come back
one tensor at a time, gathered by all processes and written by process 0.

Reading is strict: an unknown field of config.json (`mdx.model.hf_config`) is an error; so is a
tensor too many or too few.
"""

import functools
import json
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from mdx.errors import UsageError
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import GraphDef, Params, abstract_params, structure
from mdx.model.hf_config import read_config, to_json
from mdx.model.lora import LORA_A, LORA_B
from mdx.model.sharding import tree_shardings
from mdx.model.tensor_files import INDEX, StoredTensor, find_tensors, in_shards, write_tensors

MAX_SHARD_BYTES = 4 << 30
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
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


def load_hf(
    directory: str,
    compute: ComputeConfig | None = None,
    *,
    mesh: Mesh | None = None,
    dtype: str = "float32",
) -> tuple[ModelConfig, GraphDef, Params]:
    """Return the configuration, the model's structure and its weights in `dtype`.

    The weights are placed over `mesh` (`mdx.model.sharding`), or on the first device. Raises
    UsageError where a file, field or tensor is missing, unknown or of another shape.
    """
    folder = epath.Path(directory)
    config = read_config(directory)
    tensors = find_tensors(folder)
    abstract = abstract_params(config)
    _check(tensors, config, folder)
    first = SingleDeviceSharding(jax.local_devices()[0])
    shardings = tree_shardings(abstract, mesh) if mesh else jax.tree.map(lambda _: first, abstract)

    def load(key_path: tuple, leaf: jax.ShapeDtypeStruct, sharding: Sharding) -> jax.Array:
        path = tuple(entry.key for entry in key_path)
        stored = [tensors[name] for name in _names(path, config)]
        return _placed(path, stored, leaf.shape, sharding, np.dtype(dtype))

    params = jax.tree_util.tree_map_with_path(load, abstract, shardings)
    return config, structure(config, compute), params


def save_hf(
    params: Params,
    config: ModelConfig,
    tokenizer_dir: str | None,
    out_dir: str,
    *,
    lora: LoraConfig | None = None,
    dtype: str = "float32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write the weights in `dtype`, the configuration and the tokenizer of `tokenizer_dir`.

    Adapters of `lora` among `params` are merged: W + scale A B in float32, then cast. The
    end-of-sequence and padding tokens of the tokenizer are entered in both configurations. With
    several processes all of them must call this.
    """
    out = epath.Path(out_dir)
    writes = jax.process_index() == 0
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").unlink(missing_ok=True)
        for stale in out.glob("model*.safetensors*"):
            stale.unlink()
    _write_weights(out if writes else None, params, config, lora, np.dtype(dtype), max_shard_bytes)
    if writes:
        special = _copy_tokenizer(epath.Path(tokenizer_dir), out) if tokenizer_dir else {}
        _write_json(out / "generation_config.json", special)
        _write_json(out / "config.json", to_json(config, dtype) | special)


def _names(path: tuple[str, ...], config: ModelConfig) -> list[str]:
    """Return the Hugging Face names of a weight's tensors: one a layer, or one."""
    if path[0] != "layers":
        return [f"{'' if path[0] == 'lm_head' else 'model.'}{path[0]}.weight"]
    inner = ".".join(path[1:])
    return [f"model.layers.{layer}.{inner}.weight" for layer in range(config.num_hidden_layers)]


class _Place(NamedTuple):
    """Where a tensor of the files lies in params, and its shape in the files."""

    path: tuple[str, ...]
    layer: int | None
    shape: tuple[int, ...]


def _places(config: ModelConfig) -> Iterator[tuple[str, _Place]]:
    """Yield the Hugging Face name and the place of every tensor."""
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(config)):
        path = tuple(entry.key for entry in key_path)
        layered = path[0] == "layers"
        shape = _torch_shape(path, leaf.shape[1:] if layered else leaf.shape)
        for layer, name in enumerate(_names(path, config)):
            yield name, _Place(path, layer if layered else None, shape)


def _num_inputs(path: tuple[str, ...]) -> int:
    """Return how many dimensions of one layer's projection are inputs."""
    return 2 if path[-1] == "o_proj" else 1


def _torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return torch's shape of one layer's weight: projections are [outputs, inputs]."""
    if not path[-1].endswith("_proj"):
        return shape
    inputs = math.prod(shape[: _num_inputs(path)])
    return math.prod(shape) // inputs, inputs


def _check(tensors: dict[str, StoredTensor], config: ModelConfig, folder: epath.Path) -> None:
    expected = {name: place.shape for name, place in _places(config)}
    for name, shape in expected.items():
        if name not in tensors:
            raise UsageError(f"the model's weights lack {name}; there are {_some(tensors)}")
        if tensors[name].shape != shape:
            raise UsageError(f"{name} must have shape {shape}, not {tensors[name].shape}")
    unknown = tensors.keys() - expected.keys()
    if HEAD in unknown and config.tie_word_embeddings:
        unknown -= {HEAD}
        if not _equal(tensors[HEAD], tensors[EMBEDDING]):
            raise UsageError("tie_word_embeddings is true, but lm_head is not the embedding")
    if unknown:
        raise UsageError(f"{folder} has tensors that a Qwen3 model has not: {_some(unknown)}")


def _equal(left: StoredTensor, right: StoredTensor, rows: int = 4096) -> bool:
    return left.shape == right.shape and all(
        np.array_equal(left.read(slice(i, i + rows)), right.read(slice(i, i + rows)))
        for i in range(0, left.shape[0], rows)
    )


def _placed(
    path: tuple[str, ...],
    stored: list[StoredTensor],
    shape: tuple[int, ...],
    sharding: Sharding,
    dtype: np.dtype,
) -> jax.Array:
    """Return one weight on its devices; each distinct part is read once and then let go."""
    holders: dict[tuple, list[jax.Device]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        assert index is not None
        bounds = tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
        holders.setdefault(bounds, []).append(device)
    arrays = []
    for bounds, devices in holders.items():
        part = _read_part(path, stored, shape, bounds, dtype)
        arrays += [jax.device_put(part, device) for device in devices]
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def _read_part(
    path: tuple[str, ...],
    stored: list[StoredTensor],
    shape: tuple[int, ...],
    bounds: tuple[tuple[int, int], ...],
    dtype: np.dtype,
) -> np.ndarray:
    """Return weight[bounds], read from the rows of the tensors that hold it."""
    part = np.empty([last - first for first, last in bounds], dtype)
    if path[0] != "layers":
        _read_layer(path, stored[0], shape, bounds, part)
        return part
    for place, layer in enumerate(range(*bounds[0])):
        _read_layer(path, stored[layer], shape[1:], bounds[1:], part[place])
    return part


def _read_layer(
    path: tuple[str, ...],
    tensor: StoredTensor,
    shape: tuple[int, ...],
    bounds: tuple[tuple[int, int], ...],
    out: np.ndarray,
) -> None:
    if path[-1].endswith("_proj"):
        cut = _num_inputs(path)
        columns = _flat(shape[:cut], bounds[:cut])
        rows = _flat(shape[cut:], bounds[cut:])
        out[...] = tensor.read(rows)[:, columns].T.reshape(out.shape)
    else:
        rows, *columns_of = (slice(*bound) for bound in bounds)
        out[...] = tensor.read(rows)[(slice(None), *columns_of)]


def _flat(shape: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> slice:
    """Return the places of a box in the flattened dimensions; only the first may be cut."""
    inner = math.prod(shape[1:])
    assert list(bounds[1:]) == [(0, size) for size in shape[1:]], "head_dim is never split"
    return slice(bounds[0][0] * inner, bounds[0][1] * inner)


def _write_weights(
    out: epath.Path | None,
    params: Params,
    config: ModelConfig,
    lora: LoraConfig | None,
    dtype: np.dtype,
    max_shard_bytes: int,
) -> None:
    """Write all shards and their index to `out`; without it, only take part in gathering."""
    places = dict(_places(config))
    shards = in_shards(
        places, lambda name: math.prod(places[name].shape) * dtype.itemsize, max_shard_bytes
    )
    for file, names in shards:
        shapes = {name: places[name].shape for name in names}
        tensors = (_to_tensor(params, places[name], lora, dtype) for name in names)
        if out is None:
            for _ in tensors:
                pass
        else:
            write_tensors(out / file, shapes, dtype, tensors)
    if out is not None and len(shards) > 1:
        weight_map = {name: file for file, names in shards for name in names}
        total = sum(math.prod(place.shape) for place in places.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_json(out / INDEX, index)


def _to_tensor(
    params: Params, place: _Place, lora: LoraConfig | None, dtype: np.dtype
) -> np.ndarray:
    """Return one tensor in torch's layout on the host, merged with its adapter."""
    block: Any = params
    for key in place.path[:-1]:
        block = block[key]
    name = place.path[-1]
    weight = on_host(block[name], place.layer)
    if lora is not None and lora.has(name):
        a, b = (on_host(block[f"{name}{part}"], place.layer) for part in (LORA_A, LORA_B))
        product = a @ b.reshape(lora.rank, -1)
        weight = weight.astype(np.float32) + np.float32(lora.scale) * product.reshape(weight.shape)
    if name.endswith("_proj"):
        weight = weight.reshape(place.shape[::-1]).T
    return weight.astype(dtype, copy=False)


def on_host(leaf: jax.Array | np.ndarray, layer: int | None = None) -> np.ndarray:
    """Return an array, or one layer of it, on the host.

    Layers are taken out where they lie, so that no host and no device gathers all of them. With
    several processes all must call this, and all get the result.
    """
    if isinstance(leaf, np.ndarray):
        return leaf if layer is None else leaf[layer]
    if not leaf.is_fully_addressable:
        return np.asarray(_gather(leaf.sharding)(leaf, layer))
    shards = [shard for shard in leaf.addressable_shards if shard.replica_id == 0]
    if len(shards) == 1:
        return _from_device(shards[0].data, layer)
    skip = 0 if layer is None else 1
    whole = np.empty(leaf.shape[skip:], leaf.dtype)
    for shard in shards:
        whole[shard.index[skip:]] = _from_device(shard.data, layer)
    return whole


def _from_device(part: jax.Array, layer: int | None) -> np.ndarray:
    if {device.platform for device in part.devices()} == {"cpu"}:
        on_cpu = np.asarray(part)  # a view
        return on_cpu if layer is None else on_cpu[layer]
    return np.asarray(_gather(part.sharding)(part, layer))


@functools.cache
def _gather(sharding: Sharding) -> Callable[[jax.Array, int | None], jax.Array]:
    """Return what copies an array, or one layer of it, from `sharding` to all devices."""
    everywhere = cut = sharding
    if isinstance(sharding, NamedSharding):
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        cut = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))

    def pick(leaf: jax.Array, layer: jax.Array | None) -> jax.Array:
        if layer is None:
            return leaf
        one = jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False)
        return jax.lax.with_sharding_constraint(one, cut)  # else all layers would be gathered

    return jax.jit(pick, out_shardings=everywhere)


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


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")
