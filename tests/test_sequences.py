"""check_sequences: what X may be, and what each wrong X gets. "Row" is the row of the table of bad inputs, B.1.

Row 10, NaN in padding, has no test: nothing here takes padding, sequences of different lengths come as a list.
"""

import datetime
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

from lstmfast.sequences import Sequences, check_sequences

RNG = np.random.default_rng(0)
DTYPES = [np.float32, np.float64]


class LSTMRegressor(BaseEstimator):
    """Stands in for an estimator, under the name the error messages are specified with."""


def fitted(X):
    estimator = LSTMRegressor()
    check_sequences(X, dtype=np.float32, estimator=estimator)
    return estimator


def assert_same(sequences, steps, offsets):
    assert sequences.steps.dtype == steps.dtype
    assert sequences.steps.dtype.isnative
    assert sequences.steps.flags.c_contiguous
    assert sequences.steps.flags.aligned
    assert sequences.steps.shape == steps.shape
    assert sequences.steps.tobytes() == steps.tobytes()
    assert sequences.offsets.dtype == np.int64
    assert sequences.offsets.tolist() == list(offsets)


# What X may be -------------------------------------------------------------------------------------------------------

A, B = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 3))
OBJECTS = np.empty(2, dtype=object)
OBJECTS[:] = [A, B]


