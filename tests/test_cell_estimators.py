"""Estimators with every cell: gradients of the whole network, learning, files and copies with the same bits, streams,
going on with training, and activations without bounds.

What an estimator does with any cell is in test_estimators.py, test_estimator_faults.py and test_runtime.py.
"""

import pickle
import warnings

import numpy as np
import pytest
from reference import PARAMETERS, Cell
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from test_gradients import Case, check

import lstmfast
from lstmfast import LSTMClassifier, LSTMRegressor, ModelFormatError, _core, runtime
from lstmfast.layers import GRU, LSTM, RNN
from lstmfast.persistence import read_model, write_model
from lstmfast.pooling import POOLINGS

KINDS = tuple(PARAMETERS)
ESTIMATORS = (LSTMClassifier, LSTMRegressor)
LAYERS = {"gru": GRU, "gru-reset-before": GRU, "rnn": RNN}  # the others: LSTM


def small(cls, cell, **parameters):
    return cls(**{"hidden_layer_sizes": 9, "max_iter": 2, "random_state": 0, "n_jobs": 1, "cell": cell} | parameters)


def ragged(n=20, n_features=3, longest=9, seed=0):
    """n sequences of 1 to `longest` steps, and labels 0, 1, 2: the rank of the first feature's mean."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, n_features)).astype(np.float32) for length in rng.integers(1, longest + 1, n)]
    means = np.array([x[:, 0].mean() for x in X])
    return X, np.digitize(means, np.quantile(means, [1 / 3, 2 / 3]))


X, Y = ragged()


def outputs(estimator, X=X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def weights_of(estimator):
    return estimator._network.parameters.copy()


# ---- the objective --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_objective(kind, pooling):
    check(Case(cell=Cell(kind), pooling=pooling, hidden=(9,)))
    check(Case(
        cell=Cell(kind, "softsign"), pooling=pooling, hidden=(5, 4), dense=(6,), bidirectional=True, dropout=0.3,
        recurrent_dropout=0.4, alpha=0.1, l1_ratio=0.5, weighted=True, loss="squared", seed=1,
    ))  # fmt: skip


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_objective_with_each_activation(kind, activation):
    cell = Cell(kind, activation, _core.RECURRENT_ACTIVATIONS[KINDS.index(kind) % 2], 2.0)
    check(Case(cell=cell, hidden=(17,), recurrent_dropout=0.4, pooling="mean", n_features=2, n_outputs=2, seed=2))


# ---- learning -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def digits():
    """Images of digits read row by row, as (training, test) halves of 500."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)[:1000] / 16
    return (images[:500], labels[:500]), (images[500:], labels[500:1000])


@pytest.mark.parametrize("kind", KINDS)
def test_learns_which_digit(kind, digits):
    """Written by other people than those that it learned from. Chance alone: 0.1."""
    train, test = digits
    classifier = small(LSTMClassifier, kind, hidden_layer_sizes=24, max_iter=15, learning_rate_init=0.01).fit(*train)
    assert classifier.score(*test) > 0.6
    assert classifier.stop_reason_ == "max_iter"
    assert type(classifier.layers_[0]) is LAYERS.get(kind, LSTM)


@pytest.mark.parametrize("kind", KINDS)
def test_learns_a_number(kind, digits):
    """How much of the ink is in the lower half: the rows have to be weighed by when they came. The mean's R2: 0."""
    (x_train, _), (x_test, _) = digits

    def share(images):
        return images[:, 4:].sum(axis=(1, 2)) / images.sum(axis=(1, 2))

    regressor = small(LSTMRegressor, kind, hidden_layer_sizes=24, max_iter=20, learning_rate_init=0.01)
    assert regressor.fit(x_train, share(x_train)).score(x_test, share(x_test)) > 0.7


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_activation_trains(kind, activation, digits):
    """Without NaN, from ordinary data and the default clip_norm: 64 steps, one pixel each. Every parameter moves."""
    (images, labels), _ = digits
    pixels, labels = images[:200].reshape(200, 64, 1), labels[:200]
    for recurrent_activation in _core.RECURRENT_ACTIVATIONS:
        options = {"activation": activation, "recurrent_activation": recurrent_activation, "learning_rate_init": 0.01}
        classifier = small(LSTMClassifier, kind, max_iter=1, alpha=0.0, **options).fit(pixels, labels)
        before = {name: array.copy() for name, array in classifier._network.named_parameters().items()}
        classifier.set_params(warm_start=True, max_iter=3).fit(pixels, labels)
        assert classifier.stop_reason_ == "max_iter"
        assert np.isfinite(classifier.loss_curve_ + classifier.grad_norm_curve_).all()
        assert np.isfinite(classifier.predict_proba(pixels)).all()
        assert classifier.layers_[0].cell.activation == activation
        for name, array in classifier._network.named_parameters().items():
            assert (array != before[name]).any(), name


