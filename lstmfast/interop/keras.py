"""Keras: a model's weights with its configuration, or a .keras file. Keras itself is never imported."""

import json
import os
import re
import zipfile
from collections.abc import Mapping

import numpy as np

from .gates import our_parameters, their_parameters
from .stack import (
    Dense,
    Recurrent,
    Stack,
    as_weights,
    build,
    check_expressible,
    check_shape,
    damaged_file,
    take_apart,
)

_ORDERS = {"lstm": "ifgo", "gru": "zrn", "gru-reset-before": "zrn", "rnn": "h"}  # of the gates
_LAYERS = {"lstm": "LSTM", "gru": "GRU", "gru-reset-before": "GRU", "rnn": "SimpleRNN"}
_RECURRENT = set(_LAYERS.values())
_ACTIVATIONS = {
    "tanh": "tanh",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "linear": "identity",
    "softsign": "softsign",
    "elu": "elu",
    "hard_tanh": "hard_tanh",
}
_RECURRENT_ACTIVATIONS = ("sigmoid", "hard_sigmoid")
_POOLINGS = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}
_WITHOUT_EFFECT = {"InputLayer", "Dropout", "SpatialDropout1D"}  # when predicting
_FILE_ERRORS = zipfile.BadZipFile, json.JSONDecodeError, OSError, RuntimeError  # the last two: h5py
_HINTS = {
    "Masking": "give sequences of different lengths as a list of arrays instead, and remove this layer",
    "Embedding": "sequences of tokens are not read yet; embed them first, and give the rest of the model",
    "TimeDistributed": "only what one vector a sequence goes through can be dense",
}


def from_keras(path_or_weights, config=None, *, estimator=None, classes=None, dtype=None):
    """A fitted estimator with the weights of a Keras model.

    The model: a Sequential, or Functional without branches, of ``LSTM``, ``GRU`` or ``SimpleRNN`` layers, each alone or
    in a ``Bidirectional`` that concatenates; then, if the top one returns its sequence, ``GlobalAveragePooling1D`` or
    ``GlobalMaxPooling1D``; then ``Dense`` layers with relu, the last one linear, softmax or sigmoid. ``Dropout`` and
    ``SpatialDropout1D`` are passed over.

    Parameters
    ----------
    path_or_weights : path, or list of ndarray
        A ``.keras`` file of Keras 3, for which h5py must be installed; or ``model.get_weights()``.
    config : dict or str, default=None
        With weights: ``model.get_config()`` or ``model.to_json()``.
    estimator : {"regressor", "classifier"}, default=None
        None: a classifier for a model that ends in softmax or sigmoid, else a regressor. Set "classifier" for one whose
        outputs are logits. Several sigmoids are labels of their own (multilabel).
    classes : array-like of shape (n_outputs,), default=None
        The label of each output. None: 0, 1, ... For one sigmoid: the labels of "no" and "yes".
    dtype : {"float32", "float64"}, default=None
        Precision of the estimator. None: that of the arrays.

    Returns
    -------
    estimator : LSTMRegressor or LSTMClassifier
        It predicts, streams, saves and can be trained further with `partial_fit` or `warm_start`. Where some layers
        read both ways and others do not, all of them read both ways; what the model does not have is 0.

    Raises
    ------
    ValueError
        If the file or configuration is damaged or holds something else than the above: each error names the layer.
    TypeError
        If an argument is of another kind, or an array not of float32 or float64.
    ImportError
        If a file is given and h5py is not there.
    OSError
        If the file cannot be read.

    Notes
    -----
    "hard_sigmoid" is that of Keras 3, x / 6 + 1 / 2 cut to [0, 1]; that of Keras 2 was 0.2 x + 1 / 2.

    See Also
    --------
    to_keras : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.interop import from_keras
    >>> config = {"layers": [{"class_name": "LSTM", "config": {"name": "lstm", "units": 4}},
    ...                      {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "softmax"}}]}
    >>> draw = np.random.default_rng(0).normal
    >>> weights = [draw(size=shape) for shape in [(3, 16), (4, 16), 16, (4, 2), 2]]
    >>> from_keras(weights, config).predict_proba(np.zeros((1, 5, 3))).shape
    (1, 2)
    """
    if isinstance(path_or_weights, str | os.PathLike):
        if config is not None:
            raise ValueError("config is in the file; give it with weights only")
        layers, weights = _read_file(os.fspath(path_or_weights))
    elif isinstance(path_or_weights, list | tuple):
        if config is None:
            raise ValueError(
                "weights need the model's configuration: from_keras(model.get_weights(), model.get_config())"
            )
        layers, weights = _layers_of(config), path_or_weights
    else:
        kind = type(path_or_weights).__name__
        raise TypeError(f"expected the path of a .keras file or the list model.get_weights(), got {kind}")
    reader = _Reader([as_weights(array, f"weights[{i}]") for i, array in enumerate(weights)])
    for kind, layer in layers:
        reader.read(kind, layer)
    return build(reader.finish(), estimator=estimator, classes=classes, dtype=dtype)