RAGGED = {
    "list": [A, B],
    "tuple": (A, B),
    "object array": OBJECTS,
    "nested lists": [A.tolist(), B.tolist()],
    "lists and arrays": [A.tolist(), B],
    "object entries": [A, B.astype(object)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RAGGED)
def test_ragged_sequences_are_packed(name, dtype):
    sequences = check_sequences(RAGGED[name], dtype=dtype)
    assert_same(sequences, np.concatenate([A, B]).astype(dtype), [0, 4, 6])
    assert sequences.layout == "list"
    assert (len(sequences), sequences.n_features, sequences.lengths.tolist()) == (2, 3, [4, 2])


def test_ragged_univariate_sequences():
    arrays = [np.array([1, 2, 3]), np.array([4, 5])]
    lists = [[1, 2, 3], [4, 5]]
    for X in (arrays, lists, [lists[0], arrays[1]]):
        sequences = check_sequences(X, dtype=np.float64)
        assert_same(sequences, np.arange(1.0, 6.0).reshape(5, 1), [0, 3, 5])
        assert sequences.layout == "list-1d"


ROWS = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("X", "layout", "n_features_in", "kind"),
    [
        (ROWS, "2d", 3, "2d"),
        ([tuple(row) for row in ROWS], "2d", 3, "2d"),
        (np.array(ROWS), "2d", 3, "2d"),
        ([np.array(row) for row in ROWS], "list-1d", 1, "sequences"),
        ([ROWS[0], np.array(ROWS[1])], "list-1d", 1, "sequences"),
        ([[[value] for value in row] for row in ROWS], "list", 1, "sequences"),
    ],
    ids=["lists", "tuples", "array", "arrays", "list and array", "columns"],
)
def test_equally_long_lists_are_2d_but_arrays_are_sequences(X, layout, n_features_in, kind):
    estimator = LSTMRegressor()
    sequences = check_sequences(X, dtype=np.float32, estimator=estimator)
    assert_same(sequences, np.arange(1, 7, dtype=np.float32).reshape(6, 1), [0, 3, 6])
    assert sequences.layout == layout
    assert vars(estimator) == {"n_features_in_": n_features_in, "_input_kind": kind}


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (4, 1, 7), (3, 4, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_3d_is_a_view_without_a_copy(shape, dtype):
    X = RNG.normal(size=shape).astype(dtype)
    estimator = LSTMRegressor()
    sequences = check_sequences(X, dtype=dtype, estimator=estimator)
    assert_same(sequences, X.reshape(-1, shape[2]), range(0, shape[0] * shape[1] + 1, shape[1]))
    assert np.shares_memory(sequences.steps, X)
    assert (estimator.n_features_in_, estimator._input_kind) == (shape[2], "sequences")


def test_dtype_none_keeps_float32_only():
    one = np.ones((2, 3, 1))
    for given_dtype, expected in [("f4", "f4"), (">f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("i4", "f8"), ("?", "f8")]:
        X = one.astype(given_dtype)
        for case in (X, X[..., 0], list(X)):
            assert check_sequences(case, dtype=None).steps.dtype == expected
    assert check_sequences([one[0], one[0].astype("f4")], dtype=None).steps.dtype == "f8"


def layouts_of(X):
    """Row 21 to 24: arrays with the values of X in every layout, byte order and mood."""
    yield "fortran", np.asfortranarray(X)
    yield "negative strides", X[::-1, ::-1].copy()[::-1, ::-1]
    yield "every other", np.repeat(X, 2, axis=0)[::2]
    yield "transposed view", np.ascontiguousarray(X.T).T
    yield "big-endian", X.astype(X.dtype.newbyteorder(">"))
    yield "little-endian", X.astype(X.dtype.newbyteorder("<"))
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    buffer = bytearray(b"\0") + X.tobytes()
    misaligned = np.frombuffer(buffer, dtype=X.dtype, offset=1).reshape(X.shape)
    assert not misaligned.flags.aligned
    yield "misaligned", misaligned


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_layout_makes_no_difference(shape, dtype):
    X = RNG.normal(size=shape).astype(dtype)
    clean = check_sequences(X, dtype=dtype)
    for _, strange in layouts_of(X):
        before = strange.tobytes()
        assert_same(check_sequences(strange, dtype=dtype), clean.steps, clean.offsets)
        assert_same(check_sequences(list(strange), dtype=dtype), clean.steps, clean.offsets)
        assert strange.tobytes() == before


def test_row_21_broadcast():
    X = np.broadcast_to(np.arange(3, dtype=np.float32), (2, 4, 3))
    assert_same(check_sequences(X, dtype=np.float32), np.tile(np.arange(3, dtype=np.float32), (8, 1)), [0, 4, 8])


def test_row_22_memory_map(tmp_path):
    X = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype=np.float32, mode="r", shape=X.shape)
    sequences = check_sequences(mapped, dtype=np.float32)
    assert type(sequences.steps) is np.ndarray
    assert_same(sequences, X.reshape(-1, 4), [0, 3, 6])


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "g", "i1", "u1", "i8", "u8", "?", "O"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_row_13_number_types_are_converted(kind, dtype):
    X = np.array([[[0, 1], [1, 100], [5, 3]]]).astype(kind)
    expected = X[0].astype(float).astype(dtype)
    assert_same(check_sequences(X, dtype=dtype), expected, [0, 3])
    assert_same(check_sequences([X[0]], dtype=dtype), expected, [0, 3])


def test_row_12_and_66_subnormals_under_any_errstate():
    X = np.array([[[1e-38], [1e-40], [1e-50], [-1e-300]]])
    with np.errstate(all="raise"):
        for case in (X, [X[0]], X[..., 0]):
            steps = check_sequences(case, dtype=np.float32).steps
            assert steps.ravel().tolist() == [np.float32(1e-38), np.float32(1e-40), 0.0, 0.0]
        # The sum of these overflows, though each is finite.
        check_sequences(np.full((1, 4, 1), 3e38, np.float32), dtype=np.float32)


class ArrayLike:
    """Row 27: has nothing but __array__, and an __array_function__ that raises."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype=dtype)

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError("no array functions here")


class Subclass(np.ndarray):
    pass


def test_row_27_array_likes():
    X = RNG.normal(size=(2, 4, 3))
    expected = check_sequences(X, dtype=np.float64)
    unmasked = np.ma.masked_array(X, mask=np.zeros(X.shape, bool))
    for like in (ArrayLike(X), X.view(Subclass), unmasked, X.astype(object), [ArrayLike(x) for x in X], list(unmasked)):
        sequences = check_sequences(like, dtype=np.float64)
        assert type(sequences.steps) is np.ndarray
        assert_same(sequences, expected.steps, expected.offsets)


def test_row_27_torch_tensors():
    torch = pytest.importorskip("torch")
    X = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    for case in (torch.from_numpy(X), [torch.from_numpy(x) for x in X]):
        assert_same(check_sequences(case, dtype=np.float32), X.reshape(-1, 3), [0, 4, 8])


def test_works_without_scikit_learn_and_scipy():
    code = """
import sys
sys.modules["sklearn"] = sys.modules["scipy"] = None
import numpy as np
from lstmfast.sequences import check_sequences
for X in (np.ones((2, 3)), np.ones((2, 3, 1)), [np.ones((4, 1)), np.ones((2, 1))]):
    assert check_sequences(X, dtype=np.float32).steps.shape == (6, 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_finite_check_allocates_next_to_nothing():
    X = np.full((1, 1_000_000, 4), 3e38, np.float32)  # so large that the sum overflows and each value is looked at
    tracemalloc.start()
    try:
        check_sequences(X, dtype=np.float32)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# Sequences -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 3), st.data())
def test_take_and_split(lengths, n_features, data):
    X = [np.full((length, n_features), i) + np.arange(length)[:, None] / 8 for i, length in enumerate(lengths)]
    sequences = check_sequences(X, dtype=np.float64)
    for part, x in zip(sequences.split(sequences.steps), X, strict=True):
        assert np.shares_memory(part, sequences.steps)
        np.testing.assert_array_equal(part, x)
    chosen = data.draw(st.lists(st.integers(-len(X), len(X) - 1), max_size=8))
    mask = data.draw(st.lists(st.booleans(), min_size=len(X), max_size=len(X)))
    for indices in (np.array(chosen, dtype=np.int64), chosen, np.array(mask)):
        taken = sequences.take(indices)
        expected = [X[i] for i in np.arange(len(X))[indices]]
        assert_same(
            taken, np.concatenate([np.empty((0, n_features)), *expected]), [0, *np.cumsum([*map(len, expected)])]
        )
        assert not np.shares_memory(taken.steps, sequences.steps)


@pytest.mark.parametrize("X", [np.ones((2, 3)), np.ones((2, 3, 4)), [np.ones((2, 4)), np.ones((5, 4))]])
def test_group_and_like_input(X):
    sequences = check_sequences(X, dtype=np.float64)
    ranks = sequences.group(np.arange(len(sequences.steps)))
    same = sequences.like_input(sequences.steps)
    if isinstance(X, list):
        assert [rank.tolist() for rank in ranks] == [[0, 1], [2, 3, 4, 5, 6]]
        assert [x.shape for x in same] == [(2, 4), (5, 4)]
    else:
        assert ranks.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert same.shape == X.shape
    one_d = check_sequences([np.ones(2), np.ones(3)], dtype=np.float64)
    assert [x.shape for x in one_d.like_input(one_d.steps)] == [(2,), (3,)]


def test_sequences_are_immutable_and_picklable():
    sequences = check_sequences([A, B], dtype=np.float64)
    with pytest.raises(AttributeError):
        sequences.steps = A
    again = pickle.loads(pickle.dumps(sequences))
    assert isinstance(again, Sequences)
    assert_same(again, sequences.steps, sequences.offsets)
    with pytest.raises(ValueError, match="one row for each of the 6 steps, got 5"):
        sequences.split(np.zeros(5))
    with pytest.raises(IndexError):
        sequences.take([2])


# Tables --------------------------------------------------------------------------------------------------------------


def test_row_20_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": [3.5, 4.5], "c": [True, False]})
    estimator = LSTMRegressor()
    for reset in (True, False):
        sequences = check_sequences(frame, dtype=np.float32, estimator=estimator, reset=reset)
        assert_same(sequences, np.array([[1], [3.5], [1], [2], [4.5], [0]], np.float32), [0, 3, 6])
    assert (estimator.n_features_in_, list(estimator.feature_names_in_)) == (3, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"feature names should match.*\n.*unseen at fit time:\n- d"):
        check_sequences(frame.rename(columns={"c": "d"}), dtype=np.float32, estimator=estimator, reset=False)
    with pytest.raises(ValueError, match="must be in the same order"):
        check_sequences(frame[["b", "a", "c"]], dtype=np.float32, estimator=estimator, reset=False)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but LSTMRegressor was fitted with"):
        check_sequences(frame.to_numpy(), dtype=np.float32, estimator=estimator, reset=False)
    # Sequences have no columns, so nothing to warn about, and a new fit on them forgets the names.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sequences([np.ones(5)], dtype=np.float32, estimator=estimator, reset=False)
        check_sequences([np.ones(5)], dtype=np.float32, estimator=estimator)
    assert not hasattr(estimator, "feature_names_in_")


def test_pandas_entries_and_types():
    pd = pytest.importorskip("pandas")
    expected = check_sequences([A, B], dtype=np.float64)
    frames = [pd.DataFrame(A), pd.DataFrame(B)]
    assert_same(check_sequences(frames, dtype=np.float64), expected.steps, expected.offsets)
    series = [pd.Series([1, 2, 3]), pd.Series([4, 5])]
    for X in (series, pd.Series([s.to_numpy() for s in series], index=["x", "y"])):
        assert check_sequences(X, dtype=np.float64).layout == "list-1d"
    nullable = pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": pd.array([1.5, 2.5], dtype="Float32")})
    assert check_sequences(nullable, dtype=np.float32).steps.ravel().tolist() == [1, 1.5, 2, 2.5]
    nullable.loc[1, "a"] = pd.NA
    with pytest.raises(ValueError, match=r"Input X contains NaN\.\nThe first is X\[1, 0\]"):
        check_sequences(nullable, dtype=np.float32)
    with pytest.raises(ValueError, match="could not convert string to float: 'z'"):
        check_sequences(pd.DataFrame({"a": [1.0, 2.0], "b": ["1", "z"]}), dtype=np.float32)
    for dates in (
        pd.date_range("2020", periods=2),
        pd.date_range("2020", periods=2, tz="UTC"),
        pd.timedelta_range(0, 1),
    ):
        with pytest.raises(TypeError, match=r"X must hold numbers, got a column of dtype (datetime|timedelta)64"):
            check_sequences(pd.DataFrame({"a": [1.0] * len(dates), "b": dates}), dtype=np.float32)
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\) \(shape=\(0, 2\)\)"):
        check_sequences(frames[0].iloc[:0, :2], dtype=np.float32)
    with pytest.raises(ValueError, match=r"Found array with 0 feature\(s\) \(shape=\(4, 0\)\)"):
        check_sequences(frames[0].iloc[:, :0], dtype=np.float32)


def test_row_20_polars():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, 2], "b": [3.5, 4.5]})
    estimator = LSTMRegressor()
    assert_same(
        check_sequences(frame, dtype=np.float32, estimator=estimator),
        np.array([[1], [3.5], [2], [4.5]], np.float32),
        [0, 2, 4],
    )
    assert estimator.n_features_in_ == 2
    assert check_sequences([frame, frame[:1]], dtype=np.float32).lengths.tolist() == [2, 1]
    with pytest.raises(TypeError, match="got a column of dtype Date"):
        check_sequences(frame.with_columns(pl.lit(datetime.date(2020, 1, 1)).alias("b")), dtype=np.float32)


