"""Text to sequences of token ids, and back."""

import itertools

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .layers.parameters import check_size
from .tokens import UNKNOWN_MARK, check_choice, check_counting, check_ids, most_frequent, tokenise


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
        The number of ids, that of unknown tokens included: ids are 0 ... `n_tokens_` - 1.

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
        tokens = most_frequent(self._tokenise(X), "X", self.max_features, self.min_frequency)
        self.vocabulary_ = {token: i for i, token in enumerate(tokens, start=1)}
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
        tokens = np.array([UNKNOWN_MARK, *self.vocabulary_], dtype=object)
        space = " " if self.level == "word" else ""
        return [space.join(tokens[ids].tolist()) for ids in self._check_ids(X)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _check_parameters(self):
        check_choice(self.level, "level", ("word", "char"))
        check_choice(self.truncate, "truncate", ("pre", "post"))
        check_counting(self.max_features, self.min_frequency, self.lowercase)
        if self.max_length is not None:
            check_size(self.max_length, "max_length")

    def _tokenise(self, X):
        """Yield each document's tokens, cut to max_length: a list of str, or a str of single characters."""
        for tokens in tokenise(X, "X", self.level, lowercase=self.lowercase, by=f" by {type(self).__name__}"):
            if self.max_length is not None:
                tokens = tokens[-self.max_length :] if self.truncate == "pre" else tokens[: self.max_length]
            yield tokens

    def _check_ids(self, X):
        """Yield the ids of each document as an array."""
        if not hasattr(X, "__len__"):
            raise TypeError(f"X must be a list of arrays of ids, got {type(X).__name__}.")
        for i, ids in enumerate(X):
            yield check_ids(ids, f"X[{i}]", self.n_tokens_, "Pass [X] for one document.")
