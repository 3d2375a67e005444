"""Time of the bare kernels: a layer forward, and forward and backward as in training; other cells; a stream's step."""

import numpy as np

from lstmfast import _core
from lstmfast.layers import recurrent_layer
from lstmfast.network import Network
from lstmfast.workspace import Workspace

from .peers.cases import TASKS
from .sequences import labelled_sequences

# The single layers that benchmarks/peers compares with other libraries.
SHAPES = [
    (case.batch, case.steps, case.inputs, case.hidden)
    for case in dict.fromkeys([*TASKS["inference"].cases, *TASKS["training"].cases])
    if case.layers == 1 and not case.bidirectional
]


class TimeLayer:
    """One layer over B sequences of T steps with F features, H units."""

    param_names = ["(B, T, F, H)", "cell", "threads", "dtype"]

    def setup(self, shape, cell, threads, dtype):
        n, steps, features, units = shape
        x, _ = labelled_sequences(n, steps, features, dtype)
        self.layer, self.x = recurrent_layer(cell, features, units, dtype=dtype), x.reshape(-1, features)
        self.batch, self.workspace, self.threads = _core.Batch(np.full(n, steps)), Workspace(), threads
        self.dh = np.ones((1, n, units), dtype)
        # Weights are packed and threads started at the first call, which `asv run --quick` would show.
        self.time_forward()
        self.time_forward_backward()

    def time_forward(self, *parameters):
        """All steps' outputs, nothing kept for a backward pass."""
        self.layer.run(self.batch, self.x, workspace=self.workspace, n_threads=self.threads)

    def time_forward_backward(self, *parameters):
        """Weight gradients from a gradient of the last step's output."""
        *_, tape = self.layer.run(
            self.batch, self.x, sequence=False, training=True, workspace=self.workspace, n_threads=self.threads
        )
        self.layer.run_backward(tape, dh=self.dh, input_gradient=False, n_threads=self.threads)


class TimeLSTM(TimeLayer):
    params = [SHAPES, ["lstm"], [1, 2], ["float32"]]


class TimeFloat64(TimeLayer):
    params = [[(1, 100, 16, 32), (64, 100, 16, 64), (64, 100, 64, 256)], ["lstm"], [1, 2], ["float64"]]


class TimeCells(TimeLayer):
    params = [[(64, 100, 64, 128)], list(_core.CELLS), [1], ["float32"]]


class TimeSubnormals(TimeLayer):
    """Inputs and gradients, weights, or all of them below the smallest normal number (1e-38 of float32)."""

    param_names = ["(B, T, F, H)", "subnormal", "dtype"]
    params = [[(64, 100, 16, 64), (64, 100, 64, 256)], ["nothing", "data", "weights", "all"], ["float32", "float64"]]

    def setup(self, shape, subnormal, dtype):
        super().setup(shape, "lstm", 1, dtype)
        tiny = np.finfo(dtype).smallest_normal / 16
        if subnormal in ("data", "all"):
            self.x, self.dh = self.x * tiny, self.dh * tiny
        if subnormal in ("weights", "all"):
            self.layer.kernel, self.layer.recurrent_kernel, self.layer.bias = (
                weights * tiny for weights in (self.layer.kernel, self.layer.recurrent_kernel, self.layer.bias)
            )


class TimeStep:
    """One step of n live sequences of 16 features, from Python."""

    param_names = ["n", "H"]
    params = [[1, 64], [32, 128, 256, 512]]

    def setup(self, n, units):
        network = Network(16, (units,), 1)
        network.initialize(np.random.default_rng(0))
        self.stream = network.stream(n, None)
        self.x, self.y = np.ones((n, 16), np.float32), np.empty((n, 1), np.float32)

    def time_step(self, n, units):
        self.stream.step(self.x, out=self.y)
