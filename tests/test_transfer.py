"""pretrained and n_frozen_layers: what is taken over, what stays as it is, what is refused."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

import lstmfast
from lstmfast import (
    LSTMClassifier,
    LSTMForecaster,
    LSTMLanguageModel,
    LSTMRecommender,
    LSTMRegressor,
    LSTMTagger,
    LSTMTransformer,
    LSTMTranslator,
)
from lstmfast.pooling import POOLINGS, make_pooling

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(length, 3)).astype(np.float32) for length in (5, 1, 9, 4, 9, 2)]
TOKENS = [RNG.integers(0, 7, length) for length in (5, 1, 9, 4, 9, 2)]
LABELS = np.array(["a", "b", "c", "a", "b", "c"])
ARCHITECTURE = {
    "hidden_layer_sizes": (5, 4), "conv_layers": ((4, 2), (3, 3)), "pooling": "attention", "dense_layer_sizes": (6, 5),
    "bidirectional": True, "max_iter": 2, "random_state": 0,
}  # fmt: skip
# Names of the parts of such a network, lowest first.
PARTS = ["conv0", "conv1", "0.forward", "0.backward", "1.forward", "1.backward", "pooling", "2", "3", "4"]


def changed_parts(before, after):
    """Names of the parts in which two estimators differ, lowest first."""
    return [
        name for name, part in before._network.parts.items()
        if any(not np.array_equal(array, after._network.parts[name].arrays[key]) for key, array in part.arrays.items())
    ]  # fmt: skip


def in_order(names):
    return sorted(names, key=PARTS.index)


@pytest.fixture(scope="module")
def source():
    return LSTMClassifier(**ARCHITECTURE).fit(X, LABELS)


# ---- frozen layers --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("n_frozen", "first_trained"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 6)])
@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "rmsprop"])
def test_frozen_layers_stay_and_all_others_learn(source, solver, n_frozen, first_trained):
    """Whatever would reach them: gradients, momentum, L1, L2, decoupled decay, dropout."""
    model = LSTMClassifier(
        **ARCHITECTURE | {"alpha": 0.1, "l1_ratio": 0.5, "dropout": 0.2, "recurrent_dropout": 0.2, "max_iter": 5},
        solver=solver, pretrained=source, n_frozen_layers=n_frozen,
    ).fit(X, LABELS)  # fmt: skip
    assert in_order(changed_parts(source, model)) == PARTS[first_trained:]
    assert model.n_parameters_ == source.n_parameters_


def test_gradients_of_what_is_trained_do_not_depend_on_what_is_frozen(source):
    network = source._network
    loss, targets, weights = source._make_loss(), np.array([0, 1, 2, 0, 1, 2]), np.full(6, 1 / 6, np.float32)
    sequences, rows = source._check_fitted_input(X), np.arange(6)
    network.loss_and_gradient(sequences, rows, loss, targets, weights)
    for n_frozen in range(1, 5):
        frozen = network.copy(n_frozen_layers=n_frozen)
        frozen.loss_and_gradient(sequences, rows, loss, targets, weights)
        for name, part in frozen.parts.items():
            for key, gradient in part.grads.items():
                assert np.array_equal(gradient, network.parts[name].grads[key])
        assert len(frozen.gradients) < len(network.gradients)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_gradient_that_nobody_takes_is_not_computed(pooling, monkeypatch):
    """That of what is pooled, where all below is frozen and the pooling itself has nothing to learn."""
    model = LSTMClassifier(5, pooling=pooling, max_iter=1, n_frozen_layers=1)
    computed, kind = [], type(make_pooling(pooling, 5, np.float32))
    backward = kind.backward
    monkeypatch.setattr(kind, "backward", lambda *arguments: computed.append(1) or backward(*arguments))
    model.fit(X, LABELS)
    assert bool(computed) == (pooling == "attention")
    model.set_params(n_frozen_layers=0).fit(X, LABELS)
    assert computed


def test_a_frozen_embedding():
    options = {"hidden_layer_sizes": 5, "embedding_dim": 4, "max_iter": 3, "random_state": 0}
    vectors = RNG.normal(size=(7, 4)).astype(np.float32)
    model = LSTMClassifier(**options, embedding_weights=vectors, n_frozen_layers=1).fit(TOKENS, LABELS)
    assert np.array_equal(model._network.embedding.weight, vectors)
    trained = LSTMClassifier(**options, embedding_weights=vectors).fit(TOKENS, LABELS)
    assert not np.array_equal(trained._network.embedding.weight, vectors)


@pytest.mark.parametrize("cell", ["gru", "rnn", "lstm-cell-recurrent", "lstm-full-peephole"])
def test_each_kind_of_cell_can_be_frozen(cell):
    options = {"hidden_layer_sizes": (5, 4), "cell": cell, "random_state": 0, "max_iter": 2}
    first = LSTMRegressor(**options).fit(X, np.arange(6.0))
    second = LSTMRegressor(**options, pretrained=first, n_frozen_layers=1).fit(X, np.arange(6.0))
    assert changed_parts(first, second) == ["1", "2"]


def test_gradual_unfreezing(source):
    """warm_start may free layers that were frozen."""
    model = LSTMClassifier(**ARCHITECTURE, pretrained=source, n_frozen_layers=4, warm_start=True).fit(X, LABELS)
    before = pickle.loads(pickle.dumps(model))
    model.set_params(n_frozen_layers=3).fit(X, LABELS)
    assert in_order(changed_parts(before, model)) == PARTS[4:]


@pytest.mark.parametrize("n_frozen", [5, 100])
def test_more_frozen_layers_than_there_are(n_frozen):
    with pytest.raises(ValueError, match=f"from 0 to 4, the layers below pooling, got {n_frozen}"):
        LSTMClassifier(**ARCHITECTURE, n_frozen_layers=n_frozen).fit(X, LABELS)


@pytest.mark.parametrize("n_frozen", [-1, 1.5, "1", None])
def test_bad_numbers_of_frozen_layers(n_frozen):
    with pytest.raises(ValueError, match="n_frozen_layers"):
        LSTMClassifier(n_frozen_layers=n_frozen).fit(X, LABELS)


def test_frozen_models_are_saved(source, tmp_path):
    model = LSTMClassifier(**ARCHITECTURE, pretrained=source, n_frozen_layers=3).fit(X, LABELS)
    model.save(tmp_path / "model")
    for twin in (lstmfast.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
        assert twin.n_frozen_layers == 3
        assert not changed_parts(model, twin)
    again = lstmfast.load(tmp_path / "model").set_params(warm_start=True).fit(X, LABELS)
    assert in_order(changed_parts(model, again)) == PARTS[4:]


# ---- what is taken over ---------------------------------------------------------------------------------------------
def fit_without_steps(model, *data):
    """A fit whose only step has a rate too small to change a float32."""
    return model.set_params(learning_rate_init=1e-300, max_iter=1, solver="sgd", alpha=0).fit(*data)


def test_all_but_the_output_is_taken_over(source):
    model = fit_without_steps(LSTMClassifier(**ARCHITECTURE, pretrained=source), X, LABELS)
    assert changed_parts(source, model) == ["4"]


def test_from_a_file(source, tmp_path):
    source.save(tmp_path / "model")
    for path in (tmp_path / "model", str(tmp_path / "model")):
        model = fit_without_steps(LSTMClassifier(**ARCHITECTURE, pretrained=path), X, LABELS)
        assert changed_parts(source, model) == ["4"]


def test_other_classes_and_another_task(source):
    model = fit_without_steps(LSTMClassifier(**ARCHITECTURE, pretrained=source), X, ["x", "y"] * 3)
    assert model.classes_.tolist() == ["x", "y"]
    regressor = fit_without_steps(LSTMRegressor(**ARCHITECTURE, pretrained=source), X, np.arange(6.0))
    for name in PARTS[:-1]:
        for key, array in source._network.parts[name].arrays.items():
            assert np.array_equal(array, regressor._network.parts[name].arrays[key])


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"dense_layer_sizes": (6, 9)}, PARTS[:8]),
        ({"dense_layer_sizes": (7, 5)}, PARTS[:7]),
        ({"pooling": "max"}, PARTS[:6]),
        ({"hidden_layer_sizes": (5,)}, PARTS[:4]),
        ({"hidden_layer_sizes": (5, 4, 3)}, PARTS[:6]),
    ],
    ids=str,
)
def test_another_head_and_another_height(source, changes, taken):
    model = fit_without_steps(LSTMClassifier(**ARCHITECTURE | changes, pretrained=source), X, LABELS)
    here, there = model._network.named_parameters(), source._network.named_parameters()
    same = {name.rpartition(".")[0] for name in here.keys() & there.keys() if np.array_equal(here[name], there[name])}
    assert same == set(taken)


def test_from_codes_without_labels_and_back(source, tmp_path):
    """An autoencoder's encoder is a classifier's; its code, the linear layer on top, is not."""
    transformer = LSTMTransformer(**ARCHITECTURE).fit(X)
    transformer.save(tmp_path / "model")
    model = fit_without_steps(LSTMClassifier(**ARCHITECTURE, pretrained=tmp_path / "model"), X, LABELS)
    assert encoder_parts_alike(model, transformer) == PARTS[:8]
    again = fit_without_steps(LSTMTransformer(**ARCHITECTURE, pretrained=source), X)
    assert encoder_parts_alike(again, source) == PARTS[:8]


def encoder_parts_alike(a, b):
    here, there = a._network.named_parameters(), b._network.named_parameters()
    return [
        part for part in PARTS
        if all(np.array_equal(array, there.get(name)) for name, array in here.items() if name.startswith(f"{part}."))
        and any(name.startswith(f"{part}.") for name in here)
    ]  # fmt: skip


def test_from_one_series_to_another():
    y = np.sin(np.arange(120) / 5)
    options = {"hidden_layer_sizes": 5, "window": 12, "max_iter": 2, "random_state": 0}
    source = LSTMForecaster(**options).fit(y)
    model = LSTMForecaster(**options, horizon=3, pretrained=source, n_frozen_layers=1).fit(np.cos(np.arange(80) / 3))
    assert np.array_equal(model.layers_[0].kernel, source.layers_[0].kernel)
    with pytest.raises(ValueError, match="n_features=1, which does not go with n_features=2"):
        LSTMForecaster(**options, pretrained=source).fit(np.stack([y, y], axis=1))


def test_precision_may_differ(source):
    model = fit_without_steps(LSTMClassifier(**ARCHITECTURE, pretrained=source, dtype="float64"), X, LABELS)
    np.testing.assert_array_equal(model.layers_[0].kernel, source.layers_[0].kernel)


def test_tokens_keep_their_numbers():
    options = {"hidden_layer_sizes": 5, "embedding_dim": 4, "max_iter": 2, "random_state": 0}
    source = LSTMClassifier(**options).fit(TOKENS, LABELS)
    few = [tokens[tokens < 3] if (tokens < 3).any() else np.array([0]) for tokens in TOKENS]
    model = LSTMTagger(**options, pretrained=source, n_frozen_layers=1).fit(few, [["x", "y"][:1] * len(t) for t in few])
    assert np.array_equal(model._network.embedding.weight, source._network.embedding.weight)
    model.predict(TOKENS)  # all that the first fit saw


TEXTS = ["the cat sat", "a dog ran", "the dog sat on the cat"]
GENERATIVE = {
    LSTMLanguageModel: (({"level": "word"},), (TEXTS,), (["the dog ran", "a bird sat"],)),
    LSTMRecommender: (({},), ([[1, 2, 3], [2, 3, 4, 1]],), ([[3, 2, 1], [4, 9]],)),
    LSTMTranslator: (({"level": "word"},), (TEXTS, TEXTS), (["the dog", "a bird"], ["the cat", "a dog"])),
}


@pytest.mark.parametrize("kind", GENERATIVE)
def test_estimators_with_a_vocabulary_take_it_over(kind):
    (options,), first, second = GENERATIVE[kind]
    options |= {"hidden_layer_sizes": (6, 5), "embedding_dim": 4, "max_iter": 2, "random_state": 0}
    source = kind(**options).fit(*first)
    same = fit_without_steps(kind(**options, pretrained=source), *second)
    assert not changed_parts(source, same)
    tuned = kind(**options, pretrained=source, n_frozen_layers=2).fit(*second)
    lowest = [name for name in source._network.parts if name.removeprefix("encoder.") in ("embedding", "0")]
    assert changed_parts(source, tuned) == [name for name in source._network.parts if name not in lowest]
    with pytest.raises(
        ValueError, match=r"a network with hidden_layer_sizes=\[6, 5\], not \[7\]; fit with pretrained=None"
    ):
        kind(**options | {"hidden_layer_sizes": (7,)}, pretrained=source).fit(*second)
    with pytest.raises(TypeError, match=f"a fitted {kind.__name__}, or a file of one, got LSTMClassifier"):
        kind(pretrained=LSTMClassifier()).fit(*second)


# ---- what is refused ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"cell": "gru"}, "pretrained has cell=lstm, which does not go with cell=gru"),
        ({"conv_layers": ()}, "conv_layers"),
        ({"bidirectional": False}, "bidirectional"),
        ({"activation": "relu"}, "activation"),
        ({"hidden_layer_sizes": (6,)}, r"hidden_layer_sizes=\(5, 4\), which must begin, or begin like, \(6,\)"),
        ({"hidden_layer_sizes": (5, 4, 3), "n_frozen_layers": 5}, "only 4 layers come from pretrained"),
    ],
)
def test_what_does_not_fit_is_refused(source, changes, match):
    with pytest.raises(ValueError, match=match):
        LSTMClassifier(**ARCHITECTURE | changes, pretrained=source).fit(X, LABELS)


def test_other_data_are_refused(source):
    with pytest.raises(ValueError, match="pretrained has n_features=3, which does not go with n_features=2"):
        LSTMClassifier(**ARCHITECTURE, pretrained=source).fit([x[:, :2] for x in X], LABELS)
    language_model = LSTMLanguageModel(max_iter=1).fit(TEXTS)
    with pytest.raises(TypeError, match="without a vocabulary of its own, or a file of one, got LSTMLanguageModel"):
        LSTMClassifier(pretrained=language_model, embedding_dim=32).fit(TOKENS, LABELS)


def test_bad_kinds_of_pretrained(source, tmp_path):
    with pytest.raises(NotFittedError):
        LSTMClassifier(pretrained=LSTMClassifier()).fit(X, LABELS)
    with pytest.raises(TypeError, match="got int"):
        LSTMClassifier(pretrained=3).fit(X, LABELS)
    with pytest.raises(FileNotFoundError):
        LSTMClassifier(pretrained=tmp_path / "none").fit(X, LABELS)
    (tmp_path / "bad").write_bytes(b"no model")
    with pytest.raises(lstmfast.ModelFormatError):
        LSTMClassifier(pretrained=tmp_path / "bad").fit(X, LABELS)
    with pytest.raises(ValueError, match="give one of them"):
        LSTMClassifier(pretrained=source, embedding_dim=3, embedding_weights=np.zeros((9, 3))).fit(TOKENS, LABELS)


def test_a_failed_fit_changes_nothing(source):
    model = LSTMClassifier(**ARCHITECTURE).fit(X, LABELS)
    before = pickle.dumps(model._network)
    with pytest.raises(ValueError, match="cell"):
        model.set_params(pretrained=source, cell="gru").fit(X, LABELS)
    assert pickle.dumps(model._network) == before


# ---- beside scikit-learn --------------------------------------------------------------------------------------------
def test_a_clone_keeps_what_was_trained(source):
    model = LSTMClassifier(pretrained=source)
    assert clone(model).pretrained is source
    assert clone(clone(LSTMClassifier(pretrained="model"))).pretrained == "model"
    search = GridSearchCV(LSTMClassifier(**ARCHITECTURE, pretrained=source), {"alpha": [0.0, 0.1]}, cv=2)
    assert search.fit(X, LABELS).best_estimator_.pretrained is source


def test_frozen_estimators_are_unwrapped(source):
    model = fit_without_steps(LSTMClassifier(**ARCHITECTURE, pretrained=FrozenEstimator(source)), X, LABELS)
    assert changed_parts(source, model) == ["4"]


def test_pretraining_on_other_classes_helps():
    """Digits 0 to 4 in plenty, then ten of each of 5 to 9."""
    data = load_digits()
    images, labels = data.images / 16, data.target
    many, few = labels < 5, np.flatnonzero(labels >= 5)
    options = {"hidden_layer_sizes": 32, "learning_rate_init": 5e-3, "random_state": 0}
    source = LSTMClassifier(**options, max_iter=30).fit(images[many], labels[many])
    train = np.concatenate([few[labels[few] == digit][:10] for digit in range(5, 10)])
    test = np.setdiff1d(few, train)
    scores = [
        LSTMClassifier(**options, max_iter=40, pretrained=pretrained).fit(images[train], labels[train]).score(
            images[test], labels[test]
        )
        for pretrained in (source, None)
    ]  # fmt: skip
    assert scores[0] > scores[1] + 0.02
