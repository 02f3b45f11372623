"""Causal self-attention over packed rows, in five forms that agree.

A query sees the keys of its own segment at or before its own place in the row; where continuations
share a prompt, those of the prompt and of its own continuation (`branches`). `rowwise` is for
CPUs (`mdx.model.rowwise`). `blocked` walks the queries in blocks and never touches the keys
above the diagonal; it runs anywhere and splits over devices. `splash` is for TPUs
(`mdx.model.splash`). `xla` and `cudnn` are `jax.nn.dot_product_attention`, for GPUs.

Legend: B batch, T query time, K key time, N heads, G kv heads, R = N / G, H head_dim.
"""

from typing import Literal, cast

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from mdx.model.rowwise import NEGATIVE, rowwise_attention
from mdx.model.splash import SAVED_NAME, splash_attention


def attend(
    query_BTNH: Float[Array, "B T N H"],
    key_BTGH: Float[Array, "B T G H"],
    value_BTGH: Float[Array, "B T G H"],
    segment_ids_BT: Int[Array, "B T"],
    branches_BT: Int[Array, "B T"] | None = None,
    *,
    implementation: str,
    block: int,
) -> Float[Array, "B T N H"]:
    """Return softmax(q k / sqrt(H)) v under the causal and segment mask.

    branches_BT: 0 in a prompt, k in the k-th continuation that follows it in its segment.
    implementation: "rowwise", "blocked", "splash", "xla" or "cudnn" (`ComputeConfig.attention`);
    "splash" takes no `branches_BT` (`can_share_prompts`).
    The result bears the name "mixed" for rematerialisation policies.
    """
    if implementation == "splash":
        assert branches_BT is None, "the kernel masks by segment only"
        return splash_attention(query_BTNH, key_BTGH, value_BTGH, segment_ids_BT, block=block)
    mixed_BTNH = _attend(
        query_BTNH, key_BTGH, value_BTGH, segment_ids_BT, branches_BT, implementation, block
    )
    return checkpoint_name(mixed_BTNH, SAVED_NAME)


def can_share_prompts(implementation: str) -> bool:
    """Tell whether continuations of one prompt can follow it in one segment (`branches`)."""
    return implementation != "splash"


def _attend(
    query_BTNH: Array,
    key_BTGH: Array,
    value_BTGH: Array,
    segment_ids_BT: Array,
    branches_BT: Array | None,
    implementation: str,
    block: int,
) -> Array:
    if implementation in ("rowwise", "blocked"):
        function = rowwise_attention if implementation == "rowwise" else blocked_attention
        return function(query_BTNH, key_BTGH, value_BTGH, segment_ids_BT, branches_BT, block=block)
    T = query_BTNH.shape[1]
    mask_B1TT = _seen(segment_ids_BT, branches_BT, 0, T)[:, None]
    fused = cast(Literal["xla", "cudnn"], implementation)
    return jax.nn.dot_product_attention(
        query_BTNH, key_BTGH, value_BTGH, mask=mask_B1TT, implementation=fused
    )


def _seen(segment_ids_BT: Array, branches_BT: Array | None, start: int, end: int) -> Array:
    """Return which of the keys up to `end` the queries from `start` to there see."""
    mask_BTK = packed_mask(segment_ids_BT[:, start:end], segment_ids_BT[:, :end], start)
    if branches_BT is None:
        return mask_BTK
    return mask_BTK & branch_mask(branches_BT[:, start:end], branches_BT[:, :end])


def packed_mask(
    query_segments_BT: Int[Array, "B T"], key_segments_BK: Int[Array, "B K"], offset: int
) -> Bool[Array, "B T K"]:
    """Return which keys a query sees: same segment, and not after it.

    offset: the place in the row of the first query; the first key is at place 0.
    """
    query_places = offset + jnp.arange(query_segments_BT.shape[1])[:, None]
    causal_1TK = (query_places >= jnp.arange(key_segments_BK.shape[1])[None, :])[None]
    return (query_segments_BT[:, :, None] == key_segments_BK[:, None, :]) & causal_1TK


def branch_mask(
    query_branches_BT: Int[Array, "B T"], key_branches_BK: Int[Array, "B K"]
) -> Bool[Array, "B T K"]:
    """Return which keys of its segment a query sees: the prompt's and those of its own branch."""
    key_branches_B1K = key_branches_BK[:, None, :]
    return (key_branches_B1K == 0) | (query_branches_BT[:, :, None] == key_branches_B1K)


def blocked_attention(
    query_BTNH: Float[Array, "B T N H"],
    key_BTGH: Float[Array, "B T G H"],
    value_BTGH: Float[Array, "B T G H"],
    segment_ids_BT: Int[Array, "B T"],
    branches_BT: Int[Array, "B T"] | None = None,
    *,
    block: int,
) -> Float[Array, "B T N H"]:
    """Attend block of queries by block of queries, each to the keys up to its own end.

    At most 16 blocks are unrolled, so that compile time does not grow with the row.
    """
    B, T, N, H = query_BTNH.shape
    G = key_BTGH.shape[2]
    query_BGRTH = query_BTNH.reshape(B, T, G, N // G, H).transpose(0, 2, 3, 1, 4)
    key_BGTH, value_BGTH = key_BTGH.transpose(0, 2, 1, 3), value_BTGH.transpose(0, 2, 1, 3)
    block = max(block, -(-T // 16))
    outputs = []
    for start in range(0, T, block):
        end = min(start + block, T)
        mask_BTK = _seen(segment_ids_BT, branches_BT, start, end)
        outputs.append(
            _attend_block(
                query_BGRTH[:, :, :, start:end],
                key_BGTH[:, :, :end],
                value_BGTH[:, :, :end],
                mask_BTK,
            )
        )
    return jnp.concatenate(outputs, axis=3).transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def _attend_block(query_BGRTH: Array, key_BGKH: Array, value_BGKH: Array, mask_BTK: Array) -> Array:
    scale = query_BGRTH.shape[-1] ** -0.5
    scores_BGRTK = jnp.einsum(
        "BGRTH,BGKH->BGRTK", query_BGRTH * scale, key_BGKH, preferred_element_type=jnp.float32
    )
    scores_BGRTK = jnp.where(mask_BTK[:, None, None], scores_BGRTK, NEGATIVE)
    weights_BGRTK = jax.nn.softmax(scores_BGRTK, axis=-1).astype(value_BGKH.dtype)
    return jnp.einsum("BGRTK,BGKH->BGRTH", weights_BGRTK, value_BGKH)
