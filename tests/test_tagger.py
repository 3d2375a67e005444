"""LSTMTagger: a label for each step."""

import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.model_selection import cross_val_score

import lstmfast
from lstmfast import LSTMTagger, runtime
from lstmfast.losses import SoftmaxCrossEntropy
from lstmfast.network import Network
from lstmfast.sequences import StepValues, check_sequences


@pytest.fixture(scope="module")
def data():
    """Is a value larger than the one before it? (The one after it, for bidirectional taggers, is in Y_NEXT.)"""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=rng.integers(1, 9)) for _ in range(150)]
    return X, [np.array(["first", *np.where(np.diff(x) > 0, "up", "down")]) for x in X]


def small(**options):
    return LSTMTagger(**{"hidden_layer_sizes": 8, "max_iter": 3, "random_state": 0, "n_jobs": 1, **options})


def flat(model, X):
    return np.concatenate(model.predict_proba(X))


# ---- the network without pooling ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [{}, {"bidirectional": True}, {"hidden_layer_sizes": (4, 3), "dense_layer_sizes": (3,)}, {"cell": "gru"},
     {"crf": True}, {"crf": True, "bidirectional": True, "dense_layer_sizes": (3,)}],
    ids=str,
)  # fmt: skip
def test_gradients_agree_with_finite_differences(options, monkeypatch):
    monkeypatch.setattr("lstmfast.stack.GROUP_BYTES", 1)
    monkeypatch.setattr("lstmfast.stack.MIN_GROUP_SEQUENCES", 3)
    rng = np.random.default_rng(0)
    sequences = check_sequences([rng.normal(size=(t, 2)) for t in (3, 1, 5, 2, 4, 4)], dtype="float64")
    net = Network(**{"n_features": 2, "hidden_layer_sizes": (4,), "n_outputs": 3, "pooling": "steps",
                     "dtype": "float64", **options})  # fmt: skip
    net.initialize(rng)
    n_steps = len(sequences.steps)
    targets = StepValues(rng.integers(0, 3, n_steps), sequences.offsets)
    weights = StepValues(rng.uniform(size=n_steps), sequences.offsets)
    rows = np.array([4, 0, 2, 1, 5])
    masks = net.draw_masks(rng, len(rows), 0.3, 0.3)

    def loss():
        net.parameters_changed()
        return net.loss_and_gradient(sequences, rows, SoftmaxCrossEntropy(), targets[rows], weights[rows], masks=masks)

    loss()
    gradients, step = net.gradients.copy(), 1e-6
    for k in range(len(net.parameters)):
        middle = net.parameters[k]
        net.parameters[k] = middle + step
        above = loss()
        net.parameters[k] = middle - step
        below = loss()
        net.parameters[k] = middle
        assert abs(gradients[k] - (above - below) / (2 * step)) < 1e-8


def test_the_loss_is_the_weighted_mean_over_steps():
    rng = np.random.default_rng(0)
    sequences = check_sequences([rng.normal(size=(t, 2)) for t in (3, 1, 5)], dtype="float64")
    net = Network(2, (4,), 3, pooling="steps", dtype="float64")
    net.initialize(rng)
    labels, weights = rng.integers(0, 3, 9), rng.uniform(size=9)
    z = net.outputs(sequences)
    probabilities = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = -(weights * np.log(probabilities[np.arange(9), labels])).sum()
    given = [StepValues(values, sequences.offsets) for values in (labels, weights)]
    assert net.loss_and_gradient(sequences, np.arange(3), SoftmaxCrossEntropy(), *given) == pytest.approx(expected)


# ---- the estimator --------------------------------------------------------------------------------------------------
def test_it_learns(data):
    X, y = data
    tagger = small(hidden_layer_sizes=16, max_iter=60, learning_rate_init=0.01).fit(X[:110], y[:110])
    assert tagger.score(X[110:], y[110:]) > 0.85
    assert tagger.classes_.tolist() == ["down", "first", "up"]
    predicted = tagger.predict(X[110:])
    assert [len(labels) for labels in predicted] == [len(x) for x in X[110:]]
    right = np.concatenate([p == t for p, t in zip(predicted, y[110:], strict=True)])
    assert tagger.score(X[110:], y[110:]) == pytest.approx(right.mean())


def test_two_directions_see_what_comes_after(data):
    X, _ = data
    y = [["last" if i + 1 == len(x) else "up" if x[i + 1] > x[i] else "down" for i in range(len(x))] for x in X]
    options = {"hidden_layer_sizes": 16, "max_iter": 60, "learning_rate_init": 0.01}
    one = small(**options).fit(X[:110], y[:110]).score(X[110:], y[110:])
    both = small(bidirectional=True, **options).fit(X[:110], y[:110]).score(X[110:], y[110:])
    assert both > 0.85 > one


