"""What holds for any shape, kind, layout, length and parameter, tried on cases that hypothesis thinks of.

The cases are the same in each run.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmfast import LSTMClassifier, LSTMRegressor, LSTMTagger
from lstmfast.layers import GRU, LSTM, RNN

examples = settings(derandomize=True, deadline=None, database=None)
sizes = st.integers(1, 20) | st.sampled_from([31, 32, 33, 64, 65])  # around the widths of vectors and tiles
dtypes = st.sampled_from(["float32", "float64"])
CELLS = {
    LSTM: [
        "lstm", "lstm-peephole", "lstm-coupled", "lstm-full-peephole", "lstm-gated-recurrence", "lstm-cell-recurrent",
    ],
    GRU: ["gru"], RNN: ["rnn"],
}  # fmt: skip
# Copies with the same values. The first axis is reversed, or made of every other row of another array.
LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "every other": lambda x: np.repeat(x, 2, axis=0)[::2],
    "strided": lambda x: np.repeat(x, 3, axis=-1)[..., ::3],
    "read only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "misaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "objects": lambda x: x.astype(object),
    "nested lists": lambda x: x.tolist(),
}


@st.composite
def recurrent_layers(draw):
    kind = draw(st.sampled_from(list(CELLS)))
    options = {"cell": draw(st.sampled_from(CELLS[LSTM]))} if kind is LSTM else {}
    if kind is GRU:
        options["reset_after"] = draw(st.booleans())
    reading = draw(st.sampled_from([{}, {"bidirectional": True}, {"reverse": True}]))
    return kind(draw(sizes), draw(sizes), dtype=draw(dtypes), random_state=0, **options, **reading)


@st.composite
def batches(draw, layer):
    """x (n, T, F) with NaN after each sequence's end, its lengths, an initial state and a gradient of the output."""
    lengths = np.array(draw(st.lists(st.integers(1, 9), min_size=1, max_size=19)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_steps = len(lengths), max(lengths) + draw(st.integers(0, 2))
    x = rng.normal(size=(n, n_steps, layer.input_size)).astype(layer.dtype)
    x[np.arange(n_steps) >= lengths[:, None]] = np.nan
    shape = (n, 2, layer.hidden_size) if layer.bidirectional else (n, layer.hidden_size)
    h, c = rng.normal(size=(2, *shape)).astype(layer.dtype)
    dy = rng.normal(size=(n, n_steps, layer.output_size)).astype(layer.dtype)
    return x, lengths, (h, c) if isinstance(layer, LSTM) else h, dy


def rows_of(state, rows):
    return tuple(array[rows] for array in state) if isinstance(state, tuple) else state[rows]


def passes(layer, x, lengths, state, dy):
    """All that a forward and a backward give, in one list."""
    y, state = layer.forward(x, lengths, state=state, training=True)
    dx, dstate = layer.backward(dy)
    return [y, dx, *(array for part in (state, dstate) for array in (part if isinstance(part, tuple) else [part]))]


def assert_same_bits(arrays, others):
    for array, other in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(array, other)


# ---- layers ----------------------------------------------------------------------------------------------------------


@settings(examples, max_examples=60)
@given(recurrent_layers(), st.data())
def test_a_sequence_alone_and_in_any_order_gives_the_same_bits(layer, data):
    x, lengths, state, dy = data.draw(batches(layer))
    together = passes(layer, x, lengths, state, dy)
    order = np.array(data.draw(st.permutations(range(len(x)))))
    shuffled = passes(layer, x[order], lengths[order], rows_of(state, order), dy[order])
    assert_same_bits([array[order] for array in together], shuffled)
    i, length = order[0], lengths[order[0]]
    row = slice(i, i + 1)
    y, dx, *states = passes(layer, x[row, :length], None, rows_of(state, row), dy[row, :length])
    assert_same_bits([array[row] for array in (together[0][:, :length], together[1][:, :length], *together[2:])],
                     [y, dx, *states])  # fmt: skip
    assert not together[0][row, length:].any()
    assert not together[1][row, length:].any()


@settings(examples, max_examples=40)
@given(recurrent_layers(), st.sampled_from(list(LAYOUTS)), st.sampled_from(list(LAYOUTS)), st.data())
def test_layouts_of_arrays_make_no_difference(layer, layout_x, layout_dy, data):
    x, lengths, state, dy = data.draw(batches(layer))
    expected = passes(layer, x, lengths, state, dy)
    before = x.copy(), dy.copy()
    given_x, given_dy = LAYOUTS[layout_x](x), LAYOUTS[layout_dy](dy)
    assert_same_bits(passes(layer, given_x, lengths, state, given_dy), expected)
    assert_same_bits((x, dy), before)


@settings(examples, max_examples=40)
@given(recurrent_layers(), st.data())
def test_the_state_goes_on(layer, data):
    x, _, state, _ = data.draw(batches(layer))
    if layer.bidirectional or layer.reverse:
        return
    x = np.nan_to_num(x)
    cut = data.draw(st.integers(1, x.shape[1]))
    expected, end = layer.forward(x, state=state)
    first, middle = layer.forward(x[:, :cut], state=state)
    if cut == x.shape[1]:
        second, last = first[:, cut:], middle
    else:
        second, last = layer.forward(x[:, cut:], state=middle)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), expected)
    assert_same_bits(*(part if isinstance(part, tuple) else [part] for part in (last, end)))


WRONG_LENGTHS = {
    "zero": 0, "negative": -1, "beyond T": 100, "large": 2**62, "not whole": 1.5, "text": "3", "nothing": None,
    "complex": 1j,
}  # fmt: skip


