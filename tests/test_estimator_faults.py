"""LSTMClassifier and LSTMRegressor given what they must refuse or survive; saving, loading and forged files.

Numbers in test ids are those of the list of faults that this project tests against: 28 to 40 targets and weights, 43 to
56 hyper-parameters, 65 and 66 the floating-point environment, 93 inconsistent files. X itself: test_sequences.py; the
file format: test_persistence.py.
"""

import os
import pickle
import subprocess
import sys
import warnings
from functools import reduce

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from test_estimators import all_finite, ragged, same_weights, small, weights_of

import lstmfast
from lstmfast import LSTMClassifier, LSTMRegressor, ModelFormatError
from lstmfast.persistence import read_model, write_model

BOTH = [LSTMClassifier, LSTMRegressor]
X, Y = ragged(10)
NAN, INF = float("nan"), float("inf")


def state_of(estimator):
    """All that fitting set, in bytes: a failed fit must not change one of them."""
    parameters = estimator.get_params(deep=False)
    fitted = {name: value for name, value in sorted(vars(estimator).items()) if name not in parameters}
    assert "_network" in fitted
    return pickle.dumps(fitted)


@pytest.fixture(scope="module")
def pickled():
    """Fitted estimators, as a new copy for each test."""
    return {cls: pickle.dumps(small(cls, dropout=0.1).fit(X, Y)) for cls in BOTH}


@pytest.fixture
def fitted(pickled):
    return lambda cls: pickle.loads(pickled[cls])


def assert_refused(fitted, cls, error, message, *data, parameters=None, **keywords):
    """fit raises this error, on a new estimator, which stays unfitted, and on a fitted one, which stays as it was."""
    parameters = parameters or {}
    new = small(cls, **parameters)
    with pytest.raises(error, match=message):
        new.fit(*data, **keywords)
    with pytest.raises(NotFittedError):
        new.predict(X)
    old = fitted(cls)
    predicted, state = old.predict(X).tobytes(), state_of(old)
    old.set_params(**parameters)
    with pytest.raises(error, match=message):
        old.fit(*data, **keywords)
    if not parameters:
        with pytest.raises(error, match=message):
            old.partial_fit(*data, **{k: v for k, v in keywords.items() if k == "sample_weight"})
        old.set_params(warm_start=True)
        with pytest.raises(error, match=message):
            old.fit(*data, **keywords)
    assert state_of(old) == state
    assert old.set_params(n_jobs=1).predict(X).tobytes() == predicted


def value_error_of(action):
    """The ValueError that an action raises, or None."""
    try:
        action()
    except ValueError as error:
        return error
    return None


# ---- targets --------------------------------------------------------------------------------------------------------
def changed(y, index, value):
    y = np.array(y, dtype=float)
    y[index] = value
    return y


TARGETS = {
    "28-short": (BOTH, Y[:9], ValueError, r"inconsistent numbers of samples: \[10, 9\]"),
    "28-long": (BOTH, np.r_[Y, 0], ValueError, r"inconsistent numbers of samples: \[10, 11\]"),
    "29-NaN": (BOTH, changed(Y, 3, NAN), ValueError, "Input y contains NaN"),
    "29-inf": (BOTH, changed(Y, 3, INF), ValueError, "Input y contains infinity"),
    "29-minus-inf": (BOTH, changed(Y, 3, -INF), ValueError, "Input y contains infinity"),
    "29-too-large": ([LSTMRegressor], changed(Y, 3, 1e300), ValueError, "Input y contains infinity or a value too"),
    "29-multilabel": ([LSTMClassifier], changed(np.eye(3)[Y], (3, 1), NAN), ValueError, "Input y contains NaN"),
    "29-several": ([LSTMRegressor], changed(np.c_[Y, Y], (3, 1), NAN), ValueError, "Input y contains NaN"),
    "30": (BOTH, None, ValueError, "requires y to be passed, but the target y is None"),
    "32": ([LSTMRegressor], np.array(list("abcdefghij")), ValueError, "could not convert string to float"),
    "33": ([LSTMClassifier], Y + 0.5, ValueError, "Unknown label type: continuous"),
    "33-several": ([LSTMClassifier], np.c_[Y, Y], ValueError, "several multiclass columns"),
    "36-mixed": ([LSTMClassifier], np.array([1, "a"] * 5, dtype=object), TypeError, "labels must be all strings"),
    "36-mixed-list": ([LSTMClassifier], [1, "a"] * 5, TypeError, "labels must be all strings"),
    "36-none": ([LSTMClassifier], np.array([None, "a"] * 5, dtype=object), (TypeError, ValueError), "label"),
    "scalar": (BOTH, 3.0, (TypeError, ValueError), "y|array-like"),
    "3-D": (BOTH, np.zeros((10, 2, 2)), ValueError, r"dim|label type|shape"),
    "complex": (BOTH, Y + 1j, ValueError, "Complex data not supported"),
    "dates": ([LSTMRegressor], Y.astype("M8[D]"), (TypeError, ValueError), "datetime|date|number"),
    "masked": (BOTH, np.ma.array(Y, mask=Y == 1), ValueError, "masked"),
    "empty": (BOTH, [], ValueError, r"inconsistent numbers of samples|0 sample"),
    "no-columns": (BOTH, np.zeros((10, 0)), ValueError, r"0 feature|label type|\(10, 0\)"),
}