# What the estimator remembers ----------------------------------------------------------------------------------------


def test_fitted_on_2d():
    estimator = fitted(np.ones((4, 3)))
    for X in (np.ones((2, 3)), np.ones((2, 9, 1)), [np.ones(7), np.ones(1)]):
        check_sequences(X, dtype=np.float32, estimator=estimator, reset=False)
    with pytest.raises(ValueError, match="X has 4 features, but LSTMRegressor is expecting 3 features as input"):
        check_sequences(np.ones((2, 4)), dtype=np.float32, estimator=estimator, reset=False)
    with pytest.raises(ValueError, match=r"is expecting 1 features as input\. It was fitted on a 2-D X"):
        check_sequences(np.ones((2, 4, 3)), dtype=np.float32, estimator=estimator, reset=False)


@pytest.mark.parametrize("X", [np.ones((4, 6, 1)), [np.ones(3), np.ones(4)]], ids=["3-D", "ragged"])
def test_fitted_on_univariate_sequences(X):
    estimator = fitted(X)
    for other in (np.ones((2, 3)), [[1, 2, 3, 4, 5]], np.ones((2, 9, 1)), [np.ones(7), np.ones(1)]):
        check_sequences(other, dtype=np.float32, estimator=estimator, reset=False)
    with pytest.raises(ValueError, match=r"X has 2 features, but LSTMRegressor is expecting 1 features as input\.$"):
        check_sequences(np.ones((2, 9, 2)), dtype=np.float32, estimator=estimator, reset=False)


