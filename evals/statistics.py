"""Estimates and their uncertainty: success@k without bias, bootstrap intervals over tasks.

Everything here is NumPy on small arrays and deterministic in `seed`. The unit that is resampled
is the task, never the sample: samples of one task are not independent. Nothing here knows what a
success is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.float64]

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 1_000  # bounds the memory of one block to 16 kB x number of tasks


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over tasks with its percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def success_at_k(num_samples: int, num_successes: int, k: int) -> float:
    """Return the unbiased estimate 1 - C(n-c, k) / C(n, k) that one of k samples succeeds.

    Raises ValueError unless n >= k >= 1 and 0 <= c <= n: fewer than k samples give no unbiased
    estimate. Reference: Chen et al. 2021 (arXiv 2107.03374), equation 1.
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"success@{k} needs at least {max(k, 1)} samples, not {num_samples}")
    if not 0 <= num_successes <= num_samples:
        raise ValueError(f"{num_successes} successes in {num_samples} samples is impossible")
    if num_samples - num_successes < k:
        return 1.0
    remaining = np.arange(num_samples - num_successes + 1, num_samples + 1, dtype=np.float64)
    return float(1.0 - np.prod(1.0 - k / remaining))


def bootstrap(values: Values, *, seed: int = 0, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of `values` (one a task) and its percentile bootstrap interval.

    Raises ValueError for no values. One value gives an interval of no width.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError("a bootstrap needs one value for each of at least one task")
    rng = np.random.default_rng(seed)
    means = [
        sample[rng.integers(sample.size, size=(_RESAMPLES_AT_ONCE, sample.size))].mean(axis=1)
        for _ in range(NUM_RESAMPLES // _RESAMPLES_AT_ONCE)
    ]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(means), [tail, 100.0 - tail])
    return Estimate(mean=float(sample.mean()), low=float(low), high=float(high))


def paired_difference(first: Values, second: Values, *, seed: int = 0) -> Estimate:
    """Return the mean of `second` - `first` over the same tasks in the same order.

    Pairing removes the spread between easy and hard tasks, so that the interval is that of the
    change alone. Raises ValueError where the lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"pairs are needed, but {len(first)} and {len(second)} values came")
    return bootstrap(np.asarray(second, float) - np.asarray(first, float), seed=seed)
