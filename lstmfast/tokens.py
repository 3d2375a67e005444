"""From documents to tokens, their counts and back: what `SequenceVectorizer` and `Vocabulary` share."""

import functools
import itertools
import re
import reprlib
import unicodedata
from collections import Counter

import numpy as np

from .layers.parameters import check_size

UNKNOWN_MARK = "\N{REPLACEMENT CHARACTER}"  # what stands in a text for a token that is not known

_KINDS = {str: "a str", int: "an integer"}


def check_choice(value, name, choices):
    """ValueError unless a parameter is one of some strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}.")


def check_counting(max_features, min_frequency, lowercase):
    """ValueError or TypeError unless these say which tokens go into a vocabulary."""
    if not isinstance(lowercase, bool | np.bool_):
        raise TypeError(f"lowercase must be True or False, got {lowercase!r}.")
    check_size(min_frequency, "min_frequency")
    if max_features is not None:
        check_size(max_features, "max_features")


def tokenise(documents, name, level, *, lowercase=False, kind=None, by=""):
    r"""Yield the tokens of each document.

    Parameters
    ----------
    documents : list, tuple, 1-D array or Series of documents
        At level "word" and "char" a document is a str, or a list, tuple, 1-D array or Series of str: the tokens. At
        level "token" it is the latter, with tokens that are all str or all integers; then `documents` may be a 2-D
        array too.
    name : str
        What errors call the documents.
    level : {"word", "char", "token"}
        "word" splits a str as `word_pattern` does, "char" into its code points.
    lowercase : bool, default=False
        Whether :meth:`str.lower` is applied first, to tokens too.
    kind : {str, int}, default=None
        At level "token": what all tokens must be. None: what the first one is.
    by : str, default=""
        Who needs a document at least, for an error: " by SequenceVectorizer".

    Yields
    ------
    str or list
        A str of single characters, a list of str, or a list of int, for each document. NumPy's scalars are Python's.

    Raises
    ------
    ValueError, TypeError
        If the documents are not as described.

    Examples
    --------
    >>> from lstmfast.tokens import tokenise
    >>> list(tokenise(["Don't!", ["as", "it", "is"]], "texts", "word"))
    [['Don', "'", 't', '!'], ['as', 'it', 'is']]
    """
    what = "token sequences" if level == "token" else "str"
    if isinstance(documents, str):
        raise TypeError(f"{name} is one str: expected a list, tuple, 1-D array or Series of {what}. Pass [{name}].")
    if not isinstance(documents, list | tuple) and not hasattr(documents, "shape"):
        raise TypeError(f"{name} must be a list, tuple, 1-D array or Series of {what}, got {type(documents).__name__}.")
    if level == "token" and isinstance(documents, np.ndarray) and documents.ndim == 2:
        documents = list(documents)
    shape = documents.shape if hasattr(documents, "shape") else (len(documents),)
    if len(shape) != 1:
        raise ValueError(f"{name} must have one dimension, one document an entry, got shape {shape}. Pass one column.")
    if shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={shape}) while a minimum of 1 is required{by}.")
    entry = f"{name}.iloc" if hasattr(documents, "iloc") else name
    for i, document in enumerate(documents):
        place = f"{entry}[{i}]"
        if level == "token":
            tokens = _token_list(document, place, name)
            if kind is None and tokens:
                kind = next((kind for kind in _KINDS if _is_a(tokens[0], kind)), None)
                if kind is None:
                    raise TypeError(_not_a_token(tokens[0], f"{place}[0]", "a str or an integer"))
            tokens = _plain(tokens, place, kind)
            yield [token.lower() for token in tokens] if lowercase and kind is str else tokens
        elif isinstance(document, str):
            text = document.lower() if lowercase else str.__str__(document)  # plain str, of a numpy.str_ too
            yield word_pattern().findall(text) if level == "word" else text
        else:
            if not isinstance(document, list | tuple) and len(getattr(document, "shape", ())) != 1:
                raise TypeError(_not_a_token(document, place, "a str or a list of str"))
            tokens = _plain(_as_list(document), place, str)
            yield [token.lower() for token in tokens] if lowercase else tokens


def most_frequent(documents, name, max_features, min_frequency):
    """List of the tokens of some tokenised documents, by falling frequency, then in the tokens' order.

    Parameters
    ----------
    documents : iterable of str or list
        As `tokenise` yields them.
    name : str
        What errors call the documents.
    max_features, min_frequency
        As of `SequenceVectorizer`.

    Raises
    ------
    ValueError
        If there are no tokens, or none is frequent enough.
    """
    counts = Counter(itertools.chain.from_iterable(documents))
    if not counts:
        raise ValueError(f"All documents of {name} are empty or white space: they hold no tokens.")
    frequent = [token for token, count in counts.items() if count >= min_frequency]
    if not frequent:
        raise ValueError(
            f"No token occurs min_frequency={min_frequency} times, the most frequent one {max(counts.values())} times. "
            "Lower min_frequency."
        )
    frequent.sort(key=lambda token: (-counts[token], token))
    return frequent[:max_features]


def check_ids(ids, name, n_ids, advice):
    """One document's ids as an array; ValueError or TypeError unless they are integers from 0 to n_ids - 1.

    `advice` says what to pass instead of an array of another rank.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {ids.shape}. {advice}")
    if ids.size == 0:
        ids = ids.astype(np.int64)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {ids.dtype}.")
    wrong = ids[(ids < 0) | (ids >= n_ids)]
    if wrong.size:
        raise ValueError(f"{name} holds id {wrong[0]}, but ids are 0 ... {n_ids - 1}.")
    return ids


