"""What a display shows: some of the sequences it is given, taken through a pipeline, and their tokens as text."""

from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from ..tokens import UNKNOWN_MARK, tokenise
from ..vectorizer import SequenceVectorizer


def chosen(n, index, max_sequences):
    """Which of n sequences are shown, a list: those at `index`, an int or several; None: the first `max_sequences`."""
    if not isinstance(max_sequences, Integral) or isinstance(max_sequences, bool) or max_sequences < 1:
        raise ValueError(f"max_sequences must be an integer of at least 1, got {max_sequences!r}")
    if index is None:
        return list(range(min(n, max_sequences)))
    indices = np.atleast_1d(np.asarray(index))
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or not len(indices):
        raise ValueError(f"index must be an integer or a list of integers, got {index!r}")
    outside = indices[(indices < -n) | (indices >= n)]
    if len(outside):
        raise ValueError(f"index {outside[0]} is out of range: there are {n} sequences, 0 to {n - 1}")
    return (indices % n).tolist()


def take(X, indices):
    """The sequences of X at some indices, as X has them."""
    return _safe_indexing(X, indices)


def count(X):
    """How many sequences X holds, at least one."""
    if isinstance(X, str) or not hasattr(X, "__len__"):
        raise TypeError(f"X must hold several sequences, got {type(X).__name__}; pass [X] for one")
    if not len(X):
        raise ValueError("X is empty: there is no sequence to show")
    return len(X)


def last_step(estimator):
    """The estimator itself, or that at the end of a pipeline."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def at_last_step(estimator, X):
    """X as the end of a pipeline is given it."""
    return estimator[:-1].transform(X) if isinstance(estimator, Pipeline) and len(estimator) > 1 else X


def tokens_of(estimator, X):
    """For each sequence of X a list of its tokens as str; None where X holds numbers."""
    model = last_step(estimator)
    if isinstance(estimator, Pipeline):
        vectorizer = next((step for _, step in estimator.steps if isinstance(step, SequenceVectorizer)), None)
        if vectorizer is not None:  # a document without tokens is one unknown token to the network
            return [list(tokens) or [UNKNOWN_MARK] for tokens in vectorizer._tokenise(X)]
        X = at_last_step(estimator, X)
    vocabulary = getattr(model, "_vocabulary", None) or getattr(model, "_vocabularies", (None,))[0]
    if vocabulary is not None:
        return _tokens(vocabulary, X, "X")
    if model.embedding_dim is not None:
        return [list(map(str, np.asarray(ids).ravel().tolist())) for ids in X]
    return None


def target_tokens_of(translator, targets):
    """For each target a list of its tokens as str."""
    return _tokens(translator._vocabularies[1], targets, "targets")


def _tokens(vocabulary, texts, name):
    documents = tokenise(texts, name, vocabulary.level, lowercase=vocabulary.lowercase)
    return [list(map(str, tokens)) for tokens in documents]


def tokens_at(tokens, n, indices):
    """Those of n sequences' tokens that stand at some indices."""
    if len(tokens) != n:
        raise ValueError(f"tokens must be {n} lists, one for each sequence of X, got {len(tokens)}")
    return [tokens[i] for i in indices]


def checked_tokens(tokens, lengths, name="tokens"):
    """`tokens`, lists of str of the given lengths; ValueError if they are not."""
    found, lengths = [len(sequence) for sequence in tokens], list(lengths)
    if found != lengths:
        raise ValueError(f"{name} must be as long as the sequences, {lengths} steps, got {found}")
    return [list(map(str, sequence)) for sequence in tokens]
