"""What the networks in PyTorch share: sequences of different lengths, and training as lstmfast's estimators train."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def ways(settings):
    """How batches of sequences of different lengths can be laid out; which is fastest depends on the data.

    - "packed": random batches, nn.LSTM on a PackedSequence.
    - "padded": random batches, padded to their longest. For one direction only: the other would begin in the padding.
    - "similar lengths": likewise, but the sequences of a batch are next to each other in length.
    - "equal lengths": each batch has sequences of one length, so nothing is padded and nn.LSTM is at its fastest.
    """
    padded = () if settings.get("bidirectional") else ("padded", "similar lengths")
    return ("packed", *padded, "equal lengths")


class Sequences:
    """Sequences as one padded tensor, out of which batches are cut.

    Parameters
    ----------
    arrays : list of ndarrays of shape (T_i,) or (T_i, F)
    """

    def __init__(self, arrays):
        lengths = np.array([len(array) for array in arrays])
        flat = np.concatenate(arrays)
        padded = np.zeros((len(arrays), lengths.max(), *flat.shape[1:]), flat.dtype)
        padded[np.arange(lengths.max()) < lengths[:, None]] = flat
        padded = padded.astype(np.float32 if flat.dtype.kind == "f" else np.int64)
        # The steps first: cutting a batch to its longest sequence is then free.
        self.padded, self.lengths = torch.from_numpy(padded.swapaxes(0, 1).copy()), torch.from_numpy(lengths)

    def __len__(self):
        return len(self.lengths)

    def epoch(self, batch_size, way, other_lengths=None):
        """Rows of each batch of an epoch, in random order, the longest sequence of a batch first.

        Where the batches come by length, other_lengths (n,) decides among sequences of the same length.
        """
        order = torch.randperm(len(self))
        if way not in ("similar lengths", "equal lengths"):
            return [rows[self.lengths[rows].argsort(descending=True)] for rows in order.split(batch_size)]
        if other_lengths is not None:
            order = order[other_lengths[order].argsort(stable=True)]
        order = order[self.lengths[order].argsort(descending=True, stable=True)]
        sizes = self.lengths.unique(return_counts=True)[1].flip(0).tolist() if way == "equal lengths" else len(order)
        batches = [rows for group in order.split(sizes) for rows in group.split(batch_size)]
        return [batches[i] for i in torch.randperm(len(batches)).tolist()]

    def n_batches(self, batch_size, way):
        """Number of batches of an epoch."""
        counts = self.lengths.unique(return_counts=True)[1] if way == "equal lengths" else torch.tensor([len(self)])
        return int(torch.div(counts + batch_size - 1, batch_size, rounding_mode="floor").sum())

    def take(self, rows):
        """Steps (T, n) or (T, n, F) and lengths (n,) of rows that come longest first."""
        lengths = self.lengths[rows]
        return self.padded[: int(lengths[0]), rows], lengths

    def in_order(self, rows_at_once=1024):
        """Rows in groups of about equal length, the longest first: to predict."""
        return self.lengths.argsort(descending=True, stable=True).split(rows_at_once)


class Recurrent(nn.Module):
    """An embedding if there is one, and an LSTM over a batch laid out in one of the `ways`."""

    def __init__(self, n_features, settings, n_tokens=None):
        super().__init__()
        (n_units,) = settings["hidden_layer_sizes"]
        bidirectional = settings.get("bidirectional", False)
        self.embedding = None if n_tokens is None else nn.Embedding(n_tokens, n_features)
        self.lstm = nn.LSTM(n_features, n_units, bidirectional=bidirectional)
        self.width = n_units * (1 + bidirectional)

    def forward(self, steps, lengths, way):
        """Outputs y (T, n, width), whatever past a sequence's end, and last outputs (n, width)."""
        x = steps if self.embedding is None else self.embedding(steps)
        if way == "packed":
            y, (h, _) = self.lstm(pack_padded_sequence(x, lengths))
            return y, torch.cat(tuple(h), dim=1)
        y, (h, _) = self.lstm(x)
        if way == "equal lengths":
            return y, torch.cat(tuple(h), dim=1)
        return y, y[lengths - 1, torch.arange(len(lengths))]


def pad(y, value=0.0):
    """Outputs y of `Recurrent` as a tensor (T, n, width), with this value past a sequence's end if it was packed."""
    return pad_packed_sequence(y, padding_value=value)[0] if isinstance(y, PackedSequence) else y


def flat(values, lengths, way):
    """Of outputs of `Recurrent`, or values (T, n), those of the steps of all sequences, in the order of the way."""
    if way == "packed":
        return (values if isinstance(values, PackedSequence) else pack_padded_sequence(values, lengths)).data
    return values.flatten(0, 1) if way == "equal lengths" else values[within(lengths)]


def within(lengths):
    """A mask (T, n) of the steps that belong to sequences of lengths (n,), the longest first."""
    return torch.arange(int(lengths[0]))[:, None] < lengths


def train(model, losses, n_batches, settings):
    """Adam, L2 penalty on weights but neither biases nor embeddings, gradient norm clipped at 1.

    All `max_iter` epochs are run: an estimator may stop a few earlier, when its loss no longer falls.

    Parameters
    ----------
    model : nn.Module
        Biases have "bias" in their names, embeddings "embedding".
    losses : callable
        () -> iterable that computes and yields the mean loss of each batch of an epoch.
    n_batches : int
        How many that are.
    settings : dict
        max_iter, alpha, learning_rate_init, and learning_rate: "constant", the default, or "cosine"; with "max_steps"
        training ends after so many batches.
    """
    parameters, rate = list(model.parameters()), settings["learning_rate_init"]
    penalised = [value for name, value in model.named_parameters() if "bias" not in name and "embedding" not in name]
    optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
    cosine, alpha = settings.get("learning_rate", "constant") == "cosine", settings["alpha"]
    step, total = 0, settings["max_iter"] * n_batches
    last_step = settings.get("max_steps", total)
    for _ in range(settings["max_iter"]):
        for loss in losses():
            optimizer.zero_grad()
            loss.backward()
            if alpha:
                torch._foreach_add_([weight.grad for weight in penalised], penalised, alpha=alpha)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            if cosine:
                optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / total)) / 2
            optimizer.step()
            step += 1
            if step == last_step:
                return


# Ids of tokens: 0 one that is not known, 1 the end (and the beginning) of a sequence, as lstmfast has them.
UNKNOWN, END = 0, 1


def number_tokens(documents):
    """The id of each token of documents, which are str or lists of tokens."""
    return {token: i for i, token in enumerate(sorted(set().union(*documents)), start=2)}


def n_tokens(ids):
    """How many ids there are, with UNKNOWN and END."""
    return len(ids) + 2


def encode(document, ids):
    """The ids of a document's tokens."""
    return np.array([ids.get(token, UNKNOWN) for token in document], np.int64)
