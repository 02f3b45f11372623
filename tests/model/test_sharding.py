"""Sharded over 8 virtual devices, everything is what it is on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.topologies import get_topology_desc
from jax.sharding import NamedSharding, PartitionSpec

from mdx.errors import ConfigError
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import abstract_params, apply, output_head, structure
from mdx.model.logprobs import token_logprobs
from mdx.model.lora import abstract_adapters, attach
from mdx.model.sampler import sample
from mdx.model.sharding import (
    MeshConfig,
    local_rows,
    make_mesh,
    shard_batch,
    shard_params,
    tree_shardings,
)
from trainers.plan_topology import parse_topology, tpu_devices

SHAPE = {
    "hidden_size": 32,
    "vocab_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
}
COMPUTE = ComputeConfig(attention="blocked", attention_block=16)
LORA = LoraConfig(rank=3)
EVERY_AXIS = MeshConfig(data=2, fsdp=2, tensor=2)
MESHES = {
    "data": MeshConfig(data=8, fsdp=1),
    "fsdp": MeshConfig(fsdp=8),
    "tensor": MeshConfig(fsdp=1, tensor=8),
    "data x fsdp x tensor": EVERY_AXIS,
}


@pytest.fixture(scope="module")
def model(model_factory):
    return model_factory(COMPUTE, **SHAPE)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 64, (8, 20)).astype(np.int32)
    segments = np.where(np.arange(20)[None] < rng.integers(5, 15, (8, 1)), 1, 2)
    mask = (rng.random((8, 20)) < 0.5).astype(np.float32)
    positions = np.broadcast_to(np.arange(20)[None], (8, 20))
    return {"tokens": tokens, "segments": segments, "positions": positions, "mask": mask}


@pytest.fixture(scope="module")
def adapted(model):
    """Return the weights with adapters beside them, none of which is zero."""
    rng = np.random.default_rng(1)
    adapters = jax.tree.map(
        lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape, np.float32)),
        abstract_adapters(model[0], LORA),
    )
    return attach(model[2], adapters)


def make_step(graphdef):
    """Return (params, batch) -> (loss, gradients), quick to compile."""

    def step(params, batch):
        def loss(params):
            arrays = (batch["tokens"], batch["segments"], batch["positions"])
            logprobs, entropy = token_logprobs(
                apply(graphdef, params, *arrays),
                output_head(params),
                batch["tokens"],
                block=32,
                mask_BT=batch["mask"],
            )
            return (0.1 * entropy - logprobs).sum() / batch["mask"].sum()

        return jax.value_and_grad(loss)(params)

    return jax.jit(step, compiler_options={"xla_backend_optimization_level": "0"})


@pytest.fixture(scope="module")
def loss_and_gradients(model):
    return make_step(structure(model[0], COMPUTE, LORA))


@pytest.fixture(scope="module")
def on_one_device(adapted, batch, loss_and_gradients):
    loss, gradients = loss_and_gradients(adapted, jax.tree.map(jnp.asarray, batch))
    assert all(float(jnp.abs(leaf).max()) > 1e-3 for leaf in jax.tree.leaves(gradients))
    return jax.device_get((loss, gradients))


@pytest.mark.parametrize("name", MESHES)
def test_sharded_loss_and_gradients_equal_those_of_one_device(
    adapted, batch, loss_and_gradients, on_one_device, name
):
    """Of every weight and of every adapter."""
    mesh = make_mesh(MESHES[name])
    with jax.set_mesh(mesh):  # as a training step does
        found = loss_and_gradients(shard_params(adapted, mesh), shard_batch(batch, mesh))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, on_one_device)


def test_gradients_lie_as_their_weights_do(model, batch):
    mesh = make_mesh(EVERY_AXIS)
    placed = shard_params(model[2], mesh), shard_batch(batch, mesh)
    found = make_step(model[1]).lower(*placed).compile().output_shardings[1]
    gate = found["layers"]["mlp"]["gate_proj"]
    wanted = NamedSharding(mesh, PartitionSpec(None, "fsdp", "tensor"))
    assert gate.is_equivalent_to(wanted, 3)


def test_sampling_with_sharded_weights_gives_the_same_tokens(model):
    _, graphdef, params = model
    settings = {"num_samples": 2, "max_new_tokens": 12, "eos_ids": (1,), "key": jax.random.key(0)}
    prompts = [[3, 4, 5], [6, 7]]
    whole = sample(graphdef, params, prompts, **settings)
    split = sample(graphdef, shard_params(params, make_mesh(EVERY_AXIS)), prompts, **settings)
    for whole_group, split_group in zip(whole, split, strict=True):
        for a, b in zip(whole_group, split_group, strict=True):
            assert a.tokens == b.tokens
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_moments_lie_as_their_weights_do_and_scalars_everywhere(model):
    params = abstract_params(model[0])
    tree = {"mu": params, "count": jax.ShapeDtypeStruct((), jnp.int32)}
    mesh = make_mesh(EVERY_AXIS)
    placed = tree_shardings(tree, mesh)
    assert placed["mu"] == tree_shardings(params, mesh)
    assert placed["count"].spec == PartitionSpec()
    attention = placed["mu"]["layers"]["self_attn"]
    assert attention["q_proj"].spec == PartitionSpec(None, "fsdp", "tensor", None)
    assert attention["o_proj"].spec == PartitionSpec(None, "tensor", None, "fsdp")
    assert placed["mu"]["embed_tokens"].spec == PartitionSpec("tensor", "fsdp")
    assert placed["mu"]["norm"].spec == PartitionSpec()


def test_one_device_makes_a_mesh_of_one():
    mesh = make_mesh(devices=jax.devices()[:1])
    assert dict(mesh.shape) == {"slices": 1, "data": 1, "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize(
    "shape",
    [MeshConfig(data=3), MeshConfig(data=-1, fsdp=-1), MeshConfig(data=2, fsdp=2, tensor=1)],
)
def test_a_mesh_that_does_not_cover_the_devices_is_refused(shape):
    with pytest.raises(ConfigError, match="must cover 8 devices"):
        make_mesh(shape)


@pytest.fixture(scope="module")
def two_slices():
    """Return the devices of one slice, and of two like it, as libtpu describes them."""
    topology = parse_topology("v5e:4x4")
    alone = tpu_devices(topology)
    found = get_topology_desc(topology.name, "tpu", num_slices=2, wrap=topology.rings)
    return alone, list(found.devices)


# whole sides of the slice's 4 x 4 chips, and halves of one
@pytest.mark.parametrize("tensor", [4, 2])
def test_only_the_axis_slices_crosses_between_slices(two_slices, tensor):
    alone, devices = two_slices
    mixed = [*devices[1::2], *devices[::2]]
    mesh = make_mesh(MeshConfig(slices=2, tensor=tensor), mixed)
    assert dict(mesh.shape) == {"slices": 2, "data": 1, "fsdp": 16 // tensor, "tensor": tensor}
    assert set(mesh.devices.flat) == set(devices)
    expected = make_mesh(MeshConfig(tensor=tensor), alone).devices[0]
    for number, one_slice in enumerate(mesh.devices):
        assert {device.slice_index for device in one_slice.flat} == {number}
        where = [device.coords for device in one_slice.flat]
        assert where == [device.coords for device in expected.flat]


@pytest.mark.parametrize("slices", [1, 4])
def test_a_mesh_of_other_slices_than_the_devices_lie_in_is_refused(two_slices, slices):
    with pytest.raises(ConfigError, match=f"must be 2, .* the 32 devices lie in, not {slices}$"):
        make_mesh(MeshConfig(slices=slices), two_slices[1])


@pytest.mark.parametrize("name", ["v5p:4x4x4", "v6e:8x8", "v5e:4x4"])
def test_a_mesh_may_split_a_side_of_a_slice(name):
    devices = tpu_devices(parse_topology(name))
    mesh = make_mesh(MeshConfig(tensor=2), devices)
    assert mesh.shape["fsdp"] == len(devices) // 2
    assert set(mesh.devices.flat) == set(devices)
    for pair in mesh.devices.reshape(-1, 2):  # neighbours in the torus, for tensor needs most
        assert sum(abs(a - b) for a, b in zip(pair[0].coords, pair[1].coords, strict=True)) == 1


def test_what_does_not_divide_is_refused_with_what_would_fit(model, batch):
    config = model_config(num_attention_heads=6, num_key_value_heads=2, intermediate_size=96)
    with pytest.raises(ConfigError, match=r"_proj has heads = 6.*mesh.tensor may be 1, 2$"):
        tree_shardings(abstract_params(config), make_mesh(MeshConfig(data=2, fsdp=1, tensor=4)))
    with pytest.raises(ConfigError, match=r"embed = 36.*mesh.fsdp may be 1, 2, 4$"):
        tree_shardings(abstract_params(model_config(hidden_size=36)), make_mesh(MeshConfig()))
    with pytest.raises(ConfigError, match=r"batch_size = 12 .* = 8 devices: 8 or 16 would fit"):
        shard_batch({"tokens": batch["tokens"].repeat(2, 0)[:12]}, make_mesh(MeshConfig()))


@pytest.mark.parametrize(
    ("shape", "rank", "copied"),
    [
        (MeshConfig(fsdp=8), 3, set()),
        (MeshConfig(fsdp=4, tensor=2), 3, set()),
        (MeshConfig(fsdp=32), 64, set()),
        (MeshConfig(fsdp=32), 3, {"k_proj_lora_b", "v_proj_lora_b"}),  # 2 heads of 48, rank 3
    ],
)
def test_adapters_are_split_over_fsdp_wherever_one_of_their_sizes_divides(shape, rank, copied):
    devices = tpu_devices(parse_topology("v5e:4x8")) if shape.fsdp == 32 else None
    mesh = make_mesh(shape, devices)
    config = model_config(num_attention_heads=32, intermediate_size=64)
    adapters = abstract_adapters(config, LoraConfig(rank=rank))
    found = set()
    for (path, leaf), sharding in zip(
        jax.tree_util.tree_leaves_with_path(adapters),
        jax.tree.leaves(tree_shardings(adapters, mesh)),
        strict=True,
    ):
        shard = sharding.shard_shape(leaf.shape)
        assert shard[0] == leaf.shape[0], "layers are scanned"
        if np.prod(shard) * mesh.shape["fsdp"] > leaf.size:
            found.add(path[-1].key)
    assert found == copied


def test_fewer_kv_heads_than_the_tensor_axis_are_copied_instead_of_split(model):
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, tensor=4))
    attention = tree_shardings(model[2], mesh)["layers"]["self_attn"]
    assert attention["k_proj"].spec == PartitionSpec(None, "fsdp", None, None)
    assert attention["q_proj"].spec == PartitionSpec(None, "fsdp", "tensor", None)


def model_config(**changes):
    return ModelConfig(**{**SHAPE, **changes})


@pytest.mark.parametrize("shape", [MeshConfig(data=2, fsdp=4), MeshConfig(slices=2, tensor=2)])
def test_local_rows_of_one_process_are_all_rows_and_a_whole_batch_goes_anywhere(shape):
    mesh = make_mesh(shape)
    assert local_rows(mesh, 16) == list(range(16))
    rows = np.arange(32).reshape(16, 2)
    placed = shard_batch(rows, mesh)
    np.testing.assert_array_equal(placed, rows)
    assert placed.sharding.spec == PartitionSpec(("slices", "data", "fsdp"))
