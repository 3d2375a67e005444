"""The parts of a saved model, checked against each other: what estimators and the light runtime both read."""

from contextlib import contextmanager

import numpy as np

from .persistence import ModelFormatError

# What a checkpoint has beside a model: a field of its metadata, and arrays whose names begin like this.
CHECKPOINT = "checkpoint"
CHECKPOINT_ARRAYS = f"{CHECKPOINT}."


@contextmanager
def inconsistency(path):
    """Turns whatever a file's contradictions raise into a ModelFormatError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelFormatError(f"{path}: the model in this file is not consistent: {error}") from error


def check_fields(fields, needed, optional=()):
    """ValueError unless a dict has just these keys."""
    if not set(needed) <= set(fields) <= {*needed, *optional}:
        raise ValueError(f"expected {sorted(needed)}, got {sorted(fields)}")


def check_names(names, n_features):
    """ValueError unless these are the names of so many features."""
    if np.shape(names) != (n_features,) or not all(isinstance(name, str) for name in names):
        raise ValueError("feature_names_in_ must be one string a feature")


def rebuild_network(network_class, config, arrays):
    """The network that a file describes, with its weights."""
    arrays = {name: array for name, array in arrays.items() if not name.startswith(CHECKPOINT_ARRAYS)}
    # A file must not make us allocate what it does not hold: count before building.
    n_values = sum(array.size for array in arrays.values())
    if network_class.count_parameters(**config) != n_values:
        raise ValueError(f"{n_values} weights do not make the network that is described, {config}")
    network = network_class(**config)
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


def encode(value):
    """A JSON value; what JSON does not know becomes {"type": ..., "value": ...}."""
    if isinstance(value, np.ndarray):
        return {"type": f"array {value.dtype.str}", "value": value.tolist()}
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"type": "dict", "value": [[encode(key), encode(item)] for key, item in value.items()]}
    return value


def decode(value):
    """The inverse of `encode`; a ValueError where a file holds something else."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind, content = value["type"], value["value"]
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    dtype = np.dtype(kind.removeprefix("array "))
    if dtype.kind in "UO":
        if not all(isinstance(item, str) for item in content):
            raise ValueError("arrays of strings must hold strings")
        # Wide enough for what is there: a file does not get to ask for more.
        return np.array(content, str if dtype.kind == "U" else object)
    if dtype.kind not in "biuf" or not all(type(item) in (bool, int, float) for item in content):
        raise ValueError(f"arrays of {dtype} are not read, or do not hold numbers")
    return np.array(content, dtype)
