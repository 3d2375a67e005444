"""The reference is right: against complex steps, central differences, PyTorch, ONNX Runtime and values worked out by
hand.

A gradient check proves that backward belongs to forward. That forward is the right function is shown by PyTorch and
ONNX Runtime (the layers of LSTM, GRU and RNN) and by hand (every cell's step, pooling, masks, losses, penalty).
"""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import exp, tanh

import numpy as np
import pytest
from reference import (
    ACTIVATIONS,
    LAYER_PARAMETERS,
    LSTM,
    PARAMETERS,
    READING_ORDER,
    Cell,
    Network,
    conv_backward,
    conv_forward,
    direction_forward,
    layer_backward,
    layer_forward,
    load_golden,
    network_forward,
    objective,
    parameter_shapes,
    pool_forward,
    quantile,
    sigmoid,
)

GOLDEN = load_golden() + load_golden("torch_gru_rnn.npz")
GOLDEN_ONNX = load_golden("onnx.npz")


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


def draw_layer(rng, n_features, n_units, bidirectional=False, kind="lstm"):
    def parameters():
        return tuple(rng.normal(size=shape) for shape in parameter_shapes(kind, n_features, n_units).values())

    return {"forward": parameters(), "backward": parameters() if bidirectional else None}


def draw_network(rng, n_features=2, units=(3,), bidirectional=False, pooling="last", dense=(2,), cell=LSTM, conv=()):
    layers, convolutions = [], []
    for filters, width in conv:
        convolutions.append((rng.normal(size=(width, n_features, filters)), rng.normal(size=filters)))
        n_features = filters
    for n_units in units:
        layers.append(draw_layer(rng, n_features, n_units, bidirectional, cell.kind))
        n_features = n_units * (2 if bidirectional else 1)
    sizes = (n_features, *dense)
    dense = [(rng.normal(size=size), rng.normal(size=size[1])) for size in pairwise(sizes)]
    attention = [rng.normal(size=size) for size in ((n_features, 4), (4,), (4, 1))] if pooling == "attention" else []
    return Network(layers, pooling, dense, cell, convolutions, attention)


def draw_mask(rng, n):
    """Dropout of a half, as fit would draw it, with a two and a zero where it has room."""
    return rng.permutation(np.resize([2.0, 0.0, 2.0], n))


def draw_layer_masks(rng, layer):
    directions = {d: draw_mask(rng, len(parameters[1])) for d, parameters in layer.items() if parameters is not None}
    return {"input": draw_mask(rng, len(layer["forward"][0])), **directions}


def draw_masks(rng, network):
    layers = [draw_layer_masks(rng, layer) for layer in network.layers]
    conv = [draw_mask(rng, kernel.shape[1]) for kernel, _ in network.conv]
    return {"conv": conv, "layers": layers, "dense": [draw_mask(rng, len(weight)) for weight, _ in network.dense]}


def widened(parameters):
    """Complex copies."""
    return None if parameters is None else tuple(array.astype(complex) for array in parameters)


def by_name(kind, by_direction):
    """{direction: parameters or their gradients} -> {"forward kernel": array, ...}."""
    return {
        f"{direction} {name}": array
        for direction, arrays in by_direction.items()
        if arrays is not None
        for name, array in zip(PARAMETERS[kind], arrays, strict=True)
    }


def check_objective(rng, network, loss, targets, lengths=(4, 1, 3), **options):
    """All gradients of the objective; options as for objective."""
    xs = [rng.normal(size=(length, 2)) for length in lengths]
    _, gradients, dxs = objective(network, xs, targets, loss, **options)
    layers = [{direction: widened(arrays) for direction, arrays in layer.items()} for layer in network.layers]
    network = replace(
        network, layers=layers, dense=[widened(pair) for pair in network.dense],
        conv=[widened(pair) for pair in network.conv], attention=widened(network.attention),
    )  # fmt: skip
    xs = [x.astype(complex) for x in xs]
    arrays = network.parameters() | {f"x {s}": x for s, x in enumerate(xs)}
    gradients |= {f"x {s}": dx for s, dx in enumerate(dxs)}
    check_gradients(lambda: objective(network, xs, targets, loss, backward=False, **options)[0], arrays, gradients)