# ---- configuration ----


def _layers_of(config):
    """[(class name, configuration)] of a model's layers, in order."""
    try:
        if isinstance(config, str):
            config = json.loads(config)
        if not isinstance(config, Mapping):
            raise TypeError(f"config must be model.get_config() or model.to_json(), got {type(config).__name__}")
        if "class_name" in config and config["class_name"] not in ("Sequential", "Functional", "Model"):
            raise ValueError(f"a model of class {config['class_name']!r}; only Sequential and Functional are read")
        config = config.get("config", config)
        layers = config["layers"]
        for below, layer in zip([None, *layers], layers, strict=False):
            sources = set(re.findall(r"'keras_history': \['([^']*)'", repr(layer.get("inbound_nodes", []))))
            if sources and (below is None or sources != {below["config"]["name"]}):
                name = layer["config"]["name"]
                raise ValueError(f"layer {name!r} takes {sorted(sources)}: only a chain of layers is read, no branches")
        outputs = set(re.findall(r"'([^']*)'", repr(config.get("output_layers", []))))
        if outputs and outputs != {layers[-1]["config"]["name"]}:
            raise ValueError(f"the model's outputs are {sorted(outputs)}: only that of the last layer is read")
        return [(layer["class_name"], layer["config"]) for layer in layers]
    except (KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"this is no configuration of a Keras model: {error!r}") from error


