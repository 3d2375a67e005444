"""The conditional random field against enumeration of all label sequences, and against a reference in log space.

Legend: K labels, z (S, K) scores of the steps of all sequences, one sequence after the other; T its length.
"""

import itertools
import pickle

import numpy as np
import pytest
from gradients import STEP, central_differences
from scipy.special import logsumexp

from lstmfast import _core
from lstmfast._core import Batch
from lstmfast.layers import CRF

NAMES = ("transitions", "start", "end")
LENGTHS = [5, 4, 4, 2, 1, 1]


def build(n_labels, lengths=LENGTHS, *, dtype="float64", scale=1.0, seed=0):
    """A layer, a batch, z, labels and weights, all drawn."""
    rng = np.random.default_rng(seed)
    layer = CRF(n_labels, dtype=dtype)
    for name in NAMES:
        setattr(layer, name, rng.normal(scale=scale, size=layer.shapes[name]))
    batch = Batch(np.array(lengths))
    z = rng.normal(scale=scale, size=(batch.n_steps, n_labels)).astype(dtype)
    return layer, batch, z, rng.integers(0, n_labels, batch.n_steps), rng.uniform(0.1, 1, batch.n_rows)


def places(lengths):
    """The steps of each sequence, as slices."""
    ends = np.cumsum(lengths)
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def path_score(layer, z, path):
    score = float(layer.start[path[0]]) + float(layer.end[path[-1]])
    score += sum(float(z[t, label]) for t, label in enumerate(path))
    return score + sum(float(layer.transitions[i, j]) for i, j in itertools.pairwise(path))


def enumerate_paths(layer, z):
    """All paths (n, T), the last label varying slowest, and their scores."""
    paths = np.array([path[::-1] for path in itertools.product(range(layer.n_labels), repeat=len(z))])
    return paths, np.array([path_score(layer, z, path) for path in paths])


def expected_counts(layer, z):
    """log-partition, marginals, expected transitions, by enumeration."""
    paths, scores = enumerate_paths(layer, z)
    log_partition = logsumexp(scores)
    probabilities = np.exp(scores - log_partition)
    marginals, transitions = np.zeros(z.shape), np.zeros((layer.n_labels, layer.n_labels))
    for path, probability in zip(paths, probabilities, strict=True):
        marginals[np.arange(len(z)), path] += probability
        np.add.at(transitions, (path[:-1], path[1:]), probability)
    return log_partition, marginals, transitions


def log_space(layer, z):
    """The same for one long sequence, by the textbook recursion in float64."""
    z, transitions = z.astype(np.float64), layer.transitions.astype(np.float64)
    z = z.copy()
    z[0] += layer.start
    z[-1] += layer.end
    alpha, beta = z.copy(), np.zeros_like(z)
    for t in range(1, len(z)):
        alpha[t] += logsumexp(alpha[t - 1][:, None] + transitions, axis=0)
    for t in range(len(z) - 2, -1, -1):
        beta[t] = logsumexp(transitions + z[t + 1] + beta[t + 1], axis=1)
    log_partition = logsumexp(alpha[-1])
    pairs = np.zeros_like(transitions)
    for t in range(1, len(z)):
        pairs += np.exp(alpha[t - 1][:, None] + transitions + z[t] + beta[t] - log_partition)
    return log_partition, np.exp(alpha + beta - log_partition), pairs


def unsafe_rows(layer, batch, z):
    """Which sequences the scaled recursion gives up on."""
    unsafe = np.empty(batch.n_rows, np.uint8)
    parameters = [layer.arrays[name] for name in NAMES]
    with np.errstate(all="ignore"):
        _core.crf_scaled(batch, z, *parameters, np.empty(batch.n_rows), unsafe, np.empty_like(z))
    return unsafe.astype(bool)


