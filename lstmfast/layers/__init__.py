"""Layers: parameters, forward, backward. The estimators stand on these; they also work alone."""

from .dense import Dense
from .recurrent import LSTM

__all__ = ["LSTM", "Dense"]