@pytest.mark.parametrize(("name", "cls"), [(name, cls) for name, case in TARGETS.items() for cls in case[0]])
def test_bad_targets(fitted, name, cls):
    _, y, error, message = TARGETS[name]
    assert_refused(fitted, cls, error, message, X, y)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("y", [Y[:, None], pd.DataFrame({"y": Y})], ids=["array", "frame"])
def test_column_of_targets_31(cls, y):
    estimator = small(cls)
    with pytest.warns(DataConversionWarning, match="column-vector y was passed when a 1d array was expected"):
        estimator.fit(X, y)
    assert same_weights(estimator, small(cls).fit(X, Y))
    assert estimator.predict(X).shape == (10,)


def test_one_class_34():
    classifier = small(early_stopping=True).fit(X, ["a"] * 10)
    assert classifier.predict(X).tolist() == ["a"] * 10
    assert (classifier.predict_proba(X) == 1).all()
    assert classifier.loss_ == pytest.approx(0, abs=1e-2)  # the penalty is left


@pytest.mark.parametrize(
    ("name", "y", "arguments", "message"),
    [
        ("35-first-call", Y, {}, "classes must be passed on the first call to partial_fit"),
        ("35-unseen-first", Y, {"classes": [0, 1]}, r"y holds \[2\], which are not among the classes"),
        ("35-no-classes", Y, {"classes": []}, "classes"),
        ("35-multilabel", np.eye(3)[Y], {"classes": [0, 1]}, "classes|columns"),
        ("35-length", Y[:5], {"classes": [0, 1, 2]}, "inconsistent numbers of samples"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[0] == "3" else "",
)
def test_bad_first_partial_fit(name, y, arguments, message):
    classifier = small()
    with pytest.raises(ValueError, match=message):
        classifier.partial_fit(X, y, **arguments)
    assert not [attribute for attribute in vars(classifier) if attribute.endswith("_")]
    assert classifier.partial_fit(X, Y, classes=[0, 1, 2]).n_iter_ == 1


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        (np.r_[Y[:9], 5], {}, r"y holds \[5\], which are not among the classes of the first fit: \[0 1 2\]"),
        (Y, {"classes": [0, 1]}, "are not those of the first call"),
        (np.array(["0", "1"] * 5), {}, "not among the classes"),
        (np.eye(3)[Y], {}, "not among the classes"),
    ],
    ids=["35-unseen", "35-other-classes", "35-strings", "35-multilabel"],
)
def test_bad_second_partial_fit(fitted, y, arguments, message):
    classifier = fitted(LSTMClassifier)
    state = state_of(classifier)
    with pytest.raises(ValueError, match=message):
        classifier.partial_fit(X, y, **arguments)
    assert state_of(classifier) == state


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("n", "batch_size"), [(1, 32), (2, 32), (10, 3), (10, 9), (10, 10), (10, 1)])
def test_odd_numbers_of_sequences_37(cls, n, batch_size):
    estimator = small(cls, batch_size=batch_size).fit(X[:n], Y[:n])
    assert estimator.predict(X).shape == (10,)
    assert all_finite(estimator)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_constant_data_38(cls, early_stopping):
    constant = np.full((10, 4, 2), 7.0)
    for data, y in [(constant, Y), (X, np.zeros(10, int)), (constant, np.full(10, 3))]:
        estimator = small(cls, early_stopping=early_stopping, max_iter=60, learning_rate_init=0.02).fit(data, y)
        assert np.isfinite(estimator.loss_curve_).all()
        assert all_finite(estimator)
    assert estimator.predict(constant) == pytest.approx(np.full(10, 3), abs=0.2)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("scale", [1e-30, 1e30, 3e38])
def test_huge_ranges_of_x_39(cls, scale):
    """The gates saturate."""
    huge = [np.clip(x, -1, 1) * scale for x in X]
    for pooling in ("last", "mean", "max"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)  # it may say that it cannot learn
            estimator = small(cls, pooling=pooling).fit(huge, Y)
        assert all_finite(estimator)
        predict = getattr(estimator, "predict_proba", estimator.predict)
        assert np.isfinite(predict(huge)).all()


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e30), ("float32", 3e38), ("float64", 1e200)])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_huge_ranges_of_y_39(loss, dtype, scale):
    y = (Y - 1) * scale
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        regressor = small(LSTMRegressor, loss=loss, dtype=dtype).fit(X, y)
    assert all_finite(regressor)
    assert np.isfinite(regressor.predict(X)).all()
    assert np.isfinite(regressor.loss_) or regressor.stop_reason_ == "diverged"


