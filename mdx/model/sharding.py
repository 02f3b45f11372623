"""How arrays lie on several devices: one mesh, one table of axes, one table of rules.

The mesh has the axes slices (copies of the model, over the slow network between TPU slices or
hosts), data (copies within a slice), fsdp (weights split, batch split too) and tensor (heads, ffn
and vocabulary split). Each weight names its axes once in `WEIGHT_AXES`, `RULES` says which mesh
axis splits which of them, and `constrain` tells the compiler where activations lie. On one device
the mesh is 1 x 1 x 1 x 1 and nothing changes.

    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    params = shard_params(params, mesh)       # or a whole TrainState: moments follow weights
    batch = shard_batch(batch, mesh)

Over several processes (`trainers.processes`) every process calls the same functions with the same
values, and each array's shards lie on the devices of the process that holds them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from mdx.errors import ConfigError

T = TypeVar("T")

MESH_AXES = ("slices", "data", "fsdp", "tensor")
BATCH_AXES = ("slices", "data", "fsdp")
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

    slices: int = 1
    data: int = 1
    fsdp: int = -1
    tensor: int = 1


def make_mesh(shape: MeshConfig | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return the mesh over all devices, or over those given.

    The axes within a slice follow the wires of its chips (`mesh_utils`); only `slices` crosses
    between slices. Raises ConfigError where the axes' product is not the number of devices, or
    where TPU slices are not what `mesh.slices` says.
    """
    shape = shape or MeshConfig()
    devices = list(jax.devices() if devices is None else devices)
    sizes = [getattr(shape, axis) for axis in MESH_AXES]
    if sizes.count(-1) == 1:
        rest = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = max(len(devices) // rest, 1) if rest > 0 else -1
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        raise ConfigError(
            f"the mesh slices x data x fsdp x tensor = {shape.slices} x {shape.data} x "
            f"{shape.fsdp} x {shape.tensor} must cover {len(devices)} devices exactly "
            "(-1, at most once, takes what is left)"
        )
    num_slices = len({getattr(device, "slice_index", 0) for device in devices})
    if num_slices > 1 and sizes[0] != num_slices:
        raise ConfigError(
            f"mesh.slices must be {num_slices}, the number of TPU slices that the "
            f"{len(devices)} devices lie in, not {sizes[0]}"
        )
    # Sizes that are no sides of a slice split one, where otherwise jax would refuse them.
    if num_slices > 1:
        placed = mesh_utils.create_hybrid_device_mesh(
            (1, *sizes[1:]), (num_slices, 1, 1, 1), devices, allow_split_physical_axes=True
        )
    else:
        placed = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(placed, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def tree_shardings(tree: T, mesh: Mesh) -> T:
    """Return the sharding of every leaf of params, or of any tree with their leaf names.

    A leaf is placed by the last name in its path that is in `WEIGHT_AXES`, so an optimizer's
    moments lie as their weights do; norms, scalars and keys are copied to every device. `tree`
    may hold `jax.ShapeDtypeStruct`. kv heads fewer than `tensor` are copied, not split. Raises
    ConfigError for a dimension that the mesh does not divide, with the sizes that would fit.
    """
    _check_divides(tree, mesh)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(mesh, path, leaf)), tree
    )


def shard_params(params: T, mesh: Mesh) -> T:
    """Place every leaf of params, or of a tree like it, as `tree_shardings` says.

    Over several processes each must pass the same values, on its own host or devices.
    """
    return jax.tree.map(place_everywhere, params, tree_shardings(params, mesh))


