"""The light runtime and streams: the same bits as the estimator, whichever way the steps come."""

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import lstmfast
from lstmfast import LSTMClassifier, LSTMRegressor, ModelFormatError, runtime
from lstmfast.pooling import POOLINGS

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(length, 3)).astype(np.float32) for length in (5, 1, 9, 4, 9, 2, 7)]
LABELS = np.array(["a", "b", "c", "a", "b", "c", "a"])
LIVE = [
    *({"pooling": pooling} for pooling in POOLINGS), {"conv_layers": ((5, 3),)},
    {"conv_layers": ((4, 1), (6, 3), (3, 2)), "pooling": "attention"},
]  # fmt: skip


def small(cls, **options):
    return cls(**{"hidden_layer_sizes": (9,), "max_iter": 2, "random_state": 0} | options)


ESTIMATORS = {
    "labels": lambda **options: small(LSTMClassifier, **options).fit(X, LABELS),
    "one class": lambda **options: small(LSTMClassifier, **options).fit(X, ["x"] * 7),
    "multilabel": lambda **options: small(LSTMClassifier, **options).fit(X, RNG.integers(0, 2, (7, 17))),
    "numbers": lambda **options: small(LSTMRegressor, **options).fit(X, np.arange(7.0)),
    "several numbers": lambda **options: small(LSTMRegressor, **options).fit(X, RNG.normal(size=(7, 2))),
}
ARCHITECTURES = {
    "last": {},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max"},
    "attention": {"pooling": "attention"},
    "conv": {"conv_layers": ((5, 3), (17, 2)), "pooling": "attention"},
    "conv float64": {"conv_layers": ((3, 9),), "dtype": "float64"},
    "stacked": {"hidden_layer_sizes": (17, 1, 33), "dense_layer_sizes": (5, 7), "pooling": "mean"},
    "float64": {"dtype": "float64", "dense_layer_sizes": (3,)},
}


def fitted(**options):
    return small(LSTMClassifier, **options).fit(X, LABELS)


@pytest.fixture
def saved(tmp_path):
    def save(estimator):
        estimator.save(tmp_path / "model")
        return tmp_path / "model"

    return save


# ---- the model -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_estimators_bits(name, saved):
    estimator = ESTIMATORS[name]()
    model = runtime.load(saved(estimator))
    expected = estimator.predict(X)
    assert np.array_equal(model.predict(X), expected)
    assert model.predict(X).dtype == expected.dtype
    if hasattr(estimator, "predict_proba"):
        assert np.array_equal(model.predict_proba(X), estimator.predict_proba(X))
        assert np.array_equal(model.classes, estimator.classes_)
    else:
        with pytest.raises(AttributeError, match="regressor"):
            model.predict_proba(X)
    for ours, theirs in zip(model.predict_steps(X), estimator.predict_steps(X), strict=True):
        assert np.array_equal(ours, theirs)


def test_float64_weights_are_rounded(saved):
    estimator = fitted(dtype="float64")
    model = runtime.load(saved(estimator))
    assert model.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(model.predict_proba(X), estimator.predict_proba(X), atol=1e-5)


def test_bidirectional_models_predict_but_have_no_steps(saved):
    estimator = fitted(bidirectional=True)
    model = runtime.load(saved(estimator))
    assert np.array_equal(model.predict_proba(X), estimator.predict_proba(X))
    for action in (model.stream, estimator.stream, lambda: model.predict_steps(X), lambda: estimator.predict_steps(X)):
        with pytest.raises(ValueError, match="bidirectional model has no"):
            action()


def test_bad_input_and_bad_files(saved, tmp_path):
    path = saved(fitted())
    model = runtime.load(path)
    with pytest.raises(ValueError, match="X has 2 features, but this model takes 3"):
        model.predict([x[:, :2] for x in X])
    with pytest.raises(ValueError, match="NaN"):
        model.predict([np.full((2, 3), np.nan)])
    with pytest.raises(ValueError, match="precision must be one of"):
        runtime.load(path, precision="float16")
    with pytest.raises(ValueError, match="n_jobs"):
        runtime.load(path, n_jobs=0)
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFormatError):
        runtime.load(tmp_path / "cut")
    with pytest.raises(FileNotFoundError):
        runtime.load(tmp_path / "nowhere")


def test_two_dimensional_x_keeps_its_number_of_steps(saved):
    series = RNG.normal(size=(6, 4))
    estimator = LSTMRegressor(3, max_iter=1).fit(series, np.arange(6))
    model = runtime.load(saved(estimator))
    assert np.array_equal(model.predict(series), estimator.predict(series))
    with pytest.raises(ValueError, match="X has 5 columns, but this model takes 4"):
        model.predict(np.zeros((2, 5)))
    assert model.predict(np.zeros((2, 5, 1))).shape == (2,)


