"""Batches are pytrees: they pass through `jax.jit` whole, field by field."""

import jax
import jax.numpy as jnp
import numpy as np

from mdx.data.batch import Batch, PolicyBatch


def test_a_batch_passes_through_jit_with_its_fields():
    ones = np.ones((2, 3), np.int32)
    batch = Batch(tokens=ones, loss_mask=ones * 2, segment_ids=ones * 3, positions=ones * 4)
    doubled = jax.jit(lambda b: jax.tree.map(lambda x: 2 * x, b))(batch)
    assert isinstance(doubled, Batch)
    values = (doubled.tokens, doubled.loss_mask, doubled.segment_ids, doubled.positions)
    assert [int(value[0, 0]) for value in values] == [2, 4, 6, 8]


def test_a_policy_batch_names_all_six_fields_as_leaves():
    fields = ("tokens", "loss_mask", "segment_ids", "positions", "advantages", "old_logprobs")
    batch = PolicyBatch(**{name: jnp.full((1, 2), i) for i, name in enumerate(fields)})
    leaves = {path[0].name: int(leaf[0, 0]) for path, leaf in jax.tree.leaves_with_path(batch)}
    assert leaves == {name: i for i, name in enumerate(fields)}