def test_the_same_bits_alone_after_a_file_a_pickle_a_clone_and_in_the_runtime(data, tmp_path):
    X, y = data
    tagger = small(bidirectional=True, hidden_layer_sizes=(5, 4), dense_layer_sizes=3).fit(X, y)
    expected = flat(tagger, X)
    assert np.allclose(expected.sum(axis=1), 1)
    assert np.concatenate([tagger.predict_proba([x])[0] for x in X]).tobytes() == expected.tobytes()
    tagger.save(tmp_path / "model")
    served = runtime.load(tmp_path / "model")
    twins = [lstmfast.load(tmp_path / "model"), pickle.loads(pickle.dumps(tagger)), clone(tagger).fit(X, y), served]
    for twin in twins:
        assert flat(twin, X).tobytes() == expected.tobytes()
        assert all((a == b).all() for a, b in zip(twin.predict(X), tagger.predict(X), strict=True))
    two = small(bidirectional=True, hidden_layer_sizes=(5, 4), dense_layer_sizes=3, n_jobs=2).fit(X, y)
    assert flat(two, X).tobytes() == expected.tobytes()


def test_streams_and_steps_are_the_prediction(data):
    X, y = data
    tagger = small().fit(X, y)
    stream, expected = tagger.stream(), tagger.predict_proba(X[:1])[0]
    assert (np.stack([stream.step([value]) for value in X[0]]) == expected).all()
    assert (tagger.predict_steps(X[:1])[0] == expected).all()
    logs = np.concatenate(tagger.predict_log_proba(X))
    np.testing.assert_allclose(np.exp(logs), flat(tagger, X), rtol=1e-5)
    assert [f.shape for f in tagger.transform(X[:2])] == [(len(x), 8) for x in X[:2]]


def test_arrays_and_tokens():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (60, 7))
    y = np.where(X > 2, "large", "small")
    tagger = small(embedding_dim=4, max_iter=40, learning_rate_init=0.05).fit(X, y)
    assert tagger.score(X, y) == 1
    values = small(max_iter=2).fit(rng.normal(size=(60, 7, 3)), y)
    assert np.shape(values.predict(rng.normal(size=(4, 7, 3)))) == (4, 7)


def test_weights_of_sequences_steps_and_classes(data):
    X, y = data
    lengths = [len(x) for x in X]
    by_sequence = np.random.default_rng(0).uniform(size=len(X))
    by_step = [np.full(t, weight) for t, weight in zip(lengths, by_sequence, strict=True)]
    a, b = (small().fit(X, y, sample_weight=weight) for weight in (by_sequence, by_step))
    assert flat(a, X).tobytes() == flat(b, X).tobytes() != flat(small().fit(X, y), X).tobytes()
    assert a.score(X, y, by_sequence) == pytest.approx(a.score(X, y, by_step))
    only = small(max_iter=60, class_weight={"up": 1e4}).fit(X, y)
    assert (np.concatenate(only.predict(X)) == "up").mean() > 0.9


def test_masked_steps_do_not_count(data):
    X, y = data
    rng = np.random.default_rng(0)
    weights = [(rng.random(len(x)) < 0.7).astype(float) for x in X]
    spoiled = [np.where(weight == 0, "up", labels) for weight, labels in zip(weights, y, strict=True)]
    models = [small().fit(X, labels, sample_weight=weights) for labels in (y, spoiled)]
    assert flat(models[0], X).tobytes() == flat(models[1], X).tobytes()


def test_partial_fit_early_stopping_and_validation(data):
    X, y = data
    tagger = small().partial_fit(X, y, classes=["down", "first", "up"])
    before = tagger.loss_
    for _ in range(5):
        tagger.partial_fit(X, y)
    assert tagger.loss_ < before
    with pytest.raises(ValueError, match="classes"):
        small().partial_fit(X, y)
    stopped = small(early_stopping=True, max_iter=5).fit(X, y)
    assert len(stopped.validation_scores_) == stopped.n_iter_
    given = small().fit(X[10:], y[10:], X_val=X[:10], y_val=y[:10])
    assert given.validation_scores_[-1] == pytest.approx(given.score(X[:10], y[:10]))


