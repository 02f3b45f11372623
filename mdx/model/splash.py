"""Attention on TPUs: JAX's Pallas "splash" kernel, under our conventions.

The kernel never writes a score to memory, skips the blocks above the diagonal, and computes all
gradients in one fused backward pass. It sees one device's rows and heads: under a mesh (the
context that `trainers.step.jit_update` sets) it runs inside `shard_map`, rows over the batch's
axes and heads over `tensor`, with nothing to exchange.

Legend: B batch, T time, N heads, G kv heads, H head_dim.
"""

import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from mdx.model.sharding import BATCH_AXES

# Imported when called: Pallas takes half a second, which only TPUs should pay.
_LIBRARY = "jax.experimental.pallas.ops.tpu.splash_attention.splash_attention"
LANES = 128  # a block's sides are multiples of it
SAVED_NAME = "mixed"  # of the kernel's result and row sums, for rematerialisation policies


def splash_attention(
    query_BTNH: Float[Array, "B T N H"],
    key_BTGH: Float[Array, "B T G H"],
    value_BTGH: Float[Array, "B T G H"],
    segment_ids_BT: Int[Array, "B T"],
    *,
    block: int,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """Return softmax(q k / sqrt(H)) v under the causal and segment mask.

    block: queries and keys of a block, at most; rows are padded to whole blocks. `interpret`
    computes the same on any platform, slowly.
    """
    T, H = query_BTNH.shape[1], query_BTNH.shape[3]
    block = min(block, -(-T // LANES) * LANES)
    padding = -T % block
    query_BTNH = (query_BTNH.astype(jnp.float32) * H**-0.5).astype(query_BTNH.dtype)
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0))).swapaxes(1, 2)
        for x in (query_BTNH, key_BTGH, value_BTGH)
    )
    segments = jnp.pad(segment_ids_BT, ((0, 0), (0, padding)))  # 0 is padding's own segment
    kernel = partial(_on_one_device, block=block, interpret=interpret)
    return _sharded(kernel, query, key, value, segments).swapaxes(1, 2)[:, :T]


def _sharded(kernel: Callable[..., Array], *arrays: Array) -> Array:
    """Run `kernel` on every device's own rows and heads, or as it is where there is no mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or math.prod(mesh.shape.values()) == 1:
        return kernel(*arrays)
    batch = tuple(axis for axis in BATCH_AXES if axis in mesh.shape)
    tensor = "tensor" if arrays[1].shape[1] % mesh.shape["tensor"] == 0 else None
    heads = PartitionSpec(batch, tensor)
    return jax.shard_map(
        kernel,
        in_specs=(heads, heads, heads, PartitionSpec(batch)),
        out_specs=heads,
        check_vma=False,
    )(*arrays)


def _on_one_device(
    query_BNTH: Array,
    key_BGTH: Array,
    value_BGTH: Array,
    segment_ids_BT: Array,
    *,
    block: int,
    interpret: bool,
) -> Array:
    kernels = importlib.import_module(f"{_LIBRARY}_kernel")
    masks = importlib.import_module(f"{_LIBRARY}_mask")
    N, T = query_BNTH.shape[1:3]
    kernel = kernels.make_splash_mha(
        masks.MultiHeadMask([masks.CausalMask((T, T))] * N),
        block_sizes=kernels.BlockSizes(**_block_sizes(block)),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=SAVED_NAME,
        interpret=interpret,
    )
    segments = kernels.SegmentIds(q=segment_ids_BT, kv=segment_ids_BT)
    return jax.vmap(kernel)(query_BNTH, key_BGTH, value_BGTH, segments)


def _block_sizes(block: int) -> dict[str, Any]:
    compute = block // 2 if block % (2 * LANES) == 0 else block
    return {
        "block_q": block,
        "block_kv": block,
        "block_kv_compute": compute,
        "block_q_dkv": block,
        "block_kv_dkv": block,
        "block_kv_dkv_compute": compute,
        "use_fused_bwd_kernel": True,
    }
