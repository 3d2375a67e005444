"""Every accepted X, checked and packed: the one place that decides what X means and raises X's errors.

n sequences, T steps, F features. What X is read as:

=======================================================  ===================================  =========
X                                                        read as                              layout
=======================================================  ===================================  =========
3-D array                                                n sequences of T steps, F features   "3d"
2-D array, table (pandas, polars), or a list of lists    n univariate series of T steps       "2d"
of numbers that all have the same length
list, tuple or 1-D object array of 2-D entries           n sequences, each of its own length  "list"
the same of 1-D entries                                  n univariate sequences (F = 1)       "list-1d"
=======================================================  ===================================  =========

An entry may be whatever ``np.asarray`` or a table makes 1-D or 2-D. The one ambiguous case is a list of equally
long 1-D entries: when all of them are plain lists or tuples it is 2-D, as everywhere in scikit-learn; as soon as one
is an array it is a list of univariate sequences, whose lengths may differ at predict. ``X.tolist()`` is read as X is.

``n_features_in_`` is F, but T for the layout "2d", where scikit-learn's own checks and feature names apply.

scikit-learn is imported only for tables and to check a 2-D X against an estimator: serving works without it.
"""

import copy
import math
import reprlib
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .workspace import explains_memory

# Values looked at or converted at a time: 256 KiB of float32, so temporaries stay in the L2 cache.
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Sequences of any lengths, one after the other in one array.

    Parameters
    ----------
    steps : ndarray of shape (n_steps, n_features)
        All steps: C-contiguous, aligned, native float32 or float64. Never write to it: it may be X's own memory.
    offsets : ndarray of shape (n_sequences + 1,), int64
        Sequence i is ``steps[offsets[i]:offsets[i + 1]]``.
    layout : {"3d", "2d", "list", "list-1d"}, default="list"
        What X was; see the table at the top of this module.

    Examples
    --------
    >>> from lstmfast.sequences import check_sequences
    >>> sequences = check_sequences([[1, 2, 3], [4, 5]], dtype="float32")
    >>> sequences.steps.shape, sequences.offsets.tolist()
    ((5, 1), [0, 3, 5])
    >>> sequences.take([1]).steps.ravel().tolist()
    [4.0, 5.0]
    """

    steps: np.ndarray
    offsets: np.ndarray
    layout: str = "list"

    def __len__(self):
        return len(self.offsets) - 1

    @property
    def n_features(self):
        """F, also where the estimator's ``n_features_in_`` is T."""
        return self.steps.shape[1]

    @property
    def lengths(self):
        """ndarray of shape (n_sequences,), int64: the number of steps of each sequence."""
        return np.diff(self.offsets)

    def split(self, values):
        """List of n_sequences views of `values`, an array with one row for each step."""
        if len(values) != self.offsets[-1]:
            raise ValueError(f"values must have one row for each of the {self.offsets[-1]} steps, got {len(values)}.")
        return [values[start:stop] for start, stop in pairwise(self.offsets.tolist())]

    def take(self, indices):
        """Sequences holding a copy of those at `indices`, an array or list of ints or a mask of n_sequences bools."""
        # Ints come by for each minibatch of a fit: nothing may take as long as there are sequences.
        indices = np.asarray(indices)
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices.astype(np.int64)
        indices[indices < 0] += len(self)
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        return Sequences(self.steps[step_rows(starts, lengths)], offsets_of(lengths), self.layout)

    def group(self, values):
        """`values`, an array with one row for each step, by sequence: an array (n, T, ...), or a list for lists."""
        if self.layout in ("3d", "2d"):
            return values.reshape(len(self), -1, *values.shape[1:])
        return self.split(values)

    def like_input(self, values):
        """`values` of shape (n_steps, n_features), shaped as X was: an array of X's shape, or a list of arrays."""
        return self.group(values[:, 0] if self.layout in ("2d", "list-1d") else values)


