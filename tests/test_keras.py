"""Keras's LSTM, GRU (reset_after both ways), SimpleRNN and Bidirectional agree: outputs, final states, all gradients.

Needs Keras on TensorFlow; without it tests/reference.py stands for it (test_cells.py).
"""

import os

import numpy as np
import pytest

from lstmfast.layers import recurrent_layer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
import keras  # noqa: E402

# By our cell: Keras's layer, and the order of its gates in terms of ours.
KINDS = {
    "lstm": (keras.layers.LSTM, {}, (0, 1, 2, 3)),
    "gru": (keras.layers.GRU, {"reset_after": True}, (1, 0, 2)),
    "gru-reset-before": (keras.layers.GRU, {"reset_after": False}, (1, 0, 2)),
    "rnn": (keras.layers.SimpleRNN, {}, (0,)),
}
ACTIVATIONS = {"tanh": "tanh", "relu": "relu", "sigmoid": "sigmoid", "identity": "linear", "softsign": "softsign",
               "elu": "elu"}  # fmt: skip
RECURRENT_ACTIVATIONS = ("sigmoid", "hard_sigmoid")
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
SIZES = (1, 3, 4, 8, 9, 16, 17, 33)


def reordered(array, order):
    """The gates of the last axis in another order."""
    return np.concatenate([np.split(array, len(order), -1)[gate] for gate in order], -1)


def keras_weights(direction, order):
    """What a Keras layer's set_weights takes."""
    arrays = direction.arrays
    bias = reordered(arrays["bias"], order)
    if "recurrent_bias" in arrays:
        zeros = np.zeros(2 * direction.hidden_size, direction.dtype)
        bias = np.stack([bias, np.concatenate([zeros, arrays["recurrent_bias"]])])
    return [reordered(arrays["kernel"], order), reordered(arrays["recurrent_kernel"], order), bias]


def close(actual, expected, dtype, what):
    """Relative to the largest expected number: small ones carry the rounding of large ones."""
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", KINDS)
def test_keras_agrees(cell, dtype):
    for seed in range(12):
        check(cell, dtype, seed)


def check(cell, dtype, seed):
    rng = np.random.default_rng(seed)
    layer_class, options, order = KINDS[cell]
    activation = list(ACTIVATIONS)[seed % len(ACTIVATIONS)]
    if cell != "rnn":
        options = {**options, "recurrent_activation": RECURRENT_ACTIVATIONS[seed // 6 % 2]}
    bidirectional = bool(seed % 2)
    inputs, units = (int(size) for size in rng.choice(SIZES, 2))
    n, steps = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    layer = recurrent_layer(
        cell, inputs, units, activation=activation, bidirectional=bidirectional, dtype=dtype, random_state=seed,
        recurrent_activation=options.get("recurrent_activation", "sigmoid"),
    )  # fmt: skip
    for direction in layer.directions:
        for name in direction.shapes:
            setattr(direction, name, rng.normal(scale=0.3, size=direction.shapes[name]))
    theirs = layer_class(units, activation=ACTIVATIONS[activation], return_sequences=True, dtype=dtype, **options)
    theirs = keras.layers.Bidirectional(theirs, dtype=dtype) if bidirectional else theirs
    theirs.build((n, steps, inputs))
    theirs.set_weights([array for direction in layer.directions for array in keras_weights(direction, order)])

    x, lengths = rng.normal(size=(n, steps, inputs)).astype(dtype), rng.integers(1, steps + 1, n)
    valid = np.arange(steps) < lengths[:, None]
    dy = rng.normal(size=(n, steps, layer.output_size)).astype(dtype) * valid[:, :, None]
    y, _ = layer.forward(x, lengths, training=True)
    dx, _ = layer.backward(dy)

    x_t = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x_t)
        y_t = theirs(x_t, mask=tf.constant(valid))
        loss = tf.reduce_sum(y_t * dy)
    dx_t, *gradients = tape.gradient(loss, [x_t, *(v.value for v in theirs.trainable_variables)])
    what = f"{cell} {dtype} seed {seed} {activation} {options} ({n}, {steps}, {inputs}) {units} {bidirectional}: "
    close(y, y_t.numpy() * valid[:, :, None], dtype, what + "y")
    close(dx, np.zeros_like(x) if dx_t is None else dx_t.numpy(), dtype, what + "dx")
    for d, direction in enumerate(layer.directions):
        kernel, recurrent_kernel, bias = gradients[3 * d : 3 * d + 3]
        close(reordered(direction.grads["kernel"], order), kernel, dtype, what + "kernel")
        close(reordered(direction.grads["recurrent_kernel"], order), recurrent_kernel, dtype, what + "recurrent")
        bias = np.asarray(bias)
        if "recurrent_bias" in direction.grads:
            close(direction.grads["recurrent_bias"], bias[1, 2 * units :], dtype, what + "recurrent_bias")
            bias = bias[0]
        close(reordered(direction.grads["bias"], order), bias, dtype, what + "bias")
