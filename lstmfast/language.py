"""Texts and a network that predicts each token from those before it: their likelihood, and new ones."""

import numpy as np

from .examples import Corpus
from .vocabulary import END, UNKNOWN
from .workspace import Workspace

# Texts side by side, and steps of each, while likelihoods are computed: full tiles, and a bounded workspace.
LANES, CHUNK = 256, 128


@np.errstate(all="ignore")  # whatever the caller set: tiny products underflow
def log_likelihoods(network, texts, n_threads=1):
    """Logarithm of the probability of each token.

    Parameters
    ----------
    network : Network
        Without pooling, an output for each token.
    texts : Sequences
        Tokens; of each text the first is only read.

    Returns
    -------
    list of ndarrays of shape (T_i - 1,)
        The same bits in whatever company a text is.
    """
    result, workspace = np.empty(len(texts.steps), network.dtype), Workspace()
    for chunk in Corpus(texts, network, LANES, CHUNK, cut=False).batches(None):
        result[chunk.places + 1] = network.log_likelihoods(chunk, workspace, n_threads)
    return [values[1:] for values in texts.split(result)]


def generate(stream, prompt, max_length, temperature, top_k, rng):
    """Yield ids that follow those of a prompt, until `END` or max_length.

    Parameters
    ----------
    stream : stream of a network, at the beginning of a text
        Its outputs are logits.
    prompt : ndarray of int of shape (T,)
    max_length : int
    temperature : float
        Divides the logits; 0 stands for its limit, always the most probable token.
    top_k : int or None
        Draw from the k most probable tokens; None: from all.
    rng : object with a method `uniform`
    """
    logits = stream.step(END)
    for token in prompt:
        logits = stream.step(token)
    for _ in range(max_length):
        token = draw(logits.astype(np.float64), temperature, top_k, rng)
        if token == END:
            return
        yield token
        logits = stream.step(token)


def draw(logits, temperature, top_k, rng):
    """One id, never `UNKNOWN`; logits (n_tokens,) are overwritten."""
    logits[UNKNOWN] = -np.inf
    if temperature == 0:
        return int(logits.argmax())
    candidates = np.arange(len(logits))
    if top_k is not None and top_k < len(logits):
        candidates = np.argsort(-logits, kind="stable")[:top_k]
    # The largest exponent is 0, so the sum is at least 1.
    shares = np.cumsum(np.exp((logits[candidates] - logits.max()) / temperature))
    return int(candidates[np.searchsorted(shares, rng.uniform() * shares[-1], side="right")])
