"""`explain` of every estimator and cell: attributions add up to the change of an output that is computed here, errors,
and what must not matter. The methods themselves are in test_explanations.py."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reference import PARAMETERS
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from lstmfast import (
    LSTMClassifier,
    LSTMLanguageModel,
    LSTMRecommender,
    LSTMRegressor,
    LSTMTagger,
    LSTMTranslator,
    explanations,
)  # fmt: skip
from lstmfast.explanations import on_vectors
from lstmfast.sequences import check_sequences
from lstmfast.vocabulary import END, framed

KINDS = tuple(PARAMETERS)
METHODS = ("integrated_gradients", "occlusion", "gates", "states")


def ragged(n=8, n_features=3, longest=6, seed=0):
    """n sequences of 1 to `longest` steps, the first of one, and whether their mean is positive."""
    rng = np.random.default_rng(seed)
    lengths = [1, *rng.integers(1, longest + 1, n - 1)]
    X = [rng.normal(size=(length, n_features)) for length in lengths]
    return X, np.array([x.mean() > 0 for x in X]).astype(int)


X, Y = ragged()
TAGS = [np.where(x[:, 0] > 0, "up", "down") for x in X]
TOKENS = [np.array([1, 2, 3]), np.array([0]), np.array([4, 4, 1, 0])] * 3
TEXTS = ["abcab", "ba", "caab"] * 3
SOURCES, TARGETS = [str(i) for i in range(9)], [str(i)[::-1] for i in range(100, 109)]


def small(cls, *args, **parameters):
    defaults = {"hidden_layer_sizes": (5,), "max_iter": 3, "learning_rate_init": 0.05, "random_state": 0, "n_jobs": 1}
    return cls(**defaults | parameters).fit(*args)


def scores_of(estimator, X):
    """What the output layer gives, of a classifier or regressor, in float64."""
    layer = estimator.layers_[-1]
    return estimator.transform(X).astype(np.float64) @ layer.weight.astype(np.float64) + layer.bias.astype(np.float64)


def sums(attributions):
    return np.array([values.sum() for values in attributions])


def assert_complete(attributions, change, rtol=0.01):
    np.testing.assert_allclose(sums(attributions), change, rtol=rtol, atol=1e-5 * np.abs(change).max())


def same_bits(a, b):
    return len(a) == len(b) and all(p.dtype == q.dtype and np.array_equal(p, q) for p, q in zip(a, b, strict=True))


# ---- attributions add up, whatever the estimator and the cell -------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_complete_for_every_cell(kind):
    zeros = [0 * x for x in X]
    for parameters in (
        {"bidirectional": True, "hidden_layer_sizes": (6, 4)}, {"pooling": "max", "dense_layer_sizes": 4},
        {"pooling": "mean", "activation": "relu", "dtype": "float64"},
    ):  # fmt: skip
        classifier = small(LSTMClassifier, X, Y, cell=kind, **parameters)
        predicted = classifier.predict(X)
        change = scores_of(classifier, X) - scores_of(classifier, zeros)
        assert_complete(classifier.explain(X), change[np.arange(len(X)), predicted])
        assert_complete(classifier.explain(X, target=1), change[:, 1])


def test_complete_with_convolutions_attention_and_frozen_layers():
    classifier = small(LSTMClassifier, X, Y, conv_layers=((4, 3),), pooling="attention")
    frozen = small(LSTMClassifier, X, Y, conv_layers=((4, 3),), pooling="attention", pretrained=classifier,
                   n_frozen_layers=2)  # fmt: skip
    for estimator in (classifier, frozen):
        change = scores_of(estimator, X) - scores_of(estimator, [0 * x for x in X])
        assert_complete(estimator.explain(X, target=0), change[:, 0])
        assert [gates.shape for (gates,) in estimator.explain(X, "gates")] == [(len(x), 4, 5) for x in X]
    tokens = small(LSTMRegressor, TOKENS, np.arange(9.0), embedding_dim=3)
    frozen = small(LSTMRegressor, TOKENS, np.arange(9.0), embedding_dim=3, pretrained=tokens, n_frozen_layers=1)
    blind = pickle.loads(pickle.dumps(frozen))
    blind._network.embedding.weight = np.zeros((5, 3))
    assert_complete(frozen.explain(TOKENS), frozen.predict(TOKENS) - blind.predict(TOKENS))


def test_complete_for_regressors():
    targets, baseline = np.column_stack((Y, 1 - 3 * Y)), [0.1, 2, -1]
    regressor = small(LSTMRegressor, X, targets, hidden_layer_sizes=(6, 4), dense_layer_sizes=(5, 3), max_iter=20)
    change = regressor.predict(X) - regressor.predict([np.tile(baseline, (len(x), 1)) for x in X])
    assert_complete(regressor.explain(X, baseline=baseline), change.sum(axis=1))
    assert_complete(regressor.explain(X, baseline=baseline, target=0), change[:, 0])


def test_complete_for_multilabel_targets():
    labels = np.column_stack((Y, 1 - Y, Y))
    classifier = small(LSTMClassifier, X, labels)
    change = scores_of(classifier, X) - scores_of(classifier, [0 * x for x in X])
    assert_complete(classifier.explain(X, target=2), change[:, 2])
    assert_complete(classifier.explain(X), change[np.arange(len(X)), scores_of(classifier, X).argmax(axis=1)])


@pytest.mark.parametrize("crf", [False, True])
def test_complete_for_taggers(crf):
    tagger = small(LSTMTagger, X, TAGS, crf=crf, bidirectional=True, max_iter=20)
    layer = tagger.layers_[-1]

    def scores(X):
        return [features.astype(np.float64) @ layer.weight + layer.bias for features in tagger.transform(X)]

    change = [a - b for a, b in zip(scores(X), scores([0 * x for x in X]), strict=True)]
    numbers = [np.searchsorted(tagger.classes_, labels) for labels in tagger.predict(X)]
    predicted = [c[np.arange(len(c)), k].sum() for c, k in zip(change, numbers, strict=True)]
    assert_complete(tagger.explain(X), np.array(predicted))
    assert_complete(tagger.explain(X, target="up"), np.array([c[:, 1].sum() for c in change]))
    assert_complete(tagger.explain(X, target=(-1, "up")), np.array([c[-1, 1] for c in change]))
    first = np.array([c[0, k[0]] for c, k in zip(change, numbers, strict=True)])
    assert_complete(tagger.explain(X, target=(0, None)), first)


def without_tokens(model, embedding):
    """The model after its tokens' vectors became 0, but the one of END."""
    model = pickle.loads(pickle.dumps(model))
    weight = np.zeros(embedding(model).weight.shape)
    weight[END] = embedding(model).weight[END]
    embedding(model).weight = weight
    return model


