"""What every format is read into and written from: recurrent layers, pooling, dense layers, an output."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..decisions import Labels
from ..estimators import LSTMClassifier, LSTMRegressor
from ..layers.parameters import check_dtype
from ..network import Network
from ..sequences import check_finite

ESTIMATORS = {"regressor": LSTMRegressor, "classifier": LSTMClassifier}
_SHARED = ("cell", "activation", "recurrent_activation", "clip")  # the layers of a network differ in sizes only


@dataclass
class Recurrent:
    """A recurrent layer. Each direction is a dict of our parameters, or None where there is none."""

    name: str  # in its file, for errors
    cell: str
    forward: dict | None
    backward: dict | None = None
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    clip: float | None = None

    @property
    def directions(self):
        return [direction for direction in (self.forward, self.backward) if direction is not None]

    @property
    def input_size(self):
        return len(self.directions[0]["kernel"])

    @property
    def hidden_size(self):
        return len(self.directions[0]["recurrent_kernel"])

    @property
    def output_size(self):
        return len(self.directions) * self.hidden_size


@dataclass
class Dense:
    """A dense layer: weight (inputs, outputs), bias (outputs,)."""

    name: str
    weight: np.ndarray
    bias: np.ndarray


@dataclass
class Stack:
    """A whole model; relu between the dense layers. Without a dense layer its output is the pooled vector."""

    layers: list = field(default_factory=list)
    pooling: str = "last"
    dense: list = field(default_factory=list)
    output: str = "linear"  # or "softmax", "sigmoid"


@contextmanager
def damaged_file(path, kind, *errors):
    """Turns what a damaged file, or one of another kind, raises into a ValueError; `errors` are its reader's own."""
    try:
        yield
    except (KeyError, IndexError, AttributeError, OverflowError, RecursionError, UnicodeError, *errors) as error:
        raise ValueError(f"{path} is not a valid {kind}: {type(error).__name__}: {error}") from error


def as_weights(value, name):
    """An array of float32 or float64, finite, of what may be a tensor; an error that names it if it is none."""
    for method in ("detach", "cpu"):  # a torch tensor
        value = getattr(value, method, lambda value=value: value)()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}. Convert it to float32 first") from error
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must hold float32 or float64 numbers, got {array.dtype}. Convert it first")
    array = np.array(array, array.dtype.newbyteorder("="), order="C")
    check_finite(array, name)
    return array


