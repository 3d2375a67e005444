"""scikit-learn estimators."""

from .classifier import LSTMClassifier
from .forecaster import LSTMForecaster
from .language_model import LSTMLanguageModel
from .recommender import LSTMRecommender
from .regressor import LSTMRegressor
from .saving import load
from .tagger import LSTMTagger
from .transformer import LSTMTransformer
from .translator import LSTMTranslator

__all__ = [
    "LSTMClassifier",
    "LSTMForecaster",
    "LSTMLanguageModel",
    "LSTMRecommender",
    "LSTMRegressor",
    "LSTMTagger",
    "LSTMTransformer",
    "LSTMTranslator",
    "load",
]
