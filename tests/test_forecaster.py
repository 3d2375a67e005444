"""LSTMForecaster: forecasts in the form of the series, many series, covariates, intervals, scikit-learn's tools, going
on with training. What it must refuse, and files: test_forecaster_faults.py; the arithmetic: test_series.py.
"""

import copy
import inspect
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score

from lstmfast import LSTMForecaster
from lstmfast.conformal import ConformalQuantiles

RNG = np.random.default_rng(0)
STRATEGIES = ["direct", "recursive"]


def season(n, start=0, level=20.0, size=5.0, noise=0.0, seed=0):
    """n months of a yearly cycle."""
    months = np.arange(start, start + n)
    return level + size * np.sin(months * np.pi / 6) + np.random.default_rng(seed).normal(scale=noise, size=n)


def small(**parameters):
    defaults = {"horizon": 3, "window": 12, "hidden_layer_sizes": 4, "max_iter": 2, "random_state": 0, "n_jobs": 1}
    return LSTMForecaster(**defaults | parameters)


def same(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


# ---- learning -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_learns_a_season(strategy):
    forecaster = small(
        horizon=12, strategy=strategy, hidden_layer_sizes=16, max_iter=60, learning_rate_init=0.01, log=True
    ).fit(season(240, noise=0.1))
    assert np.abs(forecaster.predict() - season(12, start=240)).max() < 0.6
    assert forecaster.score(season(24, start=240)) > 0.99


def test_differences_continue_a_trend():
    # A line changes by the same each step: standardised changes are 0, and it goes on so whatever the weights are.
    line = 3.0 + 0.5 * np.arange(60)
    assert small(differences=1).fit(line).predict() == pytest.approx(line[-1] + 0.5 * np.arange(1, 4))


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, -1e9, 1e-12])
@pytest.mark.parametrize("window", [1, 12])
def test_constant_series_stay_constant(value, window):
    forecaster = small(window=window).fit(np.full(40, value))
    assert same(forecaster.predict(), np.full(3, value))
    assert same(forecaster.predict_interval(coverage=0.5), np.full((2, 3), value))
    assert same(small(window=window).fit(season(60)).predict(np.full(12, value)), np.full(3, value))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_covariates_of_the_future_count(strategy):
    # y follows from the covariate of its own step, which only the future rows tell.
    X = RNG.normal(size=(600, 2))
    y = 7 + 2 * X[:, 0]
    forecaster = small(
        strategy=strategy, window=3, hidden_layer_sizes=16, max_iter=60, learning_rate_init=0.02, differences=1
    ).fit(y[:580], X[:580])
    assert forecaster.predict(X=X[580:583]) == pytest.approx(y[580:583], abs=0.9)
    assert same(forecaster.predict(X=X[580:583]), forecaster.predict(y[:580], X[:583]))
    assert forecaster.score(y[580:], X[580:]) > 0.95
    assert forecaster.n_features_in_ == 2


def test_parameters_of_all_estimators_and_their_order():
    forecaster = LSTMForecaster(7, 5, "recursive", cell="gru", loss="huber", warm_start=True)
    names = list(inspect.signature(LSTMForecaster).parameters)
    assert names[:4] == ["horizon", "window", "strategy", "hidden_layer_sizes"]
    assert set(names) == set(forecaster.get_params())
    assert {"embedding_dim", "embedding_weights"}.isdisjoint(names)
    assert (forecaster.horizon, forecaster.window, forecaster.cell) == (7, 5, "gru")
    assert clone(forecaster).get_params() == forecaster.get_params()
    with pytest.raises(TypeError, match="no argument 'embedding_dim'"):
        LSTMForecaster(embedding_dim=3)
    with pytest.raises(TypeError, match="positional"):
        LSTMForecaster(7, 5, "direct", 64)


