"""An ONNX model as a fitted estimator: its graph is followed from the input to the output."""

import json
import os
from dataclasses import dataclass, replace

import numpy as np

from .onnx_cells import read_cell
from .onnx_writer import CLASSES_KEY, import_onnx
from .stack import Dense, Stack, as_weights, build, check_shape, damaged_file


def from_onnx(path, *, estimator=None, classes=None, dtype=None):
    """A fitted estimator with the weights of an ONNX model.

    The model: operators LSTM, GRU and RNN one after the other, forward, reverse or bidirectional; of the top one Y_h,
    the last step of Y, or the mean or maximum of Y over the steps; then Gemm, or MatMul and Add, with Relu between
    them; then Softmax or Sigmoid or nothing. Between these Transpose, Squeeze, Reshape and the like may stand. Initial
    states must be absent or 0; sequence_lens absent or an input of the model.

    Parameters
    ----------
    path : str or path-like
        The file.
    estimator : {"regressor", "classifier"}, default=None
        None: a classifier for a model that ends in Softmax or Sigmoid, else a regressor. Set "classifier" for one whose
        outputs are logits. Several sigmoids are labels of their own (multilabel).
    classes : array-like of shape (n_outputs,), default=None
        The label of each output. None: what `to_onnx` left in the file, or else 0, 1, ... For one sigmoid: the labels
        of "no" and "yes".
    dtype : {"float32", "float64"}, default=None
        Precision of the estimator. None: that of the model.

    Returns
    -------
    estimator : LSTMRegressor or LSTMClassifier
        It predicts, streams, saves and can be trained further with `partial_fit` or `warm_start`. Its sequences have
        shape (n, T, F), whichever axis comes first in the model. Where some layers read one way and others both or the
        other, all of them read both ways; what the model does not have is 0. clip stays with the weights: it is no
        argument of the estimator, and a clone's new fit does without.

    Raises
    ------
    ValueError
        If the file is no valid ONNX model, or holds something else than the above: the error names the node.
    TypeError
        If weights are not of float32 or float64.
    ImportError
        If the package onnx is not there.
    OSError
        If the file cannot be read.

    See Also
    --------
    to_onnx : The way back.

    Examples
    --------
    >>> from lstmfast.interop import from_onnx
    >>> model = from_onnx("model.onnx")  # doctest: +SKIP
    """
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    path = os.fspath(path)
    with damaged_file(path, "ONNX model", DecodeError, onnx.checker.ValidationError, json.JSONDecodeError):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        stack = _Reader(onnx, model.graph).read()
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        if classes is None and estimator != "regressor" and CLASSES_KEY in metadata:
            classes = json.loads(metadata[CLASSES_KEY])
    return build(stack, estimator=estimator, classes=classes, dtype=dtype)


@dataclass(frozen=True)
class _Signal:
    """A value on the way from X to the output.

    axes : what each axis is: "T" steps, "N" sequences, "D" directions, "F" features, "1" one that can be squeezed,
        "L" directions of all layers, the top one's last; of the model's input "?", "?", "F".
    stage : number of layers it has gone through
    fill : what stands past each sequence's length, if the model has replaced that
    total : whether it is a sum over steps
    side : which of two directions it is, if it is only one of them
    """

    axes: tuple
    stage: int = 0
    fill: float | None = None
    total: bool = False
    side: int | None = None


@dataclass(frozen=True)
class _Other:
    """A value that is neither constant nor on that way: shapes, masks, initial states."""

    of_lengths: bool = False
    zeros: bool = False