@pytest.mark.parametrize("X", [np.ones((4, 6, 3)), [np.ones((3, 3)), np.ones((4, 3))]], ids=["3-D", "ragged"])
def test_rows_7_and_8_fitted_on_sequences(X):
    estimator = fitted(X)
    before = dict(vars(estimator))
    for other in (np.ones((2, 11, 3)), [np.ones((1, 3)), np.ones((40, 3))]):
        check_sequences(other, dtype=np.float32, estimator=estimator, reset=False)
    for other in (np.ones((2, 6, 4)), [np.ones((6, 4))]):
        with pytest.raises(ValueError, match="X has 4 features, but LSTMRegressor is expecting 3 features as input"):
            check_sequences(other, dtype=np.float32, estimator=estimator, reset=False)
    with pytest.raises(ValueError, match=r"ONE sequence of shape \(n_steps, 3\) is X\[None\]"):
        check_sequences(np.ones((6, 3)), dtype=np.float32, estimator=estimator, reset=False)
    assert vars(estimator) == before


def test_reset_forgets_the_fit_before():
    estimator = LSTMRegressor()
    for X, n_features_in, kind in [
        (np.ones((4, 6, 3)), 3, "sequences"),
        (np.ones((4, 6)), 6, "2d"),
        ([np.ones((4, 2))], 2, "sequences"),
    ]:
        check_sequences(X, dtype=np.float32, estimator=estimator)
        assert vars(estimator) == {"n_features_in_": n_features_in, "_input_kind": kind}


