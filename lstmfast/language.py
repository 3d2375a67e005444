"""Texts and a network that predicts each token from those before it: their likelihood, and new ones."""

import math
from numbers import Integral, Real

import numpy as np

from .concurrency import of_one_fit
from .examples import Corpus
from .layers.parameters import check_size
from .pooling import NO_POOLING
from .saved_model import check_fields
from .tokens import tokenise
from .vocabulary import END, UNKNOWN, Vocabulary, framed
from .workspace import Workspace, explains_memory

# Texts side by side, and steps of each, while likelihoods are computed: full tiles, and a bounded workspace.
LANES, CHUNK = 256, 128


class LanguageModel:
    """What a fitted language model does, on the estimator and in the light runtime.

    A subclass has ``_network``, ``_vocabulary`` and ``_n_threads``.
    """

    def _check_fitted(self):
        """An error unless there is a model."""

    @of_one_fit
    def token_log_likelihoods(self, texts):
        """Logarithm of the probability of each token, given those before it.

        Parameters
        ----------
        texts : list of str, or of lists of tokens
            As in `fit`.

        Returns
        -------
        log_likelihoods : list of ndarrays of shape (T_i + 1,)
            In nats; the last is that of the text's end.

        Raises
        ------
        ValueError, TypeError
            If texts are not as described.
        """
        self._check_fitted()
        return log_likelihoods(self._network, framed(self._vocabulary.encode(texts)), self._n_threads)

    @of_one_fit
    def score(self, texts, y=None):
        """Mean log-likelihood of a token, in nats; a text's end counts as a token.

        Parameters
        ----------
        texts : list of str, or of lists of tokens
            As in `fit`.
        y : None
            Ignored.

        Returns
        -------
        score : float
        """
        return float(np.concatenate(self.token_log_likelihoods(texts)).mean(dtype=np.float64))

    @of_one_fit
    def perplexity(self, texts):
        """exp(-score): among how many equally likely tokens the model seems to choose.

        Parameters
        ----------
        texts : list of str, or of lists of tokens
            As in `fit`.

        Returns
        -------
        perplexity : float
        """
        return math.exp(-self.score(texts))

    @of_one_fit
    def generate(self, prompt=None, max_length=100, temperature=1.0, top_k=None, random_state=None):
        """Go on with a text.

        Parameters
        ----------
        prompt : str, or list of tokens, default=None
            How it begins. None: empty.
        max_length : int, default=100
            Most tokens to add; there are fewer where the model ends the text.
        temperature : float, default=1.0
            Divides the logits before the softmax: below 1 the more probable tokens become more so. 0: always the most
            probable one.
        top_k : int or None, default=None
            Draw from the k most probable tokens only.
        random_state : int, RandomState, Generator or None, default=None
            Source of the draws. None: NumPy's global one.

        Returns
        -------
        text : str, or list of tokens at level "token"
            The prompt, as it was given, and what follows it; at level "word" with a space before each token.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        # First: it checks the prompt.
        tokens = list(self.generate_tokens(prompt, max_length, temperature, top_k, random_state))
        level = self._vocabulary.level
        if not isinstance(prompt, str):
            (prompt,) = tokenise([[] if prompt is None else prompt], "[prompt]", level)
            tokens, prompt = [*prompt, *tokens], ""
        if level == "token":
            return tokens
        gap = " " if level == "word" else ""
        return prompt + (gap if tokens and prompt and not prompt[-1].isspace() else "") + gap.join(tokens)

    @of_one_fit
    def generate_tokens(self, prompt=None, max_length=100, temperature=1.0, top_k=None, random_state=None):
        """Like `generate`, but yields each token as soon as it is drawn, and not the prompt; a token costs one step.

        Returns
        -------
        tokens : iterator of str or int
        """
        self._check_fitted()
        check_size(max_length, "max_length")
        if top_k is not None:
            check_size(top_k, "top_k")
        if not isinstance(temperature, Real) or isinstance(temperature, bool):
            raise TypeError(f"temperature must be a number, got {temperature!r}")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be at least 0 and finite, got {temperature}")
        rng, vocabulary = source_of_draws(random_state), self._vocabulary
        empty = prompt is None or (isinstance(prompt, str) and not prompt)
        (ids,) = vocabulary.encode([[] if empty else prompt], "[prompt]")
        tokens = vocabulary.tokens.tolist()
        found = generate(self._network.stream(1, None), ids, max_length, float(temperature), top_k, rng)
        return (tokens[id - END - 1] for id in found)

    @of_one_fit
    def stream(self, n=1):
        """n live texts on these weights, advanced a token at a time.

        Parameters
        ----------
        n : int, default=1
            Number of texts.

        Returns
        -------
        stream : lstmfast.stream.FrontStream
            ``stream.step(ids)`` takes the ids of the vocabulary, at first 1, where every text begins, and returns the
            probabilities of the next token (n, n_tokens), in the order of the ids.
        """
        self._check_fitted()
        return self._network.stream(n, "softmax", self._n_threads)


def source_of_draws(random_state):
    """An object with NumPy's `uniform`, as scikit-learn's `check_random_state`, but Generators are taken too."""
    if random_state is None:
        return np.random
    if isinstance(random_state, np.random.RandomState | np.random.Generator):
        return random_state
    if isinstance(random_state, Integral):
        return np.random.RandomState(random_state)
    raise TypeError(f"random_state must be None, an integer, a RandomState or a Generator, got {random_state!r}")


def saved_vocabulary(fitted, network):
    """The vocabulary in a file's fields; ValueError unless it is one, and the network's."""
    check_fields(fitted, Vocabulary.fields)
    vocabulary = Vocabulary(*(fitted[name] for name in Vocabulary.fields))
    vocabulary.check()
    expected = {"n_tokens": vocabulary.n_tokens, "n_outputs": vocabulary.n_tokens, "pooling": NO_POOLING,
                "bidirectional": False, "crf": False}  # fmt: skip
    if not expected.items() <= network.config.items():
        raise ValueError(f"the network of a language model with this vocabulary has {expected}, got {network.config}")
    return vocabulary


@explains_memory
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
    unread = [END, *prompt]
    for _ in range(max_length):
        for token in unread:
            logits = stream.step(token)
        token = draw(logits.astype(np.float64), temperature, top_k, rng)
        if token == END:
            return
        yield token
        unread = [token]


@np.errstate(all="ignore")  # a tiny temperature overflows, and improbable tokens underflow, to what is meant
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
    place = np.searchsorted(shares, rng.uniform() * shares[-1], side="right")
    return int(candidates[min(place, len(candidates) - 1)])  # the product may round up to the last share