@pytest.mark.parametrize("kind", ["lstm", "gru", "lstm-peephole"])
@pytest.mark.parametrize("cls", [LSTMLanguageModel, LSTMRecommender])
def test_complete_for_the_next_token(cls, kind):
    model = small(cls, [list(text) for text in TEXTS], cell=kind, embedding_dim=4, hidden_layer_sizes=(6, 5))
    blind = without_tokens(model, lambda model: model._network.embedding)
    texts = [list("abca"), list("b"), []]
    encoded = framed(model._vocabulary.encode(texts), end=False)
    outputs, without = (m._network.outputs(encoded, last=True).astype(np.float64) for m in (model, blind))
    first = END if cls is LSTMLanguageModel else END + 1
    likely = first + outputs[:, first:].argmax(axis=1)
    found = model.explain(texts)
    assert [values.shape for values in found] == [(4,), (1,), (0,)]
    assert_complete(found[:2], (outputs - without)[[0, 1], likely[:2]])
    number = model._vocabulary.encode([["c"]])[0][0]
    assert_complete(model.explain(texts[:2], target="c"), (outputs - without)[:2, number])
    altered = model.explain([list("abca")], "occlusion", target="c")[0]
    assert altered.shape == (4,)
    pair = small(cls, [list(text) for text in TEXTS], cell=kind, embedding_dim=4, hidden_layer_sizes=(6, 5))
    np.testing.assert_array_equal(pair.explain([list("abca")], "occlusion", target="c")[0], altered)


def test_occlusion_of_a_token():
    model = small(LSTMLanguageModel, TEXTS, embedding_dim=4)
    (drops,) = model.explain(["ab"], "occlusion", target="c")
    number = model.vocabulary_["c"]

    def score(*vectors):
        network = on_vectors(model._network, lambda network: network.stack, pooling="last")
        return network.outputs(check_sequences([np.array(vectors)], dtype="float64"))[0, number]

    weight = model._network.embedding.weight.astype(np.float64)
    end, a, b = weight[END], weight[model.vocabulary_["a"]], weight[model.vocabulary_["b"]]
    expected = score(end, a, b) - np.array([score(end, 0 * a, b), score(end, a, 0 * b)])
    np.testing.assert_allclose(drops, expected, atol=1e-14)