def test_estimator_that_remembers_nothing_is_not_checked_against():
    for X in (np.ones((2, 3)), np.ones((2, 3, 4))):
        estimator = LSTMRegressor()
        check_sequences(X, dtype=np.float32, estimator=estimator, reset=False)
        assert vars(estimator) == {}


# What each wrong X gets ----------------------------------------------------------------------------------------------

TOO_LARGE = r"infinity or a value too large for dtype\('float32'\)"
NAN_3D = np.zeros((3, 4, 2))
NAN_3D[1, 2, 0] = np.nan
NAN_3D[2, 0, 0] = np.inf
BIG = np.zeros((1, 3, 2))
BIG[0, 1, 1] = -1e300
MASKED = np.ma.masked_array(np.ones((2, 3)), mask=[[0, 1, 0], [0, 0, 1]])
STAMPS = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")

WRONG_VALUES = {
    "1": (np.ones(5), r"got 1D array instead \(shape=\(5,\)\).\nReshape your data: X\[None, :, None\] is one"),
    "1 list": ([1.0, 2.0], r"got 1D array instead \(shape=\(2,\)\)"),
    "1 objects": (np.ones(3, dtype=object), r"got 1D array instead \(shape=\(3,\)\)"),
    "2 scalar": (3.0, r"got scalar array instead\. The axes of X are"),
    "2 0-D": (np.array(3), r"got scalar array instead\. The axes of X are"),
    "3": (np.ones((1, 2, 3, 4)), r"X: expected ndim ≤ 3, got 4 \(shape=\(1, 2, 3, 4\)\)"),
    "3 entry": ([A, np.ones((1, 2, 3))], r"X\[1\] has shape \(1, 2, 3\): each sequence must have shape"),
    "4": (
        np.ones((0, 5, 3)),
        r"^Found array with 0 sample\(s\) \(shape=\(0, 5, 3\)\) while a minimum of 1 is required",
    ),
    "4 2-D": (np.ones((0, 5)), r"^Found array with 0 sample\(s\) \(shape=\(0, 5\)\) while a minimum of 1 is"),
    "4 list": ([], r"^Found array with 0 sample\(s\) \(shape=\(0,\)\) while a minimum of 1 is required"),
    "5": (np.ones((2, 0, 3)), r"0 time step\(s\) \(shape=\(2, 0, 3\)\) while a minimum of 1 is required"),
    "5 2-D": (np.ones((2, 0)), r"0 feature\(s\) \(shape=\(2, 0\)\) while a minimum of 1 is required"),
    "5 lists": ([[], []], r"0 feature\(s\) \(shape=\(2, 0\)\) while a minimum of 1 is required"),
    "5 ragged": ([A, B[:0], A[:0]], r"Found X\[1\] with 0 time step\(s\) \(shape=\(0, 3\)\)"),
    "5 ragged 1-D": ([[1.0], []], r"Found X\[1\] with 0 time step\(s\) \(shape=\(0,\)\)"),
    "6": (np.ones((2, 5, 0)), r"0 feature\(s\) \(shape=\(2, 5, 0\)\) while a minimum of 1 is required"),
    "6 ragged": ([np.ones((5, 0))], r"0 feature\(s\) \(shape=\(5, 0\)\) while a minimum of 1 is required"),
    "9": (NAN_3D, r"^Input X contains NaN\.\nThe first is X\[1, 2, 0\]: fill or remove"),
    "9 2-D": (NAN_3D[:, :, 0], r"^Input X contains NaN\.\nThe first is X\[1, 2\]"),
    "9 ragged": ([A[:, :2], *NAN_3D], r"^Input X contains NaN\.\nThe first is X\[2\]\[2, 0\]"),
    "9 ragged 1-D": ([[1.0], [2.0, np.nan]], r"^Input X contains NaN\.\nThe first is X\[1\]\[1\]"),
    "9 None": ([[1.0, None]], r"^Input X contains NaN\.\nThe first is X\[0, 1\]"),
    "9 inf": (NAN_3D[2:], rf"^Input X contains {TOO_LARGE}\.\nThe first is X\[0, 0, 0\]: clip, "),
    "9 -inf": (-NAN_3D[2:], rf"^Input X contains {TOO_LARGE}\.\nThe first is X\[0, 0, 0\]: clip, "),
    "9 inf, -inf": ([[np.inf, -np.inf]], rf"^Input X contains {TOO_LARGE}\.\nThe first is X\[0, 0\]"),
    "11": (BIG, rf"{TOO_LARGE}\.\nThe first is X\[0, 1, 1\].*or use dtype='float64'"),
    "11 2-D": (BIG[..., 1], rf"{TOO_LARGE}\.\nThe first is X\[0, 1\]"),
    "11 ragged": ([BIG[0]], rf"{TOO_LARGE}\.\nThe first is X\[0\]\[1, 1\]"),
    "11 int": ([[1, 10**400]], r"contains infinity or a value too large for dtype\('float64'\)"),
    "14": (np.ones((2, 3, 1), complex), "^Complex data not supported: X has dtype complex128"),
    "14 2-D": ([[1.0, 2.0 + 1j]], "^Complex data not supported"),
    "14 ragged": ([A, B + 0j], r"^Complex data not supported: X\[1\] has dtype complex128"),
    "15": (np.array([["1", "a"]], object), "^X must hold numbers: could not convert string to float: 'a'"),
    "15 U": (np.array([["b", "a"]]), "could not convert string to float"),
    "15 text": (["some", "texts"], r"^X\[0\] must hold numbers: could not convert string to float"),
    "15 cells": (np.array([[A, None]], dtype=object), "^X must hold numbers: setting an array element"),
    "17": (MASKED, r"^X has 2 masked value\(s\): masked arrays not supported; fill or use lengths"),
    "17 ragged": ([A, np.ma.masked_equal(B, B[0, 0])], r"^X\[1\] has 1 masked value\(s\)"),
    "18 widths": ([A, B, B[:, :2], B[:, :1]], r"^X\[2\] has 2 features, but X\[0\] has 3: all sequences must"),
    "18 ranks": ([A, B, A[0]], r"^X\[2\] has shape \(3,\), but X\[0\] has \(4, 3\): give all"),
    "18 scalar": ([A, 1.0], r"^X\[1\] has shape \(\): each sequence must have shape"),
    "18 rows": ([A, [[1, 2, 3], [4, 5]]], r"^X\[1\] has shape \(n_steps, n_features\) only if its rows"),
}
WRONG_KINDS = {
    "2 None": (None, "^X is None: expected an array or a list of arrays"),
    "2 None entry": ([A, None], r"^X\[1\] is None"),
    "2 dict": ({"a": 1}, r"^X must hold numbers: .*'dict'"),
    "2 generator": ((x for x in [A, B]), r"^X must hold numbers: .*'generator'"),
    "15 dict": (np.array([[1.0, {"a": 1}]]), r"^X must hold numbers: .* must be a string or a real number"),
    "16": (STAMPS[None, :, None], r"^X must hold numbers, got dtype datetime64\[D\]"),
    "16 delta": ([STAMPS - STAMPS[0]], r"^X\[0\] must hold numbers, got dtype timedelta64\[D\]"),
    "16 objects": ([[datetime.datetime(2020, 1, 1)]], r"^X\[0\] must hold numbers: .*datetime"),
    "16 records": (np.zeros((2, 3), dtype=[("a", float)]), "^X must hold numbers, got dtype"),
    "19": (scipy.sparse.csr_matrix(A), "^Sparse data was passed, but dense data is required"),
    "19 array": (scipy.sparse.coo_array(A), r"but dense data is required\. Use X.toarray\(\)"),
    "19 ragged": ([scipy.sparse.csr_array(A), B], r"but dense data is required\. Use X\[0\].toarray\(\)"),
}


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [pytest.param(X, ValueError, message, id=f"row {row}") for row, (X, message) in WRONG_VALUES.items()]
    + [pytest.param(X, TypeError, message, id=f"row {row}") for row, (X, message) in WRONG_KINDS.items()],
)
def test_bad_X(X, error, message):
    estimator = fitted(np.ones((4, 3)))
    before = dict(vars(estimator))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # row 11 and 14: numpy's own warnings must not get out either
        for reset in (False, True):
            with pytest.raises(error, match=message):
                check_sequences(X, dtype=np.float32, estimator=estimator, reset=reset)
            with np.errstate(all="raise"), pytest.raises(error):
                check_sequences(X, dtype=np.float32)
    assert vars(estimator) == before