def test_scikit_learn_s_tools(data):
    X, y = data
    assert not is_classifier(small())
    assert len(cross_val_score(small(), np.array(X, object), np.array(y, object), cv=3)) == 3
    assert "pooling" not in small().get_params()
    assert "pooling :" not in LSTMTagger.__doc__
    with pytest.raises(TypeError, match="pooling"):
        LSTMTagger(pooling="mean")


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        ([["a"], ["a", "b"]], ValueError, r"y\[0\] has 1 labels, but X\[0\] has 2 steps"),
        ([["a", "b"]], ValueError, "each of the 2 sequences, got 1"),
        ("ab", TypeError, "list of label sequences"),
        (["ab", ["a"]], TypeError, r"y\[0\]"),
        ([1, 2], TypeError, r"y\[0\] must be a sequence of labels"),
        ([[["a"], ["b"]], ["a"]], ValueError, r"y\[0\] must be one-dimensional"),
        ([["a", 1], ["a"]], TypeError, "all strings or all numbers, got int, str"),
        ([["a", "b"], [1]], TypeError, "all strings or all numbers, got int, str"),
        ([["a", None], ["a"]], TypeError, "all strings or all numbers, got NoneType, str"),
        ([[0, None], [0]], TypeError, "all strings or all numbers, got NoneType, int"),
        ([[0, np.nan], [0]], ValueError, "y contains NaN"),
        ([["a", "b"], []], ValueError, r"y\[1\] has 0 labels, but X\[1\] has 1 steps"),
        ([["a", "b"], ["a", "b"]], ValueError, r"y\[1\] has 2 labels, but X\[1\] has 1 steps"),
        ([["a", "b"], ["a"], ["a"]], ValueError, "each of the 2 sequences, got 3"),
        ([], ValueError, "each of the 2 sequences, got 0"),
        ([["a", "b"], None], TypeError, r"y\[1\] must be a sequence of labels, got NoneType"),
        (None, ValueError, "requires y"),
        ([[0, np.inf], [0]], ValueError, "y contains infinity"),
        ([[0.5, 1.5], [2.5]], ValueError, "Unknown label type: continuous"),
    ],
)
def test_bad_labels_28_to_36(y, error, match):
    """By a new tagger and by a fitted one, which stays as it was."""
    for options, X in (({}, [[1.0, 2.0], [3.0]]), ({"embedding_dim": 2}, [[0, 1], [1]])):
        new, fitted = small(**options), small(**options).fit(X, [["a", "b"], ["a"]])
        before = pickle.dumps(vars(fitted))
        for call in (new.fit, fitted.fit, fitted.partial_fit):
            with pytest.raises(error, match=match):
                call(X, y)
        assert not hasattr(new, "_network")
        assert pickle.dumps(vars(fitted)) == before


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (None, TypeError, "list of label sequences, .* got NoneType"),
        ([["a", "b"]], ValueError, "each of the 2 sequences, got 1"),
        ([["a"], ["a"]], ValueError, r"y\[0\] has 1 labels, but X\[0\] has 2 steps"),
        ([["a", 1], ["a"]], TypeError, "all strings or all numbers"),
        ([["a", None], ["a"]], TypeError, "all strings or all numbers"),
        ([[0, 1], [0]], TypeError, r"of the kind that was learned, \['a' 'b'\], got 0"),
    ],
)
def test_score_refuses_what_fit_does(y, error, match):
    X = [[1.0, 2.0], [3.0]]
    tagger = small().fit(X, [["a", "b"], ["a"]])
    with pytest.raises(error, match=match):
        tagger.score(X, y)
    assert tagger.score(X, [["z", "z"], ["z"]]) == 0  # labels that were never seen may come
    numbers = small().fit(X, [[1, 2], [1]])
    with pytest.raises(TypeError, match=r"of the kind that was learned, \[1 2\], got '1'"):
        numbers.score(X, [["1", "2"], ["1"]])


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [-1, 1], [False, True], [1.0, 2.0], np.array(["a", "b"], dtype=object)], ids=str
)
def test_kinds_of_labels_36(labels):
    X = [np.arange(4.0), np.arange(2.0)]
    y = [np.asarray(labels)[[0, 1, 1, 0]], np.asarray(labels)[[1, 0]]]
    tagger = small().fit(X, y)
    assert tagger.classes_.tolist() == list(labels)
    assert {label for sequence in tagger.predict(X) for label in sequence.tolist()} <= set(labels)
    assert small().fit(X, [part.tolist() for part in y]).classes_.tolist() == list(labels)


def test_unseen_labels_35():
    X, y, unseen = [[1.0, 2.0], [3.0]], [["a", "b"], ["a"]], [["a", "z"], ["a"]]
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        small().partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y holds \['z'\], which are not among the classes"):
        small().partial_fit(X, unseen, classes=["a", "b"])
    tagger = small().partial_fit(X, y, classes=["a", "b"])
    before = pickle.dumps(vars(tagger))
    with pytest.raises(ValueError, match=r"y holds \['z'\], which are not among the classes of the first fit"):
        tagger.partial_fit(X, unseen)
    with pytest.raises(ValueError, match="are not those of the first call"):
        tagger.partial_fit(X, y, classes=["a", "z"])
    assert pickle.dumps(vars(tagger)) == before


