"""Losses: values against scikit-learn's metrics or the formula, gradients against finite differences, no overflow.

Legend: z (n, K) outputs, targets, weights (n,) that sum to 1.
"""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss, mean_absolute_error, mean_pinball_loss, mean_squared_error

from lstmfast.losses import (
    REGRESSION_LOSSES,
    AbsoluteError,
    Huber,
    Quantile,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
    weighted_quantile,
)

N, K = 23, 4
LOSSES = {
    "softmax": SoftmaxCrossEntropy(),
    "sigmoid": SigmoidCrossEntropy(),
    "squared": SquaredError(),
    "absolute": AbsoluteError(),
    "huber": Huber(),
    "quantile 0.1": Quantile(0.1),
    "quantile 0.5": Quantile(0.5),
    "quantile 0.9": Quantile(0.9),
}
EXTREME = [1e4, -1e4, 0.0, 88.0, -88.0, 103.9, 1e4, 1.0]


def draw(name, scale=2.0, seed=0, n_outputs=K):
    """z, targets, weights in float64."""
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=scale, size=(N, n_outputs))
    if name == "softmax":
        targets = rng.integers(0, n_outputs, N)
    elif name == "sigmoid":
        targets = rng.integers(0, 2, (N, n_outputs)).astype(float)
    else:
        targets = rng.normal(scale=scale, size=(N, n_outputs))
    weights = rng.uniform(0.1, 1, N)
    return z, targets, weights / weights.sum()


def expected_value(name, z, targets, weights):
    """The same by other means."""
    if name == "softmax":
        return log_loss(targets, softmax(z, axis=1), sample_weight=weights, labels=np.arange(z.shape[1]))
    if name == "sigmoid":
        columns = range(z.shape[1])
        return np.mean([log_loss(targets[:, k], expit(z[:, k]), sample_weight=weights) for k in columns])
    if name == "squared":
        return mean_squared_error(targets, z, sample_weight=weights)
    if name == "absolute":
        return mean_absolute_error(targets, z, sample_weight=weights)
    if name == "huber":
        r = np.abs(z - targets)
        return weights @ np.where(r <= 1, r**2 / 2, r - 0.5).mean(axis=1)
    return mean_pinball_loss(targets, z, sample_weight=weights, alpha=float(name.split()[1]))


@pytest.mark.parametrize("n_outputs", [1, 2, K])
@pytest.mark.parametrize("name", LOSSES)
def test_value(name, n_outputs):
    if name == "softmax" and n_outputs == 1:
        n_outputs = 3  # scikit-learn's log_loss wants two classes; one class: see below
    z, targets, weights = draw(name, n_outputs=n_outputs)
    value, gradient = LOSSES[name].value_and_gradient(z, targets, weights)
    assert isinstance(value, float)
    assert gradient.shape == z.shape
    assert value == pytest.approx(expected_value(name, z, targets, weights), rel=1e-13)


@pytest.mark.parametrize("n_outputs", [1, 2, K])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name, n_outputs):
    loss, step = LOSSES[name], 1e-6
    z, targets, weights = draw(name, seed=1, n_outputs=n_outputs)
    _, gradient = loss.value_and_gradient(z, targets, weights)
    for index in np.ndindex(z.shape):
        above, below = z.copy(), z.copy()
        above[index] += step
        below[index] -= step
        values = [loss.value_and_gradient(moved, targets, weights)[0] for moved in (above, below)]
        expected = (values[0] - values[1]) / (2 * step)
        assert gradient[index] == pytest.approx(expected, abs=1e-8 * weights.max()), index


def test_both_sides_of_every_kink_are_drawn():
    """What the two tests above would miss otherwise."""
    z, targets, _ = draw("huber", seed=1)
    r = z - targets
    for condition in (r < -1, (r > -1) & (r < 0), (r > 0) & (r < 1), r > 1):
        assert condition.sum() > 3
    assert min(np.abs(r).min(), np.abs(np.abs(r) - 1).min()) > 1e-4


@pytest.mark.parametrize("name", ["absolute", "quantile 0.1", "quantile 0.9"])
def test_subgradient_at_the_target_is_zero(name):
    z, weights = np.full((2, 1), 3.0), np.array([0.5, 0.5])
    value, gradient = LOSSES[name].value_and_gradient(z, z.copy(), weights)
    assert value == 0
    assert not gradient.any()


