"""Series against loops that follow the definitions: differences and back, moments that know nothing early, windows."""

import numpy as np
import pytest

from lstmfast.series import Origins, Preparation, Series, difference, hold_out, undo_difference

RNG = np.random.default_rng(0)
LAGS = [(), (1,), (3,), (1, 1), (1, 4), (4, 1), (2, 3, 1)]


def differenced(levels, lags):
    for lag in lags:
        levels = levels[lag:] - levels[:-lag]
    return levels


@pytest.mark.parametrize("lags", LAGS)
def test_differences_follow_the_definition_and_are_undone(lags):
    levels = RNG.normal(size=(30, 2)).cumsum(axis=0)
    changes = difference(levels, lags)
    np.testing.assert_allclose(changes, differenced(levels, lags), atol=1e-13)
    n_lost = sum(lags)
    for origin in (n_lost, 20, 29):
        before, after = levels[None, origin - n_lost : origin], changes[None, origin - n_lost :]
        np.testing.assert_allclose(undo_difference(after, before, lags)[0], levels[origin:], atol=1e-12)


def test_differences_of_one_step_lost_to_all():
    assert difference(np.ones((3, 1)), (1, 2)).shape == (0, 1)


def prepared(window=4, horizon=3, direct=True, lags=(), log=False, scale=True):
    return Preparation(window, horizon, direct, lags, log, scale)


def slow_moments(changes, origin, window, lags):
    """By the definition: from the windows that have ended at the origin."""
    windows = [changes[end - window : end] for end in range(window, origin + 1)]
    if lags or window == 1:
        values = np.concatenate(windows)
        return values.mean(axis=0), values.std(axis=0)
    return windows[-1].mean(axis=0), np.sqrt(np.mean([part.var(axis=0) for part in windows], axis=0))


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("lags", [(), (1,), (1, 4)])
def test_moments_are_those_of_the_windows_so_far(lags, window):
    levels = 50 + RNG.normal(size=(25, 2)).cumsum(axis=0)
    series = Series(levels, np.empty((25, 0)), lags, window)
    for origin in range(window, len(series.changes) + 1):
        found = series.moments(np.array([origin]))
        for own, expected in zip(found, slow_moments(differenced(levels, lags), origin, window, lags), strict=True):
            np.testing.assert_allclose(own[0], expected, atol=1e-12)


@pytest.mark.parametrize("lags", [(), (1,), (1, 4)])
def test_nothing_is_known_early(lags):
    levels = RNG.normal(size=(25, 1))
    changed = levels.copy()
    changed[15:] += 1000
    preparation, at = prepared(lags=lags), np.arange(4, 15 - sum(lags) + 1)
    parts = [preparation.origins(preparation.series(each, np.empty((28, 0))), at, 3) for each in (levels, changed)]
    for name in ("windows", "mean", "scale", "levels"):
        assert getattr(parts[0], name).tobytes() == getattr(parts[1], name).tobytes()


@pytest.mark.parametrize("lags", [(), (2,), (1, 4)])
def test_a_tail_goes_on_with_the_same_bits(lags):
    levels, covariates = RNG.normal(size=(40, 2)), RNG.normal(size=(46, 3))
    preparation = prepared(lags=lags)
    whole = preparation.series(levels, covariates)
    tail = preparation.series(levels[:20], covariates[:20]).tail().followed_by(levels[20:30], covariates[20:30])
    again = preparation.series(tail.tail().levels, tail.tail().covariates, tail.tail().before)  # as out of a file
    again = again.followed_by(levels[30:], covariates[30:])
    ends = [preparation.origins(each, [len(each.changes)], 6) for each in (whole, again)]
    for name in ("windows", "covariates", "mean", "scale", "levels"):
        assert getattr(ends[0], name).tobytes() == getattr(ends[1], name).tobytes()


@pytest.mark.parametrize("direct", [True, False])
def test_inputs_pair_each_step_with_the_covariates_to_come(direct):
    # Numbers that tell where they come from: level t is t, covariates of step t are 100 t and 100 t + 1.
    steps = np.arange(20.0)
    covariates = np.stack([100 * steps, 100 * steps + 1], axis=1)
    preparation = prepared(lags=(2,), direct=direct, scale=False)
    series = preparation.series(steps[:, None] ** 2, covariates)
    inputs, targets = preparation.examples(series, np.array([4, 10]), np.array([4]))
    width = 3 if direct else 1
    for row, origin in enumerate([4, 10]):
        for k in range(4):
            t = origin + 2 - 4 + k  # the step of the series
            ahead = [covariates[t + 1 + j, f] for f in range(2) for j in range(width)]
            assert inputs[row, k].tolist() == [t**2 - (t - 2) ** 2, *ahead]
        after = [t**2 - (t - 2) ** 2 for t in range(origin + 2, origin + 2 + width)]
        assert targets[row, :, 0].tolist() == after


