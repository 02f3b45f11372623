"""Judge scripts by what they really did: `score`, and `passed` for R >= 0.9."""

from mdx.rewards.score import RewardWeights, passed, score

__all__ = ["RewardWeights", "passed", "score"]
