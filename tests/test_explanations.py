"""The methods of `explain` on networks whose answers are known: gradients at the inputs against finite differences,
attributions with a closed form, and pieces of the path and windows of occlusion.

What an estimator explains is in test_explain_estimators.py, gates and states in test_traces.py.
"""

import numpy as np
import pytest
from gradients import central_differences
from test_explain_estimators import KINDS, METHODS, X, Y, small

from lstmfast import LSTMRegressor, explanations
from lstmfast.encoder_decoder import EncoderDecoder
from lstmfast.explanations import Score, integrated_gradients, occlusion, on_vectors
from lstmfast.network import Network
from lstmfast.pooling import NO_POOLING, POOLINGS
from lstmfast.sequence_pairs import SequencePairs
from lstmfast.sequences import Sequences, offsets_of
from lstmfast.vocabulary import framed


# ---- gradients at the inputs ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", [*POOLINGS, NO_POOLING])
@pytest.mark.parametrize("kind", KINDS)
def test_input_gradient(kind, pooling):
    rng = np.random.default_rng(1)
    network = Network(2, [4, 3], 2, cell=kind, pooling=pooling, bidirectional=True, dense_layer_sizes=[6],
                      dtype="float64")  # fmt: skip
    network.initialize(rng)
    lengths = np.array([2, 4, 1])
    steps, offsets = rng.normal(size=(7, 2)), offsets_of(lengths)
    doutputs = rng.normal(size=(7 if pooling == NO_POOLING else 3, 2))
    found = network.input_gradient(Sequences(steps, offsets), doutputs)
    expected = central_differences(lambda: (network.outputs(Sequences(steps, offsets)) * doutputs).sum(), steps)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_input_gradient_through_convolutions():
    rng = np.random.default_rng(4)
    network = Network(2, [3], 1, conv_layers=[(4, 3), (3, 2)], pooling="attention", dtype="float64")
    network.initialize(rng)
    steps, offsets = rng.normal(size=(6, 2)), np.array([0, 1, 6])
    found = network.input_gradient(Sequences(steps, offsets), np.ones((2, 1)))
    expected = central_differences(lambda: network.outputs(Sequences(steps, offsets)).sum(), steps)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "lstm-gated-recurrence", "gru"])
def test_gradient_at_the_sources_of_a_translation(kind, attention):
    rng = np.random.default_rng(2)
    network = EncoderDecoder(7, 6, 3, [4, 2], attention=attention, bidirectional=True, cell=kind, dtype="float64")
    network.initialize(rng)
    network = on_vectors(network, lambda network: network.encoder)
    targets = framed([np.array([2, 3, 2]), np.array([5, 4, 3])])
    steps, offsets = rng.normal(size=(10, 3)), np.array([0, 5, 10])

    def score():
        return np.concatenate(network.log_likelihoods(SequencePairs(Sequences(steps, offsets), targets))).sum()

    found = network.source_gradient(SequencePairs(Sequences(steps, offsets), targets))
    np.testing.assert_allclose(found, central_differences(score, steps), rtol=1e-6, atol=1e-8)


# ---- a linear network: the attribution of a value is itself times its weight ----------------------------------------
@pytest.fixture(scope="module")
def linear():
    """(regressor, weights (T, F, K) of each value of a sequence of T steps): h_t = x_t W + h_{t-1} R + b."""
    rng = np.random.default_rng(3)
    regressor = small(LSTMRegressor, X, np.column_stack((Y, -2.0 * Y)), cell="rnn", activation="identity",
                      dtype="float64")  # fmt: skip
    (layer, dense) = regressor.layers_
    layer.bias = rng.normal(size=5)

    def weights(n_steps):
        kernel, recurrent = layer.kernel, layer.recurrent_kernel
        return np.stack([kernel @ np.linalg.matrix_power(recurrent, n_steps - 1 - t) for t in range(n_steps)]) @ (
            dense.weight
        )

    return regressor, weights


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_closed_form(linear, method):
    regressor, weights = linear
    whole, second = regressor.explain(X, method), regressor.explain(X, method, target=1)
    mean = np.array([0.5, -1.0, 2.0])
    from_mean = regressor.explain(X, method, baseline=mean)
    other = [x[::-1] ** 2 for x in X]
    from_other = regressor.explain(X, method, baseline=other)
    for i, x in enumerate(X):
        w = weights(len(x))
        np.testing.assert_allclose(whole[i], x * w.sum(axis=2), atol=1e-12)
        np.testing.assert_allclose(second[i], x * w[:, :, 1], atol=1e-12)
        np.testing.assert_allclose(from_mean[i], (x - mean) * w.sum(axis=2), atol=1e-12)
        np.testing.assert_allclose(from_other[i], (x - other[i]) * w.sum(axis=2), atol=1e-12)


