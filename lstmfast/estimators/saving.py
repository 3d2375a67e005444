"""Estimators to model files and back. The file format itself is `lstmfast.persistence`."""

import importlib
from numbers import Integral

from ..persistence import read_model, write_model
from ..saved_model import check_fields, decode, encode, inconsistency, rebuild_network
from ..tables.schema import Schema

# Each estimator and the module it is in.
_CLASSES = {
    "LSTMClassifier": "classifier",
    "LSTMForecaster": "forecaster",
    "LSTMLanguageModel": "language_model",
    "LSTMRecommender": "recommender",
    "LSTMRegressor": "regressor",
    "LSTMTagger": "tagger",
    "LSTMTransformer": "transformer",
    "LSTMTranslator": "translator",
}
_HISTORY = ("loss_curve", "grad_norm_curve", "validation_scores", "stop_reason")


def save(estimator, path, schema=None):
    """Write a fitted estimator, and the `Schema` of the table it was trained on, if it was one."""
    estimator._check_arguments()  # they may have been changed since; what is saved can be loaded
    metadata, arrays = contents(estimator, estimator._history)
    if schema is not None:
        metadata["table"] = schema.to_file()
    write_model(path, metadata, arrays)


def contents(estimator, history, weights=None):
    """Metadata and arrays of a model file.

    history : History
    weights : ndarray of shape (n_parameters,), default=None
        Instead of those of the estimator's network.
    """
    network, fitted = estimator._network, estimator._fitted()
    arrays = {name: fitted.pop(name) for name in _array_fields(estimator)}
    metadata = {
        "estimator": type(estimator).__name__,
        "parameters": stored_parameters(estimator),
        "fitted": {name: encode(value) for name, value in fitted.items()},
        "history": history.to_lists(),
        "network": network.config,
    }
    return metadata, network.named_parameters(weights) | arrays


def stored_parameters(estimator):
    """The arguments of an estimator as JSON; those that a file does not keep are None."""
    parameters = estimator.get_params(deep=False)
    # The network holds what became of embedding_weights and pretrained.
    parameters |= dict.fromkeys({"callbacks", "embedding_weights", "pretrained"} & parameters.keys())
    if not isinstance(parameters["random_state"], Integral | None):
        parameters["random_state"] = None
    return {name: encode(value) for name, value in parameters.items()}


def _array_fields(estimator):
    """Fields of `_fitted()` too large for JSON, which stand beside the weights."""
    return getattr(estimator, "_array_fields", ())


def load(path):
    """Read a fitted estimator from a file that its `save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    estimator : object
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
    return load_with_schema(path)[0]


def load_with_schema(path):
    """As `load`: the estimator, and the `Schema` of the table it was trained on, or None."""
    metadata, arrays = read_model(path)
    with inconsistency(path):
        estimator = rebuild(metadata, arrays)
        return estimator, Schema.from_file(metadata["table"], estimator) if "table" in metadata else None


def rebuild(metadata, arrays):
    """The estimator that is in a file's `contents`; an error where they do not agree."""
    name = metadata["estimator"]
    if name not in _CLASSES:
        raise ValueError(f"unknown estimator {name!r}; this version knows {sorted(_CLASSES)}")
    cls = getattr(importlib.import_module(f"{__package__}.{_CLASSES[name]}"), name)
    estimator = cls(**{key: decode(value) for key, value in metadata["parameters"].items()})
    estimator._check_arguments()
    fitted = {name: arrays.pop(name) for name in _array_fields(estimator)}
    fitted |= {key: decode(value) for key, value in metadata["fitted"].items()}
    network = rebuild_network(estimator._network_class_of(fitted), metadata["network"], arrays)
    check_fields(metadata["history"], _HISTORY)
    estimator._restore(fitted, network, metadata["history"])
    return estimator