# ---- weights --------------------------------------------------------------------------------------------------------
WEIGHTS = {
    "negative": (changed(np.ones(10), 4, -1), "must be finite and not negative, got -1.0 at index 4"),
    "NaN": (changed(np.ones(10), 4, NAN), "must be finite and not negative, got nan at index 4"),
    "infinite": (changed(np.ones(10), 4, INF), "must be finite and not negative, got inf at index 4"),
    "short": (np.ones(9), r"shape \(10,\).*got shape \(9,\)"),
    "column": (np.ones((10, 1)), r"shape \(10,\).*got shape \(10, 1\)"),
    "scalar": (2.0, r"shape \(10,\).*got shape \(\)"),
    "zero": (np.zeros(10), "zero for every sequence"),
    "strings": (["1"] * 10, "sample_weight must be numbers"),
    "complex": (np.ones(10) + 1j, "sample_weight must be numbers"),
    "objects": ([None] * 10, "sample_weight must be numbers"),
    "masked": (np.ma.array(np.ones(10), mask=Y == 1), "masked"),
}


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("name", WEIGHTS, ids=lambda name: f"40-{name}")
def test_bad_sample_weights(fitted, name, cls):
    weights, message = WEIGHTS[name]
    assert_refused(fitted, cls, ValueError, message, X, Y, sample_weight=weights)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({0: -1, 1: 1, 2: 1}, "class_weight|negative"),
        ({0: NAN, 1: 1, 2: 1}, "class_weight|finite"),
        ({0: INF, 1: 1, 2: 1}, "class_weight|finite"),
        ({0: 0, 1: 0, 2: 0}, "class_weight|zero"),
        ("fair", "class_weight"),
        (3, "class_weight"),
        ({"nobody": 1}, "class_weight"),
    ],
    ids=lambda value: f"40-{value}" if not isinstance(value, str) or value == "fair" else "",
)
def test_bad_class_weights(fitted, class_weight, message):
    assert_refused(fitted, LSTMClassifier, ValueError, message, X, Y, parameters={"class_weight": class_weight})


def test_class_weight_is_not_for_multilabel_targets():
    with pytest.raises(ValueError, match="class_weight is for one label a sequence"):
        small(class_weight="balanced").fit(X, np.eye(3, dtype=int)[Y])


@pytest.mark.parametrize("seed", range(4))
def test_weights_that_are_all_held_out(seed):
    """Whichever the split, no division by the zero that is left."""
    weights = np.r_[1.0, np.zeros(9)]
    classifier = small(early_stopping=True, validation_fraction=0.5, random_state=seed)
    error = value_error_of(lambda: classifier.fit(X, Y, sample_weight=weights))
    assert "sample_weight is zero" in str(error) if error else all_finite(classifier)


# ---- validation data ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": X}, "X_val and y_val go together"),
        ({"y_val": Y}, "X_val and y_val go together"),
        ({"X_val": X, "y_val": Y[:9]}, r"inconsistent numbers of samples: \[10, 9\]"),
        ({"X_val": [x[:, :2] for x in X], "y_val": Y}, "X has 2 features"),
        ({"X_val": [x * NAN for x in X], "y_val": Y}, "contains NaN"),
        ({"X_val": X, "y_val": changed(Y, 0, NAN)}, "Input y contains NaN"),
        ({"X_val": [], "y_val": []}, "0 sample"),
    ],
    ids=["X only", "y only", "length", "features", "NaN X", "NaN y", "empty"],
)
def test_bad_validation_data(fitted, validation, message, cls):
    state = state_of(old := fitted(cls))
    with pytest.raises(ValueError, match=message):
        old.fit(X, Y, **validation)
    assert state_of(old) == state


def test_validation_data_with_unseen_classes():
    with pytest.raises(ValueError, match=r"y holds \[3\], which are not among the classes"):
        small().fit(X, Y, X_val=X, y_val=Y + 1)


