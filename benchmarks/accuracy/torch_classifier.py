"""The network of `lstmfast.LSTMClassifier`, in PyTorch: `Recurrent`, pooling, and a linear layer."""

import numpy as np
import torch
from torch import nn

from .torch_training import Recurrent, Sequences, pad, train, ways, within

__all__ = ["fit", "predict", "ways"]


class Classifier(nn.Module):
    """Class scores of sequences; initialised PyTorch's way."""

    def __init__(self, n_features, n_classes, settings, n_tokens):
        super().__init__()
        self.recurrent = Recurrent(n_features, settings, n_tokens)
        self.pooling = settings.get("pooling", "last")
        self.head = nn.Linear(self.recurrent.width, n_classes)

    def forward(self, steps, lengths, way):
        """Class scores (n, n_classes)."""
        y, last = self.recurrent(steps, lengths, way)
        if self.pooling == "last":
            return self.head(last)
        y = pad(y, -torch.inf)
        if way in ("padded", "similar lengths"):
            y = y.masked_fill(~within(lengths)[:, :, None], -torch.inf)
        return self.head(y.amax(dim=0))


def fit(train_data, settings, seed, way):
    """(network, classes) of one training.

    Parameters
    ----------
    train_data : (X, y)
        X : list of arrays (T_i, F) or, with embedding_dim, of token ids (T_i,).
    settings : dict
        hidden_layer_sizes (one layer), bidirectional, pooling ("last" or "max"), embedding_dim, batch_size of
        `LSTMClassifier`, and those of `train`.
    seed : int
    way : str
        Of `ways`.
    """
    torch.manual_seed(seed)
    X, y = train_data
    sequences, (classes, targets) = Sequences(X), np.unique(y, return_inverse=True)
    targets, size = torch.from_numpy(targets), settings.get("embedding_dim")
    n_tokens = None if size is None else int(sequences.padded.max()) + 1
    model = Classifier(size or X[0].shape[1], len(classes), settings, n_tokens)

    def losses():
        for rows in sequences.epoch(settings["batch_size"], way):
            yield nn.functional.cross_entropy(model(*sequences.take(rows), way), targets[rows])

    train(model, losses, sequences.n_batches(settings["batch_size"], way), settings)
    return model, classes


@torch.inference_mode()
def predict(fitted, X):
    """The class of each sequence, by what `fit` returned."""
    model, classes = fitted
    sequences, predicted = Sequences(X), np.empty(len(X), int)
    for rows in sequences.in_order():
        predicted[rows.numpy()] = model(*sequences.take(rows), "packed").argmax(1).numpy()
    return classes[predicted]
