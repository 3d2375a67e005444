"""A network: recurrent layers, pooling over steps, dense layers.

All parameters are views of one flat array and all gradients of another, weights first and biases last: the optimiser
is one pass, the norm one sum, the penalty one prefix.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from . import _core
from .layers import CRF, Dense, Embedding, recurrent_layer
from .layers.direction import parameter_shapes
from .layers.initializers import BLANK
from .layers.parameters import check_dtype, check_size
from .thread_choice import ThreadChoice
from .token_stream import TokenStream
from .workspace import Workspace

POOLINGS = ("last", "mean", "max")
NO_POOLING = "steps"  # an output for each step

# Sequences that predict takes at once: enough for full tiles on every thread, few enough for a bounded workspace.
PREDICT_SEQUENCES = 1024
PREDICT_STEPS = 1 << 16
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

    inputs : for each recurrent layer (n, F) or None
    recurrent : for each recurrent layer (n_directions, n, H) or None
    dense : for each dense layer (n, inputs) or None
    """

    inputs: list
    recurrent: list
    dense: list

    def take(self, rows):
        """The masks of some sequences."""
        return Masks(
            [None if mask is None else mask[rows] for mask in self.inputs],
            [None if mask is None else np.ascontiguousarray(mask[:, rows]) for mask in self.recurrent],
            [None if mask is None else mask[rows] for mask in self.dense],
        )


@dataclass
class ForwardPass:
    """What `Network._forward` leaves for `_backward`."""

    batch: _core.Batch
    masks: Masks
    tapes: list = field(default_factory=list)
    tokens: np.ndarray | None = None
    max_at: np.ndarray | None = None
    dense_inputs: list = field(default_factory=list)


