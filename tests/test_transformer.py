"""LSTMTransformer: scikit-learn's checks; with a target the features of the classifier or regressor, without one those
of an autoencoder; pipelines, files, and what it must refuse. Its network's gradients: test_autoencoder.py.
"""

import inspect
import pickle
from functools import reduce

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_estimators import COPIES, EXPECTED_FAILURES, ragged, same_weights, small, weights_of

import lstmfast
from lstmfast import LSTMClassifier, LSTMRegressor, LSTMTransformer, ModelFormatError, SequenceScaler, runtime
from lstmfast.persistence import read_model, write_model

STRICT = {"xfail_strict": True} if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters else {}
X, LABELS = ragged()
TARGETS = {"classification": LABELS, "regression": np.array([x.mean() for x in X]), "reconstruction": None}
TASKS = pytest.mark.parametrize("task", TARGETS)


@parametrize_with_checks(
    [LSTMTransformer(), LSTMTransformer(target_type=None, max_iter=20)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES, **STRICT,
)  # fmt: skip
def test_estimator_checks(estimator, check, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    check(estimator)


def transformer(**parameters):
    return small(LSTMTransformer, **parameters)


def tokens(n=60, seed=0):
    """Words of one or two letters, each repeated 1 to 5 times: "aaaa", "bb"."""
    rng = np.random.default_rng(seed)
    return [np.full(rng.integers(1, 6), letter) for letter in rng.integers(0, 4, n)]


# ---- with a target: a classifier's or regressor's features ----------------------------------------------------------
SETTINGS = {"hidden_layer_sizes": (6, 5), "dense_layer_sizes": 4, "bidirectional": True, "early_stopping": True}


@pytest.mark.parametrize(
    ("cls", "y"),
    [
        (LSTMClassifier, LABELS), (LSTMClassifier, LABELS.astype(str)), (LSTMClassifier, LABELS > 0),
        (LSTMClassifier, np.eye(3, dtype=int)[LABELS]),
        (LSTMRegressor, LABELS + 0.5), (LSTMRegressor, np.c_[LABELS, -LABELS] / 3),
    ],
    ids=["integers", "strings", "bools", "indicators", "floats", "several floats"],
)  # fmt: skip
def test_it_learns_what_the_kind_of_y_says(cls, y):
    weights = np.linspace(1, 2, len(X))
    expected = small(cls, **SETTINGS).fit(X, y, weights, X_val=X[:9], y_val=y[:9])
    found = transformer(**SETTINGS).fit(X, y, weights, X_val=X[:9], y_val=y[:9])
    assert found.task_ == {"LSTMClassifier": "classification", "LSTMRegressor": "regression"}[cls.__name__]
    assert same_weights(found, expected)
    assert found.transform(X).tobytes() == expected.transform(X).tobytes()
    assert found.score(X, y, weights) == expected.score(X, y, weights)
    for name in ("loss_curve_", "validation_scores_", "n_outputs_", "n_layers_", "n_parameters_", "stop_reason_"):
        assert getattr(found, name) == getattr(expected, name), name


def test_target_type_overrules_the_kind_of_y():
    assert transformer(target_type="regression").fit(X, LABELS).n_outputs_ == 1
    assert transformer(target_type="classification").fit(X, LABELS.astype(float)).n_outputs_ == 3
    with pytest.raises(ValueError, match="continuous"):
        transformer(target_type="classification").fit(X, LABELS + 0.5)
    alone, ignored = transformer().fit(X), transformer(target_type=None).fit(X, LABELS)
    assert ignored.task_ == "reconstruction"
    assert same_weights(alone, ignored)


# ---- without one: an autoencoder ------------------------------------------------------------------------------------
def waves(n=80, seed=0):
    """Sines of two frequencies and any phase, 8 to 14 steps, with their cosines."""
    rng = np.random.default_rng(seed)
    angles = [rng.normal() + rng.choice([0.4, 0.9]) * np.arange(rng.integers(8, 15)) for _ in range(n)]
    return [np.stack((3 + np.sin(angle), np.cos(angle)), axis=1) for angle in angles]


def mean_squared_error(a, b):
    return np.mean((np.concatenate(a, dtype=float) - np.concatenate(b, dtype=float)) ** 2)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_it_learns_to_write_waves_again(cell, pooling):
    """The best constant leaves 0.5; new waves are written as well as those it knows."""
    train, test = waves(), waves(40, seed=1)
    settings = {"cell": cell, "pooling": pooling, "dense_layer_sizes": 4, "bidirectional": True}
    found = transformer(hidden_layer_sizes=16, max_iter=100, learning_rate_init=0.02, tol=0.0, **settings).fit(train)
    assert found.transform(test).shape == (40, 4)
    assert mean_squared_error(found.reconstruct(test), test) < 0.08
    assert found.score(test) == pytest.approx(-mean_squared_error(found.reconstruct(test), test), rel=1e-5)


def test_it_learns_to_write_tokens_again():
    words = tokens()
    found = transformer(hidden_layer_sizes=16, embedding_dim=3, max_iter=80, learning_rate_init=0.03).fit(words)
    for word, written in zip(words, found.reconstruct(words), strict=True):
        assert written.dtype == np.int64
        assert written.tolist() == word.tolist()
    assert -0.1 < found.score(words) < 0  # of a guess: -log 4
    assert found.loss_ == pytest.approx(-found.score(words), abs=0.05)
    vectors = np.arange(1.0, 13).reshape(4, 3)
    start = transformer(embedding_dim=3, embedding_weights=vectors, learning_rate_init=1e-30).fit(words)
    np.testing.assert_array_equal(start._network.embedding.weight, vectors)


def test_training_starts_from_the_mean_step():
    weights = np.linspace(0, 3, len(X))
    found = transformer(learning_rate_init=1e-30, max_iter=1, dtype="float64").fit(X, sample_weight=weights)
    expected = np.average(np.concatenate(X), axis=0, weights=np.repeat(weights, [len(x) for x in X]))
    np.testing.assert_allclose(found.layers_[-1].bias, expected, rtol=1e-12)


def test_the_loss_is_the_mean_over_steps_and_features():
    found = transformer(learning_rate_init=1e-30, max_iter=1, alpha=0.0, dtype="float64", batch_size=100).fit(X)
    assert found.loss_ == pytest.approx(mean_squared_error(found.reconstruct(X), X), rel=1e-12)


def test_a_weight_of_two_is_a_repeat():
    settings = {"batch_size": 100, "shuffle": False, "dtype": "float64", "max_iter": 5}
    weighted = transformer(**settings).fit(X, sample_weight=np.r_[2, 2, 2, np.ones(len(X) - 3)])
    repeated = transformer(**settings).fit(X[:3] + X)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-8)
    weights = np.r_[2, 2, 2, np.ones(len(X) - 3)]
    assert weighted.score(X, sample_weight=weights) == pytest.approx(weighted.score(X[:3] + X), rel=1e-12)


def test_validation_and_early_stopping():
    found = transformer(max_iter=4).fit(X, X_val=X[:7])
    assert len(found.validation_scores_) == 4
    assert found.validation_scores_[-1] == pytest.approx(found.score(X[:7]), rel=1e-6)
    stopped = transformer(early_stopping=True, n_iter_no_change=2, max_iter=200, learning_rate_init=0.1).fit(X)
    assert stopped.stop_reason_ == "early_stopping"
    assert stopped.best_validation_score_ == max(stopped.validation_scores_) > stopped.validation_scores_[-1]


@pytest.mark.parametrize(
    ("parameters", "width"),
    [({}, 5), ({"bidirectional": True}, 10), ({"dense_layer_sizes": (7, 4)}, 4), ({"hidden_layer_sizes": (5, 3)}, 3)],
    ids=str,
)
@TASKS
def test_number_of_features(task, parameters, width):
    found = transformer(**parameters).fit(X, TARGETS[task])
    assert found.transform(X).shape == (len(X), width)
    assert found.get_feature_names_out().tolist() == [f"lstmtransformer{i}" for i in range(width)]
    assert found.n_layers_ == len(found.layers_)
    assert found.n_parameters_ == sum(array.size for array in weights_of(found).values())


@pytest.mark.parametrize(
    "data",
    [np.ones((4, 5, 2)), np.ones((4, 5)), [np.ones((3, 2)), np.ones((1, 2))], [np.ones(3), np.ones(1)]],
    ids=["3d", "2d", "list", "list-1d"],
)  # fmt: skip
def test_a_reconstruction_is_shaped_as_x(data):
    reconstructed = transformer(max_iter=1).fit(data).reconstruct(data)
    assert type(reconstructed) is type(data)
    assert [np.shape(part) for part in reconstructed] == [np.shape(part) for part in data]


# ---- scikit-learn's tools -------------------------------------------------------------------------------------------
def test_pipelines_and_grid_search():
    labels = np.array([wave[1, 1] > wave[2, 1] for wave in waves()])
    settings = {"hidden_layer_sizes": 12, "max_iter": 20, "learning_rate_init": 0.02}
    for target_type, task in [(None, "reconstruction"), ("auto", "classification")]:
        pipeline = make_pipeline(
            SequenceScaler(), transformer(target_type=target_type, **settings), LogisticRegression()
        )
        grid = {"lstmtransformer__pooling": ["last", "mean"]}
        search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(waves(), labels)
        assert search.best_estimator_[1].task_ == task
        assert search.best_score_ > 0.8  # one class has 0.51 of them
    search = GridSearchCV(transformer(**settings), {"hidden_layer_sizes": [1, 12]}, cv=2, error_score="raise")
    assert search.fit(waves()).best_params_ == {"hidden_layer_sizes": 12}
    assert search.best_score_ < 0
    assert len(cross_val_score(transformer(), X, LABELS, cv=3, error_score="raise")) == 3


@TASKS
def test_set_output_and_data_frames(task):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 4)), columns=list("abcd"))
    found = transformer().set_output(transform="pandas").fit(frame, TARGETS[task])
    assert found.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    features = found.transform(frame)
    assert features.columns.tolist() == [f"lstmtransformer{i}" for i in range(5)]
    assert features.to_numpy().tobytes() == found.set_output(transform="default").transform(frame).tobytes()
    with pytest.raises(ValueError, match="feature names should match"):
        found.transform(frame.rename(columns={"a": "z"}))


