"""Steps that are rows of a few x, as tokens are: the same outputs, bit for bit, and the same gradients as steps that
each have their own copy. That gradients of tokens agree with finite differences is in test_gradients.py and
test_encoder_decoder.py, whose few tokens take this way.
"""

import numpy as np
import pytest

from lstmfast import _core
from lstmfast.layers import recurrent_layer
from lstmfast.stack import Stack, different
from lstmfast.workspace import Workspace

CELLS = ("lstm", "lstm-peephole", "lstm-coupled", "lstm-full-peephole", "rnn")
OTHER_CELLS = ("gru", "gru-reset-before", "lstm-gated-recurrence", "lstm-cell-recurrent")
LENGTHS = np.array([9, 7, 7, 3, 1, 1, 1])
# Sums in another order: relative to an array's largest element, but to at least 1, about what a step adds.
RTOL = {"float32": 1e-5, "float64": 1e-13}


def both_ways(layer, n_x, n_threads=1, training=True):
    """(outputs, gradients) of steps that share their x, and of steps that do not."""
    rng = np.random.default_rng(0)
    batch = _core.Batch(LENGTHS)
    x = rng.standard_normal((n_x, layer.input_size)).astype(layer.dtype)
    x_rows = rng.integers(0, n_x, batch.n_steps)
    dy = rng.standard_normal((batch.n_steps, layer.output_size)).astype(layer.dtype)
    results = []
    for steps, rows in ((x, x_rows), (x[x_rows], None)):
        for direction in layer.directions:
            for grad in direction.grads.values():
                grad[...] = 0
        y, h, c, tape = layer.run(
            batch, steps, x_rows=rows, training=training, workspace=Workspace(), n_threads=n_threads
        )
        gradients = {}
        if training:
            dx, _, _ = layer.run_backward(tape, dy=dy, n_threads=n_threads)
            if rows is None:
                dx = np.array([dx[x_rows == row].sum(axis=0) for row in range(n_x)])
            gradients["x"] = dx
            for d, direction in enumerate(layer.directions):
                gradients |= {(d, name): grad.copy() for name, grad in direction.grads.items()}
        results.append(([array for array in (y, h, c) if array is not None], gradients))
    return results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 2, 7, 8, 9, 15, 16, 17, 33, 65])
@pytest.mark.parametrize("cell", CELLS)
def test_same_as_steps_of_their_own(cell, units, dtype):
    for n_inputs, n_x, options in ((3, 5, {}), (1, 2, {"reverse": True}), (17, 14, {"bidirectional": True})):
        layer = recurrent_layer(cell, n_inputs, units, dtype=dtype, random_state=0, **options)
        (shared, shared_gradients), (alone, gradients) = both_ways(layer, n_x)
        for array, expected in zip(shared, alone, strict=True):
            np.testing.assert_array_equal(array, expected)
        assert shared_gradients.keys() == gradients.keys()
        for name, expected in gradients.items():
            atol = RTOL[dtype] * max(1, np.abs(expected).max())
            np.testing.assert_allclose(shared_gradients[name], expected, rtol=0, atol=atol, err_msg=str(name))


def test_same_bits_without_training():
    layer = recurrent_layer("lstm", 3, 17, random_state=0)
    (shared, _), (alone, _) = both_ways(layer, 5, training=False)
    for array, expected in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_same_bits_on_any_number_of_threads(bidirectional):
    layer = recurrent_layer("lstm", 128, 256, random_state=0, bidirectional=bidirectional)  # enough work for threads
    ((one, one_gradients), _), ((three, three_gradients), _) = (both_ways(layer, 5, n) for n in (1, 3))
    for array, expected in zip(three, one, strict=True):
        np.testing.assert_array_equal(array, expected)
    for name, expected in one_gradients.items():
        np.testing.assert_array_equal(three_gradients[name], expected)


@pytest.mark.parametrize("cell", OTHER_CELLS)
def test_cells_that_cannot_share(cell):
    layer = recurrent_layer(cell, 3, 4, random_state=0)
    with pytest.raises(ValueError, match="do not share"):
        both_ways(layer, 5)
    # A stack of them does not try.
    stack = Stack(3, (4,), cell=cell, n_tokens=2, dtype=np.dtype("float32"), bidirectional=False)
    assert not stack._shares_tokens(100)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_row_that_is_not_there(wrong):
    layer, batch = recurrent_layer("lstm", 3, 4, random_state=0), _core.Batch(np.array([2]))
    with pytest.raises(ValueError, match=rf"x_rows must be in \[0, 5\), got {wrong}"):
        layer.run(batch, np.zeros((5, 3), np.float32), x_rows=np.array([0, wrong]), workspace=Workspace())


def test_different():
    tokens, places = different(np.array([4, 1, 4, 2, 1]), n_tokens=6)
    np.testing.assert_array_equal(tokens, [1, 2, 4])
    np.testing.assert_array_equal(places, [2, 0, 2, 1, 0])


def test_few_tokens_share_and_many_do_not():
    stack = Stack(3, (4,), cell="lstm", n_tokens=10, dtype=np.dtype("float32"), bidirectional=False)
    assert stack._shares_tokens(20)
    assert not stack._shares_tokens(19)
