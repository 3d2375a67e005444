"""`explain` of LSTMForecaster: attributions add up to the forecast's distance from that of an average window."""

from dataclasses import replace

import numpy as np
import pytest

from lstmfast import LSTMForecaster

RNG = np.random.default_rng(0)
ONE = 20 + np.sin(np.arange(90) / 4) + RNG.normal(scale=0.1, size=90)
TWO = np.column_stack((ONE, np.cumsum(RNG.normal(size=90))))
COVARIATES = RNG.normal(size=(94, 2))


def small(*data, **parameters):
    defaults = {"horizon": 3, "window": 8, "hidden_layer_sizes": 6, "max_iter": 3, "random_state": 0, "n_jobs": 1}
    return LSTMForecaster(**defaults | parameters).fit(*data)


def change(forecaster, y=None, X=None):
    """Forecast levels (n, width, d) less those of inputs that are 0."""
    origins, _ = forecaster._past.begin(y, X, forecaster._past.preparation.width, forecaster)
    average = replace(origins, windows=0 * origins.windows, covariates=0 * origins.covariates)
    width = forecaster._past.preparation.width
    return forecaster._forecast(origins, width) - forecaster._forecast(average, width)


@pytest.mark.parametrize(
    ("data", "parameters"),
    [
        ((ONE,), {}), ((ONE,), {"differences": (1, 12), "scale": False}), ((ONE,), {"log": True, "dtype": "float64"}),
        ((TWO,), {"differences": 1}), ((ONE,), {"strategy": "recursive"}), ((TWO, COVARIATES[:90]), {}),
    ],
)  # fmt: skip
def test_complete(data, parameters):
    forecaster = small(*data, **parameters)
    future = COVARIATES[90:93] if len(data) == 2 else None
    expected = change(forecaster, X=future)[0]
    found = forecaster.explain(X=future)
    assert found.shape == (8, np.ndim(data[0]) + (6 if len(data) == 2 else 0))
    np.testing.assert_allclose(found.sum(), expected.sum(), rtol=0.01, atol=1e-5)
    for step in range(len(expected)):
        of_step = forecaster.explain(X=future, target=step)
        np.testing.assert_allclose(of_step.sum(), expected[step].sum(), rtol=0.01, atol=1e-5)
    drops = forecaster.explain(X=future, method="occlusion", window=8)
    assert drops.shape == found.shape
    if found.shape[1] == 1:  # nothing is left
        np.testing.assert_allclose(drops, expected.sum(), rtol=1e-4, atol=1e-5)


def test_other_series_and_lists():
    forecaster = small([ONE, ONE[::-1]])
    found = forecaster.explain([ONE[:40], ONE[:50], ONE[:60]])
    expected = change(forecaster, [ONE[:40], ONE[:50], ONE[:60]])
    assert [values.shape for values in found] == [(8, 1)] * 3
    np.testing.assert_allclose([values.sum() for values in found], expected.sum(axis=(1, 2)), rtol=0.01, atol=1e-5)
    assert len(forecaster.explain()) == 2
    np.testing.assert_array_equal(forecaster.explain(ONE[:40]), found[0])
    (gates,) = forecaster.explain(ONE[:40], method="gates")
    assert gates.shape == (8, 4, 6)


def test_bad_arguments():
    forecaster = small(ONE)
    with pytest.raises(ValueError, match="target must be a column of the forecast, an integer from 0 to 2, got 3"):
        forecaster.explain(target=3)
    with pytest.raises(ValueError, match="that of a forecaster must be a number"):
        forecaster.explain(baseline=np.zeros((1, 8, 1)))
    with pytest.raises(ValueError, match="from 0 to 0, got 1"):
        small(ONE, strategy="recursive").explain(target=1)
    np.testing.assert_array_equal(forecaster.explain(baseline=0.0), forecaster.explain())
