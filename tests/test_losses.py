"""Losses: values against scikit-learn's metrics or the formula, gradients against finite differences, no overflow.

Legend: z (n, K) outputs, targets, weights (n,) that sum to 1.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from gradients import central_differences
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import log_loss, mean_absolute_error, mean_pinball_loss, mean_squared_error

from lstmfast import _core
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
    value, gradient = LOSSES[name].value_and_gradient(z.copy(), targets, weights)
    assert isinstance(value, float)
    assert gradient.shape == z.shape
    assert value == pytest.approx(expected_value(name, z, targets, weights), rel=1e-13)


@pytest.mark.parametrize("n_outputs", [1, 2, K])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name, n_outputs):
    loss = LOSSES[name]
    z, targets, weights = draw(name, seed=1, n_outputs=n_outputs)
    _, gradient = loss.value_and_gradient(z.copy(), targets, weights)
    expected = central_differences(lambda: loss.value_and_gradient(z.copy(), targets, weights)[0], z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8 * weights.max())


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


# ---- the compiled softmax cross-entropy and probabilities -----------------------------------------------------------
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 1000]  # one off every vector and every four


def cross_entropy(z, targets, weights, n_threads=1):
    """losses and gradient by _core; z is left alone."""
    gradient, losses = z.copy(), np.empty(len(z), z.dtype)
    float64 = z.dtype == np.float64
    _core.softmax_cross_entropy(gradient, targets, weights, losses, z.shape[1], float64, n_threads)
    return losses, gradient


def draw_rows(n, n_outputs, dtype, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=scale, size=(n, n_outputs)).astype(dtype)
    return z, rng.integers(0, n_outputs, n), rng.uniform(0.1, 1, n).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_outputs", SIZES)
def test_cross_entropy_of_every_size(n_outputs, dtype):
    z, targets, weights = draw_rows(11, n_outputs, dtype)
    losses, gradient = cross_entropy(z, targets, weights)
    wide, rows, eps = z.astype(np.float64), np.arange(len(z)), np.finfo(dtype).eps
    expected = softmax(wide, axis=1)
    expected[rows, targets] -= 1
    np.testing.assert_allclose(losses, -log_softmax(wide, axis=1)[rows, targets], rtol=8 * eps, atol=8 * eps)
    np.testing.assert_allclose(gradient, expected * weights[:, None], rtol=16 * eps, atol=8 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_outputs", [1, 5, 17, 70])
def test_cross_entropy_of_huge_outputs(n_outputs, dtype):
    """The largest stands anywhere, the target too: nothing overflows, and a wrong target costs the distance."""
    big = float(np.finfo(dtype).max) / 4
    for at in range(n_outputs):
        z = np.full((n_outputs, n_outputs), -big, dtype)
        z[:, at] = big
        targets = np.arange(n_outputs)
        losses, gradient = cross_entropy(z, targets, np.full(n_outputs, 0.5, dtype))
        assert losses.tolist() == np.where(targets == at, 0, 2 * big).tolist()
        expected = np.where(np.arange(n_outputs) == at, 0.5, 0) - 0.5 * np.eye(n_outputs)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-30)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n_outputs", [1, 3, 16, 40])
def test_a_bad_output_spoils_its_row_only(n_outputs, bad, dtype):
    z, targets, weights = draw_rows(n_outputs + 1, n_outputs, dtype)
    expected = cross_entropy(z, targets, weights)
    spoilt = z.copy()
    spoilt[np.arange(n_outputs), np.arange(n_outputs)] = bad  # the last row is good
    losses, gradient = cross_entropy(spoilt, targets, weights)
    assert np.isnan(losses[:-1]).all()
    assert np.isnan(gradient[:-1]).any(axis=1).all()
    assert losses[-1] == expected[0][-1]
    assert gradient[-1].tolist() == expected[1][-1].tolist()
    probabilities = spoilt.copy()
    _core.output_probabilities(False, spoilt, probabilities, n_outputs, z.dtype == np.float64)
    assert np.isnan(probabilities[:-1]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_bit_for_bit_in_any_company_on_any_number_of_threads(dtype):
    z, targets, weights = draw_rows(101, 3001, dtype)  # enough work for many threads
    losses, gradient = cross_entropy(z, targets, weights)
    for n_threads in (2, 3, 7):
        shared = cross_entropy(z, targets, weights, n_threads)
        assert [part.tobytes() for part in shared] == [losses.tobytes(), gradient.tobytes()]
    rows = np.random.default_rng(1).permutation(len(z))[:7]
    part = cross_entropy(z[rows], targets[rows], weights[rows])
    assert part[0].tobytes() == losses[rows].tobytes()
    assert part[1].tobytes() == gradient[rows].tobytes()


def test_cross_entropy_of_no_rows():
    losses, gradient = cross_entropy(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0))
    assert losses.shape == (0,)
    assert gradient.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"targets": np.array([0, 3, -1])}, ValueError, r"in \[0, 3\), got targets\[1\] = 3"),
        ({"targets": np.array([0, 2, -1])}, ValueError, r"in \[0, 3\), got targets\[2\] = -1"),
        ({"targets": np.zeros(2, np.int64)}, ValueError, r"targets must have shape \(3,\), got \(2,\)"),
        ({"targets": np.zeros(3, np.int32)}, ValueError, "mismatch"),
        ({"targets": None}, TypeError, "targets"),
        ({"weights": np.ones(4)}, ValueError, r"weights must have shape \(3,\)"),
        ({"weights": np.ones(3, np.float32)}, TypeError, "weights must be an array of native float64"),
        ({"losses": np.ones(2)}, ValueError, r"losses must have shape \(3,\)"),
        ({"z": np.ones((3, 4))}, ValueError, r"z must have shape \(3, 3\), got \(3, 4\)"),
        ({"z": np.ones((3, 6))[:, ::2]}, ValueError, "z must be contiguous"),
        ({"n_outputs": 0}, ValueError, "n_outputs must be at least 1"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
    ],
)
def test_cross_entropy_refuses_bad_arguments_before_anything_changes(change, error, message):
    arguments = {
        "z": np.ones((3, 3)), "targets": np.arange(3), "weights": np.ones(3), "losses": np.ones(3), "n_outputs": 3,
        "float64": True,
    }  # fmt: skip
    arguments |= change
    with pytest.raises(error, match=message):
        _core.softmax_cross_entropy(**arguments)
    for name in ("z", "losses"):
        assert (arguments[name] == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_outputs", SIZES)
@pytest.mark.parametrize(("multilabel", "function"), [(False, lambda z: softmax(z, axis=1)), (True, expit)])
def test_probabilities(multilabel, function, n_outputs, dtype):
    z = draw_rows(5, n_outputs, dtype)[0]
    probabilities = np.empty_like(z)
    _core.output_probabilities(multilabel, z, probabilities, n_outputs, dtype == "float64")
    # The exponent, here up to 20 in size, is rounded once.
    np.testing.assert_allclose(probabilities, function(z.astype(np.float64)), rtol=20 * np.finfo(dtype).eps)
    alone = z[2:3].copy()
    _core.output_probabilities(multilabel, alone, alone, n_outputs, dtype == "float64")
    assert alone.tobytes() == probabilities[2:3].tobytes()


COMPILED = (
    test_cross_entropy_of_every_size,
    test_cross_entropy_of_huge_outputs,
    test_a_bad_output_spoils_its_row_only,
    test_cross_entropy_bit_for_bit_in_any_company_on_any_number_of_threads,
    test_probabilities,
)


@pytest.mark.parametrize("isa", [isa for isa in _core.available_isas() if isa != _core.isa()])
def test_compiled_losses_on_every_other_instruction_set(isa):
    tests = [f"{__file__}::{test.__name__}" for test in COMPILED]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"LSTMFAST_ISA": isa, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_regression_losses_know_their_names(name):
    loss = REGRESSION_LOSSES[name](0.3) if name == "quantile" else REGRESSION_LOSSES[name]()
    assert loss.name == name


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