# ---- activations ----------------------------------------------------------------------------------------------------
def test_sigmoid():
    z = np.array([-1000.0, -700.0, -1.0, 0.0, 1.0, 1000.0])
    with np.errstate(all="raise", under="ignore"):
        s = sigmoid(z)
    expected = [0, np.exp(-700.0), 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1]
    np.testing.assert_allclose(s, expected, rtol=1e-15, atol=0)
    assert sigmoid(np.float32(1)).dtype == np.float64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [-1000, -1.5, -0.75, 0, 0.75, 1.5, 1000]),
        ("tanh", [-1, tanh(-1.5), tanh(-0.75), 0, tanh(0.75), tanh(1.5), 1]),
        ("sigmoid", [0, 1 / (1 + exp(1.5)), 1 / (1 + exp(0.75)), 0.5, 1 / (1 + exp(-0.75)), 1 / (1 + exp(-1.5)), 1]),
        ("hard_sigmoid", [0, 0.25, 0.375, 0.5, 0.625, 0.75, 1]),
        ("relu", [0, 0, 0, 0, 0.75, 1.5, 1000]),
        ("elu", [-1, exp(-1.5) - 1, exp(-0.75) - 1, 0, 0.75, 1.5, 1000]),
        ("softsign", [-1000 / 1001, -3 / 5, -3 / 7, 0, 3 / 7, 3 / 5, 1000 / 1001]),
        ("hard_tanh", [-1, -1, -0.75, 0, 0.75, 1, 1]),
    ],
)
def test_activations_by_hand(name, expected):
    function, slope = ACTIVATIONS[name]
    z = np.array([-1000, -1.5, -0.75, 0, 0.75, 1.5, 1000])
    with np.errstate(all="raise", under="ignore"):
        a = function(z)
        slopes = slope(z, a)
    np.testing.assert_allclose(a, expected, rtol=1e-14, atol=0)
    complex_slopes = function(z + 1e-30j).imag / 1e-30
    complex_slopes[3] *= name != "relu"  # which has its kink there
    np.testing.assert_allclose(slopes, complex_slopes, rtol=1e-14, atol=1e-16)


def test_activations_at_their_kinks():
    """No other has one: softsign's slope and elu's are 1 on both sides of 0."""
    for name, kinks in {"relu": [0.0], "hard_tanh": [-1.0, 1.0], "hard_sigmoid": [-3.0, 3.0]}.items():
        function, slope = ACTIVATIONS[name]
        assert not slope(np.array(kinks), function(np.array(kinks))).any()


# ---- one step, by hand ----------------------------------------------------------------------------------------------
def step_by_hand(kind, x, h_prev, c, m, p, s, t):
    """One unit, one feature: numbers only. s, t: sigmoid and tanh of a clipped number; p: {name: list of numbers}.

    -> h, c (None if there is none), written from the literature's formulas, not from reference.py.
    """
    h = m * h_prev
    w, r, b = p["kernel"], p["recurrent_kernel"], p["bias"]
    if kind == "rnn":
        return t(x * w[0] + h * r[0] + b[0]), None
    if kind.startswith("gru"):
        reset, update = s(x * w[0] + h * r[0] + b[0]), s(x * w[1] + h * r[1] + b[1])
        if kind == "gru":
            n = t(x * w[2] + b[2] + reset * (h * r[2] + p["recurrent_bias"][0]))
        else:
            n = t(x * w[2] + b[2] + reset * h * r[2])
        return (1 - update) * n + update * h_prev, None
    if kind == "lstm-coupled":
        f, g, o = s(x * w[0] + h * r[0] + b[0]), t(x * w[1] + h * r[1] + b[1]), s(x * w[2] + h * r[2] + b[2])
        c = f * c + (1 - f) * g
        return o * tanh(c), c
    if kind == "lstm-cell-recurrent":
        i, f, o = s(x * w[0] + h * r[0] + b[0]), s(x * w[1] + h * r[1] + b[1]), s(x * w[2] + h * r[3] + b[3])
        c = f * c + i * t(c * r[2] + b[2])
        return o * tanh(c), c
    z = [x * w[k] + h * r[k] + b[k] for k in range(4)]
    if kind == "lstm":
        i, f, g = s(z[0]), s(z[1]), t(z[2])
        c = f * c + i * g
        o = s(z[3])
    elif kind == "lstm-gated-recurrence":
        i, f = s(z[0]), s(z[1])
        c = f * c + i * t(x * w[2] + i * h * r[2] + b[2])
        o = s(z[3])
    elif kind == "lstm-peephole":
        p_i, p_f, p_o = p["peephole"]
        i, f, g = s(z[0] + p_i * c), s(z[1] + p_f * c), t(z[2])
        c = f * c + i * g
        o = s(z[3] + p_o * c)
    else:
        assert kind == "lstm-full-peephole"
        v = p["peephole_kernel"]
        i, f, g, o = s(z[0] + v[0] * c), s(z[1] + v[1] * c), t(z[2] + v[2] * c), s(z[3] + v[3] * c)
        c = f * c + i * g
    return o * tanh(c), c


