"""PyTorch: the state_dict of nn.LSTM, nn.GRU or nn.RNN with nn.Linear layers behind it."""

import os
import re
from collections.abc import Mapping

import numpy as np

from .gates import our_parameters, their_parameters
from .stack import Dense, Recurrent, Stack, as_weights, build, check_expressible, check_shape, take_apart

_RECURRENT = re.compile(r"(?P<prefix>.*\.)?(?P<what>(weight|bias)_(ih|hh|hr))_l(?P<layer>\d+)(?P<reverse>_reverse)?")
_LINEAR = re.compile(r"(?P<prefix>(.*\.)?)(?P<what>weight|bias)")
_ORDERS = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}  # of the gates
_CELLS = {len(order): cell for cell, order in _ORDERS.items()}


def from_torch(
    state_dict,
    *,
    estimator="regressor",
    classes=None,
    nonlinearity="tanh",
    pooling="last",
    multilabel=False,
    dtype=None,
):
    """A fitted estimator with the weights of a PyTorch model.

    The model: ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` with any number of layers, or several of them whose names differ in
    a number only ("rnn.0.", "rnn.1."); then any number of ``nn.Linear``, with relu between them. What a state_dict does
    not tell, the arguments do. That each sequence is read by itself from zero states, that a dropout or softmax has no
    weights, and ``batch_first`` make no difference.

    Parameters
    ----------
    state_dict : mapping of str to array-like, or path
        ``model.state_dict()``, or a ``.safetensors`` file of it. Names may have any prefix. Arrays are tensors or
        whatever ``np.asarray`` reads; float32 or float64. Linear layers come in the mapping's order, or, out of a file,
        in the order of their names, numbers counted.
    estimator : {"regressor", "classifier"}, default="regressor"
        A classifier's outputs are taken for logits: of a softmax, or a single one of a sigmoid.
    classes : array-like of shape (n_outputs,), default=None
        The label of each output. None: 0, 1, ... For one logit: the labels of "no" and "yes".
    nonlinearity : {"tanh", "relu"}, default="tanh"
        Of ``nn.RNN``.
    pooling : {"last", "mean", "max"}, default="last"
        How the top layer's steps become one vector: h after the last step (of both directions), or over all steps.
    multilabel : bool, default=False
        Whether a classifier's outputs are logits of one sigmoid each.
    dtype : {"float32", "float64"}, default=None
        Precision of the estimator. None: that of the arrays.

    Returns
    -------
    estimator : LSTMRegressor or LSTMClassifier
        It predicts, streams, saves and can be trained further with `partial_fit` or `warm_start`. Without a linear
        layer its outputs are the pooled vector.

    Raises
    ------
    TypeError
        If `state_dict` is neither, or an entry is no array of float32 or float64.
    ValueError
        If entries are unknown, missing or of a wrong shape, or the model is none that can be expressed (``proj_size``).
    OSError
        If the file cannot be read.

    See Also
    --------
    to_torch : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.interop import from_torch
    >>> draw = np.random.default_rng(0).normal
    >>> shapes = {"lstm.weight_ih_l0": (16, 3), "lstm.weight_hh_l0": (16, 4), "lstm.bias_ih_l0": 16,
    ...           "lstm.bias_hh_l0": 16, "fc.weight": (2, 4), "fc.bias": 2}
    >>> model = from_torch({name: draw(size=shape) for name, shape in shapes.items()}, estimator="classifier")
    >>> model.hidden_layer_sizes, model.predict_proba(np.zeros((1, 5, 3))).shape
    ((4,), (1, 2))
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    modules, linears = _sort_entries(_entries(state_dict))
    stack = Stack(pooling=pooling, output="sigmoid" if multilabel else "linear")
    for prefix in _module_order(modules):
        stack.layers += _read_module(prefix, modules[prefix], nonlinearity)
    for prefix, entries in linears.items():
        stack.dense.append(_read_linear(prefix, entries))
    return build(stack, estimator=estimator, classes=classes, dtype=dtype)


def _entries(state_dict):
    """{name: array}."""
    if isinstance(state_dict, str | os.PathLike):
        return _read_safetensors(os.fspath(state_dict))
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"expected a state_dict (a mapping of names to arrays) or the path of a .safetensors file, got "
            f"{type(state_dict).__name__}; of a module pass module.state_dict()"
        )
    return {str(name): as_weights(value, str(name)) for name, value in state_dict.items()}


def _read_safetensors(path):
    from safetensors import SafetensorError, safe_open

    entries = {}
    try:
        with safe_open(path, "numpy") as file:
            for name in sorted(file.keys(), key=_number_aware):
                dtype = file.get_slice(name).get_dtype()
                if dtype not in ("F32", "F64"):
                    raise TypeError(f"{path}: {name} must hold float32 or float64 numbers, got {dtype}")
                entries[name] = as_weights(file.get_tensor(name), name)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file: {error}. A pickled state_dict (.pt, .pth) is never loaded here: read "
            "it with torch.load and pass the mapping"
        ) from error
    return entries


def _number_aware(name):
    """A key that sorts "fc.10" behind "fc.2"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _sort_entries(entries):
    """({prefix: {(what, layer, reverse): array}} of recurrent modules, {prefix: {what: array}} of linear ones)."""
    modules, linears, unknown = {}, {}, []
    for name, array in entries.items():
        if match := _RECURRENT.fullmatch(name):
            key = match["what"], int(match["layer"]), bool(match["reverse"])
            modules.setdefault(match["prefix"] or "", {})[key] = array
        elif (match := _LINEAR.fullmatch(name)) and array.ndim == (2 if match["what"] == "weight" else 1):
            linears.setdefault(match["prefix"], {})[match["what"]] = array
        else:
            unknown.append(f"{name} of shape {array.shape}")
    if not modules:
        raise ValueError(f"no entry of a recurrent layer, such as weight_ih_l0, among {', '.join(entries) or 'none'}")
    unknown += [f"{prefix}bias" for prefix, entries in linears.items() if "weight" not in entries]
    if unknown:
        raise ValueError(
            f"entries that belong to no LSTM, GRU, RNN or Linear: {', '.join(unknown)}. Pass those of these layers only"
        )
    return modules, linears