def check_against(reference, layer, batch, z, labels, weights, tolerance):
    """Every result of the layer."""
    losses, transitions = [], np.zeros((layer.n_labels, layer.n_labels))
    log_partition, marginals = layer.log_partition(batch, z), layer.marginals(batch, z)
    value, dz = layer.loss_and_gradient(batch, z, labels, weights)
    expected_dz = np.zeros(z.shape)
    dstart, dend = np.zeros(layer.n_labels), np.zeros(layer.n_labels)
    for r, place in enumerate(places(batch.lengths)):
        expected, expected_marginals, pairs = reference(layer, z[place])
        np.testing.assert_allclose(log_partition[r], expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(marginals[place], expected_marginals, atol=tolerance)
        path = labels[place]
        losses.append(expected - path_score(layer, z[place], path))
        expected_dz[place] = expected_marginals
        expected_dz[place][np.arange(len(path)), path] -= 1
        expected_dz[place] *= weights[r]
        np.subtract.at(pairs, (path[:-1], path[1:]), 1)
        transitions += weights[r] * pairs
        dstart += expected_dz[place][0]
        dend += expected_dz[place][-1]
    np.testing.assert_allclose(layer.negative_log_likelihood(batch, z, labels), losses, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(value, weights @ losses, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dz, expected_dz, atol=tolerance)
    for name, gradient in zip(NAMES, (transitions, dstart, dend), strict=True):
        np.testing.assert_allclose(layer.grads[name], gradient, atol=tolerance * batch.n_steps, err_msg=name)


# ---- against enumeration ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_labels", [1, 2, 3, 4])
def test_sums_equal_enumeration(n_labels, dtype):
    for seed in range(5):
        case = build(n_labels, dtype=dtype, seed=seed)
        check_against(expected_counts, *case, 1e-12 if dtype == "float64" else 3e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_labels", [1, 2, 3, 4])
def test_decode_finds_the_best_of_all(n_labels, dtype):
    for seed in range(5):
        layer, batch, z, _, _ = build(n_labels, dtype=dtype, seed=seed)
        decoded = layer.decode(batch, z)
        for place in places(LENGTHS):
            paths, scores = enumerate_paths(layer, z[place])
            np.testing.assert_array_equal(decoded[place], paths[scores.argmax()])
        scores = [path_score(layer, z[place], decoded[place]) for place in places(LENGTHS)]
        np.testing.assert_allclose(layer.scores(batch, z, decoded), scores, rtol=1e-12)


@pytest.mark.parametrize("n_labels", [2, 3, 4])
def test_of_equal_paths_the_lowest_is_decoded(n_labels):
    for seed in range(20):
        layer, batch, z, _, _ = build(n_labels)
        rng = np.random.default_rng(seed)
        for name in NAMES:
            setattr(layer, name, rng.integers(0, 2, layer.shapes[name]))
        z = rng.integers(0, 2, z.shape).astype(float)
        decoded = layer.decode(batch, z)
        for place in places(LENGTHS):
            paths, scores = enumerate_paths(layer, z[place])  # argmax: the first, whose last label is lowest
            np.testing.assert_array_equal(decoded[place], paths[scores.argmax()])
    layer = CRF(7)
    for name in NAMES:
        setattr(layer, name, np.zeros(layer.shapes[name]))
    assert not layer.decode(Batch(np.array([9])), np.zeros((9, 7), np.float32)).any()


# ---- against log space, where enumeration would not end --------------------------------------------------------------
@pytest.mark.parametrize("n_labels", [5, 16, 20, 33, 70])
def test_more_labels_and_steps(n_labels):
    case = build(n_labels, [40, 31, 31, 7, 1], scale=2.0)
    check_against(log_space, *case, 1e-11)
    case = build(n_labels, [40, 31, 31, 7, 1], scale=2.0, dtype="float32")
    assert not unsafe_rows(*case[:3]).any()
    check_against(log_space, *case, 2e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [10.0, 50.0, 200.0, 1e3, 1e4])
def test_large_scores(scale, dtype):
    for seed in range(5):
        case = build(6, [30, 21, 5, 2, 1], dtype=dtype, scale=scale, seed=seed)
        check_against(log_space, *case, 1e-8 if dtype == "float64" else 1e-5)
        with np.errstate(all="raise"):  # whatever the caller set
            case[0].loss_and_gradient(*case[1:])


def test_large_scores_take_every_path_of_the_code():
    """Each stage has sequences that it computes and sequences that it passes on."""
    for dtype, scale in (("float32", 13.0), ("float64", 150.0)):
        layer, batch, z, labels, weights = build(6, [30] * 20, dtype=dtype, scale=scale)
        unsafe = unsafe_rows(layer, batch, z)
        assert 0 < unsafe.sum() < 20
        check_against(log_space, layer, batch, z, labels, weights, 1e-5 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_scores_equal_enumeration(dtype):
    for scale in (30.0, 300.0, 1e4):
        check_against(expected_counts, *build(3, dtype=dtype, scale=scale), 1e-9 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_label_reached_only_against_all_odds(dtype):
    """All mass on label 0, then a step whose only way is from label 1: nothing of what matters may be 0."""
    layer, batch = CRF(2, dtype=dtype), Batch(np.array([3]))
    layer.transitions, layer.start, layer.end = [[0, -1e4], [-1e4, 0]], [0, 0], [0, 0]
    z = np.array([[9e3, 0], [0, 0], [0, 9.5e3]], dtype)
    # 0 0 0: 9000, 1 1 1: 9500, the others below 9000.
    np.testing.assert_allclose(layer.log_partition(batch, z), 9500, rtol=1e-6)
    np.testing.assert_allclose(layer.marginals(batch, z), [[0, 1]] * 3, atol=1e-6)
    np.testing.assert_array_equal(layer.decode(batch, z), [1, 1, 1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_forbidden_transitions(dtype):
    layer, batch, z, labels, weights = build(4, [12, 5], dtype=dtype)
    forbidden = np.array(layer.transitions)
    forbidden[0, 1] = forbidden[2, 1] = -1e4
    forbidden[3] = -1e4
    layer.transitions = forbidden
    assert not unsafe_rows(layer, batch, z).any()  # only a label that none leads to would be
    check_against(log_space, layer, batch, z, labels, weights, 1e-10 if dtype == "float64" else 1e-5)
    marginals, decoded = layer.marginals(batch, z), layer.decode(batch, z)
    assert marginals[:11, 3].max() == 0
    pairs = [pair for place in places([12, 5]) for pair in itertools.pairwise(decoded[place].tolist())]
    assert not any(layer.transitions[pair] == -1e4 for pair in pairs)


def test_a_long_sequence_neither_overflows_nor_drifts():
    case = build(5, [3000, 1], dtype="float32")
    expected, marginals, _ = log_space(case[0], case[2][:3000])
    np.testing.assert_allclose(case[0].log_partition(*case[1:3])[0], expected, rtol=1e-6)
    np.testing.assert_allclose(case[0].marginals(*case[1:3])[:3000], marginals, atol=1e-5)
    path = case[0].decode(*case[1:3])
    double = CRF(5, dtype="float64")
    for name in NAMES:
        setattr(double, name, getattr(case[0], name))
    np.testing.assert_array_equal(double.decode(case[1], case[2].astype(np.float64)), path)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_float32_equals_float64(scale):
    layer, batch, z, labels, weights = build(12, [25, 25, 9, 3, 1], dtype="float32", scale=scale)
    double = CRF(12, dtype="float64")
    for name in NAMES:
        setattr(double, name, getattr(layer, name))
    value, dz = layer.loss_and_gradient(batch, z, labels, weights)
    expected, expected_dz = double.loss_and_gradient(batch, z.astype(np.float64), labels, weights)
    assert dz.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(dz, expected_dz, atol=1e-5)
    for name in NAMES:
        np.testing.assert_allclose(layer.grads[name], double.grads[name], atol=1e-4)


# ---- gradients -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("n_labels", "scale"), [(1, 1.0), (3, 1.0), (9, 1.0), (3, 400.0)])
def test_gradients_equal_central_differences(n_labels, scale):
    layer, batch, z, labels, weights = build(n_labels, scale=scale)
    if scale > 1:  # several labellings of about the same score, so that the gradient is not a table of 0 and 1
        z = z.round(-3) + build(n_labels, seed=1)[2]
        layer.transitions = layer.transitions.round(-3) + build(n_labels, seed=2)[0].transitions
        layer.transitions = np.where(np.eye(n_labels), layer.transitions - 1000, layer.transitions)
        assert unsafe_rows(layer, batch, z).any()

    def value():
        return weights @ layer.negative_log_likelihood(batch, z, labels)

    def difference(array):
        return central_differences(value, array, step=STEP)

    result, dz = layer.loss_and_gradient(batch, z, labels, weights)
    assert result == pytest.approx(value(), rel=1e-14)
    tolerance = 1e-8 if scale == 1 else 1e-5
    np.testing.assert_allclose(dz, difference(z), atol=tolerance)
    for name in NAMES:
        np.testing.assert_allclose(layer.grads[name], difference(layer.arrays[name]), atol=tolerance, err_msg=name)


def test_gradients_are_added():
    layer, batch, z, labels, weights = build(3)
    layer.loss_and_gradient(batch, z, labels, weights)
    once = {name: layer.grads[name].copy() for name in NAMES}
    layer.loss_and_gradient(batch, z, labels, weights)
    for name in NAMES:
        np.testing.assert_allclose(layer.grads[name], 2 * once[name], rtol=1e-14)


def test_parameters_may_be_views_of_a_flat_array():
    layer, batch, z, labels, weights = build(3)
    other = CRF(3, dtype="float64", random_state=0)
    parameters, gradients = np.zeros(15), np.zeros(15)
    pieces = {"transitions": slice(0, 9), "start": slice(9, 12), "end": slice(12, 15)}
    other.bind(
        {name: parameters[piece].reshape(other.shapes[name]) for name, piece in pieces.items()},
        {name: gradients[piece].reshape(other.shapes[name]) for name, piece in pieces.items()},
    )
    for name in NAMES:
        setattr(other, name, getattr(layer, name))
    expected = layer.loss_and_gradient(batch, z, labels, weights)[0]
    assert other.loss_and_gradient(batch, z, labels, weights)[0] == expected
    np.testing.assert_array_equal(gradients, np.concatenate([layer.grads[name].ravel() for name in NAMES]))


# ---- company and threads ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("n_labels", "scale"), [(1, 1.0), (3, 1.0), (20, 1.0), (50, 3.0), (5, 20.0), (5, 200.0)])
def test_a_sequence_has_the_same_bits_alone(n_labels, scale, dtype):
    lengths = [30, 29, 17, 17, 17, 5, 2, 1, 1]
    layer, batch, z, labels, weights = build(n_labels, lengths, dtype=dtype, scale=scale)
    log_partition, marginals, decoded = layer.log_partition(batch, z), layer.marginals(batch, z), layer.decode(batch, z)
    losses = layer.negative_log_likelihood(batch, z, labels)
    _, dz = layer.loss_and_gradient(batch, z, labels, weights)
    for r, place in enumerate(places(lengths)):
        alone, own = Batch(np.array([lengths[r]])), np.ascontiguousarray(z[place])
        assert layer.log_partition(alone, own)[0] == log_partition[r]
        assert layer.negative_log_likelihood(alone, own, labels[place])[0] == losses[r]
        np.testing.assert_array_equal(layer.marginals(alone, own), marginals[place])
        np.testing.assert_array_equal(layer.decode(alone, own), decoded[place])
        np.testing.assert_array_equal(
            layer.loss_and_gradient(alone, own, labels[place], weights[r : r + 1])[1], dz[place]
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_threads_change_no_bit(scale, dtype):
    results = []
    for n_threads in (1, 2, 3, 40):  # 40: more than sequences
        layer, batch, z, labels, weights = build(24, [200, 60, 59, *[40] * 20, 1], dtype=dtype, scale=scale)
        assert batch.n_steps * 24 * 24 > 5e5
        value, dz = layer.loss_and_gradient(batch, z, labels, weights, n_threads)
        decoded = layer.decode(batch, z, n_threads)
        results.append([np.array(value), dz, decoded, *(layer.grads[name] for name in NAMES)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# ---- special values --------------------------------------------------------------------------------------------------
def test_one_label():
    layer, batch, z, labels, weights = build(1, scale=1e3)
    np.testing.assert_array_equal(layer.marginals(batch, z), 1)
    np.testing.assert_array_equal(layer.decode(batch, z), 0)
    np.testing.assert_allclose(layer.negative_log_likelihood(batch, z, labels), 0, atol=1e-9)
    value, dz = layer.loss_and_gradient(batch, z, labels, weights)
    assert value == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(dz, 0)


def test_one_step_is_a_softmax():
    layer, batch, z, _, _ = build(4, [1, 1, 1])
    logits = z + layer.start + layer.end
    np.testing.assert_allclose(layer.marginals(batch, z), np.exp(logits - logsumexp(logits, axis=1, keepdims=True)))
    np.testing.assert_array_equal(layer.decode(batch, z), logits.argmax(axis=1))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_stays_in_its_sequence(value, dtype):
    layer, batch, z, labels, weights = build(3, dtype=dtype)
    clean = layer.marginals(batch, z)
    place = places(LENGTHS)[1]
    z[place.start + 1, 2] = value
    marginals = layer.marginals(batch, z)
    assert np.isnan(marginals[place]).any()
    assert np.isnan(layer.loss_and_gradient(batch, z, labels, weights)[0])
    other = np.ones(len(z), bool)
    other[place] = False
    np.testing.assert_array_equal(marginals[other], clean[other])
    decoded = layer.decode(batch, z)
    assert decoded.min() >= 0
    assert decoded.max() < 3


def test_weights_scale_a_sequence():
    layer, batch, z, labels, weights = build(3)
    weights[[1, 4]] = 0
    value, dz = layer.loss_and_gradient(batch, z, labels, weights)
    losses = layer.negative_log_likelihood(batch, z, labels)
    assert value == pytest.approx(weights @ losses, rel=1e-14)
    assert not dz[places(LENGTHS)[1]].any()
    assert not dz[places(LENGTHS)[4]].any()


def test_state():
    layer = CRF(3, random_state=1)
    assert repr(layer) == "CRF(3, dtype='float32')"
    assert layer.transitions.dtype == np.float32
    np.testing.assert_array_equal(layer.transitions, CRF(3, random_state=1).transitions)
    assert np.abs(layer.transitions).max() <= 0.1
    assert not np.array_equal(layer.start, layer.end)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(layer)).transitions, layer.transitions)
    with pytest.raises(ValueError, match="transitions must have shape"):
        layer.transitions = np.zeros((2, 3))
    with pytest.raises(ValueError, match="NaN"):
        layer.start = [0, np.nan, 0]


# ---- bad arguments ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_labels", [0, -1, 2.0, True, "3", None])
def test_bad_number_of_labels(n_labels):
    with pytest.raises((ValueError, TypeError), match="n_labels"):
        CRF(n_labels)


def test_bad_dtype():
    with pytest.raises(ValueError, match="dtype"):
        CRF(3, dtype="float16")


def call_all(layer, batch, z):
    yield lambda: layer.log_partition(batch, z)
    yield lambda: layer.marginals(batch, z)
    yield lambda: layer.decode(batch, z)
    yield lambda: layer.scores(batch, z, np.zeros(17, int))
    yield lambda: layer.negative_log_likelihood(batch, z, np.zeros(17, int))
    yield lambda: layer.loss_and_gradient(batch, z, np.zeros(17, int), np.ones(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z[:-1], r"z must have shape \(17, 3\)"),
        (lambda z: z[:, :2].copy(), r"z must have shape \(17, 3\)"),
        (lambda z: z[None], r"z must have shape \(17, 3\)"),
        (lambda z: z.astype(np.float32), "z must be an array of float64"),
        (lambda z: z.astype(">f8"), "z must be an array of float64"),
        (lambda z: z.astype(int), "z must be an array of float64"),
        (lambda z: z.tolist(), "z must be an array of float64"),
        (lambda z: None, "z must be an array of float64"),
        (lambda z: np.asfortranarray(z), "z must be C-contiguous"),
        (lambda z: z[::-1], "z must be C-contiguous"),
    ],
)
def test_bad_z(change, message):
    layer, batch, z, _, _ = build(3)
    for call in call_all(layer, batch, change(z)):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_bad_batch():
    layer, _, z, _, _ = build(3)
    for call in call_all(layer, LENGTHS, z):
        with pytest.raises(TypeError, match="batch must be a Batch"):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: np.where(np.arange(17) == 6, 3, labels), r"in \[0, 3\), got labels\[6\] = 3"),
        (lambda labels: np.where(np.arange(17) == 16, -1, labels), r"in \[0, 3\), got labels\[16\] = -1"),
        (lambda labels: np.where(np.arange(17) == 0, 2**64 - 1, labels.astype(np.uint64)), r"got labels\[0\]"),
        (lambda labels: labels[:-1], r"labels must have shape \(17,\)"),
        (lambda labels: labels[:, None], r"labels must have shape \(17,\)"),
        (lambda labels: labels.astype(float), "labels must be integers"),
        (lambda labels: labels > 0, "labels must be integers"),
        (lambda labels: labels.astype(str), "labels must be integers"),
        (lambda labels: None, "labels must be integers"),
    ],
)
def test_bad_labels(change, message):
    layer, batch, z, labels, weights = build(3)
    for call in (layer.scores, layer.negative_log_likelihood):
        with pytest.raises((ValueError, TypeError), match=message):
            call(batch, z, change(labels))
    with pytest.raises((ValueError, TypeError), match=message):
        layer.loss_and_gradient(batch, z, change(labels), weights)
    for name in NAMES:
        assert not layer.grads[name].any()


def test_labels_of_any_integer_kind():
    layer, batch, z, labels, weights = build(3)
    expected = layer.loss_and_gradient(batch, z, labels, weights)[0]
    for other in (labels.astype(np.uint8), labels.astype(">i2"), labels.tolist(), np.repeat(labels, 2)[::2]):
        assert layer.loss_and_gradient(batch, z, other, weights)[0] == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"weights must have shape \(6,\)"),
        (1.0, r"weights must have shape \(6,\)"),
        (np.full(6, np.nan), "weights must be finite"),
        (["a"] * 6, "weights must be numbers"),
        (None, "weights must be numbers"),
    ],
)
def test_bad_weights(weights, message):
    layer, batch, z, labels, _ = build(3)
    with pytest.raises((ValueError, TypeError), match=message):
        layer.loss_and_gradient(batch, z, labels, weights)


@pytest.mark.parametrize("n_threads", [0, -1])
def test_bad_threads(n_threads):
    layer, batch, z, _, _ = build(3)
    for call in (layer.log_partition, layer.marginals, layer.decode):
        with pytest.raises(ValueError, match="n_threads"):
            call(batch, z, n_threads)


def test_the_core_checks_by_itself():
    """Whoever calls the compiled functions directly gets an error, too, not a crash."""
    layer, batch, z, labels, weights = build(3)
    scores, unsafe, parameters = np.empty(6), np.empty(6, np.uint8), [layer.arrays[name].copy() for name in NAMES]
    wide, short = np.zeros((3, 4)), np.zeros(2)
    calls = [
        (lambda: _core.crf_scaled(batch, z[:-1], *parameters, scores, unsafe), "z must"),
        (lambda: _core.crf_scaled(batch, z, wide, *parameters[1:], scores, unsafe), "square"),
        (lambda: _core.crf_scaled(batch, z, parameters[0], short, parameters[2], scores, unsafe), "start"),
        (lambda: _core.crf_scaled(batch, z, *parameters, scores[:5], unsafe), "log_partition"),
        (lambda: _core.crf_scaled(batch, z, *parameters, scores, unsafe[:5]), "unsafe"),
        (lambda: _core.crf_scaled(batch, z, *parameters, scores, unsafe, z[:-1]), "marginals"),
        (lambda: _core.crf_scaled(batch, z, *parameters, scores, unsafe, z, None, parameters[0]), "weights"),
        (lambda: _core.crf_scaled(batch, z, *parameters, scores, unsafe, z, short, parameters[0]), "weights"),
        (lambda: _core.crf_scaled(batch, z, *parameters, scores, unsafe, z, weights, wide), "dtransitions"),
        (lambda: _core.crf_log_space(batch, z, *parameters, scores, z[:-1], weights, parameters[0]), "marginals"),
        (lambda: _core.crf_log_space(batch, z, *parameters, scores, z, weights, wide), "dtransitions"),
        (lambda: _core.crf_log_space(batch, z, *parameters, scores, z, short, parameters[0]), "weights"),
        (lambda: _core.crf_scores(batch, z, *parameters, labels + 3, scores), "no label"),
        (lambda: _core.crf_scores(batch, z, *parameters, labels[1:], scores), "labels"),
        (lambda: _core.crf_scores(batch, z, *parameters, labels, scores[1:]), "scores"),
        (lambda: _core.crf_gradient(batch, labels - 3, weights, z, *parameters), "no label"),
        (lambda: _core.crf_gradient(batch, labels, short, z, *parameters), "weights"),
        (lambda: _core.crf_decode(batch, z, *parameters, labels[1:]), "labels"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