def test_relu_learns(digits):
    train, test = digits
    classifier = small(LSTMClassifier, "lstm", activation="relu", hidden_layer_sizes=24, max_iter=15)
    assert classifier.set_params(learning_rate_init=0.01).fit(*train).score(*test) > 0.6


def diverged(cls, kind, activation):
    """After plain gradient descent with a huge rate. A bounded activation bounds the gradient: the rate must be inf."""
    rate = 1e39 if activation == "tanh" or kind == "lstm-cell-recurrent" else 1e30
    options = {
        "activation": activation, "solver": "sgd", "momentum": 0.0, "clip_norm": None, "alpha": 0.0, "batch_size": 20,
        "learning_rate_init": rate, "max_iter": 50, "n_iter_no_change": 50,
    }  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="diverged in epoch") as caught:
        estimator = small(cls, kind, **options).fit(X, Y)
    assert caught[0].filename == __file__
    return estimator


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_divergence_stops_the_fit(cls, kind, activation):
    estimator = diverged(cls, kind, activation)
    assert estimator.stop_reason_ == "diverged"
    assert np.isfinite(weights_of(estimator)).all()
    assert len(estimator.loss_curve_) == estimator.n_iter_ < 50
    assert np.isfinite(estimator.loss_curve_ + estimator.grad_norm_curve_).all()
    estimator.set_params(learning_rate_init=1e-3, clip_norm=1.0, max_iter=2)
    assert estimator.fit(X, Y).stop_reason_ == "max_iter"


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh"])
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_divergence_leaves_a_model_that_predicts(cls, activation):
    for kind in KINDS:
        assert np.isfinite(outputs(diverged(cls, kind, activation))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_clipping_the_gradient_prevents_that(kind):
    options = {"activation": "elu", "solver": "sgd", "learning_rate_init": 0.5, "max_iter": 20}
    estimator = small(LSTMRegressor, kind, **options).fit(X, np.sin(100.0 * Y) * 100)
    assert estimator.stop_reason_ in ("max_iter", "tol")
    assert max(estimator.grad_norm_curve_) > 1  # it is the norm before clipping
    assert np.isfinite(estimator.predict(X)).all()


# ---- the same bits --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_files_pickles_and_clones_have_the_same_bits(kind, cls, tmp_path):
    for number, options in enumerate([
        {}, {"bidirectional": True, "hidden_layer_sizes": (5, 8), "activation": "elu"},
        {"dtype": "float64", "recurrent_activation": "hard_sigmoid", "dense_layer_sizes": 4, "pooling": "mean"},
    ]):  # fmt: skip
        estimator = small(cls, kind, **options).fit(X, Y)
        expected, path = outputs(estimator), tmp_path / f"model {number}"
        estimator.save(path)
        loaded = lstmfast.load(path)
        for twin in (loaded, pickle.loads(pickle.dumps(estimator)), clone(estimator).fit(X, Y)):
            assert type(twin) is cls
            assert same_bits(outputs(twin), expected)
            assert twin.get_params() == estimator.get_params()
            assert repr(twin.layers_) == repr(estimator.layers_)
        assert loaded.get_params()["cell"] == kind
        assert same_bits(outputs(loaded.partial_fit(X, Y)), outputs(pickle.loads(pickle.dumps(loaded)))), "usable"
        model = runtime.load(path)
        prediction = model.predict_proba(X) if cls is LSTMClassifier else model.predict(X)
        if options.get("dtype") == "float64":
            np.testing.assert_allclose(prediction, expected, atol=1e-5)
        else:
            assert same_bits(prediction, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_bits_of_a_fit(kind):
    x, y = ragged(n=64, longest=20, n_features=16)
    fits = []
    for n_jobs in (1, 2, 3):
        options = {"dropout": 0.2, "recurrent_dropout": 0.2, "pooling": "mean", "batch_size": 64, "n_jobs": n_jobs}
        fits.append(small(LSTMClassifier, kind, hidden_layer_sizes=48, **options).fit(x, y))
    for fit in fits[1:]:
        assert same_bits(weights_of(fit), weights_of(fits[0]))
        assert same_bits(fit.predict_proba(x), fits[0].predict_proba(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_does_not_depend_on_its_company(kind):
    estimator = small(LSTMClassifier, kind, hidden_layer_sizes=(17, 5)).fit(X, Y)
    expected = estimator.predict_proba(X)
    order = np.random.default_rng(0).permutation(len(X))
    assert same_bits(estimator.predict_proba([X[k] for k in order]), expected[order])
    assert same_bits(np.concatenate([estimator.predict_proba([x]) for x in X]), expected)


# ---- streams --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_predict_steps_are_predict(kind, cls, pooling):
    for options in ({"hidden_layer_sizes": (9, 17)}, {"dtype": "float64", "activation": "relu"}):
        estimator = small(cls, kind, pooling=pooling, **options).fit(X, Y)
        stream, whole = estimator.stream(), outputs(estimator)
        for x, steps, end in zip(X, estimator.predict_steps(X), whole, strict=True):
            stream.reset()
            found = np.array([stream.step(row.astype(stream.dtype)) for row in x])
            assert same_bits(found, steps)
            assert np.array_equal(np.squeeze(steps[-1]), np.squeeze(end))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_a_stream_comes_back(kind, pooling):
    estimator = small(LSTMRegressor, kind, pooling=pooling, hidden_layer_sizes=(9, 4)).fit(X, Y)
    stream = estimator.stream(2)
    x = np.random.default_rng(1).normal(size=(7, 2, 3)).astype(np.float32)
    for step in x[:3]:
        stream.step(step)
    state, twin, other = stream.state, stream.copy(), estimator.stream(2)
    expected = np.array([stream.step(step) for step in x[3:]])
    assert same_bits(np.array([twin.step(step) for step in x[3:]]), expected)
    for steps_before in (0, 1):  # the state is kept in two halves by turns
        for step in x[:steps_before]:
            other.step(step)
        other.state = pickle.loads(pickle.dumps(state))
        assert same_bits(np.array([other.step(step) for step in x[3:]]), expected)
    assert [h.shape for h in state["h"]] == [(2, 9), (2, 4)]
    assert [None if c is None else c.shape for c in state["c"]] == (
        [(2, 9), (2, 4)] if kind.startswith("lstm") else [None, None]
    )
    state["h"][0][...] = 9  # a copy: nobody's memory but the caller's
    assert np.abs(stream.state["h"][0]).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_state_changes_nothing(kind):
    stream = small(LSTMRegressor, kind).fit(X, Y).stream(2)
    x = np.random.default_rng(1).normal(size=(3, 2, 3)).astype(np.float32)
    stream.step(x[0])
    good, twin = stream.state, stream.copy()
    bad_c = [None] if kind.startswith("lstm") else [np.zeros((2, 9))]
    for key, value in [("c", bad_c), ("h", [np.zeros((2, 8))]), ("h", [None]), ("h", []), ("c", [])]:
        with pytest.raises((ValueError, TypeError), match=rf"\b{key}\b"):
            stream.state = good | {key: value}
    for step in x[1:]:
        assert same_bits(stream.step(step), twin.step(step))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_stream_start_anew(kind):
    stream = small(LSTMRegressor, kind, pooling="max").fit(X, Y).stream(3)
    fresh, kept = stream.copy(), stream.copy()
    x = np.random.default_rng(1).normal(size=(4, 3, 3)).astype(np.float32)
    for step in x[:2]:
        stream.step(step)
        kept.step(step)
    stream.reset([1])
    for step in x[2:]:
        y, new, old = stream.step(step), fresh.step(step), kept.step(step)
        assert same_bits(y[1], new[1])
        assert same_bits(y[[0, 2]], old[[0, 2]])


def test_streams_of_a_runtime_model(tmp_path):
    for kind in KINDS:
        estimator = small(LSTMClassifier, kind, activation="relu").fit(X, Y)
        estimator.save(tmp_path / kind)
        ours, theirs = runtime.load(tmp_path / kind).stream(), estimator.stream()
        for row in X[0]:
            assert same_bits(ours.step(row), theirs.step(row))


# ---- arguments, and going on with training --------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["cell", "activation", "recurrent_activation"])
@pytest.mark.parametrize("value", ["GRU", "", None, 3, ["lstm"]], ids=repr)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_bad_arguments(cls, name, value):
    estimator = small(cls, "lstm").fit(X, Y)
    before = outputs(estimator)
    with pytest.raises(ValueError, match=rf"The '{name}' parameter of {cls.__name__} must be a str among"):
        estimator.set_params(**{name: value}).fit(X, Y)
    assert same_bits(outputs(estimator), before)


@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_goes_on_and_refuses_another_cell(kind):
    estimator = small(LSTMRegressor, kind, warm_start=True).fit(X, Y)
    first = weights_of(estimator)
    estimator.fit(X, Y)
    assert not same_bits(weights_of(estimator), first)
    before = outputs(estimator)
    changes = [{"cell": KINDS[KINDS.index(kind) - 1]}, {"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}]
    for change in changes:
        ((name, value),) = change.items()
        there = estimator.get_params()[name]
        with pytest.raises(ValueError, match=f"network with {name}={there}, not {value}; fit with warm_start=False"):
            estimator.set_params(**change).fit(X, Y)
        with pytest.raises(ValueError, match=f"network with {name}={there}, not {value}"):
            estimator.partial_fit(X, Y)
        assert same_bits(outputs(estimator), before)
        estimator.set_params(**{name: there})
    assert estimator.set_params(warm_start=False, cell=KINDS[KINDS.index(kind) - 1]).fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_everything_at_once(kind, cls):
    options = {
        "hidden_layer_sizes": (7, 9), "bidirectional": True, "dropout": 0.3, "recurrent_dropout": 0.3,
        "dense_layer_sizes": (6,), "pooling": "max", "early_stopping": True, "max_iter": 5, "l1_ratio": 0.5,
        "activation": "elu", "recurrent_activation": "hard_sigmoid",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = small(cls, kind, **options).fit(X, Y)
    assert np.isfinite(outputs(estimator)).all()
    assert len(estimator.layers_) == 4
    assert estimator.n_parameters_ == sum(
        array.size
        for layer in estimator.layers_
        for owner in getattr(layer, "directions", [layer])
        for array in owner.arrays.values()
    )
    assert estimator.transform(X).shape == (20, 6)


# ---- files of before and of others ----------------------------------------------------------------------------------
NEW = ("cell", "activation", "recurrent_activation", "clip")


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_files_from_before_there_were_cells(cls, tmp_path):
    estimator = small(cls, "lstm", hidden_layer_sizes=(9, 4), bidirectional=True).fit(X, Y)
    estimator.save(tmp_path / "new")
    metadata, arrays = read_model(tmp_path / "new")
    removed = {name: [part for part in ("parameters", "network") if metadata[part].pop(name, 0) != 0] for name in NEW}
    assert set(removed["cell"]) == {"parameters", "network"}
    write_model(tmp_path / "old", metadata, arrays)
    loaded = lstmfast.load(tmp_path / "old")
    assert loaded.get_params() == estimator.get_params()
    assert same_bits(outputs(loaded), outputs(estimator))
    model = runtime.load(tmp_path / "old")
    assert same_bits(model.predict_proba(X) if cls is LSTMClassifier else model.predict(X), outputs(estimator))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "new").read_bytes()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("lstm", "cell", "gru"), ("lstm", "cell", "lstm-peephole"), ("gru", "cell", "lstm"), ("gru", "cell", "rnn"),
        ("lstm-full-peephole", "cell", "lstm"), ("gru", "cell", "gru-reset-before"), ("lstm", "cell", "transformer"),
        ("lstm", "cell", 3), ("lstm", "cell", None), ("lstm", "cell", ["lstm"]), ("lstm", "activation", "gelu"),
        ("lstm", "activation", None), ("gru", "recurrent_activation", "tanh"), ("lstm", "recurrent_activation", {}),
        ("lstm", "clip", 0), ("lstm", "clip", "1"), ("lstm", "clip", -1.5), ("rnn", "clip", [1.0]), ("rnn", "gate", 1),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves(kind, name, value, tmp_path):
    small(LSTMRegressor, kind).fit(X, Y).save(tmp_path / "good")
    metadata, arrays = read_model(tmp_path / "good")
    metadata["network"][name] = value
    write_model(tmp_path / "bad", metadata, arrays)
    for load in (lstmfast.load, runtime.load):
        with pytest.raises(ModelFormatError, match="not consistent"):
            load(tmp_path / "bad")