def test_imports_no_scikit_learn_and_no_scipy(saved):
    path = saved(fitted())
    code = (
        "import sys; from lstmfast import runtime; import numpy as np;"
        f"model = runtime.load({str(path)!r}); model.predict(np.zeros((1, 4, 3), 'float32'));"
        "model.stream().step(np.zeros(3, 'float32'));"
        "print([name for name in ('sklearn', 'scipy', 'safetensors', 'tqdm') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_many_threads_get_the_serial_bits(saved):
    model = runtime.load(saved(fitted(hidden_layer_sizes=(33,))), n_jobs=2)
    expected, wrong = model.predict_proba(X), []

    def work():
        for _ in range(20):
            if not np.array_equal(model.predict_proba(X), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- streams ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_are_the_bits_of_predict_steps_and_end_as_predict_does(name, architecture):
    estimator = ESTIMATORS[name](**ARCHITECTURES[architecture])
    stream, steps = estimator.stream(), estimator.predict_steps(X)
    whole = estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)
    for x, expected, end in zip(X, steps, whole, strict=True):
        stream.reset()
        found = np.array([stream.step(row.astype(stream.dtype)) for row in x])
        assert np.array_equal(found, expected)
        assert np.array_equal(np.squeeze(expected[-1].astype(end.dtype)), np.squeeze(end))


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 13, 100])
@pytest.mark.parametrize("options", LIVE, ids=str)
def test_many_sequences_at_once_are_the_bits_of_one_at_a_time(n, options):
    estimator = fitted(**options, hidden_layer_sizes=(17, 8))
    steps = RNG.normal(size=(4, n, 3)).astype(np.float32)
    together, alone = estimator.stream(n), [estimator.stream() for _ in range(n)]
    for x in steps:
        y = together.step(x)
        assert y.shape == (n, 3)
        assert np.array_equal(y, [stream.step(row) for stream, row in zip(alone, x, strict=True)])


@pytest.mark.parametrize(("n", "units"), [(1, 513), (2, 520), (3, 1), (300, 65)])
def test_threads_do_not_change_bits(n, units):
    """Over the threshold, threads own units or, for many sequences, rows."""
    estimator = fitted(hidden_layer_sizes=(units, 9), max_iter=1)
    streams = [estimator.set_params(n_jobs=n_jobs).stream(n) for n_jobs in (1, 2)]
    for x in RNG.normal(size=(3, n, 3)).astype(np.float32):
        assert np.array_equal(*[stream.step(x) for stream in streams])


def test_out_is_where_the_output_goes():
    stream = fitted().stream(2)
    x, out = X[0][:2], np.empty((2, 3), np.float32)
    expected = stream.copy().step(x)
    assert stream.step(x, out=out) is out
    assert np.array_equal(out, expected)


def test_one_sequence_takes_one_or_two_dimensions():
    stream = fitted().stream()
    twin = stream.copy()
    assert stream.step(X[0][0]).shape == (3,)
    assert twin.step(X[0][:1]).shape == (1, 3)
    assert np.array_equal(stream.step(X[0][1]), twin.step(X[0][1]))


def test_other_kinds_of_x_are_converted():
    stream = fitted().stream()
    expected = stream.copy().step(X[0][0])
    wide = np.zeros(6, np.float32)
    wide[::2] = X[0][0]
    read_only = X[0][0].copy()
    read_only.flags.writeable = False
    for x in (X[0][0].tolist(), X[0][0].astype(np.float64), X[0][0].astype(">f4"), wide[::2], read_only):
        assert np.array_equal(stream.copy().step(x), expected)


@pytest.mark.parametrize("options", LIVE, ids=str)
def test_state_comes_back(options):
    stream = fitted(**options, hidden_layer_sizes=(9, 4)).stream(2)
    x = RNG.normal(size=(6, 2, 3)).astype(np.float32)
    for step in x[:3]:
        stream.step(step)
    state, twin = stream.state, stream.copy()
    expected = [stream.step(step) for step in x[3:]]
    assert np.array_equal([twin.step(step) for step in x[3:]], expected)
    stream.state = pickle.loads(pickle.dumps(state))
    assert np.array_equal([stream.step(step) for step in x[3:]], expected)
    assert [h.shape for h in state["h"]] == [c.shape for c in state["c"]] == [(2, 9), (2, 4)]
    assert state["n_steps"].tolist() == [3, 3]
    state["h"][0][...] = 9  # a copy: nobody's memory but the caller's
    assert np.abs(stream.state["h"][0]).max() <= 1


