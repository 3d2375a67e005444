"""A network that turns one sequence of tokens into another."""

import numpy as np

from .decoding import translate
from .flat import FlatParameters
from .head import Head
from .layers import AdditiveAttention, Pairs
from .layers.initializers import BLANK
from .layers.parameters import check_dtype
from .losses import SoftmaxCrossEntropy
from .network import prediction_batches
from .sequence_pairs import PairMasks, PairPass, lengths_read, longest_first
from .sequences import first_rows, repeat_rows, step_rows
from .stack import Stack, State, groups
from .thread_choice import ThreadChoice
from .workspace import Workspace, explains_memory


class EncoderDecoder(FlatParameters):
    """Two stacks of recurrent layers: an encoder reads the source, a decoder writes the target token by token.

    The decoder starts from the encoder's final state, layer by layer; from the mean of its two directions where it has
    two (Sutskever et al. 2014, there without the mean). The head sees the decoder's output h_t and the context, which
    additive attention (Bahdanau et al. 2015) finds with the query h_t among the encoder's outputs (Luong et al. 2015's
    place for it, without input feeding: so the decoder runs over all steps at once while it trains).

    Its parameters are 0 until `initialize` draws them or somebody sets them.

    Parameters
    ----------
    n_source_tokens, n_target_tokens : int
        Tokens of either side are below it, `vocabulary.UNKNOWN` and `END` among them.
    embedding_dim : int
        Size of the tokens' vectors, on either side.
    hidden_layer_sizes : tuple of int
        Units of each recurrent layer, in encoder and decoder.
    attention : bool
        Without it the head sees h_t alone.
    bidirectional : bool
        Whether the encoder reads its sources from their ends too.
    dense_layer_sizes, dtype, cell, activation, recurrent_activation
        As on the estimators.
    clip : float or None
        As on the layers.

    Attributes
    ----------
    encoder, decoder : Stack
    attention : AdditiveAttention or None
    head : Head

    References
    ----------
    - I. Sutskever, O. Vinyals and Q. V. Le, "Sequence to sequence learning with neural networks", NIPS 2014.
    - D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate",
      ICLR 2015.
    - M.-T. Luong, H. Pham and C. D. Manning, "Effective approaches to attention-based neural machine translation",
      EMNLP 2015.
    """

    def __init__(self, n_source_tokens, n_target_tokens, embedding_dim, hidden_layer_sizes, *, attention=True,
                 bidirectional=False, dense_layer_sizes=(), dtype="float32", cell="lstm", activation="tanh",
                 recurrent_activation="sigmoid", clip=None, n_frozen_layers=0):  # fmt: skip
        self.config = {
            "n_source_tokens": int(n_source_tokens), "n_target_tokens": int(n_target_tokens),
            "embedding_dim": int(embedding_dim), "hidden_layer_sizes": [int(size) for size in hidden_layer_sizes],
            "attention": bool(attention), "bidirectional": bool(bidirectional),
            "dense_layer_sizes": [int(size) for size in dense_layer_sizes], "dtype": check_dtype(dtype).name,
            "cell": cell, "activation": activation, "recurrent_activation": recurrent_activation, "clip": clip,
            "n_frozen_layers": int(n_frozen_layers),
        }  # fmt: skip
        self.dtype = check_dtype(dtype)
        options = {
            "cell": cell, "activation": activation, "recurrent_activation": recurrent_activation, "clip": clip,
            "dtype": self.dtype,
        }  # fmt: skip
        self.encoder = Stack(
            embedding_dim, hidden_layer_sizes, n_tokens=n_source_tokens, bidirectional=bidirectional, name="encoder.",
            n_frozen_layers=n_frozen_layers, **options,
        )  # fmt: skip
        self.decoder = Stack(
            embedding_dim, hidden_layer_sizes, n_tokens=n_target_tokens, bidirectional=False, name="decoder.", **options
        )
        self.attention, size = None, self.decoder.output_size
        if attention:
            self.attention = AdditiveAttention(
                size, self.encoder.output_size, size, dtype=self.dtype, random_state=BLANK
            )
            size += self.encoder.output_size
        self.head = Head(size, (*dense_layer_sizes, n_target_tokens), self.dtype, first_number=len(hidden_layer_sizes))
        self._flatten(
            self.encoder.parts() | self.decoder.parts() | ({"attention": self.attention} if attention else {})
            | {f"decoder.{name}": layer for name, layer in self.head.parts().items()},
            frozen=self.encoder.frozen_parts(),
        )  # fmt: skip

    @staticmethod
    def count_parameters(
        n_source_tokens, n_target_tokens, embedding_dim, hidden_layer_sizes, *, attention, bidirectional,
        dense_layer_sizes, dtype, cell="lstm", activation="tanh", recurrent_activation="sigmoid", clip=None,
        n_frozen_layers=0,
    ):  # fmt: skip
        """Number of parameters of a network of this description, without building it."""
        options = {"cell": cell, "activation": activation, "recurrent_activation": recurrent_activation, "clip": clip}
        encoder, key_size = Stack.count_parameters(
            embedding_dim, hidden_layer_sizes, n_tokens=n_source_tokens, bidirectional=bidirectional, **options
        )
        decoder, size = Stack.count_parameters(
            embedding_dim, hidden_layer_sizes, n_tokens=n_target_tokens, bidirectional=False, **options
        )
        total = encoder + decoder
        if attention:
            total += (size + key_size + 1) * size
            size += key_size
        return total + Head.count_parameters(size, (*dense_layer_sizes, n_target_tokens))

    @property
    def layers(self):
        return [*self.encoder.layers, *self.decoder.layers]

    @property
    def dense(self):
        return self.head.layers

    @property
    def all_layers(self):
        """Those of the encoder, the decoder and the head."""
        return [*self.layers, *self.dense]

    def no_masks(self):
        """Masks that drop nothing."""
        return PairMasks(self.encoder.no_masks(), self.decoder.no_masks(self.dense))

    def draw_masks(self, rng, n, dropout, recurrent_dropout):
        """Masks for a batch of n pairs, from a numpy Generator."""
        return PairMasks(
            self.encoder.draw_masks(rng, n, dropout, recurrent_dropout),
            self.decoder.draw_masks(rng, n, dropout, recurrent_dropout, self.dense),
        )

    # ---- given sources and targets ----

    def _forward(self, pairs, rows, masks, *, training, workspace, n_threads):
        """PairPass of some pairs; masks are those of `rows`."""
        batch, first, order = longest_first(pairs.sources, rows)
        encoded = self.encoder.forward(
            batch, pairs.sources.steps, x_first=first + 1, masks=masks.encoder.take(order), training=training,
            all_steps=self.attention is not None, workspace=workspace, n_threads=n_threads,
        )  # fmt: skip
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        batch, first, order = longest_first(pairs.targets, rows)
        sources = place[order]
        z = workspace.take("z", (batch.n_steps, self.head.layers[0].input_size), self.dtype)
        y, context = z[:, : self.decoder.output_size], z[:, self.decoder.output_size :]
        decoded = self.decoder.forward(
            batch, pairs.targets.steps, x_first=first, masks=masks.decoder.take(order),
            state=self.hand_over(encoded.state, sources), training=training, all_steps=True, y=y, workspace=workspace,
            n_threads=n_threads,
        )  # fmt: skip
        tape = None
        if self.attention is not None:
            keys = encoded.batch.lengths
            who = Pairs(first_rows(batch.lengths), batch.lengths, first_rows(keys)[sources], keys[sources])
            _, tape = self.attention.forward(y, encoded.y, who, training, n_threads, out=context)
        targets = pairs.targets.steps[step_rows(first + 1, batch.lengths), 0]
        return PairPass(encoded, decoded, order, sources, tape, z, targets)

    def hand_over(self, state, rows):
        """The State of decoders that start where these rows of the encoder's batch have ended."""

        def mean(array):
            if array is None or len(array) == 1:
                return array if array is None else array.take(rows, axis=1)
            return array.take(rows, axis=1).mean(axis=0, keepdims=True)

        return State([mean(h) for h in state.h], [mean(c) for c in state.c])

    def _hand_back(self, dstate, rows):
        """Gradient of the encoder's final state from that of the State which `hand_over` made of it."""

        def share(gradient, layer):
            if gradient is None:
                return None
            result = np.empty((len(layer.directions), *gradient.shape[1:]), self.dtype)
            result[:, rows] = gradient / len(layer.directions)
            return result

        return State(
            *([share(*both) for both in zip(part, self.encoder.layers, strict=True)] for part in (dstate.h, dstate.c))
        )

    def _backward(self, record, dz, n_threads, input_gradient=False):
        """Gradients of the stacks and the attention, from that of what the head saw; returns that of the encoder's
        steps if asked."""
        dy, dkeys = dz, None
        if self.attention is not None:
            size = self.decoder.output_size
            dy, dkeys = self.attention.backward(record.tape, dz[:, size:], n_threads)
            dy += dz[:, :size]
        _, dstate = self.decoder.backward(record.decoder, dy=dy, state_gradient=True, n_threads=n_threads)
        dx, _ = self.encoder.backward(
            record.encoder, dy=dkeys, dstate=self._hand_back(dstate, record.sources), input_gradient=input_gradient,
            n_threads=n_threads,
        )  # fmt: skip
        return dx

    @np.errstate(all="ignore")  # a loss that overflows is told by its value
    def loss_and_gradient(
        self, pairs, rows, loss, targets, weights, *, masks=None, state=None, workspace=None, n_threads=1
    ):
        """Loss of some pairs, its gradient in `gradients` and the tables (whatever stood there is overwritten).

        Parameters
        ----------
        pairs : SequencePairs
        rows : ndarray of int of shape (n,)
            Which of them.
        loss : object of `lstmfast.losses`
        targets : None
            They are in `pairs`.
        weights : float
            Weight of each target token, used as it is.
        masks : PairMasks of n pairs, optional
        state : None
            Pairs do not go on from one another.

        Returns
        -------
        value : float
        """
        workspace = workspace or Workspace()
        masks = masks or self.no_masks()
        self.forget_gradients()
        lengths = lengths_read(pairs.sources, rows) + lengths_read(pairs.targets, rows)
        value = 0.0
        for group in groups(lengths, self.encoder.group_size(lengths.mean())):  # it has no less units than the decoder
            record = self._forward(
                pairs, rows[group], masks.take(group), training=True, workspace=workspace, n_threads=n_threads
            )
            part, dz = self.head.loss_and_gradient(
                record.z, loss, record.targets, np.full(len(record.z), weights, self.dtype),
                record.decoder.masks.dense, repeat_rows(record.decoder.batch, np.arange(len(group))),
                workspace, n_threads,
            )  # fmt: skip
            self._backward(record, dz, n_threads)
            value += part
        return value

    def training_pass(self, pairs, n_threads=1):
        """PairPass of all pairs, with what is needed to go back."""
        rows = np.arange(len(pairs))
        return self._forward(pairs, rows, self.no_masks(), training=True, workspace=Workspace(), n_threads=n_threads)

    @explains_memory
    @np.errstate(all="ignore")
    def source_gradient(self, pairs, n_threads=1):
        """Gradient (n_steps, embedding_dim) of the log-likelihoods of pairs of equal lengths, summed, at the steps of
        their sources, which are vectors: of a network whose encoder has no embedding. `gradients` are overwritten."""
        self.forget_gradients()
        record = self.training_pass(pairs, n_threads)
        minus, masks = np.full(len(record.z), -1, self.dtype), record.decoder.masks.dense
        _, dz = self.head.loss_and_gradient(
            record.z, SoftmaxCrossEntropy(), record.targets, minus, masks, None, Workspace(), n_threads
        )
        dx = np.zeros_like(pairs.sources.steps)
        starts = pairs.sources.offsets[:-1] + 1
        dx[step_rows(starts, pairs.sources.lengths - 1)] = self._backward(record, dz, n_threads, input_gradient=True)
        return dx

    def _given(self, pairs, n_threads):
        """Pairs (rows, PairPass) that together hold all pairs of sequences."""
        workspace, threads = Workspace(), ThreadChoice(n_threads)
        for rows, batch in prediction_batches(pairs):
            with threads.measure(batch.n_steps) as n_used:
                record = self._forward(
                    pairs, rows, self.no_masks(), training=False, workspace=workspace, n_threads=n_used
                )
            yield rows, record

    @explains_memory
    @np.errstate(all="ignore")
    def log_likelihoods(self, pairs, n_threads=1):
        """Logarithm of the probability of each target's tokens and of its end, given its source.

        Returns
        -------
        log_likelihoods : list of n ndarrays of shape (T_i + 1,)
            A target's have the same bits alone and in any company.
        """
        lengths = pairs.targets.lengths - 1
        first, result = first_rows(lengths), np.empty(lengths.sum(), self.dtype)
        for rows, record in self._given(pairs, n_threads):
            places = step_rows(first[rows[record.order]], record.decoder.batch.lengths)
            result[places] = self.head.log_likelihoods(record.z, record.targets, n_threads)
        return np.split(result, first[1:])

    @explains_memory
    @np.errstate(all="ignore")
    def attention_weights(self, pairs, n_threads=1):
        """Which tokens of the source each token of the target was written by.

        Returns
        -------
        weights : list of n ndarrays of shape (T_out, T_in)
            One row for each token of a target, one column for each of its source. A row adds up to at most 1: what is
            missing went to the source's end. The row of the target's own end is left out.
        """
        result = [None] * len(pairs)
        for rows, record in self._given(pairs, n_threads):
            matrices = record.tape.pairs.split(record.tape.weights)
            for i, matrix in zip(rows[record.order].tolist(), matrices, strict=True):
                result[i] = matrix[:-1, :-1].copy()
        return result

    # ---- given sources alone ----

    @explains_memory
    @np.errstate(all="ignore")
    def translate(self, sources, beam_width=1, max_length=None, n_threads=1):
        """The most probable target of each source, or nearly so.

        Parameters
        ----------
        sources : Sequences
            As of `SequencePairs`.
        beam_width : int, default=1
            Beginnings of a target that are followed at once; 1: always the most probable next token.
        max_length : int or None, default=None
            Most tokens of a target, its end not counted. None: twice those of its source, and 10.

        Returns
        -------
        targets : list of n ndarrays of shape (T_i,), int64
            Without `END`, never with `UNKNOWN`. A source's has the same bits alone and in any company.

        Notes
        -----
        A target's score is its log-probability, its end included, without any correction for its length. The beam
        search keeps the `beam_width` best ways to go on with the beginnings it follows, ended ones among them. It is
        over when no beginning can overtake the best target that has ended: a score only falls.
        """
        return translate(self, sources, beam_width, max_length, n_threads)
