"""A network that learns to give back the sequences it reads, through one vector for each."""

import numpy as np

from . import _core
from .head import Head
from .network import Network, prediction_batches
from .pooling import NO_POOLING
from .sequences import first_rows, repeat_rows, step_rows
from .stack import Stack
from .thread_choice import ThreadChoice
from .workspace import Workspace, explains_memory


class Decoder:
    """Recurrent layers that read a sequence's code at every step, and a linear layer on top.

    It writes each sequence from its last step to its first. On the training utterances of examples/features.py, with 3
    labels a speaker, the codes then told the speaker of 90.6 % of the others, beside 88.8 % with a decoder that starts
    with the first step, and more in each of 10 comparisons, though that one came 4 % closer to its input.

    Parameters
    ----------
    code_size : int
    hidden_layer_sizes : tuple of int
        Units of each layer, lowest first.
    n_outputs : int
        Of each step.
    dtype : dtype
    cell
        cell, activation, recurrent_activation and clip, as on the layers.
    """

    def __init__(self, code_size, hidden_layer_sizes, n_outputs, dtype, **cell):
        self.stack = Stack(code_size, hidden_layer_sizes, dtype=dtype, name="decoder.", reverse=True, **cell)
        self.head = Head(self.stack.output_size, (n_outputs,), dtype, first_number=len(hidden_layer_sizes))

    @staticmethod
    def count_parameters(code_size, hidden_layer_sizes, n_outputs, **cell):
        """Number of parameters of such a decoder, without building it."""
        total, size = Stack.count_parameters(code_size, hidden_layer_sizes, bidirectional=False, **cell)
        return total + Head.count_parameters(size, (n_outputs,))

    @property
    def layers(self):
        return [*self.stack.layers, *self.head.layers]

    def parts(self):
        """Its layers, as `FlatParameters` names them."""
        return self.stack.parts() | {f"decoder.{name}": layer for name, layer in self.head.parts().items()}

    def forward(self, batch, codes, *, training=False, workspace, n_threads=1):
        """StackPass of a batch of sequences with these codes (n, code_size)."""
        x, x_rows = codes, repeat_rows(batch, np.arange(batch.n_rows))
        if not self._shares_codes:
            x, x_rows = codes[x_rows], None
        return self.stack.forward(
            batch, x, x_rows=x_rows, masks=self.stack.no_masks(), training=training, all_steps=True,
            workspace=workspace, n_threads=n_threads,
        )  # fmt: skip

    @property
    def _shares_codes(self):
        """Whether a code's product is computed once for all steps: a training step then took 0.71 times as long with 64
        sequences of 50 to 100 steps and 128 units, 0.78 times with 32 of 10 to 20 and 64 units."""
        return self.stack.layers[0].cell.shares_inputs

    def backward(self, record, dy, n_threads=1):
        """Gradient of the codes from that of the stack's outputs; those of the parameters are added to what is
        there."""
        dx, _ = self.stack.backward(record, dy=dy, input_gradient=True, n_threads=n_threads)
        if self._shares_codes:
            return dx
        return np.add.reduceat(dx, first_rows(record.batch.lengths), axis=0)


class Reconstruction:
    """A loss of codes: what a loss of steps says of what the decoder makes of them.

    Parameters
    ----------
    decoder : Decoder
    loss : object of `lstmfast.losses`
    workspace : Workspace
        Of the decoder alone.
    """

    def __init__(self, decoder, loss, workspace):
        self.decoder, self.loss, self.workspace = decoder, loss, workspace

    def value_and_gradient(self, codes, targets, weights, n_threads=1):
        """targets and weights are StepValues of the sequences that the codes stand for, longest first."""
        batch = _core.Batch(np.diff(targets.offsets))
        record = self.decoder.forward(batch, codes, training=True, workspace=self.workspace, n_threads=n_threads)
        value, dy = self.decoder.head.loss_and_gradient(
            record.y, self.loss, targets.values, weights.values, [None], None, self.workspace, n_threads
        )
        return value, self.decoder.backward(record, dy, n_threads)


