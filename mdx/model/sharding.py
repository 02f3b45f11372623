"""How arrays lie on several devices: one mesh, one table of axes, one table of rules.

The mesh has the axes data (copies of the model), fsdp (weights split, batch split too) and tensor
(heads, ffn and vocabulary split). Each weight names its axes once in `WEIGHT_AXES`, `RULES` says
which mesh axis splits which of them, and the compiler derives the rest. On one device the mesh
is 1 x 1 x 1 and nothing changes.

    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    params = shard_params(params, mesh)       # or a whole TrainState: moments follow weights
    batch = shard_batch(batch, mesh)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mdx.errors import ConfigError

T = TypeVar("T")

MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
RULES: dict[str, str | None] = {
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "head_dim": None,
    "layers": None,
    "rank": None,
}
WEIGHT_AXES: dict[str, tuple[str, ...]] = {
    "embed_tokens": ("vocab", "embed"),
    "lm_head": ("vocab", "embed"),
    "q_proj": ("layers", "embed", "heads", "head_dim"),
    "k_proj": ("layers", "embed", "kv_heads", "head_dim"),
    "v_proj": ("layers", "embed", "kv_heads", "head_dim"),
    "o_proj": ("layers", "heads", "head_dim", "embed"),
    "gate_proj": ("layers", "embed", "mlp"),
    "up_proj": ("layers", "embed", "mlp"),
    "down_proj": ("layers", "mlp", "embed"),
}
# An adapter's A maps from its weight's inputs to the rank, B from there to its outputs.
WEIGHT_AXES |= {
    f"{name}_lora_{part}": axes
    for name, (layers, *dims) in tuple(WEIGHT_AXES.items())
    if name.endswith("_proj")
    for part, axes in (
        ("a", (layers, dims[0], "rank")),
        ("b", (layers, "rank", *(dims[2:] if name == "o_proj" else dims[1:]))),
    )
}


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each mesh axis; -1 (at most once) takes what the others leave."""

    data: int = 1
    fsdp: int = -1
    tensor: int = 1


def make_mesh(shape: MeshConfig | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return the mesh over all devices, or over those given.

    Raises ConfigError where the axes' product is not the number of devices.
    """
    shape = shape or MeshConfig()
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(shape, axis) for axis in MESH_AXES]
    if sizes.count(-1) == 1:
        rest = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = max(len(devices) // rest, 1) if rest > 0 else -1
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        raise ConfigError(
            f"the mesh data x fsdp x tensor = {shape.data} x {shape.fsdp} x {shape.tensor} must "
            f"cover {len(devices)} devices exactly (-1, at most once, takes what is left)"
        )
    types = (AxisType.Auto,) * len(MESH_AXES)
    return jax.make_mesh(tuple(sizes), MESH_AXES, axis_types=types, devices=devices)


def tree_shardings(tree: T, mesh: Mesh) -> T:
    """Return the sharding of every leaf of params, or of any tree with their leaf names.

    A leaf is placed by the last name in its path that is in `WEIGHT_AXES`, so an optimizer's
    moments lie as their weights do; norms, scalars and keys are copied to every device. `tree`
    may hold `jax.ShapeDtypeStruct`. Raises ConfigError for a dimension the mesh does not divide.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(mesh, path, leaf)), tree
    )


def shard_params(params: T, mesh: Mesh) -> T:
    """Place every leaf of params, or of a tree like it, as `tree_shardings` says."""
    return jax.device_put(params, tree_shardings(params, mesh))


def batch_parts(mesh: Mesh) -> int:
    """Return into how many parts the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def shard_batch(batch: T, mesh: Mesh) -> T:
    """Split every array's axis 0 (sequences) over the data and fsdp axes.

    With several processes each passes its own slice of the global batch. Raises ConfigError
    where the rows do not divide.
    """
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)

    def place(array: np.ndarray | jax.Array) -> jax.Array:
        rows = array.shape[0] * jax.process_count()
        if rows % parts:
            raise ConfigError(
                f"batch_size = {rows} must be a multiple of data x fsdp = {parts} devices"
            )
        return jax.make_array_from_process_local_data(sharding, np.asarray(array))

    return jax.tree.map(place, batch)


def over_rows(function: Callable[..., Any], rows: T, *whole: Any) -> Any:
    """Return function(rows, *whole), run by every device on its own rows of the batch.

    Arrays of `rows`, and all results, have the batch on axis 0; those of `whole` are gathered from
    the batch's axes once, and their gradients are summed over them once. Outside a mesh, or where
    its devices do not share the rows evenly, it is the plain call.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in BATCH_AXES if axis in mesh.shape)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or jax.tree.leaves(rows)[0].shape[0] % parts:
        return function(rows, *whole)
    return jax.shard_map(
        function,
        in_specs=(PartitionSpec(axes), *(PartitionSpec() for _ in whole)),
        out_specs=PartitionSpec(axes),
        axis_names=set(axes),
        check_vma=False,
    )(rows, *whole)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Say where an activation lies: "batch" over the batch's axes, others by `RULES`.

    Does nothing outside `jax.set_mesh`, so that the model runs the same code without a mesh. An
    axis that the mesh does not divide stays whole.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or math.prod(mesh.shape.values()) == 1:
        return x
    spec = [_activation_axis(mesh, axis, size) for axis, size in zip(axes, x.shape, strict=True)]
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))


def _activation_axis(
    mesh: jax.sharding.AbstractMesh, axis: str | None, size: int
) -> str | tuple[str, ...] | None:
    if axis is None:
        return None
    found = BATCH_AXES if axis == "batch" else RULES[axis]
    parts = math.prod(mesh.shape[name] for name in BATCH_AXES) if axis == "batch" else 1
    if isinstance(found, str):
        parts = mesh.shape[found]
    return found if size % parts == 0 else None


def _spec(mesh: Mesh, path: tuple, leaf: jax.Array | jax.ShapeDtypeStruct) -> PartitionSpec:
    names = [str(getattr(entry, "key", getattr(entry, "name", ""))) for entry in path]
    known = [name for name in names if name in WEIGHT_AXES]
    if not known or len(WEIGHT_AXES[known[-1]]) != len(leaf.shape):
        return PartitionSpec()
    axes = WEIGHT_AXES[known[-1]]
    for axis, size in zip(axes, leaf.shape, strict=True):
        parts = mesh.shape[RULES[axis]] if RULES[axis] else 1
        if size % parts:
            raise ConfigError(
                f"{known[-1]} has {axis} = {size}, which the mesh axis {RULES[axis]} = {parts} "
                f"does not divide: choose a divisor of {size}"
            )
    return PartitionSpec(*(RULES[axis] for axis in axes))