def test_windows_of_occlusion(linear):
    regressor, weights = linear
    found = regressor.explain(X, "occlusion", window=3)
    for i, x in enumerate(X):
        effect, n_steps = x * weights(len(x)).sum(axis=2), len(x)
        starts = range(max(n_steps - 2, 1))
        for t in range(n_steps):
            drops = [effect[s : s + 3].sum(axis=0) for s in starts if s <= t < s + 3]
            np.testing.assert_allclose(found[i][t], np.mean(drops, axis=0), atol=1e-12)


def test_integrated_gradients_of_a_product():
    """x1 x2 from (0, 0): half to each, wherever the line ends."""
    score = Score(lambda p: p[:, 0, 0] * p[:, 1, 0], lambda p: p[:, ::-1])
    attributions, gap = integrated_gradients(score, np.array([[3.0], [5.0]]), np.zeros((2, 1)))
    np.testing.assert_allclose(attributions, [[7.5], [7.5]])
    assert gap < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_integrated_gradients_of_a_network(kind):
    """Each attribution beside the mean of finite differences at 300 points of the line."""
    regressor = small(LSTMRegressor, X, Y, cell=kind, dtype="float64", max_iter=20, hidden_layer_sizes=(4, 3))
    x, baseline = X[2][:3] * 2, np.array([0.3, -0.2, 1.0])
    shares = (np.arange(300)[:, None, None] + 0.5) / 300
    points, eps = baseline + shares * (x - baseline), 1e-5
    expected = np.empty_like(x)
    for at in np.ndindex(x.shape):
        move = np.zeros_like(x)
        move[at] = eps
        slopes = (regressor.predict(points + move) - regressor.predict(points - move)) / (2 * eps)
        expected[at] = (x - baseline)[at] * slopes.mean()
    (found,) = regressor.explain([x], baseline=baseline)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_integrated_gradients_find_a_corner():
    """relu(x1 - 0.7 x2) at (1, 1) from (1, 3): the line crosses the corner, and the slopes there are known."""
    slopes = np.array([[1.0, -0.7]])
    score = Score(
        lambda p: np.maximum(p @ slopes[0], 0)[:, 0],
        lambda p: np.where((p @ slopes[0])[..., None] > 0, slopes, 0.0),
    )
    attributions, gap = integrated_gradients(score, np.array([[1.0, 1.0]]), np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(attributions, [[0, 0.3]], rtol=1e-3)
    assert gap <= explanations.TOLERANCE


def test_blocks_do_not_matter(monkeypatch):
    regressor = small(LSTMRegressor, X, Y, pooling="max")
    whole = [regressor.explain(X, method) for method in METHODS[:2]]
    monkeypatch.setattr(explanations, "BLOCK_VALUES", 20)
    for method, expected in zip(METHODS, whole, strict=False):
        for a, b in zip(regressor.explain(X, method), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_occlusion_of_all_steps():
    """A window as long as the sequence, and longer, takes all of a feature away at once."""
    score = Score(lambda p: p[:, :, 0].sum(axis=1) ** 2 + p[:, :, 1].prod(axis=1), None)
    x = np.array([[1.0, 2.0], [2.0, 3.0]])
    for window in (2, 5):
        np.testing.assert_array_equal(occlusion(score, x, np.zeros((2, 2)), window), [[9, 6], [9, 6]])
    np.testing.assert_array_equal(occlusion(score, x, np.zeros((2, 2)), 1, by_feature=False), [[11], [14]])
