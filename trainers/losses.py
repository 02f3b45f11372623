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
from mdx.model.cross_entropy import cross_entropy_sum
from mdx.model.decoder import GraphDef, apply, output_head

PyTree = Any
Totals = dict[str, Float[Array, ""]]
Metrics = dict[str, Float[Array, ""]]
LossSumFn = Callable[[PyTree, Batch], Float[Array, ""]]
LossFn = Callable[[PyTree, Batch, Totals], tuple[Float[Array, ""], Metrics]]


def count_tokens(batch: Batch) -> Totals:
    """Return the number of targets, of real tokens and of cells in `batch`, as fp32 scalars."""
    return {
        "targets": batch.loss_mask.sum(dtype=jnp.float32),
        "tokens": (batch.segment_ids > 0).sum(dtype=jnp.float32),
        "cells": jnp.float32(batch.tokens.size),
    }


def make_loss_sum(graphdef: GraphDef, *, vocab_block: int) -> LossSumFn:
    """Return (params, batch) -> the sum over the batch's targets of -log p."""

    def loss_sum(params: PyTree, batch: Batch) -> Float[Array, ""]:
        hidden_BTD = apply(graphdef, params, batch.tokens, batch.segment_ids, batch.positions)
        return cross_entropy_sum(
            hidden_BTD, output_head(params), batch.tokens, batch.loss_mask, block=vocab_block
        )

    return loss_sum


def make_next_token_loss(loss_sum: LossSumFn) -> LossFn:
    """Return the loss: mean over targets of -log p(token | tokens before it in its segment).

    `loss_sum(params, batch)` gives the sum of -log p over the targets, in nats.
    """

    def next_token_loss(params: PyTree, batch: Batch, totals: Totals) -> tuple[Array, Metrics]:
        return loss_sum(params, batch) / jnp.maximum(totals["targets"], 1.0), {}

    return next_token_loss
