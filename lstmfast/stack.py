"""Recurrent layers one above the other, below them convolutions, and an embedding where steps are tokens."""

import math
import operator
from dataclasses import dataclass, field

import numpy as np

from . import _core
from .convolutions import ConvolutionPass, Convolutions
from .layers import Embedding, recurrent_layer
from .layers.direction import parameter_shapes
from .layers.initializers import BLANK
from .layers.parameters import check_size
from .sequences import repeat_rows, step_rows

# A training batch runs forward and backward in groups of sequences whose saved states (6 values a unit and step) fill
# about this much, which bounds the memory of a fit. Smaller groups would leave the states in L2 for the backward pass,
# but each costs five meetings of the threads: from 0.5 to 100 MB a step took the same time within 5 % (2 MB of L2 a
# core; the shapes of benchmarks/peers), and on a busy machine, where a meeting can take a time slice, fewer win.
GROUP_BYTES = 32 << 20
# Weights larger than a core's cache are read anew for every step of a group, so there more sequences must share them:
# at 512 units a step of 128 sequences took 412 ms in groups of 24, 335 in groups of 64, 293 in one.
LARGE_WEIGHTS = 1 << 20
LARGE_GROUP_BYTES = 256 << 20
MIN_GROUP_SEQUENCES = 24


@dataclass
class Masks:
    """Dropout masks of one batch, in the order of its sequences: 0 or 1 / (1 - rate), constant over a sequence's steps.

    conv : for each convolution (n, channels) or None
    inputs : for each recurrent layer (n, F) or None
    recurrent : for each recurrent layer (n_directions, n, H) or None
    dense : for each dense layer (n, inputs) or None
    """

    conv: list
    inputs: list
    recurrent: list
    dense: list

    def take(self, rows):
        """The masks of some sequences."""
        return Masks(
            [None if mask is None else mask[rows] for mask in self.conv],
            [None if mask is None else mask[rows] for mask in self.inputs],
            [None if mask is None else np.ascontiguousarray(mask[:, rows]) for mask in self.recurrent],
            [None if mask is None else mask[rows] for mask in self.dense],
        )


@dataclass
class State:
    """Hidden state of n sequences: for each layer h and c (n_directions, n, H); c is None where the cell has none."""

    h: list
    c: list

    def take(self, rows):
        """A copy for some sequences."""
        return State(*([None if array is None else array[:, rows].copy() for array in part] for part in self._parts))

    def put(self, rows, state):
        """Take over the state of some sequences."""
        for own, other in zip(self._parts, state._parts, strict=True):
            for array, values in zip(own, other, strict=True):
                if array is not None:
                    array[:, rows] = values

    def clear(self, rows):
        """Set the state of some sequences to 0."""
        for array in [*self.h, *self.c]:
            if array is not None:
                array[:, rows] = 0

    @property
    def _parts(self):
        return self.h, self.c

    def layer(self, i):
        """(h, c) of layer i."""
        return self.h[i], self.c[i]


@dataclass
class StackPass:
    """What `Stack.forward` gives, and what it leaves for `Stack.backward`.

    tokens : the token that each row of the first layer's x stands for, or None
    convolution : ConvolutionPass, or None
    tapes : of each recurrent layer; None of those that are not trained
    y : outputs of the top layer (n_steps, output_size), or None
    state : State after each sequence's last step
    """

    batch: _core.Batch
    masks: Masks
    tapes: list = field(default_factory=list)
    tokens: np.ndarray | None = None
    convolution: ConvolutionPass | None = None
    y: np.ndarray | None = None
    state: State = field(default_factory=lambda: State([], []))