@pytest.mark.parametrize("rows", [[1], np.array([False, True, False]), slice(1, 2), 1], ids=repr)
@pytest.mark.parametrize("options", LIVE, ids=str)
def test_rows_start_anew(options, rows):
    stream = fitted(**options).stream(3)
    x = RNG.normal(size=(4, 3, 3)).astype(np.float32)
    before = stream.copy()
    for step in x[:2]:
        stream.step(step)
        before.step(step)
    stream.reset(rows)
    fresh = fitted(**options).stream(3)
    for step in x[2:]:
        y, kept, new = stream.step(step), before.step(step), fresh.step(step)
        assert np.array_equal(y[[0, 2]], kept[[0, 2]])
        assert np.array_equal(y[1], new[1])


BAD_STEPS = {
    "features": (np.zeros((2, 4), np.float32), None, ValueError, r"x must have shape \(2, 3\), got \(2, 4\)"),
    "rows": (np.zeros((3, 3), np.float32), None, ValueError, r"x must have shape \(2, 3\), got \(3, 3\)"),
    "one row": (np.zeros(3, np.float32), None, ValueError, r"x must have shape \(2, 3\), got \(3,\)"),
    "strings": ([["a"] * 3] * 2, None, ValueError, "x"),
    "None": (None, None, TypeError, "x"),
    "NaN": (np.full((2, 3), np.nan, np.float32), None, ValueError, "x contains (NaN|infinity)"),
    "infinity": (np.full((2, 3), -np.inf), None, ValueError, "x contains (NaN|infinity)"),
    "too large": (np.full((2, 3), 1e300), None, ValueError, "x contains (NaN|infinity)"),
    "out shape": (X[0][:2], np.zeros((2, 4), np.float32), ValueError, r"out must be .*\(2, 3\)"),
    "out dtype": (X[0][:2], np.zeros((2, 3)), ValueError, "out must be .*float32"),
    "out order": (X[0][:2], np.zeros((3, 2), np.float32).T, ValueError, "out must be a C-contiguous"),
    "out read-only": (X[0][:2], np.broadcast_to(np.float32(0), (2, 3)), ValueError, "out must be .*writable"),
    "out kind": (X[0][:2], [[0.0] * 3] * 2, ValueError, "out must be"),
}


@pytest.mark.parametrize("options", [{}, LIVE[-1]], ids=["", "conv"])
@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_bad_step_changes_nothing(name, options):
    x, out, error, message = BAD_STEPS[name]
    stream = fitted(**options).stream(2)
    stream.step(X[2][:2])
    before = stream.state
    with pytest.raises(error, match=message):
        stream.step(x, out)
    assert pickle.dumps(stream.state) == pickle.dumps(before)


@pytest.mark.parametrize("options", [{}, LIVE[-1]], ids=["", "conv"])
def test_a_bad_state_changes_nothing(options):
    stream = fitted(**options).stream(2)
    stream.step(X[2][:2])
    before = stream.state
    good = stream.state
    for bad in (
        None,
        {},
        good | {"more": 1},
        good | {"h": []},
        good | {"h": [np.zeros((2, 8))]},
        good | {"c": [np.full((2, 9), np.nan)]},
        good | {"pooled": np.zeros((3, 9))},
        good | {"n_steps": [1, -1]},
        good | {"n_steps": [1.0, 1.0]},
        good | {"conv": []},
        good | {"conv": [np.full((2, 1, 3), np.inf), *good.get("conv", [])[1:]]},
        good | {"attention": [[0.0, -1.0]] * 2},
    ):
        with pytest.raises((ValueError, TypeError)):
            stream.state = bad
        assert pickle.dumps(stream.state) == pickle.dumps(before)
    with pytest.raises(IndexError):
        stream.reset([2])
    assert pickle.dumps(stream.state) == pickle.dumps(before)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, None])
def test_bad_number_of_sequences(n):
    with pytest.raises((ValueError, TypeError), match="n must be"):
        fitted().stream(n)


def test_a_stream_is_not_pickled():
    with pytest.raises(TypeError, match="keep its model and its state"):
        pickle.dumps(fitted().stream())


def test_predict_steps_of_arrays_and_lists():
    estimator = fitted()
    array = np.stack([X[2], X[4]])
    steps = estimator.predict_steps(array)
    assert steps.shape == (2, 9, 3)
    assert np.array_equal(steps, estimator.predict_steps([X[2], X[4]]))
    np.testing.assert_allclose(steps.sum(axis=2), 1, rtol=1e-6)


def test_module_is_reached_from_the_package():
    assert lstmfast.runtime is runtime