class Network:
    """Recurrent layers, pooling, dense layers with relu between them, and a linear output.

    Its parameters are 0 until `initialize` draws them or somebody sets them.

    Parameters
    ----------
    n_features : int
        Features of a step; of tokens, the size of their embedding.
    hidden_layer_sizes : tuple of int
        Units of each recurrent layer.
    n_outputs : int
        Outputs of a sequence.
    bidirectional, pooling, dense_layer_sizes, dtype, cell, activation, recurrent_activation
        As on the estimators; pooling may also be "steps", none: then there is an output for each step.
    clip : float or None
        As on the layers.
    n_tokens : int or None
        Not None: steps are tokens below it, and an embedding stands before the first recurrent layer.
    crf : bool
        Whether the outputs of the steps are the scores of a CRF.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        Flat array; the first `n_penalised` are weights, up to `n_dense` biases, the rest the embedding.
    gradients : ndarray of shape (n_dense,)
        Of all but the embedding, which keeps its own, by rows.
    embedding : Embedding or None
    layers : list of LSTM, GRU or RNN
    dense : list of Dense
    """

    def __init__(self, n_features, hidden_layer_sizes, n_outputs, *, bidirectional=False, pooling="last",
                 dense_layer_sizes=(), dtype="float32", cell="lstm", activation="tanh", recurrent_activation="sigmoid",
                 clip=None, n_tokens=None, crf=False):  # fmt: skip
        self.config = {
            "n_features": int(n_features), "hidden_layer_sizes": [int(size) for size in hidden_layer_sizes],
            "n_outputs": int(n_outputs), "bidirectional": bool(bidirectional), "pooling": pooling,
            "dense_layer_sizes": [int(size) for size in dense_layer_sizes], "dtype": check_dtype(dtype).name,
            "cell": cell, "activation": activation, "recurrent_activation": recurrent_activation, "clip": clip,
            "n_tokens": n_tokens, "crf": crf,
        }  # fmt: skip
        if pooling not in (*POOLINGS, NO_POOLING):
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
        self.dtype, self.pooling = check_dtype(dtype), pooling
        self.embedding = None
        if n_tokens is not None:
            self.embedding = Embedding(n_tokens, n_features, dtype=dtype, random_state=BLANK)
        self.layers, size = [], n_features
        for units in hidden_layer_sizes:
            self.layers.append(
                recurrent_layer(
                    cell, size, units, activation=activation, recurrent_activation=recurrent_activation, clip=clip,
                    bidirectional=bidirectional, dtype=dtype, random_state=BLANK,
                )
            )  # fmt: skip
            size = self.layers[-1].output_size
        self.dense = []
        for units in (*dense_layer_sizes, n_outputs):
            self.dense.append(Dense(size, units, dtype=dtype, random_state=BLANK))
            size = units
        if crf and pooling != NO_POOLING:
            raise ValueError(f"a CRF stands on the outputs of every step, not on pooling={pooling!r}")
        self.crf = CRF(n_outputs, dtype=dtype, random_state=BLANK) if crf else None
        self._flatten()
        self._thread_choices = {}

    @staticmethod
    def count_parameters(
        n_features, hidden_layer_sizes, n_outputs, *, bidirectional, pooling, dense_layer_sizes, dtype, cell="lstm",
        activation="tanh", recurrent_activation="sigmoid", clip=None, n_tokens=None, crf=False,
    ):  # fmt: skip
        """Number of parameters of a network of this description, without building it."""
        total, size = 0, check_size(n_features, "n_features")
        if n_tokens is not None:
            total += check_size(n_tokens, "n_tokens") * size
        directions = 2 if bidirectional else 1
        for units in hidden_layer_sizes:
            units = check_size(units, "each of hidden_layer_sizes")
            shapes = parameter_shapes(_core.Cell(cell, activation, recurrent_activation, clip), size, units)
            total += directions * sum(math.prod(shape) for shape in shapes.values())
            size = directions * units
        for units in (*dense_layer_sizes, n_outputs):
            units = check_size(units, "each of dense_layer_sizes")
            total += units * (size + 1)
            size = units
        return total + (size * (size + 2) if crf else 0)

    @property
    def float64(self):
        return self.dtype == np.float64

    @property
    def trainables(self):
        """Every object whose parameters have a dense gradient, lowest first."""
        crf = [] if self.crf is None else [self.crf]
        return [direction for layer in self.layers for direction in layer.directions] + self.dense + crf

    def _flatten(self):
        """Bind every parameter to its place in one flat array."""
        pieces = [(holder, name) for holder in self.trainables for name in holder.shapes]
        weights = [piece for piece in pieces if not piece[1].endswith("bias")]
        biases = [piece for piece in pieces if piece[1].endswith("bias")]

        def size(pieces):
            return sum(math.prod(holder.shapes[name]) for holder, name in pieces)

        self.n_penalised, self.n_dense = size(weights), size(pieces)
        embedding = [] if self.embedding is None else [(self.embedding, "weight")]
        self.parameters = np.zeros(self.n_dense + size(embedding), self.dtype)
        self.gradients = np.zeros(self.n_dense, self.dtype)
        places, start = {}, 0
        for holder, name in weights + biases + embedding:
            shape = holder.shapes[name]
            places[id(holder), name] = slice(start, start := start + math.prod(shape)), shape
        for holder in self.trainables:
            arrays, grads = {}, {}
            for name in holder.shapes:
                place, shape = places[id(holder), name]
                arrays[name] = self.parameters[place].reshape(shape)
                grads[name] = self.gradients[place].reshape(shape)
            holder.bind(arrays, grads)
        if self.embedding is not None:
            self.embedding.bind({"weight": self.embedding_rows(self.parameters)}, {})

    def embedding_rows(self, flat):
        """The embedding's part of an array like `parameters`, as a matrix."""
        return flat[self.n_dense :].reshape(self.embedding.shapes["weight"])

    def named_parameters(self):
        """Views of the parameters, by names such as "0.kernel", "0.backward.bias", "1.weight": the layer's number,
        the direction of a bidirectional layer, the parameter. Besides "embedding.weight", "crf.transitions"..."""
        named = {
            f"{part}.{name}": array
            for part in ("embedding", "crf") if getattr(self, part) is not None
            for name, array in getattr(self, part).arrays.items()
        }  # fmt: skip
        for number, layer in enumerate([*self.layers, *self.dense]):
            directions = getattr(layer, "directions", [layer])
            labels = ("forward.", "backward.") if len(directions) == 2 else ("",)
            for direction, label in zip(directions, labels, strict=True):
                for name, array in direction.arrays.items():
                    named[f"{number}.{label}{name}"] = array
        return named

    def initialize(self, rng):
        """Draw new parameters from a numpy Generator."""
        for part in [self.embedding, *self.layers, *self.dense, self.crf]:
            if part is not None:
                part.initialize(rng)

    def parameters_changed(self):
        """To be called after the flat array was written to."""
        for holder in self.trainables:
            holder.forget_packed()

    def __getstate__(self):
        return {"config": self.config, "parameters": self.parameters}

    def __setstate__(self, state):
        self.__init__(**state["config"])
        if state["parameters"].shape != self.parameters.shape:
            raise ValueError(f"{len(state['parameters'])} parameters do not fit a network of {len(self.parameters)}")
        self.parameters[...] = state["parameters"]

    # ---- forward ----

    @np.errstate(all="ignore")  # whatever the caller set: tiny products underflow
    def outputs(self, sequences, *, hidden=False, n_threads=1):
        """Outputs (n, n_outputs) of Sequences; with hidden, what the output layer sees (n, d) instead. Without pooling
        a row for each step.

        A sequence's row has the same bits alone and in any company.
        """
        width = self.dense[-1].input_size if hidden else self.dense[-1].output_size
        by_step = self.pooling == NO_POOLING
        result = np.empty((len(sequences.steps if by_step else sequences), width), self.dtype)
        for rows, batch, outputs in self._predict(sequences, n_threads, hidden):
            result[packed_rows(batch, sequences.offsets[rows]) if by_step else rows] = outputs
        return result

    def _predict(self, sequences, n_threads, hidden=False):
        """Triples (rows, batch, outputs) that together hold all sequences."""
        workspace = Workspace()
        for rows, batch in prediction_batches(sequences):
            with self._thread_choice(batch, n_threads).measure(batch.n_steps) as n_used:
                outputs = self._forward(
                    ForwardPass(batch, self.no_masks()), sequences.steps, sequences.offsets[rows], False, workspace,
                    n_used, hidden=hidden,
                )  # fmt: skip
            yield rows, batch, outputs

    @np.errstate(all="ignore")
    def labels(self, sequences, n_threads=1):
        """Number of the best label of each step (n_steps,), without pooling: of a CRF the most probable sequence."""
        if self.crf is None:
            return self.outputs(sequences, n_threads=n_threads).argmax(axis=1)
        result = np.empty(len(sequences.steps), np.int64)
        for rows, batch, z in self._predict(sequences, n_threads):
            result[packed_rows(batch, sequences.offsets[rows])] = self.crf.decode(batch, z, n_threads)
        return result

    @np.errstate(all="ignore")
    def label_probabilities(self, sequences, n_threads=1):
        """Probability of each label at each step (n_steps, n_outputs), without pooling."""
        if self.crf is None:
            result = self.outputs(sequences, n_threads=n_threads)
            _core.output_probabilities(False, result, result, result.shape[1], self.float64)
            return result
        result = np.empty((len(sequences.steps), self.crf.n_labels), self.dtype)
        for rows, batch, z in self._predict(sequences, n_threads):
            result[packed_rows(batch, sequences.offsets[rows])] = self.crf.marginals(batch, z, n_threads)
        return result

    def copy(self, dtype=None):
        """A network of its own with these weights, in another precision if dtype is given."""
        network = Network(**self.config | {"dtype": dtype or self.dtype})
        network.parameters[...] = self.parameters
        return network

    def _must_be_causal(self, what):
        if self.config["bidirectional"]:
            raise ValueError(f"a bidirectional model has no {what}: its reverse direction begins at a sequence's end")
        if self.crf is not None:
            raise ValueError(f"a model with a CRF has no {what}: each label depends on the whole sequence")

    @np.errstate(all="ignore")
    def step_outputs(self, sequences, activation, n_threads=1):
        """Outputs (n_steps, n_outputs) after every step of Sequences, through activation ("softmax", "sigmoid", None).

        The bits of a stream. ValueError for a bidirectional network.
        """
        self._must_be_causal("predict_steps")
        result = np.empty((len(sequences.steps), self.dense[-1].output_size), self.dtype)
        workspace = Workspace()
        for rows, batch in prediction_batches(sequences):
            record = ForwardPass(batch, self.no_masks())
            x_first = sequences.offsets[rows]
            y, _ = self._run_layers(record, sequences.steps, x_first, False, workspace, n_threads, all_steps=True)
            if self.pooling in ("mean", "max"):
                _core.pool_steps(batch, y, self.pooling == "max")
            z = self._head(record, y, n_threads)
            if activation:
                _core.output_probabilities(activation == "sigmoid", z, z, z.shape[1], self.float64)
            result[packed_rows(batch, x_first)] = z
        return result

    def stream(self, n, activation, n_threads=1):
        """A `_core.Stream` of n sequences, or for tokens a TokenStream. ValueError for a bidirectional network."""
        self._must_be_causal("stream")
        layers = [
            (layer.cell, direction.packed_forward(), direction.arrays.get("peephole"), layer.input_size,
             layer.hidden_size)
            for layer in self.layers for direction in layer.directions
        ]  # fmt: skip
        dense = [(layer.packed_forward(), layer.input_size, layer.output_size) for layer in self.dense]
        pooling = "last" if self.pooling == NO_POOLING else self.pooling
        stream = _core.Stream(layers, dense, pooling, activation, check_size(n, "n"), self.float64, n_threads)
        return stream if self.embedding is None else TokenStream(stream, self.embedding)

    def _thread_choice(self, batch, n_threads):
        """What earlier batches of about this size taught about threads."""
        key = batch.n_rows.bit_length(), batch.max_length.bit_length(), n_threads
        if key not in self._thread_choices:
            self._thread_choices[key] = ThreadChoice(n_threads)
        return self._thread_choices[key]

    def no_masks(self):
        """Masks that drop nothing."""
        return Masks([None] * len(self.layers), [None] * len(self.layers), [None] * len(self.dense))

    def draw_masks(self, rng, n, dropout, recurrent_dropout):
        """Masks for a batch of n sequences, from a numpy Generator."""

        def draw(rate, *shape):
            return ((rng.random(shape) >= rate) / (1 - rate)).astype(self.dtype) if rate > 0 else None

        return Masks(
            [draw(dropout, n, layer.input_size) for layer in self.layers],
            [draw(recurrent_dropout, len(layer.directions), n, layer.hidden_size) for layer in self.layers],
            [draw(dropout, n, layer.input_size) for layer in self.dense],
        )

    def _run_layers(self, record, x, x_first, training, workspace, n_threads, all_steps):
        """Every step's output of the top layer, where somebody needs it, and h after the last."""
        batch, masks = record.batch, record.masks
        if self.embedding is not None:
            record.tokens = x[packed_rows(batch, x_first), 0]
            x, x_first = self.embedding.forward(record.tokens), None
        for i, layer in enumerate(self.layers):
            if masks.inputs[i] is not None:
                x, x_first = masked_steps(batch, x, x_first, masks.inputs[i]), None
            is_top = i == len(self.layers) - 1
            x, h, _, tape = layer.run(
                batch, x, x_first=x_first, h_masks=masks.recurrent[i], sequence=not is_top or all_steps,
                training=training, workspace=workspace, name=i, n_threads=n_threads,
            )  # fmt: skip
            x_first = None
            record.tapes.append(tape)
        return x, h

    def _forward(self, record, x, x_first, training, workspace, n_threads, hidden=False):
        batch = record.batch
        x, h = self._run_layers(record, x, x_first, training, workspace, n_threads, self.pooling != "last")
        if self.pooling == "last":
            z = np.ascontiguousarray(h.transpose(1, 0, 2)).reshape(batch.n_rows, -1)
        elif self.pooling == NO_POOLING:
            z = x
        else:
            z = np.empty((batch.n_rows, x.shape[1]), self.dtype)
            if self.pooling == "mean":
                _core.pool_mean(batch, x, z)
            else:
                record.max_at = np.empty(z.shape, np.int64)
                _core.pool_max(batch, x, z, record.max_at)
        return self._head(record, z, n_threads, hidden)

    def _head(self, record, z, n_threads, hidden=False):
        for i, layer in enumerate(self.dense):
            if i > 0:
                np.maximum(z, 0, out=z)
            if hidden and i == len(self.dense) - 1:
                return z
            if record.masks.dense[i] is not None:
                z = z * self._dense_mask(record, i)
            record.dense_inputs.append(z)
            z = layer.forward(z, n_threads)
        return z

    def _dense_mask(self, record, i):
        """Of each row that dense layer i sees."""
        mask = record.masks.dense[i]
        return repeat_rows(record.batch, mask) if self.pooling == NO_POOLING else mask

    # ---- backward ----

    def _backward(self, record, dz, workspace, n_threads, input_gradient=False):
        batch, masks = record.batch, record.masks
        for i in reversed(range(len(self.dense))):
            z = record.dense_inputs[i]
            dz = self.dense[i].backward(z, dz, n_threads)
            if masks.dense[i] is not None:
                dz *= self._dense_mask(record, i)
            if i > 0:
                dz[z <= 0] = 0
        top, dy, dh = self.layers[-1], None, None
        if self.pooling == "last":
            dh = np.ascontiguousarray(dz.reshape(batch.n_rows, len(top.directions), -1).transpose(1, 0, 2))
        elif self.pooling == NO_POOLING:
            dy = dz
        else:
            dy = workspace.take("dy", (batch.n_steps, dz.shape[1]), self.dtype)
            if self.pooling == "mean":
                _core.pool_mean_backward(batch, dz, dy)
            else:
                _core.pool_max_backward(batch, dz, record.max_at, dy)
        for i in reversed(range(len(self.layers))):
            dy, _, _ = self.layers[i].run_backward(
                record.tapes[i], dy=dy, dh=dh, input_gradient=i > 0 or input_gradient, name=i, n_threads=n_threads
            )
            dh = None
            if dy is not None and masks.inputs[i] is not None:
                dy *= repeat_rows(batch, masks.inputs[i])
        return dy

    def _group_size(self, mean_length):
        """Sequences of this mean length that run forward and backward together."""
        units = sum(len(layer.directions) * layer.hidden_size for layer in self.layers)
        weights = max(4 * layer.hidden_size * (layer.input_size + layer.hidden_size) for layer in self.layers)
        budget = LARGE_GROUP_BYTES if weights * self.dtype.itemsize > LARGE_WEIGHTS else GROUP_BYTES
        return max(MIN_GROUP_SEQUENCES, int(budget / (6 * units * mean_length * self.dtype.itemsize)))

    def _loss(self, batch, z, loss, targets, weights, n_threads):
        """Value and gradient of the loss, which may overwrite z; a CRF has its own, of whole sequences, each with its
        first step's weight."""
        if self.crf is not None:
            weights = weights.values[weights.offsets[:-1]]
            return self.crf.loss_and_gradient(batch, z, targets.values, weights, n_threads)
        if self.pooling == NO_POOLING:
            targets, weights = targets.values, weights.values
        return loss.value_and_gradient(z, targets, weights, n_threads)

    @np.errstate(all="ignore")  # a loss that overflows is told by its value
    def loss_and_gradient(self, sequences, rows, loss, targets, weights, *, masks=None, workspace=None, n_threads=1):
        """Loss of some sequences, its gradient in `gradients` (whatever stood there is overwritten).

        Parameters
        ----------
        sequences : Sequences
        rows : ndarray of int of shape (n,)
            Which sequences.
        loss : object of `lstmfast.losses`
        targets, weights : ndarrays of shape (n, ...) and (n,), or without pooling StepValues
            For these rows; weights are used as they are.
        masks : Masks of n sequences, optional

        Returns
        -------
        value : float
        """
        workspace = workspace or Workspace()
        lengths = sequences.offsets[rows + 1] - sequences.offsets[rows]
        order = np.argsort(-lengths, kind="stable")
        self.gradients[...] = 0
        value, size, tokens, dx = 0.0, self._group_size(lengths.mean()), [], []
        # Groups of about equal size; which they are depends on the lengths alone, never on threads.
        for group in np.array_split(order, -(-len(order) // size)):
            record = ForwardPass(_core.Batch(lengths[group]), masks.take(group) if masks else self.no_masks())
            z = self._forward(record, sequences.steps, sequences.offsets[rows[group]], True, workspace, n_threads)
            part, dz = self._loss(record.batch, z, loss, targets[group], weights[group], n_threads)
            below = self._backward(record, dz, workspace, n_threads, input_gradient=self.embedding is not None)
            if self.embedding is not None:
                tokens.append(record.tokens)
                dx.append(below.copy())  # the next group's comes to the same place
            value += part
        if self.embedding is not None:
            self.embedding.backward(np.concatenate(tokens), np.concatenate(dx))
        return value


def prediction_batches(sequences):
    """Pairs (rows, batch) that together hold all sequences, those of about equal lengths together."""
    lengths = sequences.lengths
    order, begin = np.argsort(-lengths, kind="stable"), 0
    while begin < len(order):
        size = max(1, min(PREDICT_SEQUENCES, PREDICT_STEPS // lengths[order[begin]]))
        rows = order[begin : begin + size]
        yield rows, _core.Batch(lengths[rows])
        begin += size


def packed_rows(batch, x_first):
    """Rows of the steps of a batch in an array where sequence r begins at row x_first[r]."""
    shift = x_first - (np.cumsum(batch.lengths) - batch.lengths)
    return np.arange(batch.n_steps) + np.repeat(shift, batch.lengths)


def repeat_rows(batch, rows):
    """Row r of an (n, D) array once for each step of sequence r."""
    return np.repeat(rows, batch.lengths, axis=0)


def masked_steps(batch, x, x_first, mask):
    """A copy of a batch's steps, one sequence after the other, each multiplied by its row of mask."""
    if x_first is not None:
        x = x[packed_rows(batch, x_first)]
    return x * repeat_rows(batch, mask)