# ---- hyper-parameters -----------------------------------------------------------------------------------------------
SIZES = [0, -1, 2.5, "8", True, None, NAN, 2**31, [4, 0], [4, -49], [4.0], ["a"], [[4]], {}]
BAD_PARAMETERS = [
    *[("43", "hidden_layer_sizes", size, "hidden_layer_sizes") for size in SIZES],
    *[("43", "dense_layer_sizes", size, "dense_layer_sizes") for size in SIZES if size != {}],
    ("44", "hidden_layer_sizes", (), r"at least one recurrent layer, got \(\)"),
    *[("45", "learning_rate_init", rate, "learning_rate_init") for rate in (0, -1e-3, NAN, INF, -INF, "auto", None)],
    ("45", "learning_rate", "fast", "constant.*|cosine"),
    ("45", "learning_rate", 0.1, "learning_rate"),
    *[("46", "batch_size", size, "batch_size") for size in (0, -1, 2.5, "auto", None, NAN)],
    *[("47", "max_iter", n, "max_iter") for n in (0, -1, 2.5, "many", None, INF)],
    *[
        ("48", name, rate, rf"{name}.*\[0.0, 1.0\)")
        for name in ("dropout", "recurrent_dropout")
        for rate in (-0.1, 1.0, NAN, INF, 110.26, "half", None)
    ],
    ("49", "solver", "newton", "solver.*adamw"),
    ("49", "solver", None, "solver"),
    ("49", "pooling", "median", "pooling.*mean"),
    ("49", "dtype", "float16", "float32.*float64.*float16"),
    ("49", "dtype", "int32", "float32.*float64"),
    ("49", "dtype", None, "float32.*float64"),
    ("49", "dtype", "no type", "float32.*float64"),
    *[("50", "random_state", seed, "random_state") for seed in (-1, 2**40, "a", 1.5, np.random.default_rng(0))],
    ("51", "n_jobs", 0, "n_jobs must not be 0"),
    *[("51", "n_jobs", n, "n_jobs") for n in (2.0, "all", NAN, True)],
    *[("52", "validation_fraction", share, "validation_fraction") for share in (0, 1, 1.5, -0.1, NAN, None)],
    *[("other", "alpha", value, "alpha") for value in (-1, NAN, INF, "a", None)],
    *[("other", "l1_ratio", value, "l1_ratio") for value in (-0.1, 1.1, NAN, None)],
    *[
        ("other", name, value, name)
        for name in ("momentum", "beta_1", "beta_2")
        for value in (-0.1, 1.0, NAN, INF, None, "a")
    ],
    *[("other", "epsilon", value, "epsilon") for value in (0, -1, NAN, INF, None)],
    *[("other", "clip_norm", value, "clip_norm") for value in (0, -1, NAN, INF, "a")],
    *[("other", "tol", value, "tol") for value in (-1e-4, NAN, INF, None)],
    *[("other", "n_iter_no_change", value, "n_iter_no_change") for value in (0, -1, 1.5, None)],
    *[("other", "max_time", value, "max_time") for value in (0, -1, NAN, INF, "1 min")],
    *[("other", "verbose", value, "verbose") for value in (-1, "yes", None)],
    *[
        ("other", name, value, name)
        for name in ("bidirectional", "nesterovs_momentum", "shuffle", "early_stopping", "warm_start")
        for value in ("yes", None, 2.0)
    ],
    *[("other", "callbacks", value, "callbacks") for value in (3, [3], ["print"], "print", [print, None])],
]
BAD_LOSSES = [
    ("49", "loss", "log_loss", "loss.*huber"),
    ("49", "loss", None, "loss"),
    *[("other", "quantile", value, "quantile") for value in (0, 1, -0.5, 1.5, NAN, None, "a")],
]


def id_of(value):
    return repr(value) if not isinstance(value, str) else value


@pytest.mark.parametrize(("row", "name", "value", "message"), BAD_PARAMETERS, ids=id_of)
def test_bad_hyper_parameters(fitted, row, name, value, message):
    assert_refused(fitted, LSTMRegressor, (TypeError, ValueError), message, X, Y, parameters={name: value})


@pytest.mark.parametrize(("row", "name", "value", "message"), BAD_LOSSES, ids=id_of)
def test_bad_losses(fitted, row, name, value, message):
    assert_refused(fitted, LSTMRegressor, ValueError, message, X, Y, parameters={name: value})


@pytest.mark.parametrize("name", ["hidden_layer_sizes", "learning_rate_init", "dropout", "solver", "n_jobs", "dtype"])
def test_bad_hyper_parameters_of_classifiers(fitted, name):
    parameters = {name: {"solver": "newton", "dtype": "int8"}.get(name, -1 if name != "n_jobs" else 0)}
    assert_refused(fitted, LSTMClassifier, ValueError, name, X, Y, parameters=parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layer_sizes": np.int64(8)}, {"hidden_layer_sizes": np.array([8, 4])}, {"hidden_layer_sizes": [8]},
        {"dense_layer_sizes": np.int32(3)}, {"dense_layer_sizes": ()}, {"batch_size": 10**9},
        {"n_jobs": -5}, {"n_jobs": 10**6}, {"n_jobs": None}, {"n_jobs": np.int64(1)}, {"tol": 0}, {"alpha": 0},
        {"random_state": None}, {"random_state": np.int64(3)}, {"random_state": np.random.RandomState(0)},
        {"dtype": np.float64}, {"dtype": np.dtype("float32")}, {"clip_norm": None}, {"max_time": 60},
        {"learning_rate_init": np.float32(0.01)}, {"momentum": 0}, {"verbose": False}, {"callbacks": []},
    ],
    ids=str,
)  # fmt: skip
def test_good_hyper_parameters(parameters):
    assert np.isfinite(small(LSTMRegressor, **parameters).fit(X, Y).predict(X)).all()


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("n", "fraction"), [(1, 0.1), (10, 0.99), (10, 0.91)])
def test_validation_fraction_that_leaves_nothing_52(fitted, cls, n, fraction):
    parameters = {"early_stopping": True, "validation_fraction": fraction}
    message = f"validation_fraction={fraction} of {n} sequences leaves 0 for training"
    assert_refused(fitted, cls, ValueError, message, X[:n], Y[:n], parameters=parameters)


def test_unknown_parameters_53():
    with pytest.raises(ValueError, match=r"Invalid parameter 'unknown'.*Valid parameters are.*'alpha'"):
        LSTMClassifier().set_params(unknown=1)
    with pytest.raises(TypeError, match="unknown"):
        LSTMClassifier(unknown=1)


