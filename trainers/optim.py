"""How a gradient becomes an update: clipping, AdamW or Muon, and the learning rate's schedule.

The schedule is kept apart from the transformation: `make_train_step` multiplies the direction that
the transformation gives by `schedule(state.step)`. So a skipped step (see `trainers.step`) neither
delays the schedule nor makes the logged learning rate wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from mdx.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW or Muon with a linear warm-up and a cosine decay."""

    algorithm: str = "adamw"  # or "muon": layers' matrices by Muon, everything else by AdamW
    num_steps: int = 100
    peak_lr: float = 1e-3  # of AdamW
    muon_lr_ratio: float = 5.0  # Muon's learning rate over AdamW's
    warmup_steps: int = 10
    end_lr_fraction: float = 0.1  # of peak_lr, reached at num_steps; 1 keeps the rate constant
    weight_decay: float = 0.1  # on matrices only; multiplied by the learning rate
    clip_norm: float = 1.0  # of the global gradient; 0 does not clip
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        checks = {
            "algorithm must be adamw or muon": self.algorithm in ("adamw", "muon"),
            "muon_lr_ratio must be above 0": self.muon_lr_ratio > 0,
            "num_steps must be 1 or more": self.num_steps >= 1,
            "peak_lr must be above 0": self.peak_lr > 0,
            "warmup_steps must be 0 or more": self.warmup_steps >= 0,
            "end_lr_fraction must lie in 0 .. 1": 0 <= self.end_lr_fraction <= 1,
            "weight_decay must be 0 or more": self.weight_decay >= 0,
            "clip_norm must be 0 or more": self.clip_norm >= 0,
            "beta1 and beta2 must lie in 0 .. 1": 0 <= self.beta1 < 1 and 0 <= self.beta2 < 1,
        }
        for claim, holds in checks.items():
            if not holds:
                raise ConfigError(f"optim.{claim}")


def make_schedule(config: OptimConfig) -> optax.Schedule:
    """Return the learning rate of step s, counted from 0.

    peak (s + 1) / (W + 1) while s < W = warmup_steps, so that no step is wasted on a rate of 0;
    then a cosine from peak at s = W down to end_lr_fraction * peak at s = num_steps.
    """
    warmup = min(config.warmup_steps, config.num_steps - 1)
    rise = optax.linear_schedule(
        config.peak_lr / (warmup + 1), config.peak_lr, transition_steps=warmup
    )
    fall = optax.cosine_decay_schedule(
        config.peak_lr, config.num_steps - warmup, alpha=config.end_lr_fraction
    )
    return optax.join_schedules([rise, fall], [warmup]) if warmup else fall


def make_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Return gradient -> direction of descent at a learning rate of 1.

    Clip by the global norm, then AdamW or Muon with fp32 moments; weight decay is on matrices.
    """
    clip = _clip(config.clip_norm) if config.clip_norm else optax.identity()
    update = _muon(config) if config.algorithm == "muon" else _adamw(config)
    return optax.chain(clip, update)


def _clip(most: float) -> optax.GradientTransformation:
    """Scale gradients whose global norm is above `most` down to it.

    One factor for all: optax divides each number by the norm, and a division is too dear to repeat
    for a CPU's compiler, so that it keeps the clipped gradient in memory.
    """

    def clipped(gradient: optax.Updates, _: optax.Params | None) -> optax.Updates:
        factor = jnp.minimum(1.0, most / optax.global_norm(gradient))
        return jax.tree.map(lambda leaf: leaf * factor, gradient)

    return optax.stateless(clipped)


def _adamw(config: OptimConfig, *, nesterov: bool = False) -> optax.GradientTransformation:
    """Return AdamW at a learning rate of 1.

    Reference: Loshchilov, Hutter 2019, "Decoupled Weight Decay Regularization".
    """
    return optax.chain(
        optax.scale_by_adam(
            b1=config.beta1, b2=config.beta2, eps=config.epsilon, nesterov=nesterov
        ),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        optax.scale(-1.0),
    )


def _muon(config: OptimConfig) -> optax.GradientTransformation:
    """Orthogonalise the momentum of each layer's matrices; AdamW for embeddings and norms.

    Small models learn from about half the tokens with it (docs/log.md). Both groups use Nesterov's
    momentum, and both decay by weight_decay times the learning rate of AdamW. Reference: Jordan et
    al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    matrices = optax.chain(
        scale_by_muon(weight_dimension_numbers=_matrix_dimensions),
        optax.stateless(_scale_by_aspect),
        optax.scale(config.muon_lr_ratio),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale(-1.0),
    )
    rest = _adamw(config, nesterov=True)

    def labels(params: optax.Params) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "matrix" if _is_layers_matrix(path) else "rest", params
        )

    return optax.partition({"matrix": matrices, "rest": rest}, labels)


def _scale_by_aspect(direction: optax.Updates, _: optax.Params | None) -> optax.Updates:
    """Multiply each matrix [inputs, outputs] by sqrt(max(1, outputs / inputs))."""

    def scale(leaf: Any, axes: MuonDimensionNumbers) -> Any:
        inputs = math.prod(leaf.shape[axis] for axis in _axes(axes.reduction_axis))
        outputs = math.prod(leaf.shape[axis] for axis in _axes(axes.output_axis))
        return leaf * max(1.0, outputs / inputs) ** 0.5

    return jax.tree.map(scale, direction, _matrix_dimensions(direction))


def _axes(axis: int | Sequence[int]) -> Sequence[int]:
    return (axis,) if isinstance(axis, int) else axis


def _is_layers_matrix(path: tuple[Any, ...]) -> bool:
    name = jax.tree_util.keystr(path)
    return "layers" in name and "norm" not in name


def _matrix_dimensions(params: optax.Params) -> Any:
    """Return, for each layers' matrix, which axes it maps from and to; None for other leaves.

    Axis 0 counts layers. Projections from the hidden state are [L, D, ...], those back [L, ..., D].
    """

    def dimensions(path: tuple[Any, ...], leaf: Any) -> MuonDimensionNumbers | None:
        if not _is_layers_matrix(path):
            return None
        last = leaf.ndim - 1
        if jax.tree_util.keystr(path).endswith("['o_proj']"):
            return MuonDimensionNumbers(tuple(range(1, last)), last)
        return MuonDimensionNumbers(1, tuple(range(2, last + 1)))

    return jax.tree_util.tree_map_with_path(dimensions, params)


def decay_mask(params: optax.Params) -> optax.Params:
    """Return True where weight decay applies: everything but the scales of normalisations.

    Layers are stacked, so the rank does not tell a matrix from a vector; the name does.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "norm" not in jax.tree_util.keystr(path), params
    )
