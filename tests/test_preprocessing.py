"""SequenceScaler and make_windows."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lstmfast import SequenceScaler, make_windows

RNG = np.random.default_rng(0)
X3 = RNG.normal(loc=[1.0, -20.0, 300.0], scale=[0.1, 5.0, 60.0], size=(6, 7, 3))
RAGGED = [X3[0], X3[1, :2], X3[2, :5]]


@parametrize_with_checks([SequenceScaler(), SequenceScaler(with_mean=False), SequenceScaler(with_std=False)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# SequenceScaler ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "ragged"])
def test_agrees_with_standard_scaler_over_all_steps(X, with_mean, with_std):
    steps = np.concatenate(list(X))
    expected = StandardScaler(with_mean=with_mean, with_std=with_std).fit(steps)
    scaler = SequenceScaler(with_mean=with_mean, with_std=with_std)
    scaled = scaler.fit_transform(X)
    np.testing.assert_allclose(np.concatenate(list(scaled)), expected.transform(steps), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scaler.mean_, steps.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(scaler.var_, steps.var(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.scale_, steps.std(axis=0), rtol=1e-12)
    assert (scaler.n_steps_seen_, scaler.n_features_in_) == (len(steps), 3)
    back = scaler.inverse_transform(scaled)
    np.testing.assert_allclose(np.concatenate(list(back)), steps, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_output_is_shaped_as_the_input(dtype):
    X = X3.astype(dtype)
    scaler = SequenceScaler().fit(X)
    for convert in (scaler.transform, scaler.inverse_transform):
        out = convert(X)
        assert (type(out), out.shape, out.dtype) == (np.ndarray, X.shape, dtype)
        for ragged in (list(X), tuple(X), [X[0], X[1, :2]]):
            out = convert(ragged)
            assert isinstance(out, list)
            assert [(x.shape, x.dtype) for x in out] == [(x.shape, dtype) for x in ragged]
    one = SequenceScaler().fit(X[..., 0])
    for convert in (one.transform, one.inverse_transform):
        out = convert(X[..., 0])
        assert (out.shape, out.dtype) == (X.shape[:2], dtype)
        assert [x.shape for x in convert([X[0, :, 0], X[0, :2, 0]])] == [(7,), (2,)]
        assert convert(X[..., :1]).shape == (6, 7, 1)


def test_other_types_become_float64():
    X = np.arange(12).reshape(2, 3, 2)
    for dtype in (np.int32, np.float16, np.longdouble, object):
        assert SequenceScaler().fit_transform(X.astype(dtype)).dtype == np.float64


def test_2d_has_one_mean_over_all_values():
    X = X3[..., 2]
    scaler = SequenceScaler().fit(X)
    assert scaler.mean_.shape == scaler.var_.shape == scaler.scale_.shape == (1,)
    assert (scaler.n_features_in_, scaler.n_steps_seen_) == (7, 42)
    np.testing.assert_allclose(scaler.transform(X), (X - X.mean()) / X.std(), rtol=1e-12)
    np.testing.assert_array_equal(scaler.transform(X)[..., None], SequenceScaler().fit_transform(X[..., None]))


def test_float32_far_from_zero_is_accurate():
    X = (1e6 + RNG.normal(size=(10, 20_000, 2))).astype(np.float32)  # 0.06 apart; many blocks
    exact = X.astype(np.float64)
    scaler = SequenceScaler().fit(X)
    np.testing.assert_allclose(scaler.mean_, exact.mean(axis=(0, 1)), rtol=1e-14)
    np.testing.assert_allclose(scaler.var_, ((exact - exact.mean(axis=(0, 1))) ** 2).mean(axis=(0, 1)), rtol=1e-11)
    out = scaler.transform(X)
    np.testing.assert_array_equal(out, ((exact - scaler.mean_) / scaler.scale_).astype(np.float32))  # rounded once
    np.testing.assert_array_equal(scaler.inverse_transform(out.astype(np.float64)).astype(np.float32), X)


def test_variance_where_the_mean_itself_is_not_representable():
    X = 4e15 + np.arange(1000.0).reshape(2, 500, 1) % 10  # 0.5 apart in float64; the mean 4e15 + 4.5 is a tie
    X[0, 0] += 100
    exact = [int(x) - 4 * 10**15 for x in X.ravel()]
    variance = (sum(x * x for x in exact) - sum(exact) ** 2 / 1000) / 1000
    np.testing.assert_allclose(SequenceScaler().fit(X).var_, [variance], rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-300, 1e300, 5e-324])
def test_row_38_constant_feature(value):
    X = np.full((3, 1001, 2), value)
    X[..., 1] = RNG.normal(size=(3, 1001))
    scaler = SequenceScaler().fit(X)
    assert (scaler.mean_[0], scaler.var_[0], scaler.scale_[0]) == (value, 0, 1)
    assert not scaler.transform(X)[..., 0].any()


def test_single_step():
    assert SequenceScaler().fit_transform([[[4.0, 5.0]]])[0].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e30, 1e200, 1e308])
def test_row_39_and_66_huge_and_tiny_values_under_any_errstate(size):
    X = np.array([[[1.0, 2.0], [-1.0, 2.0], [1.0, 3.0], [-1.0, 3.0]]]) * [size, 1.0]
    with np.errstate(over="raise", under="raise", divide="raise", invalid="raise"):
        scaler = SequenceScaler().fit(X)
        out = scaler.transform(X)
    np.testing.assert_allclose(scaler.scale_, [size, 0.5], rtol=1e-3)
    np.testing.assert_allclose(out[0, :, 0], [1, -1, 1, -1], rtol=1e-3)
    assert SequenceScaler().fit([[[-1e200], [0.0]]]).scale_.tolist() == [5e199]
    wide = np.array([[[1e-40], [0.0], [1e30]]], np.float32)
    with np.errstate(all="raise"):
        assert SequenceScaler(with_mean=False).fit_transform(wide)[0, :2].tolist() == [[0.0], [0.0]]


def test_transform_copies():
    X = X3.copy()
    for scaler in (SequenceScaler(), SequenceScaler(with_mean=False, with_std=False)):
        for convert in (scaler.fit(X).transform, scaler.inverse_transform):
            out = convert(X)
            assert not np.shares_memory(out, X)
            out[:] = 0
    np.testing.assert_array_equal(X, X3)


def test_result_does_not_depend_on_the_company():
    scaler = SequenceScaler().fit(RAGGED)
    together = scaler.transform(RAGGED)
    for x, expected in zip(RAGGED, together, strict=True):
        np.testing.assert_array_equal(scaler.transform([x])[0], expected)
        np.testing.assert_array_equal(scaler.transform(x[None])[0], expected)


def test_tables_and_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X3[0], columns=["a", "b", "c"])
    scaler = SequenceScaler().set_output(transform="pandas")
    out = scaler.fit_transform(frame)
    assert list(out.columns) == list(scaler.get_feature_names_out()) == ["a", "b", "c"]
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        scaler.transform(frame.to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = scaler.inverse_transform(out.to_numpy())  # what transform gives by default has no names
    np.testing.assert_allclose(back, frame, rtol=1e-12)
    assert list(SequenceScaler().fit(X3).get_feature_names_out()) == ["x0", "x1", "x2"]


def test_scaler_pickle_and_clone():
    scaler = SequenceScaler(with_mean=False).fit(RAGGED)
    again = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(again.transform(X3), scaler.transform(X3))
    with pytest.raises(NotFittedError):
        clone(scaler).transform(X3)


def test_scaler_errors_leave_it_as_it_was():
    scaler = SequenceScaler().fit(X3)
    before = {name: np.copy(value) for name, value in vars(scaler).items()}
    bad = X3.copy()
    bad[1, 2, 0] = np.nan
    for method in (scaler.fit, scaler.transform, scaler.inverse_transform):
        with pytest.raises(ValueError, match=r"Input X contains NaN\.\nThe first is X\[1, 2, 0\]"):
            method(bad)
    for method in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(ValueError, match="X has 2 features, but SequenceScaler is expecting 3 features as input"):
            method(X3[..., :2])
        with pytest.raises(NotFittedError):
            getattr(SequenceScaler(), method.__name__)(X3)
    for name in ("with_mean", "with_std"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 'yes'"):
            SequenceScaler(**{name: "yes"}).fit(X3)
    assert vars(scaler).keys() == before.keys()
    for name, value in vars(scaler).items():
        np.testing.assert_array_equal(value, before[name])


# make_windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [None, 1, 3])
@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("horizon", [1, 2, 4])
@pytest.mark.parametrize("step", [1, 2, 20])
def test_windows_by_definition(d, window, horizon, step):
    all_series = [RNG.normal(size=length if d is None else (length, d)) for length in (9, 12)]
    X, y = make_windows(all_series, window, horizon, step)
    expected_X, expected_y = [], []
    for series in all_series:
        for start in range(0, len(series) - window - horizon + 1, step):
            expected_X.append(series[start : start + window].reshape(window, -1))
            target = series[start + window : start + window + horizon]
            expected_y.append(target[0] if horizon == 1 else target)
    np.testing.assert_array_equal(X, expected_X)
    np.testing.assert_array_equal(y, expected_y)
    n = len(expected_X)
    assert X.shape == (n, window, d or 1)
    assert y.shape == (n,) + (() if horizon == 1 else (horizon,)) + (() if d is None else (d,))
    assert X.flags.c_contiguous
    assert y.flags.c_contiguous
    assert X.flags.writeable
    assert not any(np.shares_memory(part, series) for part in (X, y) for series in all_series)


def test_one_series_is_as_a_list_of_one():
    series = RNG.normal(size=(10, 2))
    for x in (series, series[:, 0]):
        for one, listed in zip(make_windows(x, 3, 2), make_windows([x], 3, 2), strict=True):
            np.testing.assert_array_equal(one, listed)
    for numbers in (
        [1, 2, 3, 4],
        (1.0, 2.0, 3.0, 4.0),
        np.array([1, 2, 3, 4], dtype=object),
        np.arange(1, 5, dtype="u1"),
    ):
        X, y = make_windows(numbers, window=np.int64(3))
        assert (X.tolist(), y.tolist(), X.dtype) == ([[[1.0], [2.0], [3.0]]], [4.0], np.float64)
    objects = np.empty(2, dtype=object)
    objects[:] = [series[:6], series[4:]]
    assert make_windows(objects, 3)[0].shape == (6, 3, 2)
    assert make_windows(series.astype(object), 3)[0].shape == (7, 3, 2)


def test_pandas_series():
    pd = pytest.importorskip("pandas")
    values = pd.Series([1.0, 2.0, 4.0, 8.0], index=pd.date_range("2020", periods=4))
    for series, shape in ((values, (2,)), (values.to_frame(), (2, 1))):
        X, y = make_windows(series, 2)
        assert (X[..., 0].tolist(), y.ravel().tolist(), y.shape) == ([[1.0, 2.0], [2.0, 4.0]], [4.0, 8.0], shape)


def test_windows_dtype():
    one = np.arange(6)
    for dtypes, expected in [(("f4", ">f4"), "f4"), (("f4", "f8"), "f8"), (("i4", "f2"), "f8")]:
        for part in make_windows([one.astype(dtype) for dtype in dtypes], 2):
            assert part.dtype == np.dtype(expected)


@pytest.mark.parametrize(
    ("series", "options", "error", "message"),
    [
        (np.ones(9), {"window": 0}, ValueError, "^window must be at least 1, got 0"),
        (np.ones(9), {"window": 2, "horizon": -1}, ValueError, "^horizon must be at least 1, got -1"),
        (np.ones(9), {"window": 2, "step": 0}, ValueError, "^step must be at least 1, got 0"),
        (np.ones(9), {"window": 2.0}, TypeError, "^window must be an integer, got 2.0"),
        (np.ones(9), {"window": True}, TypeError, "^window must be an integer, got True"),
        (np.ones(9), {"window": "3"}, TypeError, "^window must be an integer, got '3'"),
        (
            np.ones(5),
            {"window": 4, "horizon": 2},
            ValueError,
            "^series has 5 steps, but window=4 and horizon=2 need at least 6",
        ),
        ([np.ones(9), np.ones(2)], {"window": 2}, ValueError, r"^series\[1\] has 2 steps, but .* need at least 3"),
        ([], {"window": 2}, ValueError, "^series has 0 steps"),
        (
            [np.ones((9, 2)), np.ones((9, 3))],
            {"window": 2},
            ValueError,
            r"^series\[1\] has shape \(9, 3\), but series\[0\]",
        ),
        ([np.ones((9, 2)), np.ones(9)], {"window": 2}, ValueError, r"^series\[1\] has shape \(9,\), but series\[0\]"),
        (np.ones((2, 9, 3)), {"window": 2}, ValueError, r"^series must have shape \(T,\) or \(T, d\).*got \(2, 9, 3\)"),
        (np.ones((9, 0)), {"window": 2}, ValueError, r"^series must have shape .* with d at least 1, got \(9, 0\)"),
        (3.0, {"window": 2}, ValueError, r"^series must have shape .* got \(\)"),
        (None, {"window": 2}, TypeError, "^series is None"),
        ([1.0, np.nan, 2.0], {"window": 1}, ValueError, r"^Input series contains NaN\.\nThe first is series\[1\]"),
        ([[1.0, 2.0], [3.0, np.inf]], {"window": 1}, ValueError, r"contains infinity.*\nThe first is series\[1\]\[1\]"),
        (["a", "b"], {"window": 1}, ValueError, "^series.* must hold numbers: could not convert string to float"),
        (
            np.array(["2020", "2021"], "M8[Y]"),
            {"window": 1},
            TypeError,
            "^series must hold numbers, got dtype datetime64",
        ),
    ],
)
def test_window_errors(series, options, error, message):
    with pytest.raises(error, match=message):
        make_windows(series, **options)
