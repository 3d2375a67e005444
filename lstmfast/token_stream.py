"""Live sequences of tokens: an embedding before a `_core.Stream`."""

import numpy as np

from .sequences import check_tokens


class TokenStream:
    """What `_core.Stream` is, for a network whose steps are tokens.

    Parameters
    ----------
    stream : _core.Stream
    embedding : Embedding
    """

    def __init__(self, stream, embedding):
        self._stream, self._embedding = stream, embedding

    def step(self, tokens, out=None):
        """Advance every sequence by one token.

        Parameters
        ----------
        tokens : int for one sequence, or array-like of int of shape (n,)
        out : ndarray, default=None
            Where to put the output, as for `_core.Stream.step`.

        Returns
        -------
        y : ndarray of shape (n_outputs,) for an int, else (n, n_outputs)

        Raises
        ------
        ValueError, TypeError
            If tokens are not what is described. The state is then as it was.
        """
        tokens = np.asarray(tokens)
        if tokens.shape not in ((), (self.n,)) or (tokens.ndim == 0 and self.n > 1):
            raise ValueError(f"tokens must have shape ({self.n},), got {tokens.shape}")
        # The slow way says what is wrong; the quick one costs a fifth of a small network's step.
        if tokens.dtype.kind not in "iu" or not 0 <= tokens.min() <= tokens.max() < self._embedding.n_tokens:
            check_tokens(tokens.reshape(-1, 1), n_tokens=self._embedding.n_tokens)
        return self._stream.step(self._embedding.forward(tokens), out)

    def copy(self):
        """An independent stream on the same weights, in the same state."""
        return TokenStream(self._stream.copy(), self._embedding)

    @property
    def state(self):
        return self._stream.state

    @state.setter
    def state(self, state):
        self._stream.state = state

    def __getattr__(self, name):  # n, n_outputs, dtype, reset
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._stream, name)
