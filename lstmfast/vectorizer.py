"""Text to sequences of token ids, and back."""

import functools
import itertools
import re
import reprlib
import unicodedata
from collections import Counter

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .layers.parameters import check_size

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # what inverse_transform writes for id 0

_CHOICES = {"level": ("word", "char"), "truncate": ("pre", "post")}


class SequenceVectorizer(TransformerMixin, BaseEstimator):
    r"""Turn each document into the sequence of its tokens' ids.

    Like :class:`sklearn.feature_extraction.text.CountVectorizer`, but the order of the tokens is kept: a document
    becomes an array with one id for each word or character. `fit` gives ids to the tokens by falling frequency, and
    among equally frequent ones in the order of their characters, so the order of the documents does not matter. Id 0
    stands for every token that has no id of its own.

    Parameters
    ----------
    level : {"word", "char"}, default="word"
        What a token is. "word": a run of letters, digits and underscores, or a single other character that is not white
        space, so ``"Don't!"`` holds don, ', t and !. As a regular expression, ``\w[\wM]*|[^\w\s]M*``, where M are
        Unicode's marks (the vowel signs of Hindi, separate accents) and zero-width joiners, which belong to what they
        follow. "char": a character, that is a Unicode code point, white space included.
    max_features : int, default=None
        The largest number of tokens in the vocabulary, the most frequent ones, as in `CountVectorizer`. Id 0 comes on
        top: ids are 0 ... max_features. None sets no limit.
    min_frequency : int, default=1
        How often a token must occur, in all documents together, to be in the vocabulary.
    max_length : int, default=None
        The largest number of tokens of a document that is kept; None keeps all. The rest is not counted by `fit`
        either, so every token of the vocabulary occurs in the transformed training documents.
    truncate : {"pre", "post"}, default="pre"
        What a longer document loses: "pre" its beginning, as in Keras, "post" its end.
    lowercase : bool, default=True
        Turn everything into lower case (:meth:`str.lower`), tokens of documents that come as tokens too.

    Attributes
    ----------
    vocabulary_ : dict of str to int
        The id of each token, in the order of the ids 1, 2, ...
    n_tokens_ : int
        The number of ids, that of unknown tokens included: ids are 0 ... n_tokens_ - 1.

    Notes
    -----
    Estimators refuse empty sequences, so a document without tokens becomes the one id 0.

    With ``min_frequency=1`` and no `max_features` no training document holds an unknown token, and an estimator learns
    nothing about id 0, which new documents will have. ``min_frequency=2`` gives it something to learn.

    There is no `get_feature_names_out`, since the output has no columns, and therefore no `set_output`.
    ``list(vocabulary_)`` has the tokens.

    Unicode has several ways to write some letters. They are different tokens: where a text mixes them, normalise it
    before (:func:`unicodedata.normalize`).

    Examples
    --------
    >>> from lstmfast import SequenceVectorizer
    >>> vectorizer = SequenceVectorizer(min_frequency=2).fit(["The cat saw the dog.", "The dog ran."])
    >>> vectorizer.vocabulary_, vectorizer.n_tokens_
    ({'the': 1, '.': 2, 'dog': 3}, 4)
    >>> ids = vectorizer.transform(["The dog saw me.", ""])
    >>> [x.tolist() for x in ids]
    [[1, 3, 0, 0, 2], [0]]
    >>> vectorizer.inverse_transform(ids)
    ['the dog � � .', '�']
    """

    def __init__(
        self, *, level="word", max_features=None, min_frequency=1, max_length=None, truncate="pre", lowercase=True
    ):
        self.level = level
        self.max_features = max_features
        self.min_frequency = min_frequency
        self.max_length = max_length
        self.truncate = truncate
        self.lowercase = lowercase

    def fit(self, X, y=None):
        """Learn the vocabulary.

        Parameters
        ----------
        X : list, tuple, 1-D array or Series of n documents
            A document is a str, or a list, tuple, 1-D array or Series of str: the tokens, whatever `level` says.
        y : None
            Ignored.

        Returns
        -------
        SequenceVectorizer
            This vectorizer.

        Raises
        ------
        ValueError, TypeError
            If X is not as described, or no token is frequent enough; if a parameter is not as described.
        """
        self._check_parameters()
        counts = Counter()
        for tokens in self._tokenise(X):
            counts.update(tokens)
        if not counts:
            raise ValueError(f"X holds no tokens: all of its {len(X)} documents are empty or white space.")
        frequent = [token for token, count in counts.items() if count >= self.min_frequency]
        if not frequent:
            raise ValueError(
                f"No token occurs min_frequency={self.min_frequency} times, the most frequent one "
                f"{max(counts.values())} times. Lower min_frequency."
            )
        frequent.sort(key=lambda token: (-counts[token], token))
        self.vocabulary_ = {token: i for i, token in enumerate(frequent[: self.max_features], start=1)}
        self.n_tokens_ = len(self.vocabulary_) + 1
        return self

    def transform(self, X):
        """Look up the ids.

        Parameters
        ----------
        X : as in `fit`
            The documents, as str or as tokens.

        Returns
        -------
        list of n arrays of shape (T_i,), int64
            The ids of each document's tokens, 0 for tokens outside the vocabulary; at least one id, at most
            `max_length`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as described; if a parameter was set to something that is not as described.
        """
        check_is_fitted(self)
        self._check_parameters()
        look_up, unknown = self.vocabulary_.get, itertools.repeat(0)
        return [
            np.fromiter(map(look_up, tokens, unknown), np.int64, len(tokens)) if tokens else np.zeros(1, np.int64)
            for tokens in self._tokenise(X)
        ]

    def inverse_transform(self, X):
        """Write out the tokens of ids.

        Parameters
        ----------
        X : list of arrays or lists of int, or array of shape (n, T)
            Ids as returned by `transform`.

        Returns
        -------
        list of n str
            Each document's tokens, words with a space between them, characters without, and � (U+FFFD) for id
            0. What was cut, the case and the white space between words do not come back.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as described, or holds ids that are not in the vocabulary.
        """
        check_is_fitted(self)
        tokens = np.array([UNKNOWN, *self.vocabulary_], dtype=object)
        space = " " if self.level == "word" else ""
        return [space.join(tokens[ids].tolist()) for ids in self._check_ids(X)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _check_parameters(self):
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise ValueError(f"{name} must be {choices[0]!r} or {choices[1]!r}, got {value!r}.")
        if not isinstance(self.lowercase, bool | np.bool_):
            raise TypeError(f"lowercase must be True or False, got {self.lowercase!r}.")
        check_size(self.min_frequency, "min_frequency")
        for name in ("max_features", "max_length"):
            if getattr(self, name) is not None:
                check_size(getattr(self, name), name)

    def _tokenise(self, X):
        """Yield each document's tokens, cut to max_length: a list of str, or a str of single characters."""
        if isinstance(X, str):
            raise TypeError("X is one str: expected a list, tuple, 1-D array or Series of str. Pass [X].")
        if not isinstance(X, list | tuple) and not hasattr(X, "shape"):
            raise TypeError(f"X must be a list, tuple, 1-D array or Series of str, got {type(X).__name__}.")
        shape = X.shape if hasattr(X, "shape") else (len(X),)
        if len(shape) != 1:
            raise ValueError(f"X must have one dimension, one document an entry, got shape {shape}. Pass one column.")
        if shape[0] == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape={shape}) while a minimum of 1 is required by "
                f"{type(self).__name__}."
            )
        name = "X.iloc" if hasattr(X, "iloc") else "X"
        for i, document in enumerate(X):
            tokens = self._tokens_of(document, f"{name}[{i}]")
            if self.max_length is not None:
                tokens = tokens[-self.max_length :] if self.truncate == "pre" else tokens[: self.max_length]
            yield tokens

    def _tokens_of(self, document, name):
        convert = str.lower if self.lowercase else str.__str__  # both return a plain str, of a numpy.str_ too
        if isinstance(document, str):
            return _word_pattern().findall(convert(document)) if self.level == "word" else convert(document)
        if not isinstance(document, list | tuple) and len(getattr(document, "shape", ())) != 1:
            raise TypeError(_not_text(document, name, "a str or a list of str"))
        for i, token in enumerate(document):
            if not isinstance(token, str):
                raise TypeError(_not_text(token, f"{name}[{i}]", "a str"))
        return [convert(token) for token in document]

    def _check_ids(self, X):
        """Yield the ids of each document as an array."""
        if not hasattr(X, "__len__"):
            raise TypeError(f"X must be a list of arrays of ids, got {type(X).__name__}.")
        for i, ids in enumerate(X):
            ids = np.asarray(ids)
            if ids.ndim != 1:
                raise ValueError(f"X[{i}] must have one dimension, got shape {ids.shape}. Pass [X] for one document.")
            if ids.size == 0:
                ids = ids.astype(np.int64)
            if ids.dtype.kind not in "iu":
                raise TypeError(f"X[{i}] must hold integers, got dtype {ids.dtype}.")
            wrong = ids[(ids < 0) | (ids >= self.n_tokens_)]
            if wrong.size:
                raise ValueError(f"X[{i}] holds id {wrong[0]}, but ids are 0 ... {self.n_tokens_ - 1}.")
            yield ids


@functools.cache
def _word_pattern():
    r"""The regular expression of a word. `re` does not count marks among ``\w``."""
    blocks = itertools.chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))  # they hold all marks
    codes = [code for code in blocks if unicodedata.category(chr(code))[0] == "M" or code in (0x200C, 0x200D)]
    starts = [code for code, before in zip(codes, [0, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], 0], strict=True) if code != after - 1]
    # Ranges: a class that lists them one by one is searched three times as long.
    marks = "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
    return re.compile(rf"\w[\w{marks}]*|[^\w\s][{marks}]*")


def _not_text(value, name, expected):
    return (
        f"{name} must be {expected}, got {reprlib.repr(value)} ({type(value).__name__}). "
        "Fill or remove missing entries, decode bytes, turn numbers into str."
    )
