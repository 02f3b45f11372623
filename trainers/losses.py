"""The next-token loss of CPT and SFT.

A loss function of `make_train_step` has the signature

    loss_fn(params, batch, totals) -> (share, metrics)

where `totals` are sums over the *whole* batch (all microbatches, all devices) and `share` is this
microbatch's part of the loss, already divided by them. Shares, metrics and gradients therefore
simply add up: no mean of means, whatever the accumulation.

Dims: B rows, T tokens, D hidden.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mdx.data.batch import Batch
from mdx.model.decoder import GraphDef, apply, output_head
from mdx.model.logprobs import token_logprobs

PyTree = Any
Totals = dict[str, Float[Array, ""]]
Metrics = dict[str, Float[Array, ""]]
LogprobsFn = Callable[[PyTree, Batch], Float[Array, "B T"]]
LossFn = Callable[[PyTree, Batch, Totals], tuple[Float[Array, ""], Metrics]]


def count_tokens(batch: Batch) -> Totals:
    """Return the number of targets, of real tokens and of cells in `batch`, as fp32 scalars."""
    return {
        "targets": batch.loss_mask.sum(dtype=jnp.float32),
        "tokens": (batch.segment_ids > 0).sum(dtype=jnp.float32),
        "cells": jnp.float32(batch.tokens.size),
    }


def make_logprobs_fn(graphdef: GraphDef, *, vocab_block: int) -> LogprobsFn:
    """Return (params, batch) -> log p [B, T] of the batch's targets, 0 where there is none."""

    def logprobs_fn(params: PyTree, batch: Batch) -> Float[Array, "B T"]:
        hidden_BTD = apply(graphdef, params, batch.tokens, batch.segment_ids, batch.positions)
        head_VD = output_head(params)
        return token_logprobs(
            hidden_BTD, head_VD, batch.tokens, block=vocab_block, mask_BT=batch.loss_mask
        )[0]

    return logprobs_fn


def make_next_token_loss(logprobs_fn: LogprobsFn) -> LossFn:
    """Return the loss: mean over targets of -log p(token | tokens before it in its segment).

    `logprobs_fn(params, batch)` gives the natural logarithm of the probability of every target.
    """

    def next_token_loss(params: PyTree, batch: Batch, totals: Totals) -> tuple[Array, Metrics]:
        logprobs_BT = logprobs_fn(params, batch)
        share = -(logprobs_BT * batch.loss_mask).sum() / jnp.maximum(totals["targets"], 1.0)
        return share, {}

    return next_token_loss