@pytest.mark.parametrize(
    "parameters",
    [{"cell": "gru"}, {"bidirectional": True}, {"pooling": "mean", "dense_layer_sizes": 3}, {"loss": "quantile"},
     {"dtype": "float64"}, {"hidden_layer_sizes": (3, 2), "dropout": 0.2}],
)  # fmt: skip
def test_networks_of_all_kinds(parameters):
    forecaster = small(**parameters).fit(season(60, noise=1))
    assert np.isfinite(forecaster.predict()).all()
    assert forecaster.n_outputs_ == 3
    assert forecaster.n_layers_ == len(forecaster.layers_)


# ---- the form of series ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 3)])
def test_forecasts_have_the_shape_of_the_series(shape, strategy):
    y = RNG.normal(size=shape)
    forecaster = small(strategy=strategy).fit(y)
    assert forecaster.n_variables_ == (shape[1] if len(shape) > 1 else 1)
    assert forecaster.predict().shape == (3, *shape[1:])
    assert forecaster.predict(horizon=2).shape == (2, *shape[1:])
    assert same(forecaster.predict(horizon=2), forecaster.predict()[:2])
    assert [part.shape for part in forecaster.predict_interval(coverage=0.8)] == [(3, *shape[1:])] * 2
    listed = small(strategy=strategy).fit([y]).predict()
    assert isinstance(listed, list)
    assert same(listed[0], forecaster.predict())


def test_a_series_continues_alike_in_any_company():
    rng = np.random.default_rng(1)
    series = [rng.normal(size=n).cumsum() for n in (40, 18, 25, 60)]
    forecaster = small(differences=(1, 2), n_jobs=2).fit(series)
    together, (lower, upper) = forecaster.predict(), forecaster.predict_interval()
    assert [len(each) for each in (together, lower, upper)] == [4, 4, 4]
    backwards = forecaster.set_params(n_jobs=1).predict(series[::-1])[::-1]
    for i, alone in enumerate(series):
        assert same(forecaster.predict(alone), together[i])
        assert same(backwards[i], together[i])
        assert same(forecaster.predict_interval(alone), [lower[i], upper[i]])
        assert (lower[i] < together[i]).all()
        assert upper[i] - together[i] == pytest.approx(together[i] - lower[i])


def test_units_do_not_matter():
    y = season(80, noise=1)
    forecasts = [small().fit(scale * y + shift).predict() for scale, shift in ((1, 0), (1024, 0), (1, 4096))]
    assert same(forecasts[1], 1024 * forecasts[0])
    assert forecasts[2] == pytest.approx(forecasts[0] + 4096, abs=1e-3)
    raw = small(scale=False).fit(y)
    assert not np.allclose(small(scale=False).fit(y / 10).predict(), raw.predict() / 10)


def test_units_of_covariates_do_not_matter():
    y, X = season(80, noise=1), RNG.normal(size=(83, 2))
    for scale in (True, False):
        pair = [small(scale=scale).fit(y, each[:80]).predict(X=each[80:]) for each in (X, X * [1024, 2] + 4096)]
        assert np.allclose(*pair, atol=1e-3) == scale


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2020-01-31", periods=43, freq="ME"),
        pd.date_range("2020-01-01 06:00", periods=43, freq="h", tz="Europe/Berlin"),
        pd.date_range("2020-03-27 08:00", periods=43, freq="h", tz="Europe/Berlin"),  # summer time begins
        pd.date_range("2020-10-23 09:00", periods=43, freq="h", tz="Europe/Berlin"),  # and ends: 02:00 comes twice
        pd.date_range("2020-01-06", periods=43, freq="W-MON", name="week", unit="s"),
        pd.date_range("2020-01-06", periods=43, freq="B"),
        pd.period_range("2020Q1", periods=43, freq="Q"),
        pd.RangeIndex(5, 91, 2, name="step"),
        pd.Index(np.arange(1900, 1943)),
        pd.Index(np.arange(43) / 4),
    ],
)
@pytest.mark.parametrize("known_frequency", [True, False])
def test_pandas_indexes_go_on(index, known_frequency):
    known = index[:40]
    if not known_frequency and isinstance(index, pd.DatetimeIndex):
        known = pd.DatetimeIndex(list(known), name=index.name).as_unit(index.unit)
        assert known.freq is None
    y = pd.Series(season(40), known, name="sales")
    forecaster = small(calibration_fraction=0.5).fit(y)
    for forecast in (forecaster.predict(), forecaster.predict(y), *forecaster.predict_interval(coverage=0.5)):
        assert isinstance(forecast, pd.Series)
        assert forecast.index.equals(index[40:])
        assert forecast.index.dtype == index.dtype
        assert (forecast.name, forecast.index.name) == ("sales", index.name)
    assert same(forecaster.predict(), small(calibration_fraction=0.5).fit(y.to_numpy()).predict())