@TASKS
def test_fit_transform_and_clone(task):
    found = transformer(dropout=0.2)
    features = found.fit_transform(X, TARGETS[task])
    assert features.tobytes() == found.transform(X).tobytes()
    assert clone(found).fit(X, TARGETS[task]).transform(X).tobytes() == features.tobytes()


# ---- the same bits --------------------------------------------------------------------------------------------------
@TASKS
def test_features_are_the_same_bits_in_any_company_and_on_any_number_of_threads(task):
    settings = {"hidden_layer_sizes": (33, 17), "bidirectional": True, "dropout": 0.1}
    found = transformer(**settings).fit(X, TARGETS[task])
    features = found.transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    assert found.transform([X[i] for i in order]).tobytes() == features[order].tobytes()
    assert all(found.transform([x]).tobytes() == row.tobytes() for x, row in zip(X, features, strict=True))
    assert transformer(**settings, n_jobs=3).fit(X, TARGETS[task]).transform(X).tobytes() == features.tobytes()


@TASKS
@pytest.mark.parametrize("name", [*COPIES, "file"])
def test_copies_and_files_have_the_same_bits_and_go_on_alike(tmp_path, name, task):
    found = transformer(hidden_layer_sizes=(5, 4), dense_layer_sizes=3, warm_start=True).fit(X, TARGETS[task])
    features = found.transform(X).tobytes()
    if name == "file":
        found.save(tmp_path / "model")
        twin = lstmfast.load(tmp_path / "model")
        assert twin.task_ == task
        assert {name: getattr(twin, name) for name in ("loss_curve_", "n_features_in_", "n_parameters_")} == {
            name: getattr(found, name) for name in ("loss_curve_", "n_features_in_", "n_parameters_")
        }
    else:
        twin = COPIES[name](found)
    assert twin.transform(X).tobytes() == features
    if task == "reconstruction":
        assert [a.tobytes() for a in twin.reconstruct(X)] == [a.tobytes() for a in found.reconstruct(X)]
    twin.fit(X, TARGETS[task])
    assert found.transform(X).tobytes() == features  # the original does not move with its copy
    if name != "file":  # which does not hold the optimiser's moments
        assert same_weights(found.fit(X, TARGETS[task]), twin)


