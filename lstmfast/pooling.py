"""Pooling: the steps of the top recurrent layer -> what the head sees of a sequence, and the way back."""

import numpy as np

from . import _core
from .layers import AttentionPooling
from .layers.initializers import BLANK
from .stack import State


class NoPooling:
    """Every step is seen on its own.

    A pooling has, of a StackPass, `forward` -> (z, what `backward` needs), and `backward` -> arguments of
    `Stack.backward`. `steps` replaces each step of y by what pooling makes of the steps up to it.
    """

    needs_steps = True  # or only the last one
    layer = None  # with parameters

    def forward(self, record, n_threads=1, workspace=None):
        return record.y, None

    def backward(self, record, dz, tape, workspace, n_threads=1):
        return {"dy": dz}

    def steps(self, batch, y, n_threads=1):
        """In place."""

    @staticmethod
    def _dy(record, workspace):
        return workspace.take("dy", record.y.shape, record.y.dtype)


class LastPooling(NoPooling):
    """The last step, of each direction its own."""

    needs_steps = False

    def forward(self, record, n_threads=1, workspace=None):
        return np.ascontiguousarray(record.state.h[-1].transpose(1, 0, 2)).reshape(record.batch.n_rows, -1), None

    def backward(self, record, dz, tape, workspace, n_threads=1):
        n_layers, top = len(record.state.h), record.state.h[-1]
        dh = np.ascontiguousarray(dz.reshape(record.batch.n_rows, len(top), -1).transpose(1, 0, 2))
        return {"dstate": State([None] * (n_layers - 1) + [dh], [None] * n_layers)}


class MeanPooling(NoPooling):
    """The mean over steps."""

    def forward(self, record, n_threads=1, workspace=None):
        z = np.empty((record.batch.n_rows, record.y.shape[1]), record.y.dtype)
        _core.pool_mean(record.batch, record.y, z)
        return z, None

    def backward(self, record, dz, tape, workspace, n_threads=1):
        dy = self._dy(record, workspace)
        _core.pool_mean_backward(record.batch, dz, dy)
        return {"dy": dy}

    def steps(self, batch, y, n_threads=1):
        _core.pool_steps(batch, y, False)


class MaxPooling(NoPooling):
    """The maximum over steps, of each unit its own."""

    def forward(self, record, n_threads=1, workspace=None):
        z = np.empty((record.batch.n_rows, record.y.shape[1]), record.y.dtype)
        at = np.empty(z.shape, np.int64)
        _core.pool_max(record.batch, record.y, z, at)
        return z, at

    def backward(self, record, dz, at, workspace, n_threads=1):
        dy = self._dy(record, workspace)
        _core.pool_max_backward(record.batch, dz, at, dy)
        return {"dy": dy}

    def steps(self, batch, y, n_threads=1):
        _core.pool_steps(batch, y, True)


class AttendedPooling(NoPooling):
    """A mean weighted by attention, with as many units as the steps have columns."""

    def __init__(self, input_size, dtype):
        self.layer = AttentionPooling(input_size, input_size, dtype=dtype, random_state=BLANK)

    @staticmethod
    def count_parameters(input_size):
        """Number of parameters, without building it."""
        return input_size * (input_size + 2)

    def forward(self, record, n_threads=1, workspace=None):
        return self.layer.forward(record.batch, record.y, n_threads, workspace)

    def backward(self, record, dz, tape, workspace, n_threads=1):
        return {"dy": self.layer.backward(record.batch, tape, dz, n_threads, workspace)}

    def steps(self, batch, y, n_threads=1):
        self.layer.steps(batch, y, n_threads)


NO_POOLING = "steps"  # an output for each step
POOLINGS = ("last", "mean", "max", "attention")
_PLAIN = {"last": LastPooling, "mean": MeanPooling, "max": MaxPooling, NO_POOLING: NoPooling}
LAST, EVERY_STEP = LastPooling(), NoPooling()


def make_pooling(name, input_size, dtype):
    """The pooling of this name, over steps of input_size columns."""
    if name == "attention":
        return AttendedPooling(input_size, dtype)
    if name not in _PLAIN:
        raise ValueError(f"pooling must be one of {POOLINGS}, got {name!r}")
    return _PLAIN[name]()
