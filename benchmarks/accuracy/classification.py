"""`LSTMClassifier` in a comparison."""

from lstmfast import LSTMClassifier

from .compare import Comparison, compare


def fit(train, settings, seed, n_threads):
    """Fitted classifier."""
    return LSTMClassifier(**settings, random_state=seed, n_jobs=n_threads).fit(*train)


def score(model, test):
    """Its accuracy."""
    return {"accuracy": model.score(*test)}


def compare_classifiers(title, load, settings):
    """`compare` with the accuracy of `LSTMClassifier` on load() -> (X_train, y_train), (X_test, y_test)."""
    compare(Comparison(title, load, settings, fit, score, "torch_classifier", {"accuracy": ".2%"}))
