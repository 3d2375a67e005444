"""scikit-learn estimators."""

from .classifier import LSTMClassifier
from .regressor import LSTMRegressor
from .saving import load
from .tagger import LSTMTagger

__all__ = ["LSTMClassifier", "LSTMRegressor", "LSTMTagger", "load"]
