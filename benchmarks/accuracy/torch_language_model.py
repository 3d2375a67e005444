"""The network of `lstmfast.LSTMLanguageModel`, in PyTorch: embedding, LSTM, linear layer, truncated backpropagation."""

import numpy as np
import torch
from torch import nn

from .torch_training import END, encode, n_tokens, number_tokens, train

__all__ = ["fit", "predict", "ways"]


def ways(settings):
    """All lanes have the same length: there is one way."""
    return ("nn.LSTM",)


class LanguageModel(nn.Module):
    """Scores of the next token after each step; initialised PyTorch's way."""

    def __init__(self, n_tokens, settings):
        super().__init__()
        (n_units,) = settings["hidden_layer_sizes"]
        self.embedding = nn.Embedding(n_tokens, settings["embedding_dim"])
        self.lstm = nn.LSTM(settings["embedding_dim"], n_units)
        self.head = nn.Linear(n_units, n_tokens)

    def loss(self, tokens, state):
        """Mean cross-entropy of each of tokens (T + 1, n) after the first, and the state after the last but one."""
        y, state = self.lstm(self.embedding(tokens[:-1]), state)
        return nn.functional.cross_entropy(self.head(y).flatten(0, 1), tokens[1:].flatten()), state


def fit(texts, settings, seed, way):
    """(network, ids) of one training.

    The texts, each with an END, stand one after the other, in a new order in each epoch; this stream is cut into
    `batch_size` lanes, through which the batches go, `bptt` steps at a time; states are carried on, gradients are not.

    Parameters
    ----------
    texts : list of str
    settings : dict
        hidden_layer_sizes (one layer), embedding_dim, bptt, batch_size of `LSTMLanguageModel`, and those of `train`.
    seed : int
    way : str
    """
    torch.manual_seed(seed)
    ids, n_lanes, bptt = number_tokens(texts), settings["batch_size"], settings["bptt"]
    documents = [torch.from_numpy(np.append(encode(text, ids), END)) for text in texts]
    n_steps = sum(map(len, documents)) // n_lanes
    model = LanguageModel(n_tokens(ids), settings)

    def losses():
        stream = torch.cat([torch.tensor([END]), *(documents[i] for i in torch.randperm(len(documents)).tolist())])
        # Each lane begins with the token before it.
        lanes = torch.stack([stream[i * n_steps : (i + 1) * n_steps + 1] for i in range(n_lanes)], dim=1)
        state = None
        for start in range(0, n_steps, bptt):
            loss, state = model.loss(lanes[start : start + bptt + 1], state)
            state = tuple(part.detach() for part in state)
            yield loss

    train(model, losses, -(-n_steps // bptt), settings)
    return model, ids


@torch.inference_mode()
def predict(fitted, texts):
    """Mean log-likelihood of a token, by what `fit` returned; each text begins anew, and its end counts as a token."""
    (model, ids), total, count = fitted, 0.0, 0
    for text in texts:
        tokens = torch.from_numpy(np.concatenate([[END], encode(text, ids), [END]]))[:, None]
        loss, _ = model.loss(tokens, None)
        total, count = total + (len(tokens) - 1) * loss.item(), count + len(tokens) - 1
    return -total / count
