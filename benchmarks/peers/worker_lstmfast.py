"""lstmfast's worker."""

import numpy as np

import lstmfast
from lstmfast import _core
from lstmfast.layers import LSTM
from lstmfast.losses import SoftmaxCrossEntropy
from lstmfast.network import Network
from lstmfast.optimizers import Optimizer
from lstmfast.sequences import check_sequences
from lstmfast.workspace import Workspace

from .cases import CLIP_NORM, LEARNING_RATE, N_CLASSES, data, weights
from .worker import check_training, serve


def training(case, threads):
    """What `lstmfast.training.Trainer` does with each batch."""
    network = Network(case.inputs, (case.hidden,), N_CLASSES)
    given, layer, head = weights(case), network.layers[0], network.dense[0]
    layer.kernel, layer.recurrent_kernel, layer.bias = (given[name] for name in ("kernel", "recurrent_kernel", "bias"))
    head.weight, head.bias = given["head_weight"], given["head_bias"]
    optimizer = Optimizer(
        network, solver="adam", alpha=0.0, l1_ratio=0.0, clip_norm=CLIP_NORM, momentum=0.9, nesterovs_momentum=True,
        beta_1=0.9, beta_2=0.999, epsilon=1e-8,
    )  # fmt: skip
    x, labels = data(case)
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
    layer, given = LSTM(case.inputs, case.hidden), weights(case)
    layer.kernel, layer.recurrent_kernel, layer.bias = (given[name] for name in ("kernel", "recurrent_kernel", "bias"))
    x, _ = data(case)
    x, batch, workspace = x.reshape(-1, case.inputs), _core.Batch(np.full(case.batch, case.steps)), Workspace()

    def run():
        return layer.run(
            batch, x, sequence=not case.keep_states, training=case.keep_states, workspace=workspace, n_threads=threads
        )

    _, h, c, _ = run()
    return run, [float(np.linalg.norm(h)), float(np.linalg.norm(c))]


if __name__ == "__main__":
    serve(lambda: f"lstmfast {lstmfast.__version__} ({_core.isa()})", {"training": training, "forward": forward})
