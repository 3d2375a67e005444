"""Tokens: the embedding layer, its sparse gradient, and estimators on sequences of tokens."""

import argparse
import inspect
import pickle
import statistics

import numpy as np
import pytest
from gradients import central_differences
from sklearn.base import clone
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

import lstmfast
from lstmfast import LSTMClassifier, LSTMRegressor, SequenceVectorizer, _core, runtime
from lstmfast.layers import Embedding
from lstmfast.losses import SoftmaxCrossEntropy
from lstmfast.network import Network
from lstmfast.optimizers import SOLVERS, Optimizer
from lstmfast.sequences import check_tokens

N_TOKENS, DIM = 11, 3


@pytest.fixture(scope="module")
def data():
    """Ragged sequences of tokens; the class is whether token 7 comes in them."""
    rng = np.random.default_rng(0)
    X = [rng.integers(0, N_TOKENS, rng.integers(1, 9)) for _ in range(150)]
    X[0] = np.arange(N_TOKENS)
    return X, np.array([int(7 in x) for x in X])


def network(dtype="float64", **options):
    options = {"n_features": DIM, "hidden_layer_sizes": (5,), "n_outputs": 2, "n_tokens": N_TOKENS, **options}
    built = Network(dtype=dtype, **options)
    built.initialize(np.random.default_rng(1))
    return built


def small(cls=LSTMClassifier, **options):
    options = {"hidden_layer_sizes": 8, "embedding_dim": DIM, "max_iter": 3, "random_state": 0, "n_jobs": 1, **options}
    return cls(**options)


# ---- the layer ------------------------------------------------------------------------------------------------------
def test_gradient_is_the_sum_over_a_tokens_places():
    rng = np.random.default_rng(0)
    tokens, dy = rng.integers(0, N_TOKENS, 50), rng.normal(size=(50, DIM))
    layer = Embedding(N_TOKENS + 5, DIM, dtype="float64", random_state=0)
    layer.backward(tokens, dy)
    expected = np.zeros((N_TOKENS + 5, DIM))
    np.add.at(expected, tokens, dy)
    assert layer.rows.tolist() == sorted(set(tokens.tolist()))
    np.testing.assert_allclose(layer.row_grads, expected[layer.rows], rtol=1e-12)
    assert (np.delete(expected, layer.rows, axis=0) == 0).all()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "pooling": "mean"}, {"hidden_layer_sizes": (4, 3)},
                                     {"cell": "gru", "pooling": "max"}], ids=str)  # fmt: skip