@settings(examples, max_examples=60)
@given(recurrent_layers(), st.sampled_from(list(WRONG_LENGTHS)), st.data())
def test_a_wrong_length_is_an_error_wherever_it_is(layer, wrong, data):
    x, lengths, state, _ = data.draw(batches(layer))
    lengths = lengths.tolist()
    lengths[data.draw(st.integers(0, len(lengths) - 1))] = WRONG_LENGTHS[wrong]
    with pytest.raises((ValueError, TypeError), match="lengths"):
        layer.forward(x, lengths, state=state)


@settings(examples, max_examples=60)
@given(recurrent_layers(), st.data())
def test_a_wrong_shape_is_an_error_that_names_it(layer, data):
    x, lengths, state, dy = data.draw(batches(layer))
    axis = data.draw(st.integers(0, 2))
    name = data.draw(st.sampled_from(["x", "dy", "h0"]))
    if name == "x":
        axis = 2  # any other number of sequences or steps would be another batch
        x = np.concatenate([x, x[..., :1]], axis)
    elif name == "dy":
        dy = np.concatenate([dy, dy.take([0], axis)], axis)
    else:
        first = state[0] if isinstance(state, tuple) else state
        axis %= first.ndim
        first = np.concatenate([first, first.take([0], axis)], axis)
        state = (first, state[1]) if isinstance(state, tuple) else first
    with pytest.raises(ValueError, match=name):
        passes(layer, x, lengths, state, dy)


# ---- estimators ------------------------------------------------------------------------------------------------------
PARAMETERS = {
    "hidden_layer_sizes": st.lists(sizes, min_size=1, max_size=2),
    "cell": st.sampled_from([cell for cells in CELLS.values() for cell in cells]),
    "bidirectional": st.booleans(),
    "conv_layers": st.sampled_from([(), ((3, 2),), ((9, 3), (1, 1))]),
    "dropout": st.sampled_from([0.0, 0.5]),
    "solver": st.sampled_from(["adam", "adamw", "sgd", "rmsprop"]),
    "batch_size": st.integers(1, 20),
    "dtype": dtypes,
    "n_jobs": st.sampled_from([1, 2]),
}
POOLED = {"pooling": st.sampled_from(["last", "mean", "max", "attention"]), "dense_layer_sizes": st.just((5,))}
TARGETS = {
    LSTMClassifier: lambda rng, X: np.arange(len(X)) % 3,
    LSTMRegressor: lambda rng, X: rng.normal(size=len(X)),
    LSTMTagger: lambda rng, X: [np.arange(len(x)) % 2 for x in X],
}


@st.composite
def problems(draw):
    """An estimator of any kind and parameters, ragged X and y."""
    kind = draw(st.sampled_from(list(TARGETS)))
    parameters = PARAMETERS if kind is LSTMTagger else PARAMETERS | POOLED
    estimator = kind(**draw(st.fixed_dictionaries({}, optional=parameters)), max_iter=1, random_state=0)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths, n_features = draw(st.lists(st.integers(1, 9), min_size=3, max_size=19)), draw(st.integers(1, 9))
    X = [rng.normal(size=(length, n_features)).astype(np.float32) for length in lengths]
    return estimator, X, TARGETS[kind](rng, X)


def outputs(estimator, X):
    """The numbers behind the predictions, each sequence's in an array of its own."""
    return list(estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X))


@settings(examples, max_examples=50)
@given(problems(), st.data())
def test_predictions_depend_on_no_other_sequence(problem, data):
    estimator, X, y = problem
    estimator.fit(X, y)
    together = outputs(estimator, X)
    order = data.draw(st.permutations(range(len(X))))
    assert_same_bits(outputs(estimator, [X[i] for i in order]), [together[i] for i in order])
    assert_same_bits(outputs(estimator, [X[order[0]]]), [together[order[0]]])


@settings(examples, max_examples=40)
@given(problems(), st.data())
def test_fits_do_not_depend_on_layouts(problem, data):
    estimator, X, y = problem
    expected = outputs(estimator.fit(X, y), X)
    chosen = data.draw(st.lists(st.sampled_from(list(LAYOUTS)), min_size=len(X), max_size=len(X)))
    others = [LAYOUTS[layout](x) for layout, x in zip(chosen, X, strict=True)]
    assert_same_bits(outputs(estimator.fit(others, y), others), expected)


@settings(examples, max_examples=60)
@given(problems(), st.sampled_from(["NaN", "infinite", "features", "dimensions", "text", "complex", "y"]), st.data())
def test_a_bad_sequence_is_an_error_wherever_it_is_and_changes_nothing(problem, fault, data):
    estimator, X, y = problem
    expected = outputs(estimator.fit(X, y), X)
    i = data.draw(st.integers(0, len(X) - 1))
    bad = X[i].copy()
    if fault in ("NaN", "infinite"):
        bad.flat[data.draw(st.integers(0, bad.size - 1))] = {"NaN": np.nan, "infinite": -np.inf}[fault]
    elif fault == "y":
        y = y[:-1]
    else:
        bad = {
            "features": np.concatenate([bad, bad], axis=1), "dimensions": bad[None], "text": np.full(bad.shape, "a"),
            "complex": bad.astype(complex),
        }[fault]  # fmt: skip
    with pytest.raises((ValueError, TypeError)):
        estimator.fit([*X[:i], bad, *X[i + 1 :]], y)
    assert_same_bits(outputs(estimator, X), expected)
