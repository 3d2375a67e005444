"""Split-conformal quantiles against their definition, and their coverage of exchangeable errors."""

import math

import numpy as np
import pytest

from lstmfast.conformal import N_KEPT, ConformalQuantiles


@pytest.mark.parametrize("n", [1, 2, 9, 19, 20, 99, 999, N_KEPT])
@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_quantile_is_the_order_statistic_of_the_definition(n, coverage):
    residuals = np.random.default_rng(n).normal(size=(n, 1, 2))
    quantiles = ConformalQuantiles.of(residuals)
    assert quantiles.n == n
    # The smallest k with k / (n + 1) >= coverage, in whole hundredths.
    k = next(k for k in range(1, n + 3) if 100 * k >= round(100 * coverage) * (n + 1))
    if k > n:
        with pytest.raises(ValueError, match=f"need at least {math.ceil(coverage / (1 - coverage) - 1e-9)} .*are {n}:"):
            quantiles(coverage)
    else:
        assert np.array_equal(quantiles(coverage), np.sort(np.abs(residuals), axis=0)[k - 1])


def test_overlapping_steps_raise_the_rank():
    # Runs of equal errors: of step 4, with lags 1 to 3.
    residuals = np.repeat(np.random.default_rng(0).normal(size=(25, 1, 1)), 4, axis=0) * np.ones((1, 4, 1))
    sizes = np.abs(residuals[:, 0, 0])
    own = sizes - sizes.mean()
    quantiles = ConformalQuantiles.of(residuals)
    for step in range(4):
        rho = [np.sum(own[j:] * own[: 100 - j]) / np.sum(own**2) for j in range(1, step + 1)]
        t = 1 + 2 * sum(rho)
        assert quantiles.dependence[step, 0] == pytest.approx(t)
        assert quantiles(0.8)[step, 0] == np.sort(sizes)[math.ceil((100 + t) * 0.8) - 1]
    assert quantiles.dependence[3, 0] > 3
    assert (quantiles(0.99) == sizes.max()).all()  # beyond the last rank


def test_negative_and_undefined_dependence_count_as_none():
    signs = np.tile([0.0, 1.0], 10)[:, None, None] * np.ones((1, 2, 1))
    assert ConformalQuantiles.of(signs).dependence.tolist() == [[1.0], [1.0]]
    assert ConformalQuantiles.of(np.zeros((5, 9, 1))).dependence.tolist() == [[1.0]] * 9


def test_too_few_says_how_many_are_enough():
    with pytest.raises(ValueError, match=r"coverage=0\.9 need at least 9 calibration windows, but there are 8"):
        ConformalQuantiles.of(np.ones((8, 1, 1)))(0.9)
    assert ConformalQuantiles.of(np.ones((9, 1, 1)))(0.9) == [[1.0]]
    with pytest.raises(ValueError, match="there are 0"):
        ConformalQuantiles.of(np.empty((0, 2, 1)))(0.5)


def test_many_residuals_are_thinned_upwards():
    residuals = np.random.default_rng(0).permutation(np.arange(1, 100_001))[:, None, None] * -1.0
    quantiles = ConformalQuantiles.of(residuals)
    assert len(quantiles.values) == N_KEPT
    assert quantiles.n == 100_000
    for coverage in (0.001, 0.5, 0.9, 0.99, 0.9999):
        exact = math.ceil(100_001 * coverage)
        assert exact <= quantiles(coverage)[0, 0] <= exact + 101  # at most one step of the thinned ranks


def test_coverage_of_exchangeable_errors():
    # n = 19 and coverage 0.8: exactly 16 / 20 on average over calibrations (Lei et al. 2018, Theorem 2).
    rng, hits = np.random.default_rng(0), []
    for _ in range(4000):
        errors = rng.standard_t(2, size=(20, 1, 1))
        hits.append(abs(errors[0]) <= ConformalQuantiles.of(errors[1:])(0.8))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("ranks", "values", "dependence"),
    [
        (np.array([1, 2]), np.ones((2, 3, 1)), 1.0),  # another shape
        (np.array([1.0, 2.0]), np.ones((2, 1, 1)), 1.0),
        (np.array([2, 1]), np.ones((2, 1, 1)), 1.0),
        (np.array([0, 1]), np.ones((2, 1, 1)), 1.0),
        (np.array([1, 2]), np.array([[[2.0]], [[1.0]]]), 1.0),
        (np.array([1, 2]), np.array([[[-1.0]], [[1.0]]]), 1.0),
        (np.array([1, 2]), np.array([[[1.0]], [[np.nan]]]), 1.0),
        (np.array([[1], [2]]), np.ones((2, 1, 1)), 1.0),
        (np.array([1, 2**62 + 1]), np.ones((2, 1, 1)), 1.0),  # float64 rounds it up or down
        (np.array([1, 2]), np.ones((2, 1, 1)), 0.5),
        (np.array([1, 2]), np.ones((2, 1, 1)), np.nan),
    ],
)
def test_forged_quantiles(ranks, values, dependence):
    with pytest.raises(ValueError, match="quantiles"):
        ConformalQuantiles(ranks, values, np.full((1, 1), dependence)).check((1, 1))
