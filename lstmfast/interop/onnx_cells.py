"""ONNX's operators LSTM, GRU and RNN: their attributes and weights to a recurrent layer and back.

W (directions, gates H, F), R (directions, gates H, H), B (directions, 2 gates H), P (directions, 3 H).
"""

import numpy as np

from .gates import our_parameters, their_parameters
from .stack import Recurrent, check_shape

_ORDERS = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}  # of the gates
_PEEPHOLES = [0, 2, 1]  # theirs are of i, o, f, ours of i, f, o; the same the other way
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_OPERATORS = {
    "lstm": "LSTM",
    "lstm-peephole": "LSTM",
    "lstm-coupled": "LSTM",
    "gru": "GRU",
    "gru-reset-before": "GRU",
    "rnn": "RNN",
}
CELLS = tuple(_OPERATORS)

# Our name, and the alpha and beta at which the function is that; None where it has none.
_ACTIVATIONS = {
    "Tanh": ("tanh", None, None),
    "Relu": ("relu", None, None),
    "Sigmoid": ("sigmoid", None, None),
    "Softsign": ("softsign", None, None),
    "Affine": ("identity", 1.0, 0.0),
    "Elu": ("elu", 1.0, None),
    "HardSigmoid": ("hard_sigmoid", 1 / 6, 0.5),
}
_DEFAULT_ALPHAS = {"HardSigmoid": 0.2}  # the others' are those above
_THEIRS = {ours: (name, alpha, beta) for name, (ours, alpha, beta) in _ACTIVATIONS.items()}
ACTIVATIONS = tuple(_THEIRS.keys() - {"hard_sigmoid"})
RECURRENT_ACTIVATIONS = ("sigmoid", "hard_sigmoid")


def read_cell(name, operator, attributes, W, R, B=None, P=None):
    """The recurrent layer of a node.

    Parameters
    ----------
    name : str
        For errors.
    operator : {"LSTM", "GRU", "RNN"}
    attributes : dict
        The node's attributes; strings as str.
    W, R, B, P : ndarrays
        The node's inputs of these names; B and P may be None.

    Raises
    ------
    ValueError
        If the node is none that our cells can express.
    """
    direction = attributes.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"node {name!r}: unknown direction {direction!r}")
    n, gates = 2 if direction == "bidirectional" else 1, len(_ORDERS[operator])
    units = R.shape[-1] if R.ndim else 0
    check_shape(R, (n, gates * units, units), f"node {name!r}: R")
    check_shape(W, (n, gates * units, W.shape[-1] if W.ndim else 0), f"node {name!r}: W")
    if attributes.get("hidden_size", units) != units:
        raise ValueError(f"node {name!r}: hidden_size is {attributes['hidden_size']}, but R has shape {R.shape}")
    B = np.zeros((n, 2 * gates * units), W.dtype) if B is None else B
    check_shape(B, (n, 2 * gates * units), f"node {name!r}: B")
    if P is not None:
        check_shape(P, (n, 3 * units), f"node {name!r}: P")
    cell = _cell(name, operator, attributes, P)
    directions = []
    for d in range(n):
        kernel, recurrent_kernel = W[d].T, R[d].T
        bias, recurrent_bias = np.split(B[d], 2)
        arrays, order = (kernel, recurrent_kernel, bias, recurrent_bias), _ORDERS[operator]
        if cell == "lstm-coupled":
            arrays, order = map(_ours_of_coupled, arrays), "fgo"
        parameters = our_parameters(cell, order, *arrays)
        if cell == "lstm-peephole":
            parameters["peephole"] = P[d].reshape(3, units)[_PEEPHOLES]
        directions.append(parameters)
    if direction == "reverse":
        directions.insert(0, None)
    activation, recurrent_activation = _read_activations(name, operator, attributes, n)
    return Recurrent(name, cell, *directions, activation=activation, recurrent_activation=recurrent_activation,
                     clip=_read_clip(name, attributes))  # fmt: skip


def _cell(name, operator, attributes, P):
    if operator == "GRU":
        return "gru" if attributes.get("linear_before_reset", 0) else "gru-reset-before"
    if operator == "RNN":
        return "rnn"
    with_peepholes = P is not None and bool(P.any())
    if attributes.get("input_forget", 0):
        if with_peepholes:
            raise ValueError(
                f"node {name!r}: there is no LSTM with both peepholes (P) and coupled gates (input_forget=1) here"
            )
        return "lstm-coupled"
    return "lstm-peephole" if with_peepholes else "lstm"


