"""The network of `lstmfast.LSTMTranslator`, in PyTorch: encoder, decoder, additive attention after the decoder."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .torch_training import END, Sequences, encode, n_tokens, number_tokens, train, within

__all__ = ["fit", "predict", "ways"]


def ways(settings):
    """How the encoder's batches can be laid out.

    - "packed": random batches, the encoder on a PackedSequence.
    - "equal lengths": the sources of a batch have one length, and their targets similar ones.

    The decoder is on padded targets in both; behind their ends nothing counts.
    """
    return ("packed", "equal lengths")


class Translator(nn.Module):
    """Scores of target tokens; initialised PyTorch's way."""

    def __init__(self, n_source, n_target, settings):
        super().__init__()
        (n_units,), size = settings["hidden_layer_sizes"], settings["embedding_dim"]
        bidirectional = settings.get("bidirectional", False)
        width = n_units * (1 + bidirectional)
        self.source_embedding, self.target_embedding = nn.Embedding(n_source, size), nn.Embedding(n_target, size)
        self.encoder = nn.LSTM(size, n_units, bidirectional=bidirectional)
        self.decoder = nn.LSTM(size, n_units)
        self.query, self.key = nn.Linear(n_units, n_units, bias=False), nn.Linear(width, n_units, bias=False)
        self.score = nn.Linear(n_units, 1, bias=False)
        self.head = nn.Linear(n_units + width, n_target)

    def encode(self, sources, lengths, way):
        """What the decoder needs of sources (S, n): states, values (n, S, width), keys (n, S, units), mask or None."""
        x = self.source_embedding(sources)
        if way == "packed":
            y, states = self.encoder(pack_padded_sequence(x, lengths))
            y, mask = pad_packed_sequence(y)[0], within(lengths).T[:, None]
        else:
            (y, states), mask = self.encoder(x), None
        # Of two directions, the mean is where the decoder starts.
        states = tuple(state.mean(0, keepdim=True) for state in states)
        values = y.transpose(0, 1)
        return states, values, self.key(values), mask

    def decode(self, tokens, states, values, keys, mask):
        """Scores (n, T, n_target) after each of tokens (T, n), and the decoder's states."""
        h, states = self.decoder(self.target_embedding(tokens), states)
        h = h.transpose(0, 1)
        energies = self.score((self.query(h)[:, :, None] + keys[:, None]).tanh())[..., 0]
        if mask is not None:
            energies = energies.masked_fill(~mask, -torch.inf)
        context = energies.softmax(2) @ values
        return self.head(torch.cat([h, context], dim=2)), states


def fit(train_data, settings, seed, way):
    """(network, source ids, target ids, longest target) of one training.

    Parameters
    ----------
    train_data : (sources, targets)
        Lists of str or of lists of tokens.
    settings : dict
        hidden_layer_sizes (one layer), bidirectional, embedding_dim, batch_size of `LSTMTranslator`, and those of
        `train`.
    seed : int
    way : str
        Of `ways`.
    """
    torch.manual_seed(seed)
    source_ids, target_ids = (number_tokens(documents) for documents in train_data)
    sources = Sequences([np.append(encode(source, source_ids), END) for source in train_data[0]])
    # An END in front, to begin with, and one behind.
    targets = Sequences([np.concatenate([[END], encode(target, target_ids), [END]]) for target in train_data[1]])
    nothing = -100  # what cross_entropy leaves out
    targets.padded[~(torch.arange(len(targets.padded))[:, None] < targets.lengths)] = nothing
    model = Translator(n_tokens(source_ids), n_tokens(target_ids), settings)

    def losses():
        for rows in sources.epoch(settings["batch_size"], way, targets.lengths):
            tokens = targets.padded[: int(targets.lengths[rows].max()), rows]
            scores, _ = model.decode(tokens[:-1].clamp(min=0), *model.encode(*sources.take(rows), way))
            yield nn.functional.cross_entropy(scores.flatten(0, 1), tokens[1:].T.flatten(), ignore_index=nothing)

    train(model, losses, sources.n_batches(settings["batch_size"], way), settings)
    return model, source_ids, target_ids, len(targets.padded)


@torch.inference_mode()
def predict(fitted, documents):
    """For each document the list of target tokens that are the most probable one after the other: greedy decoding."""
    model, source_ids, target_ids, longest = fitted
    sources = Sequences([np.append(encode(document, source_ids), END) for document in documents])
    names, predicted = {i: token for token, i in target_ids.items()}, [None] * len(documents)
    for rows in sources.in_order():
        states, *attended = model.encode(*sources.take(rows), "packed")
        tokens, ended, written = torch.full((1, len(rows)), END), torch.zeros(len(rows), dtype=bool), []
        while not ended.all() and len(written) < 2 * longest:
            scores, states = model.decode(tokens, states, *attended)
            tokens = scores[:, 0].argmax(1)[None]
            written.append(tokens[0])
            ended |= tokens[0] == END
        for row, numbers in zip(rows.tolist(), torch.stack(written, dim=1).tolist(), strict=True):
            end = numbers.index(END) if END in numbers else len(numbers)
            predicted[row] = [names.get(number, "?") for number in numbers[:end]]
    return predicted
