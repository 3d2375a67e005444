"""LSTMRecommender: next items, ranks against a search written for reading, unknown items, files."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import lstmfast
from lstmfast import LSTMRecommender, ModelFormatError, persistence

KITS = [["tent", "stove", "gas", "lamp"], ["pen", "ink", "paper"], ["tent", "stove", "gas", "pen", "ink"], []] * 6


def small(**arguments):
    return LSTMRecommender(
        **{"hidden_layer_sizes": (9,), "embedding_dim": 7, "max_iter": 3, "random_state": 0} | arguments
    )


@pytest.fixture(scope="module")
def fitted():
    return small(max_iter=40, learning_rate_init=0.02).fit(KITS)


def step_scores(model, history):
    """Logits of all items after a history, by the network's stream."""
    stream = model._network.stream(1, None)
    z = stream.step(1)
    for item in history:
        z = stream.step(2 + model._vocabulary.tokens.tolist().index(item))
    return z[2:].copy()


# ---- recommendations ------------------------------------------------------------------------------------------------
def test_it_learns_what_follows(fitted):
    assert fitted.recommend([["tent"], ["tent", "stove"], ["pen"]], k=1).tolist() == [["stove"], ["gas"], ["ink"]]
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0] / 2
    assert fitted.items_.tolist() == sorted({item for kit in KITS for item in kit})


@pytest.mark.parametrize("history", [[], ["pen"], ["tent", "stove", "gas"]])
def test_recommendations_are_the_items_with_the_largest_logits(fitted, history):
    z = step_scores(fitted, history)
    expected = fitted._vocabulary.tokens[np.argsort(-z)]
    for k in (1, 3, len(z)):
        assert fitted.recommend([history], k=k).tolist() == [expected[:k].tolist()]


def test_equal_scores_go_by_frequency(fitted):
    model = clone(fitted).fit(KITS)
    model.layers_[-1].weight = np.zeros(model.layers_[-1].shapes["weight"])
    model.layers_[-1].bias = np.zeros(model.n_outputs_)
    assert model.recommend([["pen"]], k=3).tolist() == [model._vocabulary.tokens[:3].tolist()]
    ranks = [model.mean_reciprocal_rank([[item]]) for item in model._vocabulary.tokens]
    assert ranks == [1 / (1 + i) for i in range(len(ranks))]


def test_nothing_is_left_out_unless_asked_for(fitted):
    n = len(fitted.items_)
    history = ["tent", "stove", "tent"]
    assert sorted(fitted.recommend([history], k=n)[0]) == fitted.items_.tolist()
    rest = fitted.recommend([history], k=n - 2, exclude_seen=True)[0]
    assert sorted(rest) == sorted(set(fitted.items_) - set(history))
    with pytest.raises(
        ValueError, match=rf"k={n - 1} items are wanted for histories\[1\], but the history leaves {n - 2}"
    ):
        fitted.recommend([[], history], k=n - 1, exclude_seen=True)
    with pytest.raises(ValueError, match=rf"k={n + 1} items .* there are {n}"):
        fitted.recommend([history], k=n + 1)


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_ranks_against_a_search(fitted, exclude_seen):
    histories = [["tent", "stove"], ["pen", "ink", "pen"], ["gas"], ["ink", "ink"], ["lamp", "tent", "paper"]]
    ranks = []
    for *rest, last in histories:
        order = list(fitted.recommend([rest], k=len(fitted.items_))[0])
        ranks.append(1 + order.index(last) - (len({*rest} & {*order[: order.index(last)]}) if exclude_seen else 0))
    for k in (1, 2, 5):
        assert fitted.score(histories, k, exclude_seen=exclude_seen) == np.mean(np.array(ranks) <= k)
        expected = np.mean([1 / rank if rank <= k else 0 for rank in ranks])
        assert fitted.mean_reciprocal_rank(histories, k, exclude_seen=exclude_seen) == pytest.approx(expected)
    assert fitted.mean_reciprocal_rank(histories, exclude_seen=exclude_seen) == pytest.approx(
        np.mean(1 / np.array(ranks))
    )