@pytest.mark.parametrize("crf", [False, True])
def test_one_label_one_token_and_empty_strings_34(crf):
    tagger = small(embedding_dim=2, crf=crf).fit([[0, 0], [0]], [["", ""], [""]])
    assert tagger.score([[0], [0, 0, 0]], [[""], [""] * 3]) == 1
    for X in ([[0], []], [], [[0, "a"]], [[1]]):
        with pytest.raises((ValueError, TypeError), match=r"0 time step|0 sample|SequenceVectorizer|below 1, got 1"):
            tagger.predict(X)


@pytest.mark.parametrize(
    ("weights", "match"),
    [([1.0], "2 entries"), ([[1.0], [1.0]], r"sample_weight\[0\]"), ([1.0, -1.0], "negative"), ([0.0, 0.0], "zero")],
)
def test_bad_weights(weights, match):
    with pytest.raises(ValueError, match=match):
        small().fit([[1.0, 2.0], [3.0]], [["a", "b"], ["a"]], sample_weight=weights)


# ---- with a CRF -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def chains():
    """Labels that are never the same twice running, of which x tells half of the time which."""
    rng = np.random.default_rng(0)
    X, y = [], []
    for _ in range(300):
        labels = [int(rng.integers(3))]
        while len(labels) < rng.integers(2, 9):
            labels.append((labels[-1] + int(rng.integers(1, 3))) % 3)
        known = rng.random(len(labels)) < 0.5
        X.append(np.eye(3)[labels] * known[:, None])
        y.append(np.array(labels))
    return X, y


def test_a_crf_knows_which_labels_follow_each_other(chains):
    X, y = chains
    options = {"max_iter": 30, "learning_rate_init": 0.02, "bidirectional": True}
    with_crf, without = (small(crf=crf, **options).fit(X[:200], y[:200]) for crf in (True, False))
    repeats = [
        sum((np.diff(labels) == 0).sum() for labels in tagger.predict(X[200:])) for tagger in (with_crf, without)
    ]
    assert repeats[0] == 0 < repeats[1]
    assert with_crf.score(X[200:], y[200:]) > 0.6
    marginals = np.concatenate(with_crf.predict_proba(X[200:]))
    np.testing.assert_allclose(marginals.sum(axis=1), 1, rtol=1e-5)
    logs = np.concatenate(with_crf.predict_log_proba(X[200:]))
    np.testing.assert_allclose(np.exp(logs), marginals, rtol=1e-5)


def test_a_crf_s_loss_is_the_likelihood_of_all_label_sequences(chains):
    """By enumeration: minus the logarithm of the probability of the right one, over the steps of all."""
    X, y = chains[0][:5], [labels[:4] for labels in chains[1][:5]]
    X = [x[:4] for x in X]
    tagger = small(crf=True, dtype="float64", max_iter=1, alpha=0.0, batch_size=5).fit(X, y)
    before = tagger.loss_
    twin = small(crf=True, dtype="float64", max_iter=1, alpha=0.0, batch_size=5, learning_rate_init=1e-300).fit(X, y)
    network, total = twin._network, 0.0
    for x, labels in zip(X, y, strict=True):
        z = network.outputs(check_sequences([x], dtype="float64"))
        crf = network.crf

        def score(path, z=z, crf=crf):
            steps = sum(z[t, k] for t, k in enumerate(path))
            moves = sum(crf.transitions[a, b] for a, b in itertools.pairwise(path))
            return crf.start[path[0]] + steps + moves + crf.end[path[-1]]

        everything = [score(path) for path in itertools.product(range(3), repeat=len(z))]
        total += np.logaddexp.reduce(everything) - score(labels)
    assert before == pytest.approx(total / sum(len(x) for x in X), rel=1e-12)


def test_a_crf_has_the_same_bits_after_a_file_and_in_the_runtime(chains, tmp_path):
    X, y = chains
    tagger = small(crf=True, early_stopping=True).fit(X, y)
    tagger.save(tmp_path / "model")
    expected = flat(tagger, X).tobytes()
    for twin in (
        lstmfast.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(tagger)),
        runtime.load(tmp_path / "model"),
    ):
        assert flat(twin, X).tobytes() == expected
        assert all((a == b).all() for a, b in zip(twin.predict(X), tagger.predict(X), strict=True))
    assert (
        small(crf=True, n_jobs=2).fit(X, y)._network.parameters == small(crf=True).fit(X, y)._network.parameters
    ).all()


def test_what_a_crf_cannot_do(chains):
    X, y = chains[0][:9], chains[1][:9]
    tagger = small(crf=True).fit(X, y, sample_weight=np.arange(9.0))
    for method in (tagger.stream, lambda: tagger.predict_steps(X)):
        with pytest.raises(ValueError, match="CRF"):
            method()
    for options, weights in [({"class_weight": "balanced"}, None), ({}, [np.ones(len(x)) for x in X])]:
        with pytest.raises(ValueError, match="whole sequences"):
            small(crf=True, **options).fit(X, y, sample_weight=weights)
