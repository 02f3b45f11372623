"""The loss of MD-GRPO, term by term, as sums that are divided by global token counts.

    L = L_pg / N_pg + alpha L_sr / N_sr + lambda L_env / N_env + beta L_kl / N_pg

Each function here returns a *sum over tokens*; the caller divides by the number of tokens of the
whole minibatch, over all microbatches and devices. So the loss of a minibatch is one mean over its
tokens, never a mean of means, however it is cut into microbatches.

The log-probabilities of both sides are taken at the sampling temperature: the policy that wrote
the tokens is the tempered one, and the ratio would not be 1 at theta = theta_old otherwise.

Not covered: GSPO's sequence ratio and CISPO.

Legend: B rows, T tokens of a row. Value [b, t] is about token [b, t] (`mdx.data.batch`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from mdx.data.batch import Array as AnyArray
from mdx.data.batch import Batch, PolicyBatch
from mdx.errors import ConfigError
from trainers.losses import LossFn, Metrics, Totals

PyTree = Any
# (params, batch) -> log p of every token and entropy before it, at the sampling temperature
LogprobsAndEntropyFn = Callable[[PyTree, Batch], tuple[Array, Array]]


@dataclass(frozen=True, kw_only=True)
class PolicyLossConfig:
    """Weights and clips of the loss. A coefficient of 0 leaves its term out altogether."""

    clip_low: float = 0.2  # the ratio earns nothing below 1 - clip_low ...
    clip_high: float = 0.28  # ... nor above 1 + clip_high (DAPO's "clip higher")
    kl_coef: float = 0.0  # beta; above 0 a reference policy is kept
    replay_coef: float = 0.05  # alpha of success replay
    error_coef: float = 0.0  # lambda: predict the error line inside repair prompts

    def __post_init__(self) -> None:
        if not 0 < self.clip_low <= 1 or self.clip_high <= 0:
            raise ConfigError("loss.clip_low must lie in 0 .. 1 and loss.clip_high above 0")
        if min(self.kl_coef, self.replay_coef, self.error_coef) < 0:
            raise ConfigError("loss.kl_coef, replay_coef and error_coef must be 0 or more")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class GrpoBatch(PolicyBatch):
    """Rows of one update: sampled trajectories and, with a loss mask of 0, replayed successes.

    Where `branches` are given, a segment is a prompt (branch 0) and all completions of it, each a
    branch: its tokens see the prompt and the branch, and `positions` go on from the prompt's.
    """

    reference_logprobs: Float[AnyArray, "B T"]  # float32; zeros where kl_coef is 0
    replay_weights: Float[AnyArray, "B T"]  # float32; above 0 on the scripts of replayed successes
    error_mask: Float[AnyArray, "B T"]  # float32; 1 on the error line of a repair prompt
    branches: Int[AnyArray, "B T"] | None = None  # int32; None: a segment for each completion


def count_grpo_tokens(batch: GrpoBatch) -> Totals:
    """Return the sums over the whole minibatch that the terms of the loss are divided by."""
    return {
        "targets": batch.loss_mask.sum(dtype=jnp.float32),
        "replay_targets": (batch.replay_weights > 0).sum(dtype=jnp.float32),
        "error_targets": batch.error_mask.sum(dtype=jnp.float32),
        "tokens": (batch.segment_ids > 0).sum(dtype=jnp.float32),
    }


def make_policy_loss(logprobs_fn: LogprobsAndEntropyFn, config: PolicyLossConfig) -> LossFn:
    """Return the loss for `trainers.step.make_train_step` (with `count_fn=count_grpo_tokens`)."""

    def policy_loss(params: PyTree, batch: Batch, totals: Totals) -> tuple[Array, Metrics]:
        assert isinstance(batch, GrpoBatch)
        logprobs_BT, entropy_BT = logprobs_fn(params, batch)
        return _share(logprobs_BT, entropy_BT, batch, totals, config)

    return policy_loss


def _share(
    logprobs_BT: Array,
    entropy_BT: Array,
    batch: GrpoBatch,
    totals: Totals,
    config: PolicyLossConfig,
) -> tuple[Array, Metrics]:
    """Return this microbatch's part of the loss and of the metrics; parts add up."""
    num_targets = jnp.maximum(totals["targets"], 1.0)
    policy_sum, sums = policy_gradient_sum(
        logprobs_BT,
        batch.old_logprobs,
        batch.advantages,
        batch.loss_mask,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
    )
    loss = policy_sum / num_targets
    sums["entropy"] = jnp.sum(lax.stop_gradient(entropy_BT) * batch.loss_mask)
    sums["policy_loss"] = policy_sum
    if config.kl_coef:
        kl_sum = kl_k3_sum(logprobs_BT, batch.reference_logprobs, batch.loss_mask)
        loss += config.kl_coef * kl_sum / num_targets
        sums["kl"] = kl_sum
    metrics = {
        name: value if name.endswith("_max") else value / num_targets
        for name, value in sums.items()
    }
    if config.replay_coef:
        replay = weighted_nll_sum(logprobs_BT, batch.replay_weights)
        replay /= jnp.maximum(totals["replay_targets"], 1.0)
        loss += config.replay_coef * replay
        metrics["replay_loss"] = replay
    if config.error_coef:
        error = weighted_nll_sum(logprobs_BT, batch.error_mask)
        error /= jnp.maximum(totals["error_targets"], 1.0)
        loss += config.error_coef * error
        metrics["error_loss"] = error
    return loss, lax.stop_gradient(metrics)


