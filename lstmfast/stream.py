"""Live sequences whose steps go through an embedding or convolutions before a `_core.Stream` of recurrent layers."""

import contextlib

import numpy as np

from .outputs import NotFiniteError, check_outputs, rows_not_finite
from .sequences import as_numbers, check_finite, check_tokens, to_contiguous


class FrontStream:
    """What `_core.Stream` is, for a network with layers before the recurrent ones.

    Parameters
    ----------
    stream : _core.Stream
    embedding : Embedding or None
        Not None: steps are tokens.
    convolutions : ConvolutionStream
        Of as many sequences; it may have no layers.
    """

    def __init__(self, stream, embedding, convolutions):
        self._stream, self._embedding, self._convolutions = stream, embedding, convolutions

    @np.errstate(all="ignore")
    def step(self, x, out=None):
        """Advance every sequence by one step.

        Parameters
        ----------
        x : ndarray of shape (n_features,) for one sequence, or (n, n_features)
            The step of each sequence. Of tokens: int for one sequence, or array-like of int of shape (n,).
        out : ndarray, default=None
            Where to put the output, as for `_core.Stream.step`.

        Returns
        -------
        y : ndarray of shape (n_outputs,) for one step, else (n, n_outputs)

        Raises
        ------
        ValueError, TypeError
            If x is not what is described. The state is then as it was.
        NotFiniteError
            As of `_core.Stream.step`.
        """
        x = self._check_steps(x) if self._embedding is None else self._embedding.forward(self._check_tokens(x))
        if not self._convolutions.history:
            return self._stream.step(x, out)
        y, history = self._convolutions.step(np.atleast_2d(x))
        too_large = rows_not_finite(y)
        y[too_large] = 0
        if out is None:
            out = np.empty((self.n, self.n_outputs)[2 - x.ndim :], self.dtype)
        with contextlib.suppress(NotFiniteError):  # it is raised below, for all rows
            self._stream.step(y if x.ndim == 2 else y[0], out)
        self._convolutions.history = history  # only now: `out` may be bad
        outputs = np.atleast_2d(out)
        outputs[too_large] = np.nan
        check_outputs(outputs)
        return out

    def _check_tokens(self, tokens):
        tokens = np.asarray(tokens)
        if tokens.shape not in ((), (self.n,)) or (tokens.ndim == 0 and self.n > 1):
            raise ValueError(f"tokens must have shape ({self.n},), got {tokens.shape}")
        # The slow way says what is wrong; the quick one costs a fifth of a small network's step.
        if tokens.dtype.kind not in "iu" or not 0 <= tokens.min() <= tokens.max() < self._embedding.n_tokens:
            check_tokens(tokens.reshape(-1, 1), n_tokens=self._embedding.n_tokens)
        return tokens

    def _check_steps(self, x):
        x, shape = as_numbers(x, "x"), (self.n, self.n_features)
        if x.shape != shape and (self.n > 1 or x.shape != shape[1:]):
            one = f"{shape[1:]} or " if self.n == 1 else ""
            raise ValueError(f"x must have shape {one}{shape}, got {x.shape}")
        x = to_contiguous(x, self.dtype)
        check_finite(x, "x")
        return x

    @property
    def n_features(self):
        """Columns of x; of tokens, the size of their embedding."""
        history = self._convolutions.history
        return history[0].shape[2] if history else self._stream.n_features

    def copy(self):
        """An independent stream on the same weights, in the same state."""
        return FrontStream(self._stream.copy(), self._embedding, self._convolutions.copy())

    def reset(self, rows=None):
        """Start sequences anew, as `_core.Stream.reset`."""
        self._stream.reset(rows)
        for window in self._convolutions.history:
            window[slice(None) if rows is None else rows] = 0

    @property
    def state(self):
        """As of `_core.Stream`; with convolutions also "conv": a list with an array (n, width, channels) for each."""
        state, history = self._stream.state, self._convolutions.history
        return state | {"conv": [window.copy() for window in history]} if history else state

    @state.setter
    def state(self, state):
        history = self._convolutions.history
        if not history:
            self._stream.state = state
            return
        if not isinstance(state, dict) or "conv" not in state or len(state["conv"]) != len(history):
            raise ValueError(f"state must be a dict as `state` gives it, with conv of {len(history)} layers")
        given = [as_numbers(window, f"conv[{i}]") for i, window in enumerate(state["conv"])]
        for i, (window, own) in enumerate(zip(given, history, strict=True)):
            if window.shape != own.shape:
                raise ValueError(f"conv[{i}] must have shape {own.shape}, got {window.shape}")
            check_finite(np.ascontiguousarray(window), f"conv[{i}]")
        self._stream.state = {name: value for name, value in state.items() if name != "conv"}
        self._convolutions.history = [window.astype(self.dtype) for window in given]

    def __getattr__(self, name):  # n, n_outputs, dtype
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._stream, name)