def _module_order(modules):
    """The prefixes by their number; ValueError unless they differ in nothing else."""
    if len({re.sub(r"\d+", "0", prefix) for prefix in modules}) > 1:
        raise ValueError(
            f"entries of several recurrent modules, {', '.join(map(repr, modules))}, and their names do not tell which "
            "comes first. Pass one's, or name them by numbers ('rnn.0.', 'rnn.1.')"
        )
    return sorted(modules, key=_number_aware)


def _read_module(prefix, entries, nonlinearity):
    """The layers of one nn.LSTM, nn.GRU or nn.RNN."""

    def name(key):
        what, layer, reverse = key
        return f"{prefix}{what}_l{layer}{'_reverse' if reverse else ''}"

    if any(what.endswith("hr") for what, _, _ in entries):
        raise ValueError(f"{prefix}weight_hr_l0: an LSTM with proj_size has no equivalent here")
    n_layers = 1 + max(layer for _, layer, _ in entries)
    readings = (False, True) if any(reverse for _, _, reverse in entries) else (False,)
    kinds = ["weight_ih", "weight_hh"]
    if any(what.startswith("bias") for what, _, _ in entries):
        kinds += ["bias_ih", "bias_hh"]
    wanted = [(what, layer, reverse) for layer in range(n_layers) for reverse in readings for what in kinds]
    if missing := [name(key) for key in wanted if key not in entries]:
        raise ValueError(f"missing entries: {', '.join(missing)}")
    layers = []
    for layer in range(n_layers):
        directions = []
        for reverse in readings:
            names = [name((what, layer, reverse)) for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            arrays = [entries.get((what, layer, reverse)) for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            cell, parameters = _read_direction(names, *arrays)
            directions.append(parameters)
            check_shape(parameters["kernel"].T, directions[0]["kernel"].T.shape, names[0])
        activation = nonlinearity if cell == "rnn" else "tanh"
        layers.append(Recurrent(f"{prefix}l{layer}", cell, *directions, activation=activation))
    return layers


def _read_direction(names, w_ih, w_hh, b_ih, b_hh):
    """The cell, and our parameters of PyTorch's four arrays; the biases may be None."""
    rows, units = w_hh.shape if w_hh.ndim == 2 else (0, 1)
    if not units or rows % units or rows // units not in _CELLS:
        raise ValueError(
            f"{names[1]} must have shape (G H, H) with G = 4 for an LSTM, 3 for a GRU, 1 for an RNN, got {w_hh.shape}"
        )
    check_shape(w_ih, (rows, w_ih.shape[-1] if w_ih.ndim else 0), names[0])
    if b_ih is None:
        b_ih = b_hh = np.zeros(rows, w_hh.dtype)
    check_shape(b_ih, (rows,), names[2])
    check_shape(b_hh, (rows,), names[3])
    cell = _CELLS[rows // units]
    return cell, our_parameters(cell, _ORDERS[cell], w_ih.T, w_hh.T, b_ih, b_hh)


def _read_linear(prefix, entries):
    weight = entries["weight"].T
    bias = entries.get("bias", np.zeros(weight.shape[1], weight.dtype))
    check_shape(bias, (weight.shape[1],), f"{prefix}bias")
    return Dense(f"{prefix}weight", weight, bias)


def to_torch(estimator, path=None):
    """The weights of a fitted estimator as the state_dict of a PyTorch model.

    The model, for layers of one size (``nn.GRU`` or ``nn.RNN`` after the estimator's cell)::

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(n_features, units, n_layers, batch_first=True, bidirectional=...)
                self.dense = nn.ModuleList([nn.Linear(..., ...)])  # only with dense_layer_sizes
                self.head = nn.Linear(..., n_outputs)

            def forward(self, x):
                y, h = self.rnn(x)  # of an LSTM: y, (h, c)
                z = h[-1]           # bidirectional: torch.cat([h[-2], h[-1]], 1); pooling="mean": y.mean(1)
                for layer in self.dense:
                    z = layer(z).relu()
                return self.head(z)  # of a classifier: logits

        model.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(estimator).items()})

    For layers of different sizes ``rnn`` is an ``nn.ModuleList`` of modules of one layer each.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        A fitted one.
    path : str or path-like, default=None
        Where to write the arrays as well, as a ``.safetensors`` file.

    Returns
    -------
    state_dict : dict of str to ndarray
        Of the estimator's dtype. Each layer's second bias is 0 but for the GRU's candidate.

    Raises
    ------
    ValueError
        If PyTorch has no such layer: peepholes and other variants of the LSTM, ``gru-reset-before``, clip, activations
        other than tanh (and relu of an RNN).
    TypeError, sklearn.exceptions.NotFittedError
        If `estimator` is none, or not fitted.
    OSError
        If the file cannot be written.

    See Also
    --------
    from_torch : The way back.

    Examples
    --------
    >>> from lstmfast import LSTMRegressor
    >>> from lstmfast.interop import to_torch
    >>> regressor = LSTMRegressor(4, max_iter=1).fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.0])
    >>> for name, array in to_torch(regressor).items():
    ...     print(name, array.shape)
    rnn.weight_ih_l0 (16, 1)
    rnn.weight_hh_l0 (16, 4)
    rnn.bias_ih_l0 (16,)
    rnn.bias_hh_l0 (16,)
    head.weight (1, 4)
    head.bias (1,)
    """
    stack = take_apart(estimator)
    check_expressible(stack, "PyTorch", _ORDERS, ("tanh", "relu") if stack.layers[-1].cell == "rnn" else ("tanh",))
    one_module = len({layer.hidden_size for layer in stack.layers}) == 1
    entries = {}
    for k, layer in enumerate(stack.layers):
        prefix, number = ("rnn.", k) if one_module else (f"rnn.{k}.", 0)
        for direction, suffix in zip(layer.directions, ("", "_reverse"), strict=False):
            arrays = their_parameters(layer.cell, _ORDERS[layer.cell], direction)
            for what, array in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), arrays, strict=True):
                entries[f"{prefix}{what}_l{number}{suffix}"] = np.ascontiguousarray(array.T)
    for k, layer in enumerate(stack.dense):
        prefix = "head." if k == len(stack.dense) - 1 else f"dense.{k}."
        entries |= {f"{prefix}weight": np.ascontiguousarray(layer.weight.T), f"{prefix}bias": layer.bias}
    if path is not None:
        from safetensors.numpy import save

        data = save(entries)
        with open(path, "wb") as file:
            file.write(data)
    return entries
