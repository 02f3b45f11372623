"""The state of a run: where its leaves lie and what a restore is told about them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trainers.optim import OptimConfig, make_optimizer
from trainers.state import abstract_state, create_state

OPTIMIZER = make_optimizer(OptimConfig())


def _placed_params():
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("fsdp", "tensor"))
    split = NamedSharding(mesh, PartitionSpec("fsdp", "tensor"))
    whole = NamedSharding(mesh, PartitionSpec())
    params = {"q_proj": jnp.ones((8, 4)), "norm": jnp.ones(8)}
    return jax.device_put(params, {"q_proj": split, "norm": whole}), split, whole


def test_moments_lie_where_their_weights_lie_and_the_rest_everywhere():
    params, split, whole = _placed_params()
    state = create_state(params, OPTIMIZER, jax.random.key(0))
    moments = [optax.tree_utils.tree_get(state.opt_state, name) for name in ("mu", "nu")]
    for moment in moments:
        assert moment["q_proj"].sharding.is_equivalent_to(split, 2)
        assert moment["norm"].sharding.is_equivalent_to(whole, 1)
        assert not moment["q_proj"].any()
    for scalar in (state.step, state.key, optax.tree_utils.tree_get(state.opt_state, "count")):
        assert scalar.sharding.is_equivalent_to(whole, 0)
    assert int(state.step) == 0
    assert state.params is params


def test_moments_of_muon_lie_where_their_weights_lie_too():
    params, split, _ = _placed_params()
    params = {"layers": {"mlp": {"up_proj": params["q_proj"][None]}}, "norm": params["norm"]}
    sharding = NamedSharding(split.mesh, PartitionSpec(None, "fsdp", "tensor"))
    up_proj = jax.device_put(params["layers"]["mlp"]["up_proj"], sharding)
    params["layers"]["mlp"]["up_proj"] = up_proj
    state = create_state(params, make_optimizer(OptimConfig(algorithm="muon")), jax.random.key(0))
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == (1, 8, 4)]
    assert moments
    assert all(leaf.sharding.is_equivalent_to(sharding, 3) for leaf in moments)


def test_abstract_state_describes_every_leaf():
    state = create_state(_placed_params()[0], OPTIMIZER, jax.random.key(0))
    abstract = abstract_state(state)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for described, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert isinstance(described, jax.ShapeDtypeStruct)
        assert (described.shape, described.dtype) == (leaf.shape, leaf.dtype)
        assert described.sharding == leaf.sharding