class _Reader:
    """Reads layer after layer, taking the weights that each has from the list."""

    def __init__(self, weights):
        self.weights, self.next, self.stack = weights, 0, Stack()
        self.steps = True  # whether the output so far has steps
        self.output = None  # activation of the top dense layer

    def take(self, name, n):
        if self.next + n > len(self.weights):
            raise ValueError(f"layer {name!r} has {n} weight arrays, but only {len(self.weights) - self.next} are left")
        self.next += n
        return self.weights[self.next - n : self.next]

    def read(self, kind, config):
        name = config.get("name", kind)
        if kind in _RECURRENT or kind == "Bidirectional":
            if not self.steps:
                raise ValueError(f"layer {name!r} needs steps, but the layer below has return_sequences=False")
            layer, self.steps = self.read_recurrent(name, kind, config)
            self.stack.layers.append(layer)
        elif kind in _POOLINGS:
            if not self.steps or not self.stack.layers or config.get("keepdims"):
                raise ValueError(f"layer {name!r} must pool the steps of a recurrent layer, without keepdims")
            self.stack.pooling, self.steps = _POOLINGS[kind], False
        elif kind == "Dense":
            self.read_dense(name, config)
        elif kind == "Activation":
            if self.output != "linear":
                raise ValueError(f"layer {name!r}: an Activation must follow a linear Dense layer")
            self.output = config.get("activation")
        elif kind not in _WITHOUT_EFFECT:
            known = sorted(_RECURRENT | set(_POOLINGS) | _WITHOUT_EFFECT | {"Bidirectional", "Dense", "Activation"})
            hint = _HINTS.get(kind, f"known are {', '.join(known)}")
            raise ValueError(f"layer {name!r} is a {kind}, which cannot be read: {hint}")

    def read_recurrent(self, name, kind, config):
        """The layer, and whether it returns steps."""
        if kind != "Bidirectional":
            cell, options, returns_steps, backwards = _recurrent_options(name, kind, config)
            if backwards and returns_steps:
                raise ValueError(
                    f"layer {name!r}: go_backwards with return_sequences turns the order of the steps, which no layer "
                    "here does"
                )
            directions = [self.read_direction(name, cell, config)]
            return Recurrent(name, cell, *([None] if backwards else []), *directions, **options), returns_steps
        if config.get("merge_mode", "concat") != "concat":
            raise ValueError(f"layer {name!r}: merge_mode must be 'concat', got {config['merge_mode']!r}")
        own = config.get("backward_layer")  # otherwise it is like the other
        inner = [config["layer"], own or config["layer"]]
        read = [_recurrent_options(name, layer["class_name"], layer["config"]) for layer in inner]
        if read[0] != (*read[1][:3], False) or read[1][3] != (own is not None):
            raise ValueError(f"layer {name!r}: its two layers must be alike but for go_backwards of the second")
        cell, options, returns_steps, _ = read[0]
        directions = [self.read_direction(name, cell, layer["config"]) for layer in inner]
        check_shape(directions[1]["kernel"], directions[0]["kernel"].shape, f"layer {name!r}: the backward kernel")
        return Recurrent(name, cell, *directions, **options), returns_steps

    def read_direction(self, name, cell, config):
        order = _ORDERS[cell]
        units, gates = config["units"], len(order)
        kernel, recurrent_kernel, *biases = self.take(name, 3 if config.get("use_bias", True) else 2)
        check_shape(kernel, (kernel.shape[0] if kernel.ndim else 0, gates * units), f"layer {name!r}: kernel")
        check_shape(recurrent_kernel, (units, gates * units), f"layer {name!r}: recurrent_kernel")
        shape = (2, gates * units) if cell == "gru" else (gates * units,)
        bias = biases[0] if biases else np.zeros(shape, kernel.dtype)
        check_shape(bias, shape, f"layer {name!r}: bias")
        bias, recurrent_bias = bias if cell == "gru" else (bias, np.zeros_like(bias))
        return our_parameters(cell, order, kernel, recurrent_kernel, bias, recurrent_bias)

    def read_dense(self, name, config):
        if self.steps:
            raise ValueError(
                f"layer {name!r} is applied to every step: let the layer below have return_sequences=False"
            )
        if self.output not in (None, "relu"):
            raise ValueError(f"layer {name!r}: a dense layer below it must have relu, got {self.output!r}")
        units, self.output = config["units"], config.get("activation", "linear")
        weight, *biases = self.take(name, 2 if config.get("use_bias", True) else 1)
        check_shape(weight, (weight.shape[0] if weight.ndim else 0, units), f"layer {name!r}: kernel")
        bias = biases[0] if biases else np.zeros(units, weight.dtype)
        check_shape(bias, (units,), f"layer {name!r}: bias")
        self.stack.dense.append(Dense(name, weight, bias))

    def finish(self):
        if self.steps and self.stack.layers:
            name = self.stack.layers[-1].name
            raise ValueError(
                f"layer {name!r} returns its sequence and nothing pools it: an estimator has one output a sequence"
            )
        if self.next != len(self.weights):
            raise ValueError(f"{len(self.weights)} weight arrays given, but these layers have {self.next}")
        if self.output not in (None, "linear", "softmax", "sigmoid"):
            raise ValueError(f"the last layer's activation must be linear, softmax or sigmoid, got {self.output!r}")
        self.stack.output = self.output or "linear"
        return self.stack