class _Reader:
    def __init__(self, onnx, graph):
        self.onnx, self.graph = onnx, graph
        self.stack = Stack()
        self.stage = 0
        self.output = None  # activation of the top dense layer
        self.lengths = None  # name of the input with lengths, "" if the layers have none
        self.values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def read(self):
        for value in self.graph.input:
            if value.name not in self.values:
                rank = len(value.type.tensor_type.shape.dim)
                self.values[value.name] = _Signal(("?", "?", "F")) if rank == 3 else _Other(of_lengths=rank == 1)
        for node in self.graph.node:
            self.read_node(node)
        ends = [self.values.get(value.name) for value in self.graph.output]
        wanted = [_Signal(axes, self.stage) for axes in (("N", "F"), ("N",))]
        if not self.stack.layers or not any(end in wanted for end in ends if isinstance(end, _Signal)):
            raise ValueError(
                "the model has no recurrent layer, or no output of one vector a sequence behind its layers"
            )
        if self.output not in (None, "linear", "softmax", "sigmoid"):
            raise ValueError(f"the model must end in a linear layer, Softmax or Sigmoid, got {self.output}")
        self.stack.output = self.output or "linear"
        return self.stack

    def read_node(self, node):
        attributes = {entry.name: self.plain(self.onnx.helper.get_attribute_value(entry)) for entry in node.attribute}
        inputs = [self.values.get(name) if name else None for name in node.input]
        name = node.name or f"{node.op_type} -> {', '.join(filter(None, node.output))}"
        signals = [value for value in inputs if isinstance(value, _Signal)]
        if node.op_type == "Constant":
            result = next((np.asarray(value) for value in attributes.values()), _Other())
        elif node.op_type == "Identity":
            result = inputs[0]
        elif not signals or node.op_type in ("Shape", "Size"):
            result = _aside(node.op_type, attributes, inputs)
        else:
            method = getattr(self, f"read_{node.op_type.lower()}", None)
            if method is None or node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
                raise ValueError(f"node {name!r}: the operator {node.op_type} cannot be read here")
            if not self.stack.layers and node.op_type not in ("LSTM", "GRU", "RNN", "Transpose"):
                raise ValueError(f"node {name!r}: {node.op_type} stands before the first recurrent layer")
            if signals[-1].stage != self.stage or (len(signals) > 1 and node.op_type != "Concat"):
                raise ValueError(f"node {name!r}: only a chain of layers is read, no branches")
            if not isinstance(inputs[0], _Signal) and node.op_type not in ("Add", "Where"):
                raise ValueError(f"node {name!r}: its first input must be the output of the layer below")
            result = method(name, node, attributes, inputs)
        results = result if isinstance(result, tuple) else (result,)
        self.values |= dict(zip(node.output, results, strict=False))

    def plain(self, value):
        """An attribute's value; bytes as str, tensors as arrays."""
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, self.onnx.TensorProto):
            return self.onnx.numpy_helper.to_array(value)
        return [self.plain(item) for item in value] if isinstance(value, list) else value

    def next(self, axes):
        """The signal behind one more layer."""
        self.stage += 1
        return _Signal(axes, self.stage)

    @property
    def top(self):
        return self.stack.layers[-1]

    # ---- recurrent layers ----

    def read_recurrent(self, name, node, attributes, inputs):
        x, w, r, b, lengths, h0, c0, p = inputs + [None] * (8 - len(inputs))
        steps_first = not attributes.get("layout", 0)
        wanted = ("T", "N", "F") if steps_first else ("N", "T", "F")
        if x.axes != (wanted if self.stack.layers else ("?", "?", "F")):
            raise ValueError(f"node {name!r}: X must be the steps of the layer below, or the model's input, of rank 3")
        for what, state in (("initial_h", h0), ("initial_c", c0)):
            zero = state is None or (state.zeros if isinstance(state, _Other) else not np.any(state))
            if not zero:
                raise ValueError(f"node {name!r}: {what} must be absent or 0, for every sequence starts at zero states")
        source = node.input[4] if lengths is not None else ""
        if source and lengths != _Other(of_lengths=True):
            raise ValueError(f"node {name!r}: sequence_lens must be absent or an input of the model")
        if self.lengths not in (None, source):
            raise ValueError(f"node {name!r}: all recurrent layers must have the same sequence_lens, or none of them")
        self.lengths = source
        arrays = [
            None if array is None else as_weights(_constant(array, name, what), f"node {name!r}: {what}")
            for what, array in zip("WRBP", (w, r, b, p), strict=True)
        ]
        self.stack.layers.append(read_cell(name, node.op_type, attributes, *arrays))
        y = self.next(("T", "D", "N", "F") if steps_first else ("N", "T", "D", "F"))
        return y, replace(y, axes=("D", "N", "F") if steps_first else ("N", "D", "F"))

    read_lstm = read_gru = read_rnn = read_recurrent

    # ---- the order of axes ----

    def read_transpose(self, name, node, attributes, inputs):
        x = inputs[0]
        order = attributes.get("perm", range(len(x.axes))[::-1])
        return replace(x, axes=tuple(x.axes[k] for k in order))

    def read_squeeze(self, name, node, attributes, inputs):
        x = inputs[0]
        axes = [axis % len(x.axes) for axis in _argument(attributes, inputs, "axes", name)]
        if any(not self.is_one(x.axes[k]) for k in axes):
            raise ValueError(
                f"node {name!r}: of axes {x.axes} only single directions or outputs can be squeezed: {axes}"
            )
        return replace(x, axes=tuple(axis for k, axis in enumerate(x.axes) if k not in axes))

    def is_one(self, axis):
        n_outputs = len(self.stack.dense[-1].bias) if self.stack.dense else 0
        return axis == "1" or (axis == "D" and len(self.top.directions) == 1) or (axis == "F" and n_outputs == 1)

    def read_reshape(self, name, node, attributes, inputs):
        x, shape = inputs[0], _constant(inputs[1], name, "shape")
        axes = tuple(axis for axis in x.axes if axis != "D") if self.is_one("D") else x.axes
        if axes[-2:] == ("D", "F"):
            axes = (*axes[:-2], "F")
        *front, size = shape.tolist()
        # Of any number of sequences; a 0 means the axis as it is.
        same_front = not any(front) or (len(axes) == 2 and size == self.top.output_size)
        if "D" in axes or len(shape) != len(axes) or size not in (-1, self.top.output_size) or not same_front:
            raise ValueError(f"node {name!r}: axes {x.axes} can be reshaped to join directions only, not to {shape}")
        return replace(x, axes=axes)

    def read_flatten(self, name, node, attributes, inputs):
        if attributes.get("axis", 1) != 1 or inputs[0].axes not in (("N", "D", "F"), ("N", "F")):
            raise ValueError(f"node {name!r}: axes {inputs[0].axes} can be flattened to one vector a sequence only")
        return replace(inputs[0], axes=("N", "F"))

    def read_concat(self, name, node, attributes, inputs):
        x, axis = inputs[-1], attributes.get("axis")
        if axis == 0 and all(isinstance(each, _Signal) and each.axes == ("D", "N", "F") for each in inputs):
            return replace(x, axes=("L", "N", "F"))
        forward = replace(x, side=0) if isinstance(x, _Signal) else None
        if axis not in (1, -1) or x.axes != ("N", "F") or inputs != [forward, replace(x, side=1)]:
            raise ValueError(
                f"node {name!r}: Concat may join the Y_h of all layers, or two directions, and nothing else"
            )
        return replace(x, side=None)

    # ---- pooling ----

    def read_gather(self, name, node, attributes, inputs):
        x, index = inputs[0], np.asarray(_constant(inputs[1], name, "indices"))
        k = attributes.get("axis", 0) % len(x.axes)
        axes = x.axes[:k] + x.axes[k + 1 :]
        n = len(self.top.directions)
        if index.ndim == 0 and x.axes[k] in ("D", "L") and (n == 1 or "T" not in axes):
            side = int(index) % n if x.axes[k] == "D" else n + int(index)  # the top layer is counted from the end
            if side in range(n):
                return replace(x, axes=axes, side=side if n == 2 else None)
        last = 0 if self.top.forward is None else -1
        if x.axes[k] != "T" or index.ndim or index != last or not self.is_one("D") or self.lengths:
            raise ValueError(
                f"node {name!r}: of Y only the last step can be taken (of a reverse layer its first), if its layer has "
                "one direction and no sequence_lens; take Y_h"
            )
        return self.next(axes)

    def read_where(self, name, node, attributes, inputs):
        condition, x, other = inputs
        if not isinstance(x, _Signal) or condition != _Other(of_lengths=True) or np.size(other) != 1:
            raise ValueError(f"node {name!r}: Where may only replace what stands past each sequence's length")
        return replace(x, fill=float(np.squeeze(other)))

    def read_reduce(self, name, node, attributes, inputs):
        x, keep = inputs[0], attributes.get("keepdims", 1)
        axes = [axis % len(x.axes) for axis in _argument(attributes, inputs, "axes", name)]
        needed = {"ReduceMax": -np.inf, "ReduceSum": 0.0}.get(node.op_type) if self.lengths else None
        if [x.axes[k] for k in axes] != ["T"] or x.fill != needed or (node.op_type == "ReduceSum" and not self.lengths):
            raise ValueError(
                f"node {name!r}: {node.op_type} must pool the steps that each sequence has, and nothing else"
            )
        if self.lengths and node.op_type == "ReduceMean":
            raise ValueError(f"node {name!r}: with sequence_lens a mean is a sum that is divided by them")
        self.stack.pooling = "max" if node.op_type == "ReduceMax" else "mean"
        left = ((axis,) if axis != "T" else ("1",) if keep else () for axis in x.axes)
        return replace(self.next(sum(left, ())), total=node.op_type == "ReduceSum")

    read_reducemean = read_reducemax = read_reducesum = read_reduce

    def read_div(self, name, node, attributes, inputs):
        x, counts = inputs
        if not x.total or counts != _Other(of_lengths=True):
            raise ValueError(f"node {name!r}: only a sum over steps may be divided, by the lengths")
        return replace(x, total=False)

    # ---- dense layers ----

    def add_dense(self, name, x, weight, bias):
        if x.axes != ("N", "F") or x.total or x.side is not None:
            raise ValueError(f"node {name!r}: a dense layer must take one vector a sequence, got {x}")
        if self.output not in (None, "relu"):
            raise ValueError(f"node {name!r}: a dense layer below it must end in Relu")
        self.stack.dense.append(Dense(name, weight, bias))
        self.output = "linear"
        return self.next(("N", "F"))

    def read_gemm(self, name, node, attributes, inputs):
        x, weight, bias = inputs + [None] * (3 - len(inputs))
        if attributes.get("transA") or any(attributes.get(what, 1.0) != 1.0 for what in ("alpha", "beta")):
            raise ValueError(f"node {name!r}: Gemm is read without transA, and with alpha and beta 1")
        weight = self.dense_weight(name, weight, "B")
        weight = weight.T if attributes.get("transB") else weight
        return self.add_dense(name, x, weight, self.dense_bias(name, bias, weight))

    def read_matmul(self, name, node, attributes, inputs):
        x, weight = inputs
        weight = self.dense_weight(name, weight, "B")
        return self.add_dense(name, x, weight, self.dense_bias(name, None, weight))

    def read_add(self, name, node, attributes, inputs):
        x, bias = inputs if isinstance(inputs[0], _Signal) else inputs[::-1]
        if self.output != "linear" or x.axes != ("N", "F"):
            raise ValueError(f"node {name!r}: an Add must be the bias of the dense layer before it")
        layer = self.stack.dense[-1]
        layer.bias = layer.bias + self.dense_bias(name, bias, layer.weight)
        return x

    def dense_weight(self, name, value, what):
        weight = as_weights(_constant(value, name, what), f"node {name!r}: {what}")
        check_shape(weight, weight.shape if weight.ndim == 2 else ("inputs", "outputs"), f"node {name!r}: {what}")
        return weight

    def dense_bias(self, name, value, weight):
        n = weight.shape[1]
        if value is None:
            return np.zeros(n, weight.dtype)
        bias = as_weights(_constant(value, name, "the bias"), f"node {name!r}: the bias")
        if bias.size not in (1, n) or bias.shape[-1:] not in ((n,), (1,), ()) or bias.ndim > 2:
            raise ValueError(f"node {name!r}: the bias must have shape ({n},), got {bias.shape}")
        return np.broadcast_to(bias.ravel(), (n,)).copy()

    def read_activation(self, name, node, attributes, inputs):
        x, kind = inputs[0], node.op_type.lower()
        one_number = kind == "sigmoid" and x.axes == ("N",)
        if (
            self.output != "linear"
            or (x.axes != ("N", "F") and not one_number)
            or attributes.get("axis", -1) not in (-1, 1)
        ):
            raise ValueError(f"node {name!r}: {node.op_type} must follow a dense layer")
        self.output = kind
        return self.next(x.axes)

    read_relu = read_softmax = read_sigmoid = read_activation

    def read_dropout(self, name, node, attributes, inputs):
        return inputs[0]