def _read_clip(name, attributes):
    clip = attributes.get("clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"node {name!r}: clip must be positive, got {clip}")
    return clip


def _read_activations(name, operator, attributes, n):
    """(activation, recurrent activation) of a node with n directions."""
    given = attributes.get("activations") or _DEFAULTS[operator] * n
    if len(given) != n * len(_DEFAULTS[operator]):
        raise ValueError(f"node {name!r}: {n * len(_DEFAULTS[operator])} activations expected, got {list(given)}")
    known = {theirs.lower(): theirs for theirs in _ACTIVATIONS}
    # alpha and beta are lists of what those functions take that take one, in order; defaults where a list ends.
    alphas, betas = list(attributes.get("activation_alpha", ())), list(attributes.get("activation_beta", ()))
    ours = []
    for function in given:
        if function.lower() not in known:
            raise ValueError(f"node {name!r}: there is no activation {function} here, only {', '.join(_ACTIVATIONS)}")
        function = known[function.lower()]
        mine, *numbers = _ACTIVATIONS[function]
        defaults = _DEFAULT_ALPHAS.get(function, numbers[0]), numbers[1]
        for what, number, default, queue in zip(("alpha", "beta"), numbers, defaults, (alphas, betas), strict=True):
            value = default if number is None or not queue else queue.pop(0)
            if number is not None and abs(value - number) > 1e-6:
                raise ValueError(f"node {name!r}: {function} is known with {what} {number:.7g} only, got {value:.7g}")
        ours.append(mine)
    if len(set(map(tuple, np.split(np.array(ours), n)))) > 1:
        raise ValueError(f"node {name!r}: both directions must have the same activations, got {list(given)}")
    recurrent_activation, activation = ("sigmoid", ours[0]) if operator == "RNN" else ours[:2]
    if operator == "LSTM" and ours[2] != activation:
        raise ValueError(f"node {name!r}: the activations of g and of c must be the same, got {list(given)}")
    if activation not in ACTIVATIONS or recurrent_activation not in RECURRENT_ACTIVATIONS:
        raise ValueError(
            f"node {name!r}: gates must have Sigmoid or HardSigmoid, all else not HardSigmoid, got {list(given)}"
        )
    return activation, recurrent_activation


def write_cell(layer):
    """The node of a recurrent layer: operator, attributes, and the inputs by name (W, R, B, with peepholes P)."""
    operator = _OPERATORS[layer.cell]
    inputs = {"W": [], "R": [], "B": []}
    for parameters in layer.directions:
        if layer.cell == "lstm-coupled":
            arrays = map(_theirs_of_coupled, their_parameters(layer.cell, "fgo", parameters))
        else:
            arrays = their_parameters(layer.cell, _ORDERS[operator], parameters)
        kernel, recurrent_kernel, bias, recurrent_bias = arrays
        inputs["W"].append(kernel.T)
        inputs["R"].append(recurrent_kernel.T)
        inputs["B"].append(np.concatenate([bias, recurrent_bias]))
        if layer.cell == "lstm-peephole":
            inputs.setdefault("P", []).append(parameters["peephole"][_PEEPHOLES].ravel())
    n = len(layer.directions)
    attributes = {"hidden_size": layer.hidden_size, "direction": "bidirectional" if n == 2 else "forward"}
    names = [layer.activation] if operator == "RNN" else [layer.recurrent_activation, layer.activation]
    functions = [_THEIRS[ours] for ours in names + [layer.activation] * (operator == "LSTM")] * n
    attributes["activations"] = [theirs for theirs, _, _ in functions]
    for k, what in ((1, "activation_alpha"), (2, "activation_beta")):
        numbers = [function[k] for function in functions if function[k] is not None]
        attributes |= {what: numbers} if numbers else {}
    if layer.clip is not None:
        attributes["clip"] = layer.clip
    if operator == "GRU":
        attributes["linear_before_reset"] = int(layer.cell == "gru")
    if layer.cell == "lstm-coupled":
        attributes["input_forget"] = 1
    return operator, attributes, {name: np.stack(arrays) for name, arrays in inputs.items()}


# Coupled gates: theirs is f = 1 - i with the weights of i, ours i = 1 - f with those of f, and 1 - sigmoid(z) is
# sigmoid(-z), with hard_sigmoid and clip too. Their own weights of f are never read.
def _ours_of_coupled(array):
    """The last axis from their i, o, f, g to our f, g, o."""
    i, o, _, g = np.split(array, 4, axis=-1)
    return np.concatenate([-i, g, o], axis=-1)


def _theirs_of_coupled(array):
    f, g, o = np.split(array, 3, axis=-1)
    return np.concatenate([-f, o, np.zeros_like(f), g], axis=-1)
