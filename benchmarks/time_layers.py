"""Time of the bare kernels: an LSTM layer forward, and forward and backward as in training."""

import numpy as np

from lstmfast import _core
from lstmfast.layers import LSTM
from lstmfast.workspace import Workspace

from .sequences import labelled_sequences


class TimeLSTM:
    """One layer over B sequences of T steps with F features, H units."""

    param_names = ["(B, T, F, H)", "threads", "dtype"]
    params = [
        [
            (1, 100, 16, 32), (1, 100, 16, 256), (32, 50, 8, 32), (64, 100, 16, 64), (64, 100, 64, 128),
            (64, 100, 64, 256), (256, 50, 16, 128),
        ],
        [1, 2],
        ["float32", "float64"],
    ]  # fmt: skip

    def setup(self, shape, threads, dtype):
        n, steps, features, units = shape
        x, _ = labelled_sequences(n, steps, features, dtype)
        self.layer, self.x, self.threads = LSTM(features, units, dtype=dtype), x.reshape(-1, features), threads
        self.batch, self.workspace = _core.Batch(np.full(n, steps)), Workspace()
        self.dh = np.ones((1, n, units), dtype)
        # Weights are packed and threads started at the first call, which `asv run --quick` would show.
        self.time_forward(shape, threads, dtype)
        self.time_forward_backward(shape, threads, dtype)

    def time_forward(self, shape, threads, dtype):
        """All steps' outputs, nothing kept for a backward pass."""
        self.layer.run(self.batch, self.x, workspace=self.workspace, n_threads=threads)

    def time_forward_backward(self, shape, threads, dtype):
        """Weight gradients from a gradient of the last step's output."""
        *_, tape = self.layer.run(
            self.batch, self.x, sequence=False, training=True, workspace=self.workspace, n_threads=threads
        )
        self.layer.run_backward(tape, dh=self.dh, input_gradient=False, n_threads=threads)