def test_results_do_not_depend_on_company_blocks_or_threads(fitted, monkeypatch):
    histories = [kit[:j] for kit in KITS[:4] for j in range(len(kit) + 1)]
    together = fitted.recommend(histories, k=7)
    monkeypatch.setattr("lstmfast.estimators.recommender.BLOCK_SCORES", 30)
    assert (fitted.recommend(histories, k=7) == together).all()
    assert (clone(fitted).set_params(n_jobs=2).fit(KITS).recommend(histories[::-1], k=7)[::-1] == together).all()
    for history, row in zip(histories, together, strict=True):
        assert (fitted.recommend([history], k=7)[0] == row).all()


def test_integers_and_arrays():
    histories = [np.array([30, -1, 7]), [7, 30], (30,)] * 4
    model = small(max_iter=1).fit(histories)
    assert model.items_.tolist() == [-1, 7, 30]
    found = model.recommend([[30], np.array([7])], k=2)
    assert found.dtype == np.int64
    assert found.shape == (2, 2)
    assert model.recommend(np.array([[30, 7], [7, 7]]), k=1).shape == (2, 1)


def test_a_single_item():
    model = small().fit([["a", "a"], ["a"]])
    assert model.recommend([[], ["a"]], k=1).tolist() == [["a"], ["a"]]
    assert model.score([["a"]], k=1) == 1


def test_training_skips_empty_histories_only():
    assert small(dtype="float64").fit(KITS).loss_ == pytest.approx(
        small(dtype="float64", batch_size=32).fit(KITS).loss_
    )
    with pytest.raises(ValueError, match="histories"):
        small().fit([[], []])


def test_histories_without_known_items_are_not_held_out_and_not_learnt_from():
    with pytest.raises(ValueError, match="of 1 sequences leaves"):
        small(early_stopping=True).fit([["a", "b", "a"], []])
    model = small(warm_start=True).fit(KITS)
    with pytest.raises(ValueError, match="histories hold no item"):
        model.fit([["unknown"], []])
    with pytest.raises(ValueError, match="histories_val hold no item"):
        model.fit(KITS, histories_val=[["unknown"], []])


# ---- sampled softmax ------------------------------------------------------------------------------------------------
def test_a_sampled_softmax_learns_the_same(fitted):
    model = small(max_iter=40, learning_rate_init=0.02, n_samples=2).fit(KITS)
    assert model.recommend([["tent"], ["tent", "stove"], ["pen"]], k=1).tolist() == [["stove"], ["gas"], ["ink"]]
    again = clone(model).set_params(n_jobs=2).fit(KITS)
    assert (again._network.parameters == model._network.parameters).all()


def test_a_sampled_softmax_in_files_and_warm_starts(tmp_path):
    model = small(n_samples=3, warm_start=True).fit(KITS)
    model.save(tmp_path / "model.lstmfast")
    loaded = lstmfast.load(tmp_path / "model.lstmfast")
    assert (loaded.recommend(KITS, k=7) == model.recommend(KITS, k=7)).all()
    first = model.loss_
    assert model.fit(KITS).loss_ < first
    with pytest.raises(ValueError, match="n_samples=3, not None"):
        model.set_params(n_samples=None).fit(KITS)


# ---- unknown items --------------------------------------------------------------------------------------------------
def test_unknown_items_are_ignored_or_an_error(fitted):
    with_unknown = ["bear", "tent", "bear", "stove"]
    assert (fitted.recommend([with_unknown], k=5) == fitted.recommend([["tent", "stove"]], k=5)).all()
    assert fitted.score([["tent", "bear"], ["tent", "stove"]], k=7) == 0.5
    assert fitted.mean_reciprocal_rank([["tent", "bear"]]) == 0
    assert fitted.score([["bear", "tent", "bear", "stove"]], k=1) == fitted.score([["tent", "stove"]], k=1)
    strict = clone(fitted).set_params(handle_unknown="error").fit(KITS)
    for method in (strict.recommend, strict.score, strict.mean_reciprocal_rank):
        with pytest.raises(ValueError, match=r"histories\[1\]\[2\] is 'bear', an item that fit has not seen"):
            method([["pen"], ["tent", "pen", "bear"]])
    assert strict.recommend([["pen"]], k=1).tolist() == [["ink"]]


# ---- faults ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("histories", "error", "message"),
    [
        ([], ValueError, "0 sample"),
        ("tent", TypeError, "histories"),
        (["tent", "pen"], TypeError, r"histories\[0\]"),
        ([["tent", 3]], TypeError, "str"),
        ([[1.5]], TypeError, r"histories\[0\]"),
        ([[None]], TypeError, r"histories\[0\]"),
        ([[["tent"]]], TypeError, r"histories\[0\]"),
        (None, TypeError, "histories"),
        (7, TypeError, "histories"),
    ],
)
def test_wrong_histories(fitted, histories, error, message):
    weights = fitted._network.parameters.copy()
    for method in (fitted.fit, fitted.recommend, fitted.score):
        with pytest.raises(error, match=message):
            method(histories)
    assert (fitted._network.parameters == weights).all()