def test_only_items_are_recommended():
    model = small(LSTMRecommender, [list(text) for text in TEXTS])
    bias = np.array([9, 8, 0, 7, 0], np.float32)  # of unknown items, the end, and a, b, c by falling frequency
    model.layers_[-1].bias = bias
    likely = model.recommend([["a", "b"]], k=1)[0, 0]
    np.testing.assert_array_equal(model.explain([["a", "b"]])[0], model.explain([["a", "b"]], target=likely)[0])


def test_sampled_outputs_and_unknown_items():
    model = small(LSTMRecommender, [list(text) for text in TEXTS], n_samples=2)
    whole, known = model.explain([["a", "?", "b"], ["?"]]), model.explain([["a", "b"], []])
    np.testing.assert_array_equal(whole[0], [known[0][0], 0, known[0][1]])
    np.testing.assert_array_equal(whole[1], [0])


@pytest.mark.parametrize("attention", [True, False])
def test_complete_for_translators(attention):
    translator = small(LSTMTranslator, SOURCES, TARGETS, level="char", attention=attention, bidirectional=True,
                       max_iter=10)  # fmt: skip
    blind = without_tokens(translator, lambda model: model._network.encoder.embedding)
    sources, targets = ["1", "23", "4"], ["12", "3", "40"]

    def scores(model, targets):
        pairs = model._encode((sources, targets, ""))
        return np.array([values.sum(dtype=np.float64) for values in model._network.log_likelihoods(pairs)])

    change = scores(translator, targets) - scores(blind, targets)
    found = translator.explain(sources, target=targets)
    assert [values.shape for values in found] == [(1,), (2,), (1,)]
    assert_complete(found, change)
    written = translator.predict(sources)
    assert_complete(translator.explain(sources), scores(translator, written) - scores(blind, written))
    drops = translator.explain(["1"], "occlusion", target=["12"])
    np.testing.assert_allclose(drops[0], change[:1], atol=1e-4)  # its only token: nothing is left


def test_complete_for_tokens():
    regressor = small(LSTMRegressor, TOKENS, np.arange(9.0), embedding_dim=3, bidirectional=True)
    blind = pickle.loads(pickle.dumps(regressor))
    blind._network.embedding.weight = np.zeros(regressor._network.embedding.weight.shape)
    found = regressor.explain(TOKENS)
    assert [values.shape for values in found] == [tokens.shape for tokens in TOKENS]
    assert_complete(found, regressor.predict(TOKENS) - blind.predict(TOKENS))
    other = [5 - tokens for tokens in TOKENS]
    other = [np.minimum(tokens, 4) for tokens in other]
    from_other = regressor.explain(TOKENS, baseline=other)
    assert_complete(from_other, regressor.predict(TOKENS) - regressor.predict(other))
    np.testing.assert_array_equal(from_other[0][[True, True, False]] != 0, [True, True])


def test_a_gap_is_told(monkeypatch):
    monkeypatch.setattr(explanations, "MOST_POINTS", 8)
    regressor = small(LSTMRegressor, X, Y, pooling="max", dense_layer_sizes=4)
    with pytest.warns(ConvergenceWarning, match=r"of X\[\d\] miss \d+\.\d% of it"):
        regressor.explain([100 * x for x in X])


def test_nothing_changes_nothing():
    regressor = small(LSTMRegressor, X, Y, pooling="max")
    for method in METHODS[:2]:
        assert not any(values.any() for values in regressor.explain(X, method, baseline=X))


# ---- what must not matter -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_company_order_and_threads_do_not_matter(method):
    tagger = small(LSTMTagger, X, TAGS, bidirectional=True, hidden_layer_sizes=(40, 20))
    tokens = small(LSTMClassifier, TOKENS, np.arange(9) % 2, embedding_dim=6, pooling="max", hidden_layer_sizes=40)
    for estimator, data in ((tagger, X), (tokens, TOKENS)):
        whole = estimator.explain(data, method)
        whole = [sequence if isinstance(sequence, list) else [sequence] for sequence in whole]
        estimator.set_params(n_jobs=3)
        backwards = estimator.explain(data[::-1], method)[::-1]
        for i in range(len(data)):
            (alone,) = estimator.explain([data[i]], method)
            assert same_bits(alone if isinstance(alone, list) else [alone], whole[i])
            assert same_bits(backwards[i] if isinstance(alone, list) else [backwards[i]], whole[i])