def test_gradients_agree_with_finite_differences(data, options, monkeypatch):
    monkeypatch.setattr("lstmfast.stack.GROUP_BYTES", 1)
    monkeypatch.setattr("lstmfast.stack.MIN_GROUP_SEQUENCES", 3)  # several groups: their gradients add up
    net, (X, y) = network(**options), data
    sequences, rows = check_tokens(X), np.arange(7)
    weights = np.full(7, 1 / 7)

    def loss():
        net.parameters_changed()
        return net.loss_and_gradient(sequences, rows, SoftmaxCrossEntropy(), y[rows], weights)

    loss()
    gradient = np.zeros((N_TOKENS, DIM))
    gradient[net.embedding.rows] = net.embedding.row_grads
    expected = central_differences(loss, net.embedding.arrays["weight"])
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_changes_the_rows_that_were_read_as_a_dense_one_would(data, solver):
    """The first step: later ones differ, as the moments of rows that are not read wait."""
    net, (X, y) = network(), data
    sequences, rows = check_tokens(X), np.array([3, 4, 5])
    net.loss_and_gradient(sequences, rows, SoftmaxCrossEntropy(), y[rows], np.full(3, 1 / 3))
    before, touched = net.embedding.arrays["weight"].copy(), net.embedding.rows
    options = {"alpha": 0.0, "l1_ratio": 0.0, "clip_norm": None, "momentum": 0.9, "nesterovs_momentum": True,
               "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}  # fmt: skip
    optimizer = Optimizer(net, solver=solver, **options)
    norm, _ = optimizer.penalise(net)
    dense = np.zeros((N_TOKENS, DIM))
    dense[touched] = net.embedding.row_grads
    assert norm == pytest.approx(np.sqrt((net.gradients**2).sum() + (dense**2).sum()), rel=1e-12)
    expected, first, second = before.reshape(-1).copy(), np.zeros(dense.size), np.zeros(dense.size)
    _core.optimizer_step(
        "adam" if solver == "adamw" else solver, expected, dense.reshape(-1), first, second, 0, True, scale=1.0,
        learning_rate=0.01, step=1, **optimizer.options,
    )  # fmt: skip
    optimizer.step(net, 0.01, norm)
    np.testing.assert_allclose(net.embedding.arrays["weight"], expected.reshape(before.shape), rtol=1e-12)
    assert (net.embedding.arrays["weight"][touched] != before[touched]).any(axis=1).all()


# ---- estimators -----------------------------------------------------------------------------------------------------
def test_it_learns_which_token_counts(data):
    X, y = data
    classifier = small(max_iter=60, learning_rate_init=0.02).fit(X[:120], y[:120])
    assert classifier.score(X[120:], y[120:]) > max(y[120:].mean(), 1 - y[120:].mean()) + 0.1
    assert classifier.n_features_in_ == 1
    assert classifier._network.embedding.n_tokens == N_TOKENS


@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_files_pickles_clones_and_the_runtime_have_the_same_bits(data, cls, tmp_path):
    X, y = data
    estimator = small(cls).fit(X, y)

    def outputs(model):
        return model.predict_proba(X) if cls is LSTMClassifier else model.predict(X)

    expected = outputs(estimator).tobytes()
    estimator.save(tmp_path / "model")
    twins = [lstmfast.load(tmp_path / "model"), pickle.loads(pickle.dumps(estimator)), clone(estimator).fit(X, y)]
    for twin in [*twins, runtime.load(tmp_path / "model")]:
        assert outputs(twin).tobytes() == expected


def test_the_same_bits_alone_and_on_any_number_of_threads(data):
    X, y = data
    classifier = small().fit(X, y)
    together = classifier.predict_proba(X)
    assert all((classifier.predict_proba([x])[0] == row).all() for x, row in zip(X, together, strict=True))
    two = small(n_jobs=2).fit(X, y)
    assert (two._network.parameters == classifier._network.parameters).all()


def test_streams_step_by_token(data):
    X, y = data
    classifier = small().fit(X, y)
    stream = classifier.stream()
    for token, expected in zip(X[0], classifier.predict_steps([X[0]])[0], strict=True):
        assert (stream.step(token) == expected).all()
    several, out = classifier.stream(3), np.empty((3, 2), np.float32)
    several.step([1, 2, 3])
    state, twin = several.state, several.copy()
    assert (several.step([4, 5, 6], out=out) == twin.step([4, 5, 6])).all()
    several.state = state
    assert (several.step(np.array([4, 5, 6])) == out).all()
    with pytest.raises(ValueError, match="below 11, got 11"):
        several.step([0, 1, 11])
    with pytest.raises(ValueError, match="shape"):
        several.step(4)
    assert (several.state["n_steps"] == 2).all()


def test_given_vectors_are_where_training_starts(data):
    X, y = data
    vectors = np.random.default_rng(3).normal(size=(N_TOKENS + 2, DIM))
    classifier = small(embedding_weights=vectors, learning_rate_init=1e-12).fit(X, y)
    assert classifier._network.embedding.n_tokens == N_TOKENS + 2
    np.testing.assert_allclose(classifier._network.embedding.weight, vectors.astype(np.float32), atol=1e-6)
    assert classifier.predict([[N_TOKENS + 1]]).shape == (1,)


def test_unused_tokens_do_not_move(data):
    X, y = data
    vectors = np.random.default_rng(3).normal(size=(N_TOKENS + 2, DIM)).astype(np.float32)
    weight = small(embedding_weights=vectors, alpha=0.1).fit(X, y)._network.embedding.weight
    assert (weight[N_TOKENS:] == vectors[N_TOKENS:]).all()
    assert (weight[:N_TOKENS] != vectors[:N_TOKENS]).any(axis=1).all()


def test_going_on_knows_the_tokens_of_the_first_fit(data):
    X, y = data
    classifier = small(warm_start=True).fit(X, y)
    assert classifier.fit(X[1:3], [0, 1])._network.embedding.n_tokens == N_TOKENS
    before = classifier.predict_proba(X).tobytes()
    for change in (classifier.fit, classifier.partial_fit):
        with pytest.raises(ValueError, match="below 11, got 99"):
            change([[99], [1]], [0, 1])
    assert classifier.predict_proba(X).tobytes() == before


@pytest.mark.parametrize("layout", ["array", "lists", "int32", "uint8"])
def test_accepted_layouts(layout):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 5, (20, 4)), np.arange(20) % 2
    expected = small().fit(X, y).predict_proba(X).tobytes()
    given = {"array": X, "lists": X.tolist(), "int32": X.astype(np.int32), "uint8": X.astype(np.uint8)}[layout]
    assert small().fit(given, y).predict_proba(given).tobytes() == expected


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (np.zeros((4, 3)), TypeError, "X must hold integers.*float64"),
        ([[0.5, 1.0], [1.0], [2.0], [3.0]], TypeError, "integers"),
        (["a b", "c", "d", "e"], TypeError, "SequenceVectorizer"),
        ([[1, 2], [-1], [3], [4]], ValueError, r"not negative, got -1 at X\[1\]\[0\]"),
        (np.zeros((4, 3, 2), int), ValueError, "one a step"),
        ([[1, 2], [], [3], [4]], ValueError, r"X\[1\] with 0 time step"),
        ([[], [], [], []], ValueError, r"0 feature\(s\) \(shape=\(4, 0\)\)"),
        ([np.array([], int), [], [1], [2]], ValueError, r"X\[0\] with 0 time step"),
        ([], ValueError, r"0 sample\(s\)"),
        (np.zeros((4, 0), int), ValueError, r"0 feature\(s\)"),
        (np.ones((4, 2), bool), TypeError, "X must hold integers.*got dtype bool"),
        ([[1, 2], [True, 2], [3], [4]], TypeError, r"X\[1\] must hold integers.*got True \(bool\)"),
        ([[1, 2], [1, "a"], [3], [4]], TypeError, r"X\[1\] must .*got 'a' \(str\); text first needs a Seq"),
        ([[1, 2], ["a"], [3], [4]], TypeError, r"X\[1\] must .*got 'a' \(str\); text first needs a Seq"),
        ([[1, 2], [1, None], [3], [4]], TypeError, r"X\[1\] must .*got None \(NoneType\); embedding_dim is set"),
        ([[1, 2], [1, 2.0], [3], [4]], TypeError, r"X\[1\] must .*got 2.0 \(float\)"),
        ([[1, 2], None, [3], [4]], TypeError, r"X\[1\] must .*got None \(NoneType\)"),
        ([[1, 2], [1, 2**64], [3], [4]], TypeError, r"X\[1\] must hold integers below 2\*\*31 - 1.*got 184467"),
        ([[1, 2], [2**63], [3], [4]], ValueError, r"X\[1\] must hold integers below 2\*\*31 - 1, .*got 9223372036854"),
        (np.full((4, 1), 2**64 - 1, np.uint64), ValueError, "X must hold .*got 18446744073709551615"),
        ([[1, 2], [3, 2**31 - 1], [3], [4]], ValueError, r"below 2147483647, got 2147483647 at X\[1\]\[1\]"),
        ([1, 2, 3, 4], ValueError, r"list of sequences of tokens, got one sequence\. Pass \[X\]"),
        (np.arange(4), ValueError, r"list of sequences of tokens, got one sequence\. Pass \[X\]"),
        ("abcd", TypeError, "X must hold integers.*SequenceVectorizer"),
        (np.array([["a", "b"]] * 4, object), TypeError, r"X must .*got 'a' \(str\); text first"),
        (np.array([[1, 2]] * 4, object), TypeError, "X must .*got dtype object; give the array an integer dtype"),
        ([np.array(["2020"], "M8[D]")] * 4, TypeError, r"X\[0\] must .*got dtype datetime64"),
        ([{1}, {2}, {3}, {4}], TypeError, r"X\[0\] must .*got \{1\} \(set\)"),
        (None, TypeError, r"X must .*got None \(NoneType\)"),
    ],
    ids=lambda value: None if isinstance(value, type) else repr(value)[:30] if not isinstance(value, str) else "",
)  # fmt: skip
def test_bad_tokens(X, error, match):
    classifier = small()
    with pytest.raises(error, match=match):
        classifier.fit(X, [0, 1, 0, 1])
    assert not hasattr(classifier, "_network")