@pytest.mark.parametrize("lags", [(), (1,)])
def test_examples_are_standardised_by_all_that_training_knows(lags):
    preparation, levels = prepared(lags=lags), RNG.normal(size=(30, 1)).cumsum(axis=0)
    changes, training = differenced(levels, lags), np.arange(4, 20)
    series = preparation.series(levels, np.empty((30, 0)))
    _, scale = slow_moments(changes, 22, 4, lags)  # the last target is that before step 22
    inputs, targets = preparation.examples(series, np.array([4, 19]), training)
    for row, origin in enumerate((4, 19)):
        mean = slow_moments(changes, 22 if lags else origin, 4, lags)[0]
        np.testing.assert_allclose(inputs[row], (changes[origin - 4 : origin] - mean) / scale, atol=1e-12)
        np.testing.assert_allclose(targets[row], (changes[origin : origin + 3] - mean) / scale, atol=1e-12)


@pytest.mark.parametrize("lags", [(), (1,), (1, 3)])
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("log", [True, False])
def test_a_network_that_knows_the_future_forecasts_it(direct, lags, log):
    """Forecasting is the inverse of making targets: fed with the true targets it gives the true values."""
    values = np.exp(RNG.normal(size=(30, 2)).cumsum(axis=0) / 5)
    preparation = prepared(lags=lags, direct=direct, log=log)
    series = preparation.series(preparation.levels(values, "y"), np.arange(30.0)[:, None])
    at = np.array([4, 9, 15])
    origins, truth = preparation.forecasts_due(series, at)
    targets = origins.standardise(np.stack([series.changes[origin : origin + 3] for origin in at]))
    calls = iter([targets] if direct else [targets[:, k : k + 1] for k in range(3)])
    seen = []

    def predict(inputs):
        seen.append(inputs)
        return next(calls).reshape(3, -1)

    forecast = preparation.values(preparation.forecast(origins, 3, predict))
    np.testing.assert_allclose(forecast, preparation.values(truth), rtol=1e-12)
    np.testing.assert_allclose(forecast[0], values[4 + sum(lags) : 7 + sum(lags)], rtol=1e-12)
    if not direct:  # what was forecast became input, beside the covariates of the next step
        assert np.array_equal(seen[2][:, -2:, :2], targets[:, :2])
        assert seen[2][:, -1, 2].tolist() == (at + sum(lags) + 2).tolist()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("n_changes", [7, 8, 12, 13, 40])
@pytest.mark.parametrize("fractions", [(0, 0), (0.2, 0), (0.2, 0.1), (0.9, 0.9), (0, 0.5)])
def test_parts_of_a_series_share_no_targets(direct, n_changes, fractions):
    preparation = prepared(direct=direct)
    training, validation, calibration = preparation.split(n_changes, *fractions)
    assert len(training) >= 1
    assert training[0] == 4
    end = 0
    for part, width in ((training, preparation.width), (validation, preparation.width), (calibration, 3)):
        if len(part):
            assert part[0] >= end  # the first target comes after the last one of the part before
            assert np.array_equal(part, np.arange(part[0], part[-1] + 1))
            end = part[-1] + width
    assert end == n_changes  # nothing is left over at the end
    assert bool(len(calibration)) == (fractions[0] > 0 and n_changes - 6 - (2 if direct else 0) > 1)


def test_hold_out():
    known, held_out = hold_out(np.arange(20), 0.25, 4)
    assert known.tolist() == list(range(12))
    assert held_out.tolist() == [16, 17, 18, 19]
    assert [len(part) for part in hold_out(np.arange(5), 0.5, 4)] == [5, 0]


def test_log_needs_positive_values():
    with pytest.raises(ValueError, match=r"log=True needs positive values, but y\[2\] has 0\.0"):
        prepared(log=True).levels(np.array([[1.0], [0.0]]), "y[2]")


def test_origins_join_in_order():
    preparation = prepared()
    series = [preparation.series(RNG.normal(size=(9, 1)), np.empty((9, 0))) for _ in range(2)]
    parts = [preparation.origins(each, [5, 6], 3) for each in series]
    joined = Origins.join(parts)
    assert np.array_equal(joined.windows[2:], parts[1].windows)
    assert joined.levels.shape == (4, 0, 1)