@pytest.mark.parametrize("mask", [None, 2.0])
@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("kind", PARAMETERS)
def test_one_step_by_hand(kind, clip, mask):
    rng = np.random.default_rng(15)
    x, h0, c0 = 0.75, -0.5, 1.25
    shapes = parameter_shapes(kind, 1, 1)
    numbers = {name: rng.normal(size=np.prod(shape)).tolist() for name, shape in shapes.items()}
    arguments = []

    def clipped(z):
        arguments.append(z)
        return z if clip is None else min(max(z, -clip), clip)

    expected_h, expected_c = step_by_hand(
        kind, x, h0, c0, mask or 1.0, numbers, lambda z: 1 / (1 + exp(-clipped(z))), lambda z: tanh(clipped(z))
    )
    parameters = [np.reshape(numbers[name], shape) for name, shape in shapes.items()]
    y, (h, c), _ = direction_forward(Cell(kind, clip=clip), [[x]], parameters, [h0], [c0], mask)
    np.testing.assert_allclose([y[0, 0], h[0]], expected_h, rtol=1e-14)
    assert (c is None) == (expected_c is None)
    if c is not None:
        np.testing.assert_allclose(c, [expected_c], rtol=1e-14)
    assert clip is None or max(map(abs, arguments)) > clip


@pytest.mark.parametrize("kind", PARAMETERS)
def test_parameter_shapes_by_hand(kind):
    shapes = {
        "lstm": [(2, 12), (3, 12), (12,)],
        "lstm-peephole": [(2, 12), (3, 12), (12,), (3, 3)],
        "lstm-full-peephole": [(2, 12), (3, 12), (12,), (3, 12)],
        "lstm-coupled": [(2, 9), (3, 9), (9,)],
        "lstm-gated-recurrence": [(2, 12), (3, 12), (12,)],
        "lstm-cell-recurrent": [(2, 9), (3, 12), (12,)],
        "gru": [(2, 9), (3, 9), (9,), (3,)],
        "gru-reset-before": [(2, 9), (3, 9), (9,)],
        "rnn": [(2, 3), (3, 3), (3,)],
    }
    assert list(parameter_shapes(kind, 2, 3).values()) == shapes[kind]
    assert tuple(parameter_shapes(kind, 2, 3)) == tuple(PARAMETERS[kind])
    assert tuple(PARAMETERS[kind])[:3] == LAYER_PARAMETERS


@pytest.mark.parametrize("kind", PARAMETERS)
def test_recurrent_mask_scales_the_product_only(kind):
    rng = np.random.default_rng(2)
    parameters, x = draw_layer(rng, 2, 3, kind=kind)["forward"], rng.normal(size=(5, 2))
    mask = np.array([0.0, 2.0, 1.0])
    factors = np.repeat(mask[:, None], parameters[1].shape[1], axis=1)
    if kind == "lstm-cell-recurrent":
        factors[:, 6:9] = 1  # of g, which meets c
    scaled = [parameters[0], factors * parameters[1], *parameters[2:]]
    y, state, _ = direction_forward(Cell(kind), x, parameters, recurrent_mask=mask)
    y_scaled, state_scaled, _ = direction_forward(Cell(kind), x, scaled)
    np.testing.assert_allclose(y, y_scaled, rtol=1e-12)
    for a, b in zip(state, state_scaled, strict=True):
        assert (a is None and b is None) or np.allclose(a, b, rtol=1e-12, atol=0)
    assert np.all(y != 0)


