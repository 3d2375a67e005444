"""The reference is right: against complex steps, central differences, PyTorch's results and values worked out by hand.

A gradient check proves that backward belongs to forward. That forward is the right function is shown by PyTorch
(the layers) and by hand (pooling, masks, losses, penalty).
"""

from copy import deepcopy
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from reference import (
    LAYER_PARAMETERS,
    Network,
    layer_backward,
    layer_forward,
    load_golden,
    lstm_backward,
    lstm_forward,
    network_forward,
    objective,
    quantile,
    sigmoid,
)

GOLDEN = load_golden()


# ---- tools ----------------------------------------------------------------------------------------------------------
def assert_close(actual, expected, rtol, what=""):
    """Relative to the largest expected element: a gradient's small elements carry the rounding of the large ones."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: {actual.shape} instead of {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * max(np.abs(expected).max(), 1e-3), err_msg=what)


def complex_step(function, array):
    """d function() / d array, element by element, where function reads the complex array in place."""
    step = 1e-30
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        array[index] += 1j * step
        gradient[index] = function().imag / step
        array[index] = array[index].real
    return gradient


def central_differences(function, array, indices, step=1e-5):
    """The same for some elements, and knowing nothing of complex numbers."""
    gradient = []
    for index in indices:
        middle = array[index]
        array[index] = middle + step
        above = function().real
        array[index] = middle - step
        below = function().real
        array[index] = middle
        gradient.append((above - below) / (2 * step))
    return np.array(gradient)


def check_gradients(function, arrays, gradients):
    """arrays, gradients: {name: array}; function() reads arrays in place, which are complex."""
    assert arrays.keys() == gradients.keys()
    rng = np.random.default_rng(0)
    for name, array in arrays.items():
        assert_close(gradients[name], complex_step(function, array), 1e-12, name)
        indices = [tuple(rng.integers(array.shape)) for _ in range(4)]
        expected = central_differences(function, array, indices)
        np.testing.assert_allclose([gradients[name][index] for index in indices], expected, rtol=1e-6, atol=1e-8)


def draw_layer(rng, n_features, n_units, bidirectional=False):
    def triple():
        shapes = (n_features, 4 * n_units), (n_units, 4 * n_units), (4 * n_units,)
        return tuple(rng.normal(size=shape) for shape in shapes)

    return {"forward": triple(), "backward": triple() if bidirectional else None}


def draw_network(rng, n_features=2, units=(3,), bidirectional=False, pooling="last", dense=(2,)):
    layers = []
    for n_units in units:
        layers.append(draw_layer(rng, n_features, n_units, bidirectional))
        n_features = n_units * (2 if bidirectional else 1)
    sizes = (n_features, *dense)
    dense = [(rng.normal(size=size), rng.normal(size=size[1])) for size in pairwise(sizes)]
    return Network(layers, pooling, dense)


def draw_masks(rng, network):
    """Dropout of a half, as fit would draw it, and each array with a one and a zero where it has room."""

    def mask(n_units):
        return rng.permutation(np.resize([2.0, 0.0, 2.0], n_units))

    layers = []
    for layer in network.layers:
        directions = {d: mask(len(triple[1])) for d, triple in layer.items() if triple is not None}
        layers.append({"input": mask(len(layer["forward"][0])), **directions})
    return {"layers": layers, "dense": [mask(len(weight)) for weight, _ in network.dense]}


def check_objective(rng, network, loss, targets, lengths=(4, 1, 3), **options):
    """All gradients of the objective; options as for objective."""
    xs = [rng.normal(size=(length, 2)) for length in lengths]
    _, gradients, dxs = objective(network, xs, targets, loss, **options)

    def widened(triple):
        return None if triple is None else tuple(array.astype(complex) for array in triple)

    layers = [{direction: widened(triple) for direction, triple in layer.items()} for layer in network.layers]
    network = Network(layers, network.pooling, [widened(pair) for pair in network.dense])
    xs = [x.astype(complex) for x in xs]
    arrays = network.parameters() | {f"x {s}": x for s, x in enumerate(xs)}
    gradients |= {f"x {s}": dx for s, dx in enumerate(dxs)}
    check_gradients(lambda: objective(network, xs, targets, loss, backward=False, **options)[0], arrays, gradients)


# ---- one direction of one layer -------------------------------------------------------------------------------------
def test_sigmoid():
    z = np.array([-1000.0, -700.0, -1.0, 0.0, 1.0, 1000.0])
    with np.errstate(all="raise", under="ignore"):
        s = sigmoid(z)
    expected = [0, np.exp(-700.0), 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1]
    np.testing.assert_allclose(s, expected, rtol=1e-15, atol=0)
    assert sigmoid(np.float32(1)).dtype == np.float64


def test_one_step_by_hand():
    # z = [0.5 x + 2 h0 + b] a gate; i, f, g, o in this order
    z = np.array([0.1, -0.2, 0.3, 0.4])
    kernel, recurrent_kernel = np.full((1, 4), 0.5), np.full((1, 4), 2.0)
    y, (h, c), _ = lstm_forward([[3.0]], kernel, recurrent_kernel, z - 1.5 - 0.5, h0=[0.25], c0=[-2.0])
    expected_c = -2.0 / (1 + np.exp(0.2)) + np.tanh(0.3) / (1 + np.exp(-0.1))
    expected_h = np.tanh(expected_c) / (1 + np.exp(-0.4))
    np.testing.assert_allclose([c[0], h[0], y[0, 0]], [expected_c, expected_h, expected_h], rtol=1e-14)


@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize(("T", "F", "H"), [(1, 1, 1), (4, 1, 1), (1, 3, 2), (3, 2, 7), (3, 1, 8)])
def test_lstm_gradients(T, F, H, with_mask, with_states):
    rng = np.random.default_rng(1)
    names = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")
    shapes = ((T, F), (F, 4 * H), (H, 4 * H), (4 * H,), (H,), (H,))
    arrays = {name: rng.normal(size=shape) for name, shape in zip(names, shapes, strict=True)}
    if not with_states:
        del arrays["h0"], arrays["c0"]
    mask = rng.permutation(np.resize([1.5, 0.0, 0.5], H)) if with_mask else None
    dy, dh, dc = rng.normal(size=(T, H)), rng.normal(size=H), rng.normal(size=H)

    *_, cache = lstm_forward(**arrays, recurrent_mask=mask)
    gradients = dict(zip(names, lstm_backward(dy, dh, dc, cache), strict=True))
    arrays = {name: array.astype(complex) for name, array in arrays.items()}
    gradients = {name: gradients[name] for name in arrays}

    def loss():
        y, (h, c), _ = lstm_forward(**arrays, recurrent_mask=mask)
        return (y * dy).sum() + (h * dh).sum() + (c * dc).sum()

    check_gradients(loss, arrays, gradients)


def test_recurrent_mask_scales_the_product_only():
    rng = np.random.default_rng(2)
    (kernel, recurrent_kernel, bias), x = draw_layer(rng, 2, 3)["forward"], rng.normal(size=(5, 2))
    mask = np.array([0.0, 2.0, 1.0])
    masked = lstm_forward(x, kernel, recurrent_kernel, bias, recurrent_mask=mask)
    scaled = lstm_forward(x, kernel, mask[:, None] * recurrent_kernel, bias)
    np.testing.assert_allclose(masked[0], scaled[0], rtol=1e-14)
    np.testing.assert_allclose(masked[1], scaled[1], rtol=1e-14)
    assert np.all(masked[0] != 0)


# ---- layers, against PyTorch ----------------------------------------------------------------------------------------
def test_golden_data_covers_what_it_should():
    assert len(GOLDEN) == 9
    assert any("backward" in case["layers"][0] and len(case["layers"]) == 2 for case in GOLDEN)
    assert {1, 7, 8, 9, 16, 17, 33} == {len(case["layers"][0]["forward"]["recurrent_kernel"]) for case in GOLDEN}
    assert any(np.ptp(case["lengths"]) and case["layers"][0]["h0"].any() for case in GOLDEN)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_layers_agree_with_pytorch(case):
    n_steps = case["x"].shape[1]
    results = []  # of the sequences, each {name: array}
    for s, length in enumerate(case["lengths"]):
        a, caches, result = case["x"][s, :length], [], {}
        for k, layer in enumerate(case["layers"]):
            triples = {d: [layer[d][name] for name in LAYER_PARAMETERS] for d in ("forward", "backward") if d in layer}
            h0, c0 = (np.atleast_2d(layer[name][s]) for name in ("h0", "c0"))
            a, (h, c), cache = layer_forward(a, triples, h0, c0)
            caches.append(cache)
            result |= {f"{k} h": h.reshape(layer["h"][s].shape), f"{k} c": c.reshape(layer["c"][s].shape)}
        result["y"] = a
        da = case["dy"][s, :length]
        for k, layer in reversed(list(enumerate(case["layers"]))):
            dh, dc = (np.atleast_2d(layer[name][s]) for name in ("dh", "dc"))
            da, by_direction, dh0, dc0 = layer_backward(da, dh, dc, caches[k])
            result |= {f"{k} dh0": dh0.reshape(layer["dh0"][s].shape), f"{k} dc0": dc0.reshape(layer["dc0"][s].shape)}
            for direction, arrays in by_direction.items():
                names = [f"{k} {direction} d{name}" for name in LAYER_PARAMETERS]
                result |= dict(zip(names, arrays, strict=True))
        result["dx"] = da
        results.append(result)

    def padded(name):
        return np.stack([np.pad(r[name], [(0, n_steps - len(r[name])), (0, 0)]) for r in results])

    assert_close(padded("y"), case["y"], 1e-12, "y")
    assert_close(padded("dx"), case["dx"], 1e-12, "dx")
    for k, layer in enumerate(case["layers"]):
        for name in ("h", "c", "dh0", "dc0"):
            assert_close(np.stack([r[f"{k} {name}"] for r in results]), layer[name], 1e-12, f"{k} {name}")
        for direction in caches[k][0]:
            for name in LAYER_PARAMETERS:
                total = sum(r[f"{k} {direction} d{name}"] for r in results)
                assert_close(total, layer[direction][f"d{name}"], 1e-12, f"{k} {direction} d{name}")


def test_a_lone_backward_direction_is_the_second_half_of_a_bidirectional_layer():
    rng = np.random.default_rng(3)
    layer, x = draw_layer(rng, 2, 3, bidirectional=True), rng.normal(size=(4, 2))
    y, (h, c), _ = layer_forward(x, layer)
    y_alone, (h_alone, c_alone), _ = layer_forward(x, {"forward": None, "backward": layer["backward"]})
    assert np.array_equal(y_alone, y[:, 3:])
    assert np.array_equal(h_alone, h[1:])
    assert np.array_equal(c_alone, c[1:])
    assert np.array_equal(h, [y[3, :3], y[0, 3:]])


# ---- the network: forward by hand -----------------------------------------------------------------------------------
def test_pooling_by_hand():
    rng = np.random.default_rng(4)
    network, x = draw_network(rng, bidirectional=True, dense=()), rng.normal(size=(5, 2))
    y, _, _ = layer_forward(x, network.layers[0])
    for pooling, expected in [
        ("last", [*y[4, :3], *y[0, 3:]]),
        ("mean", [sum(column) / 5 for column in y.T]),
        ("max", [max(column) for column in y.T]),
    ]:
        network.pooling = pooling
        np.testing.assert_allclose(network_forward(network, x)[0], expected, rtol=1e-15)


def test_dense_layers_by_hand():
    rng = np.random.default_rng(5)
    network, x = draw_network(rng, dense=(6, 4, 2)), rng.normal(size=(5, 2))
    (pooled,) = layer_forward(x, network.layers[0])[1][0]
    (w0, b0), (w1, b1), (w2, b2) = network.dense
    first = pooled @ w0 + b0
    second = np.maximum(first, 0) @ w1 + b1
    expected = np.maximum(second, 0) @ w2 + b2
    assert first.min() < 0 < first.max()
    assert second.min() < 0 < second.max()
    assert expected.min() < 0, "nothing would show that the last layer has no relu"
    np.testing.assert_allclose(network_forward(network, x)[0], expected, rtol=1e-14)


def test_masks_scale_the_weights_they_meet():
    """A mask on a product's input is the product with the weight's rows scaled."""
    rng = np.random.default_rng(6)
    network = draw_network(rng, units=(3, 2), bidirectional=True, pooling="mean", dense=(4, 2))
    masks, scaled, x = draw_masks(rng, network), deepcopy(network), rng.normal(size=(4, 2))
    for layer, mask in zip(scaled.layers, masks["layers"], strict=True):
        for direction, (kernel, recurrent_kernel, _) in layer.items():
            kernel *= mask["input"][:, None]
            recurrent_kernel *= mask[direction][:, None]
    for (weight, _), mask in zip(scaled.dense, masks["dense"], strict=True):
        weight *= mask[:, None]
    output = network_forward(network, x, masks)[0]
    np.testing.assert_allclose(output, network_forward(scaled, x)[0], rtol=1e-13)
    assert not np.allclose(output, network_forward(network, x)[0])


def test_each_sequence_has_its_own_masks():
    rng = np.random.default_rng(14)
    network, x = draw_network(rng), rng.normal(size=(3, 2))
    masks = [draw_masks(rng, network), None]
    together, *_ = objective(network, [x, x], [0, 1], "cross_entropy", masks=masks)
    alone = [objective(network, [x], [s], "cross_entropy", masks=masks[s : s + 1])[0] for s in range(2)]
    np.testing.assert_allclose(together, sum(alone) / 2, rtol=1e-14)


@pytest.mark.parametrize(
    ("loss", "output", "target", "expected"),
    [
        ("cross_entropy", [0, 0, 0], 1, np.log(3)),
        ("cross_entropy", [1000, 0], 1, 1000),
        ("cross_entropy", [np.log(2), np.log(3), np.log(5)], 2, np.log(2)),
        ("binary_cross_entropy", [0], [1], np.log(2)),
        ("binary_cross_entropy", [np.log(3), np.log(3)], [1, 0], (np.log(4 / 3) + np.log(4)) / 2),
        ("binary_cross_entropy", [1000, -1000, -1000], [1, 0, 1], 1000 / 3),
        ("squared_error", [1, 5], [3, 5], 2),
        ("absolute_error", [1, 5], [3, 4], 1.5),
        ("huber", [0, 0], [0.5, -3], (0.125 + 2.5) / 2),
        (partial(quantile, level=0.9), [0, 0], [1, -1], (0.9 + 0.1) / 2),
        (partial(quantile, level=0.9), [0, 0, 0], [2, 1, 0], 0.9),
    ],
)
def test_losses_by_hand(loss, output, target, expected):
    """Through objective: a network whose weights are 0 puts out its last bias."""
    network = draw_network(np.random.default_rng(7), dense=(len(output),))
    network.dense[0][0][:] = 0
    network.dense[0][1][:] = output
    with np.errstate(all="raise", under="ignore"):
        value, *_ = objective(network, [np.ones((2, 2))], [np.asarray(target)], loss)
    np.testing.assert_allclose(value, expected, rtol=1e-14)


def test_weights_average_and_the_penalty_is_added_once():
    rng = np.random.default_rng(8)
    network = draw_network(rng, bidirectional=True)
    xs, targets = [rng.normal(size=(length, 2)) for length in (3, 1, 4)], rng.normal(size=(3, 2))
    first, second, third = (objective(network, [x], [t], "huber")[0] for x, t in zip(xs, targets, strict=True))
    plain, *_ = objective(network, xs, targets, "huber")
    weighted, *_ = objective(network, xs, targets, "huber", sample_weight=[2, 0, 6])
    penalised, *_ = objective(network, xs, targets, "huber", sample_weight=[2, 0, 6], alpha=0.5, l1_ratio=0.25)
    matrices = [w for name, w in network.parameters().items() if w.ndim == 2]
    assert len(matrices) == 5
    penalty = sum(0.5 * (0.25 * np.abs(w).sum() + 0.75 / 2 * (w * w).sum()) for w in matrices)
    np.testing.assert_allclose(plain, (first + second + third) / 3, rtol=1e-14)
    np.testing.assert_allclose(weighted, (2 * first + 6 * third) / 8, rtol=1e-14)
    np.testing.assert_allclose(penalised, weighted + penalty, rtol=1e-14)


# ---- the network: gradients -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("units", [(1,), (3,), (2, 3)])
def test_gradients_of_each_architecture(units, bidirectional, pooling):
    rng = np.random.default_rng(9)
    network = draw_network(rng, units=units, bidirectional=bidirectional, pooling=pooling)
    check_objective(rng, network, "cross_entropy", [0, 1, 1])


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("cross_entropy", [2, 0, 1]),
        ("binary_cross_entropy", [[1, 0, 0], [0, 0, 0], [1, 1, 1]]),
        *(
            (loss, [[0.3, 2.0, -1.0], [-3.0, 0.1, 0.0], [0.7, -0.4, 3.0]])
            for loss in ("squared_error", "absolute_error", "huber", partial(quantile, level=0.8))
        ),
    ],
)
def test_gradients_of_each_loss(loss, targets):
    rng = np.random.default_rng(10)
    network = draw_network(rng, units=(2,), dense=(3,))
    weight = [0.5, 3.0, 1.0]
    check_objective(rng, network, loss, np.array(targets), sample_weight=weight, alpha=0.1, l1_ratio=0.3)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_gradients_with_everything_on(pooling):
    rng = np.random.default_rng(11)
    network = draw_network(rng, units=(3, 2), bidirectional=True, pooling=pooling, dense=(4, 3, 2))
    masks = [draw_masks(rng, network), None, draw_masks(rng, network)]
    targets = rng.normal(size=(3, 2))
    options = {"masks": masks, "sample_weight": [1, 2, 0.5], "alpha": 0.01, "l1_ratio": 0.5}
    check_objective(rng, network, "huber", targets, lengths=(3, 1, 2), **options)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_gradients_of_one_sequence_of_one_step(pooling):
    rng = np.random.default_rng(12)
    network = draw_network(rng, units=(1,), dense=(), pooling=pooling)
    check_objective(rng, network, "squared_error", np.array([[0.4]]), lengths=(1,))


def test_subgradients_at_the_kinks():
    """0 wherever the slope jumps, except relu and max, which have theirs from the forward pass."""
    network = draw_network(np.random.default_rng(13), dense=(1,))
    network.dense[0][0][:] = 0
    network.dense[0][1][:] = 0.5
    for loss in ("absolute_error", partial(quantile, level=0.9)):
        _, gradients, _ = objective(network, [np.ones((2, 2))], np.array([[0.5]]), loss, alpha=1.0, l1_ratio=1.0)
        assert gradients["dense.0.bias"] == 0
        assert not gradients["dense.0.weight"].any()
