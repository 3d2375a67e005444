"""TensorFlow's worker."""

import os
import sys
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["NPROC"] = sys.argv[1]  # for XLA

import keras
import numpy as np
import tensorflow as tf

from .cases import CLIP_NORM, LEARNING_RATE, N_CLASSES, data, lengths, weights
from .worker import check_outputs, check_steps, check_training, serve

tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(1)


def no_peepholes(hidden):
    """What the raw operators want to be told."""
    return {name: tf.zeros(hidden) for name in ("wci", "wcf", "wco")} | {"use_peephole": False}


def compiled(function, jit, *examples):
    """A concrete function, which costs less to call."""
    function = tf.function(function, jit_compile=jit)
    return function.get_concrete_function(*(tf.TensorSpec(x.shape, x.dtype) for x in examples))


def keras_layers(case):
    """keras.layers.LSTM, lowest first."""
    layers, given = [], weights(case)["layers"]
    for i, (inputs, directions) in enumerate(zip(case.input_sizes, given, strict=True)):
        layer = keras.layers.LSTM(case.hidden, return_sequences=i < case.layers - 1)
        layer = keras.layers.Bidirectional(layer) if case.bidirectional else layer
        layer.build((case.batch, case.steps, inputs))
        layer.set_weights([array for arrays in directions for array in arrays.values()])
        layers.append(layer)
    return layers


def real_steps(case):
    """(B, T): whether a step is no padding."""
    return tf.constant(np.arange(case.steps) < lengths(case)[:, None])


def training(case, threads):
    """Keras, with and without XLA."""
    return train(case)


def ragged_training(case, threads):
    """The same, padded, with a mask."""
    return train(case, real_steps(case))


def train(case, *mask):
    """One function for all of a step."""
    x, labels = (tf.constant(array) for array in data(case))

    def build(jit):
        (layer,), given, head = keras_layers(case), weights(case), keras.layers.Dense(N_CLASSES)
        head.build((case.batch, case.hidden))
        head.set_weights([given["head_weight"], given["head_bias"]])
        variables = layer.trainable_variables + head.trainable_variables
        optimizer = keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8)
        optimizer.build(variables)

        def update(x, labels, mask=None):
            with tf.GradientTape() as tape:
                z = head(layer(x, mask=mask))
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, z))
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            gradients, norm = tf.clip_by_global_norm(gradients, CLIP_NORM)
            optimizer.apply(gradients, variables)
            return loss, norm

        call = compiled(update, jit, x, labels, *mask)
        step = partial(call, x, labels, *mask)
        return step, check_training(step)

    return {"Keras": partial(build, False), "Keras, XLA": partial(build, True)}


def block_direction(given, x, backward):
    """Each step's h (T, B, H) for x (T, B, F), from the operator for a whole sequence."""
    n_steps, n, _ = x.shape
    zeros = tf.zeros((n, len(given["recurrent_kernel"])))
    x = tf.reverse(x, [0]) if backward else x
    h = tf.raw_ops.BlockLSTMV2(
        seq_len_max=n_steps, x=x, cs_prev=zeros, h_prev=zeros, b=given["bias"],
        w=np.concatenate((given["kernel"], given["recurrent_kernel"])), cell_clip=0,
        **no_peepholes(zeros.shape[1]),
    ).h  # fmt: skip
    return h


def inference(case, threads):
    """Keras with and without XLA, the operator BlockLSTMV2."""
    batch_major = tf.constant(data(case)[0])
    time_major, layers = tf.transpose(batch_major, (1, 0, 2)), keras_layers(case)

    def by_keras(x):
        for layer in layers:
            x = layer(x)
        return x

    def by_block(x):
        for i, directions in enumerate(weights(case)["layers"], 1):
            y = [block_direction(given, x, bool(d)) for d, given in enumerate(directions)]
            if i == case.layers:
                return tf.concat([h[-1] for h in y], 1)
            x = tf.concat([y[0], *(tf.reverse(h, [0]) for h in y[1:])], 2)

    def way(function, jit, x):
        call = compiled(function, jit, x)
        return partial(call, x), check_outputs(call(x).numpy())

    return {
        "Keras": partial(way, by_keras, False, batch_major),
        "Keras, XLA": partial(way, by_keras, True, batch_major),
        "BlockLSTMV2": partial(way, by_block, False, time_major),
    }


def ragged_inference(case, threads):
    """Keras with and without XLA, padded, with a mask."""
    (layer,), x, mask = keras_layers(case), tf.constant(data(case)[0]), real_steps(case)

    def way(jit):
        call = compiled(lambda x, mask: layer(x, mask=mask), jit, x, mask)
        return partial(call, x, mask), check_outputs(call(x, mask).numpy())

    return {"Keras": partial(way, False), "Keras, XLA": partial(way, True)}


def step(case, threads):
    """Keras's cell with and without XLA, the operator LSTMBlockCell."""
    given, x = weights(case)["layers"][0][0], tf.constant(data(case)[0][:, 0])
    zeros = tf.zeros((case.batch, case.hidden))
    cell = keras.layers.LSTMCell(case.hidden)
    cell.build((case.batch, case.inputs))
    cell.set_weights(list(given.values()))

    def other_order(array):
        """Gates in order i, g, f, o."""
        return np.concatenate([np.split(array, 4, -1)[gate] for gate in (0, 2, 1, 3)], -1)

    weight, bias = other_order(np.concatenate((given["kernel"], given["recurrent_kernel"]))), other_order(given["bias"])

    def by_keras(x, h, c):
        _, (h, c) = cell(x, (h, c))
        return h, c

    def by_block(x, h, c):
        after = tf.raw_ops.LSTMBlockCell(
            x=x, cs_prev=c, h_prev=h, w=weight, b=bias, forget_bias=0, cell_clip=-1, **no_peepholes(case.hidden)
        )  # fmt: skip
        return after.h, after.cs

    def stepper(function, jit):
        call, h, c = compiled(function, jit, x, zeros, zeros), zeros, zeros

        def run():
            nonlocal h, c
            h, c = call(x, h, c)

        return run, check_steps(run, lambda: h.numpy())

    return {
        "Keras": partial(stepper, by_keras, False),
        "Keras, XLA": partial(stepper, by_keras, True),
        "LSTMBlockCell": partial(stepper, by_block, False),
    }


if __name__ == "__main__":
    serve(
        lambda: f"TensorFlow {tf.__version__}",
        {
            "training": training, "ragged-training": ragged_training, "inference": inference,
            "ragged-inference": ragged_inference, "step": step,
        },
    )  # fmt: skip