class Stack:
    """Recurrent layers of one network.

    Parameters
    ----------
    n_features : int
        Features of a step; of tokens, the size of their embedding.
    hidden_layer_sizes : tuple of int
        Units of each layer, lowest first.
    n_tokens : int or None
        Not None: steps are tokens below it, and an embedding stands before the first layer.
    conv_layers : list of (filters, width)
        Convolutions before the first recurrent layer.
    n_frozen_layers : int
        How many of its lowest layers, the embedding and the convolutions among them, are not trained: there is no
        backward pass through them.
    dtype, bidirectional, cell, activation, recurrent_activation, clip
        As on the layers.
    name : str
        Prefix of its parts' names, and of its scratch in a workspace.
    """

    def __init__(self, n_features, hidden_layer_sizes, *, cell, n_tokens=None, conv_layers=(), n_frozen_layers=0, dtype,
                 name="", **options):  # fmt: skip
        self.dtype, self.name, self.embedding = dtype, name, None
        if n_tokens is not None:
            self.embedding = Embedding(n_tokens, n_features, dtype=dtype, random_state=BLANK)
        kinds = [1 if n_tokens is not None else 0, len(conv_layers), len(hidden_layer_sizes)]
        if not 0 <= operator.index(n_frozen_layers) <= sum(kinds):
            raise ValueError(
                f"n_frozen_layers must be from 0 to {sum(kinds)}, the layers below pooling, got {n_frozen_layers}"
            )
        # How many of each kind, lowest first.
        frozen = [min(max(n_frozen_layers - sum(kinds[:i]), 0), kind) for i, kind in enumerate(kinds)]
        self._embedding_frozen, self.n_frozen = bool(frozen[0]), frozen[2]
        self.convolutions = Convolutions(n_features, conv_layers, dtype, name, n_frozen=frozen[1])
        self.layers, size = [], self.convolutions.output_size
        for units in hidden_layer_sizes:
            self.layers.append(recurrent_layer(cell, size, units, dtype=dtype, random_state=BLANK, **options))
            size = self.layers[-1].output_size
        self.output_size = size

    @staticmethod
    def count_parameters(n_features, hidden_layer_sizes, *, n_tokens=None, conv_layers=(), bidirectional, **cell):
        """(number of parameters, output_size) of a stack of this description, without building it."""
        total, size = Convolutions.count_parameters(check_size(n_features, "n_features"), conv_layers)
        if n_tokens is not None:
            total += check_size(n_tokens, "n_tokens") * n_features
        directions = 2 if bidirectional else 1
        shape_of = _core.Cell(*(cell[name] for name in ("cell", "activation", "recurrent_activation", "clip")))
        for units in hidden_layer_sizes:
            units = check_size(units, "each of hidden_layer_sizes")
            total += directions * sum(math.prod(shape) for shape in parameter_shapes(shape_of, size, units).values())
            size = directions * units
        return total, size

    def parts(self):
        """Its layers with parameters, as `FlatParameters` names them."""
        return {
            f"{self.name}{label}": part for label, layer in self.labelled() for label, part in _directions(label, layer)
        }

    def frozen_parts(self):
        """Names of those that are not trained."""
        n = self._embedding_frozen + self.convolutions.n_frozen + self.n_frozen
        return {f"{self.name}{label}" for label, layer in self.labelled()[:n] for label, _ in _directions(label, layer)}

    def labelled(self):
        """Pairs (label, layer) of all layers, lowest first."""
        layers = [] if self.embedding is None else [("embedding", self.embedding)]
        layers += [(f"conv{number}", layer) for number, layer in enumerate(self.convolutions.layers)]
        return layers + [(str(number), layer) for number, layer in enumerate(self.layers)]

    @property
    def all_frozen(self):
        """Whether none of its layers is trained."""
        return self.n_frozen == len(self.layers)

    @property
    def n_units(self):
        """Units of all layers and directions together."""
        return sum(layer.output_size for layer in self.layers)

    def zero_state(self, n):
        """State of n sequences that have not begun."""

        def zeros(layer):
            return np.zeros((len(layer.directions), n, layer.hidden_size), self.dtype)

        return State(
            [zeros(layer) for layer in self.layers],
            [zeros(layer) if layer.cell.has_c else None for layer in self.layers],
        )

    def forward(self, batch, x, *, x_first=None, x_rows=None, masks, state=None, training=False, all_steps, y=None,
                workspace, n_threads=1):  # fmt: skip
        """Run a batch through all layers.

        Parameters
        ----------
        batch : _core.Batch
            n sequences, longest first.
        x, x_first : ndarrays of shape (n_steps, n_features) and (n,)
            Steps, or tokens (n_steps, 1), and at which row each sequence begins (default: behind the one before it).
        x_rows : ndarray of int of shape (n_steps,), default=None
            As of a layer's `run`: step s is x[x_rows[s]]. For a stack of recurrent layers alone, whose first cell
            `shares_inputs`.
        masks : Masks
        state : State, default=None
            Before the first step; None: zeros.
        all_steps : bool
            Whether somebody needs the top layer's output at every step.
        y : ndarray of shape (n_steps, output_size), default=None
            Where that goes; its rows may be further apart.

        Returns
        -------
        StackPass
            Its arrays belong to the workspace.
        """
        record = StackPass(batch, masks)
        if self.embedding is not None:
            tokens = x[:, 0] if x_first is None else x[step_rows(x_first, batch.lengths), 0]
            if masks.inputs[0] is None and self._shares_tokens(batch.n_steps):
                tokens, x_rows = different(tokens, self.embedding.n_tokens)
            record.tokens, x, x_first = tokens, self.embedding.forward(tokens), None
        if self.convolutions.layers:
            convolution = self.convolutions.forward(batch, x, x_first, masks.conv, workspace, n_threads)
            record.convolution, x, x_first = convolution, convolution.x[-1], convolution.rows.first
        top = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            if masks.inputs[i] is not None:
                x, x_first = masked_steps(batch, x, x_first, masks.inputs[i]), None
            x, h, c, tape = layer.run(
                batch, x, x_first=x_first, x_rows=x_rows, state=None if state is None else state.layer(i),
                h_masks=masks.recurrent[i], sequence=all_steps or i < top, y=y if i == top else None,
                training=training and i >= self.n_frozen, workspace=workspace, name=(self.name, i), n_threads=n_threads,
            )  # fmt: skip
            x_first = x_rows = None
            record.tapes.append(tape)
            record.state.h.append(h)
            record.state.c.append(c)
        record.y = x
        return record

    def _shares_tokens(self, n_steps):
        """Whether equal tokens should share their products: if they must be few, and the first cell can."""
        if self.convolutions.layers:
            return False
        return self.layers[0].cell.shares_inputs and 2 * self.embedding.n_tokens <= n_steps

    def backward(self, record, *, dy=None, dstate=None, input_gradient=False, state_gradient=False, n_threads=1):
        """Gradients of all parameters that are trained, added to what is there.

        Parameters
        ----------
        record : StackPass
            Of a training forward.
        dy : ndarray of shape (n_steps, output_size), default=None
            Gradient of the top layer's outputs.
        dstate : State, default=None
            Gradient of the final state; its arrays may be None.
        input_gradient, state_gradient : bool, default=False
            Whether the gradients of the steps (of tokens: of what the embedding gives for each) and of the initial
            state are wanted. Not where layers are frozen.

        Returns
        -------
        dx : ndarray of the shape of x or None
        dstate : State or None
            Of the initial state.
        """
        initial = State([None] * len(self.layers), [None] * len(self.layers))
        dstate = dstate or initial
        of_tokens = self.embedding is not None and not self._embedding_frozen
        below = self.convolutions.n_trained > 0 or of_tokens or input_gradient
        for i in reversed(range(self.n_frozen, len(self.layers))):
            dh, dc = dstate.layer(i)
            dy, *gradient = self.layers[i].run_backward(
                record.tapes[i], dy=dy, dh=dh, dc=dc, state_gradient=state_gradient, name=(self.name, i),
                input_gradient=i > self.n_frozen or below, n_threads=n_threads,
            )  # fmt: skip
            if state_gradient:
                initial.h[i], initial.c[i] = gradient
            if dy is not None and record.masks.inputs[i] is not None:
                dy *= repeat_rows(record.batch, record.masks.inputs[i])
        if self.n_frozen or not below:
            return None, initial if state_gradient else None
        if record.convolution is not None:
            dy = self.convolutions.backward(
                record.batch, record.convolution, dy, input_gradient=of_tokens or input_gradient, n_threads=n_threads
            )
        if of_tokens:
            self.embedding.backward(record.tokens, dy)
        return dy, initial if state_gradient else None

    def group_size(self, mean_length):
        """Sequences of this mean length that run forward and backward together."""
        weights = max(4 * layer.hidden_size * (layer.input_size + layer.hidden_size) for layer in self.layers)
        budget = LARGE_GROUP_BYTES if weights * self.dtype.itemsize > LARGE_WEIGHTS else GROUP_BYTES
        n_values = 6 * self.n_units + 2 * sum(layer.filters for layer in self.convolutions.layers)
        return max(MIN_GROUP_SEQUENCES, int(budget / (n_values * mean_length * self.dtype.itemsize)))

    def draw_masks(self, rng, n, dropout, recurrent_dropout, dense=()):
        """Masks for n sequences, from a numpy Generator; `dense` are the dense layers above, if any."""

        def draw(rate, *shape):
            return ((rng.random(shape) >= rate) / (1 - rate)).astype(self.dtype) if rate > 0 else None

        return Masks(
            [draw(dropout, n, layer.input_size) for layer in self.convolutions.layers],
            [draw(dropout, n, layer.input_size) for layer in self.layers],
            [draw(recurrent_dropout, len(layer.directions), n, layer.hidden_size) for layer in self.layers],
            [draw(dropout, n, layer.input_size) for layer in dense],
        )

    def no_masks(self, dense=()):
        """Masks that drop nothing."""
        n = len(self.layers)
        return Masks([None] * len(self.convolutions.layers), [None] * n, [None] * n, [None] * len(dense))


def _directions(label, layer):
    """Pairs (label, Trainable) of a layer: itself, or its directions."""
    directions = getattr(layer, "directions", [layer])
    labels = (".forward", ".backward") if len(directions) == 2 else ("",)
    return [(label + direction, part) for direction, part in zip(labels, directions, strict=True)]


def groups(lengths, size):
    """Rows of sequences that run together, about `size` each, longest first; they depend on the lengths alone."""
    order = np.argsort(-lengths, kind="stable")
    return np.array_split(order, -(-len(order) // size))


def different(tokens, n_tokens):
    """(those that occur, ascending; for each of tokens its place among them)."""
    occurs = np.zeros(n_tokens, bool)
    occurs[tokens] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[tokens]


def masked_steps(batch, x, x_first, mask):
    """A copy of a batch's steps, one sequence after the other, each multiplied by its row of mask."""
    if x_first is not None:
        x = x[step_rows(x_first, batch.lengths)]
    return x * repeat_rows(batch, mask)
