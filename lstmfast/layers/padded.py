"""Between padded arrays (n, T, ...), which people pass to a layer, and the steps that its kernels run on."""

import numpy as np

from .. import _core
from ..sequences import as_numbers, to_contiguous


class Padding:
    """How n sequences of up to T steps map to steps stored one sequence after the other, longest first.

    Parameters
    ----------
    lengths : array-like of int of shape (n,) or None
        Steps of each sequence, from 1 to T. None: all T.
    n, n_steps : int
        n and T.

    Attributes
    ----------
    batch : _core.Batch
    order : ndarray of int of shape (n,)
        Which sequence each of the batch's is.
    """

    def __init__(self, lengths, n, n_steps):
        lengths = np.full(n, n_steps) if lengths is None else check_lengths(lengths, n, n_steps)
        self.shape = n, n_steps
        self.order = np.argsort(-lengths, kind="stable")
        lengths = lengths[self.order]
        self.batch = _core.Batch(lengths)
        self.x_first = self.order * n_steps
        starts = np.cumsum(lengths) - lengths
        self._places = np.repeat(self.order, lengths), np.arange(self.batch.n_steps) - np.repeat(starts, lengths)

    def pack(self, padded):
        """(n, T, D) -> (n_steps, D)."""
        return np.ascontiguousarray(padded[self._places])

    def unpack(self, steps):
        """(n_steps, D) -> (n, T, D), zeros past each length."""
        padded = np.zeros((*self.shape, steps.shape[1]), steps.dtype)
        padded[self._places] = steps
        return padded

    def sort_state(self, state):
        """(n, H) or (n, n_directions, H), in the caller's order -> (n_directions, n, H) in the batch's."""
        state = state.reshape(len(state), -1, state.shape[-1])[self.order]
        return np.ascontiguousarray(state.transpose(1, 0, 2))

    def unsort_state(self, state):
        """The inverse of `sort_state`; one direction gives (n, H)."""
        result = np.empty((state.shape[1], len(state), state.shape[2]), state.dtype)
        result[self.order] = state.transpose(1, 0, 2)
        return result[:, 0] if len(state) == 1 else result


def check_lengths(lengths, n, n_steps):
    """lengths as int64, or an error that names the first wrong one."""
    lengths = np.asarray(lengths)
    if lengths.shape != (n,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths must be integers of shape ({n},), got shape {lengths.shape} of dtype {lengths.dtype}"
        )
    wrong = (lengths < 1) | (lengths > n_steps)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(f"lengths must be from 1 to {n_steps}, the steps of x; got {lengths[index]} at index {index}")
    return lengths.astype(np.int64)


def check_array(value, name, shape, dtype):
    """value as a C-contiguous array of this shape and dtype; -1 in shape stands for any size of at least 1."""
    array = as_numbers(value, name, dtype)
    fits = array.ndim == len(shape) and all(
        size == wanted or (wanted == -1 and size > 0) for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size == -1 else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}{',' if len(shape) == 1 else ''}), got {array.shape}")
    return to_contiguous(array, dtype)
