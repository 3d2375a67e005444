"""The adapter to sktime: sktime's own checks, and the same numbers as ours under its index."""

import doctest
import warnings

import numpy as np
import pytest

from lstmfast import LSTMForecaster

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what sktime's imports warn of
    pytest.importorskip("sktime")
    from sktime.datasets import load_airline, load_longley
    from sktime.utils.estimator_checks import check_estimator

    from lstmfast.interop import sktime as adapter

pytestmark = pytest.mark.filterwarnings("ignore")


def small(**parameters):
    return LSTMForecaster(**{"window": 12, "hidden_layer_sizes": 4, "max_iter": 2, "random_state": 0} | parameters)


def test_checks_of_sktime():
    check_estimator(adapter.LSTMForecaster, raise_exceptions=True, verbose=False)


def test_example():  # pytest does not collect it: sktime may be absent
    assert doctest.testmod(adapter).failed == 0


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_same_numbers_under_the_index_of_sktime(strategy):
    y = load_airline()
    settings = small(log=True, differences=12, strategy=strategy)
    theirs = adapter.LSTMForecaster(settings).fit(y, fh=[1, 4, 6])
    ours = small(log=True, differences=12, strategy=strategy, horizon=6).fit(y)
    forecast, expected = theirs.predict(), ours.predict()
    assert forecast.to_numpy().tolist() == expected.to_numpy()[[0, 3, 5]].tolist()
    assert list(forecast.index) == list(expected.index[[0, 3, 5]])
    intervals = theirs.predict_interval(coverage=[0.5, 0.8])
    for coverage in (0.5, 0.8):
        for side, bound in zip(("lower", "upper"), ours.predict_interval(coverage=coverage), strict=True):
            found = intervals.xs((coverage, side), axis=1, level=(1, 2)).to_numpy()
            assert found.ravel().tolist() == bound.to_numpy()[[0, 3, 5]].tolist()
    assert settings.horizon == 1  # the one that was given is left alone


def test_covariates_and_several_variables():
    y, X = load_longley()
    table = X[["GNP", "POP"]].assign(EMPLOYED=y)
    others = X[["ARMED"]]
    settings = small(window=3, calibration_fraction=0)
    theirs = adapter.LSTMForecaster(settings).fit(table[:-2], X=others[:-2], fh=[1, 2])
    ours = small(window=3, calibration_fraction=0, horizon=2).fit(table[:-2].to_numpy(), others[:-2].to_numpy())
    forecast = theirs.predict(X=others[-2:])
    assert np.array_equal(forecast.to_numpy(), ours.predict(X=others[-2:].to_numpy()))
    assert list(forecast.columns) == list(table.columns)
    assert list(forecast.index) == list(table.index[-2:])