def policy_gradient_sum(
    logprobs_BT: Float[Array, "B T"],
    old_logprobs_BT: Float[Array, "B T"],
    advantages_BT: Float[Array, "B T"],
    mask_BT: Float[Array, "B T"],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Return the clipped policy-gradient loss summed over tokens, and what to watch in it.

        sum_t m_t max(-r_t A_t, -clip(r_t, 1 - clip_low, 1 + clip_high) A_t)
        r_t = exp(logp_t - old_logp_t)

    The mask m says how often a token counts; where it is 0, values, even NaN, change neither
    loss nor gradient.
    The metrics are sums over tokens, except those named `*_max`, which are maxima.

    Reference: Schulman et al. 2017 (PPO), equation 7; Yu et al. 2025 (DAPO), equation 8.
    """
    sampled_BT = mask_BT > 0
    log_ratio_BT = jnp.where(sampled_BT, logprobs_BT - old_logprobs_BT, 0.0)
    advantages_BT = jnp.where(sampled_BT, advantages_BT, 0.0)
    ratio_BT = jnp.exp(log_ratio_BT)
    free_BT = -ratio_BT * advantages_BT
    clipped_BT = -jnp.clip(ratio_BT, 1.0 - clip_low, 1.0 + clip_high) * advantages_BT
    loss_BT = jnp.maximum(free_BT, clipped_BT)
    gap_BT = lax.stop_gradient(jnp.abs(log_ratio_BT))
    metrics = {
        "clip_fraction": jnp.sum((clipped_BT > free_BT) * mask_BT, dtype=jnp.float32),
        "ratio": jnp.sum(lax.stop_gradient(ratio_BT) * mask_BT),
        "ratio_max": jnp.max(jnp.where(sampled_BT, lax.stop_gradient(ratio_BT), 0.0)),
        "logprob_gap": jnp.sum(gap_BT * mask_BT),
        "logprob_gap_max": jnp.max(gap_BT),
    }
    return jnp.sum(loss_BT * mask_BT), metrics


def kl_k3_sum(
    logprobs_BT: Float[Array, "B T"],
    reference_logprobs_BT: Float[Array, "B T"],
    mask_BT: Float[Array, "B T"],
) -> Float[Array, ""]:
    """Return the k3 estimate of KL(policy || reference), summed over tokens as often as they count.

        k3 = exp(ref - logp) - (ref - logp) - 1        never negative, low variance

    Reference: Schulman 2020, "Approximating KL divergence" (joschu.net).
    """
    gap_BT = jnp.where(mask_BT > 0, reference_logprobs_BT - logprobs_BT, 0.0)
    return jnp.sum((jnp.expm1(gap_BT) - gap_BT) * mask_BT)


def weighted_nll_sum(
    logprobs_BT: Float[Array, "B T"], weights_BT: Float[Array, "B T"]
) -> Float[Array, ""]:
    """Return the weighted negative log-likelihood, summed over tokens; weight 0 leaves one out.

    The loss of success replay (loss mask times the weight of the success) and of the error line.
    It is off-policy on purpose: it imitates what is verified and claims nothing about a ratio.
    """
    kept_BT = jnp.where(weights_BT > 0, logprobs_BT, 0.0)
    return -jnp.sum(weights_BT * kept_BT)
