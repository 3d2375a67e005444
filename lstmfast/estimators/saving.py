"""Estimators to model files and back. The file format itself is `lstmfast.persistence`."""

import importlib
from numbers import Integral

import numpy as np

from ..network import Network
from ..persistence import ModelFormatError, read_model, write_model

_CLASSES = {"LSTMClassifier": "classifier", "LSTMRegressor": "regressor"}
_HISTORY = ("loss_curve", "grad_norm_curve", "validation_scores", "stop_reason")


def save(estimator, path):
    """Write a fitted estimator."""
    estimator._check_arguments()  # they may have been changed since; what is saved can be loaded
    parameters = estimator.get_params(deep=False) | {"callbacks": None}
    if not isinstance(parameters["random_state"], Integral | None):
        parameters["random_state"] = None
    network, history = estimator._network, estimator._history
    fitted = ("n_features_in_", "feature_names_in_", "_input_kind", *estimator._target_attributes)
    metadata = {
        "estimator": type(estimator).__name__,
        "parameters": {name: _encode(value) for name, value in parameters.items()},
        "fitted": {name: _encode(getattr(estimator, name)) for name in fitted if hasattr(estimator, name)},
        "history": {name: getattr(history, name) for name in _HISTORY},
        "network": network.config,
    }
    write_model(path, metadata, network.named_parameters())


def load(path):
    """Read a fitted estimator from a file that its `save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    estimator : LSTMClassifier or LSTMRegressor
        It predicts the same bits as the one that was saved.

    Raises
    ------
    ModelFormatError
        If the file is not a whole and consistent model. Nothing in a file is ever executed.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstmfast
    >>> regressor = lstmfast.LSTMRegressor(4, max_iter=1).fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.0])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.lstmfast")
    >>> regressor.save(path)
    >>> bool((lstmfast.load(path).predict([[0.5, 0.5]]) == regressor.predict([[0.5, 0.5]])).all())
    True
    """
    metadata, arrays = read_model(path)
    try:
        return _rebuild(metadata, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelFormatError(f"{path}: the model in this file is not consistent: {error}") from error


def _rebuild(metadata, arrays):
    name = metadata["estimator"]
    if name not in _CLASSES:
        raise ValueError(f"unknown estimator {name!r}; this version knows {sorted(_CLASSES)}")
    cls = getattr(importlib.import_module(f"{__package__}.{_CLASSES[name]}"), name)
    estimator = cls(**{key: _decode(value) for key, value in metadata["parameters"].items()})
    estimator._check_arguments()
    network = _rebuild_network(metadata["network"], arrays)
    check_fields(metadata["history"], _HISTORY)
    fitted = {key: _decode(value) for key, value in metadata["fitted"].items()}
    estimator._restore(fitted, network, metadata["history"])
    return estimator


def check_fields(fields, needed, optional=()):
    """ValueError unless a dict has just these keys."""
    if not set(needed) <= set(fields) <= {*needed, *optional}:
        raise ValueError(f"expected {sorted(needed)}, got {sorted(fields)}")


def _rebuild_network(config, arrays):
    # A file must not make us allocate what it does not hold: count before building.
    n_values = sum(array.size for array in arrays.values())
    if Network.count_parameters(**config) != n_values:
        raise ValueError(f"{n_values} weights do not make the network that is described, {config}")
    network = Network(**config)
    targets = network.named_parameters()
    if targets.keys() != arrays.keys():
        raise ValueError(f"weights must be named {sorted(targets)}, got {sorted(arrays)}")
    for name, target in targets.items():
        array = arrays[name]
        if array.dtype != target.dtype or array.shape != target.shape or not np.isfinite(array).all():
            raise ValueError(
                f"weights {name} must be finite, of shape {target.shape} and {target.dtype}, got {array.shape} of "
                f"{array.dtype}"
            )
        target[...] = array
    network.parameters_changed()
    return network


def _encode(value):
    """A JSON value; what JSON does not know becomes {"type": ..., "value": ...}."""
    if isinstance(value, np.ndarray):
        return {"type": f"array {value.dtype.str}", "value": value.tolist()}
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {"type": "dict", "value": [[_encode(key), _encode(item)] for key, item in value.items()]}
    return value


def _decode(value):
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind, content = value["type"], value["value"]
    if kind == "dict":
        return {_decode(key): _decode(item) for key, item in content}
    dtype = np.dtype(kind.removeprefix("array "))
    if dtype.kind in "UO":
        if not all(isinstance(item, str) for item in content):
            raise ValueError("arrays of strings must hold strings")
        # Wide enough for what is there: a file does not get to ask for more.
        return np.array(content, str if dtype.kind == "U" else object)
    if dtype.kind not in "biuf" or not all(type(item) in (bool, int, float) for item in content):
        raise ValueError(f"arrays of {dtype} are not read, or do not hold numbers")
    return np.array(content, dtype)
