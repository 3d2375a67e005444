"""The network of `lstmfast.LSTMTagger`, in PyTorch: `Recurrent`, a linear layer at each step, perhaps a CRF."""

import numpy as np
import torch
from torch import nn

from .torch_training import Recurrent, Sequences, flat, pad, train, ways, within

__all__ = ["fit", "predict", "ways"]


class CRF(nn.Module):
    """Linear-chain conditional random field on scores z (T, n, K), for all n sequences at once.

    A mask (T, n) tells which steps belong to sequences; None: all.
    """

    def __init__(self, n_labels):
        super().__init__()
        shapes = {"transitions": (n_labels, n_labels), "start": (n_labels,), "end": (n_labels,)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(nn.init.uniform_(torch.empty(shape), -0.1, 0.1)))

    def loss(self, z, labels, mask):
        """Mean negative log-likelihood of labels (T, n): the forward algorithm less the labels' scores."""
        alpha = self.start + z[0]
        for t in range(1, len(z)):
            later = (alpha[:, :, None] + self.transitions).logsumexp(1) + z[t]
            alpha = later if mask is None else torch.where(mask[t, :, None], later, alpha)
        log_partition = (alpha + self.end).logsumexp(1).sum()
        own, moves = z.gather(2, labels[:, :, None])[:, :, 0], self.transitions[labels[:-1], labels[1:]]
        if mask is None:
            score, last = own.sum() + moves.sum(), labels[-1]
        else:
            score, last = own[mask].sum() + moves[mask[1:]].sum(), labels.gather(0, mask.sum(0)[None] - 1)[0]
        return (log_partition - score - self.start[labels[0]].sum() - self.end[last].sum()) / labels.shape[1]

    def decode(self, z, mask):
        """The best labels (T, n): Viterbi's algorithm. Past a sequence's end they repeat the last."""
        best, came_from = self.start + z[0], []
        stay = torch.arange(len(self.start))
        for t in range(1, len(z)):
            later, before = (best[:, :, None] + self.transitions).max(1)
            best = torch.where(mask[t, :, None], later + z[t], best)
            came_from.append(torch.where(mask[t, :, None], before, stay))
        labels = [(best + self.end).argmax(1)]
        for before in reversed(came_from):
            labels.append(before.gather(1, labels[-1][:, None])[:, 0])
        return torch.stack(labels[::-1])


class Tagger(nn.Module):
    """Label scores of steps; initialised PyTorch's way."""

    def __init__(self, n_tokens, n_labels, settings):
        super().__init__()
        self.recurrent = Recurrent(settings["embedding_dim"], settings, n_tokens)
        self.head = nn.Linear(self.recurrent.width, n_labels)
        self.crf = CRF(n_labels) if settings.get("crf") else None

    def loss(self, steps, labels, lengths, way):
        """Mean loss: without a CRF over steps, with one over sequences."""
        y, _ = self.recurrent(steps, lengths, way)
        if self.crf is not None:
            mask = None if way == "equal lengths" else within(lengths)
            return self.crf.loss(self.head(pad(y)), labels, mask)
        return nn.functional.cross_entropy(self.head(flat(y, lengths, way)), flat(labels, lengths, way))

    def predict(self, steps, lengths):
        """Labels (T, n)."""
        y, _ = self.recurrent(steps, lengths, "packed")
        z = self.head(pad(y))
        return z.argmax(2) if self.crf is None else self.crf.decode(z, within(lengths))


def fit(train_data, settings, seed, way):
    """(network, labels) of one training.

    Parameters
    ----------
    train_data : (X, y)
        Lists of token ids (T_i,) and of labels.
    settings : dict
        hidden_layer_sizes (one layer), bidirectional, embedding_dim, crf, batch_size of `LSTMTagger`, and those of
        `train`.
    seed : int
    way : str
        Of `ways`.
    """
    torch.manual_seed(seed)
    X, y = train_data
    names, numbers = np.unique(np.concatenate(y), return_inverse=True)
    sequences = Sequences(X)
    labels = Sequences(np.split(numbers, sequences.lengths.cumsum(0)[:-1].numpy()))
    model = Tagger(int(sequences.padded.max()) + 1, len(names), settings)

    def losses():
        for rows in sequences.epoch(settings["batch_size"], way):
            steps, lengths = sequences.take(rows)
            yield model.loss(steps, labels.take(rows)[0], lengths, way)

    train(model, losses, sequences.n_batches(settings["batch_size"], way), settings)
    return model, names


@torch.inference_mode()
def predict(fitted, X):
    """The labels of each sequence, by what `fit` returned."""
    model, names = fitted
    sequences, predicted = Sequences(X), [None] * len(X)
    for rows in sequences.in_order():
        steps, lengths = sequences.take(rows)
        numbers = model.predict(steps, lengths).T.numpy()
        for row, labels, length in zip(rows.tolist(), numbers, lengths.tolist(), strict=True):
            predicted[row] = names[labels[:length]]
    return predicted
