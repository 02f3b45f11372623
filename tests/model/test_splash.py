"""The TPU's attention kernel: it agrees with the other forms, and compiles for each TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mdx.model.attention import blocked_attention
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import resolve
from mdx.model.sharding import MeshConfig, make_mesh
from mdx.model.splash import splash_attention
from mdx.model.tpu import SPLASH_BLOCK, compiler_options
from trainers.plan_topology import parse_topology, tpu_devices

SEGMENTS = jnp.array(np.repeat([[1, 1, 2], [1, 2, 0]], 50, axis=1))  # not whole blocks


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(2, 150, 4, 128), (2, 150, 2, 128), (2, 150, 2, 128), (2, 150, 4, 128)]
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def outputs_and_gradients(attention, inputs):
    *qkv, weights = inputs

    def loss(*qkv):
        mixed = attention(*qkv)
        return (mixed * weights).sum(), mixed

    gradients, mixed = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*qkv)
    return [mixed, *gradients]


@pytest.fixture(scope="module")
def expected(inputs):
    return outputs_and_gradients(lambda *qkv: blocked_attention(*qkv, SEGMENTS, block=128), inputs)


def test_kernel_agrees_with_the_blocked_form(inputs, expected):
    found = outputs_and_gradients(
        lambda *qkv: splash_attention(*qkv, SEGMENTS, block=128, interpret=True), inputs
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_kernel_splits_rows_and_heads_over_a_mesh(inputs, expected):
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2), jax.devices()[:4])
    placed = NamedSharding(mesh, PartitionSpec("fsdp", None, "tensor"))

    @jax.jit
    def on_mesh(*arrays):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return outputs_and_gradients(
                lambda *qkv: splash_attention(*qkv, SEGMENTS, block=128, interpret=True), arrays
            )

    found = on_mesh(*(jax.device_put(x, placed) for x in inputs))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("name", ["v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"])
def test_blocks_of_every_generation_compile(name):
    topology = parse_topology(name)
    device = tpu_devices(topology)[0]
    block = SPLASH_BLOCK[topology.generation]
    placed = NamedSharding(Mesh(np.array([device]), "x"), PartitionSpec())
    shape = jax.ShapeDtypeStruct((1, 2 * block, 1, 128), jnp.bfloat16, sharding=placed)
    segments = jax.ShapeDtypeStruct((1, 2 * block), jnp.int32, sharding=placed)

    def loss(q, k, v, segments):
        return splash_attention(q, k, v, segments, block=block).astype(jnp.float32).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), compiler_options=compiler_options(device))
    text = step.lower(shape, shape, shape, segments).compile().as_text()
    assert "splash_mha_fwd_segmented" in text
    assert "splash_mha_dkv_segmented" in text


def test_auto_asks_the_device_that_is_compiled_for():
    compute, wide = ComputeConfig(dtype="bfloat16"), ModelConfig(head_dim=128)
    tpu = tpu_devices(parse_topology("v5p:2x2x1"))[0]
    assert resolve(compute, wide, tpu).attention == "splash"
    assert resolve(compute, wide, tpu).attention_block == SPLASH_BLOCK["v5p"]
    assert resolve(compute, ModelConfig(head_dim=48), tpu).attention == "blocked"
    assert resolve(compute, wide, jax.devices()[0]).attention == "rowwise"