def test_data_frames_keep_their_columns_and_lists_their_forms():
    table = pd.DataFrame({"a": season(40), "b": season(40, level=5)}, pd.date_range("2020", periods=40))
    forecaster = small().fit([table, table.to_numpy()])
    first, second = forecaster.predict()
    assert list(first.columns) == ["a", "b"]
    assert first.index[0] == pd.Timestamp("2020-02-10")
    assert isinstance(second, np.ndarray)
    assert same(first, second)


def test_pandas_is_not_imported_for_arrays():
    code = (
        "import sys, numpy as np\nfrom lstmfast import LSTMForecaster\nsys.modules['pandas'] = None\n"
        "LSTMForecaster(window=3, max_iter=1).fit(np.arange(20.0)).predict()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- intervals ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("options", [{}, {"differences": 1}, {"log": True, "differences": 2}])
def test_intervals_are_quantiles_of_what_predict_would_have_said(strategy, options):
    y = [np.exp(season(n, level=1, size=0.5, noise=0.2, seed=n)) for n in (60, 45)]
    forecaster = small(strategy=strategy, **options).fit(y)
    level, lag = np.log if options.get("log") else np.asarray, options.get("differences", 0)

    def unit(series):
        """By the definition: what errors of forecasts from the end of this series are measured in."""
        changes = level(series)[lag:] - level(series)[:-lag] if lag else level(series)
        windows = [changes[k : k + 12] for k in range(len(changes) - 11)]
        variance = np.concatenate(windows).var() if lag else np.mean([window.var() for window in windows])
        return np.sqrt((variance + windows[-1].var()) / 2)

    errors = []
    for series in y:
        last = len(series) - 3  # the last origin with three steps after it
        n_windows = last - lag - 12 + 1 - (2 if strategy == "direct" else 0)
        for origin in range(last - math.ceil(0.2 * n_windows) + 1, last + 1):
            error = level(series[origin : origin + 3]) - level(forecaster.predict(series[:origin]))
            errors.append(np.abs(error) / unit(series[:origin]))
    assert forecaster.n_calibration_windows_ == len(errors)
    width = ConformalQuantiles.of(np.array(errors)[..., None])(0.8)[:, 0]
    for series, lower, upper in zip(y, *forecaster.predict_interval(coverage=0.8), strict=True):
        middle, half = level(forecaster.predict(series)), width * unit(series)
        assert level(lower) == pytest.approx(middle - half)
        assert level(upper) == pytest.approx(middle + half)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"differences": 1}, {"strategy": "recursive"}])
def test_calibration_data_are_not_learned_from(parameters):
    # Other targets of the calibration windows change the intervals, but neither weights nor validation.
    y = season(100, noise=1)
    changed, n_gap = y.copy(), 0 if "strategy" in parameters else 2
    n_windows = 100 - parameters.get("differences", 0) - 12 - 3 + 1
    first = 100 - 3 + 1 - math.ceil(0.2 * (n_windows - n_gap))
    changed[first:] += np.random.default_rng(1).normal(scale=5, size=100 - first)
    ours, theirs = (small(**parameters).fit(each) for each in (y, changed))
    assert ours.loss_curve_ == theirs.loss_curve_
    assert ours.validation_scores_ == theirs.validation_scores_
    assert same(ours.predict(y), theirs.predict(y))
    widths = [upper - lower for lower, upper in (each.predict_interval(y) for each in (ours, theirs))]
    assert (widths[0] < widths[1]).all()
    changed[first - 1] += 5  # the last training target
    assert small(**parameters).fit(changed).loss_curve_ != ours.loss_curve_ or "early_stopping" in parameters


