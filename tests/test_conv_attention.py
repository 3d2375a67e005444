"""conv_layers and pooling="attention" on the estimators; for their gradients see test_gradients.py."""

import pickle

import numpy as np
import pytest
import reference

import lstmfast
from lstmfast import LSTMClassifier, LSTMLanguageModel, LSTMRegressor, LSTMTagger, _core
from lstmfast.interop import to_torch
from lstmfast.layers import AttentionPooling, Conv1D

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(length, 3)).astype(np.float32) for length in (5, 1, 9, 4, 9, 2, 7, 30)]
LABELS = np.arange(8) % 2
OPTIONS = [
    {"conv_layers": ((5, 3),)},
    {"conv_layers": ((4, 1), (17, 6), (3, 2)), "hidden_layer_sizes": (9, 4)},
    {"pooling": "attention"},
    {"pooling": "attention", "conv_layers": ((5, 3),), "bidirectional": True, "dense_layer_sizes": (4,)},
]


def fitted(cls=LSTMClassifier, y=LABELS, **options):
    return cls(**{"hidden_layer_sizes": (9,), "max_iter": 3, "random_state": 0} | options).fit(X, y)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_the_company(options, dtype):
    model = fitted(**options, dtype=dtype)
    expected = model.predict_proba(X)
    for rows in ([7, 0, 3], [1], RNG.permutation(8)):
        assert np.array_equal(model.predict_proba([X[row] for row in rows]), expected[rows])
    many = [X[i % 8] for i in range(600)]
    assert np.array_equal(model.set_params(n_jobs=2).predict_proba(many), expected[np.arange(600) % 8])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_bits_on_any_number_of_threads(options):
    one, two = (fitted(**options, dropout=0.2, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert np.array_equal(one._network.parameters, two._network.parameters)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_saved_and_pickled(options, tmp_path):
    model = fitted(**options)
    model.save(tmp_path / "model")
    for twin in (lstmfast.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
        assert [str(layer) for layer in twin.layers_] == [str(layer) for layer in model.layers_]


def test_outputs_never_depend_on_later_steps():
    model = fitted(LSTMRegressor, conv_layers=((5, 4), (4, 3)), pooling="attention")
    (steps,) = model.predict_steps([X[7]])
    for n in (1, 2, 5, 29):
        assert np.array_equal(model.predict_steps([X[7][:n]])[0], steps[:n])


def test_a_tagger_has_a_label_for_each_step():
    model = fitted(LSTMTagger, [["a", "b"] * (len(x) // 2) + ["a"] * (len(x) % 2) for x in X], conv_layers=((5, 3),))
    assert [len(labels) for labels in model.predict(X)] == [len(x) for x in X]


def test_tokens_are_embedded_before_they_are_convolved():
    tokens = [RNG.integers(0, 5, length) for length in (9, 1, 4, 30)]
    model = LSTMClassifier(6, embedding_dim=4, conv_layers=((5, 3),), max_iter=2, random_state=0)
    model.fit(tokens, [0, 1, 0, 1])
    for sequence, expected in zip(tokens, model.predict_steps(tokens), strict=True):
        stream = model.stream()
        assert np.array_equal([stream.step(token) for token in sequence], expected)
    vectors = [model._network.embedding.forward(sequence) for sequence in tokens]
    twin = LSTMClassifier(6, conv_layers=((5, 3),), max_iter=1).fit(vectors, [0, 1, 0, 1])
    for theirs, ours in zip(twin._network.parts.values(), list(model._network.parts.values())[1:], strict=True):
        for name, array in ours.arrays.items():
            setattr(theirs, name, array)
    assert np.array_equal(twin.predict_proba(vectors), model.predict_proba(tokens))


def test_conv1d_by_hand():
    """Two sequences, of 2 and 1 steps, behind rows of zeros for a filter of 3."""
    layer = Conv1D(1, 2, 3, dtype="float64")
    layer.kernel, layer.bias = [[[1.0, 0.0]], [[10.0, 0.0]], [[100.0, 1.0]]], [0.5, 0.0]
    rows = np.array([0, 0, 1, 2, 0, 0, 3, 0, 0], float)[:, None]
    y = layer.forward(rows, gap=2)
    assert y[[0, 1, 4]].tolist() == [[100.5, 1.0], [210.5, 2.0], [300.5, 3.0]]


# ---- attention ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bidirectional", [False, True])
def test_weights_are_those_of_the_formula(bidirectional):
    model = fitted(pooling="attention", bidirectional=bidirectional, dtype="float64", max_iter=20)
    pooling = model.layers_[-2]
    layer = model.layers_[0]
    for x, weights in zip(X, model.attention(X), strict=True):
        y, _ = layer.forward(x[None])
        _, expected = reference.attend(y[0], (pooling.kernel, pooling.bias, pooling.context))
        np.testing.assert_allclose(weights, expected, rtol=1e-13)
        assert weights.shape == (len(x),)
        assert weights.sum() == pytest.approx(1, abs=1e-14)
        np.testing.assert_allclose(model.transform([x])[0], expected @ y[0], rtol=1e-12)


def test_attention_learns_where_to_look():
    """The label is the sign of the one step that is marked."""
    rng = np.random.default_rng(1)
    lengths, data, marked = rng.integers(5, 20, 300), [], []
    for length in lengths:
        x = np.stack([rng.normal(size=length), np.zeros(length)], axis=1)
        marked.append(rng.integers(length))
        x[marked[-1], 1] = 1
        data.append(x)
    y = [x[m, 0] > 0 for x, m in zip(data, marked, strict=True)]
    model = LSTMClassifier(16, pooling="attention", max_iter=40, learning_rate_init=1e-2, random_state=0)
    weights = model.fit(data[:200], y[:200]).attention(data[200:])
    assert model.score(data[200:], y[200:]) > 0.9
    found = [w[m : m + 2].sum() for w, m in zip(weights, marked[200:], strict=True)]
    assert np.mean(found) > 0.5  # of 5 to 19 steps; by chance 2 steps have a fifth


def test_large_scores_do_not_overflow():
    layer = AttentionPooling(1, 1)
    layer.kernel, layer.context = [[1.0]], [[1e30]]
    y = np.array([[1.0], [-1.0], [1.0]], np.float32)
    z, tape = layer.forward(_core.Batch(np.array([3])), y)
    assert tape.weights.tolist() == [0.5, 0.0, 0.5]
    assert z.tolist() == [[1.0]]


def test_only_where_there_is_attention():
    assert not hasattr(fitted(), "attention")
    assert hasattr(LSTMClassifier(pooling="attention"), "attention")
    model = fitted().set_params(pooling="attention")
    with pytest.raises(ValueError, match="fitted with pooling='last': it has no attention"):
        model.attention(X)


# ---- what is refused ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("conv_layers", "error", "match"),
    [
        ((5, 3), ValueError, r"pairs \(\(filters, width\), ...\), got \(5, 3\)"),
        (((5,),), ValueError, "pairs"),
        (((5, 0),), ValueError, "at least 1"),
        (((5, 2.5),), TypeError, "integer"),
        (7, ValueError, "conv_layers"),
        (None, ValueError, "conv_layers"),
    ],
)
def test_bad_conv_layers(conv_layers, error, match):
    with pytest.raises(error, match=match):
        LSTMClassifier(conv_layers=conv_layers).fit(X, LABELS)


def test_text_has_none():
    with pytest.raises(TypeError, match="no argument 'conv_layers'"):
        LSTMLanguageModel(conv_layers=((5, 3),))


@pytest.mark.parametrize("options", OPTIONS[::2], ids=str)
def test_what_cannot_be_exported_says_so(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"a model with {name}=.* cannot be exported"):
        to_torch(fitted(**options))
