"""What a training run is at one moment: the state of a stage as one pytree.

`TrainState` *is* the checkpoint: nothing else of a run lives on the devices. Its leaves are placed
over the mesh once, when it is created; every later state inherits that placement from the step.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import Int, Key

from mdx.model.sharding import place_everywhere

PyTree = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Parameters, the optimizer's moments, the number of the next step and a random key."""

    step: Int[jax.Array, ""]  # int32: steps taken, skipped ones included
    params: PyTree  # nested dictionary of arrays
    opt_state: PyTree
    key: Key[jax.Array, ""]


def create_state(
    params: PyTree, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """Return the state before the first step, with the moments placed as `params` are placed."""
    replicated = _replicated(jax.tree.leaves(params)[0].sharding)
    shardings = _like_params(jax.eval_shape(optimizer.init, params), params, replicated)
    return TrainState(
        step=place_everywhere(jnp.zeros((), jnp.int32), replicated),
        params=params,
        opt_state=jax.jit(optimizer.init, out_shardings=shardings)(params),
        key=place_everywhere(key, replicated),
    )


def planned_state(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """Return the shapes, dtypes and shardings of what `create_state` would return.

    `params` are `jax.ShapeDtypeStruct` with shardings.
    """
    replicated = _replicated(jax.tree.leaves(params)[0].sharding)
    opt_state = jax.eval_shape(optimizer.init, params)
    shapes: Any = TrainState  # of shapes and of shardings instead of arrays
    state = shapes(
        step=jax.ShapeDtypeStruct((), jnp.int32),
        params=params,
        opt_state=opt_state,
        key=jax.eval_shape(lambda: jax.random.key(0)),
    )
    placed = shapes(
        step=replicated,
        params=jax.tree.map(lambda leaf: leaf.sharding, params),
        opt_state=_like_params(opt_state, params, replicated),
        key=replicated,
    )
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        placed,
    )


def abstract_state(state: TrainState) -> TrainState:
    """Return the shapes, dtypes and shardings of `state` without its values, for a restore."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )


def _like_params(opt_state: PyTree, params: PyTree, otherwise: Sharding) -> PyTree:
    """Return a sharding for each leaf of `opt_state`: that of the parameter its path ends with.

    Optimizers that treat groups of parameters differently keep trees with holes, so a moment is
    known by its path, not by the structure of the whole.
    """
    placed = {
        jax.tree_util.keystr(path): leaf.sharding
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }

    def find(path: tuple[Any, ...], _: Any) -> Sharding:
        suffixes = (jax.tree_util.keystr(path[start:]) for start in range(len(path)))
        return next((placed[suffix] for suffix in suffixes if suffix in placed), otherwise)

    return jax.tree_util.tree_map_with_path(find, opt_state)


def _replicated(sharding: Sharding) -> Sharding:
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return sharding
