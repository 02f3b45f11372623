"""How a gradient becomes an update: clipping, AdamW and the learning rate's schedule.

The schedule is kept apart from the transformation: `make_train_step` multiplies the direction that
the transformation gives by `schedule(state.step)`. So a skipped step (see `trainers.step`) neither
delays the schedule nor makes the logged learning rate wrong.
"""

from dataclasses import dataclass

import jax
import optax

from mdx.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW with a linear warm-up and a cosine decay."""

    num_steps: int = 100
    peak_lr: float = 1e-3
    warmup_steps: int = 10
    end_lr_fraction: float = 0.1  # of peak_lr, reached at num_steps; 1 keeps the rate constant
    weight_decay: float = 0.1  # on matrices only; multiplied by the learning rate
    clip_norm: float = 1.0  # of the global gradient; 0 does not clip
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        checks = {
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
    """Return gradient -> direction of descent at unit learning rate.

    Clip by the global norm, Adam with fp32 moments, then weight decay on leaves named as matrices.
    Reference: Loshchilov, Hutter 2019, "Decoupled Weight Decay Regularization".
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(
        clip,
        optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        optax.scale(-1.0),
    )


def decay_mask(params: optax.Params) -> optax.Params:
    """Return True where weight decay applies: everything but the scales of normalisations.

    Layers are stacked, so the rank does not tell a matrix from a vector; the name does.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "norm" not in jax.tree_util.keystr(path), params
    )