class Autoencoder(Network):
    """A sequence autoencoder (Srivastava et al. 2015): a Network, whose outputs are codes, and a decoder of these.

    The decoder writes the sequence backwards and never sees what it has written, as theirs does without conditioning;
    it reads the code at every step, as in Keras after RepeatVector, where theirs starts from the encoder's state. To
    train the network is to train it on a loss of its outputs: that of what the decoder makes of them. Dropout is the
    encoder's alone; on its input it makes this a denoising autoencoder (Vincent et al. 2008).

    Parameters
    ----------
    n_features, hidden_layer_sizes, options
        As of `Network`. The decoder has the same recurrent layers in opposite order, in one direction.
    code_size : int
        Size of the vector that stands for a sequence.

    Attributes
    ----------
    decoder : Decoder

    References
    ----------
    - N. Srivastava, E. Mansimov and R. Salakhutdinov, "Unsupervised learning of video representations using LSTMs",
      ICML 2015.
    - P. Vincent, H. Larochelle, Y. Bengio and P.-A. Manzagol, "Extracting and composing robust features with denoising
      autoencoders", ICML 2008.
    """

    def __init__(self, n_features, hidden_layer_sizes, code_size, **options):
        super().__init__(n_features, hidden_layer_sizes, code_size, **options, crf=False, n_samples=None)
        if self.pooling == NO_POOLING:
            raise ValueError("an autoencoder has one code for a sequence: it must pool its steps")
        for name in ("n_outputs", "crf", "n_samples"):
            del self.config[name]
        self.config["code_size"] = int(code_size)
        self.decoder = Decoder(**_decoder_config(**self.config), dtype=self.dtype)
        self._flatten(self.parts | self.decoder.parts(), frozen=self.stack.frozen_parts())

    @staticmethod
    def count_parameters(n_features, hidden_layer_sizes, code_size, **options):
        """Number of parameters of a network of this description, without building it."""
        encoder = Network.count_parameters(n_features, hidden_layer_sizes, code_size, **options)
        decoder = _decoder_config(n_features, hidden_layer_sizes, code_size, **options)
        return encoder + Decoder.count_parameters(**decoder)

    @property
    def all_layers(self):
        return [*super().all_layers, *self.decoder.layers]

    def loss_and_gradient(self, sequences, rows, loss, targets, weights, *, workspace=None, **options):
        """As of `Network`, with the loss of a step; targets and weights are StepValues."""
        workspace = workspace or Workspace()
        loss = Reconstruction(self.decoder, loss, workspace.part("decoder"))
        return super().loss_and_gradient(sequences, rows, loss, targets, weights, workspace=workspace, **options)

    def _decode(self, sequences, n_threads):
        """Pairs (steps, what the decoder's head sees of them) that together hold all steps of Sequences."""
        codes = self.outputs(sequences, n_threads=n_threads)
        workspace, threads = Workspace(), ThreadChoice(n_threads)
        for rows, batch in prediction_batches(sequences):
            with threads.measure(batch.n_steps) as n_used:
                y = self.decoder.forward(batch, codes[rows], workspace=workspace, n_threads=n_used).y
            yield step_rows(sequences.offsets[rows], batch.lengths), y

    @explains_memory
    @np.errstate(all="ignore")
    def reconstruct(self, sequences, n_threads=1):
        """What the decoder makes of the codes of Sequences: as their steps; of tokens, the most probable ones.

        A sequence's has the same bits alone and in any company.
        """
        result, head = np.empty_like(sequences.steps), self.decoder.head
        for steps, y in self._decode(sequences, n_threads):
            if self.embedding is None:
                result[steps] = head.predict(y, n_threads)
            else:
                result[steps, 0] = head.best(y, n_threads)
        return result

    @explains_memory
    @np.errstate(all="ignore")
    def step_losses(self, sequences, n_threads=1):
        """Squared error of each step of Sequences (n_steps,), the mean of its features; of tokens, -log probability."""
        if self.embedding is None:
            error = self.reconstruct(sequences, n_threads) - sequences.steps
            return np.square(error, out=error).mean(axis=1)
        result = np.empty(len(sequences.steps), self.dtype)
        for steps, y in self._decode(sequences, n_threads):
            result[steps] = -self.decoder.head.log_likelihoods(y, sequences.steps[steps, 0], n_threads)
        return result


def _decoder_config(
    n_features, hidden_layer_sizes, code_size, *, n_tokens=None, cell="lstm", activation="tanh",
    recurrent_activation="sigmoid", clip=None, **_,
):  # fmt: skip
    """Arguments of the Decoder of an Autoencoder with these."""
    return {
        "code_size": code_size, "hidden_layer_sizes": hidden_layer_sizes[::-1], "n_outputs": n_tokens or n_features,
        "cell": cell, "activation": activation, "recurrent_activation": recurrent_activation, "clip": clip,
    }  # fmt: skip
