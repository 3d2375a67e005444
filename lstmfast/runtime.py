"""Serving a saved model with NumPy and the compiled core alone: no scikit-learn, no SciPy.

>>> import os, tempfile
>>> import numpy as np
>>> from lstmfast import LSTMClassifier, runtime
>>> path = os.path.join(tempfile.mkdtemp(), "model.lstmfast")
>>> X = np.random.default_rng(0).normal(size=(20, 5, 3)).astype("float32")
>>> LSTMClassifier(8, max_iter=1).fit(X, [0, 1] * 10).save(path)
>>> model = runtime.load(path)
>>> model.predict_proba(X).shape
(20, 2)
>>> stream = model.stream()
>>> for x in X[0]:
...     y = stream.step(x)
>>> bool((y == model.predict_proba(X[:1])[0]).all())
True
"""

from .config import effective_n_threads
from .decisions import Labels, Numbers
from .language import LanguageModel, saved_vocabulary
from .network import Network
from .persistence import ModelFormatError, read_model
from .pooling import NO_POOLING
from .saved_model import decode, inconsistency, rebuild_network
from .sequences import check_sequences, check_tokens

__all__ = ["Model", "TextModel", "load"]

_DECISIONS = {"LSTMClassifier": Labels, "LSTMRegressor": Numbers, "LSTMTagger": Labels}
_TEXT = "LSTMLanguageModel"
PRECISIONS = ("float32",)


def load(path, precision="float32", n_jobs=1):
    """Read a model that an estimator's `save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    precision : {"float32"}, default="float32"
        Of weights and arithmetic. Weights of a float64 model are rounded.
    n_jobs : int or None, default=1
        Threads a call may use; None: all CPUs, or the environment variable OMP_NUM_THREADS.

    Returns
    -------
    model : Model, or TextModel for a language model

    Raises
    ------
    lstmfast.ModelFormatError
        If the file is not a whole and consistent model of an estimator that the runtime serves.
    ValueError
        If precision is another.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    n_threads = effective_n_threads(n_jobs)
    metadata, arrays = read_model(path)
    name = metadata.get("estimator")
    served = (*_DECISIONS, _TEXT)
    if name not in served:
        raise ModelFormatError(
            f"{path} holds {name!r}, but the runtime serves {', '.join(served)}; read it with lstmfast.load"
        )
    with inconsistency(path):
        fitted = {key: decode(value) for key, value in metadata["fitted"].items()}
        network = rebuild_network(Network, metadata["network"], arrays)
        if name == _TEXT:
            meaning, n_steps = saved_vocabulary(fitted, network), None
        else:
            meaning = _decision(_DECISIONS[name], fitted, network)
            n_steps = fitted["n_features_in_"] if fitted["_input_kind"] == "2d" else None
    network = network if network.dtype == precision else network.copy(dtype=precision)
    return TextModel(network, meaning, n_threads) if name == _TEXT else Model(network, meaning, n_steps, n_threads)


def _decision(kind, fitted, network):
    """What a network's outputs mean, out of a file's fields."""
    decision = kind(*[fitted[name] for name in kind.fields])
    decision.check()
    if network.dense[-1].output_size != decision.n_outputs:
        raise ValueError("the network does not have the outputs of the estimator")
    return decision


class Model:
    """A fitted network that only predicts. It never changes, so any number of threads may use it at once.

    Parameters
    ----------
    network : Network
    decision : Labels or Numbers
    n_steps : int or None
        Columns that a two-dimensional X must have, if the model was fitted on such.
    n_threads : int
    """

    def __init__(self, network: Network, decision, n_steps, n_threads):
        self._network, self._decision, self._n_steps, self._n_threads = network, decision, n_steps, n_threads
        self.n_features = 1 if network.embedding is not None else network.config["n_features"]
        if isinstance(decision, Labels):
            self.classes = decision.classes

    def _check(self, X):
        if self._network.embedding is not None:
            sequences = check_tokens(X, n_tokens=self._network.embedding.n_tokens)
        else:
            sequences = check_sequences(X, dtype=self._network.dtype)
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features, but this model takes {self.n_features}")
        if sequences.layout == "2d" and self._n_steps is not None and sequences.lengths[0] != self._n_steps:
            raise ValueError(f"X has {sequences.lengths[0]} columns, but this model takes {self._n_steps}")
        return sequences

    def _outputs(self, X):
        return self._network.outputs(self._check(X), n_threads=self._n_threads)

    def _tags(self, X, method):
        """What a network without pooling says of each step, as a list with an array for each sequence."""
        sequences = self._check(X)
        return sequences.split(method(sequences, n_threads=self._n_threads))

    def predict(self, X):
        """What the estimator's `predict` returns, bit for bit (float32 models)."""
        if self._network.pooling == NO_POOLING:
            return [self.classes[numbers] for numbers in self._tags(X, self._network.labels)]
        return self._decision.predict(self._outputs(X))

    def predict_proba(self, X):
        """What the classifier's `predict_proba` returns, bit for bit (float32 models)."""
        if not isinstance(self._decision, Labels):
            raise AttributeError("this model is a regressor: it has no predict_proba")
        if self._network.pooling == NO_POOLING:
            return self._tags(X, self._network.label_probabilities)
        return self._decision.predict_proba(self._outputs(X))

    def predict_steps(self, X):
        """Output after every step, as `stream` gives it.

        Returns
        -------
        y : ndarray of shape (n, T, n_outputs), or for a list a list of arrays (T_i, n_outputs)
            Probabilities of a classifier, values of a regressor.
        """
        sequences = self._check(X)
        outputs = self._network.step_outputs(sequences, self._decision.activation, n_threads=self._n_threads)
        return sequences.group(outputs)

    def stream(self, n=1):
        """n live sequences on this model's weights: see `lstmfast._core.Stream`; of tokens, `stream.FrontStream`.

        Raises
        ------
        ValueError
            If the model is bidirectional: it would have to know each sequence's end.
        """
        return self._network.stream(n, self._decision.activation, self._n_threads)

    def __repr__(self):
        config = self._network.config
        return f"Model(n_features={self.n_features}, layers={config['hidden_layer_sizes']}, dtype={config['dtype']!r})"


class TextModel(LanguageModel):
    """A fitted language model that only scores and writes, as the estimator does, bit for bit (float32 models). It
    never changes, so any number of threads may use it at once.

    Parameters
    ----------
    network : Network
    vocabulary : lstmfast.vocabulary.Vocabulary
    n_threads : int
    """

    def __init__(self, network: Network, vocabulary, n_threads):
        self._network, self._vocabulary, self._n_threads = network, vocabulary, n_threads

    def __repr__(self):
        config = self._network.config
        return f"TextModel({self._vocabulary!r}, layers={config['hidden_layer_sizes']}, dtype={config['dtype']!r})"