# ---- the gradients of a layer ---------------------------------------------------------------------------------------
def check_layer(rng, cell, sizes, bidirectional, with_masks, with_states):
    """All gradients of sum(y dy) + sum(h dh) + sum(c dc)."""
    T, F, H = sizes
    D = 2 if bidirectional else 1
    layer = draw_layer(rng, F, H, bidirectional, cell.kind)
    masks = draw_layer_masks(rng, layer) if with_masks else None
    names = ("h", "c") if cell.kind.startswith("lstm") else ("h",)
    arrays = {"x": rng.normal(size=(T, F))}
    arrays |= {f"{name}0": rng.normal(size=(D, H)) for name in names if with_states}
    dy, dh, dc = rng.normal(size=(T, D * H)), rng.normal(size=(D, H)), rng.normal(size=(D, H))

    *_, cache = layer_forward(arrays["x"], layer, arrays.get("h0"), arrays.get("c0"), masks, cell)
    dx, by_direction, dh0, dc0 = layer_backward(dy, dh, dc, cache)
    assert (dc0 is None) == (names == ("h",))
    gradients = {"x": dx, "h0": dh0, "c0": dc0}
    gradients = {name: gradients[name] for name in arrays} | by_name(cell.kind, by_direction)

    layer = {direction: widened(parameters) for direction, parameters in layer.items()}
    arrays = {name: array.astype(complex) for name, array in arrays.items()}

    def loss():
        y, (h, c), _ = layer_forward(arrays["x"], layer, arrays.get("h0"), arrays.get("c0"), masks, cell)
        return (y * dy).sum() + (h * dh).sum() + (0.0 if c is None else (c * dc).sum())

    check_gradients(loss, arrays | by_name(cell.kind, layer), gradients)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 1, 1), (1, 3, 2), (3, 2, 7)], ids=str)
@pytest.mark.parametrize("kind", PARAMETERS)
def test_gradients_of_each_size(kind, sizes):
    rng = np.random.default_rng(1)
    check_layer(rng, Cell(kind), sizes, bidirectional=False, with_masks=False, with_states=False)
    check_layer(rng, Cell(kind), sizes, bidirectional=False, with_masks=True, with_states=True)


CONFIGURATIONS = [  # activation, recurrent activation, clip, bidirectional, masks, initial states
    ("tanh", "hard_sigmoid", None, True, False, True),
    ("relu", "sigmoid", None, False, True, False),
    ("sigmoid", "sigmoid", 1.0, True, True, False),
    ("identity", "hard_sigmoid", 0.7, False, False, True),
    ("softsign", "sigmoid", None, True, True, True),
    ("hard_tanh", "sigmoid", 1.5, False, False, False),
    ("elu", "hard_sigmoid", None, True, False, False),
    ("tanh", "sigmoid", 0.5, False, True, True),
]


def test_configurations_cover_what_they_should():
    phi, sigma, clip, *switches = (set(values) for values in zip(*CONFIGURATIONS, strict=True))
    assert phi | sigma == set(ACTIVATIONS)
    assert sigma == {"sigmoid", "hard_sigmoid"}
    assert None in clip
    assert len(clip) > 1
    assert switches == [{False, True}] * 3


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda configuration: "-".join(map(str, configuration)))
@pytest.mark.parametrize("kind", PARAMETERS)
def test_gradients_of_each_configuration(kind, configuration):
    activation, recurrent_activation, clip, *switches = configuration
    check_layer(np.random.default_rng(16), Cell(kind, activation, recurrent_activation, clip), (3, 2, 3), *switches)


