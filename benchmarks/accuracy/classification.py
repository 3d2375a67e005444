"""`LSTMClassifier` in a comparison."""

import numpy as np

from lstmfast import LSTMClassifier

from .compare import Comparison, compare


def fit(train, settings, seed, n_threads):
    """Fitted classifier."""
    return LSTMClassifier(**settings, random_state=seed, n_jobs=n_threads).fit(*train)


def predict(model, X):
    """Its labels."""
    return model.predict(X)


def score(predicted, y):
    """Accuracy."""
    return {"accuracy": float(np.mean(predicted == np.asarray(y)))}


def compare_classifiers(title, load, settings):
    """`compare` with the accuracy of `LSTMClassifier` on load() -> (X_train, y_train), (X_test, y_test)."""
    compare(Comparison(title, load, settings, fit, predict, "torch_classifier", score, {"accuracy": ".2%"}))
