"""Convolutions before the first recurrent layer."""

from dataclasses import dataclass, field

import numpy as np

from .layers import Conv1D
from .layers.initializers import BLANK
from .layers.parameters import check_size
from .sequences import repeat_rows, step_rows
from .workspace import Workspace


@dataclass
class SpacedRows:
    """Sequences one after the other, with `gap` rows of zeros before each and after the last.

    first : ndarray of int of shape (n,)
        Row at which each sequence begins.
    steps : ndarray of int of shape (n_steps,)
        Row of each step.
    between : ndarray of int
        Rows of zeros between two sequences.
    """

    first: np.ndarray
    steps: np.ndarray
    between: np.ndarray
    gap: int
    n_rows: int

    @classmethod
    def of(cls, batch, gap):
        """Those of the sequences of a `_core.Batch`."""
        lengths = batch.lengths
        ends = np.cumsum(lengths) + gap * np.arange(1, len(lengths) + 1)
        first = ends - lengths
        between = (ends[:-1, None] + np.arange(gap)).ravel()
        return cls(first, step_rows(first, lengths), between, gap, int(ends[-1]) + gap)

    @property
    def inner(self):
        """All rows but the zeros at both ends."""
        return slice(self.gap, self.n_rows - self.gap)

    def clear(self, x):
        """Set the rows of zeros to 0."""
        x[: self.gap] = x[self.n_rows - self.gap :] = 0
        x[self.between] = 0


@dataclass
class ConvolutionPass:
    """What `Convolutions.forward` gives: the top layer's outputs as SpacedRows, and what `backward` needs."""

    rows: SpacedRows
    masks: list
    workspace: Workspace
    x: list = field(default_factory=list)  # of each layer, and the outputs of the last


class Convolutions:
    """Causal convolutions (`layers.Conv1D`) one above the other, each with relu.

    All stand on the same rows, spaced for the widest filter: zeros before each sequence for what a filter sees before
    its first step, and for the way back zeros behind it. So each convolution is one product over all sequences.

    Parameters
    ----------
    n_features : int
    conv_layers : list of (filters, width)
    dtype : dtype
    name : object
        Of its scratch in a workspace.
    n_frozen : int, default=0
        Lowest layers that are not trained.
    """

    def __init__(self, n_features, conv_layers, dtype, name, n_frozen=0):
        self.dtype, self.name, self.layers, self.n_frozen = dtype, name, [], n_frozen
        self.output_size = n_features
        for filters, width in conv_layers:
            self.layers.append(Conv1D(self.output_size, filters, width, dtype=dtype, random_state=BLANK))
            self.output_size = self.layers[-1].filters
        self.gap = max((layer.width for layer in self.layers), default=1) - 1

    @property
    def n_trained(self):
        """Layers that are trained."""
        return len(self.layers) - self.n_frozen

    @staticmethod
    def count_parameters(n_features, conv_layers):
        """(number of parameters, output_size) of such layers, without building them."""
        total, size = 0, n_features
        for filters, width in conv_layers:
            filters, width = check_size(filters, "filters"), check_size(width, "width")
            total += filters * (width * size + 1)
            size = filters
        return total, size

    def forward(self, batch, x, x_first, masks, workspace, n_threads=1):
        """ConvolutionPass of a batch; its arrays belong to the workspace.

        x, x_first : as of `Stack.forward`
        masks : for each layer (n, C) or None: what its input is multiplied by
        """
        rows = SpacedRows.of(batch, self.gap)
        record = ConvolutionPass(rows, masks, workspace)
        spaced = self._take(workspace, 0, rows, x.shape[1])
        rows.clear(spaced)
        spaced[rows.steps] = x if x_first is None else x[step_rows(x_first, batch.lengths)]
        for i, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            if mask is not None:
                spaced[rows.steps] *= repeat_rows(batch, mask)
            record.x.append(spaced)
            y = self._take(workspace, i + 1, rows, layer.filters)
            layer.forward(spaced, self.gap, n_threads, out=y[rows.inner])
            np.maximum(y[rows.inner], 0, out=y[rows.inner])
            rows.clear(y)
            spaced = y
        record.x.append(spaced)
        return record

    def backward(self, batch, record, dy, input_gradient=False, n_threads=1):
        """Gradient of the steps (n_steps, n_features), or None, from dy (n_steps, output_size), of one sequence after
        the other; those of the parameters are added to what is there."""
        rows, workspace, lowest = record.rows, record.workspace, 0 if input_gradient else self.n_frozen
        gradient = self._take(workspace, "dy", rows, self.output_size)
        rows.clear(gradient)
        gradient[rows.steps] = dy
        for i in reversed(range(lowest, len(self.layers))):
            gradient *= record.x[i + 1] > 0  # relu; also right behind a mask, which keeps zeros and signs
            layer, wanted = self.layers[i], i > lowest or input_gradient
            dx = layer.backward(record.x[i], gradient, self.gap, wanted, n_threads)
            if not wanted:
                return None
            gradient = self._take(workspace, ("dx", i), rows, layer.input_size)
            gradient[rows.inner] = dx
            rows.clear(gradient)
            if record.masks[i] is not None:
                gradient[rows.steps] *= repeat_rows(batch, record.masks[i])
        return gradient[rows.steps]

    def _take(self, workspace, part, rows, n_columns):
        return workspace.take((self.name, "conv", part), (rows.n_rows, n_columns), self.dtype)

    def stream(self, n):
        """A `ConvolutionStream` of n sequences that begin."""
        return ConvolutionStream(
            self.layers, [np.zeros((n, layer.width, layer.input_size), self.dtype) for layer in self.layers]
        )


class ConvolutionStream:
    """The last steps of n live sequences that each layer of Convolutions sees.

    Attributes
    ----------
    history : list of ndarray of shape (n, width, C)
        Of each layer, the newest step last.
    """

    def __init__(self, layers, history):
        self._layers, self.history = layers, history

    def copy(self):
        """An independent one in the same state."""
        return ConvolutionStream(self._layers, [window.copy() for window in self.history])

    def step(self, x):
        """(outputs (n, filters) of the top layer after one more step x (n, C), history with this step)

        The history of this stream is left to the caller: what comes above may refuse the step.
        """
        history = []
        for layer, window in zip(self._layers, self.history, strict=True):
            history.append(np.concatenate((window[:, 1:], x[:, None]), axis=1))
            x = np.maximum(layer.step(history[-1]), 0)
        return x, history
