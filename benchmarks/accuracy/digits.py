"""scikit-learn's digits, each image 8 steps of 8 values: what `lstmfast demo` trains."""

from lstmfast.commands.demo import DEMO_SETTINGS, digits

from .classification import compare_classifiers

SETTINGS = {**DEMO_SETTINGS, "alpha": 1e-4}


def load():
    """(X_train, y_train), (X_test, y_test)."""
    X_train, X_test, y_train, y_test = digits()
    return (X_train, y_train), (X_test, y_test)


if __name__ == "__main__":
    compare_classifiers("digits", load, SETTINGS)