def test_empty_X_names_the_estimator():
    for X in (np.ones((0, 5, 3)), [], np.ones((2, 0)), [np.ones((0, 1))]):
        with pytest.raises(ValueError, match=r"while a minimum of 1 is required by LSTMRegressor\.$"):
            check_sequences(X, dtype=np.float32, estimator=LSTMRegressor())


def test_row_11_float64_model_takes_large_values():
    assert check_sequences(BIG, dtype=np.float64).steps.min() == -1e300


def test_first_bad_value_beyond_the_first_chunk():
    X = np.zeros((3, 40_000, 2), np.float32)
    X[2, 39_999, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[2, 39999, 1\]"):
        check_sequences(X, dtype=np.float32)


def test_mixed_column_names_change_nothing():
    pd = pytest.importorskip("pandas")
    estimator = fitted(np.ones((4, 3)))
    before = dict(vars(estimator))
    with pytest.raises(TypeError, match="Feature names are only supported if all input features have string names"):
        check_sequences(pd.DataFrame(np.ones((2, 2)), columns=["a", 0]), dtype=np.float32, estimator=estimator)
    assert vars(estimator) == before


def test_row_26_inputs_are_never_written_to():
    X = RNG.normal(size=(3, 4, 2)).astype(np.float32)
    before = X.copy()
    for case in (X, list(X), X[..., 0], X.astype(object), X[::-1]):
        sequences = check_sequences(case, dtype=np.float32, estimator=LSTMRegressor())
        sequences.take([2, 0]).steps[:] = 7
        np.testing.assert_array_equal(X, before)
