"""Recurrent layers: the LSTM, one or two directions."""

from dataclasses import dataclass

import numpy as np

from .. import _core
from ..workspace import Workspace, aligned_empty
from .initializers import BLANK, glorot_uniform, orthogonal
from .padded import Padding, check_array
from .parameters import Parameter, Trainable, check_dtype, check_size


class Direction(Trainable):
    """The parameters of one direction of an LSTM: F inputs, H units, gates i, f, g, o."""

    kernel = Parameter()
    recurrent_kernel = Parameter()
    bias = Parameter()

    def __init__(self, input_size, hidden_size, dtype, reverse):
        self.input_size, self.hidden_size, self.reverse = input_size, hidden_size, reverse
        gates = 4 * hidden_size
        super().__init__(
            {"kernel": (input_size, gates), "recurrent_kernel": (hidden_size, gates), "bias": (gates,)}, dtype
        )

    def initialize(self, rng):
        """For each gate a Glorot uniform kernel and an orthogonal recurrent kernel; bias 0, but 1 for the forget gate.

        Keras draws the four gates as one wide matrix, which makes all of them too small: Glorot's limit then counts
        the other gates' units among the outputs, and each gate's share of an orthogonal matrix has norm 1/2.

        Sources: Glorot & Bengio 2010; Saxe, McClelland & Ganguli 2014; Jozefowicz, Zaremba & Sutskever 2015.
        """
        units = self.hidden_size
        for gate in range(4):
            columns = slice(gate * units, (gate + 1) * units)
            self.arrays["kernel"][:, columns] = glorot_uniform(rng, (self.input_size, units))
            self.arrays["recurrent_kernel"][:, columns] = orthogonal(rng, (units, units))
        self.arrays["bias"][...] = 0
        self.arrays["bias"][units : 2 * units] = 1
        self.forget_packed()

    @property
    def float64(self):
        return self.dtype == np.float64

    def packed_forward(self):
        """Weights as the forward tile reads them."""
        if "forward" not in self.packed:
            sizes = self.input_size, self.hidden_size, self.float64
            packed = aligned_empty((_core.packed_gates_size(*sizes),), self.dtype)
            _core.pack_gates(*self.arrays.values(), *sizes, packed)
            self.packed["forward"] = packed
        return self.packed["forward"]

    def packed_transposed(self, name):
        """The transpose of a parameter matrix as the backward tile reads it."""
        if name not in self.packed:
            matrix = self.arrays[name]
            size = _core.packed_gates_transposed_size(self.hidden_size, len(matrix), self.float64)
            packed = aligned_empty((size,), self.dtype)
            _core.pack_gates_transposed(matrix, len(matrix), self.hidden_size, self.float64, packed)
            self.packed[name] = packed
        return self.packed[name]


@dataclass
class Tape:
    """What a training forward leaves for its backward."""

    batch: _core.Batch
    passes: list
    workspace: Workspace