@functools.cache
def word_pattern():
    r"""The regular expression of a word. `re` does not count marks among ``\w``."""
    blocks = itertools.chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))  # they hold all marks
    codes = [code for code in blocks if unicodedata.category(chr(code))[0] == "M" or code in (0x200C, 0x200D)]
    starts = [code for code, before in zip(codes, [0, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], 0], strict=True) if code != after - 1]
    # Ranges: a class that lists them one by one is searched three times as long.
    marks = "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
    return re.compile(rf"\w[\w{marks}]*|[^\w\s][{marks}]*")


def _token_list(document, place, name):
    """The list of a document's tokens at level "token", not yet checked."""
    if isinstance(document, str):
        raise TypeError(
            f"{place} is a str, {reprlib.repr(str(document))}, but at level='token' a document is a list of tokens. "
            f"To split str into characters or words use level='char' or level='word'. For one document pass [{name}]."
        )
    if not isinstance(document, list | tuple) and len(getattr(document, "shape", ())) != 1:
        raise TypeError(
            f"{place} must be a list of tokens, got {reprlib.repr(document)} ({type(document).__name__}). "
            f"For one document pass [{name}]."
        )
    return _as_list(document)


def _as_list(document):
    # Not of every array: tolist makes integers of dates.
    quick = isinstance(document, np.ndarray) and document.dtype.kind in "iuUO"
    return document.tolist() if quick else list(document)


def _is_a(token, kind):
    if kind is str:
        return isinstance(token, str)
    return isinstance(token, int | np.integer) and not isinstance(token, bool | np.timedelta64)


def _plain(tokens, place, kind):
    """A list of tokens as a list of str or of int, whatever subclasses it held; TypeError if it holds anything else."""
    if set(map(type, tokens)) <= {kind}:  # in a fifth of the time that looking at them one by one takes
        return tokens
    for i, token in enumerate(tokens):
        if not _is_a(token, kind):
            raise TypeError(_not_a_token(token, f"{place}[{i}]", _KINDS[kind]))
    plain = str.__str__ if kind is str else int
    return [plain(token) for token in tokens]


def _not_a_token(value, place, expected):
    if expected == _KINDS[int]:
        advice = "Give all tokens as integers, or all as str."
    else:
        advice = "Fill or remove missing entries, decode bytes, turn numbers into str."
    return f"{place} must be {expected}, got {reprlib.repr(value)} ({type(value).__name__}). {advice}"
