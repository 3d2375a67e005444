"""Thousands of live streams on one set of weights: their states in one place, the steps of one moment in one call."""

import asyncio
from functools import lru_cache
from itertools import islice

import numpy as np

from lstmfast import NotFiniteError


class FullError(RuntimeError):
    """No stream is free."""


class BusyError(RuntimeError):
    """The stream is still taking its last step."""


class StepError(ValueError):
    """What a client sent is not a step of the model."""


class ClosedError(RuntimeError):
    """The stream was closed while it took a step."""


def _arrays(state):
    """The arrays of a stream's state, each with a row for each sequence. A cell without c has None there."""
    for value in state.values():
        yield from (array for array in (value if isinstance(value, list) else [value]) if array is not None)


def _take(state, rows):
    """A state of some of a state's sequences."""
    return {
        name: [None if array is None else array[rows] for array in value] if isinstance(value, list) else value[rows]
        for name, value in state.items()
    }


class StreamPool:
    """The states of `capacity` streams, any of which take a step together.

    The states take their memory at the start: a stream more or less changes nothing. Not for several threads at once.

    Parameters
    ----------
    model : lstmfast.runtime.Model
        Of numbers, not of tokens, and not bidirectional.
    capacity : int

    Raises
    ------
    ValueError
        If the model has no streams.
    """

    def __init__(self, model, capacity):
        self.capacity = capacity
        self._state = model.stream(capacity).state
        self._stream = lru_cache(16)(model.stream)  # by size: to make one costs more than a step of a few rows
        self._free = list(range(capacity))

    def __len__(self):
        return self.capacity - len(self._free)

    def open(self):
        """The row of a new stream.

        Raises
        ------
        FullError
            If all are taken.
        """
        if not self._free:
            raise FullError(f"all {self.capacity} streams are taken")
        row = self._free.pop()
        for array in _arrays(self._state):
            array[row] = 0  # as `stream.reset` does
        return row

    def close(self, row):
        """Give the row of a stream back."""
        self._free.append(row)

    def step(self, rows, x):
        """Advance some streams by one step: bit for bit what each would do alone.

        Parameters
        ----------
        rows : list of int, all different
        x : ndarray of shape (len(rows), n_features)

        Returns
        -------
        outputs : list of ndarray of shape (n_outputs,)
            Or of StepError, where a step was so large that the output is not finite: that stream begins anew.
        """
        stream = self._stream(len(rows))
        stream.state = _take(self._state, rows)
        y = np.empty((len(rows), stream.n_outputs), stream.dtype)
        try:
            stream.step(x, y)
            outputs = list(y)
        except NotFiniteError:
            good = np.isfinite(y).all(axis=1)
            stream.reset(~good)
            error = StepError("the step is too large for the model; the stream begins anew")
            outputs = [one if fine else error for one, fine in zip(y, good, strict=True)]
        for array, new in zip(_arrays(self._state), _arrays(stream.state), strict=True):
            array[rows] = new
        return outputs


class MicroBatcher:
    """Takes the steps that arrive in one turn of the event loop together.

    There is no timer (those of event loops count whole milliseconds): the loop reads all sockets that have something,
    runs their handlers, then takes the step. Under load turns are longer and batches larger; a request that is alone
    does not wait. The step runs in the loop's own thread: a thousand rows of 64 units take about one millisecond.

    Parameters
    ----------
    pool : StreamPool
    largest : int, default=256
        Rows of a batch. More than these wait for the next turn.
    """

    def __init__(self, pool, largest=256):
        self.pool, self.largest = pool, largest
        self.n_batches = self.n_steps = 0
        self._waiting = {}  # row: (x, future)

    def step(self, row, x):
        """A future of the output (n_outputs,) after the step x (n_features,), which must be finite.

        Raises
        ------
        BusyError
            If the stream has not finished its last step: which of two came first would be chance.
        """
        if row in self._waiting:
            raise BusyError("this stream is still taking its last step: wait for the answer")
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        answer = loop.create_future()
        self._waiting[row] = x, answer
        return answer

    def close(self, row):
        """Give the row of a stream back. A step that it waits for ends with ClosedError."""
        _, answer = self._waiting.pop(row, (None, None))
        if answer is not None and not answer.done():
            answer.set_exception(ClosedError("this stream was closed during the step"))
        self.pool.close(row)

    def _flush(self):
        batch = {row: self._waiting.pop(row) for row in list(islice(self._waiting, self.largest))}
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        if not batch:  # all were closed
            return
        try:
            outputs = self.pool.step(list(batch), np.stack([x for x, _ in batch.values()]))
        except Exception as error:
            outputs = [error] * len(batch)
        self.n_batches += 1
        self.n_steps += len(batch)
        for (_, answer), y in zip(batch.values(), outputs, strict=True):
            if answer.done():  # the caller was cancelled
                continue
            if isinstance(y, Exception):
                answer.set_exception(y)
            else:
                answer.set_result(y)