@pytest.mark.parametrize("kind", PARAMETERS)
def test_a_gate_that_is_clipped_has_no_gradient(kind):
    """With every gate far beyond the clip, only the elementwise paths through c or z * h_prev are left."""
    rng = np.random.default_rng(17)
    layer, x = draw_layer(rng, 2, 3, kind=kind), rng.normal(size=(4, 2))
    *_, cache = layer_forward(x, layer, np.ones((1, 3)), np.ones((1, 3)), cell=Cell(kind, clip=1e-9))
    dx, by_direction, dh0, dc0 = layer_backward(np.ones((4, 3)), None, None, cache)
    assert not dx.any()
    gradients = by_name(kind, by_direction)
    assert not any(gradient.any() for gradient in gradients.values())
    assert dh0.any() == kind.startswith("gru")
    assert dc0 is None or dc0.any()


# ---- layers, against PyTorch and ONNX Runtime -----------------------------------------------------------------------
def test_golden_data_covers_what_it_should():
    lstms, others = GOLDEN[:9], GOLDEN[9:]
    assert {case["cell"] for case in lstms} == {LSTM}
    assert any("backward" in case["layers"][0] and len(case["layers"]) == 2 for case in lstms)
    assert {1, 7, 8, 9, 16, 17, 33} == {len(case["layers"][0]["forward"]["recurrent_kernel"]) for case in lstms}
    assert any(np.ptp(case["lengths"]) and case["layers"][0]["h0"].any() for case in lstms)
    for cell in (Cell("gru"), Cell("rnn"), Cell("rnn", "relu")):
        cases = [case for case in others if case["cell"] == cell]
        assert {len(case["layers"]) for case in cases} == {1, 2}
        assert {"backward" in case["layers"][0] for case in cases} == {False, True}
        assert {bool(np.ptp(case["lengths"])) for case in cases} == {False, True}
        assert {bool(case["layers"][0]["h0"].any()) for case in cases} == {False, True}
    for kind in ("lstm", "lstm-peephole", "lstm-coupled", "gru", "gru-reset-before", "rnn"):
        cells = [case["cell"] for case in GOLDEN_ONNX if case["cell"].kind == kind]
        assert {bool(cell.clip) for cell in cells} == {False, True}
        assert {cell.recurrent_activation for cell in cells} == {"sigmoid", "hard_sigmoid"}
        if kind in ("lstm", "gru", "rnn"):
            assert {cell.activation for cell in cells} == set(ACTIVATIONS) - {"hard_sigmoid", "hard_tanh"}


def golden_parameters(case, layer):
    names = PARAMETERS[case["cell"].kind]
    return {direction: [layer[direction][name] for name in names] for direction in READING_ORDER if direction in layer}


def golden_states(layer, names, s):
    """Of sequence s, each (D, H), or None where there is none."""
    return [np.atleast_2d(layer[name][s]) if name in layer else None for name in names]


def states_by_name(layer, k, names, states):
    """{"0 h": state, ...} of layer k, in the shape that golden data have, leaving out what there is none of."""
    states = zip(names, states, strict=True)
    return {f"{k} {name}": state.reshape(layer[name].shape[1:]) for name, state in states if state is not None}


