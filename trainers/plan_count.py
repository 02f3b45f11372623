"""What a step costs, counted by hand from its shapes: the check on the compiler, or its stand-in.

    model FLOPs   6 (every weight of a product) per token: forward 2, backward 4; 4 where the weight
                  is frozen (LoRA). Attention adds 6 L N H T per token: its causal half of 12.
    arguments     exact: state, base and batch as they are sharded
    temporaries   what the layers keep (`ComputeConfig.remat`), the weights in half precision, sums
                  over microbatches, and the larger of two: the loss (gathered head, its float32
                  gradient, a block of logits; in GRPO another of their gradient and four arrays of
                  hidden states; else fourteen, reordered, cut, in float32: docs/log.md)
                  and the backward pass (gradients, one layer's work)

Recomputation and padding are no model FLOPs. Segments are taken to be as long as a row.

Legend: L layers, T row, D hidden, N heads, G kv heads, H head_dim, F ffn, V vocabulary.
"""

from dataclasses import dataclass

import jax

from mdx.model.config import ModelConfig
from trainers.plan_step import PlannedStep
from trainers.plan_topology import Chip
from trainers.policy_loss import GrpoBatch


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device."""

    arguments: int
    temporaries: int

    @property
    def total(self) -> int:
        """Bytes that must fit: the results are written over the arguments (donation)."""
        return self.arguments + self.temporaries


def matmul_parameters(model: ModelConfig) -> int:
    """Return the weights that a token is multiplied by: layers and head, not the embedding."""
    norms = 2 * model.head_dim + 2 * model.hidden_size
    layers = model.num_hidden_layers
    table = model.vocab_size * model.hidden_size
    embeddings = table if model.tie_word_embeddings else 2 * table
    return model.num_parameters - embeddings - layers * norms - model.hidden_size + table


def model_flops(step: PlannedStep) -> float:
    """Return the FLOPs of one step, all devices together."""
    model, tokens = step.model, step.rows * step.seq_len
    per_token = 6.0 * matmul_parameters(model)
    if step.base is not None:
        adapters = sum(leaf.size for leaf in jax.tree.leaves(step.state.params))
        per_token = 4.0 * matmul_parameters(model) + 6.0 * adapters
    width = model.num_attention_heads * model.head_dim
    attention = 6.0 * model.num_hidden_layers * width * step.seq_len
    return tokens * (per_token + attention)


def estimate_memory(step: PlannedStep) -> Memory:
    """Return what a device holds, without asking a compiler."""
    model, compute, mesh = step.model, step.compute, step.mesh
    tokens = -(-step.rows // step.row_parts) // step.num_microbatches * step.seq_len
    tensor = mesh.shape["tensor"]
    width = 2 if compute.dtype == "bfloat16" else 4
    trained = sum(_bytes(leaf) for leaf in jax.tree.leaves(step.state.params))
    summed = trained if step.num_microbatches > 1 else 0
    kept = model.num_hidden_layers * tokens * width * _kept(model, compute.remat, tensor)
    halves = trained * width // 4 if step.base is None and width < 4 else 0
    table = model.vocab_size * model.hidden_size // tensor
    head = table * (width + (4 if step.base is None else 0))
    blocks, hidden = (2, 4) if isinstance(step.batch, GrpoBatch) else (1, 14)
    logits = blocks * 4 * min(compute.vocab_block, tokens) * model.vocab_size // tensor
    loss = head + logits + hidden * tokens * model.hidden_size * width
    layer = trained + _layer_work(model, tokens, width, tensor)
    temporaries = summed + kept + halves + max(loss, layer)
    return Memory(arguments=step.argument_bytes, temporaries=int(temporaries))


def estimate_seconds(step: PlannedStep, chip: Chip) -> float:
    """Return a step's time at 60 % of the peak, with what `remat` computes again."""
    again = {"none": 0.0, "minimal": 0.0, "most": 0.03, "attention": 0.17, "full": 1 / 3}
    flops = model_flops(step) * (1 + again[step.compute.remat])
    return flops / (0.6 * chip.peak_flops * step.mesh.size)


def _kept(model: ModelConfig, remat: str, tensor: int) -> float:
    """Return the numbers per token that a layer keeps for the backward pass."""
    D, F = model.hidden_size, model.intermediate_size / tensor
    queries = model.num_attention_heads * model.head_dim / tensor
    pairs = 2 * model.num_key_value_heads * model.head_dim / tensor
    return {
        "full": D,
        "most": D + 2 * queries + pairs + 2 * F,
        "attention": 2 * D + 2 * queries + pairs,
        "minimal": 2 * D + 2 * queries + pairs + 2 * F,
        "none": 8 * D + 4 * queries + 3 * pairs + 5 * F,
    }[remat]


def _layer_work(model: ModelConfig, tokens: int, width: int, tensor: int) -> float:
    """Return the bytes of one layer's backward pass: weights twice, their gradient, activations."""
    weights = (matmul_parameters(model) - model.vocab_size * model.hidden_size) // (
        model.num_hidden_layers * tensor
    )
    live = 4 * model.hidden_size + 4 * model.intermediate_size / tensor
    return weights * (2 * width + 4) + tokens * live * width


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    size = leaf.dtype.itemsize
    for dim in leaf.sharding.shard_shape(leaf.shape):
        size *= dim
    return size