def test_recursive_forecasts_reach_beyond_the_horizon_but_intervals_do_not():
    forecaster = small(strategy="recursive").fit(season(80))
    assert same(forecaster.predict(horizon=9)[:3], forecaster.predict())
    with pytest.raises(ValueError, match="intervals are calibrated for 3 steps, not 4; fit with horizon=4"):
        forecaster.predict_interval(horizon=4)


@pytest.mark.parametrize("horizon", [1, 3])
def test_direct_forecasts_end_at_the_horizon(horizon):
    forecaster = small(horizon=horizon).fit(season(80))
    with pytest.raises(ValueError, match=f'horizon=4 is beyond the {horizon} steps .*strategy="recursive"'):
        forecaster.predict(horizon=4)


def test_intervals_need_enough_calibration_windows():
    none = small(calibration_fraction=0).fit(season(80))
    assert none.n_calibration_windows_ == 0
    with pytest.raises(ValueError, match=r"coverage=0\.9 need at least 9 calibration windows, but there are 0"):
        none.predict_interval()
    few = small().fit(season(40))
    assert few.n_calibration_windows_ == 5  # 40 - 12 - 3 + 1 = 26 windows, 2 lie between: 20 % of 24
    assert few.predict_interval(coverage=0.8)[0].shape == (3,)
    with pytest.raises(ValueError, match="there are 5"):
        few.predict_interval(coverage=0.9)
    for coverage in (0, 1, "0.9", np.nan):
        with pytest.raises((ValueError, TypeError), match="coverage"):
            few.predict_interval(coverage=coverage)


