"""A fitted estimator as an ONNX model."""

import json
import os

import numpy as np

from ..layers.parameters import check_dtype
from .onnx_cells import ACTIVATIONS, CELLS, RECURRENT_ACTIVATIONS, write_cell
from .stack import check_expressible, labels_of, take_apart

OPSET, IR_VERSION = 17, 8
CLASSES_KEY = "classes"  # in the model's metadata


def import_onnx():
    """The package, or an ImportError that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx: pip install lstmfast[onnx]") from error
    return onnx


def to_onnx(estimator, path, *, lengths=False, dtype=None):
    """Write a fitted estimator as an ONNX model that any number of sequences of any length can go through.

    Input "X" (batch, time, features); output "y" (batch, n_outputs) of a regressor, "probabilities" (batch, n_classes)
    of a classifier, whose labels stand in the model's metadata under "classes", as JSON. Each recurrent layer is one
    node LSTM, GRU or RNN, in opset 17.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        A fitted one.
    path : str or path-like
        Where to write.
    lengths : bool, default=False
        Whether the model has a second input, "lengths" (batch,) of int32: the steps that each sequence has in X, from
        1. What X holds past them makes no difference.
    dtype : {"float32", "float64"}, default=None
        Of the model. None: the estimator's. ONNX allows float64, but ONNX Runtime runs no recurrent layers of it.

    Raises
    ------
    ValueError
        If ONNX has no such layer: the full-peephole, gated-recurrence and cell-recurrent LSTM, ``hard_tanh``; or a
        label is nothing that JSON knows. Nothing is written then.
    TypeError, sklearn.exceptions.NotFittedError
        If `estimator` is none, or not fitted.
    ImportError
        If the package onnx is not there.
    OSError
        If the file cannot be written.

    See Also
    --------
    from_onnx : The way back.

    Examples
    --------
    >>> from lstmfast import LSTMRegressor
    >>> from lstmfast.interop import to_onnx
    >>> regressor = LSTMRegressor(4, max_iter=1).fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.0])
    >>> to_onnx(regressor, "model.onnx")  # doctest: +SKIP
    """
    onnx = import_onnx()
    stack = take_apart(estimator)
    check_expressible(stack, "ONNX", CELLS, ACTIVATIONS, RECURRENT_ACTIVATIONS, clip=True)
    model = _model(onnx, stack, labels_of(estimator), bool(lengths), check_dtype(dtype or estimator._network.dtype))
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    with open(os.fspath(path), "wb") as file:
        file.write(data)


def _model(onnx, stack, labels, lengths, dtype):
    try:
        metadata = {} if labels is None else {CLASSES_KEY: json.dumps(labels)}
    except TypeError as error:
        raise ValueError(f"the labels {labels} cannot be stored: {error}") from error
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    nodes = _Nodes(onnx, dtype)
    y = _recurrent_nodes(nodes, stack, lengths, kind)
    for k, layer in enumerate(stack.dense):
        y = nodes.add("Relu", y) if k else y
        y = nodes.add(
            "Gemm", y, nodes.constant(f"dense_{k}_weight", layer.weight), nodes.constant(f"dense_{k}_bias", layer.bias)
        )
    if stack.output == "linear":
        name, last = "y", ("Identity", {})
    else:
        name, last = "probabilities", {"softmax": ("Softmax", {"axis": -1}), "sigmoid": ("Sigmoid", {})}[stack.output]
    nodes.nodes.append(onnx.helper.make_node(last[0], [y], [name], **last[1]))
    value = onnx.helper.make_tensor_value_info
    inputs = [value("X", kind, ["batch", "time", stack.layers[0].input_size])]
    if lengths:
        inputs.append(value("lengths", onnx.TensorProto.INT32, ["batch"]))
    output = value(name, kind, ["batch", len(stack.dense[-1].bias)])
    graph = onnx.helper.make_graph(nodes.nodes, "lstmfast", inputs, [output], list(nodes.constants.values()))
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="lstmfast"
    )
    onnx.helper.set_model_props(model, metadata)
    return model


class _Nodes:
    """Nodes and constants of a graph as it grows."""

    def __init__(self, onnx, dtype):
        self.onnx, self.dtype = onnx, dtype
        self.nodes, self.constants = [], {}

    def constant(self, name, array):
        """A constant's name; floating numbers get the model's type, all others int64."""
        array = np.asarray(array, self.dtype if np.asarray(array).dtype.kind == "f" else np.int64, order="C")
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def add(self, operator, *inputs, outputs=None, **attributes):
        """A node, whose output gets a name unless `outputs` are given; the name of the first output."""
        names = outputs or [f"{operator.lower()}_{len(self.nodes)}"]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, names, **attributes))
        return names[0]


def _recurrent_nodes(nodes, stack, lengths, kind):
    """The nodes up to one vector a sequence, (batch, outputs of the top layer); its name."""
    y = nodes.add("Transpose", "X", perm=[1, 0, 2])  # (time, batch, features)
    for k, layer in enumerate(stack.layers):
        operator, attributes, arrays = write_cell(layer)
        arrays = {name: nodes.constant(f"{name}_{k}", array) for name, array in arrays.items()}
        inputs = [y, arrays["W"], arrays["R"], arrays["B"], "lengths" if lengths else ""]
        if "P" in arrays:
            inputs += ["", "", arrays["P"]]
        last = k == len(stack.layers) - 1 and stack.pooling == "last"
        result = nodes.add(operator, *inputs, outputs=["", f"h_{k}"] if last else [f"y_{k}"], **attributes)
        if last:  # (directions, batch, units)
            return nodes.add(
                "Reshape", nodes.add("Transpose", f"h_{k}", perm=[1, 0, 2]), nodes.constant("join_last", [0, -1])
            )
        y = nodes.add(
            "Reshape", nodes.add("Transpose", result, perm=[0, 2, 1, 3]), nodes.constant("join_steps", [0, 0, -1])
        )
    if not lengths:
        return nodes.add("ReduceMean" if stack.pooling == "mean" else "ReduceMax", y, axes=[0], keepdims=0)
    n_steps = nodes.add("Gather", nodes.add("Shape", y), nodes.constant("zero", 0), axis=0)
    steps = nodes.add("Range", "zero", n_steps, nodes.constant("one", 1))
    steps = nodes.add("Unsqueeze", steps, nodes.constant("behind_steps", [1, 2]))
    counts = nodes.add("Cast", "lengths", to=nodes.onnx.TensorProto.INT64)
    there = nodes.add("Less", steps, nodes.add("Unsqueeze", counts, nodes.constant("around_batch", [0, 2])))
    if stack.pooling == "max":
        y = nodes.add("Where", there, y, nodes.constant("nothing", -np.inf))
        return nodes.add("ReduceMax", y, axes=[0], keepdims=0)
    y = nodes.add("Where", there, y, nodes.constant("nothing", 0.0))
    total = nodes.add("ReduceSum", y, nodes.constant("over_steps", [0]), keepdims=0)
    counts = nodes.add("Unsqueeze", nodes.add("Cast", "lengths", to=kind), nodes.constant("behind_batch", [1]))
    return nodes.add("Div", total, counts)