# ---- after fit ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", BOTH)
def test_parameters_changed_after_fit_54(fitted, cls):
    estimator = fitted(cls)
    expected = estimator.predict(X).tobytes(), estimator.transform(X).tobytes()
    others = {
        "hidden_layer_sizes": (7, 2), "bidirectional": True, "pooling": "max", "dense_layer_sizes": 3,
        "dtype": "float64", "dropout": 0.5,
    }  # fmt: skip
    for name, value in others.items():
        estimator.set_params(**{name: value})
        assert (estimator.predict(X).tobytes(), estimator.transform(X).tobytes()) == expected, name
    estimator.fit(X, Y)
    assert [repr(layer) for layer in estimator.layers_[:2]] == [
        "LSTM(3, 7, bidirectional=True, dtype='float64')", "LSTM(14, 2, bidirectional=True, dtype='float64')",
    ]  # fmt: skip
    assert same_weights(estimator, small(cls, **others).fit(X, Y))


@pytest.mark.parametrize("name", ["hidden_layer_sizes", "pooling", "bidirectional", "dense_layer_sizes"])
def test_warm_start_does_not_pass_over_another_architecture_54(fitted, name):
    """Refit uses the new one, or says that it cannot."""
    value = {"hidden_layer_sizes": 7, "pooling": "mean", "bidirectional": True, "dense_layer_sizes": 3}[name]
    estimator = fitted(LSTMClassifier).set_params(warm_start=True, **{name: value})
    if error := value_error_of(lambda: estimator.fit(X, Y)):
        assert name in str(error)
    else:
        assert same_weights(estimator, small(dropout=0.1, **{name: value}).fit(X, Y))


BAD_WEIGHTS = {
    "narrow": (0, "kernel", np.zeros((3, 8)), r"\(3, 20\), got \(3, 8\)"),
    "flat": (0, "kernel", np.zeros(60), "shape"),
    "transposed": (0, "recurrent_kernel", np.zeros((20, 5)), r"\(5, 20\)"),
    "scalar": (0, "bias", 1.0, r"\(20,\)"),
    "None": (0, "bias", None, "bias"),
    "dense narrow": (1, "weight", np.zeros((3, 5)), r"\(5, 3\)"),
    "dense bias": (1, "bias", np.zeros(4), r"\(3,\)"),
    "NaN": (1, "weight", np.full((5, 3), NAN), "NaN"),
    "too large": (1, "weight", np.full((5, 3), 1e300), "infinity"),
    "strings": (1, "weight", np.full((5, 3), "a"), "numbers"),
    "complex": (1, "weight", np.zeros((5, 3)) + 1j, "Complex|real numbers"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_wrong_weights_are_refused_55_56(fitted, case):
    layer, name, value, message = BAD_WEIGHTS[case]
    classifier = fitted(LSTMClassifier)
    expected = classifier.predict_proba(X).tobytes()
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        setattr(classifier.layers_[layer], name, value)
    assert name in str(caught.value)
    with pytest.raises(ValueError, match="read-only"):
        getattr(classifier.layers_[layer], name)[...] = 0
    with pytest.raises(AttributeError):
        delattr(classifier.layers_[layer], name)
    with pytest.raises(AttributeError):
        classifier.layers_ = []
    assert classifier.predict_proba(X).tobytes() == expected


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda a: a.astype(np.float16),
        lambda a: a.astype(">f8"),
        lambda a: np.repeat(a, 2, axis=0)[::2],
        np.ndarray.tolist,
    ],
    ids=["fortran", "float16", "big-endian", "strided", "list"],
)
def test_other_layouts_of_weights_are_converted_56(fitted, convert):
    classifier, expected = fitted(LSTMClassifier), fitted(LSTMClassifier)
    before = classifier.predict_proba(X).tobytes()  # the kernels now have a copy
    for layer in (0, 1):
        for name in ("kernel", "recurrent_kernel", "weight", "bias"):
            if hasattr(classifier.layers_[layer], name):
                value = np.round(8 * getattr(classifier.layers_[layer], name)) / 8  # exact in float16
                setattr(classifier.layers_[layer], name, convert(value) if value.ndim == 2 else value)
                setattr(expected.layers_[layer], name, value)
    assert same_weights(classifier, expected)
    assert classifier.predict_proba(X).tobytes() == expected.predict_proba(X).tobytes()
    assert classifier.predict_proba(X).tobytes() != before


def test_other_attributes_set_by_the_user_reach_no_kernel_55(fitted):
    classifier = fitted(LSTMClassifier)
    classifier.n_features_in_ = 7
    with pytest.raises(ValueError, match=r"shape|features"):
        classifier.predict([np.zeros((4, 7))])
    classifier.n_features_in_ = 3
    del classifier.classes_
    with pytest.raises(AttributeError):
        classifier.predict(X)


@pytest.mark.parametrize("cls", BOTH)
def test_unfitted_estimators_say_so(cls, tmp_path):
    estimator = small(cls)
    methods = ["predict", "transform", *(["predict_proba", "predict_log_proba"] if cls is LSTMClassifier else [])]
    for method in methods:
        with pytest.raises(NotFittedError, match="not fitted"):
            getattr(estimator, method)(X)
    with pytest.raises(NotFittedError):
        estimator.save(tmp_path / "model")
    with pytest.raises(NotFittedError):
        estimator.score(X, Y)
    assert not (tmp_path / "model").exists()
    assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize("cls", BOTH)
