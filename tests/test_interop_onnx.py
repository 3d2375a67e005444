"""lstmfast.interop with ONNX: models written by us and by hand, run by ONNX Runtime where it is installed."""

import doctest
import sys

import numpy as np
import pytest
from interop_models import VARIANTS, fitted, outputs, sequences
from numpy.testing import assert_allclose

import lstmfast
from lstmfast.interop import from_onnx, to_onnx
from lstmfast.interop.stack import Recurrent, Stack, build, take_apart

CELLS = {
    "lstm": {},
    "lstm-peephole": {"activation": "softsign"},
    "lstm-coupled": {"recurrent_activation": "hard_sigmoid"},
    "gru": {"activation": "elu"},
    "gru-reset-before": {"activation": "identity"},
    "rnn": {"activation": "relu"},
}


def runtime(path, **inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def with_clip(estimator, clip):
    """The estimator's weights in one that clips."""
    stack = take_apart(estimator)
    for layer in stack.layers:
        layer.clip = clip
    return build(stack, estimator="regressor", dtype="float32")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lengths", [False, True])
def test_onnxruntime_computes_what_we_do(cell, variant, lengths, tmp_path):
    pytest.importorskip("onnx")
    model = fitted(classifier=True, n_outputs=3, dtype="float32", cell=cell, **CELLS[cell], **VARIANTS[variant])
    path = tmp_path / "model.onnx"
    to_onnx(model, path, lengths=lengths)
    for n, n_steps in [(4, 7), (1, 1), (3, 2)]:  # the same file for all shapes
        X = sequences(n, n, n_steps).astype(np.float32)
        if not lengths:
            assert_allclose(runtime(path, X=X), outputs(model, X), rtol=0, atol=2e-6)
            continue
        counts = np.random.default_rng(n).integers(1, n_steps + 1, n).astype(np.int32)
        ours = outputs(model, [x[:count] for x, count in zip(X, counts, strict=True)])
        assert_allclose(runtime(path, X=X, lengths=counts), ours, rtol=0, atol=2e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(cell, variant, tmp_path):
    onnx = pytest.importorskip("onnx")
    X = sequences()
    for kind in ({}, {"classifier": True, "n_outputs": 3}, {"multilabel": True}):
        model = fitted(cell=cell, **kind, **CELLS[cell], **VARIANTS[variant])
        to_onnx(model, tmp_path / "model.onnx", lengths=bool(kind))
        back = from_onnx(tmp_path / "model.onnx")
        assert type(back) is type(model)
        assert back.dtype == "float64"
        assert (outputs(back, X) == outputs(model, X)).all()
        if kind:
            assert (back.predict(X) == model.predict(X)).all()
            assert back.classes_.dtype == model.classes_.dtype
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert {tensor.name for tensor in graph.initializer} <= {name for node in graph.node for name in node.input}
    assert sum(node.op_type in ("LSTM", "GRU", "RNN") for node in graph.node) == len(back._network.layers)


def test_clip(tmp_path):
    pytest.importorskip("onnx")
    free = fitted(cell="lstm-peephole", dtype="float32")
    model = with_clip(free, 0.5)
    X, path = sequences().astype(np.float32), tmp_path / "model.onnx"
    to_onnx(model, path)
    back = from_onnx(path)
    assert back._network.config["clip"] == 0.5
    assert (back.predict(X) == model.predict(X)).all()
    assert np.abs(model.predict(X) - free.predict(X)).max() > 0.01
    back.save(tmp_path / "model")
    assert (lstmfast.load(tmp_path / "model").predict(X) == model.predict(X)).all()
    assert_allclose(runtime(path, X=X), outputs(model, X), atol=2e-6)


def test_float64_says_so_and_can_be_written_as_float32(tmp_path):
    onnx = pytest.importorskip("onnx")
    model, X, path = fitted(), sequences(), tmp_path / "model.onnx"
    to_onnx(model, path)
    assert onnx.load(path).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    from onnx.reference import ReferenceEvaluator

    assert_allclose(ReferenceEvaluator(str(path)).run(None, {"X": X})[0], outputs(model, X), atol=1e-12)
    to_onnx(model, path, dtype="float32")
    assert_allclose(from_onnx(path).predict(X), model.predict(X), atol=1e-5)
    assert_allclose(runtime(path, X=X.astype(np.float32)), outputs(model, X), atol=1e-5)


@pytest.mark.parametrize("labels", [[3, 7], [True, False], [1.0, 2.0], ["a", "b"]])
def test_labels_come_back(labels, tmp_path):
    pytest.importorskip("onnx")
    X = sequences(n=6)
    model = lstmfast.LSTMClassifier(3, max_iter=1).fit(X, np.array(labels)[[0, 1] * 3])
    to_onnx(model, tmp_path / "model.onnx")
    back = from_onnx(tmp_path / "model.onnx")
    assert back.classes_.tolist() == model.classes_.tolist()
    assert back.classes_.dtype == model.classes_.dtype
    renamed = from_onnx(tmp_path / "model.onnx", classes=["x", "y"])
    assert (renamed.predict_proba(X) == model.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "lstm-full-peephole"}, "ONNX has no layer with cell='lstm-full-peephole'"),
        ({"activation": "hard_tanh"}, "activation='hard_tanh'"),
    ],
)
def test_to_onnx_names_what_onnx_does_not_have(arguments, message, tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=message):
        to_onnx(fitted(**arguments), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_package_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for action in (lambda: from_onnx("model.onnx"), lambda: to_onnx(fitted(), tmp_path / "model.onnx")):
        with pytest.raises(ImportError, match=r"pip install lstmfast\[onnx\]"):
            action()


def test_a_file_that_is_no_model(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    for content in (b"PK" + bytes(50), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model.onnx is not a valid ONNX model"):
            from_onnx(path)
    to_onnx(fitted(), path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"model.onnx is not a valid ONNX model"):
        from_onnx(path)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "absent.onnx")


# ---- graphs of others ----

ONE = np.ones(1, np.float32)  # becomes a tensor
RNG = np.random.default_rng(0)
CONSTANTS = {
    "W": RNG.normal(size=(1, 9, 2)), "R": RNG.normal(size=(1, 9, 3)), "B": RNG.normal(size=(1, 18)),
    "W3": RNG.normal(size=(1, 9, 3)),
    "W2": RNG.normal(size=(2, 9, 2)), "R2": RNG.normal(size=(2, 9, 3)), "Wb": RNG.normal(size=(2, 9, 3)),
    "Wa": RNG.normal(size=(1, 9, 6)), "V": RNG.normal(size=(3, 2)), "VT": RNG.normal(size=(2, 3)),
    "V6": RNG.normal(size=(6, 2)), "V1": RNG.normal(size=(3, 1)), "b": RNG.normal(size=2),
    "V22": RNG.normal(size=(2, 2)),
    "first": np.array([0]), "second": np.array([1]), "last": np.array(-1), "start": np.array(0),
    "joined": np.array([0, 0, -1]), "half": np.float32(0.5), "zeros": np.zeros((1, 1, 3)), "ones": np.ones((1, 4, 3)),
    "to_h": np.array([1, 4, 3]), "W16": np.ones((1, 9, 2), np.float16), "flat": np.array([-1]),
    "all": np.array([1, -1]), "mixed": np.array([4, -1, 3]),
}  # fmt: skip


def node(operator, inputs, outputs, **attributes):
    return operator, inputs.split(" "), outputs.split(" "), attributes


GRU = node("GRU", "X W R B", "Y h", hidden_size=3, linear_before_reset=1)
SQUEEZED, HEAD = node("Squeeze", "h first", "z"), node("Gemm", "z V b", "y")
TWO = node("GRU", "X W2 R2", "Y h", hidden_size=3, direction="bidirectional")
JOIN = [node("Transpose", "Y", "Yt", perm=[0, 2, 1, 3]), node("Reshape", "Yt joined", "s")]
GRAPHS = {
    "last_state": [GRU, SQUEEZED, HEAD],
    "transposed_weight": [GRU, SQUEEZED, node("Gemm", "z VT b", "y", transB=1)],
    "no_bias_then_add": [GRU, SQUEEZED, node("MatMul", "z V", "w"), node("Add", "b w", "y")],
    "batch_first_last_step": [  # as PyTorch exports batch_first=True and y[:, -1]
        node("Transpose", "X", "x", perm=[1, 0, 2]),
        node("GRU", "x W R B", "Y h", hidden_size=3),
        node("Squeeze", "Y second", "s"),
        node("Transpose", "s", "t", perm=[1, 0, 2]),
        node("Gather", "t last", "z", axis=1),
        HEAD,
    ],
    "zero_states": [
        node("Expand", "zeros to_h", "h0"),
        node("GRU", "X W R B  h0", "Y h", hidden_size=3),
        SQUEEZED,
        HEAD,
    ],
    "last_of_all_states": [  # as PyTorch exports h[-1] of two layers
        GRU,
        node("Squeeze", "Y second", "s"),
        node("GRU", "s W3 R", "Y2 h2", hidden_size=3, linear_before_reset=1),
        node("Concat", "h h2", "hs", axis=0),
        node("Gather", "hs last", "z", axis=0),
        HEAD,
    ],
    "both_directions": [  # as PyTorch exports torch.cat([h[-2], h[-1]], 1)
        TWO,
        node("Gather", "h start", "f"),
        node("Gather", "h last", "r"),
        node("Concat", "f r", "z", axis=1),
        node("Gemm", "z V6", "y"),
    ],
    "h_of_one_layer": [GRU, node("Gather", "h last", "z"), HEAD],
    "mean": [GRU, node("Squeeze", "Y second", "s"), node("ReduceMean", "s", "z", axes=[0], keepdims=0), HEAD],
    "max_keepdims": [
        GRU,
        node("Squeeze", "Y second", "s"),
        node("ReduceMax", "s", "m", axes=[-3]),
        node("Squeeze", "m first", "z"),
        HEAD,
    ],
    "reverse": [node("GRU", "X W R B", "Y h", hidden_size=3, direction="reverse"), SQUEEZED, HEAD],
    "reverse_first_step": [
        node("GRU", "X W R B", "Y h", hidden_size=3, direction="reverse"),
        node("Squeeze", "Y second", "s"),
        node("Gather", "s start", "z"),
        HEAD,
    ],
    "bidirectional": [TWO, node("Transpose", "h", "ht", perm=[1, 0, 2]), node("Flatten", "ht", "z"),
                      node("Gemm", "z V6", "y")],
    "reverse_above_bidirectional": [
        TWO, *JOIN, node("GRU", "s Wa R", "Y2 h2", hidden_size=3, direction="reverse"),
        node("Squeeze", "h2 first", "z"), HEAD,
    ],
    "bidirectional_above_reverse": [
        node("GRU", "X W R B", "Y h", hidden_size=3, direction="reverse"), node("Squeeze", "Y second", "s"),
        node("GRU", "s Wb R2", "Y2 h2", hidden_size=3, direction="bidirectional"),
        node("Transpose", "h2", "ht", perm=[1, 0, 2]), node("Flatten", "ht", "z"), node("Gemm", "z V6", "y"),
    ],
    "one_output_squeezed": [GRU, SQUEEZED, node("Gemm", "z V1", "w"), node("Squeeze", "w second", "y")],
    "sigmoid_of_one_output": [
        GRU, SQUEEZED, node("Gemm", "z V1", "w"), node("Squeeze", "w second", "v"), node("Sigmoid", "v", "y"),
    ],
    "relu_and_softmax": [
        GRU, SQUEEZED, node("Gemm", "z V b", "a"), node("Relu", "a", "r"), node("MatMul", "r V22", "w"),
        node("Softmax", "w", "y", axis=1),
    ],
    "no_head": [GRU, node("Squeeze", "h first", "y")],
}  # fmt: skip
REFUSED = {
    "all_steps": ([GRU, node("Identity", "Y", "y")], "no output of one vector a sequence"),
    "no_layer": ([node("Identity", "X", "y")], "no recurrent layer"),
    "before": ([node("Relu", "X", "x"), node("GRU", "x W R", "Y y", hidden_size=3)], "Relu stands before the fir"),
    "unknown": ([GRU, node("Erf", "h", "y")], "the operator Erf cannot be read"),
    "initial_state": ([node("GRU", "X W R B  ones", "Y h", hidden_size=3), SQUEEZED, HEAD], "initial_h must be"),
    "steps_of_two": ([TWO, node("Gather", "Y last", "y")], "only the last step can be taken"),
    "first_step": ([GRU, node("Squeeze", "Y second", "s"), node("Gather", "s start", "y")], "only the last step"),
    "default_hard_sigmoid": (
        [node("GRU", "X W R", "Y h", hidden_size=3, activations=["HardSigmoid", "Tanh"]), SQUEEZED, HEAD],
        "HardSigmoid is known with alpha 0.1666667 only, got 0.2",
    ),
    "unknown_activation": (
        [node("GRU", "X W R", "Y h", hidden_size=3, activations=["Sigmoid", "Softplus"]), SQUEEZED, HEAD],
        "there is no activation Softplus here, only Tanh, ",
    ),
    "gate_activation": (
        [node("GRU", "X W R", "Y h", hidden_size=3, activations=["Tanh", "Tanh"]), SQUEEZED, HEAD],
        "gates must have Sigmoid or HardSigmoid",
    ),
    "branch": ([GRU, SQUEEZED, node("Gemm", "z V b", "a"), node("Gemm", "z V b", "y")], "only a chain of layers"),
    "sum": ([GRU, SQUEEZED, node("Concat", "z z", "y", axis=1)], "Concat may join the Y_h of all layers, or"),
    "lower_state": ([GRU, node("Concat", "h h", "hs", axis=0), node("Gather", "hs start", "y")], "only the last step"),
    "directions_turned": (
        [TWO, node("Gather", "h start", "f"), node("Gather", "h last", "r"), node("Concat", "r f", "y", axis=1)],
        "Concat may join the Y_h of all layers, or two directions",
    ),
    "one_direction": ([TWO, node("Gather", "h last", "z"), HEAD], "must take one vector a sequence, got .*side=1"),
    "weights_first": ([GRU, SQUEEZED, node("MatMul", "V22 z", "y")], "its first input must be the output of"),
    "scaled": ([GRU, SQUEEZED, node("Gemm", "z V b", "y", alpha=0.5)], "alpha and beta 1"),
    "two_linear": ([GRU, SQUEEZED, node("Gemm", "z V b", "a"), node("Gemm", "a V22 b", "y")], "must end in Relu"),
    "ends_in_relu": ([GRU, SQUEEZED, node("Gemm", "z V b", "a"), node("Relu", "a", "y")], "must end in a linear layer"),
    "steps_dense": ([GRU, node("Squeeze", "Y second", "s"), node("MatMul", "s V", "y")], "must take one vector a seq"),
    "pool_features": ([GRU, node("ReduceMean", "h", "y", axes=[2])], "must pool the steps"),
    "squeeze_steps": ([GRU, node("Squeeze", "Y first", "y")], "only single directions or outputs can be squeezed"),
    "reshape": ([GRU, node("Reshape", "Y flat", "y")], "can be reshaped to join directions only"),
    "reshape_batch": ([TWO, node("Transpose", "h", "t", perm=[1, 0, 2]), node("Reshape", "t all", "y")], "to join d"),
    "reshape_steps": ([GRU, node("Reshape", "Y mixed", "y")], "can be reshaped to join directions only"),
    "state_of_ones": (
        [node("ConstantOfShape", "to_h", "h0", value=ONE), node("GRU", "X W R B  h0", "Y y", hidden_size=3)],
        "initial_h must be absent or 0",
    ),
    "add_first": ([GRU, SQUEEZED, node("Add", "z half", "y")], "an Add must be the bias"),
    "half": ([node("GRU", "X W16 R", "Y h", hidden_size=3), SQUEEZED, HEAD], "not a valid ONNX model|float16"),
    "other_inputs": ([GRU, *JOIN[:1], node("Squeeze", "Y second", "s"),
                      node("GRU", "s W R", "Y2 h2", hidden_size=3, linear_before_reset=1),
                      node("Squeeze", "h2 first", "y")],
                     "'GRU -> Y2, h2' takes 2 inputs, but 'GRU -> Y, h' below"),
}  # fmt: skip


def write_graph(nodes, path, rank=2):
    onnx = pytest.importorskip("onnx")
    one = onnx.helper.make_tensor("", 1, [1], ONE)
    helper, used = onnx.helper, {name for _, inputs, _, _ in nodes for name in inputs}
    constants = [
        onnx.numpy_helper.from_array(value.astype(np.float32) if value.dtype == np.float64 else value, name)
        for name, value in CONSTANTS.items() if name in used
    ]  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node(
                operator, inputs, outputs,
                **{key: one if value is ONE else value for key, value in attributes.items()},
            )
            for operator, inputs, outputs, attributes in nodes
        ],
        "graph", [helper.make_tensor_value_info("X", 1, [None, None, 2])],
        [helper.make_tensor_value_info("y", 1, [None] * rank)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_others(name, tmp_path):
    path = tmp_path / "model.onnx"
    write_graph(GRAPHS[name], path, rank=1 if "one_output" in name else 2)
    model = from_onnx(path)
    X = np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
    batch_first = any(operator == "Transpose" and inputs == ["X"] for operator, inputs, _, _ in GRAPHS[name])
    expected = runtime(path, X=X if batch_first else X.swapaxes(0, 1))
    expected = expected.reshape(4, -1)
    assert_allclose(outputs(model, X)[:, -expected.shape[1] :], expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name, tmp_path):
    nodes, message = REFUSED[name]
    write_graph(nodes, tmp_path / "model.onnx")
    with pytest.raises((ValueError, TypeError), match=message):
        from_onnx(tmp_path / "model.onnx")


@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("take", ["y[:, -1]", "h[-1]", "y.mean(1)", "y.amax(1)", "torch.cat([h[-2], h[-1]], 1)"])
def test_what_torch_exports(kind, n_layers, take, tmp_path):
    pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    path, bidirectional = tmp_path / "model.onnx", "-1" not in take or "-2" in take

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(3, 5, n_layers, batch_first=True, bidirectional=bidirectional)
            self.hidden, self.head = torch.nn.Linear(5 * (1 + bidirectional), 4), torch.nn.Linear(4, 2)

        def forward(self, x):
            y, h = self.rnn(x)
            z = eval(take, {"torch": torch, "y": y, "h": h[0] if kind == "LSTM" else h})
            return self.head(self.hidden(z).relu()).softmax(1)

    model, X = Model().eval(), sequences(n_steps=9).astype(np.float32)
    options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch", 1: "time"}}, "opset_version": 17}
    torch.onnx.export(model, (torch.zeros(2, 6, 3),), str(path), dynamo=False, **options)
    expected = model(torch.from_numpy(X)).detach().numpy()
    assert_allclose(from_onnx(path).predict_proba(X), expected, atol=1e-6)


def test_the_examples_run(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    for function in (to_onnx, from_onnx):  # the second reads what the first writes
        text = function.__doc__.replace("# doctest: +SKIP", "")
        example = doctest.DocTestParser().get_doctest(text, {}, function.__name__, None, None)
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0


def test_layout_1(tmp_path):
    """ONNX Runtime does not know it; the same weights in layout 0 must give the same."""
    nodes = [node("LSTM", "X Wl Rl", "Y h", hidden_size=3, layout=layout) for layout in (0, 1)]
    rng = np.random.default_rng(0)
    X, models = rng.normal(size=(2, 4, 2)), []
    constants = {"Wl": rng.normal(size=(1, 12, 2)), "Rl": rng.normal(size=(1, 12, 3))}
    for layout, lstm in enumerate(nodes):
        with pytest.MonkeyPatch.context() as patch:
            for name, array in constants.items():
                patch.setitem(CONSTANTS, name, array)
            write_graph([lstm, node("Squeeze", f"h {('first', 'second')[layout]}", "y")], tmp_path / "model.onnx")
        models.append(from_onnx(tmp_path / "model.onnx"))
    assert (models[0].predict(X) == models[1].predict(X)).all()


def test_layers_must_be_alike():
    parameters = {"kernel": np.zeros((2, 3)), "recurrent_kernel": np.zeros((3, 3)), "bias": np.zeros(3)}
    stack = Stack([Recurrent("a", "rnn", parameters), Recurrent("b", "rnn", parameters, activation="relu")])
    with pytest.raises(ValueError, match="must have one activation: 'a' has 'tanh', 'b' 'relu'"):
        build(stack)
