"""The network of `lstmfast.LSTMRecommender`, in PyTorch: embedding, LSTM, a linear layer over all items."""

import numpy as np
import torch
from torch import nn

from .torch_training import END, Recurrent, Sequences, encode, flat, n_tokens, number_tokens, train

__all__ = ["fit", "predict", "ways"]


def ways(settings):
    """As `torch_training.ways`; histories of equal length are too rare."""
    return ("packed", "padded", "similar lengths")


class Recommender(nn.Module):
    """Scores of the next item after each step; initialised PyTorch's way."""

    def __init__(self, n_tokens, settings):
        super().__init__()
        self.recurrent = Recurrent(settings["embedding_dim"], settings, n_tokens)
        self.head = nn.Linear(self.recurrent.width, n_tokens)


def fit(histories, settings, seed, way):
    """(network, ids) of one training.

    Parameters
    ----------
    histories : list of arrays of items
    settings : dict
        hidden_layer_sizes (one layer), embedding_dim, batch_size of `LSTMRecommender`, and those of `train`.
    seed : int
    way : str
        Of `ways`.
    """
    torch.manual_seed(seed)
    histories = [history.tolist() for history in histories]
    ids = number_tokens(histories)
    encoded = [encode(history, ids) for history in histories]
    before, after = Sequences([np.append(END, items[:-1]) for items in encoded]), Sequences(encoded)
    model = Recommender(n_tokens(ids), settings)

    def losses():
        for rows in before.epoch(settings["batch_size"], way):
            steps, lengths = before.take(rows)
            y, _ = model.recurrent(steps, lengths, way)
            targets = flat(after.take(rows)[0], lengths, way)
            yield nn.functional.cross_entropy(model.head(flat(y, lengths, way)), targets)

    train(model, losses, before.n_batches(settings["batch_size"], way), settings)
    return model, ids


@torch.inference_mode()
def predict(fitted, inputs):
    """Of (histories, k) the k best items (n, k) after each history, without those that are in it."""
    (model, ids), (histories, k) = fitted, inputs
    items = np.array([0, 0, *ids])
    sequences = Sequences([np.append(END, encode(history.tolist(), ids)) for history in histories])
    recommended = np.empty((len(histories), k), items.dtype)
    for rows in sequences.in_order(64):
        steps, lengths = sequences.take(rows)
        _, last = model.recurrent(steps, lengths, "padded")
        scores = model.head(last).scatter_(1, steps.T, -torch.inf)  # padding, which is 0, is no item either
        scores[:, : len(items) - len(ids)] = -torch.inf
        recommended[rows.numpy()] = items[scores.topk(k).indices.numpy()]
    return recommended
