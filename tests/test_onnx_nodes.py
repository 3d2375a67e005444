"""ONNX's own tests of LSTM, GRU and RNN, and ONNX Runtime on random nodes, through layers that run a node."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden.make_onnx_nodes import node_cases
from numpy.testing import assert_allclose

from lstmfast.interop.onnx_cells import read_cell
from lstmfast.layers import recurrent_layer

GOLDEN = Path(__file__).parent / "golden" / "onnx_nodes.npz"
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def run_node(operator, attributes, inputs):
    """{"Y": ..., "Y_h": ...[, "Y_c": ...]} of a node, computed by a layer of ours."""
    given = read_cell("node", operator, attributes, *(inputs.get(name) for name in "WRBP"))
    two, batch_first = len(given.directions) == 2, attributes.get("layout", 0)
    layer = recurrent_layer(
        given.cell, given.input_size, given.hidden_size, activation=given.activation,
        recurrent_activation=given.recurrent_activation, clip=given.clip, bidirectional=two,
        reverse=given.forward is None, dtype=inputs["X"].dtype,
    )  # fmt: skip
    for direction, parameters in zip(layer.directions, given.directions, strict=True):
        for name, array in parameters.items():
            setattr(direction, name, array)

    def by_sequence(state):
        """(directions, n, H), or (n, directions, H) in layout 1 -> what layers take."""
        state = state if batch_first else state.swapaxes(0, 1)
        return state if two else state[:, 0]

    x = inputs["X"] if batch_first else inputs["X"].swapaxes(0, 1)
    n, n_steps, _ = x.shape
    h0 = inputs.get("initial_h")
    state = None
    if h0 is not None:
        c0 = inputs.get("initial_c", np.zeros_like(h0))
        state = (by_sequence(h0), by_sequence(c0)) if operator == "LSTM" else by_sequence(h0)
    y, state = layer.forward(x, lengths=inputs.get("sequence_lens"), state=state)
    y = y.reshape(n, n_steps, 1 + two, -1)
    last = [each if two else each[:, None] for each in (state if operator == "LSTM" else [state])]
    results = [y, *last] if batch_first else [y.transpose(1, 2, 0, 3), *(each.swapaxes(0, 1) for each in last)]
    return dict(zip(("Y", "Y_h", "Y_c"), results, strict=False))


def check_case(operator, attributes, inputs, outputs):
    results = run_node(operator, attributes, inputs)
    for name, expected in outputs.items():
        assert results[name].shape == expected.shape
        assert_allclose(results[name], expected, rtol=0, atol=1e-5, err_msg=name)


def golden_cases():
    cases = {}
    with np.load(GOLDEN) as data:
        for key in data.files:
            name, kind, *leaf = key.split("/")
            case = cases.setdefault(name, {"node": None, "inputs": {}, "outputs": {}})
            if kind == "node":
                case["node"] = json.loads(data[key].item())
            else:
                case[kind][leaf[0]] = data[key]
    return cases


CASES = golden_cases()


@pytest.mark.parametrize("name", CASES)
def test_onnx_node_case(name):
    case = CASES[name]
    check_case(*case["node"], case["inputs"], case["outputs"])


def test_no_node_case_is_left_out():
    pytest.importorskip("onnx")
    live = node_cases()
    assert live.keys() == CASES.keys()
    for case in live.values():
        check_case(*case)


# ---- random nodes, in ONNX Runtime ----

FUNCTIONS = {
    "Tanh": {},
    "Relu": {},
    "Sigmoid": {},
    "Softsign": {},
    "Affine": {"alpha": 1.0, "beta": 0.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 1 / 6, "beta": 0.5},
}


def random_node(rng):
    operator = rng.choice(["LSTM", "GRU", "RNN"])
    direction = rng.choice(["forward", "reverse", "bidirectional"])
    n_directions, gates = 1 + (direction == "bidirectional"), {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    n, n_steps, n_features, units = rng.integers(1, 7, 4)
    activation = rng.choice([name for name in FUNCTIONS if name != "HardSigmoid"])
    gate = rng.choice(["Sigmoid", "HardSigmoid"])
    names = {"LSTM": [gate, activation, activation], "GRU": [gate, activation], "RNN": [activation]}[operator]
    attributes = {"direction": str(direction), "hidden_size": int(units)}
    if rng.random() < 0.8:
        attributes["activations"] = [str(name) for name in names] * n_directions
        for what in ("alpha", "beta"):
            values = [FUNCTIONS[name][what] for name in attributes["activations"] if what in FUNCTIONS[name]]
            attributes |= {f"activation_{what}": values} if values else {}
    if rng.random() < 0.4:
        attributes["clip"] = float(rng.uniform(0.2, 2))
    if operator == "GRU":
        attributes["linear_before_reset"] = int(rng.integers(2))
    coupled = operator == "LSTM" and rng.random() < 0.3
    if coupled:
        attributes["input_forget"] = 1

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32) * 0.6

    inputs = {"X": draw(n_steps, n, n_features), "W": draw(n_directions, gates * units, n_features)}
    inputs["R"] = draw(n_directions, gates * units, units)
    if rng.random() < 0.7:
        inputs["B"] = draw(n_directions, 2 * gates * units)
    if rng.random() < 0.5:
        inputs["sequence_lens"] = rng.integers(1, n_steps + 1, n).astype(np.int32)
    if rng.random() < 0.5:
        inputs["initial_h"] = draw(n_directions, n, units)
        if operator == "LSTM":
            inputs["initial_c"] = draw(n_directions, n, units)
    if operator == "LSTM" and not coupled and rng.random() < 0.4:
        inputs["P"] = draw(n_directions, 3 * units)
    return str(operator), attributes, inputs


def run_onnxruntime(onnx, onnxruntime, operator, attributes, inputs):
    names = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    wanted = [name if name in inputs else "" for name in INPUTS]
    while not wanted[-1]:
        wanted.pop()
    node = onnx.helper.make_node(operator, wanted, names, **attributes)
    values = [onnx.numpy_helper.from_array(array, name) for name, array in inputs.items() if name != "X"]
    x = onnx.helper.make_tensor_value_info("X", 1, inputs["X"].shape)
    results = [onnx.helper.make_tensor_value_info(name, 1, None) for name in names]
    graph = onnx.helper.make_graph([node], "node", [x], results, values)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(None, {"X": inputs["X"]}), strict=True))


@pytest.mark.parametrize("seed", range(150))
def test_onnxruntime_agrees(seed):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    operator, attributes, inputs = random_node(np.random.default_rng(seed))
    check_case(operator, attributes, inputs, run_onnxruntime(onnx, onnxruntime, operator, attributes, inputs))
