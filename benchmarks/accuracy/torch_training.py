"""The network of `lstmfast.LSTMClassifier` and its training, in PyTorch."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence


class Classifier(nn.Module):
    """An LSTM over packed sequences and a linear layer on each one's last output, initialised PyTorch's way."""

    def __init__(self, n_features, n_units, n_classes):
        super().__init__()
        self.lstm, self.head = nn.LSTM(n_features, n_units), nn.Linear(n_units, n_classes)

    def forward(self, sequences):
        """Outputs (n, n_classes) of a list of n tensors (T_i, F)."""
        _, (h, _) = self.lstm(pack_sequence(sequences, enforce_sorted=False))
        return self.head(h[-1])


def accuracy(X_train, X_test, y_train, y_test, settings, seed):
    """Test accuracy of one training.

    All `max_iter` epochs are run: `LSTMClassifier` may stop a few earlier, when its loss no longer falls.

    Parameters
    ----------
    X_train, X_test : lists of ndarrays of shape (T_i, F)
    y_train, y_test : array-likes of labels
    settings : dict
        hidden_layer_sizes (one layer), max_iter, learning_rate ("cosine"), learning_rate_init, batch_size and alpha of
        `LSTMClassifier`.
    seed : int

    Returns
    -------
    float
    """
    torch.set_num_threads(1)  # these networks are too small to gain from a second
    torch.manual_seed(seed)
    classes, targets = np.unique(y_train, return_inverse=True)
    (n_units,) = settings["hidden_layer_sizes"]
    model = Classifier(X_train[0].shape[1], n_units, len(classes))
    train(model, as_tensors(X_train), torch.from_numpy(targets), settings)
    with torch.no_grad():
        predicted = classes[model(as_tensors(X_test)).argmax(1).numpy()]
    return float((predicted == np.asarray(y_test)).mean())


def as_tensors(X):
    """Each sequence as a float32 tensor."""
    return [torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float32) for x in X]


def train(model, sequences, targets, settings):
    """Adam on the cross-entropy with L2 penalty on the weights, gradient norm clipped at 1, cosine schedule."""
    batch_size, max_iter = settings["batch_size"], settings["max_iter"]
    weights = [parameter for name, parameter in model.named_parameters() if "bias" not in name]
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate_init"])
    total = max_iter * math.ceil(len(sequences) / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
    for _ in range(max_iter):
        for rows in torch.randperm(len(sequences)).split(batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model([sequences[row] for row in rows]), targets[rows])
            loss = loss + settings["alpha"] / 2 * sum(weight.square().sum() for weight in weights)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