class LSTM:
    """Long short-term memory layer (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000).

    With x the input and h the output, per step::

        i, f, o = sigmoid(x W_i + h U_i + b_i), ...    g = tanh(x W_g + h U_g + b_g)
        c = f * c + i * g
        h = o * tanh(c)

    Parameters
    ----------
    input_size : int
        Features of a step, F.
    hidden_size : int
        Units, H.
    bidirectional : bool, default=False
        Add a second direction that reads each sequence backwards; outputs are concatenated, [forward, backward].
    reverse : bool, default=False
        Read each sequence backwards. Outputs stay in the order of the input.
    dtype : {"float32", "float64"}, default="float32"
        Precision of parameters, states and outputs.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights.

    Attributes
    ----------
    kernel : ndarray of shape (F, 4H)
        Input weights W, gates in order i, f, g, o. Assignable; read-only in place.
    recurrent_kernel : ndarray of shape (H, 4H)
        Recurrent weights U.
    bias : ndarray of shape (4H,)
        b.
    forward_, backward_ : Direction
        Instead of the three, for a bidirectional layer: objects that hold them, one a direction.
    grads : dict
        Gradients of the last `backward`, keyed like the parameters; for a bidirectional layer
        ``{"forward_": ..., "backward_": ...}``.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive integer, both `bidirectional` and `reverse` are set, or dtype is another.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.layers import LSTM
    >>> layer = LSTM(3, 5, random_state=0)
    >>> y, (h, c) = layer.forward(np.ones((2, 4, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 4, 5), (2, 5))
    """

    def __init__(
        self, input_size, hidden_size, *, bidirectional=False, reverse=False, dtype="float32", random_state=None
    ):
        self.input_size = check_size(input_size, "input_size")
        self.hidden_size = check_size(hidden_size, "hidden_size")
        self.dtype = check_dtype(dtype)
        if bidirectional and reverse:
            raise ValueError("bidirectional=True already reads in reverse too; leave reverse=False")
        self.bidirectional, self.reverse = bool(bidirectional), bool(reverse)
        readings = (False, True) if bidirectional else (self.reverse,)
        self.directions = [Direction(self.input_size, self.hidden_size, self.dtype, reading) for reading in readings]
        self._tape = None
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new weights from a numpy Generator."""
        for direction in self.directions:
            direction.initialize(rng)

    @property
    def output_size(self):
        """Features of an output step: H, or 2H if bidirectional."""
        return self.hidden_size * len(self.directions)

    @property
    def _padded_units(self):
        """H, rounded up to whole vectors."""
        lanes = _core.lanes(self.dtype == np.float64)
        return -(-self.hidden_size // lanes) * lanes

    @property
    def _row_size(self):
        """H, or a cache line more where rows of H would fall on the same few lines of the L1 cache: the weight
        gradient walks down their columns."""
        line = 64 // self.dtype.itemsize
        return self.hidden_size + (line if self.hidden_size % (4 * line) == 0 else 0)

    def __repr__(self):
        options = ", bidirectional=True" if self.bidirectional else ", reverse=True" if self.reverse else ""
        return f"LSTM({self.input_size}, {self.hidden_size}{options}, dtype={self.dtype.name!r})"

    def __getattr__(self, name):
        directions = self.__dict__.get("directions", ())
        if len(directions) == 2 and name in ("forward_", "backward_"):
            return directions[name == "backward_"]
        if len(directions) == 1 and name in directions[0].shapes:
            return getattr(directions[0], name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name, value):
        directions = self.__dict__.get("directions", ())
        if directions and name in directions[0].shapes:
            if len(directions) == 2:
                raise AttributeError(f"a bidirectional layer has a pair: assign forward_.{name} and backward_.{name}")
            setattr(directions[0], name, value)
        else:
            super().__setattr__(name, value)

    def __getstate__(self):
        return {**self.__dict__, "_tape": None}

    @property
    def grads(self):
        if len(self.directions) == 1:
            return self.directions[0].grads
        return {"forward_": self.directions[0].grads, "backward_": self.directions[1].grads}

    # ---- padded arrays: what people call ----

    def forward(self, x, lengths=None, state=None, training=False):
        """Outputs for n sequences of up to T steps.

        Parameters
        ----------
        x : array-like of shape (n, T, F)
            Steps past a sequence's length are never read.
        lengths : array-like of int of shape (n,), default=None
            Steps of each sequence, from 1 to T. None: all have T.
        state : tuple of two array-likes of shape (n, H), default=None
            Initial h and c; for a bidirectional layer of shape (n, 2, H). None: zeros.
        training : bool, default=False
            Keep what `backward` needs.

        Returns
        -------
        y : ndarray of shape (n, T, H), bidirectional (n, T, 2H)
            Outputs; zero past each length.
        state : tuple of two ndarrays shaped like the initial ones
            h and c after each sequence's own last step (of the reverse direction: its first).

        Raises
        ------
        ValueError, TypeError
            If an argument does not have the shape or kind described.
        """
        x = check_array(x, "x", (-1, -1, self.input_size), self.dtype)
        n, n_steps = x.shape[:2]
        padding = Padding(lengths, n, n_steps)
        if state is not None:
            state = self._check_state(state, n, ("h0", "c0"), padding)
        y, h, c, tape = self.run(
            padding.batch, x.reshape(n * n_steps, self.input_size), x_first=padding.x_first, state=state,
            training=training, workspace=Workspace(),
        )  # fmt: skip
        self._tape = (tape, padding) if training else None
        return padding.unpack(y), (padding.unsort_state(h), padding.unsort_state(c))

    def backward(self, dy, dstate=None):
        """Gradients through the last ``forward(..., training=True)``; `grads` is overwritten.

        Parameters
        ----------
        dy : array-like shaped like y
            Gradient of the outputs.
        dstate : tuple of two array-likes shaped like the state, default=None
            Gradient of the final h and c. None: zeros.

        Returns
        -------
        dx : ndarray of shape (n, T, F)
            Gradient of x; zero past each length.
        dstate : tuple of two ndarrays shaped like the state
            Gradient of the initial h and c.

        Raises
        ------
        RuntimeError
            If there was no training forward, or it has been used.
        ValueError, TypeError
            If an argument does not have the shape or kind described.
        """
        if self._tape is None:
            raise RuntimeError("backward needs a forward(..., training=True) of its own before it")
        tape, padding = self._tape
        n, n_steps = padding.shape
        dy = padding.pack(check_array(dy, "dy", (n, n_steps, self.output_size), self.dtype))
        dh, dc = (None, None) if dstate is None else self._check_state(dstate, n, ("dh", "dc"), padding)
        self._tape = None  # the pass overwrites the gates with their gradients
        for direction in self.directions:
            for grad in direction.grads.values():
                grad[...] = 0
        dx, dh0, dc0 = self.run_backward(tape, dy=dy, dh=dh, dc=dc, state_gradient=True)
        return padding.unpack(dx), (padding.unsort_state(dh0), padding.unsort_state(dc0))

    def step(self, x, state=None):
        """One step of n sequences.

        Parameters
        ----------
        x : array-like of shape (n, F)
        state : tuple of two array-likes of shape (n, H), default=None
            h and c before the step. None: zeros.

        Returns
        -------
        y : ndarray of shape (n, H)
        state : tuple of two ndarrays of shape (n, H)
            h, which is y, and c.

        Raises
        ------
        ValueError
            If the layer is bidirectional: it has to see the whole sequence.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional layer has no step: it reads each sequence from its end too")
        x = check_array(x, "x", (-1, self.input_size), self.dtype)
        y, state = self.forward(x[:, None], state=state)
        return y[:, 0], state

    def _check_state(self, state, n, names, padding):
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise ValueError(f"state must be a pair ({names[0]}, {names[1]}), got {type(state).__name__}")
        shape = (n, self.hidden_size) if len(self.directions) == 1 else (n, 2, self.hidden_size)
        return tuple(
            padding.sort_state(check_array(array, name, shape, self.dtype))
            for array, name in zip(state, names, strict=True)
        )

    # ---- packed sequences: what networks call ----

    def run(
        self,
        batch,
        x,
        *,
        x_first=None,
        state=None,
        h_masks=None,
        sequence=True,
        training=False,
        workspace,
        name="layer",
        n_threads=1,
    ):
        """Forward over the sequences of a batch, stored one after the other.

        Parameters
        ----------
        batch : _core.Batch
            Lengths, longest first.
        x : ndarray of shape (n_steps, F)
            Steps; sequence r starts at row ``x_first[r]`` (default: right after the one before it).
        state : tuple of two ndarrays of shape (n_directions, n, H), optional
            Initial h and c. Default: zeros.
        h_masks : ndarray of shape (n_directions, n, H), optional
            Recurrent dropout: multiplies h_prev in the recurrent product.
        sequence : bool
            Whether the output of each step is wanted.
        training : bool
            Whether `run_backward` will follow.
        workspace, name
            Where scratch comes from, and under which name: what it holds is needed until the backward pass.

        Returns
        -------
        y : ndarray of shape (n_steps, n_directions * H) or None
        h, c : ndarrays of shape (n_directions, n, H), after each sequence's last step
        tape : Tape or None
        """
        n, units, padded = batch.n_rows, self.hidden_size, self._padded_units
        saved = batch.n_steps if training else 0

        def take(part, *shape):
            return workspace.take((name, part), shape, self.dtype)

        y = take("y", batch.n_steps, self.output_size) if sequence else None
        h, c = take("h", len(self.directions), n, units), take("c", len(self.directions), n, units)
        passes = []
        for d, direction in enumerate(self.directions):
            passes.append(
                _core.Recurrence(
                    batch, x, direction.packed_forward(), self.input_size, units, direction.float64,
                    x_first=x_first, reverse=direction.reverse, h=h[d], c=c[d],
                    h_steps=take(("h_steps", d), saved if training else 2 * n, self._row_size)[:, :units],
                    c_steps=take(("c_steps", d), (n + saved) * padded),
                    gates=take(("gates", d), 4 * saved * padded) if training else None,
                    y=None if y is None else y[:, d * units : (d + 1) * units],
                    h0=None if state is None else state[0][d], c0=None if state is None else state[1][d],
                    h_mask=None if h_masks is None else h_masks[d],
                )
            )  # fmt: skip
        _core.forward(passes, n_threads)
        return y, h, c, Tape(batch, passes, workspace) if training else None

    def run_backward(
        self, tape, *, dy=None, dh=None, dc=None, input_gradient=True, state_gradient=False, name="layer", n_threads=1
    ):
        """Backward through the pass of a tape; weight gradients are added to `grads`.

        dy (n_steps, n_directions * H), dh and dc (n_directions, n, H) are the gradients of what `run` returned, each
        optional. Returns dx (n_steps, F) or None, dh0 and dc0 (n_directions, n, H) or None.
        """
        batch, workspace, units, padded = tape.batch, tape.workspace, self.hidden_size, self._padded_units

        def take(part, *shape):
            return workspace.take((name, part), shape, self.dtype)

        shape = (len(self.directions), batch.n_rows, units)
        dx = take("dx", batch.n_steps, self.input_size) if input_gradient else None
        dh0, dc0 = (take("dh0", *shape), take("dc0", *shape)) if state_gradient else (None, None)
        for d, (direction, recurrence) in enumerate(zip(self.directions, tape.passes, strict=True)):
            recurrence.set_gradients(
                dy=None if dy is None else dy[:, d * units : (d + 1) * units],
                dh=None if dh is None else dh[d], dc=None if dc is None else dc[d],
                weights_h_t=direction.packed_transposed("recurrent_kernel"),
                weights_x_t=direction.packed_transposed("kernel") if input_gradient else None,
                dc_carry=take(("dc_carry", d), batch.n_rows * padded),
                dx=dx, dx_accumulate=d > 0,
                dh0=None if dh0 is None else dh0[d], dc0=None if dc0 is None else dc0[d],
                **{"d" + key: grad for key, grad in direction.grads.items()},
            )  # fmt: skip
        _core.backward(tape.passes, n_threads)
        return dx, dh0, dc0