def test_an_autoencoder_of_tokens_from_a_file(tmp_path):
    words = tokens()
    found = transformer(embedding_dim=3).fit(words)
    found.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert loaded.score(words) == found.score(words)
    assert [a.tolist() for a in loaded.reconstruct(words)] == [a.tolist() for a in found.reconstruct(words)]


def test_the_runtime_says_where_to_go(tmp_path):
    transformer().fit(X).save(tmp_path / "model")
    with pytest.raises(ModelFormatError, match=r"holds 'LSTMTransformer', but the runtime.*with lstmfast\.load"):
        runtime.load(tmp_path / "model")


@TASKS
def test_attention(task):
    found = transformer(pooling="attention", conv_layers=((4, 2),)).fit(X, TARGETS[task])
    for x, weights in zip(X, found.attention(X), strict=True):
        assert weights.shape == (len(x),)
        assert weights.sum() == pytest.approx(1, rel=1e-6)
    assert not hasattr(transformer(), "attention")


# ---- going on -------------------------------------------------------------------------------------------------------
@TASKS
def test_warm_start_goes_on(task):
    found = transformer(max_iter=60, learning_rate_init=0.02).fit(X, TARGETS[task])
    loss = found.loss_
    assert found.set_params(warm_start=True, max_iter=1).fit(X, TARGETS[task]).loss_curve_[0] < loss * 1.1
    assert transformer(max_iter=1).fit(X, TARGETS[task]).loss_ > 1.2 * loss


