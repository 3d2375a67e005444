"""LSTMForecaster: forecasts in the form of the series, many series, covariates, intervals, scikit-learn's tools, files,
and what it must refuse. The arithmetic of series: test_series.py; quantiles: test_conformal.py.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score

import lstmfast
from lstmfast import LSTMForecaster

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
    # A line has the same change each step, so its standardised changes are 0 and the line goes on, whatever the weights.
    line = 3.0 + 0.5 * np.arange(60)
    assert small(differences=1).fit(line).predict() == pytest.approx(line[-1] + 0.5 * np.arange(1, 4))


@pytest.mark.parametrize("value", [0.0, 5.0, -1e9, 1e-12])
def test_constant_series_stay_constant(value):
    forecaster = small().fit(np.full(40, value))
    assert same(forecaster.predict(), np.full(3, value))
    assert same(forecaster.predict_interval(coverage=0.5), np.full((2, 3), value))
    assert same(small().fit(season(60)).predict(np.full(12, value)), np.full(3, value))