def _recurrent_options(name, kind, config):
    """(cell, activations, whether it returns steps, whether it goes backwards)."""
    if kind not in _RECURRENT:
        raise ValueError(f"layer {name!r}: Bidirectional must hold an LSTM, GRU or SimpleRNN, got {kind}")
    for flag in ("stateful", "return_state", "time_major"):
        if config.get(flag):
            raise ValueError(
                f"layer {name!r}: {flag} has no equivalent; a layer starts at zero states and returns h only"
            )
    cell = {"LSTM": "lstm", "SimpleRNN": "rnn"}.get(kind) or (
        "gru" if config.get("reset_after", True) else "gru-reset-before"
    )
    activation = config.get("activation", "tanh")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise ValueError(f"layer {name!r}: activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
    options = {"activation": _ACTIVATIONS[activation]}
    if cell != "rnn":
        gates = options["recurrent_activation"] = config.get("recurrent_activation", "sigmoid")
        if gates not in _RECURRENT_ACTIVATIONS:
            raise ValueError(f"layer {name!r}: recurrent_activation must be sigmoid or hard_sigmoid, got {gates!r}")
    return cell, options, bool(config.get("return_sequences")), bool(config.get("go_backwards"))


# ---- files ----


def _read_file(path):
    """(layers, weights) of a .keras file."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "reading a .keras file needs h5py (pip install h5py); without it, give from_keras the arrays: "
            "from_keras(model.get_weights(), model.get_config())"
        ) from error
    with open(path, "rb") as stream, damaged_file(path, ".keras file", *_FILE_ERRORS):
        archive = zipfile.ZipFile(stream)
        metadata, config = (json.loads(archive.read(name)) for name in ("metadata.json", "config.json"))
        version = str(metadata.get("keras_version"))
        if not version.startswith("3"):
            raise ValueError(
                f"{path}: written by Keras {version}; save it with Keras 3, or give from_keras the weights"
            )
        layers = _layers_of(config)
        with archive.open("model.weights.h5") as member, h5py.File(member, "r") as file:
            return layers, _file_weights(layers, file["layers"])


def _file_weights(layers, file):
    """The arrays of `model.get_weights()`. Keras names a layer there by its class, with a number from the second on."""
    weights, counts = [], {}
    for kind, _ in layers:
        name = _snake_case(kind)
        number = counts[name] = counts.get(name, -1) + 1
        inner = {"Bidirectional": ["forward_layer/cell/vars", "backward_layer/cell/vars"], "Dense": ["vars"]}
        for place in inner.get(kind, ["cell/vars"] if kind in _RECURRENT else []):
            group = file[f"{name}_{number}/{place}" if number else f"{name}/{place}"]
            weights += [group[str(k)][()] for k in range(len(group))]
    return weights


def _snake_case(name):
    """As Keras does it: "SimpleRNN" -> "simple_rnn", "LSTM" -> "lstm"."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def to_keras(estimator):
    """The weights of a fitted estimator, for `set_weights` of the Keras model that does the same.

    The model (``GRU(..., reset_after=estimator.cell == "gru")`` or ``SimpleRNN`` after the estimator's cell)::

        def recurrent(units, top):
            layer = keras.layers.LSTM(units, return_sequences=not top or estimator.pooling != "last")
            return keras.layers.Bidirectional(layer) if estimator.bidirectional else layer

        sizes = estimator.hidden_layer_sizes
        pooling = {"last": [], "mean": [keras.layers.GlobalAveragePooling1D()],
                   "max": [keras.layers.GlobalMaxPooling1D()]}
        model = keras.Sequential([
            keras.Input((None, estimator.n_features_in_)),
            *[recurrent(units, k == len(sizes) - 1) for k, units in enumerate(sizes)],
            *pooling[estimator.pooling],
            *[keras.layers.Dense(units, "relu") for units in estimator.dense_layer_sizes],
            keras.layers.Dense(estimator.n_outputs_),  # a classifier: "softmax"; of multilabel targets "sigmoid"
        ])
        model.set_weights(to_keras(estimator))

    Other activations are Keras' of the same names, "identity" is its "linear".

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        A fitted one.

    Returns
    -------
    weights : list of ndarray
        Of the estimator's dtype.

    Raises
    ------
    ValueError
        If Keras has no such layer: peepholes and other variants of the LSTM, clip.
    TypeError, sklearn.exceptions.NotFittedError
        If `estimator` is none, or not fitted.

    See Also
    --------
    from_keras : The way back.

    Examples
    --------
    >>> from lstmfast import LSTMRegressor
    >>> from lstmfast.interop import to_keras
    >>> regressor = LSTMRegressor(4, max_iter=1).fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.0])
    >>> [array.shape for array in to_keras(regressor)]
    [(1, 16), (4, 16), (16,), (4, 1), (1,)]
    """
    stack = take_apart(estimator)
    check_expressible(stack, "Keras", _ORDERS, _ACTIVATIONS.values(), _RECURRENT_ACTIVATIONS)
    weights = []
    for layer in stack.layers:
        for direction in layer.directions:
            kernel, recurrent_kernel, bias, recurrent_bias = their_parameters(
                layer.cell, _ORDERS[layer.cell], direction
            )
            weights += [kernel, recurrent_kernel, np.stack([bias, recurrent_bias]) if layer.cell == "gru" else bias]
    for layer in stack.dense:
        weights += [layer.weight, layer.bias]
    return weights
