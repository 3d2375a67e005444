"""Layers: parameters, forward, backward. The estimators stand on these; they also work alone."""

from .._core import Pairs
from .attention import AdditiveAttention
from .attention_pooling import AttentionPooling
from .conv1d import Conv1D
from .crf import CRF
from .dense import Dense
from .embedding import Embedding
from .gru import GRU
from .lstm import LSTM
from .output_embedding import OutputEmbedding
from .rnn import RNN

__all__ = [
    "CRF", "GRU", "LSTM", "RNN", "AdditiveAttention", "AttentionPooling", "Conv1D", "Dense", "Embedding",
    "OutputEmbedding", "Pairs", "recurrent_layer",
]  # fmt: skip


def recurrent_layer(cell, input_size, hidden_size, *, activation="tanh", recurrent_activation="sigmoid", **options):
    """The layer that a cell's name stands for, as estimators and files name it.

    Parameters
    ----------
    cell : str
        A `cell` of LSTM, "gru", "gru-reset-before" or "rnn".
    input_size, hidden_size, activation, recurrent_activation, options
        As on the layers. "rnn" has no recurrent activation.
    """
    if cell == "rnn":
        return RNN(input_size, hidden_size, activation=activation, **options)
    options |= {"activation": activation, "recurrent_activation": recurrent_activation}
    if cell in ("gru", "gru-reset-before"):
        return GRU(input_size, hidden_size, reset_after=cell == "gru", **options)
    return LSTM(input_size, hidden_size, cell=cell, **options)
