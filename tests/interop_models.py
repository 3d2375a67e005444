"""Fitted estimators with weights large enough that every gate matters, for the tests of lstmfast.interop."""

import numpy as np

from lstmfast import LSTMClassifier, LSTMRegressor

N_FEATURES = 3
LABELS = {2: ["no", "yes"], 3: ["b", "a", "c"]}
VARIANTS = {  # of the layers around a cell
    "plain": {},
    "two_layers_dense": {"hidden_layer_sizes": (5, 5), "dense_layer_sizes": (6, 4)},
    "sizes_differ_mean": {"hidden_layer_sizes": (4, 6), "pooling": "mean"},
    "bidirectional_max": {"bidirectional": True, "pooling": "max"},
    "two_layers_bidirectional": {"hidden_layer_sizes": (5, 5), "bidirectional": True, "dense_layer_sizes": (4,)},
}


def sequences(seed=0, n=4, n_steps=7):
    return np.random.default_rng(seed).normal(size=(n, n_steps, N_FEATURES))


def fitted(n_outputs=2, classifier=False, multilabel=False, seed=0, dtype="float64", **arguments):
    """An estimator after one epoch, its weights then replaced by larger ones."""
    rng = np.random.default_rng(seed)
    arguments = {"hidden_layer_sizes": 5, "max_iter": 1, "random_state": seed, "dtype": dtype} | arguments
    X = sequences(seed, n=6, n_steps=4)
    if multilabel:
        estimator = LSTMClassifier(**arguments).fit(X, np.array([[0, 1], [1, 0]] * 3))
    elif classifier:
        estimator = LSTMClassifier(**arguments).fit(X, (LABELS[n_outputs] * 3)[:6])
    else:
        estimator = LSTMRegressor(**arguments).fit(X, rng.normal(size=(6, n_outputs)[: 1 + (n_outputs > 1)]))
    network = estimator._network
    network.parameters[...] = rng.normal(size=network.parameters.shape) * 0.7
    network.parameters_changed()
    return estimator


def outputs(estimator, X):
    """What a model of another library answers: probabilities or values, (n, n_outputs)."""
    if hasattr(estimator, "classes_"):
        return estimator.predict_proba(X)
    y = estimator.predict(X)
    return y.reshape(len(y), -1)
