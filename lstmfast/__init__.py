"""lstmfast: LSTM networks for CPUs, with scikit-learn's interface and no deep-learning framework."""

import importlib

from ._version import __version__

# Each name and where it lives. They are imported when first used: `import lstmfast` costs less than a millisecond,
# and serving code never pays for scikit-learn.
_HOMES = {
    "LSTMClassifier": "estimators",
    "LSTMForecaster": "estimators",
    "LSTMLanguageModel": "estimators",
    "LSTMRecommender": "estimators",
    "LSTMRegressor": "estimators",
    "LSTMTagger": "estimators",
    "LSTMTransformer": "estimators",
    "LSTMTranslator": "estimators",
    "ModelFormatError": "persistence",
    "NotFiniteError": "outputs",
    "SequenceScaler": "preprocessing",
    "SequenceVectorizer": "vectorizer",
    "VersionWarning": "persistence",
    "load": "estimators",
    "make_windows": "preprocessing",
    "show_config": "config",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in ("display", "interop", "layers", "runtime"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