def check_shape(array, shape, name):
    """ValueError unless an array has this shape."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")


# ---- from a stack to an estimator ----


def build(stack, *, estimator=None, classes=None, dtype=None):
    """The fitted estimator of a stack.

    Parameters
    ----------
    stack : Stack
    estimator : {"regressor", "classifier"} or None
        None: a regressor for a linear output, else a classifier.
    classes : array-like of shape (n_outputs,) or None
        The label of each output; None: their numbers.
    dtype : {"float32", "float64"} or None
        None: that of the weights.
    """
    if estimator is None:
        estimator = "regressor" if stack.output == "linear" else "classifier"
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(map(repr, ESTIMATORS))}, got {estimator!r}")
    if estimator == "regressor" and stack.output != "linear":
        raise ValueError(f"the model ends in {stack.output}, so it is no regressor; set estimator='classifier'")
    if estimator == "regressor" and classes is not None:
        raise ValueError(f"a regressor has no classes, got classes={classes!r}; set estimator='classifier'")
    _check(stack)
    layers, dense = _read_one_way(stack)
    arrays = [array for layer in layers for direction in layer.directions for array in direction.values()]
    dtype = check_dtype(dtype or np.result_type(*arrays, *(layer.weight for layer in dense))).name
    if estimator == "classifier":
        dense[-1], fitted = _with_classes(dense[-1], stack.output, classes)
    else:
        n_outputs = len(dense[-1].bias)
        fitted = {"_n_targets": n_outputs, "_one_output": n_outputs == 1}
    top = layers[-1]
    arguments = {
        "hidden_layer_sizes": tuple(layer.hidden_size for layer in layers), "cell": top.cell,
        "activation": top.activation, "recurrent_activation": top.recurrent_activation,
        "bidirectional": len(top.directions) == 2, "pooling": stack.pooling,
        "dense_layer_sizes": tuple(len(layer.bias) for layer in dense[:-1]), "dtype": dtype,
    }  # fmt: skip
    fitted |= {"n_features_in_": layers[0].input_size, "_input_kind": "sequences"}
    network = Network(n_features=layers[0].input_size, n_outputs=len(dense[-1].bias), clip=top.clip, **arguments)
    for layer, given in zip(network.layers, layers, strict=True):
        for direction, parameters in zip(layer.directions, given.directions, strict=True):
            for name, array in parameters.items():
                setattr(direction, name, array)
    for layer, given in zip(network.dense, dense, strict=True):
        layer.weight, layer.bias = given.weight, given.bias
    result = ESTIMATORS[estimator](**arguments)
    history = {"loss_curve": [], "grad_norm_curve": [], "validation_scores": [], "stop_reason": None}
    result._restore(fitted, network, history)
    return result


def _check(stack):
    """ValueError unless each layer fits the one below and the recurrent ones are of one kind."""
    if not stack.layers:
        raise ValueError("the model has no recurrent layer")
    first, size, below = stack.layers[0], None, None
    for layer in stack.layers:
        for what in _SHARED:
            if getattr(layer, what) != getattr(first, what):
                raise ValueError(
                    f"all recurrent layers must have one {what}: {first.name!r} has {getattr(first, what)!r}, "
                    f"{layer.name!r} {getattr(layer, what)!r}"
                )
        if size is not None and layer.input_size != size:
            raise ValueError(f"{layer.name!r} takes {layer.input_size} inputs, but {below!r} below has {size} outputs")
        size, below = layer.output_size, layer.name
    for layer in stack.dense:
        check_shape(layer.weight, (len(layer.weight), *layer.bias.shape), f"the weight of {layer.name!r}")
        if len(layer.weight) != size:
            raise ValueError(f"{layer.name!r} takes {len(layer.weight)} inputs, but {below!r} below has {size} outputs")
        size, below = len(layer.bias), layer.name


def _read_one_way(stack):
    """Layers and dense layers of a network, whose recurrent layers all have the same directions.

    Where the file's do not, or read backwards only, every layer gets both; a direction that is not in the file has
    weights 0, and nothing reads its outputs.
    """
    layers, dense = list(stack.layers), list(stack.dense)
    if not dense:
        size, dtype = layers[-1].output_size, layers[-1].directions[0]["kernel"].dtype
        dense = [Dense("output", np.eye(size, dtype=dtype), np.zeros(size, dtype))]
    if all(layer.backward is None for layer in layers):
        return layers, dense
    below = None
    for k, layer in enumerate(layers):
        both = [None if given is None else _spread(given, "kernel", below) for given in (layer.forward, layer.backward)]
        there = both[0] or both[1]
        both = [given or {name: np.zeros_like(array) for name, array in there.items()} for given in both]
        layers[k] = Recurrent(
            layer.name, layer.cell, *both, **{name: getattr(layer, name) for name in _SHARED if name != "cell"}
        )
        below = layer
    weight = _spread({"weight": dense[0].weight}, "weight", below)["weight"]
    return layers, [Dense(dense[0].name, weight, dense[0].bias), *dense[1:]]


def _spread(parameters, name, below):
    """The parameters with rows of 0 in the matrix that meets a direction which the layer below does not have."""
    if below is None or len(below.directions) == 2:
        return parameters
    matrix = parameters[name]
    nothing = np.zeros_like(matrix)
    return parameters | {name: np.concatenate([nothing, matrix] if below.forward is None else [matrix, nothing])}


def _with_classes(layer, output, classes):
    """The output layer of a classifier, its outputs in the order of the sorted labels, and what is known of those."""
    weight, bias = layer.weight, layer.bias
    if len(bias) == 1:
        if output == "softmax":
            raise ValueError(
                "a softmax of one output is always 1; a model of two classes has one sigmoid or two outputs"
            )
        # sigmoid(z) is what a softmax of 0 and z gives the second class.
        weight, bias = np.pad(weight, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    multilabel = output == "sigmoid" and len(layer.bias) > 1
    labels = np.arange(len(bias)) if classes is None else np.asarray(classes)
    if labels.shape != bias.shape or len(np.unique(labels)) != len(labels):
        raise ValueError(f"classes must be {len(bias)} different labels, one an output, got {classes!r}")
    if multilabel and not np.array_equal(labels, np.arange(len(bias))):
        raise ValueError(f"a multilabel model's classes are the numbers of its outputs, got classes={classes!r}")
    order = np.argsort(labels)
    return Dense(layer.name, weight[:, order], bias[order]), {"classes_": labels[order], "_multilabel": multilabel}


# ---- from an estimator to a stack ----


def take_apart(estimator):
    """The stack of a fitted estimator, its arrays copied."""
    if not isinstance(estimator, tuple(ESTIMATORS.values())):
        raise TypeError(f"expected an LSTMClassifier or LSTMRegressor, got {type(estimator).__name__}")
    check_is_fitted(estimator)
    network, layers = estimator._network, []
    for argument, value in {"conv_layers": network.config["conv_layers"], "pooling": network.pooling}.items():
        if value and value not in ("last", "mean", "max"):
            raise ValueError(f"a model with {argument}={value!r} cannot be exported")
    for k, layer in enumerate(network.layers):
        directions = [{name: array.copy() for name, array in each.arrays.items()} for each in layer.directions]
        cell = layer.cell
        layers.append(
            Recurrent(
                f"recurrent layer {k}", cell.name, *directions, activation=cell.activation,
                recurrent_activation=cell.recurrent_activation, clip=cell.clip,
            )
        )  # fmt: skip
    dense = [
        Dense(f"dense layer {k}", layer.arrays["weight"].copy(), layer.arrays["bias"].copy())
        for k, layer in enumerate(network.dense)
    ]
    return Stack(layers, network.pooling, dense, estimator._decision.activation or "linear")


def labels_of(estimator):
    """The labels of a classifier's outputs as a list, or None."""
    decision = estimator._decision
    return decision.classes.tolist() if isinstance(decision, Labels) else None


def check_expressible(stack, library, cells, activations, recurrent_activations=("sigmoid",), clip=False):
    """ValueError, naming all of it, if a model has what another library cannot say."""
    top = stack.layers[-1]
    problems = []
    if top.cell not in cells:
        problems.append(f"cell={top.cell!r}")
    if top.activation not in activations:
        problems.append(f"activation={top.activation!r}")
    if top.cell != "rnn" and top.recurrent_activation not in recurrent_activations:
        problems.append(f"recurrent_activation={top.recurrent_activation!r}")
    if top.clip is not None and not clip:
        problems.append(f"clip={top.clip}")
    if problems:
        raise ValueError(f"{library} has no layer with {', '.join(problems)}")