def test_softmax_of_one_class():
    value, gradient = SoftmaxCrossEntropy().value_and_gradient(np.array([[3.0]]), np.array([0]), np.ones(1))
    assert value == 0
    assert gradient.tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_outputs_are_finite_and_the_dtype_is_kept(name, dtype):
    z = np.array(EXTREME, dtype).reshape(-1, 2)
    targets = {"softmax": np.array([1, 0, 1, 1])}.get(name, np.array([[0, 1], [1, 0], [0, 1], [1, 0]], dtype))
    weights = np.full(len(z), 1 / len(z), dtype)
    value, gradient = LOSSES[name].value_and_gradient(z, targets, weights)
    assert np.isfinite(value)
    assert value > 0.4
    assert np.isfinite(gradient).all()
    assert gradient.dtype == z.dtype
    assert gradient.shape == z.shape


@pytest.mark.parametrize(("name", "scale"), [("softmax", 1e4), ("sigmoid", 1e4), ("squared", 1e4), ("huber", 1e4)])
def test_extreme_outputs_agree_with_the_limit(name, scale):
    """A confident wrong answer costs the distance of the outputs, and no more."""
    z = np.array([[scale, 0.0]])
    targets = np.array([1]) if name == "softmax" else np.array([[0.0, 0.0]])
    value, gradient = LOSSES[name].value_and_gradient(z, targets, np.ones(1))
    costs = {"softmax": scale, "sigmoid": (scale + np.log(2)) / 2, "squared": scale**2 / 2, "huber": (scale - 0.5) / 2}
    slopes = {"softmax": 1.0, "sigmoid": 0.5, "squared": scale, "huber": 0.5}
    assert value == pytest.approx(costs[name], rel=1e-13)
    assert gradient[0, 0] == pytest.approx(slopes[name], rel=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "function"), [("softmax", lambda z: softmax(z, axis=1)), ("sigmoid", expit)])
def test_probabilities(name, function, dtype):
    z = draw(name, scale=5)[0].astype(dtype)
    probabilities = LOSSES[name].predict(z)
    assert probabilities.dtype == z.dtype
    np.testing.assert_allclose(probabilities, function(z), rtol=4 * np.finfo(dtype).eps)
    extreme = LOSSES[name].predict(np.array([[1e4, -1e4]], dtype))
    assert extreme.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_regression_losses_predict_their_outputs(name):
    loss = REGRESSION_LOSSES[name](0.3) if name == "quantile" else REGRESSION_LOSSES[name]()
    assert loss.name == name
    z = np.array([[1.0, -2.0]])
    assert loss.predict(z) is z


# ---- the constant to start from -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["squared", "absolute", "quantile 0.1", "quantile 0.5", "quantile 0.9"])
def test_initial_bias_is_the_best_constant(name):
    _, targets, weights = draw(name, seed=3)
    bias = LOSSES[name].initial_bias(targets, weights)
    assert bias.shape == (K,)

    def cost(constant):
        return LOSSES[name].value_and_gradient(np.tile(constant, (N, 1)), targets, weights)[0]

    for k in range(K):
        for candidate in targets[:, k]:  # the minimum of a piecewise linear loss stands at one of them
            other = bias.copy()
            other[k] = candidate
            assert cost(bias) <= cost(other) + 1e-12


def test_initial_bias_of_huber_is_the_median():
    """Cheap and close: its minimum lies between median and mean."""
    _, targets, weights = draw("huber", seed=3)
    assert Huber().initial_bias(targets, weights).tolist() == weighted_quantile(targets, weights, 0.5).tolist()


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_classification_starts_from_no_bias(name):
    _, targets, weights = draw(name)
    assert LOSSES[name].initial_bias(targets, weights) is None


@pytest.mark.parametrize("quantile", [0.05, 0.25, 0.5, 0.75, 0.99])
def test_weighted_quantile_of_integer_weights_is_that_of_repeats(quantile):
    rng = np.random.default_rng(0)
    values, repeats = rng.normal(size=(31, 3)), rng.integers(1, 5, 31)
    expected = np.quantile(np.repeat(values, repeats, axis=0), quantile, axis=0, method="inverted_cdf")
    assert weighted_quantile(values, repeats.astype(float), quantile).tolist() == expected.tolist()


def test_weighted_quantile_by_hand():
    values = np.array([[3.0, 0.0], [1.0, 0.0], [2.0, 5.0]])
    weights = np.array([1.0, 1.0, 2.0])
    assert weighted_quantile(values, weights, 0.5).tolist() == [2, 0]
    assert weighted_quantile(values, weights, 0.25).tolist() == [1, 0]
    assert weighted_quantile(values, weights, 0.26).tolist() == [2, 0]
    assert weighted_quantile(values, weights, 0.76).tolist() == [3, 5]
    assert weighted_quantile(values, np.array([0.0, 0.0, 1.0]), 0.01).tolist() == [2, 5]
    assert weighted_quantile(values[:1], weights[:1], 0.7).tolist() == [3, 0]