_OPERATORS = {
    "LSTM", "GRU", "RNN", "Transpose", "Squeeze", "Reshape", "Flatten", "Concat", "Gather", "Where", "ReduceMean",
    "ReduceMax", "ReduceSum", "Div", "Gemm", "MatMul", "Add", "Relu", "Softmax", "Sigmoid", "Dropout",
}  # fmt: skip


def _constant(value, name, what):
    if not isinstance(value, np.ndarray):
        raise ValueError(f"node {name!r}: {what} must be a constant")
    return value


def _argument(attributes, inputs, what, name):
    """A list of int that is an attribute in older opsets and the second input in newer ones."""
    if what in attributes:
        return attributes[what]
    if len(inputs) < 2:
        raise ValueError(f"node {name!r}: {what} must be given")
    return np.atleast_1d(_constant(inputs[1], name, what)).tolist()


def _aside(operator, attributes, inputs):
    """What a node makes of values that are not on the way to the output."""
    given = [value for value in inputs if value is not None]
    if operator == "ConstantOfShape":
        zeros = not np.any(attributes.get("value", 0))
    else:
        first = given[0] if given else None
        zeros = operator in ("Expand", "Slice", "Cast", "Unsqueeze", "Transpose") and (
            first.zeros if isinstance(first, _Other) else isinstance(first, np.ndarray) and not first.any()
        )
    of_lengths = any(isinstance(value, _Other) and value.of_lengths for value in given)
    return _Other(of_lengths=of_lengths, zeros=bool(zeros))
