"""One layer on several threads: the same bits, whether they own rows, units or directions."""

import numpy as np
import pytest

from lstmfast import _core
from lstmfast.layers import LSTM
from lstmfast.workspace import Workspace

# (lengths, F, H): few rows and many units, where threads own units (from 32768 multiply-adds a step); H on and off
# vector widths, fewer blocks of units than threads; and more rows, where they own rows.
CASES = {
    "one row": ([40], 5, 96),
    "one row, odd sizes": ([40], 3, 101),
    "one step": ([1], 5, 256),
    "two ragged rows": ([30, 7], 5, 97),
    "three ragged rows": ([30, 30, 1], 1, 130),
    "wide input": ([20], 4000, 5),
    "rows": ([30, 29, 28, 20, 20, 20, 7, 1], 4, 97),
    "many rows": ([9] * 203, 4, 33),
}


def run(case, n_threads, dtype, training, bidirectional=False):
    """All that a pass leaves behind, as bytes."""
    lengths, n_inputs, units = CASES[case]
    rng = np.random.default_rng(0)
    layer = LSTM(n_inputs, units, bidirectional=bidirectional, dtype=dtype, random_state=0)
    batch, d, n = _core.Batch(np.array(lengths)), len(layer.directions), len(lengths)
    x = rng.normal(size=(sum(lengths), n_inputs)).astype(dtype)
    state = tuple(rng.normal(size=(d, n, units)).astype(dtype) for _ in range(2))
    masks = (rng.random((d, n, units)) > 0.3).astype(dtype)
    y, h, c, tape = layer.run(
        batch, x, state=state, h_masks=masks, training=training, workspace=Workspace(), n_threads=n_threads
    )
    results = [y, h, c]
    if training:
        dy = rng.normal(size=y.shape).astype(dtype)
        results += layer.run_backward(tape, dy=dy, state_gradient=True, n_threads=n_threads)
        results += [grad for direction in layer.directions for grad in direction.grads.values()]
    return [array.tobytes() for array in results]


@pytest.mark.parametrize("training", [False, True], ids=["predicting", "training"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_threads_do_not_change_bits(case, dtype, training):
    expected = run(case, 1, dtype, training)
    for n_threads in (2, 3, 7):
        assert run(case, n_threads, dtype, training) == expected


@pytest.mark.parametrize("case", ["one row", "three ragged rows", "rows"])
def test_threads_do_not_change_bits_of_two_directions(case):
    expected = run(case, 1, "float32", True, bidirectional=True)
    for n_threads in (2, 3, 4):
        assert run(case, n_threads, "float32", True, bidirectional=True) == expected


def test_shared_units_agree_with_the_row_by_row_path():
    """Against a batch of many rows, which no two threads share by units."""
    _, n_inputs, units = CASES["one row"]
    layer = LSTM(n_inputs, units, random_state=0)
    x = np.random.default_rng(1).normal(size=(13, 40, n_inputs)).astype(np.float32)
    expected, _ = layer.forward(x)
    batch = _core.Batch(np.array([40]))
    for row in range(13):
        y, *_ = layer.run(batch, x[row], workspace=Workspace(), n_threads=2)
        assert np.array_equal(y, expected[row])


def test_bad_number_of_threads():
    layer, batch = LSTM(3, 4), _core.Batch(np.array([2]))
    with pytest.raises(ValueError, match="n_threads must be at least 1"):
        layer.run(batch, np.zeros((2, 3), np.float32), workspace=Workspace(), n_threads=0)