def test_warm_start_refuses_another_task_and_other_sizes():
    found = transformer(warm_start=True, dense_layer_sizes=3).fit(X)
    features = found.transform(X).tobytes()
    with pytest.raises(ValueError, match="were fitted for reconstruction, not classification"):
        found.fit(X, LABELS)
    with pytest.raises(ValueError, match="code_size=3, not 4"):
        found.set_params(dense_layer_sizes=4).fit(X)
    assert found.transform(X).tobytes() == features
    assert found.task_ == "reconstruction"


def test_another_fit_starts_anew():
    found = transformer().fit(X)
    assert same_weights(found.fit(X, LABELS), transformer().fit(X, LABELS))
    assert found.task_ == "classification"
    assert same_weights(found.fit(X), transformer().fit(X))


@TASKS
def test_an_interrupt_keeps_the_last_weights(task):
    def interrupt(info):
        if info.epoch == 2:
            raise KeyboardInterrupt

    found = transformer(max_iter=9, callbacks=interrupt)
    with pytest.raises(KeyboardInterrupt):
        found.fit(X, TARGETS[task])
    assert found.stop_reason_ == "interrupted"
    assert found.transform(X).tobytes() == transformer(max_iter=2).fit(X, TARGETS[task]).transform(X).tobytes()


def parts_taken(source, target):
    return {
        name for name, array in target._network.named_parameters().items()
        if np.array_equal(array, source._network.named_parameters().get(name))
    }  # fmt: skip


@TASKS
@pytest.mark.parametrize("from_file", [False, True], ids=["estimator", "file"])
def test_others_start_from_its_layers_and_it_from_theirs(tmp_path, from_file, task):
    """Unsupervised pretraining: Dai & Le 2015, "Semi-supervised sequence learning"."""
    found = transformer().fit(X, TARGETS[task])
    found.save(tmp_path / "model")
    recurrent = {"0.kernel", "0.recurrent_kernel", "0.bias"}
    start = {"pretrained": tmp_path / "model" if from_file else found, "max_iter": 1, "learning_rate_init": 1e-30}
    assert recurrent <= parts_taken(found, small(LSTMClassifier, **start).fit(X, LABELS))
    for y in TARGETS.values():
        assert recurrent <= parts_taken(found, transformer(**start).fit(X, y))
    classifier = small().fit(X, LABELS)
    assert recurrent <= parts_taken(classifier, transformer(**start | {"pretrained": classifier}).fit(X, TARGETS[task]))