def test_items_of_the_other_kind(fitted):
    with pytest.raises(TypeError, match="str"):
        fitted.recommend([[3]])


@pytest.mark.parametrize("k", [0, -1, 2.5, "10"])
def test_wrong_k(fitted, k):
    for method in (fitted.recommend, fitted.score, fitted.mean_reciprocal_rank):
        with pytest.raises(ValueError, match="'k' parameter"):
            method([["tent"]], k=k)


def test_what_has_no_last_item(fitted):
    with pytest.raises(ValueError, match=r"histories\[1\] is empty"):
        fitted.score([["tent"], []])


def test_not_fitted():
    for method in ("recommend", "score", "mean_reciprocal_rank"):
        with pytest.raises(NotFittedError):
            getattr(small(), method)([["tent"]])


@pytest.mark.parametrize(
    "arguments",
    [
        {"handle_unknown": "skip"},
        {"embedding_dim": None},
        {"embedding_dim": 0},
        {"hidden_layer_sizes": ()},
        {"max_iter": 0},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        small(**arguments).fit(KITS)


@pytest.mark.parametrize("name", ["bidirectional", "pooling", "embedding_weights"])
def test_arguments_that_make_no_sense_here(name):
    with pytest.raises(TypeError, match=f"LSTMRecommender has no argument '{name}'"):
        LSTMRecommender(**{name: 1})
    assert name not in LSTMRecommender().get_params()


# ---- an estimator among scikit-learn's ------------------------------------------------------------------------------
def test_clone_pickle_and_file(fitted, tmp_path):
    histories = [["tent"], [], ["pen", "bear"]]
    expected = fitted.recommend(histories, k=7)
    assert (pickle.loads(pickle.dumps(fitted)).recommend(histories, k=7) == expected).all()
    path = tmp_path / "model.lstmfast"
    fitted.save(path)
    loaded = lstmfast.load(path)
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.recommend(histories, k=7) == expected).all()
    assert loaded.mean_reciprocal_rank(KITS[:3]) == fitted.mean_reciprocal_rank(KITS[:3])
    loaded.set_params(warm_start=True, max_iter=2).fit(KITS)
    assert (loaded.items_ == fitted.items_).all()
    assert (clone(fitted).fit(KITS).recommend(histories, k=7) == expected).all()


@pytest.mark.parametrize("items", [["a"], ["a", "a", "b", "c", "d", "e", "f"], list("abcdefgh"), [], 3, None], ids=str)
def test_damaged_items(fitted, tmp_path, items):
    path = tmp_path / "model.lstmfast"
    fitted.save(path)
    metadata, arrays = persistence.read_model(path)
    metadata["fitted"]["items"] = {"type": "array |O", "value": items}
    persistence.write_model(path, metadata, arrays)
    with pytest.raises(ModelFormatError):
        lstmfast.load(path)


def test_model_selection():
    full = [kit for kit in KITS if kit]
    search = GridSearchCV(small(max_iter=2), {"embedding_dim": [3, 5]}, cv=2).fit(full)
    assert search.best_params_["embedding_dim"] in (3, 5)
    assert np.isfinite(cross_val_score(small(max_iter=1), full, cv=3)).all()


def test_early_stopping_and_validation():
    model = small(early_stopping=True, validation_fraction=0.25, max_iter=4).fit(KITS)
    assert len(model.validation_scores_) == model.n_iter_
    model = small(max_iter=2).fit(KITS, histories_val=[["tent", "stove"]])
    assert model.validation_scores_[1] > model.validation_scores_[0]
    with pytest.raises(ValueError, match=r"histories_val\[0\]\[1\] is 'bear'"):
        small(handle_unknown="error").fit(KITS, histories_val=[["tent", "bear"]])


def test_warm_start_goes_on():
    model = small(warm_start=True).fit(KITS)
    first = model.loss_
    assert model.fit(KITS).loss_ < first
    with pytest.raises(ValueError, match="n_features=7, not 5"):
        model.set_params(embedding_dim=5).fit(KITS)