def place_everywhere(value: Any, sharding: Sharding) -> jax.Array:
    """Place a value that every process holds whole, each its own shards of it."""
    if sharding.is_fully_addressable:
        return jax.device_put(value, sharding)
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        raw = place_everywhere(jax.random.key_data(value), sharding)
        return jax.random.wrap_key_data(raw, impl=jax.random.key_impl(value))
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return jax.device_put(value, sharding)
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def fetch(tree: T) -> T:
    """Return the whole of every array on this host; all processes must call it together.

    An array spread over several processes is put together leaf by leaf on the devices first, so
    one of them at a time must fit there.
    """

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return jax.device_get(leaf)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = whole(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        if not leaf.is_fully_replicated:
            assert isinstance(leaf.sharding, NamedSharding)
            leaf = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
        return np.asarray(leaf.addressable_data(0))

    return jax.tree.map(whole, tree)


def to_this_process(tree: T, mesh: Mesh) -> T:
    """Return `tree`, spread over `mesh`, as arrays over the devices of each process alone.

    Each process then has all weights, split over its devices, and can compute with them without
    the others. With one process `tree` is returned as it is. Raises ConfigError where the weights
    cannot be split over one process's devices.
    """
    if jax.process_count() == 1:
        return tree
    here = make_mesh(MeshConfig(fsdp=-1), devices=jax.local_devices())
    devices = sorted(mesh.devices.flat, key=lambda device: (device.process_index, device.id))
    grid = np.array(devices).reshape(jax.process_count(), *here.devices.shape[1:])
    apart = Mesh(grid, MESH_AXES, axis_types=here.axis_types)

    def move(leaf: jax.Array, local: NamedSharding) -> jax.Array:
        spread = jax.device_put(leaf, NamedSharding(apart, local.spec))
        shards = [shard.data for shard in spread.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, local, shards)

    return jax.tree.map(move, tree, tree_shardings(tree, here))


def batch_parts(mesh: Mesh) -> int:
    """Return into how many parts the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_rows(mesh: Mesh, name: str, num_rows: int) -> None:
    """Raise ConfigError where `num_rows`, called `name`, cannot be split over the mesh."""
    parts = batch_parts(mesh)
    if num_rows % parts:
        lower = num_rows // parts * parts
        near = f"{lower} or {lower + parts}" if lower else f"{parts}"
        raise ConfigError(
            f"{name} = {num_rows} must be a multiple of slices x data x fsdp = {parts} devices: "
            f"{near} would fit"
        )


def local_rows(mesh: Mesh, num_rows: int) -> list[int]:
    """Return the rows of a global batch, in order, that this process's devices hold.

    Raises ConfigError where the rows do not divide.
    """
    check_rows(mesh, "batch_size", num_rows)
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    held = sharding.addressable_devices_indices_map((num_rows,))
    rows = [np.arange(num_rows)[index] for index in held.values() if index is not None]
    return np.unique(np.concatenate(rows)).tolist()


def shard_batch(batch: T, mesh: Mesh, num_rows: int | None = None) -> T:
    """Split every array's axis 0 (sequences) over the slices, data and fsdp axes.

    The arrays hold the `local_rows` of a batch of `num_rows`, or the whole batch where that is
    not given, which every process may do. Raises ConfigError where the rows do not divide.
    """
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))

    def place(array: np.ndarray | jax.Array) -> jax.Array:
        host = np.asarray(array)
        total = num_rows or len(host)
        mine = local_rows(mesh, total)  # refuses what does not divide
        rows = mine if len(host) < total else range(total)

        def shard(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            start, stop, _ = index[0].indices(total)
            return host[np.searchsorted(rows, start) :][: stop - start]

        return jax.make_array_from_callback((total, *host.shape[1:]), sharding, shard)

    return jax.tree.map(place, batch)


def over_rows(function: Callable[..., Any], rows: T, *whole: Any) -> Any:
    """Return function(rows, *whole), run by every device on its own rows of the batch.

    Arrays of `rows`, and all results, have the batch on axis 0; those of `whole` are gathered from
    the batch's axes once, and their gradients are summed over them once. Matrices [N, D] of `whole`
    lie as a head does: fsdp splits D. Outside a mesh, or where its devices do not share the rows
    evenly, it is the plain call.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in BATCH_AXES if axis in mesh.shape)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or jax.tree.leaves(rows)[0].shape[0] % parts:
        return function(rows, *whole)
    split = [_is_joined(x, mesh) for x in whole]

    def of_device(rows: T, *whole: Any) -> Any:
        joined = (_join(x) if is_split else x for x, is_split in zip(whole, split, strict=True))
        return function(rows, *joined)

    return jax.shard_map(
        of_device,
        in_specs=(
            PartitionSpec(axes),
            *(PartitionSpec(None, "fsdp") if is_split else PartitionSpec() for is_split in split),
        ),
        out_specs=PartitionSpec(axes),
        axis_names=set(axes),
        check_vma=False,
    )(rows, *whole)