def test_bad_x_at_predict_changes_nothing(fitted, cls):
    estimator = fitted(cls)
    state = state_of(estimator)
    for bad, message in [([x[:, :2] for x in X], "X has 2 features"), ([x * NAN for x in X], "NaN"), ([], "0 sample")]:
        for method in ("predict", "transform"):
            with pytest.raises(ValueError, match=message):
                getattr(estimator, method)(bad)
    assert state_of(estimator) == state
    assert_refused(fitted, cls, ValueError, "contains NaN", [x * NAN for x in X], Y)


def test_partial_fit_with_early_stopping_has_nothing_to_stop_on():
    classifier = small(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    assert classifier.n_iter_ == 2
    assert classifier.validation_scores_ is None


# ---- the floating-point environment ---------------------------------------------------------------------------------
def test_import_and_use_leave_subnormals_alone_65():
    code = """
import sys
import numpy as np
from lstmfast import LSTMRegressor
def check():
    assert sys.float_info.min / 2 != 0
    assert np.finfo(np.float32).tiny * np.float32(0.5) != 0
    assert (np.full(64, np.finfo(np.float32).tiny) * np.float32(0.5) != 0).all()
check()
X = np.ones((64, 30, 8))
for dtype in ("float32", "float64"):
    LSTMRegressor(64, max_iter=1, dtype=dtype, n_jobs=2).fit(X, X[:, 0, 0]).predict(X)
    check()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_errstate_raise_makes_no_spurious_errors_66(cls, pooling, dtype):
    """Sure of itself, the softmax underflows; data near 0 make subnormal products."""
    with np.errstate(all="raise"):
        data = [x * np.float32(1e-30) for x in X] + X
        y = np.r_[Y, Y]
        estimator = small(cls, pooling=pooling, dtype=dtype, dense_layer_sizes=4, early_stopping=True, dropout=0.1)
        estimator.fit(data, y)
        output = estimator.layers_[-1]
        output.bias = np.linspace(0, 3000, len(output.bias))
        estimator.predict(data)
        estimator.transform(data)
        estimator.score(data, y)
        if cls is LSTMClassifier:
            probabilities = estimator.predict_proba(data)
            assert (probabilities[:, -1] == 1).all()
            # Not minus infinity, nor the logarithm of the smallest probability: computed from the outputs.
            np.testing.assert_allclose(estimator.predict_log_proba(data)[:, 0], -3000, atol=20)
        estimator.set_params(early_stopping=False).partial_fit(data, y)


def test_errstate_raise_with_multilabel_targets_66():
    with np.errstate(all="raise"):
        classifier = small().fit(X, np.eye(3, dtype=int)[Y])
        classifier.layers_[-1].bias = [-3000, 0, 3000]
        assert classifier.predict_proba(X)[0].round(1).tolist()[::2] == [0, 1]
        classifier.partial_fit(X, np.eye(3, dtype=int)[Y])


# ---- saving and loading ---------------------------------------------------------------------------------------------
SAVED = {
    "str labels": (LSTMClassifier, {}, np.array(["no", "ja 日本", "x"])[Y]),
    "object labels": (LSTMClassifier, {}, np.array(["no", "ja", "x"], dtype=object)[Y]),
    "int labels": (LSTMClassifier, {}, Y - 1),
    "int8 labels": (LSTMClassifier, {}, Y.astype(np.int8)),
    "float labels": (LSTMClassifier, {}, Y.astype(float)),
    "bool labels": (LSTMClassifier, {}, Y > 0),
    "multilabel": (LSTMClassifier, {}, np.eye(3, dtype=int)[Y]),
    "class weights": (LSTMClassifier, {"class_weight": {0: 2.0, 1: 1.0, 2: 0.5}}, Y),
    "class weights by name": (LSTMClassifier, {"class_weight": {"a": 2.0, "b": 1.0}}, np.array(["a", "b", "b"])[Y]),
    "regression": (LSTMRegressor, {}, Y / 3),
    "several outputs": (LSTMRegressor, {"loss": "huber"}, np.c_[Y, -Y]),
    "quantile": (LSTMRegressor, {"loss": "quantile", "quantile": 0.9}, Y / 3),
    "stacked": (LSTMClassifier, {"hidden_layer_sizes": (5, 9, 3), "bidirectional": True, "pooling": "max"}, Y),
    "dense": (LSTMRegressor, {"dense_layer_sizes": [7, 3], "hidden_layer_sizes": np.array([4])}, Y / 3),
    "float64": (LSTMClassifier, {"dtype": np.float64, "solver": "sgd", "alpha": np.float32(1e-3)}, Y),
    "early stopping": (LSTMClassifier, {"early_stopping": True, "max_time": 60.0, "clip_norm": None}, Y),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_loaded_model_is_the_same(tmp_path, name):
    cls, parameters, y = SAVED[name]
    estimator = small(cls, **parameters).fit(X, y)
    estimator.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert type(loaded) is cls
    for method in ("predict", "transform", *(["predict_proba"] if cls is LSTMClassifier else [])):
        result, expected = getattr(loaded, method)(X), getattr(estimator, method)(X)
        assert result.dtype == expected.dtype
        assert result.shape == expected.shape
        assert result.tolist() == expected.tolist()
    assert same_weights(loaded, estimator)
    attributes = [a for a in dir(estimator) if a.endswith("_") and not a.startswith("_") and a != "layers_"]
    assert attributes == [a for a in dir(loaded) if a.endswith("_") and not a.startswith("_") and a != "layers_"]
    for attribute in attributes:
        np.testing.assert_array_equal(getattr(loaded, attribute), getattr(estimator, attribute), err_msg=attribute)
    for parameter, value in estimator.get_params().items():
        result = loaded.get_params()[parameter]
        same = np.array_equal(result, value) or result == value or np.dtype(result) == np.dtype(value)
        assert same, (parameter, result, value)
    assert loaded.set_params(early_stopping=False).partial_fit(X, y).n_iter_ == estimator.n_iter_ + 1
    assert all_finite(loaded)
    loaded.fit(X, y)
    loaded.save(tmp_path / "again")


def test_a_loaded_model_knows_its_names_and_its_kind_of_x(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(10, 4)), columns=list("abcd"))
    small(LSTMRegressor).fit(frame, Y).save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert loaded.predict(frame).shape == (10,)
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[["a", "b", "c"]])


def test_callbacks_and_random_states_are_not_saved(tmp_path):
    estimator = small(callbacks=lambda info: None, random_state=np.random.RandomState(0)).fit(X, Y)
    estimator.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert loaded.callbacks is None
    assert loaded.random_state is None
    assert same_weights(loaded, estimator)


@pytest.mark.parametrize("change", [{"dtype": "float64"}, {"hidden_layer_sizes": 9}, {"alpha": -1.0}], ids=str)
def test_what_can_be_saved_can_be_loaded(fitted, tmp_path, change):
    """Parameters changed after fit: save refuses them, or load takes them."""
    estimator = fitted(LSTMClassifier).set_params(**change)
    if error := value_error_of(lambda: estimator.save(tmp_path / "model")):
        assert next(iter(change)) in str(error)
    else:
        loaded = lstmfast.load(tmp_path / "model")
        assert loaded.predict_proba(X).tobytes() == estimator.predict_proba(X).tobytes()


def test_fitting_and_saving_again_replaces_the_file(fitted, tmp_path):
    path = tmp_path / "model"
    fitted(LSTMClassifier).save(path)
    other = small(LSTMRegressor, max_iter=1).fit(X, Y)
    other.save(str(path))
    assert lstmfast.load(str(path)).predict(X).tobytes() == other.predict(X).tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


# ---- files that are whole but wrong ---------------------------------------------------------------------------------
def put(value, *keys):
    """An edit of metadata: metadata[keys[0]][keys[1]]... = value."""
    return lambda metadata, arrays: reduce(dict.__getitem__, keys[:-1], metadata).__setitem__(keys[-1], value)


def drop(*keys):
    return lambda metadata, arrays: reduce(dict.__getitem__, keys[:-1], metadata).pop(keys[-1])


def array(name, change):
    return lambda metadata, arrays: arrays.__setitem__(name, change(arrays[name].copy()))


def with_nan(weights):
    weights.flat[0] = NAN
    return weights


def ints(*values):
    return {"type": "array <i8", "value": list(values)}


FORGED = {
    "other H in the network": put([6], "network", "hidden_layer_sizes"),
    "other H in one array": array("0.recurrent_kernel", lambda a: np.zeros((6, 24), np.float32)),
    "arrays of another H": lambda m, a: a.update(
        {f"0.{k}": np.zeros(s, "f4") for k, s in [("kernel", (3, 24)), ("recurrent_kernel", (6, 24)), ("bias", 24)]}
    ),
    "other features": put(4, "network", "n_features"),
    "other outputs": put(4, "network", "n_outputs"),
    "negative size": put([-5], "network", "hidden_layer_sizes"),
    "no layers": put([], "network", "hidden_layer_sizes"),
    "size of another kind": put(["5"], "network", "hidden_layer_sizes"),
    "sizes of another kind": put(5, "network", "hidden_layer_sizes"),
    "huge size": put([2**30], "network", "hidden_layer_sizes"),
    "unknown pooling": put("median", "network", "pooling"),
    "other dtype": put("float64", "network", "dtype"),
    "unknown dtype": put("float16", "network", "dtype"),
    "unknown option of the network": put(1, "network", "cell"),
    "missing option of the network": drop("network", "pooling"),
    "network of another kind": put([], "network"),
    "NaN weight": array("0.kernel", with_nan),
    "NaN bias": array("1.bias", with_nan),
    "transposed weight": array("0.kernel", lambda a: a.T),
    "bias of another rank": array("1.bias", lambda a: a[None]),
    "float64 weight": array("0.kernel", lambda a: a.astype(np.float64)),
    "integer weight": array("0.kernel", lambda a: a.astype(np.int32)),
    "missing weight": lambda m, a: a.pop("1.bias"),
    "renamed weight": lambda m, a: a.update(other=a.pop("1.bias")),
    "extra weight": lambda m, a: a.update({"2.bias": np.zeros(3, np.float32)}),
    "empty extra weight": lambda m, a: a.update({"2.bias": np.zeros(0, np.float32)}),
    "unknown class": put("SVC", "estimator"),
    "class of another kind": put(["LSTMClassifier"], "estimator"),
    "class from elsewhere": put("RecurrentEstimator", "estimator"),
    "the other class": put("LSTMRegressor", "estimator"),
    "no class": drop("estimator"),
    "too few labels": put(ints(0, 1), "fitted", "classes_"),
    "too many labels": put(ints(0, 1, 2, 3), "fitted", "classes_"),
    "unsorted labels": put(ints(2, 1, 0), "fitted", "classes_"),
    "repeated labels": put(ints(1, 1, 1), "fitted", "classes_"),
    "nested labels": put({"type": "array <i8", "value": [[0], [1], [2]]}, "fitted", "classes_"),
    "labels not in an array": put([0, 1, 2], "fitted", "classes_"),
    "labels of one string": put("abc", "fitted", "classes_"),
    "labels of dates": put({"type": "array <M8[D]", "value": [0, 1, 2]}, "fitted", "classes_"),
    "labels of lists": put({"type": "array |O", "value": [["a"], ["b", "c"], []]}, "fitted", "classes_"),
    "labels that need 8 TB": put({"type": "array <U500000000", "value": ["a"] * 4000}, "fitted", "classes_"),
    "no labels": drop("fitted", "classes_"),
    "multilabel of another kind": put("no", "fitted", "_multilabel"),
    "no multilabel": drop("fitted", "_multilabel"),
    "unknown kind of X": put("images", "fitted", "_input_kind"),
    "the other kind of X": put("2d", "fitted", "_input_kind"),
    "no kind of X": drop("fitted", "_input_kind"),
    "features of another kind": put(3.0, "fitted", "n_features_in_"),
    "too few features": put(2, "fitted", "n_features_in_"),
    "too few names": put({"type": "array |O", "value": ["a"]}, "fitted", "feature_names_in_"),
    "names that are numbers": put({"type": "array |O", "value": [1, 2, 3]}, "fitted", "feature_names_in_"),
    "unknown attribute": put(1, "fitted", "_network"),
    "attributes of another kind": put([], "fitted"),
    "no attributes": drop("fitted"),
    "parameter of another kind": put("much", "parameters", "alpha"),
    "parameter out of range": put(-1.0, "parameters", "alpha"),
    "batch size of another kind": put(2.5, "parameters", "batch_size"),
    "hidden sizes of another kind": put("5", "parameters", "hidden_layer_sizes"),
    "callbacks": put(["print"], "parameters", "callbacks"),
    "unknown parameter": put(1, "parameters", "n_units"),
    "parameters of another kind": put([], "parameters"),
    "parameter of an unknown type": put({"type": "lambda", "value": 1}, "parameters", "alpha"),
    "parameter without a value": put({"type": "dict"}, "parameters", "class_weight"),
    "deeply nested parameter": put(reduce(lambda inner, _: [inner], range(900), 1), "parameters", "class_weight"),
    "loss curve of another kind": put("abc", "history", "loss_curve"),
    "loss curve of strings": put(["a"], "history", "loss_curve"),
    "scores of another kind": put([None], "history", "validation_scores"),
    "unknown stop reason": put(5, "history", "stop_reason"),
    "no history": drop("history"),
    "missing history": drop("history", "loss_curve"),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    small().fit(X, Y).save(path)
    return pickle.dumps(read_model(path))


@pytest.mark.parametrize("name", FORGED)
def test_inconsistent_files_are_refused_93(parts, tmp_path, name):
    metadata, arrays = pickle.loads(parts)
    FORGED[name](metadata, arrays)
    write_model(tmp_path / "model", metadata, arrays)
    with pytest.raises(ModelFormatError, match="model"):
        lstmfast.load(tmp_path / "model")


REGRESSOR_FORGED = {
    "one output of two": put(True, "fitted", "_one_output"),
    "outputs of another kind": put("2", "fitted", "_n_targets"),
    "too few outputs": put(1, "fitted", "_n_targets"),
    "no number of outputs": drop("fitted", "_one_output"),
    "unknown loss": put("log_loss", "parameters", "loss"),
    "quantile out of range": put(1.5, "parameters", "quantile"),
}


@pytest.mark.parametrize("name", REGRESSOR_FORGED)
def test_inconsistent_files_of_regressors_are_refused_93(tmp_path, name):
    small(LSTMRegressor).fit(X, np.c_[Y, Y]).save(tmp_path / "model")
    metadata, arrays = read_model(tmp_path / "model")
    REGRESSOR_FORGED[name](metadata, arrays)
    write_model(tmp_path / "model", metadata, arrays)
    with pytest.raises(ModelFormatError, match="model"):
        lstmfast.load(tmp_path / "model")


def test_unchanged_parts_make_the_same_model(parts, tmp_path):
    """So the tests above fail for what they changed."""
    write_model(tmp_path / "model", *pickle.loads(parts))
    loaded = lstmfast.load(tmp_path / "model")
    assert loaded.predict_proba(X).tobytes() == small().fit(X, Y).predict_proba(X).tobytes()
    assert weights_of(loaded)