def test_frozen_layers_stay(tmp_path):
    classifier = small(hidden_layer_sizes=(5, 4)).fit(X, LABELS)
    found = transformer(hidden_layer_sizes=(5, 4), pretrained=classifier, n_frozen_layers=1).fit(X)
    assert parts_taken(classifier, found) == {"0.kernel", "0.recurrent_kernel", "0.bias"}
    found.save(tmp_path / "model")
    assert lstmfast.load(tmp_path / "model").transform(X).tobytes() == found.transform(X).tobytes()


# ---- what it must refuse --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "data", "message"),
    [
        ({"target_type": "classification"}, (X,), "target_type='classification' requires y to be passed"),
        ({"target_type": "tagging"}, (X,), "'target_type' parameter of LSTMTransformer must be"),
        ({"alpha": -1.0}, (X,), "'alpha' parameter of LSTMTransformer must be"),
        ({}, (X, LABELS[:5]), "inconsistent numbers of samples"),
        ({}, (X, np.r_[LABELS[:29], np.nan]), "y contains NaN"),
        ({}, (X, None, np.ones(5)), r"sample_weight must be numbers of shape \(30,\)"),
        ({}, (X, None, -np.ones(30)), "sample_weight must be finite and not negative"),
        ({}, ([np.full((2, 3), np.nan)],), "contains NaN"),
        ({}, ([np.ones((2, 3)), np.ones((2, 4))],), r"X\[1\] has 4 features"),
        ({"early_stopping": True}, (X[:1],), "leaves 0 for training and 1 for validation"),
        ({"embedding_dim": 3}, ([np.array([0, -1])],), "tokens must be not negative"),
    ],
    ids=str,
)  # fmt: skip
def test_what_fit_refuses_changes_nothing(parameters, data, message):
    found = transformer().fit(X, LABELS)
    before = pickle.dumps({name: value for name, value in vars(found).items() if name.endswith("_")})
    features = found.transform(X).tobytes()
    with pytest.raises(ValueError, match=message):
        found.set_params(**parameters).fit(*data)
    assert pickle.dumps({name: value for name, value in vars(found).items() if name.endswith("_")}) == before
    assert found.transform(X).tobytes() == features


@TASKS
def test_what_a_fitted_one_refuses(task):
    found = transformer().fit(X, TARGETS[task])
    with pytest.raises(ValueError, match="X has 2 features, but LSTMTransformer is expecting 3"):
        found.transform([x[:, :2] for x in X])
    if task != "reconstruction":
        with pytest.raises(ValueError, match=f"was fitted for {task}, and has nothing to reconstruct"):
            found.reconstruct(X)
        with pytest.raises(ValueError, match=f"fitted for {task}: score requires y"):
            found.score(X)


@pytest.mark.parametrize("method", ["transform", "reconstruct", "score", "get_feature_names_out", "save"])
def test_not_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(transformer(), method)(X)


# ---- files that are whole but wrong ---------------------------------------------------------------------------------
FORGED = {
    "another task": (("fitted", "task_"), "classification"),
    "an unknown task": (("fitted", "task_"), "translation"),
    "a task of another kind": (("fitted", "task_"), ["reconstruction"]),
    "another code": (("fitted", "_code_size"), 4),
    "a code of another kind": (("fitted", "_code_size"), {"type": "array <i8", "value": [3]}),
    "another code in the network": (("network", "code_size"), 4),
    "another decoder": (("network", "hidden_layer_sizes"), [4, 5]),
    "a network of steps": (("network", "pooling"), "steps"),
    "a network with a CRF": (("network", "crf"), True),
    "a sampled output layer": (("network", "n_samples"), 3),
    "a huge code": (("network", "code_size"), 2**40),
    "sizes of another kind": (("network", "hidden_layer_sizes"), "54"),
    "an unknown target": (("parameters", "target_type"), "tagging"),
}


@pytest.mark.parametrize("name", FORGED)
def test_inconsistent_files_are_refused_93(tmp_path, name):
    transformer(hidden_layer_sizes=(5, 4), dense_layer_sizes=3, max_iter=1).fit(X).save(tmp_path / "model")
    metadata, arrays = read_model(tmp_path / "model")
    (*way, last), value = FORGED[name]
    reduce(dict.__getitem__, way, metadata)[last] = value
    write_model(tmp_path / "model", metadata, arrays)
    with pytest.raises(ModelFormatError, match="model"):
        lstmfast.load(tmp_path / "model")
