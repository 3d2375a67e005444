"""scikit-learn estimators."""

from .classifier import LSTMClassifier
from .regressor import LSTMRegressor
from .saving import load

__all__ = ["LSTMClassifier", "LSTMRegressor", "load"]
