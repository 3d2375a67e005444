"""lstmfast's worker."""

import functools
import tempfile
from pathlib import Path

import numpy as np

import lstmfast
from lstmfast import _core
from lstmfast.layers import LSTM
from lstmfast.losses import SoftmaxCrossEntropy
from lstmfast.network import Network, prediction_batches
from lstmfast.optimizers import Optimizer
from lstmfast.sequences import check_sequences
from lstmfast.workspace import Workspace

from .cases import CLIP_NORM, LEARNING_RATE, N_CLASSES, data, lengths, weights
from .worker import check_outputs, check_steps, check_training, serve


def set_weights(layer, given):
    """Give each direction of a layer its weights."""
    for direction, arrays in zip(layer.directions, given, strict=True):
        for name, array in arrays.items():
            setattr(direction, name, array)


def build_layers(case):
    """The case's layers, lowest first."""
    layers = [LSTM(inputs, case.hidden, bidirectional=case.bidirectional) for inputs in case.input_sizes]
    for layer, given in zip(layers, weights(case)["layers"], strict=True):
        set_weights(layer, given)
    return layers


def ragged(case):
    """The list of sequences (T_i, I)."""
    return [x[:n].copy() for x, n in zip(data(case)[0], lengths(case), strict=True)]


def training(case, threads):
    """Sequences of one length."""
    return train(case, data(case)[0], threads)


def ragged_training(case, threads):
    """A list of sequences, checked and joined once, as `fit` does."""
    return train(case, ragged(case), threads)


def train(case, x, threads):
    """What `lstmfast.training.Trainer` does with each batch."""
    network = Network(case.inputs, (case.hidden,), N_CLASSES, conv_layers=[case.conv] if case.conv else [])
    given, head = weights(case), network.dense[0]
    for layer in network.stack.convolutions.layers:
        layer.kernel, layer.bias = given["conv_kernel"], given["conv_bias"]
    set_weights(network.layers[0], given["layers"][0])
    head.weight, head.bias = given["head_weight"], given["head_bias"]
    optimizer = Optimizer(
        network, solver="adam", alpha=0.0, l1_ratio=0.0, clip_norm=CLIP_NORM, momentum=0.9, nesterovs_momentum=True,
        beta_1=0.9, beta_2=0.999, epsilon=1e-8,
    )  # fmt: skip
    _, labels = data(case)
    sequences, rows = check_sequences(x, dtype=np.float32), np.arange(case.batch)
    loss, shares = SoftmaxCrossEntropy(), np.full(case.batch, 1 / case.batch, np.float32)
    workspace = Workspace()

    def step():
        value = network.loss_and_gradient(
            sequences, rows, loss, labels, shares, workspace=workspace, n_threads=threads
        )  # fmt: skip
        norm, _ = optimizer.penalise(network)
        optimizer.step(network, LEARNING_RATE, norm)
        return value, norm

    return step, check_training(step)


def forward(case, threads):
    """A layer as networks call it: in training it keeps all states, for prediction it returns each step's output."""
    (layer,) = build_layers(case)
    x, _ = data(case)
    x, batch, workspace = x.reshape(-1, case.inputs), _core.Batch(np.full(case.batch, case.steps)), Workspace()

    def run():
        return layer.run(
            batch, x, sequence=not case.keep_states, training=case.keep_states, workspace=workspace, n_threads=threads
        )

    _, h, c, _ = run()
    return run, [float(np.linalg.norm(h)), float(np.linalg.norm(c))]


def inference(case, threads):
    """Layers one after the other, as `Network` runs them to predict."""
    layers, lengths, workspace = build_layers(case), np.full(case.batch, case.steps), Workspace()
    x = data(case)[0].reshape(-1, case.inputs)

    def run():
        batch, y = _core.Batch(lengths), x
        for i, layer in enumerate(layers, 1):
            y, h, _, _ = layer.run(
                batch, y, sequence=i < len(layers), workspace=workspace, name=i, n_threads=threads
            )  # fmt: skip
        return h

    return run, check_outputs(run())


def ragged_inference(case, threads):
    """From the list of arrays to outputs in its order, as `predict` does: check, join, sort."""
    (layer,), x, workspace = build_layers(case), ragged(case), Workspace()
    result = np.empty((case.batch, case.hidden), np.float32)

    def run():
        sequences = check_sequences(x, dtype=np.float32)
        for rows, batch in prediction_batches(sequences):
            _, h, _, _ = layer.run(
                batch, sequences.steps, x_first=sequences.offsets[rows], sequence=False, workspace=workspace,
                n_threads=threads,
            )  # fmt: skip
            result[rows] = h[0]
        return result

    return run, check_outputs(run())


def step(case, threads):
    """A stream of the runtime, from a model file."""
    from lstmfast import LSTMRegressor, runtime

    x = data(case)[0][0, 0]
    regressor = LSTMRegressor((case.hidden,), max_iter=1).fit(np.zeros((2, 1, case.inputs), np.float32), [0.0, 1.0])
    set_weights(regressor.layers_[0], weights(case)["layers"][0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.lstmfast")
        regressor.save(path)
        stream = runtime.load(path, n_jobs=threads).stream(1)
    y = np.empty_like(stream.step(x))
    stream.reset()
    run = functools.partial(stream.step, x, out=y)
    return run, check_steps(run, lambda: stream.state["h"][0])


if __name__ == "__main__":
    serve(
        lambda: f"lstmfast {lstmfast.__version__} ({_core.isa()})",
        {
            "training": training,
            "conv-training": training,
            "ragged-training": ragged_training,
            "forward": forward,
            "inference": inference,
            "ragged-inference": ragged_inference,
            "step": step,
        },
    )
