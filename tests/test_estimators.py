"""LSTMClassifier and LSTMRegressor: scikit-learn's checks, learning, the same bits in any company, targets and weights,
going on with training, and every way that training ends. Bad input and saving: test_estimator_faults.py.
"""

import copy
import inspect
import io
import pickle
import time
import warnings
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from lstmfast import LSTMClassifier, LSTMRegressor, SequenceScaler, make_windows, network
from lstmfast.network import Network
from lstmfast.optimizers import SOLVERS
from lstmfast.pooling import POOLINGS

# ---- scikit-learn's own checks --------------------------------------------------------------------------------------
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "A weight of 2 and a repeat give the same loss, but other "
    "mini-batches in another order. scikit-learn declares the same for its own MLPClassifier and MLPRegressor."
}
STRICT = {"xfail_strict": True} if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters else {}


@parametrize_with_checks(
    [LSTMClassifier(), LSTMRegressor()], expected_failed_checks=lambda estimator: EXPECTED_FAILURES, **STRICT
)
def test_estimator_checks(estimator, check, monkeypatch):
    # Default parameters, and one thread: on a busy machine a second one takes three times as long.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    check(estimator)


# ---- data and tools -------------------------------------------------------------------------------------------------
def ragged(n=30, n_features=3, longest=9, seed=0):
    """n sequences of 1 to `longest` steps, and labels 0, 1, 2: the rank of the first feature's mean."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, n_features)) for length in np.r_[1, rng.integers(1, longest + 1, n - 1)]]
    means = np.array([x[:, 0].mean() for x in X])
    return X, np.digitize(means, np.quantile(means, [1 / 3, 2 / 3]))


def small(cls=LSTMClassifier, **parameters):
    return cls(**{"hidden_layer_sizes": 5, "max_iter": 3, "random_state": 0, "n_jobs": 1} | parameters)


def weights_of(estimator):
    return {
        f"{number} {direction} {name}": getattr(holder, name).copy()
        for number, layer in enumerate(estimator.layers_)
        for direction, holder in enumerate(getattr(layer, "directions", [layer]))
        for name in holder.shapes
    }


def same_weights(a, b):
    a, b = weights_of(a), weights_of(b)
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def all_finite(estimator):
    return all(np.isfinite(array).all() for array in weights_of(estimator).values())


# ---- learning -------------------------------------------------------------------------------------------------------
def test_learns_digits():
    """Each image read row by row. Seeds 0 to 5 reach 0.967 to 0.978; chance alone moves 450 test images by 0.008."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X.reshape(-1, 8, 8) / 16, y, stratify=y, random_state=0)
    classifier = small(hidden_layer_sizes=32, max_iter=15, learning_rate_init=0.01).fit(X_train, y_train)
    assert classifier.score(X_test, y_test) > 0.95
    assert classifier.score(X_test, y_test) == accuracy_score(y_test, classifier.predict(X_test))
    np.testing.assert_allclose(classifier.predict_proba(X_test).sum(axis=1), 1, rtol=1e-6)
    log_probabilities = classifier.predict_log_proba(X_test)
    np.testing.assert_allclose(np.exp(log_probabilities), classifier.predict_proba(X_test), rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_learns_a_noisy_sine(loss):
    """R2 of the best forecast there is, the sine: 0.980. Of the last value: 0.920."""
    series = np.sin(np.arange(600) / 5) + np.random.default_rng(0).normal(scale=0.1, size=600)
    X, y = make_windows(series, window=20)
    regressor = small(LSTMRegressor, hidden_layer_sizes=16, max_iter=20, learning_rate_init=0.01, loss=loss)
    regressor.fit(X[:400], y[:400])
    assert 0.965 < regressor.score(X[400:], y[400:]) < 0.985
    assert regressor.score(X[400:], y[400:]) == r2_score(y[400:], regressor.predict(X[400:]))


@pytest.mark.parametrize("quantile", [0.1, 0.9])
def test_quantiles_are_quantiles(quantile):
    """Of 800 normal draws whose spread the input tells; a share's standard deviation is then 0.011."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2, 800)
    X, y = spread[:, None, None] * np.ones((1, 3, 1)), spread * rng.normal(size=800)
    regressor = small(LSTMRegressor, loss="quantile", quantile=quantile, max_iter=60, learning_rate_init=0.01)
    predictions = regressor.fit(X, y).predict(X)
    assert np.mean(y <= predictions) == pytest.approx(quantile, abs=0.04)
    # The normal quantile times the spread.
    assert np.corrcoef(predictions, spread * np.sign(quantile - 0.5))[0, 1] > 0.9


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_solver_and_pooling_learns(pooling, solver):
    X, y = ragged(60)
    rate = 0.3 if solver == "sgd" else 0.03
    parameters = {"pooling": pooling, "solver": solver, "learning_rate_init": rate, "bidirectional": True}
    classifier = small(hidden_layer_sizes=8, max_iter=40, **parameters).fit(X, y)
    assert classifier.score(X, y) > 0.85  # by chance 0.33
    assert classifier.loss_ < 0.5 * classifier.loss_curve_[0]


def test_stronger_penalties_give_smaller_weights_and_leave_biases_free():
    X, y = ragged()

    def norms(**parameters):
        fitted = weights_of(small(max_iter=40, learning_rate_init=0.02, **parameters).fit(X, y))
        kernels = np.concatenate([array.ravel() for name, array in fitted.items() if not name.endswith("bias")])
        return np.abs(kernels).sum(), (np.abs(kernels) < 0.02).mean()

    plain, l2, l1 = norms(alpha=0.0), norms(alpha=0.05), norms(alpha=0.05, l1_ratio=1.0)
    assert l2[0] < 0.7 * plain[0]
    assert l1[0] < 0.7 * plain[0]
    assert l1[1] > 2 * max(l2[1], plain[1])  # L1 makes weights zero


# ---- scikit-learn's tools on ragged lists ---------------------------------------------------------------------------
def test_ragged_lists_in_a_pipeline():
    X, y = ragged(40)
    pipeline = make_pipeline(SequenceScaler(), small(max_iter=30, learning_rate_init=0.03))
    pipeline.fit([100 + 50 * x for x in X], y)
    assert pipeline.score([100 + 50 * x for x in X], y) > 0.85
    assert pipeline.predict_proba([X[0], X[1][:1]]).shape == (2, 3)


def test_ragged_lists_in_cross_validation_and_grid_search():
    X, y = ragged(60)
    scores = cross_val_score(small(max_iter=30, learning_rate_init=0.03), X, y, cv=3, n_jobs=1)
    assert scores.shape == (3,)
    assert scores.mean() > 0.6  # by chance 0.33
    grid = {"hidden_layer_sizes": [(1,), (8,)], "pooling": ["last", "mean"]}
    search = GridSearchCV(small(max_iter=20, learning_rate_init=0.03), grid, cv=2, n_jobs=1).fit(X, y)
    assert search.best_params_["pooling"] == "mean"  # the labels are about means
    assert search.predict(X[:5]).shape == (5,)
    regressor_scores = cross_val_score(small(LSTMRegressor, max_iter=30, learning_rate_init=0.03), X, y, cv=3)
    assert regressor_scores.mean() > 0.2


def test_lists_tuples_object_arrays_and_arrays_are_the_same():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 5, 2)).astype(np.float32), rng.integers(0, 2, 12)
    objects = np.empty(12, dtype=object)
    objects[:] = list(X)
    expected = small().fit(X, y)
    for other in (list(X), tuple(X), objects, X.tolist(), np.asfortranarray(X), X.astype(np.float64)):
        assert same_weights(small().fit(other, y), expected)
        assert expected.predict_proba(other).tobytes() == expected.predict_proba(X).tobytes()


def test_data_frames_keep_their_names():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), columns=list("abcd"))
    classifier = small().fit(frame, pd.Series(["x", "y"] * 10))
    assert classifier.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert classifier.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame.rename(columns={"a": "z"}))


# ---- copies ---------------------------------------------------------------------------------------------------------
def through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "joblib": through_joblib,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_copies_predict_the_same_bits_and_go_on_alike(cls, name):
    X, y = ragged()
    estimator = small(cls, bidirectional=True, hidden_layer_sizes=(5, 4), dense_layer_sizes=3, dropout=0.1).fit(X, y)
    expected = estimator.predict(X).tobytes()
    twin = COPIES[name](estimator)
    assert same_weights(twin, estimator)
    assert twin.predict(X).tobytes() == expected
    assert twin.transform(X).tobytes() == estimator.transform(X).tobytes()
    twin.partial_fit(X, y)
    assert estimator.predict(X).tobytes() == expected  # the original does not move with its copy
    assert same_weights(estimator.partial_fit(X, y), twin)  # optimiser and random state were copied too


def test_clone_is_unfitted_and_fits_to_the_same_bits():
    X, y = ragged()
    estimator = small(dropout=0.2).fit(X, y)
    twin = clone(estimator)
    assert not hasattr(twin, "layers_")
    assert twin.get_params() == estimator.get_params()
    assert same_weights(twin.fit(X, y), estimator)


def test_parameters_are_keyword_only_and_kept_as_given():
    with pytest.raises(TypeError, match="positional"):
        LSTMClassifier((8,), True)
    with pytest.raises(TypeError, match="n_units"):
        LSTMRegressor(n_units=3)
    sizes = [8, 4]
    estimator = LSTMRegressor(sizes, loss="huber")
    assert estimator.hidden_layer_sizes is sizes
    assert set(inspect.signature(LSTMClassifier).parameters) == set(LSTMClassifier().get_params())
    assert set(LSTMRegressor().get_params()) - set(LSTMClassifier().get_params()) == {"loss", "quantile"}


# ---- the same bits --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_a_prediction_is_the_same_bits_in_any_company(monkeypatch, bidirectional, pooling, dtype):
    """At 10 million multiply-adds these predictions are shared between threads where there are some."""
    X, y = ragged(60, n_features=5, longest=40)
    classifier = small(
        hidden_layer_sizes=(48, 9), bidirectional=bidirectional, pooling=pooling, dtype=dtype, dense_layer_sizes=7,
        max_iter=1,
    ).fit(X, y)  # fmt: skip
    expected = classifier.predict_proba(X)
    assert expected.dtype == dtype
    assert len(np.unique(expected, axis=0)) > 50

    def bits(rows, n_jobs):
        classifier.set_params(n_jobs=n_jobs)
        return classifier.predict_proba([X[row] for row in rows]).tobytes()

    order = np.random.default_rng(0).permutation(len(X))
    for n_jobs in (1, 2):
        assert bits(range(len(X)), n_jobs) == expected.tobytes()
        assert bits(order, n_jobs) == expected[order].tobytes()
        assert bits(order[:7], n_jobs) == expected[order[:7]].tobytes()
        assert bits([3, 3, 3], n_jobs) == expected[[3, 3, 3]].tobytes()
        for row in range(0, len(X), 1 if n_jobs == 1 else 10):
            assert bits([row], n_jobs) == expected[row].tobytes(), row
        same_length = np.stack([X[5]] * 4)
        assert classifier.predict_proba(same_length).tobytes() == expected[[5] * 4].tobytes()
    monkeypatch.setattr(network, "PREDICT_SEQUENCES", 8)
    monkeypatch.setattr(network, "PREDICT_STEPS", 50)
    assert bits(order, 1) == expected[order].tobytes()


@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_is_the_same_bits_on_one_thread_and_two(dtype, cls):
    X, y = ragged(64, n_features=5, longest=25)
    parameters = {
        "hidden_layer_sizes": (40, 24), "bidirectional": True, "dense_layer_sizes": 20, "pooling": "mean",
        "dropout": 0.2, "recurrent_dropout": 0.2, "max_iter": 2, "dtype": dtype, "early_stopping": True,
    }  # fmt: skip
    one, two = (small(cls, **parameters | {"n_jobs": n_jobs}).fit(X, y) for n_jobs in (1, 2))
    assert same_weights(one, two)
    assert one.loss_curve_ == two.loss_curve_
    assert one.validation_scores_ == two.validation_scores_
    assert one.predict(X).tobytes() == two.predict(X).tobytes()


@pytest.mark.parametrize("random_state", [0, np.int64(7), np.random.RandomState], ids=str)
def test_random_state_decides_everything(random_state):
    X, y = ragged()

    def fit(seed):
        seed = seed(3) if callable(seed) else seed
        return small(random_state=seed, dropout=0.3, recurrent_dropout=0.3, early_stopping=True).fit(X, y)

    first, second = fit(random_state), fit(random_state)
    assert same_weights(first, second)
    assert first.loss_curve_ == second.loss_curve_
    assert not same_weights(first, fit(99))
    assert not same_weights(fit(None), fit(None))


def test_without_shuffling_and_dropout_the_order_is_that_of_the_data():
    X, y = ragged(8)
    plain = small(shuffle=False, batch_size=4, max_iter=1).fit(X, y)
    # A batch is a sum, so its own order matters only in the last bits; that of the batches matters.
    within = np.array([3, 2, 1, 0, 7, 6, 5, 4])
    across = np.array([4, 5, 6, 7, 0, 1, 2, 3])
    moved = [small(shuffle=False, batch_size=4, max_iter=1).fit([X[i] for i in o], y[o]) for o in (within, across)]
    differences = [np.abs(other.predict_proba(X) - plain.predict_proba(X)).max() for other in moved]
    assert differences[0] < 1e-6
    assert differences[1] > 1e-5


# ---- targets --------------------------------------------------------------------------------------------------------
LABELS = {
    "str": ["no", "perhaps", "yes"],
    "int": [-1, 0, 5],
    "bool": [False, True],
    "binary": [-1, 1],
    "one class": ["only"],
    "float": [1.0, 2.0, 3.0],
    "object": np.array(["a", "b", "c"], dtype=object),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind):
    labels = np.asarray(LABELS[kind])
    X, ranks = ragged(40)
    y = labels[ranks % len(labels)]
    classifier = small(max_iter=40, learning_rate_init=0.03).fit(X, y)
    assert classifier.classes_.tolist() == sorted(set(y.tolist()))
    assert classifier.classes_.dtype == classifier.predict(X).dtype == labels.dtype
    assert classifier.predict_proba(X).shape == (40, len(labels))
    assert classifier.n_outputs_ == len(labels)
    best = classifier.classes_[classifier.predict_proba(X).argmax(axis=1)]
    assert (classifier.predict(X) == best).all()
    assert classifier.score(X, y) > 0.6
    assert small(max_iter=1).fit(X, y.tolist()).classes_.tolist() == classifier.classes_.tolist()
    if len(labels) == 1:
        assert (classifier.predict_proba(X) == 1).all()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_multilabel(sparse):
    X, _ = ragged(60)
    Y = np.array([x[:, :2].mean(axis=0) > 0 for x in X]).astype(int)
    Y = np.c_[Y, 1 - Y[:, 0]]
    classifier = small(max_iter=60, learning_rate_init=0.03, pooling="mean").fit(X, csr_matrix(Y) if sparse else Y)
    assert classifier.classes_.tolist() == [0, 1, 2]
    predictions, probabilities = classifier.predict(X), classifier.predict_proba(X)
    assert predictions.shape == probabilities.shape == Y.shape
    assert set(np.unique(predictions)) == {0, 1}
    assert (predictions == (probabilities > 0.5)).all()
    assert (predictions == Y).mean() > 0.9
    assert classifier.score(X, Y) == (predictions == Y).all(axis=1).mean()
    # Columns 0 and 2 are opposites, and no softmax makes the three sum to 1.
    assert np.abs(probabilities[:, 0] + probabilities[:, 2] - 1).max() < 0.5
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.5


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_several_outputs(loss):
    X, _ = ragged(60)
    Y = np.array([x[:, :2].mean(axis=0) for x in X])
    regressor = small(LSTMRegressor, max_iter=60, learning_rate_init=0.03, pooling="mean", loss=loss).fit(X, Y)
    assert regressor.predict(X).shape == Y.shape
    assert regressor.predict(X).dtype == np.float64
    assert regressor.n_outputs_ == 2
    assert regressor.score(X, Y) > 0.8
    assert regressor.fit(X, Y[:, 0]).predict(X).shape == (60,)


def test_regression_starts_from_the_best_constant():
    X, _ = ragged(40)
    y = np.random.default_rng(0).exponential(size=40) + 1000
    weights = np.random.default_rng(1).uniform(size=40)
    frozen = {"learning_rate_init": 1e-30, "max_iter": 1, "dtype": "float64"}
    for loss, constant in [("squared_error", np.average(y, weights=weights)), ("quantile", None)]:
        regressor = small(LSTMRegressor, loss=loss, quantile=0.9, **frozen).fit(X, y, sample_weight=weights)
        bias = regressor.layers_[-1].bias[0]
        if constant is None:
            assert weights[y <= bias].sum() >= 0.9 * weights.sum() > weights[y < bias].sum()
        else:
            assert bias == pytest.approx(constant, rel=1e-12)


# ---- weights --------------------------------------------------------------------------------------------------------
def test_class_weight_is_the_sample_weight_it_stands_for():
    X, y = ragged()
    y = np.array(["a", "b", "b"])[y]
    for class_weight in ({"a": 3.0, "b": 0.5}, "balanced"):
        weighted = small(class_weight=class_weight).fit(X, y)
        explicit = small().fit(X, y, sample_weight=compute_sample_weight(class_weight, y))
        assert same_weights(weighted, explicit)
    assert not same_weights(weighted, small().fit(X, y))
    # They multiply.
    given = np.random.default_rng(0).uniform(size=len(X))
    both = small(class_weight={"a": 3.0, "b": 0.5}).fit(X, y, sample_weight=given)
    assert same_weights(both, small().fit(X, y, sample_weight=given * np.where(y == "a", 3.0, 0.5)))


@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_only_the_ratios_of_sample_weights_count(cls):
    X, y = ragged()
    weights = np.random.default_rng(0).integers(1, 9, len(X))
    expected = small(cls).fit(X, y, sample_weight=weights)
    assert same_weights(small(cls).fit(X, y, sample_weight=4.0 * weights), expected)
    assert same_weights(small(cls).fit(X, y, sample_weight=2.0**-60 * weights), expected)
    assert same_weights(small(cls).fit(X, y, sample_weight=weights.tolist()), expected)
    np.testing.assert_allclose(
        small(cls).fit(X, y, sample_weight=0.7 * weights).transform(X), expected.transform(X), atol=1e-5
    )
    assert same_weights(small(cls).fit(X, y, sample_weight=np.full(len(X), 3)), small(cls).fit(X, y))


@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("scale", [1e308, 5e-324])
def test_weights_of_any_size_count_alike(scale, cls):
    """Their sum overflows, or their mean vanishes."""
    X, y = ragged()
    weights = np.where(np.arange(len(X)) < 4, scale, 0)
    expected = small(cls).fit(X, y, sample_weight=weights / scale)
    assert same_weights(small(cls).fit(X, y, sample_weight=weights), expected)


@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_sequences_of_weight_zero_do_not_matter(cls):
    X, y = ragged()
    weights = np.r_[np.zeros(9), np.random.default_rng(0).uniform(1, 2, len(X) - 9)]
    expected = small(cls, batch_size=64).fit(X, y, sample_weight=weights)
    other_y = np.r_[(y[:9] + 1) % 3, y[9:]]
    other_X = [-3 * x for x in X[:9]] + X[9:]
    changed = small(cls, batch_size=64).fit(other_X, other_y, sample_weight=weights)
    assert same_weights(changed, expected)
    assert changed.loss_curve_ == expected.loss_curve_


def test_heavier_classes_are_predicted_more_often():
    X, _ = ragged(60)
    y = np.random.default_rng(0).integers(0, 2, 60)  # nothing to learn but the shares
    shares = [
        small(max_iter=30, learning_rate_init=0.02, class_weight={0: 1, 1: weight})
        .fit(X, y)
        .predict_proba(X)[:, 1]
        .mean()
        for weight in (0.1, 1, 10)
    ]
    assert shares[0] < 0.25 < 0.4 < shares[1] < 0.6 < 0.75 < shares[2]


# ---- going on: partial_fit and warm_start ---------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_as_one_fit_would(solver, cls):
    X, y = ragged()
    whole = small(cls, max_iter=4, dropout=0.2, solver=solver).fit(X, y)
    parts = small(cls, dropout=0.2, solver=solver)
    for epoch in range(4):
        first = {"classes": [0, 1, 2]} if epoch == 0 and cls is LSTMClassifier else {}
        assert parts.partial_fit(X, y, **first) is parts
        assert parts.n_iter_ == epoch + 1
        assert parts.stop_reason_ == "max_iter"
    assert same_weights(parts, whole)
    assert parts.loss_curve_ == whole.loss_curve_


def test_partial_fit_of_a_classifier_needs_all_classes_first():
    X, y = ragged()
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        small().partial_fit(X, y)
    classifier = small().partial_fit(X[:5], np.zeros(5, int), classes=[2, 1, 0])
    assert classifier.classes_.tolist() == [0, 1, 2]
    classifier.partial_fit(X, y).partial_fit(X, y, classes=[0, 1, 2])
    assert classifier.n_iter_ == 3
    before = weights_of(classifier)
    with pytest.raises(ValueError, match=r"y holds \[7\].*classes"):
        classifier.partial_fit(X[:3], [0, 7, 1])
    with pytest.raises(ValueError, match="not those of the first call"):
        classifier.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"y holds \[2\].*classes"):
        small().partial_fit(X, y, classes=[0, 1])
    assert all((before[name] == array).all() for name, array in weights_of(classifier).items())


def test_partial_fit_after_fit_and_with_weights():
    X, y = ragged()
    classifier = small().fit(X, y)
    assert classifier.partial_fit(X, y).n_iter_ == 4
    weights = np.arange(len(X))
    a, b = (copy.deepcopy(classifier) for _ in range(2))
    assert same_weights(a.partial_fit(X, y, sample_weight=weights), b.partial_fit(X, y, sample_weight=2 * weights))
    assert not same_weights(a, classifier.partial_fit(X, y))


def test_partial_fit_of_multilabel_and_several_outputs():
    X, y = ragged()
    Y = np.eye(3, dtype=int)[y]
    classifier = small().partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    assert classifier.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match=r"columns|classes"):
        classifier.partial_fit(X, Y[:, :2])
    with pytest.raises(ValueError, match="classes"):
        classifier.partial_fit(X, y)
    regressor = small(LSTMRegressor).partial_fit(X, Y)
    with pytest.raises(ValueError, match="3 columns"):
        regressor.partial_fit(X, Y[:, :2])


def test_warm_start_goes_on():
    X, y = ragged()
    first = small(max_iter=60, learning_rate_init=0.02).fit(X, y)
    loss = first.loss_
    going_on = copy.deepcopy(first).set_params(warm_start=True, max_iter=1).fit(X, y)
    assert going_on.loss_curve_[0] < loss * 1.1
    assert going_on.n_iter_ == 1
    assert small(max_iter=1).fit(X, y).loss_ > 1.5 * loss
    # With no rate to speak of, the weights are those of the first fit.
    frozen = first.set_params(warm_start=True, learning_rate_init=1e-30)
    before = weights_of(frozen)
    assert all((before[name] == array).all() for name, array in weights_of(frozen.fit(X, y)).items())
    assert not same_weights(frozen.set_params(warm_start=False).fit(X, y), going_on)


def test_warm_start_refuses_other_classes_and_features():
    X, y = ragged()
    for cls, message in [(LSTMClassifier, "classes"), (LSTMRegressor, None)]:
        estimator = small(cls, warm_start=True).fit(X, y)
        expected = estimator.predict(X).tobytes()
        with pytest.raises(ValueError, match="features"):
            estimator.fit([x[:, :2] for x in X], y)
        if message:
            with pytest.raises(ValueError, match=message):
                estimator.fit(X, y + 1)
        else:
            with pytest.raises(ValueError, match="columns"):
                estimator.fit(X, np.c_[y, y])
        assert estimator.predict(X).tobytes() == expected
        assert estimator.n_features_in_ == 3


@pytest.mark.parametrize("how", ["warm_start", "partial_fit"])
def test_going_on_in_another_precision(how):
    X, y = ragged()
    estimator = small(warm_start=True).fit(X, y).set_params(dtype="float64")
    estimator = estimator.fit(X, y) if how == "warm_start" else estimator.partial_fit(X, y)
    assert estimator.predict_proba(X).dtype == np.float64
    assert estimator.layers_[0].kernel.dtype == np.float64


# ---- ways to end ----------------------------------------------------------------------------------------------------
def test_stops_after_max_iter():
    X, y = ragged()
    classifier = small(max_iter=7, tol=0.0).fit(X, y)
    assert (classifier.stop_reason_, classifier.n_iter_) == ("max_iter", 7)


def test_stops_when_the_loss_does_not_improve_by_tol():
    X, y = ragged()
    classifier = small(max_iter=100, tol=10.0, n_iter_no_change=4).fit(X, y)
    assert (classifier.stop_reason_, classifier.n_iter_) == ("tol", 5)
    classifier = small(max_iter=500, tol=1e-2, n_iter_no_change=3, learning_rate_init=0.03).fit(X, y)
    assert classifier.stop_reason_ == "tol"
    curve = np.array(classifier.loss_curve_)
    improved = curve[1:] < np.minimum.accumulate(curve)[:-1] - 1e-2
    assert improved[-4:].tolist() == [True, False, False, False]


@pytest.mark.parametrize("max_time", [1e-9, 0.3])
def test_stops_after_max_time_with_a_usable_model(max_time):
    X, y = ragged(200)
    classifier = small(max_iter=10**9, tol=0.0, max_time=max_time, n_iter_no_change=10**9)
    started = time.perf_counter()
    classifier.fit(X, y)
    elapsed = time.perf_counter() - started
    assert classifier.stop_reason_ == "max_time"
    assert max_time <= elapsed < max_time + 2
    assert classifier.n_iter_ == len(classifier.loss_curve_) >= 1
    assert np.isfinite(classifier.predict_proba(X)).all()
    if max_time < 1e-6:  # after the first of seven batches
        assert classifier.n_iter_ == 1
        assert not same_weights(classifier, small(max_iter=1).fit(X, y))


def scripted(monkeypatch, cls, scores):
    """Let the validation scores be these."""
    scores = iter(scores)
    monkeypatch.setattr(cls, "_validation_score", lambda self, outputs, targets: next(scores))


@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("given", [False, True], ids=["fraction", "X_val"])
def test_early_stopping_keeps_the_best_weights(monkeypatch, given, cls):
    X, y = ragged(40)
    validation = {"X_val": X[:9], "y_val": y[:9]} if given else {}
    scores = [0.1, 0.2, 0.9, 0.8, 0.9, 0.7, 0.1]
    scripted(monkeypatch, cls, scores)
    parameters = {"early_stopping": True, "n_iter_no_change": 4, "tol": 1e-3}
    stopped = small(cls, max_iter=50, **parameters).fit(X, y, **validation)
    assert stopped.stop_reason_ == "early_stopping"
    assert stopped.validation_scores_ == scores
    assert stopped.best_validation_score_ == 0.9
    assert stopped.n_iter_ == len(stopped.loss_curve_) == 7
    scripted(monkeypatch, cls, scores)
    assert same_weights(stopped, small(cls, max_iter=3, **parameters).fit(X, y, **validation))


def test_early_stopping_scores_the_model_it_keeps():
    X, y = ragged(60)
    y = np.where(np.random.default_rng(0).uniform(size=60) < 0.3, (y + 1) % 3, y)  # noise to overfit
    X_val, y_val = ragged(50, seed=1)
    for cls in (LSTMClassifier, LSTMRegressor):
        parameters = {"hidden_layer_sizes": 20, "max_iter": 80, "learning_rate_init": 0.03}
        kept = small(cls, early_stopping=True, n_iter_no_change=30, **parameters).fit(X, y, X_val=X_val, y_val=y_val)
        assert np.argmax(kept.validation_scores_) < kept.n_iter_ - 5  # the test tests something
        assert kept.best_validation_score_ == max(kept.validation_scores_) == pytest.approx(kept.score(X_val, y_val))
        # X_val alone is watched, and changes nothing.
        watched = small(cls, **parameters).fit(X, y, X_val=X_val, y_val=y_val)
        assert watched.validation_scores_[-1] == pytest.approx(watched.score(X_val, y_val))
        assert same_weights(watched, small(cls, **parameters).fit(X, y))


def test_early_stopping_holds_out_a_stratified_fraction(monkeypatch):
    X, y = ragged(60)
    seen = []
    monkeypatch.setattr(LSTMClassifier, "_validation_score", lambda self, z, targets: seen.append(targets) or 0.0)
    small(early_stopping=True, validation_fraction=0.25, max_iter=1).fit(X, y)
    assert len(seen[0]) == 15
    assert np.bincount(seen[0]).tolist() == [5, 5, 5]
    # A class with a single sequence cannot be on both sides.
    small(early_stopping=True, validation_fraction=0.25, max_iter=1).fit(X, np.r_[9, y[1:]])
    assert len(seen[1]) == 15


def test_without_validation_there_are_no_validation_scores():
    X, y = ragged()
    classifier = small().fit(X, y)
    assert classifier.validation_scores_ is None
    assert classifier.best_validation_score_ is None


# ---- callbacks ------------------------------------------------------------------------------------------------------
def test_callbacks_see_each_epoch():
    X, y = ragged()
    first, second = [], []
    classifier = small(callbacks=[first.append, second.append], max_iter=4, learning_rate="invscaling")
    classifier.fit(X, y, X_val=X, y_val=y)
    assert first == second
    assert [info.epoch for info in first] == [1, 2, 3, 4]
    assert [info.loss for info in first] == classifier.loss_curve_
    assert [info.grad_norm for info in first] == classifier.grad_norm_curve_
    assert [info.validation_score for info in first] == classifier.validation_scores_
    assert all(a.elapsed < b.elapsed and a.learning_rate > b.learning_rate for a, b in pairwise(first))
    assert first[0].elapsed > 0
    small(callbacks=first.append, max_iter=1).fit(X, y)  # one callable will do
    assert first[4].validation_score is None


@pytest.mark.parametrize(("answer", "n_epochs"), [(True, 2), (np.True_, 2), (None, 6), (False, 6)], ids=str)
def test_a_callback_that_returns_true_stops(answer, n_epochs):
    X, y = ragged()
    calls = []
    callbacks = [lambda info: answer if info.epoch == 2 else None, lambda info: calls.append(info.epoch)]
    classifier = small(callbacks=callbacks, max_iter=6, tol=0.0).fit(X, y)
    assert classifier.n_iter_ == n_epochs
    assert classifier.stop_reason_ == ("callback" if n_epochs == 2 else "max_iter")
    assert calls == list(range(1, n_epochs + 1))  # the others hear of that epoch too
    assert same_weights(classifier, small(max_iter=n_epochs, tol=0.0).fit(X, y))


class Oops(Exception):
    pass


def raise_after(n_epochs, error):
    def callback(info):
        if info.epoch == n_epochs:
            raise error

    return callback


@pytest.mark.parametrize("fitted", [False, True], ids=["first fit", "second fit"])
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("error", [Oops, KeyboardInterrupt])
def test_an_exception_in_a_callback_leaves_the_model_trained_so_far(error, cls, fitted):
    X, y = ragged()
    estimator = small(cls)
    if fitted:
        estimator.fit(X, y)
    estimator.set_params(callbacks=raise_after(2, error), max_iter=9)
    with pytest.raises(error):
        estimator.fit(X, y)
    expected = small(cls, max_iter=2).fit(X, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 2
    assert same_weights(estimator, expected)
    assert estimator.predict(X).tobytes() == expected.predict(X).tobytes()
    if error is KeyboardInterrupt:
        assert estimator.stop_reason_ == "interrupted"
    estimator.set_params(callbacks=None).partial_fit(X, y)
    assert same_weights(estimator, expected.partial_fit(X, y))


def test_an_interrupted_early_stopping_fit_keeps_the_best_weights(monkeypatch):
    X, y = ragged()
    scripted(monkeypatch, LSTMClassifier, [0.1, 0.9, 0.2, 0.3])
    estimator = small(early_stopping=True, callbacks=raise_after(4, KeyboardInterrupt), max_iter=9)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    scripted(monkeypatch, LSTMClassifier, [0.1, 0.9])
    assert same_weights(estimator, small(early_stopping=True, max_iter=2).fit(X, y))
    assert estimator.best_validation_score_ == 0.9


# ---- progress -------------------------------------------------------------------------------------------------------
def test_verbose_1_is_a_bar(capsys):
    X, y = ragged()
    small(verbose=1, max_iter=4).fit(X, y, X_val=X, y_val=y)
    captured = capsys.readouterr()
    assert captured.out == ""
    for part in ("4.0/4 epochs", "loss=", "validation=", "100%"):
        assert part in captured.err


def test_verbose_2_is_a_line_an_epoch(capsys):
    X, y = ragged()
    classifier = small(verbose=2, max_iter=3).fit(X, y, X_val=X, y_val=y)
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert len(lines) == 3
    for epoch, (line, loss, score) in enumerate(
        zip(lines, classifier.loss_curve_, classifier.validation_scores_, strict=True), 1
    ):
        assert line.startswith(f"epoch {epoch}/3: ")
        assert f"loss {loss:.4g}" in line
        assert f"validation {score:.4g}" in line
        assert "learning rate 0.001" in line


def test_silent_by_default(capsys):
    X, y = ragged()
    small().fit(X, y)
    assert capsys.readouterr() == ("", "")


# ---- divergence -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("batch_size", [4, 64], ids=["in an epoch", "after an epoch"])
def test_divergence_is_told_and_leaves_finite_weights(batch_size, cls, solver):
    """Of 30 sequences: weights are no longer finite after the first of eight batches, or after the only one."""
    X, y = ragged()
    parameters = {"solver": solver, "learning_rate_init": 1e39, "clip_norm": None, "max_iter": 20, "alpha": 0.0}
    estimator = small(cls, batch_size=batch_size, **parameters)
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1:") as caught:
        estimator.fit(X, y)
    assert caught[0].filename == __file__  # it points at the call of fit
    assert estimator.stop_reason_ == "diverged"
    assert all_finite(estimator)
    assert np.isfinite(estimator.predict(X)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_no_learning_rate_leaves_weights_that_are_not_finite(cls, solver, dtype):
    X, y = ragged()
    for rate in (1e3, 1e10, 1e20, 1e30, 1e38, 1e100, 1e300):
        estimator = small(
            cls, solver=solver, learning_rate_init=rate, clip_norm=None, dtype=dtype, batch_size=4, max_iter=9
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(X, y)
        assert {warning.category for warning in caught} <= {ConvergenceWarning}
        assert (estimator.stop_reason_ == "diverged") == bool(caught)
        assert all_finite(estimator)
        curves = estimator.loss_curve_, estimator.grad_norm_curve_
        assert np.isfinite(curves).all()
        assert [len(curve) for curve in curves] == [estimator.n_iter_] * 2


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_training_can_go_on_after_divergence(how, solver):
    """With a smaller rate, from the last finite weights, and not with moments that are NaN."""
    X, y = ragged()
    estimator = small(LSTMRegressor, solver=solver, learning_rate_init=1e39, clip_norm=None, batch_size=4, alpha=0.0)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        estimator.fit(X, y)
    estimator.set_params(learning_rate_init=1e-3, warm_start=True)
    before = weights_of(estimator)
    estimator = estimator.partial_fit(X, y) if how == "partial_fit" else estimator.fit(X, y)
    assert estimator.stop_reason_ == "max_iter"
    assert all_finite(estimator)
    assert max(np.abs(array - before[name]).max() for name, array in weights_of(estimator).items()) > 1e-4


def test_slow_divergence_keeps_what_was_learned_before():
    """Regression with plain gradient descent and a rate past the stable one: the loss grows until it overflows."""
    X, _ = ragged()
    y = 100 * np.array([x[:, 0].mean() for x in X])
    parameters = {"solver": "sgd", "momentum": 0.0, "clip_norm": None, "alpha": 0.0, "learning_rate_init": 10.0}
    estimator = small(LSTMRegressor, max_iter=1000, n_iter_no_change=1000, **parameters)
    with pytest.warns(ConvergenceWarning, match="diverged in epoch") as caught:
        estimator.fit(X, y)
    assert 1 < estimator.n_iter_ < 1000
    assert f"epoch {estimator.n_iter_ + 1}:" in str(caught[0].message)
    assert all_finite(estimator)
    assert np.isfinite(estimator.predict(X)).all()


def test_clipping_prevents_that_divergence():
    X, _ = ragged()
    y = 100 * np.array([x[:, 0].mean() for x in X])
    parameters = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0, "learning_rate_init": 10.0}
    estimator = small(LSTMRegressor, max_iter=30, n_iter_no_change=1000, clip_norm=1.0, **parameters).fit(X, y)
    assert estimator.stop_reason_ == "max_iter"
    assert max(estimator.grad_norm_curve_) > 1  # it is the norm before clipping
    assert all_finite(estimator)


# ---- attributes and transform ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_fitted_attributes(cls):
    X, y = ragged()
    estimator = small(cls, hidden_layer_sizes=(6, 4), bidirectional=True, dense_layer_sizes=(3,), max_iter=5)
    assert not [name for name in vars(estimator) if name.endswith("_")]
    estimator.fit(X, y, X_val=X[:9], y_val=y[:9])
    n_outputs = 3 if cls is LSTMClassifier else 1
    assert estimator.n_features_in_ == 3
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.n_iter_ == 5
    assert estimator.n_layers_ == len(estimator.layers_) == 4
    assert estimator.n_outputs_ == n_outputs
    assert [type(layer).__name__ for layer in estimator.layers_] == ["LSTM", "LSTM", "Dense", "Dense"]
    assert [repr(layer) for layer in estimator.layers_[::3]] == [
        "LSTM(3, 6, bidirectional=True, dtype='float32')", f"Dense(3, {n_outputs}, dtype='float32')",
    ]  # fmt: skip
    n_recurrent = 2 * 4 * 6 * (3 + 6 + 1) + 2 * 4 * 4 * (12 + 4 + 1)
    assert estimator.n_parameters_ == n_recurrent + 8 * 3 + 3 + 4 * n_outputs
    assert estimator.n_parameters_ == sum(array.size for array in weights_of(estimator).values())
    assert all(len(curve) == 5 for curve in (estimator.loss_curve_, estimator.grad_norm_curve_))
    assert estimator.loss_ == estimator.loss_curve_[-1]
    assert estimator.best_loss_ == min(estimator.loss_curve_)
    assert len(estimator.validation_scores_) == 5
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    assert estimator.stop_reason_ == "max_iter"
    numbers = [estimator.loss_, *estimator.loss_curve_, *estimator.grad_norm_curve_, *estimator.validation_scores_]
    assert {type(number) for number in numbers} == {float}


def test_loss_curve_is_the_mean_loss_with_the_penalty():
    X, y = ragged(32)
    frozen = {"learning_rate_init": 1e-30, "max_iter": 2, "dtype": "float64", "hidden_layer_sizes": 4}
    classifier = small(alpha=0.1, batch_size=5, **frozen).fit(X, y)
    probabilities = classifier.predict_proba(X)[np.arange(32), y]
    squares = sum((a**2).sum() for name, a in weights_of(classifier).items() if not name.endswith("bias"))
    expected = -np.log(probabilities).mean() + 0.1 * squares / 2
    assert classifier.loss_curve_ == pytest.approx([expected, expected], rel=1e-9)


@pytest.mark.parametrize(
    ("parameters", "width"),
    [({}, 5), ({"bidirectional": True}, 10), ({"hidden_layer_sizes": (5, 7)}, 7), ({"dense_layer_sizes": (4, 2)}, 2)],
    ids=str,
)
def test_transform_is_what_the_output_layer_sees(parameters, width):
    X, y = ragged()
    classifier = small(dtype="float64", **parameters).fit(X, y)
    features = classifier.transform(X)
    assert features.shape == (len(X), width)
    assert len(classifier.get_feature_names_out()) == width
    output = classifier.layers_[-1]
    logits = features @ output.weight + output.bias
    exponentials = np.exp(logits)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-12)
    if "dense_layer_sizes" in parameters:
        assert (features >= 0).all()  # after the relu
    assert small(**parameters).fit_transform(X, y).shape == features.shape
    regressor = small(LSTMRegressor, dtype="float64", **parameters).fit(X, np.c_[y, -y])
    output = regressor.layers_[-1]
    expected = regressor.transform(X) @ output.weight + output.bias
    np.testing.assert_allclose(regressor.predict(X), expected, rtol=1e-12, atol=1e-12)


def test_an_interrupt_in_a_diverging_epoch_leaves_finite_weights(monkeypatch):
    """The first batch's step is far too long; the interrupt comes before the second finds out."""
    X, y = ragged()
    compute, calls = Network.loss_and_gradient, []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compute(self, *arguments, **options)

    monkeypatch.setattr(Network, "loss_and_gradient", interrupted)
    estimator = small(LSTMRegressor, learning_rate_init=1e39, clip_norm=None, batch_size=4, alpha=0.0)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert estimator.stop_reason_ == "interrupted"
    assert all_finite(estimator)