@pytest.mark.parametrize("y", [[0], [0, 1, 0], [], [0, "a"], [0, None], [0, np.nan], None])
@pytest.mark.parametrize("cls", [LSTMClassifier, LSTMRegressor])
def test_bad_targets(cls, y):
    estimator = small(cls)
    match = "inconsistent numbers of samples|strings or all numbers|requires y|contains NaN|could not convert string"
    with pytest.raises((ValueError, TypeError), match=match):
        estimator.fit([[0, 1], [1]], y)
    assert not hasattr(estimator, "_network")


def test_a_vocabulary_of_one():
    for X in ([[0], [0, 0], [0]], SequenceVectorizer(max_features=1).fit_transform(["a", "a b a", "a"])):
        classifier = small().fit(X, [0, 1, 0])
        assert classifier.predict_proba(X).shape == (3, 2)
        with pytest.raises(ValueError, match=f"below {classifier._network.embedding.n_tokens}"):
            classifier.predict([[classifier._network.embedding.n_tokens]])


def test_bad_embedding_weights(data):
    X, y = data
    for weights, match in [(np.zeros((N_TOKENS, DIM + 1)), "shape"), (np.full((N_TOKENS, DIM), np.nan), "NaN"),
                           (np.zeros((3, DIM)), "below 3")]:  # fmt: skip
        with pytest.raises(ValueError, match=match):
            small(embedding_weights=weights).fit(X, y)
    with pytest.raises(ValueError, match="embedding_dim=None"):
        small(embedding_dim=None, embedding_weights=np.zeros((N_TOKENS, DIM))).fit(X, y)