def padded(results, name, n_steps):
    return np.stack([np.pad(r[name], [(0, n_steps - len(r[name])), (0, 0)]) for r in results])


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_layers_agree_with_pytorch(case):
    n_steps, cell = case["x"].shape[1], case["cell"]
    results = []  # of the sequences, each {name: array}
    for s, length in enumerate(case["lengths"]):
        a, caches, result = case["x"][s, :length], [], {}
        for k, layer in enumerate(case["layers"]):
            h0, c0 = golden_states(layer, ("h0", "c0"), s)
            a, state, cache = layer_forward(a, golden_parameters(case, layer), h0, c0, cell=cell)
            caches.append(cache)
            result |= states_by_name(layer, k, ("h", "c"), state)
        result["y"] = a
        da = case["dy"][s, :length]
        for k, layer in reversed(list(enumerate(case["layers"]))):
            dh, dc = golden_states(layer, ("dh", "dc"), s)
            da, by_direction, *dstate0 = layer_backward(da, dh, dc, caches[k])
            result |= states_by_name(layer, k, ("dh0", "dc0"), dstate0)
            result |= {f"{k} {name}": gradient for name, gradient in by_name(cell.kind, by_direction).items()}
        result["dx"] = da
        results.append(result)

    assert_close(padded(results, "y", n_steps), case["y"], 1e-12, "y")
    assert_close(padded(results, "dx", n_steps), case["dx"], 1e-12, "dx")
    for k, layer in enumerate(case["layers"]):
        for name in ("h", "c", "dh0", "dc0") if cell.kind == "lstm" else ("h", "dh0"):
            assert_close(np.stack([r[f"{k} {name}"] for r in results]), layer[name], 1e-12, f"{k} {name}")
        for direction in golden_parameters(case, layer):
            for name in PARAMETERS[cell.kind]:
                total = sum(r[f"{k} {direction} {name}"] for r in results)
                assert_close(total, layer[direction][f"d{name}"], 1e-12, f"{k} {direction} d{name}")


@pytest.mark.parametrize("case", GOLDEN_ONNX, ids=lambda case: case["name"])
def test_layers_agree_with_onnx_runtime(case):
    (layer,), results = case["layers"], []
    for s, length in enumerate(case["lengths"]):
        h0, c0 = golden_states(layer, ("h0", "c0"), s)
        y, state, _ = layer_forward(case["x"][s, :length], golden_parameters(case, layer), h0, c0, cell=case["cell"])
        results.append({"y": y, **states_by_name(layer, 0, ("h", "c"), state)})
    rtol = 2e-6  # float32
    assert_close(padded(results, "y", case["x"].shape[1]), case["y"], rtol, "y")
    for name in ("h", "c") if case["cell"].kind.startswith("lstm") else ("h",):
        assert_close(np.stack([r[f"0 {name}"] for r in results]), layer[name], rtol, name)


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


def test_convolution_by_hand():
    x, kernel, bias = np.array([[1.0], [2.0], [4.0]]), np.array([[[1.0, -1.0]], [[10.0, 1.0]]]), np.array([0.5, -2.5])
    y, cache = conv_forward(x, kernel, bias)
    assert y.tolist() == [[10.5, 0.0], [21.5, 0.0], [42.5, 0.0]]
    dx, dkernel, dbias = conv_backward(np.array([[1.0, 9.0], [2.0, 9.0], [3.0, 9.0]]), cache)
    assert dx[:, 0].tolist() == [12.0, 23.0, 30.0]
    assert dkernel[..., 0].tolist() == [[2 * 1.0 + 3 * 2.0], [1.0 + 2 * 2.0 + 3 * 4.0]]
    assert dbias.tolist() == [6.0, 0.0]


def test_attention_by_hand():
    y, attention = np.array([[0.0], [1.0]]), (np.array([[2.0]]), np.array([1.0]), np.array([[3.0]]))
    scores = [3 * tanh(1), 3 * tanh(3)]
    share = 1 / (1 + exp(scores[0] - scores[1]))
    assert pool_forward(y, None, "attention", attention) == pytest.approx([share])


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
@pytest.mark.parametrize("conv", [(), ((3, 2),), ((4, 3), (2, 1))], ids=str)
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("units", [(1,), (3,), (2, 3)])
def test_gradients_of_each_architecture(units, bidirectional, pooling, conv):
    rng = np.random.default_rng(9)
    network = draw_network(rng, units=units, bidirectional=bidirectional, pooling=pooling, conv=conv)
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


@pytest.mark.parametrize(
    ("pooling", "cell"),
    [(pooling, LSTM) for pooling in ("last", "mean", "max")]
    + [("mean", Cell(kind, "softsign", "hard_sigmoid", clip=2.0)) for kind in PARAMETERS],
    ids=lambda value: getattr(value, "kind", value),
)
def test_gradients_with_everything_on(pooling, cell):
    rng = np.random.default_rng(11)
    network = draw_network(rng, units=(3, 2), bidirectional=True, pooling=pooling, dense=(4, 3, 2), cell=cell)
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