def test_estimator_stays_as_it_was():
    """Its gradients too; and many threads may explain at once."""
    classifier = small(LSTMClassifier, TOKENS, np.arange(9) % 2, embedding_dim=3)
    network = classifier._network
    network.gradients[...] = np.arange(network.n_dense)
    before = pickle.dumps(classifier), network.gradients.copy(), network.embedding.row_grads.copy()
    expected = classifier.explain(TOKENS)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(classifier.explain, [TOKENS] * 8):
            assert same_bits(found, expected)
    for method in METHODS:
        classifier.explain(TOKENS, method)
    assert pickle.dumps(classifier) == before[0]
    np.testing.assert_array_equal(network.gradients, before[1])
    np.testing.assert_array_equal(network.embedding.row_grads, before[2])


def test_shaped_like_x():
    rng = np.random.default_rng(5)
    cube, table = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3))
    y = np.arange(4.0)
    three, two = small(LSTMRegressor, cube, y), small(LSTMRegressor, table, y)
    for method in METHODS[:2]:
        assert three.explain(cube, method).shape == (4, 3, 2)
        found = two.explain(table, method)
        assert found.shape == (4, 3)
        assert found.dtype == np.float64
        series = two.explain(list(table), method)
        assert same_bits(series, list(found))
        assert [v.shape for v in two.explain([table[0, :2], table[1]], method)] == [(2,), (3,)]
    number = two.explain(table, baseline=1.5)
    np.testing.assert_array_equal(number, two.explain(table, baseline=np.full((4, 3), 1.5)))
    read_only = table.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(two.explain(read_only), two.explain(table))
    assert [len(two.explain(table, method)) for method in METHODS[2:]] == [4, 4]


# ---- errors ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "lime"}, "'method' parameter of explain must be a str among"),
        ({"method": "occlusion", "window": 0}, "'window' parameter of explain must be an int in the range"),
        ({"window": 2}, "method='integrated_gradients' has no use for window"),
        ({"method": "gates", "target": 1}, "method='gates' has no use for target"),
        ({"method": "states", "baseline": 0}, "method='states' has no use for baseline"),
        ({"target": 7}, r"target must be one of the labels, \[0, 1\], got 7"),
        ({"target": [0, 1]}, "target must be one of the labels"),
        ({"baseline": [1, 2]}, r"baseline must be a number, 3 numbers, one a feature, or shaped like X, got shape"),
        ({"baseline": np.nan}, "Input baseline contains NaN"),
        ({"baseline": "zero"}, "baseline must hold numbers"),
        ({"baseline": X[1:]}, "baseline must have a sequence for each of 8 in X, got 7"),
        ({"baseline": [x[:1] for x in X]}, r"baseline must be as long as X: X\[\d\] has \d steps, baseline\[\d\] 1"),
        ({"baseline": [x[:, :2] for x in X]}, "baseline is read as X is, but: X has 2 features"),
    ],
)
def test_bad_arguments(arguments, message):
    classifier = small(LSTMClassifier, X, Y)
    with pytest.raises(ValueError, match=message):
        classifier.explain(X, **arguments)


def test_other_bad_targets():
    tagger = small(LSTMTagger, X, TAGS)
    with pytest.raises(ValueError, match=r"got step 3 of 1 in X\[0\]"):
        tagger.explain(X, target=(3, "up"))
    with pytest.raises(ValueError, match="target must be one of the labels"):
        tagger.explain(X, target="left")
    regressor = small(LSTMRegressor, X, Y)
    for target in (1, 0.0, True):
        with pytest.raises(ValueError, match="target must be a column of y, an integer from 0 to 0"):
            regressor.explain(X, target=target)
    model = small(LSTMLanguageModel, TEXTS)
    with pytest.raises(ValueError, match="target must be a token that fit has seen, got 'z'"):
        model.explain(TEXTS, target="z")
    with pytest.raises(ValueError, match=r"X\[0\] has 3 steps, baseline\[0\] 4"):
        model.explain(["ab"], baseline=["abc"])
    translator = small(LSTMTranslator, SOURCES, TARGETS, level="char")
    with pytest.raises(ValueError, match="target must have a target for each of 9 sources, got 1"):
        translator.explain(SOURCES, target=["1"])
    with pytest.raises(ValueError, match="NaN"):
        regressor.explain([np.full((2, 3), np.nan)])
    with pytest.raises(NotFittedError):
        LSTMRegressor().explain(X)
