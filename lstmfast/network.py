"""A network: convolutions, recurrent layers, pooling over steps, dense layers."""

import numpy as np

from . import _core
from .flat import FlatParameters
from .head import Head
from .layers import CRF
from .layers.initializers import BLANK
from .layers.parameters import check_dtype, check_size
from .pooling import EVERY_STEP, LAST, NO_POOLING, AttendedPooling, make_pooling
from .sequences import repeat_rows, step_rows
from .stack import Stack, groups
from .stream import FrontStream
from .thread_choice import ThreadChoice
from .workspace import Workspace, explains_memory

# Sequences that predict takes at once: enough for full tiles on every thread, few enough for a bounded workspace.
PREDICT_SEQUENCES = 1024
PREDICT_STEPS = 1 << 16


class Network(FlatParameters):
    """Convolutions with relu, recurrent layers, pooling, dense layers with relu between them, and a linear output.

    Its parameters are 0 until `initialize` draws them or somebody sets them.

    Parameters
    ----------
    n_features : int
        Features of a step; of tokens, the size of their embedding.
    hidden_layer_sizes : tuple of int
        Units of each recurrent layer.
    n_outputs : int
        Outputs of a sequence.
    bidirectional, pooling, dense_layer_sizes, conv_layers, dtype, cell, activation, recurrent_activation
        As on the estimators; pooling may also be "steps", none: then there is an output for each step.
    n_frozen_layers : int
        As on the estimators: these have no gradient.
    clip : float or None
        As on the layers.
    n_tokens : int or None
        Not None: steps are tokens below it, and an embedding stands before the first recurrent layer.
    crf : bool
        Whether the outputs of the steps are the scores of a CRF.
    n_samples : int or None
        Not None: the output layer is an OutputEmbedding, and training goes by a `losses.SampledSoftmax` with this many
        draws for each block of rows. All else sees every output.

    Attributes
    ----------
    parameters, gradients
        Flat arrays: see `FlatParameters`. No penalty reaches the embedding and the output embedding, its tables.
    embedding : Embedding or None
    layers : list of LSTM, GRU or RNN
    dense : list of Dense
        With n_samples the last is an OutputEmbedding.
    """

    def __init__(self, n_features, hidden_layer_sizes, n_outputs, *, bidirectional=False, pooling="last",
                 dense_layer_sizes=(), dtype="float32", cell="lstm", activation="tanh", recurrent_activation="sigmoid",
                 clip=None, n_tokens=None, crf=False, n_samples=None, conv_layers=(), n_frozen_layers=0):  # fmt: skip
        self.config = {
            "n_features": int(n_features), "hidden_layer_sizes": [int(size) for size in hidden_layer_sizes],
            "n_outputs": int(n_outputs), "bidirectional": bool(bidirectional), "pooling": pooling,
            "dense_layer_sizes": [int(size) for size in dense_layer_sizes], "dtype": check_dtype(dtype).name,
            "cell": cell, "activation": activation, "recurrent_activation": recurrent_activation, "clip": clip,
            "n_tokens": n_tokens, "crf": crf, "n_samples": n_samples,
            "conv_layers": [[int(size) for size in layer] for layer in conv_layers],
            "n_frozen_layers": int(n_frozen_layers),
        }  # fmt: skip
        self.dtype, self.pooling = check_dtype(dtype), pooling
        self.stack = Stack(
            n_features, hidden_layer_sizes, n_tokens=n_tokens, bidirectional=bidirectional, cell=cell,
            activation=activation, recurrent_activation=recurrent_activation, clip=clip, dtype=self.dtype,
            conv_layers=conv_layers, n_frozen_layers=n_frozen_layers,
        )  # fmt: skip
        self._pooling = make_pooling(pooling, self.stack.output_size, self.dtype)
        self.head = Head(
            self.stack.output_size, (*dense_layer_sizes, n_outputs), self.dtype, first_number=len(hidden_layer_sizes),
            n_samples=n_samples,
        )  # fmt: skip
        if crf and pooling != NO_POOLING:
            raise ValueError(f"a CRF stands on the outputs of every step, not on pooling={pooling!r}")
        if crf and n_samples is not None:
            raise ValueError(f"a CRF scores all labels: n_samples must be None, got {n_samples!r}")
        self.crf = CRF(n_outputs, dtype=dtype, random_state=BLANK) if crf else None
        others = {"pooling": self._pooling.layer, "crf": self.crf}
        parts = self.stack.parts() | self.head.parts() | {name: part for name, part in others.items() if part}
        self._flatten(parts, frozen=self.stack.frozen_parts())
        self._thread_choices = {}

    @staticmethod
    def count_parameters(
        n_features, hidden_layer_sizes, n_outputs, *, bidirectional, pooling, dense_layer_sizes, dtype, cell="lstm",
        activation="tanh", recurrent_activation="sigmoid", clip=None, n_tokens=None, crf=False, n_samples=None,
        conv_layers=(), n_frozen_layers=0,
    ):  # fmt: skip
        """Number of parameters of a network of this description, without building it."""
        total, size = Stack.count_parameters(
            n_features, hidden_layer_sizes, n_tokens=n_tokens, bidirectional=bidirectional, cell=cell,
            activation=activation, recurrent_activation=recurrent_activation, clip=clip, conv_layers=conv_layers,
        )  # fmt: skip
        total += Head.count_parameters(size, (*dense_layer_sizes, n_outputs))
        total += AttendedPooling.count_parameters(size) if pooling == "attention" else 0
        return total + (n_outputs * (n_outputs + 2) if crf else 0)

    @property
    def embedding(self):
        return self.stack.embedding

    @property
    def layers(self):
        return self.stack.layers

    @property
    def dense(self):
        return self.head.layers

    @property
    def all_layers(self):
        """Its layers, lowest first, but for the embedding."""
        pooling = [] if self._pooling.layer is None else [self._pooling.layer]
        return [*self.stack.convolutions.layers, *self.layers, *pooling, *self.dense]

    # ---- forward ----

    @explains_memory
    @np.errstate(all="ignore")  # whatever the caller set: tiny products underflow
    def outputs(self, sequences, *, hidden=False, last=False, n_threads=1):
        """Outputs (n, n_outputs) of Sequences; with hidden, what the output layer sees (n, d) instead. Without pooling
        a row for each step; with last, for the last one alone.

        A sequence's row has the same bits alone and in any company.
        """
        width = self.dense[-1].input_size if hidden else self.dense[-1].output_size
        pooling = LAST if last else self._pooling
        by_step = self.pooling == NO_POOLING and not last
        result = np.empty((len(sequences.steps if by_step else sequences), width), self.dtype)
        for rows, batch, outputs in self._predict(sequences, n_threads, pooling, hidden):
            result[step_rows(sequences.offsets[rows], batch.lengths) if by_step else rows] = outputs
        return result

    def _predict(self, sequences, n_threads, pooling=None, hidden=False):
        """Triples (rows, batch, outputs) that together hold all sequences."""
        for rows, record, n_used in self._records(sequences, pooling or self._pooling, n_threads):
            z, _ = (pooling or self._pooling).forward(record, n_used)
            yield rows, record.batch, self.head.predict(z, n_used, hidden)

    def _records(self, sequences, pooling, n_threads):
        """Triples (rows, StackPass, threads) that together hold all sequences; each is used up before the next."""
        workspace = Workspace()
        for rows, batch in prediction_batches(sequences):
            with self._thread_choice(batch, n_threads).measure(batch.n_steps) as n_used:
                record = self.stack.forward(
                    batch, sequences.steps, x_first=sequences.offsets[rows], masks=self.no_masks(),
                    all_steps=pooling.needs_steps, workspace=workspace, n_threads=n_used,
                )  # fmt: skip
                yield rows, record, n_used

    @explains_memory
    @np.errstate(all="ignore")
    def attention(self, sequences, n_threads=1):
        """Weight of each step (n_steps,) in the mean that pooling "attention" makes of its sequence."""
        result = np.empty(len(sequences.steps), self.dtype)
        for rows, record, n_used in self._records(sequences, self._pooling, n_threads):
            _, tape = self._pooling.forward(record, n_used)
            result[step_rows(sequences.offsets[rows], record.batch.lengths)] = tape.weights
        return result

    @explains_memory
    @np.errstate(all="ignore")
    def labels(self, sequences, n_threads=1):
        """Number of the best label of each step (n_steps,), without pooling: of a CRF the most probable sequence."""
        if self.crf is None:
            return self.outputs(sequences, n_threads=n_threads).argmax(axis=1)
        result = np.empty(len(sequences.steps), np.int64)
        for rows, batch, z in self._predict(sequences, n_threads):
            result[step_rows(sequences.offsets[rows], batch.lengths)] = self.crf.decode(batch, z, n_threads)
        return result

    @explains_memory
    @np.errstate(all="ignore")
    def label_probabilities(self, sequences, n_threads=1):
        """Probability of each label at each step (n_steps, n_outputs), without pooling."""
        if self.crf is None:
            result = self.outputs(sequences, n_threads=n_threads)
            _core.output_probabilities(False, result, result, result.shape[1], self.float64)
            return result
        result = np.empty((len(sequences.steps), self.crf.n_labels), self.dtype)
        for rows, batch, z in self._predict(sequences, n_threads):
            result[step_rows(sequences.offsets[rows], batch.lengths)] = self.crf.marginals(batch, z, n_threads)
        return result

    @explains_memory
    @np.errstate(all="ignore")
    def log_likelihoods(self, chunk, workspace, n_threads=1):
        """Logarithm of the probability (n_steps,) of each target of a Minibatch, without pooling; its state is
        overwritten by that after it."""
        sequences, result = chunk.sequences, np.empty(chunk.n_steps, self.dtype)
        order = np.argsort(-sequences.lengths, kind="stable")
        batch, x_first = _core.Batch(sequences.lengths[order]), sequences.offsets[order]
        rows = step_rows(x_first, batch.lengths)
        with self._thread_choice(batch, n_threads).measure(batch.n_steps) as n_used:
            record = self.stack.forward(
                batch, sequences.steps, x_first=x_first, masks=self.no_masks(), state=chunk.state.take(order),
                all_steps=True, workspace=workspace, n_threads=n_used,
            )  # fmt: skip
            chunk.state.put(order, record.state)
            result[rows] = self.head.log_likelihoods(record.y, chunk.targets.values[rows], n_used)
        return result

    def _must_be_causal(self, what):
        if self.config["bidirectional"]:
            raise ValueError(f"a bidirectional model has no {what}: its reverse direction begins at a sequence's end")
        if self.crf is not None:
            raise ValueError(f"a model with a CRF has no {what}: each label depends on the whole sequence")

    @explains_memory
    @np.errstate(all="ignore")
    def step_outputs(self, sequences, activation, n_threads=1):
        """Outputs (n_steps, n_outputs) after every step of Sequences, through activation ("softmax", "sigmoid", None).

        The bits of a stream. ValueError for a bidirectional network.
        """
        self._must_be_causal("predict_steps")
        result = np.empty((len(sequences.steps), self.dense[-1].output_size), self.dtype)
        for rows, record, n_used in self._records(sequences, EVERY_STEP, n_threads):
            self._pooling.steps(record.batch, record.y, n_used)
            z = self.head.predict(record.y, n_used)
            if activation:
                _core.output_probabilities(activation == "sigmoid", z, z, z.shape[1], self.float64)
            result[step_rows(sequences.offsets[rows], record.batch.lengths)] = z
        return result

    def stream(self, n, activation, n_threads=1):
        """A `_core.Stream` of n sequences, or a FrontStream where there are layers before the recurrent ones.

        ValueError for a bidirectional network.
        """
        self._must_be_causal("stream")
        layers = [
            (layer.cell, direction.packed_forward(), direction.arrays.get("peephole"), layer.input_size,
             layer.hidden_size)
            for layer in self.layers for direction in layer.directions
        ]  # fmt: skip
        dense = [(layer.packed_forward(), layer.input_size, layer.output_size) for layer in self.dense]
        pooling = "last" if self.pooling == NO_POOLING else self.pooling
        attention = self._pooling.layer and self._pooling.layer.packed_forward()
        stream = _core.Stream(
            layers, dense, pooling, activation, check_size(n, "n"), self.float64, n_threads, attention
        )
        convolutions = self.stack.convolutions
        if self.embedding is None and not convolutions.layers:
            return stream
        return FrontStream(stream, self.embedding, convolutions.stream(n))

    def _thread_choice(self, batch, n_threads):
        """What earlier batches of about this size taught about threads."""
        key = batch.n_rows.bit_length(), batch.max_length.bit_length(), n_threads
        if key not in self._thread_choices:
            self._thread_choices[key] = ThreadChoice(n_threads)
        return self._thread_choices[key]

    def no_masks(self):
        """Masks that drop nothing."""
        return self.stack.no_masks(self.dense)

    def draw_masks(self, rng, n, dropout, recurrent_dropout):
        """Masks for a batch of n sequences, from a numpy Generator."""
        return self.stack.draw_masks(rng, n, dropout, recurrent_dropout, self.dense)

    # ---- training ----

    def _head_loss(self, batch, z, loss, targets, weights, masks, workspace, n_threads):
        """Loss and its gradient at z, what the head sees."""
        if self.crf is not None:  # it has its own loss, of whole sequences, each with its first step's weight
            rows = repeat_rows(batch, np.arange(batch.n_rows))
            masks = [None if mask is None else mask[rows] for mask in masks]
            outputs, seen = self.head.forward(z, masks, n_threads)
            weights = weights.values[weights.offsets[:-1]]
            value, gradient = self.crf.loss_and_gradient(batch, outputs, targets.values, weights, n_threads)
            return value, self.head.backward(seen, gradient, masks, n_threads)
        rows = np.arange(batch.n_rows)
        if self.pooling == NO_POOLING:
            targets, weights, rows = targets.values, weights.values, repeat_rows(batch, rows)
        return self.head.loss_and_gradient(z, loss, targets, weights, masks, rows, workspace, n_threads)

    @np.errstate(all="ignore")  # a loss that overflows is told by its value
    def loss_and_gradient(
        self, sequences, rows, loss, targets, weights, *, masks=None, state=None, workspace=None, n_threads=1
    ):
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
        state : State of n sequences, optional
            Before their first steps; overwritten by that after their last. No gradient flows into it.

        Returns
        -------
        value : float
        """
        workspace = workspace or Workspace()
        masks = masks or self.no_masks()
        lengths = sequences.offsets[rows + 1] - sequences.offsets[rows]
        self.forget_gradients()
        value = 0.0
        for group in groups(lengths, self.stack.group_size(lengths.mean())):
            group_masks = masks.take(group)
            record = self.stack.forward(
                _core.Batch(lengths[group]), sequences.steps, x_first=sequences.offsets[rows[group]], masks=group_masks,
                state=state and state.take(group), training=True, all_steps=self._pooling.needs_steps,
                workspace=workspace, n_threads=n_threads,
            )  # fmt: skip
            z, tape = self._pooling.forward(record, n_threads, workspace)
            part, dz = self._head_loss(
                record.batch, z, loss, targets[group], weights[group], group_masks.dense, workspace, n_threads
            )
            if state is not None:
                state.put(group, record.state)
            if self._pooling.layer is not None or not self.stack.all_frozen:
                gradients = self._pooling.backward(record, dz, tape, workspace, n_threads)
                self.stack.backward(record, **gradients, n_threads=n_threads)
            value += part
        return value

    @explains_memory
    @np.errstate(all="ignore")
    def input_gradient(self, sequences, doutputs, n_threads=1):
        """Gradient of the steps (n_steps, n_features), of a network without an embedding or frozen layers.

        Parameters
        ----------
        sequences : Sequences
        doutputs : ndarray shaped like `outputs`
            Gradient of those. That of the parameters is left in `gradients`, so a network in use needs a copy.
        """
        result, lengths, workspace = np.empty_like(sequences.steps), sequences.lengths, Workspace()
        self.forget_gradients()
        for rows in groups(lengths, self.stack.group_size(lengths.mean())):
            batch, x_first = _core.Batch(lengths[rows]), sequences.offsets[rows]
            record = self.stack.forward(
                batch, sequences.steps, x_first=x_first, masks=self.no_masks(), training=True,
                all_steps=self._pooling.needs_steps, workspace=workspace, n_threads=n_threads,
            )  # fmt: skip
            z, tape = self._pooling.forward(record, n_threads, workspace)
            _, seen = self.head.forward(z, n_threads=n_threads)
            steps = step_rows(x_first, batch.lengths)
            dz = self.head.backward(seen, doutputs[steps if self.pooling == NO_POOLING else rows], n_threads=n_threads)
            gradients = self._pooling.backward(record, dz, tape, workspace, n_threads)
            result[steps], _ = self.stack.backward(record, **gradients, input_gradient=True, n_threads=n_threads)
        return result


def prediction_batches(sequences):
    """Pairs (rows, batch) that together hold all sequences, those of about equal lengths together."""
    lengths = sequences.lengths
    order, begin = np.argsort(-lengths, kind="stable"), 0
    while begin < len(order):
        size = max(1, min(PREDICT_SEQUENCES, PREDICT_STEPS // lengths[order[begin]]))
        rows = order[begin : begin + size]
        yield rows, _core.Batch(lengths[rows])
        begin += size
