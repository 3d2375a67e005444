"""Aligned arrays, reused from one batch to the next."""

import functools
import math

import numpy as np

ALIGNMENT = 64  # bytes in a cache line and in the widest vector: no vector then straddles two lines
_ADVICE = "lower batch_size, hidden_layer_sizes or the length of the sequences, or take fewer sequences at a time"


def out_of_memory(error):
    """A MemoryError that says what another one says, which may be nothing, and what to lower."""
    said = str(error) or "out of memory"
    if _ADVICE in said:
        return error
    explained = MemoryError(f"{said}; {_ADVICE}")
    explained.__cause__ = error
    return explained


def explains_memory(function):
    """Decorator: makes MemoryErrors, of NumPy too, say what to lower."""

    @functools.wraps(function)
    def explaining(*arguments, **keywords):
        try:
            return function(*arguments, **keywords)
        except MemoryError as error:
            raise out_of_memory(error)  # noqa: B904 (its cause is set)

    return explaining


def aligned_empty(shape, dtype):
    """An uninitialised C-contiguous array that starts on a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    try:
        buffer = np.empty(n_bytes + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:
        size = f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
        raise MemoryError(f"an array of shape {tuple(shape)} needs {size}; {_ADVICE}") from error
    start = -buffer.__array_interface__["data"][0] % ALIGNMENT
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


class Workspace:
    """Scratch arrays by name. It belongs to one call (a fit, a predict), so calls from many threads never share any.

    Each batch of a fit takes the same memory again: fresh pages would cost more than the arithmetic on them
    (a training step at batch 64, 100 steps, 128 units writes 20 MB of states).
    """

    def __init__(self):
        self._arrays, self._parts = {}, {}

    def take(self, name, shape, dtype):
        """An uninitialised array; what was taken under the same name before is overwritten."""
        size = math.prod(shape)
        array = self._arrays.get(name)
        if array is None or array.size < size or array.dtype != dtype:
            self._arrays[name] = None  # free the smaller one first
            array = self._arrays[name] = aligned_empty((size,), dtype)
        return array[:size].reshape(shape)

    def part(self, name):
        """A workspace in this one, where the same names stand for other arrays."""
        return self._parts.setdefault(name, Workspace())