def _is_joined(whole: jax.Array, mesh: jax.sharding.AbstractMesh) -> bool:
    """Say whether `over_rows` gives `whole` to its function as `_join` makes it."""
    parts = mesh.shape["fsdp"]
    return parts > 1 and whole.ndim == 2 and whole.shape[1] % parts == 0


def _join(part_ND: jax.Array) -> jax.Array:
    """Return [N, D] of the devices' [N, D / fsdp], which lies in memory as [D, N].

    What the devices send has an axis for the devices. Else a TPU gathers it, and scatters the sum
    of its gradient, only where N is a suitable number of tiles: for 151,936 words it would sum
    the whole matrix on every device.
    """
    return jax.lax.all_gather(part_ND.T, "fsdp").reshape(-1, part_ND.shape[0]).T


def as_joined(whole_ND: jax.Array) -> jax.Array:
    """Keep a TPU's compiler from turning around what `over_rows` gave: say it where it is used."""
    mesh = jax.sharding.get_abstract_mesh()
    if "fsdp" not in mesh.manual_axes or not _is_joined(whole_ND, mesh):
        return whole_ND

    def keep(x_ND: jax.Array) -> jax.Array:
        return with_layout_constraint(x_ND, Layout(major_to_minor=(1, 0)))

    return jax.lax.platform_dependent(whole_ND, tpu=keep, default=lambda x_ND: x_ND)


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


def gathered(adapter: jax.Array, name: str) -> jax.Array:
    """Return an adapter's A or B of one layer with all that fsdp splits of it on every device.

    Left to itself the compiler splits activations as the adapter is split, and gathers those.
    """
    _, *axes = WEIGHT_AXES[name]
    return constrain(adapter, *(axis if RULES[axis] == "tensor" else None for axis in axes))


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
    named = _named_dims(path, leaf)
    spec: list[Any] = [
        RULES[axis] if RULES[axis] and size % mesh.shape[RULES[axis]] == 0 else None
        for _, axis, size in named
    ]
    # Half of the adapters have no "embed". Copied, they take more of a large mesh than the model.
    if named and "_lora_" in named[0][0] and mesh.shape["fsdp"] > 1 and "fsdp" not in spec:
        for place in sorted(range(1, len(named)), key=lambda place: -named[place][2]):
            whole = ("fsdp",) if spec[place] is None else (spec[place], "fsdp")
            if named[place][2] % math.prod(mesh.shape[axis] for axis in whole) == 0:
                spec[place] = whole
                break
    return PartitionSpec(*spec)


def _named_dims(path: tuple, leaf: Any) -> list[tuple[str, str, int]]:
    """Return (weight, axis, size) for every dimension of a leaf that `WEIGHT_AXES` knows."""
    names = [str(getattr(entry, "key", getattr(entry, "name", ""))) for entry in path]
    known = [name for name in names if name in WEIGHT_AXES]
    if not known or len(WEIGHT_AXES[known[-1]]) != len(leaf.shape):
        return []
    axes = WEIGHT_AXES[known[-1]]
    return [(known[-1], axis, size) for axis, size in zip(axes, leaf.shape, strict=True)]


def _check_divides(tree: Any, mesh: Mesh) -> None:
    dims = [
        dim
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        for dim in _named_dims(path, leaf)
    ]
    for name, axis, size in dims:
        rule = RULES[axis]
        if rule is None or _fits(axis, size, mesh.shape[rule]):
            continue
        same = [(axis, size) for _, axis, size in dims if RULES[axis] == rule]
        divisors = [n for n in range(1, mesh.size + 1) if mesh.size % n == 0]
        fitting = [n for n in divisors if all(_fits(*dim, n) for dim in same)]
        raise ConfigError(
            f"{name} has {axis} = {size}, which mesh.{rule} = {mesh.shape[rule]} does not divide; "
            f"for this model mesh.{rule} may be {', '.join(map(str, fitting))}"
        )


def _fits(axis: str, size: int, parts: int) -> bool:
    return size % parts == 0 or (axis == "kv_heads" and parts % size == 0)
