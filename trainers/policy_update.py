"""One policy update: groups that teach -> packed minibatches -> train steps.

Groups of zero variance were not worth a gradient and are left out here, so they cost nothing.
The sampler's own log-probabilities are the old ones: no forward pass is made to recompute them.
The shapes of all minibatches are equal, whatever the step brought.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from mdx.data.batch import Batch
from mdx.errors import ConfigError
from mdx.model.decoder import GraphDef, apply, output_head
from mdx.model.logprobs import token_logprobs
from mdx.model.sharding import fetch
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.packing import RowShape, Segment, pack
from trainers.policy_loss import (
    GrpoBatch,
    LogprobsAndEntropyFn,
    PolicyLossConfig,
    count_grpo_tokens,
    make_policy_loss,
)
from trainers.rollouts import Rollout
from trainers.state import TrainState
from trainers.step import TrainStep, make_train_step

PyTree = Any
Place = Callable[[GrpoBatch], GrpoBatch]


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """What is minimised, and how the trajectories of a step are cut into updates and rows."""

    num_epochs: int = 1
    num_minibatches: int = 1  # an optimizer step each; groups stay whole
    seq_len: int = 384  # of a packed row; the longest prompt with its completion must fit
    microbatch_rows: int = 4
    loss: PolicyLossConfig = field(default_factory=PolicyLossConfig)

    def __post_init__(self) -> None:
        if min(self.num_epochs, self.num_minibatches, self.seq_len, self.microbatch_rows) < 1:
            raise ConfigError(
                "update.num_epochs, num_minibatches, seq_len and microbatch_rows must be 1 or more"
            )

    @property
    def updates_per_step(self) -> int:
        """Optimizer steps that one step of GRPO counts as, empty ones included."""
        return self.num_epochs * self.num_minibatches

    def in_updates(self, optim: OptimConfig) -> OptimConfig:
        """Return `optim` with its lengths in optimizer steps; a user gives them in GRPO steps."""
        return replace(
            optim,
            num_steps=optim.num_steps * self.updates_per_step,
            warmup_steps=optim.warmup_steps * self.updates_per_step,
        )


@dataclass(frozen=True, kw_only=True)
class PolicyUpdater:
    """The parts that every update of a run shares."""

    config: UpdateConfig
    shape: RowShape
    train_step: TrainStep
    place: Place  # onto the devices
    add_reference: Place  # fills in reference_logprobs where the loss looks at them
    pad_id: int

    def update(
        self,
        state: TrainState,
        rollouts: Sequence[Rollout],
        replayed: Sequence[Segment],
        rng: np.random.Generator,
    ) -> tuple[TrainState, dict[str, float]]:
        """Return the state after all epochs over `rollouts`, and the metrics of the update.

        `replayed` successes join the first minibatch only: once a version. `state` is donated. A
        minibatch without anything to learn leaves all but the step count as it was.
        """
        history = []
        for epoch in range(self.config.num_epochs):
            for number, minibatch in enumerate(self._minibatches(rollouts, rng)):
                segments = [s for rollout in minibatch for s in policy_segments(rollout)]
                if epoch == number == 0:
                    segments += replayed
                if not segments:
                    state = replace(state, step=state.step + 1)
                    continue
                batch, fill = pack(segments, self.shape, pad_id=self.pad_id)
                state, metrics = self.train_step(state, self.place(self.add_reference(batch)))
                history.append({**jax.device_get(metrics), "row_fill": fill})
        return state, _summary(history)

    def _minibatches(
        self, rollouts: Sequence[Rollout], rng: np.random.Generator
    ) -> list[list[Rollout]]:
        teaching = [rollout for rollout in rollouts if rollout.teaches]
        count = self.config.num_minibatches
        if count > 1:
            teaching = [teaching[i] for i in rng.permutation(len(teaching))]
        return [teaching[number::count] for number in range(count)]


def policy_segments(rollout: Rollout) -> list[Segment]:
    """Return the scored trajectories of a group with their leave-one-out advantages.

    Equal completions of equal advantage are computed once and counted as often as they were
    sampled: the same loss for fewer tokens (a sharp policy repeats itself). The error line of a
    repair prompt counts once a group, in its first trajectory.
    """
    sampled = list(zip(rollout.group.scored, rollout.group.advantages(), strict=True))
    counts = Counter((t.completion.tokens, advantage) for t, advantage in sampled)
    first = {(t.completion.tokens, advantage): t for t, advantage in reversed(sampled)}
    return [
        Segment(
            prompt=first[key].prompt_tokens,
            completion=first[key].completion.tokens,
            old_logprobs=first[key].completion.logprobs,
            advantage=key[1],
            count=count,
            error_span=rollout.prompt.error_span if number == 0 else (0, 0),
        )
        for number, (key, count) in enumerate(counts.items())
    ]


def make_logprobs(
    graphdef: GraphDef, *, temperature: float, vocab_block: int
) -> LogprobsAndEntropyFn:
    """Return (params, batch) -> log-probabilities and entropies of the tokens that count.

    Both are of the tempered policy, which is the one that the sampler drew from.
    """

    def logprobs(params: PyTree, batch: Batch) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
        assert isinstance(batch, GrpoBatch)
        hidden_BTD = apply(
            graphdef, params, batch.tokens, batch.segment_ids, batch.positions, batch.branches
        )
        return token_logprobs(
            hidden_BTD,
            output_head(params),
            batch.tokens,
            temperature=temperature,
            block=vocab_block,
            mask_BT=batch.loss_mask + batch.replay_weights + batch.error_mask,
            branches_BT=batch.branches,
        )

    return logprobs


def policy_parts(
    config: UpdateConfig, optim: OptimConfig, logprobs_fn: LogprobsAndEntropyFn, shape: RowShape
) -> dict[str, Any]:
    """Return what an update is made of, as arguments of `trainers.step.make_train_step`."""
    return {
        "loss_fn": make_policy_loss(logprobs_fn, config.loss),
        "optimizer": make_optimizer(optim),
        "schedule": make_schedule(config.in_updates(optim)),
        "num_microbatches": shape.num_microbatches,
        "count_fn": count_grpo_tokens,
    }


def make_updater(
    config: UpdateConfig,
    optim: OptimConfig,
    logprobs_fn: LogprobsAndEntropyFn,
    *,
    shape: RowShape,
    add_reference: Place,
    place: Place,
    pad_id: int,
    base: PyTree | None = None,
) -> PolicyUpdater:
    """Return the updater of a run; `base` are the frozen weights, if it is one of LoRA."""
    train_step = make_train_step(**policy_parts(config, optim, logprobs_fn, shape), base=base)
    return PolicyUpdater(
        config=config,
        shape=shape,
        train_step=train_step,
        place=place,
        add_reference=add_reference,
        pad_id=pad_id,
    )


def make_reference(
    reference: PyTree | None,
    logprobs_fn: LogprobsAndEntropyFn,
    shape: RowShape,
    place: Place,
) -> Place:
    """Return what fills in the log-probabilities of the `reference` parameters, if there are any.

    The reference is the policy that KL is measured from, and `logprobs_fn` that of its structure.
    One microbatch is computed at a time, and those without tokens not at all.
    """
    if reference is None:
        return lambda batch: batch

    @jax.jit
    def score(params: PyTree, batch: GrpoBatch) -> Array:
        return logprobs_fn(params, batch)[0]

    def add_reference(batch: GrpoBatch) -> GrpoBatch:
        logprobs_BT = np.zeros_like(batch.reference_logprobs)
        for first in range(shape.num_microbatches):
            rows = slice(first, None, shape.num_microbatches)
            part = jax.tree.map(lambda x, rows=rows: x[rows], batch)
            if part.segment_ids.any():
                logprobs_BT[rows] = fetch(score(reference, place(part)))
        return replace(batch, reference_logprobs=logprobs_BT)

    return add_reference


def _summary(history: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return means over the updates of a step; maxima of `*_max`; the first log-prob gap.

    Before the first update the two sides share their parameters, so its gap is that between the
    arithmetic of the sampler and the trainer; later ones would hold the policy's own change.
    """
    if not history:
        return {}
    merged = {}
    for name in history[0]:
        values = [float(metrics[name]) for metrics in history]
        if name.startswith("logprob_gap"):
            merged[name] = values[0]
        elif name.endswith("_max"):
            merged[name] = max(values)
        else:
            merged[name] = sum(values) / len(values)
    return merged
