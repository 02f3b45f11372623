"""What the training steps consume: packed rows of tokens as JAX pytrees.

The alignment convention, once for all of MDX: **the value at [b, t] is about token [b, t]**.
`loss_mask[b, t] = 1` says that tokens[b, t] is a training target, predicted from the tokens before
it in the same segment; `advantages[b, t]` and `old_logprobs[b, t]` belong to that same token, as
does the value that `mdx.model.logprobs.token_logprobs` returns at [b, t]. Nothing is shifted.

A row holds one or more segments, each a whole document or conversation (or a cut of a long
document). Attention never crosses segments, and the first token of a segment is never a target,
since nothing precedes it. `segment_ids` counts segments from 1 within a row; 0 is padding.
`positions` restart at 0 in each segment.

Arrays may be NumPy (from the pipeline) or JAX (on devices). Dims: B rows, T tokens of a row.
"""

from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Float, Int

Array = Any  # numpy.ndarray or jax.Array: both flow through the same functions


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Packed rows for CPT and SFT. All arrays have the shape [B, T]."""

    tokens: Int[Array, "B T"]  # int32
    loss_mask: Float[Array, "B T"]  # float32, 1 where the token is a target
    segment_ids: Int[Array, "B T"]  # int32, 0 is padding
    positions: Int[Array, "B T"]  # int32, from 0 in each segment


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PolicyBatch(Batch):
    """Rows for GRPO: `Batch` with what the policy gradient needs. All arrays are [B, T].

    Both extra fields matter only where `loss_mask` is 1. `old_logprobs` is the sampler's natural
    log-probability of the token at the time it was sampled.
    """

    advantages: Float[Array, "B T"]  # float32
    old_logprobs: Float[Array, "B T"]  # float32