def offsets_of(lengths):
    """Where sequences of these lengths begin and end, one behind the other."""
    return np.concatenate(([0], np.cumsum(lengths)))


def first_rows(lengths):
    """Where each sequence begins when they are stored one after the other."""
    return np.cumsum(lengths) - lengths


def step_rows(starts, lengths):
    """The steps of one sequence after the other, where sequence r begins at row starts[r] of an array of steps."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def repeat_rows(batch, rows):
    """Row r of an (n, D) array once for each step of sequence r of a `_core.Batch`."""
    return np.repeat(rows, batch.lengths, axis=0)


class StepValues:
    """A value for each step of some sequences, taken by sequence as an array is by row.

    Taking costs as much as there are sequences to take; the steps are gathered when `values` asks for them.

    Parameters
    ----------
    values : ndarray of shape (n_steps, ...)
    offsets : ndarray of shape (n_sequences + 1,), int64
        As of `Sequences`.
    """

    def __init__(self, values, offsets):
        self._all, self._starts, self._lengths = values, offsets[:-1], np.diff(offsets)

    @property
    def offsets(self):
        return offsets_of(self._lengths)

    @property
    def values(self):
        """Of one sequence after the other; not a copy where they already stand so."""
        starts, stops = self._starts, self._starts + self._lengths
        if len(starts) and np.array_equal(starts[1:], stops[:-1]):
            return self._all[starts[0] : stops[-1]]
        return self._all[step_rows(starts, self._lengths)]

    def __len__(self):
        return int(self._lengths.sum())

    def __getitem__(self, indices):
        taken = copy.copy(self)
        taken._starts, taken._lengths = self._starts[indices], self._lengths[indices]
        return taken

    def __truediv__(self, divisor):
        return StepValues(self.values / divisor, self.offsets)

    def mean(self):
        return self.values.mean()

    def any(self):
        return self.values.any()

    def astype(self, dtype):
        return StepValues(self.values.astype(dtype), self.offsets)


@explains_memory
def check_sequences(X, *, dtype, estimator=None, reset=True):
    """Check X, pack it and, where an estimator is given, check or set what that remembers of X.

    X may be of any layout and byte order, and is never written to.

    Parameters
    ----------
    X : array-like, table or list of array-likes
        See the table at the top of this module.
    dtype : float32, float64 or None
        The type of the steps. None keeps float32 and makes everything else float64.
    estimator : estimator instance, default=None
        Named in the errors, and checked against or changed according to `reset`.
    reset : bool, default=True
        True: set the estimator's `n_features_in_`, `_input_kind` ("2d" or "sequences") and, for a table whose columns
        have names, `feature_names_in_`, after all that can fail. False: check X against them and set nothing. An
        estimator fitted on 2-D X accepts 2-D X with as many steps, and univariate sequences of any length. One fitted
        on sequences accepts sequences with as many features, and, if those were univariate, any 2-D X.

    Returns
    -------
    Sequences
        Its steps are a view of X where X is a C-contiguous, aligned array of `dtype`. Pass a copy if X may change
        while they are in use.

    Raises
    ------
    ValueError
        If X has the wrong rank, is empty, has sequences of different widths, strings, complex or masked values, NaN,
        infinity or values too large for `dtype`, or does not fit the estimator.
    TypeError
        If X is None, sparse, or made of dates or of anything else that is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.sequences import check_sequences
    >>> check_sequences([np.zeros((5, 3)), np.zeros((9, 3))], dtype="float32").lengths.tolist()
    [5, 9]
    """
    by = "" if estimator is None else f" by {type(estimator).__name__}"
    sequences = _pack_list(list(X), dtype, by) if is_list(X) else _pack_array(as_numbers(X, "X", dtype), dtype, by)
    if estimator is not None:
        _check_features(estimator, X, sequences, reset)
    return sequences


def check_tokens(X, *, estimator=None, reset=True, n_tokens=None):
    """Check sequences of tokens and pack them.

    Parameters
    ----------
    X : ndarray of int of shape (n, T), or list of 1-D arrays or lists of int
        Tokens, from 0 on.
    estimator, reset
        As in `check_sequences`.
    n_tokens : int, default=None
        Tokens must be below it. None: below 2**31 - 1.

    Returns
    -------
    Sequences
        Its steps are int64 of shape (n_steps, 1).

    Raises
    ------
    ValueError, TypeError
        If X is none of these, holds no integers, negative ones, or a token that is not below n_tokens.
    """
    entries = list(X) if is_list(X) else None
    for place, entry in [("X", X)] if entries is None else [(f"X[{i}]", entry) for i, entry in enumerate(entries)]:
        _check_integers(entry, place)
    if (entries and all(np.ndim(entry) == 0 for entry in entries)) or (entries is None and np.ndim(X) == 1):
        raise ValueError("X must be a list of sequences of tokens, got one sequence. Pass [X].")
    sequences = check_sequences(X, dtype=np.int64, estimator=estimator, reset=reset)
    steps = sequences.steps
    limit = n_tokens or 2**31 - 1  # their number must be a size too
    if sequences.n_features != 1:
        raise ValueError(f"tokens come one a step, got {sequences.n_features} a step; X must be (n, T) or 1-D arrays")
    for wrong, what in ((steps < 0, "not negative"), (steps >= limit, f"below {limit}")):
        if wrong.any():
            step = int(np.argmax(wrong))
            i = int(np.searchsorted(sequences.offsets, step, side="right")) - 1
            raise ValueError(
                f"tokens must be {what}, got {steps[step, 0]} at X[{i}][{step - sequences.offsets[i]}]"
            )  # fmt: skip
    return sequences


def _check_integers(entry, place):
    """Raise an error that shows what is wrong, unless an entry holds integers that fit into int64, or nothing."""
    array = np.asarray(entry)
    items = entry if isinstance(entry, list | tuple) else array.ravel() if array.dtype == object else []
    if array.dtype.kind in "iu" and bool not in set(map(type, items)):  # beside integers NumPy reads True as 1
        if array.size and array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{place} must hold integers below 2**31 - 1, the numbers of tokens, got {array.max()}")
    elif array.size:  # what is empty is float64 to NumPy: check_sequences says what is wrong with it
        wrong = [item for item in items if isinstance(item, bool) or np.asarray(item).dtype.kind not in "iu"][:1]
        got = f"{reprlib.repr(wrong[0])} ({type(wrong[0]).__name__})" if wrong else f"dtype {array.dtype}"
        if array.dtype.kind in "US" or (wrong and isinstance(wrong[0], str | bytes)):
            hint = "text first needs a SequenceVectorizer"
        else:
            hint = "embedding_dim is set" if wrong or array.dtype != object else "give the array an integer dtype"
        raise TypeError(f"{place} must hold integers below 2**31 - 1, the numbers of tokens, got {got}; {hint}")


def is_list(X):
    """Whether X is a list of sequences, or of numbers, rather than one array or table."""
    return isinstance(X, list | tuple) or (getattr(X, "ndim", 0) == 1 and getattr(X, "dtype", 0) == np.dtype(object))


def _pack_array(array, dtype, by):
    shape = array.shape
    if array.ndim not in (2, 3):
        raise ValueError(_rank_error(shape))
    for axis, unit in enumerate(("sample", "feature") if array.ndim == 2 else ("sample", "time step", "feature")):
        if shape[axis] == 0:
            raise ValueError(f"Found array with 0 {unit}(s) (shape={shape}) while a minimum of 1 is required{by}.")
    array = to_contiguous(array, dtype)
    check_finite(array, "X")
    offsets = np.arange(0, shape[0] * shape[1] + 1, shape[1], dtype=np.int64)
    return Sequences(array.reshape(-1, 1 if array.ndim == 2 else shape[2]), offsets, f"{array.ndim}d")


def _rank_error(shape):
    if len(shape) > 3:
        return f"X: expected ndim ≤ 3, got {len(shape)} (shape={shape}). Its axes are sequences, steps and features."
    if len(shape) == 0:
        return "Expected 2D or 3D array, got scalar array instead. The axes of X are sequences, steps and features."
    n = shape[0]
    return (
        f"Expected 2D or 3D array, got 1D array instead (shape={shape}).\nReshape your data: X[None, :, None] is one "
        f"univariate series of {n} steps, X[:, None, None] is {n} sequences of one step."
    )


def _pack_list(entries, dtype, by):
    if not entries:
        raise ValueError(f"Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required{by}.")
    arrays = [as_numbers(entry, f"X[{i}]", dtype) for i, entry in enumerate(entries)]
    if all(array.ndim == 0 for array in arrays):
        raise ValueError(_rank_error((len(arrays),)))
    same_length = arrays[0].ndim == 1 and len({array.shape for array in arrays}) == 1
    if same_length and all(isinstance(entry, list | tuple) for entry in entries):
        return _pack_array(np.stack(arrays), dtype, by)
    _check_entry_shapes(arrays, by)
    if dtype is None:
        dtype = np.float32 if all(array.dtype.type is np.float32 for array in arrays) else np.float64
    offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    # Given the array to fill: of Fortran-ordered arrays concatenate makes a Fortran-ordered one.
    steps = np.empty((offsets[-1], *arrays[0].shape[1:]), dtype=dtype)
    with np.errstate(all="ignore"):
        np.concatenate(arrays, out=steps, casting="unsafe")
    if _first_non_finite(steps) is not None:
        for i, (start, stop) in enumerate(pairwise(offsets.tolist())):
            check_finite(steps[start:stop], "X", f"X[{i}]")
    if steps.ndim == 1:
        return Sequences(steps.reshape(-1, 1), offsets, "list-1d")
    return Sequences(steps, offsets, "list")


def _check_entry_shapes(arrays, by):
    first = arrays[0].shape
    for i, array in enumerate(arrays):
        shape = array.shape
        if len(shape) not in (1, 2):
            problem = f"X[{i}] has shape {shape}: each sequence must have shape (n_steps, n_features) or (n_steps,)."
        elif len(shape) != len(first):
            problem = f"X[{i}] has shape {shape}, but X[0] has {first}: give all sequences 2 dimensions, or all 1."
        elif shape[0] == 0:
            problem = f"Found X[{i}] with 0 time step(s) (shape={shape}) while a minimum of 1 is required{by}."
        elif shape[1:] != first[1:]:
            problem = f"X[{i}] has {shape[1]} features, but X[0] has {first[1]}: all sequences must have the same."
        elif 0 in shape:
            problem = f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required{by}."
        else:
            continue
        raise ValueError(problem)


def as_numbers(value, name, dtype=None):
    """`value` as a plain ndarray of bools, integers or floats, of any layout and byte order.

    `name` is what the errors call it, "X" or "X[3]", say. `dtype` only saves tables a second conversion.
    """
    if type(value) is not np.ndarray:
        value = _plain_array(value, name, dtype)
    kind = value.dtype.kind
    if kind in "biuf":
        return value
    if kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {value.dtype}. Pass its .real and .imag.")
    if kind in "OUST":
        try:
            return value.astype(np.float64)
        except (TypeError, ValueError) as error:
            error_type = TypeError if isinstance(error, TypeError) else ValueError
            raise error_type(f"{name} must hold numbers: {error}") from error
        except OverflowError as error:
            raise ValueError(f"{name} contains infinity or a value too large for dtype('float64'): {error}") from error
    raise TypeError(f"{name} must hold numbers, got dtype {value.dtype}. Convert it first, dates to days for example.")


def _plain_array(value, name, dtype):
    if value is None:
        raise TypeError(f"{name} is None: expected an array or a list of arrays.")
    # Only who has imported scipy.sparse can have made a sparse array, so serving need not import it to know one.
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(value):
        raise TypeError(f"Sparse data was passed, but dense data is required. Use {name}.toarray().")
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} has {np.ma.count_masked(value)} masked value(s): masked arrays not supported; fill or use "
            "lengths. Pass X.filled(number), or a list in which each sequence has its own length."
        )
    if hasattr(value, "columns") and hasattr(value, "shape"):
        return _table_array(value, name, dtype)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} has shape (n_steps, n_features) only if its rows have one length: {error}") from error


def _table_array(table, name, dtype):
    for column in getattr(table, "dtypes", ()):
        # numpy and pandas know dates by their kind, polars by a method.
        if getattr(column, "kind", "") in ("m", "M") or getattr(column, "is_temporal", bool)():
            raise TypeError(f"{name} must hold numbers, got a column of dtype {column}. Convert it first.")
    if 0 in table.shape:
        return np.empty(table.shape)
    from sklearn.utils.validation import check_array

    with np.errstate(all="ignore"):
        return check_array(
            table, dtype=(np.float64, np.float32) if dtype is None else dtype, ensure_all_finite=False, input_name="X"
        )


def to_contiguous(array, dtype):
    """`array` of numbers, C-contiguous, aligned and of native `dtype`: itself if it is so, else a copy.

    A `dtype` of None keeps float32 and makes everything else float64. Values too large become infinite.
    """
    if dtype is None:
        dtype = np.float32 if array.dtype.type is np.float32 else np.float64
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(all="ignore"):
        return np.array(array, dtype=dtype, order="C")


def check_finite(array, name, part=None):
    """Raise a ValueError naming the first NaN or infinity in `array` (C-contiguous), part "X[3]" of `name`, say."""
    first = _first_non_finite(array)
    if first is None:
        return
    index = np.unravel_index(first, array.shape)
    place = f"{part or name}[{', '.join(map(str, index))}]"
    if np.isnan(array[index]):
        raise ValueError(f"Input {name} contains NaN.\nThe first is {place}: fill or remove missing values.")
    hint = " or use dtype='float64'" if array.dtype == np.float32 else ""
    raise ValueError(
        f"Input {name} contains infinity or a value too large for {array.dtype!r}.\n"
        f"The first is {place}: clip, scale or remove such values{hint}."
    )


def _first_non_finite(array):
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(array, axis=None)
    # A finite sum has finite terms, at the speed of memory and without a temporary. The converse does not hold.
    if math.isfinite(total):
        return None
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        finite = np.isfinite(flat[start : start + CHUNK])
        if not finite.all():
            return start + int(finite.argmin())
    return None


def _check_features(estimator, X, sequences, reset):
    is_2d = sequences.layout == "2d"
    fitted = None if reset else getattr(estimator, "_input_kind", None)
    if is_2d and fitted != "sequences":
        from sklearn.utils.validation import validate_data

        # Of a table this takes the column names, of all else only the shape.
        X = X if hasattr(X, "columns") else sequences.like_input(sequences.steps)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    elif reset:
        estimator.n_features_in_ = sequences.n_features
        vars(estimator).pop("feature_names_in_", None)
    elif fitted is not None:
        expected = 1 if fitted == "2d" else estimator.n_features_in_
        if sequences.n_features != expected:
            message = f"X has {sequences.n_features} features, but {type(estimator).__name__} is expecting {expected} "
            message += "features as input."
            if is_2d:
                message += f" A 2-D X is n univariate series: ONE sequence of shape (n_steps, {expected}) is X[None]."
            elif fitted == "2d":
                message += " It was fitted on a 2-D X, n univariate series."
            raise ValueError(message)
    if reset:
        estimator._input_kind = "2d" if is_2d else "sequences"
