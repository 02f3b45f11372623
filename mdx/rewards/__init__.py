"""Judge scripts by what they really did: `score`, `passed` for R >= 0.9, and why one did not."""

from mdx.rewards.explain import describe_failure
from mdx.rewards.score import RewardWeights, passed, score

__all__ = ["RewardWeights", "describe_failure", "passed", "score"]
