"""What every recurrent layer does: one or two directions of a cell, forward and backward."""

import inspect
from dataclasses import dataclass

import numpy as np

from .. import _core
from ..workspace import Workspace
from .direction import Direction
from .initializers import BLANK
from .padded import Padding, check_array
from .parameters import Parameter, check_dtype, check_size
from .products import product_backward

LANES = _core.lanes(False), _core.lanes(True)


@dataclass
class Tape:
    """What a training forward leaves for its backward, and for `layers.traces`.

    gates, c_steps : for each direction the kernels' arrays; of a cell without a second state c_steps are None
    """

    batch: _core.Batch
    passes: list
    gates: list
    c_steps: list
    workspace: Workspace
    x: np.ndarray | None  # whose rows the steps shared


class RecurrentLayer:
    """What LSTM, GRU and RNN share; they say which `_core.Cell` it runs.

    Parameters
    ----------
    cell : _core.Cell
    input_size, hidden_size, bidirectional, reverse, dtype, random_state
        As on the layers.
    """

    def __init__(self, cell, input_size, hidden_size, bidirectional, reverse, dtype, random_state):
        self.input_size = check_size(input_size, "input_size")
        self.hidden_size = check_size(hidden_size, "hidden_size")
        self.dtype = check_dtype(dtype)
        if bidirectional and reverse:
            raise ValueError("bidirectional=True already reads in reverse too; leave reverse=False")
        self.cell, self.bidirectional, self.reverse = cell, bool(bidirectional), bool(reverse)
        readings = (False, True) if bidirectional else (self.reverse,)
        self.directions = [
            Direction(cell, self.input_size, self.hidden_size, self.dtype, reading) for reading in readings
        ]
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
        lanes = LANES[self.dtype.itemsize == 8]
        return -(-self.hidden_size // lanes) * lanes

    @property
    def _row_size(self):
        """H, or a cache line more where rows of H would fall on the same few lines of the L1 cache: the weight
        gradient walks down their columns."""
        line = 64 // self.dtype.itemsize
        return self.hidden_size + (line if self.hidden_size % (4 * line) == 0 else 0)

    def _options(self):
        """Arguments of the constructor that say which cell runs, for repr."""
        return {}

    def __repr__(self):
        cell = self.cell
        options = {
            **self._options(), "activation": cell.activation, "recurrent_activation": cell.recurrent_activation,
            "clip": cell.clip, "bidirectional": self.bidirectional, "reverse": self.reverse,
        }  # fmt: skip
        defaults = inspect.signature(type(self)).parameters
        text = "".join(
            f", {name}={value!r}" for name, value in options.items()
            if name in defaults and value != defaults[name].default
        )  # fmt: skip
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{text}, dtype={self.dtype.name!r})"

    def __getattr__(self, name):
        directions = self.__dict__.get("directions", ())
        if len(directions) == 2 and name in ("forward_", "backward_"):
            return directions[name == "backward_"]
        if len(directions) == 1 and name in directions[0].shapes:
            return getattr(directions[0], name)
        if directions and isinstance(getattr(Direction, name, None), Parameter):
            raise AttributeError(f"a cell {self.cell.name!r} has no {name}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name, value):
        directions = self.__dict__.get("directions", ())
        if directions and name in directions[0].shapes:
            if len(directions) == 2:
                raise AttributeError(f"a bidirectional layer has a pair: assign forward_.{name} and backward_.{name}")
            setattr(directions[0], name, value)
        elif directions and isinstance(getattr(Direction, name, None), Parameter):
            raise AttributeError(f"a cell {self.cell.name!r} has no {name}")
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
            Initial h and c; for a bidirectional layer of shape (n, 2, H). None: zeros. For a GRU or RNN, which have no
            c, the array h alone.
        training : bool, default=False
            Keep what `backward` needs.

        Returns
        -------
        y : ndarray of shape (n, T, H), bidirectional (n, T, 2H)
            Outputs; zero past each length.
        state : tuple of two ndarrays shaped like the initial ones; for a GRU or RNN one ndarray
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
            state = self._check_state(state, n, "{}0", padding)
        y, h, c, tape = self.run(
            padding.batch, x.reshape(n * n_steps, self.input_size), x_first=padding.x_first, state=state,
            training=training, workspace=Workspace(),
        )  # fmt: skip
        self._tape = (tape, padding) if training else None
        return padding.unpack(y), self._unsort_state(h, c, padding)

    def backward(self, dy, dstate=None):
        """Gradients through the last ``forward(..., training=True)``; `grads` is overwritten.

        Parameters
        ----------
        dy : array-like shaped like y
            Gradient of the outputs.
        dstate : shaped like the state, default=None
            Gradient of the final state. None: zeros.

        Returns
        -------
        dx : ndarray of shape (n, T, F)
            Gradient of x; zero past each length.
        dstate : shaped like the state
            Gradient of the initial state.

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
        dh, dc = (None, None) if dstate is None else self._check_state(dstate, n, "d{}", padding)
        self._tape = None  # the pass overwrites the gates with their gradients
        for direction in self.directions:
            for grad in direction.grads.values():
                grad[...] = 0
        dx, dh0, dc0 = self.run_backward(tape, dy=dy, dh=dh, dc=dc, state_gradient=True)
        return padding.unpack(dx), self._unsort_state(dh0, dc0, padding)

    def step(self, x, state=None):
        """One step of n sequences.

        Parameters
        ----------
        x : array-like of shape (n, F)
        state : tuple of two array-likes of shape (n, H), default=None
            h and c before the step; for a GRU or RNN h alone. None: zeros.

        Returns
        -------
        y : ndarray of shape (n, H)
        state : tuple of two ndarrays of shape (n, H)
            h, which is y, and c; for a GRU or RNN h alone.

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

    def _check_state(self, state, n, pattern, padding):
        """h and c (None where the cell has none) in the batch's order; the pattern makes their names in errors."""
        names = [pattern.format(part) for part in ("hc" if self.cell.has_c else "h")]
        if not self.cell.has_c and not isinstance(state, tuple):
            state = (state,)
        if not isinstance(state, tuple | list) or len(state) != len(names):
            wanted = f"a pair ({', '.join(names)})" if self.cell.has_c else f"the array {names[0]}"
            raise ValueError(f"state must be {wanted}, got {type(state).__name__}")
        shape = (n, self.hidden_size) if len(self.directions) == 1 else (n, 2, self.hidden_size)
        arrays = [
            padding.sort_state(check_array(array, name, shape, self.dtype))
            for array, name in zip(state, names, strict=True)
        ]
        return arrays if self.cell.has_c else [*arrays, None]

    def _unsort_state(self, h, c, padding):
        h = padding.unsort_state(h)
        return (h, padding.unsort_state(c)) if self.cell.has_c else h

    # ---- packed sequences: what networks call ----

    def run(
        self,
        batch,
        x,
        *,
        x_first=None,
        x_rows=None,
        state=None,
        h_masks=None,
        sequence=True,
        y=None,
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
        x_rows : ndarray of int of shape (n_steps,), optional
            Where many steps are equal, as tokens are: x are the different ones, and step s is x[x_rows[s]]. What x adds
            to a step is then computed once for each of its rows. For a cell that `shares_inputs`.
        state : tuple of two ndarrays of shape (n_directions, n, H), optional
            Initial h and c, which is None where the cell has none. Default: zeros.
        h_masks : ndarray of shape (n_directions, n, H), optional
            Recurrent dropout: multiplies h_prev in the recurrent product.
        sequence : bool
            Whether the output of each step is wanted.
        y : ndarray of shape (n_steps, n_directions * H), optional
            Where it goes; its rows may be further apart. Default: an array of the workspace.
        training : bool
            Whether `run_backward` will follow.
        workspace, name
            Where scratch comes from, and under which name: what it holds is needed until the backward pass.

        Returns
        -------
        y : ndarray of shape (n_steps, n_directions * H) or None
        h, c : ndarrays of shape (n_directions, n, H), after each sequence's last step; c None where the cell has none
        tape : Tape or None
        """
        n, units, cell = batch.n_rows, self.hidden_size, self.cell
        float64 = self.dtype.itemsize == 8
        slots = batch.n_steps if training else n

        def take(part, *shape):
            return workspace.take((name, part), shape, self.dtype)

        def take_rows(part, n_rows):
            """Rows of H, further apart where the weight gradient will walk down their columns."""
            return take(part, n_rows, self._row_size)[:, :units] if training else take(part, n_rows, units)

        if y is None and sequence:
            y = take("y", batch.n_steps, self.output_size)
        h = take("h", len(self.directions), n, units)
        c = take("c", len(self.directions), n, units) if cell.has_c else None
        h0, c0 = (None, None) if state is None else state
        c0 = h0 if cell.second_state and not cell.has_c else c0  # a GRU keeps its h there
        n_states = n + slots if training else 2 * n if cell.reads_c else n
        passes, kept_gates, kept_c = [], [], []
        for d, direction in enumerate(self.directions):
            # What the kernels keep between steps, and for the backward pass.
            c_steps = take(("c_steps", d), n_states * self._padded_units) if cell.second_state else None
            gates = gated_steps = x_sums = None
            if x_rows is not None:
                x_sums = take(("x_sums", d), len(x) * _core.gates_size(cell, units, float64))
            if training or cell.two_phases:
                gates = take(("gates", d), slots * _core.gates_size(cell, units, float64))
            if cell.two_phases:
                gated_steps = take_rows(("gated_steps", d), slots)
            kept_gates.append(gates)
            kept_c.append(c_steps)
            passes.append(
                _core.Recurrence(
                    cell, batch, x, direction.packed_forward(n_threads), self.input_size, units, float64, keep=training,
                    x_first=x_first, x_rows=x_rows, x_sums=x_sums, reverse=direction.reverse,
                    h=h[d], c=None if c is None else c[d],
                    h_steps=take_rows(("h_steps", d), slots if training else 2 * n), c_steps=c_steps, gates=gates,
                    gated_steps=gated_steps,
                    y=None if y is None else y[:, d * units : (d + 1) * units],
                    h0=None if h0 is None else h0[d], c0=None if c0 is None else c0[d],
                    h_mask=None if h_masks is None else h_masks[d], peephole=direction.arrays.get("peephole"),
                )
            )  # fmt: skip
        _core.forward(passes, n_threads)
        tape = Tape(batch, passes, kept_gates, kept_c, workspace, None if x_rows is None else x)
        return y, h, c, tape if training else None

    def run_backward(
        self, tape, *, dy=None, dh=None, dc=None, input_gradient=True, state_gradient=False, name="layer", n_threads=1
    ):
        """Backward through the pass of a tape; weight gradients are added to `grads`.

        dy (n_steps, n_directions * H), dh and dc (n_directions, n, H) are the gradients of what `run` returned, each
        optional. Returns dx, of the shape of x, or None, dh0 and dc0 (n_directions, n, H) or None; dc0 is None where
        the cell has no c.
        """
        batch, workspace, units, cell = tape.batch, tape.workspace, self.hidden_size, self.cell
        n, carried = batch.n_rows, batch.n_rows * self._padded_units

        shared = tape.x is not None

        def take(part, *shape):
            return workspace.take((name, part), shape, self.dtype)

        def scratch(d, direction):
            arrays = {"weights_h_t": direction.packed_transposed("h", n_threads)}
            if shared:
                arrays["dx_sums"] = dx_sums[d]
            elif input_gradient:
                arrays["weights_x_t"] = direction.packed_transposed("x", n_threads)
            if cell.reads_c or cell.two_phases:
                arrays["weights_extra_t"] = direction.packed_transposed("extra", n_threads)
            if cell.second_state:
                arrays["dc_carry"] = take(("dc_carry", d), carried)
            if cell.two_phases:
                arrays["dh_carry"] = take(("dh_carry", d), carried)
            return arrays

        dx = take("dx", batch.n_steps, self.input_size) if input_gradient and not shared else None
        if shared:
            dx_sums = take("dx_sums", len(self.directions), len(tape.x), cell.kernel_gates * units)
            dx_sums[...] = 0
        dh0 = take("dh0", len(self.directions), n, units) if state_gradient else None
        dc0 = take("dc0", len(self.directions), n, units) if state_gradient and cell.second_state else None
        for d, (direction, recurrence) in enumerate(zip(self.directions, tape.passes, strict=True)):
            recurrence.set_gradients(
                dy=None if dy is None else dy[:, d * units : (d + 1) * units],
                dh=None if dh is None else dh[d], dc=None if dc is None else dc[d],
                dx=dx, dx_accumulate=d > 0,
                dh0=None if dh0 is None else dh0[d], dc0=None if dc0 is None else dc0[d],
                **scratch(d, direction), **{"d" + key: grad for key, grad in direction.grads.items()},
            )  # fmt: skip
        _core.backward(tape.passes, n_threads)
        if shared:
            dx = sum(
                product_backward(direction, tape.x, sums, "kernel", n_threads=n_threads)
                for direction, sums in zip(self.directions, dx_sums, strict=True)
            )
        if dc0 is not None and not cell.has_c:  # the GRU's second state is its h
            dh0 += dc0
            dc0 = None
        return dx, dh0, dc0
