"""The estimators against enumeration, closed forms and scipy."""

import itertools

import numpy as np
import pytest
import scipy.stats

from evals.statistics import bootstrap, paired_difference, success_at_k


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (7, 1, 4), (6, 6, 2), (4, 0, 4)])
def test_success_at_k_is_the_share_of_subsets_that_hold_a_success(n: int, c: int, k: int) -> None:
    outcomes = [True] * c + [False] * (n - c)
    subsets = list(itertools.combinations(outcomes, k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)

    assert success_at_k(n, c, k) == pytest.approx(expected, abs=1e-14)


def test_success_at_k_is_unbiased_where_the_plug_in_estimate_is_not() -> None:
    p, n, k = 0.3, 5, 3
    weights = scipy.stats.binom.pmf(np.arange(n + 1), n, p)
    expectation = sum(w * success_at_k(n, c, k) for c, w in enumerate(weights))
    plug_in = sum(w * (1 - (1 - c / n) ** k) for c, w in enumerate(weights))

    assert expectation == pytest.approx(1 - (1 - p) ** k, abs=1e-12)
    assert abs(plug_in - (1 - (1 - p) ** k)) > 0.01


@pytest.mark.parametrize(("n", "c", "k"), [(2, 1, 3), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=r"samples|impossible"):
        success_at_k(n, c, k)


def test_bootstrap_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).beta(0.5, 0.5, size=120)
    ours = bootstrap(values, seed=1)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval

    assert ours.mean == pytest.approx(values.mean(), abs=1e-14)
    # Two Monte Carlo estimates of the same quantile: their spread is about 2 % of the half width.
    half_width = (theirs.high - theirs.low) / 2
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * half_width)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * half_width)


def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        estimate = bootstrap(rng.binomial(1, 0.4, size=100), seed=seed)
        covered += estimate.low <= 0.4 <= estimate.high

    # 95 of 100 are expected; a binomial with that mean lies in this range with 99 %.
    assert 88 <= covered < 100


def test_bootstrap_repeats_with_its_seed() -> None:
    values = np.linspace(0, 1, 17) ** 2

    assert bootstrap(values, seed=5) == bootstrap(values, seed=5)
    assert bootstrap(values, seed=5) != bootstrap(values, seed=6)


def test_equal_values_leave_no_uncertainty() -> None:
    estimate = bootstrap([0.25] * 8)

    assert (estimate.low, estimate.mean, estimate.high) == pytest.approx((0.25, 0.25, 0.25))


def test_pairing_finds_a_small_gain_that_the_spread_between_tasks_hides() -> None:
    rng = np.random.default_rng(7)
    first = rng.uniform(0, 1, size=100)
    second = first + 0.02 + rng.normal(0, 0.02, size=100)

    paired = paired_difference(first, second)
    assert 0 < paired.low < 0.02 < paired.high < 0.04
    assert bootstrap(first).high > bootstrap(second).low  # unpaired intervals overlap


def test_unequal_numbers_of_tasks_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])