def test_nine_of_ten_come_true():
    """On data not seen, of several series and many origins; benchmarks/accuracy/coverage.py has more."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(8):
        y = np.zeros(400)
        for t in range(1, 400):
            y[t] = 0.7 * y[t - 1] + rng.normal()
        forecaster = small(max_iter=10, learning_rate_init=0.01).fit(y[:300])
        origins = range(300, 398)
        lower, upper = map(np.array, forecaster.predict_interval([y[:origin] for origin in origins]))
        truth = np.array([y[origin : origin + 3] for origin in origins])
        hits.append((lower <= truth) & (truth <= upper))
    assert 0.85 <= np.mean(hits) <= 0.95


# ---- scikit-learn ---------------------------------------------------------------------------------------------------
def test_score_is_r2_from_rolling_origins():
    y = season(90, noise=1)
    forecaster = small(differences=1).fit(y[:70])
    origins = range(70, 88)
    forecasts = np.concatenate([forecaster.predict(y[:origin]) for origin in origins])
    truth = np.concatenate([y[origin : origin + 3] for origin in origins])
    assert forecaster.score(y[70:]) == pytest.approx(r2_score(truth, forecasts))
    other = season(75, noise=2, seed=5)
    both = small(differences=1).fit([y[:70], other[:60]])
    scores = [small(differences=1).fit([y[:70], other[:60]]).score([y[70:], other[60:]]), both.score([y[70:], y[70:]])]
    assert scores[0] != scores[1]


def test_time_series_split():
    y, X = pd.Series(season(150, noise=0.5), pd.date_range("2020", periods=150)), RNG.normal(size=(150, 2))
    forecaster, cv = small(max_iter=5), TimeSeriesSplit(3)
    expected = [clone(forecaster).fit(y.iloc[a]).score(y.iloc[b]) for a, b in cv.split(y)]
    assert cross_val_score(forecaster, y, cv=cv).tolist() == expected
    assert cross_val_score(forecaster, y.to_numpy(), cv=cv).tolist() == expected
    with_X = [clone(forecaster).fit(y.iloc[a], X[a]).score(y.iloc[b], X[b]) for a, b in cv.split(y)]
    assert cross_val_score(forecaster, y, X, cv=cv).tolist() == with_X
    search = GridSearchCV(forecaster, {"window": [6, 12], "strategy": STRATEGIES}, cv=cv).fit(y)
    assert search.best_estimator_.predict().index[0] == pd.Timestamp("2020-05-30")


# ---- going on, ending -----------------------------------------------------------------------------------------------
def test_warm_start_goes_on():
    y = season(80, noise=1)
    forecaster = small(warm_start=True, max_iter=3).fit(y)
    first = forecaster.best_loss_
    assert forecaster.fit(y).best_loss_ < first
    for change in ({"horizon": 4}, {"strategy": "recursive"}, {"hidden_layer_sizes": 5}):
        before = forecaster.predict()
        with pytest.raises(ValueError, match="warm_start=False to start anew"):
            copy.deepcopy(forecaster).set_params(**change).fit(y)
        assert same(forecaster.predict(), before)


def test_arguments_changed_after_fit_do_not_change_forecasts():
    forecaster = small(differences=1).fit(season(80))
    before = forecaster.predict()
    forecaster.set_params(window=3, horizon=9, differences=(), scale=False, strategy="recursive", dtype="float64")
    assert same(forecaster.predict(), before)


def test_early_stopping_holds_out_the_last_windows():
    y = season(200, noise=0.1)
    options = {"early_stopping": True, "max_iter": 5, "calibration_fraction": 0, "scale": False}
    first = 200 - 3 + 1 - math.ceil(0.1 * (200 - 12 - 3 + 1 - 2))  # the first target of validation
    changed = y.copy()
    changed[first:] += 1
    ours, theirs = (small(**options).fit(each) for each in (y, changed))
    assert ours.loss_curve_ == theirs.loss_curve_
    assert ours.validation_scores_ != theirs.validation_scores_
    changed[first - 1] += 1
    assert small(**options).fit(changed).loss_curve_ != ours.loss_curve_
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1 leaves no window for validation"):
        small(early_stopping=True).fit(y[:16])


def test_same_bits_on_one_thread_and_two():
    y = [season(80, noise=1), season(50, noise=1)]
    forecasters = [small(n_jobs=n_jobs, dropout=0.1).fit(y) for n_jobs in (1, 2)]
    assert same(*(each.predict() for each in forecasters))


def test_a_callback_that_fails_leaves_a_usable_forecaster():
    def fail(info):
        raise RuntimeError("stop")

    forecaster = small(callbacks=fail)
    with pytest.raises(RuntimeError, match="stop"):
        forecaster.fit(season(80))
    assert forecaster.stop_reason_ == "interrupted"
    assert (forecaster.predict_interval(coverage=0.5)[0] < forecaster.predict()).all()


def test_ctrl_c_does_not_wait_for_intervals():
    def press(info):
        raise KeyboardInterrupt

    forecaster = small(callbacks=press)
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(season(80))
    assert forecaster.stop_reason_ == "interrupted"
    assert np.isfinite(forecaster.predict()).all()
    with pytest.raises(ValueError, match="calibration windows, but there are 0"):
        forecaster.predict_interval()


def test_attention_of_the_last_window():
    y = [np.sin(np.arange(60) / 4), np.cos(np.arange(50) / 3)]
    forecaster = LSTMForecaster(window=12, hidden_layer_sizes=6, pooling="attention", max_iter=3, random_state=0).fit(y)
    weights = forecaster.attention()
    assert [each.shape for each in weights] == [(12,), (12,)]
    assert [each.sum() for each in weights] == pytest.approx([1, 1], abs=1e-6)
    assert np.array_equal(forecaster.attention(y[1])[0], weights[1])
    assert not hasattr(LSTMForecaster(), "attention")
