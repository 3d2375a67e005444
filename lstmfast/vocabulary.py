"""Tokens and their ids, for the estimators that read and write text, and for serving them without scikit-learn."""

import functools
import itertools

import numpy as np

from .sequences import Sequences, offsets_of
from .tokens import UNKNOWN_MARK, check_choice, check_counting, check_ids, most_frequent, tokenise
from .workspace import explains_memory

UNKNOWN, END = 0, 1  # ids: a token that is not in the vocabulary, the end (and the beginning) of a sequence

LEVELS = ("char", "word", "token")


class Vocabulary:
    r"""The tokens that have an id of their own.

    Id 0 (`UNKNOWN`) stands for every other token, id 1 (`END`) for the end of a sequence; token i of the vocabulary has
    id i + 2. Unlike :class:`SequenceVectorizer` it knows where a sequence ends and takes integers for tokens too.

    Parameters
    ----------
    level : {"char", "word", "token"}
        What a token is, as in :class:`SequenceVectorizer`: "char" a character (a Unicode code point), "word" a run of
        letters, digits and underscores or a single other character; documents are str, or lists of str tokens. "token":
        documents are lists of tokens, all str or all integers, and are taken as they are.
    tokens : ndarray of shape (n,)
        The tokens, all different. dtype object, of str, or int64. (Not NumPy's own str dtype: that drops trailing NUL
        characters, and is as wide as its longest token everywhere. What has it is converted.)
    lowercase : bool, default=False
        Whether documents are turned into lower case; integers have none.

    Examples
    --------
    >>> from lstmfast.vocabulary import Vocabulary
    >>> vocabulary = Vocabulary.learn(["the cat saw the dog"], "word")
    >>> vocabulary
    Vocabulary('word', n_tokens=6: 'the', 'cat', 'dog', ...)
    >>> ids = vocabulary.encode(["the dog ran", ""])
    >>> [x.tolist() for x in ids]
    [[2, 4, 0], []]
    >>> vocabulary.decode(ids[0])
    'the dog �'
    """

    fields = ("level", "tokens", "lowercase")  # as files name the parameters

    def __init__(self, level, tokens, lowercase=False):
        if isinstance(tokens, np.ndarray) and tokens.dtype.kind == "U":
            tokens = tokens.astype(object)
        self.level, self.tokens, self.lowercase = level, tokens, lowercase

    @classmethod
    def learn(cls, documents, level, *, max_features=None, min_frequency=1, lowercase=False, name="texts"):
        """The vocabulary of some documents: ids by falling frequency, then in the tokens' order.

        Parameters
        ----------
        documents : list, tuple, 1-D array or Series of n documents
            At level "char" and "word" a document is a str, or a list, tuple, 1-D array or Series of str. At level
            "token" it is the latter, and may hold integers instead; there `documents` may be an array of shape (n, T)
            too. Documents may be empty, but not all of them.
        level : {"char", "word", "token"}
        max_features : int, default=None
            The largest number of tokens, the most frequent ones. None sets no limit.
        min_frequency : int, default=1
            How often a token must occur, in all documents together.
        lowercase : bool, default=False
        name : str, default="texts"
            What errors call the documents.

        Returns
        -------
        Vocabulary

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, no token is frequent enough, or an integer does not fit into int64.
        """
        check_choice(level, "level", LEVELS)
        check_counting(max_features, min_frequency, lowercase)
        documents = tokenise(documents, name, level, lowercase=lowercase)
        tokens = most_frequent(documents, name, max_features, min_frequency)
        dtype = object if isinstance(tokens[0], str) else np.int64
        try:
            return cls(level, np.array(tokens, dtype), bool(lowercase))
        except OverflowError as error:
            raise ValueError(
                f"Integers of {name} must be at least -2**63 and below 2**63, got {max(tokens, key=abs)}. "
                "Turn all tokens into str."
            ) from error

    def check(self):
        """ValueError if these cannot be a vocabulary."""
        tokens = self.tokens
        check_choice(self.level, "level", LEVELS)
        if type(self.lowercase) is not bool:
            raise ValueError(f"lowercase must be True or False, got {self.lowercase!r}")
        if not isinstance(tokens, np.ndarray) or tokens.ndim != 1 or tokens.size == 0:
            raise ValueError("tokens must be a one-dimensional array that is not empty")
        strings = tokens.dtype == object and set(map(type, tokens)) == {str}
        if not strings and (tokens.dtype != np.int64 or self.level != "token"):
            raise ValueError(f"tokens must be str, or int64 at level 'token', got {tokens.dtype} at {self.level!r}")
        if len(set(tokens.tolist())) != len(tokens):
            raise ValueError("tokens must be different")

    @property
    def n_tokens(self):
        """The number of ids, those of `UNKNOWN` and `END` included."""
        return len(self.tokens) + 2

    def __len__(self):
        return self.n_tokens

    @explains_memory
    def encode(self, documents, name="texts"):
        """Look up the ids.

        Parameters
        ----------
        documents : as in `learn`
        name : str, default="texts"
            What errors call the documents.

        Returns
        -------
        list of n arrays of shape (T_i,), int64
            `UNKNOWN` for tokens outside the vocabulary, of an empty document an empty array; no `END`. They are parts
            of one array.

        Raises
        ------
        ValueError, TypeError
            If the documents are not as described; if tokens are integers where those of the vocabulary are str, or
            the other way round.
        """
        kind = int if self.tokens.dtype == np.int64 else str
        documents = list(tokenise(documents, name, self.level, lowercase=self.lowercase, kind=kind))
        if self.level == "char" and all(isinstance(document, str) for document in documents):
            ids = self._ids_of_characters("".join(documents))
        else:
            tokens = itertools.chain.from_iterable(documents)
            ids = np.fromiter(map(self._ids.get, tokens, itertools.repeat(UNKNOWN)), np.int64)
        bounds = itertools.accumulate(map(len, documents), initial=0)
        return [ids[start:stop] for start, stop in itertools.pairwise(bounds)]

    def decode(self, ids):
        """Write out the tokens of one document's ids.

        Parameters
        ----------
        ids : array or list of int of shape (T,)

        Returns
        -------
        str or list
            At level "word" the tokens with a space between them, at level "char" without, at level "token" a list of
            str or int. `END` is left out wherever it stands. `UNKNOWN` becomes � (U+FFFD), among integers None.

        Raises
        ------
        ValueError, TypeError
            If `ids` are not as described, or hold one that is not in the vocabulary.
        """
        ids = check_ids(ids, "ids", self.n_tokens, "Decode one document at a time.")
        tokens = self._written[ids[ids != END]].tolist()
        return tokens if self.level == "token" else (" " if self.level == "word" else "").join(tokens)

    @functools.cached_property
    def _ids(self):
        return {token: i for i, token in enumerate(self.tokens.tolist(), start=END + 1)}

    @functools.cached_property
    def _written(self):
        """What each id decodes to."""
        unknown = None if self.tokens.dtype == np.int64 else UNKNOWN_MARK
        return np.array([unknown, None, *self.tokens.tolist()], dtype=object)

    @functools.cached_property
    def _id_of_code(self):
        """The id of each code point up to one after the vocabulary's largest, which stands for all that follow."""
        codes = {ord(token): i for token, i in self._ids.items() if len(token) == 1}
        table = np.zeros(max(codes, default=0) + 2, np.int64)  # UNKNOWN is 0
        table[list(codes)] = list(codes.values())
        return table

    def _ids_of_characters(self, text):
        """The same as looking up each character, several times as fast: a table by code point."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return self._id_of_code.take(codes, mode="clip")

    def __eq__(self, other):
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return all(np.array_equal(getattr(self, field), getattr(other, field)) for field in self.fields)

    __hash__ = None

    def __getstate__(self):
        return {field: getattr(self, field) for field in self.fields}  # without the tables

    def __repr__(self):
        first = ", ".join(map(repr, self.tokens[:3].tolist()))
        more = ", ..." if len(self.tokens) > 3 else ""
        return f"Vocabulary({self.level!r}, n_tokens={self.n_tokens}: {first}{more})"


@explains_memory
def framed(ids, end=True):
    """Sequences of arrays of ids, with `END` before each and, if asked, after it."""
    lengths = np.array([len(entry) for entry in ids], np.int64) + 1 + end
    offsets = offsets_of(lengths)
    steps = np.full(offsets[-1], END, np.int64)
    inside = np.ones(len(steps), bool)
    inside[offsets[:-1]] = False
    if end:
        inside[offsets[1:] - 1] = False
    steps[inside] = np.concatenate(ids)
    return Sequences(steps[:, None], offsets)