def test_predict_refuses_what_fit_did_not_see(data):
    X, y = data
    classifier = small().fit(X, y)
    with pytest.raises(ValueError, match=r"below 11, got 11 at X\[1\]\[2\]"):
        classifier.predict([[1], [2, 3, 11]])
    for X, error, match in [([np.array([1.0])], TypeError, "integers"), ([[1], []], ValueError, r"X\[1\] with 0 time"),
                            ([[1, "a"]], TypeError, "SequenceVectorizer"), ([1, 2], ValueError, r"Pass \[X\]"),
                            ([], ValueError, "0 sample"), ([[1, True]], TypeError, "bool")]:  # fmt: skip
        with pytest.raises(error, match=match):
            classifier.predict(X)


# ---- text -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def texts():
    """Lines of two modules of Python's library, and which of them each is from."""
    lines, labels = [], []
    for module in (argparse, statistics):
        found = [line for line in inspect.getsource(module).splitlines() if len(line.split()) > 4][:200]
        lines += found
        labels += [module.__name__] * len(found)
    return np.array(lines, object), np.array(labels)


def test_text_classification_in_a_pipeline(texts):
    lines, labels = texts
    pipeline = make_pipeline(
        SequenceVectorizer(min_frequency=2, max_length=30),
        LSTMClassifier(16, embedding_dim=8, max_iter=40, learning_rate_init=0.02, pooling="mean", random_state=0),
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    assert cross_val_score(pipeline, lines, labels, cv=folds).mean() > 0.75  # by chance 0.5
    pipeline.fit(lines.tolist(), labels)
    assert pipeline.predict(["words that nobody has seen", "", "parser = ArgumentParser()"])[2] == "argparse"
    report = classification_report(labels, pipeline.predict(lines), output_dict=True)
    assert report["statistics"]["f1-score"] > 0.9


def test_text_classification_in_a_grid_search(texts):
    lines, labels = texts
    pipeline = make_pipeline(
        SequenceVectorizer(min_frequency=2), LSTMClassifier(4, embedding_dim=2, max_iter=2, random_state=0)
    )
    grid = {"sequencevectorizer__level": ["word", "char"], "lstmclassifier__embedding_dim": [2, 3]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(lines, labels)
    assert set(search.best_params_) == set(grid)


def test_the_unknown_token_is_known_even_where_training_has_none():
    vectorizer = SequenceVectorizer()
    X = vectorizer.fit_transform(["a b", "b c", "c a", "a c"])
    assert min(x.min() for x in X) == 1
    classifier = small().fit(X, [0, 1, 0, 1])
    assert classifier.predict(vectorizer.transform(["something else"])).shape == (1,)
