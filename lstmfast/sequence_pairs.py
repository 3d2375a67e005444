"""Sequences and what they are to become: what an `EncoderDecoder` is trained on, and what goes with a batch of it."""

from dataclasses import dataclass

import numpy as np

from . import _core
from .layers.attention import AttentionTape
from .sequences import Sequences
from .stack import Masks, StackPass


@dataclass(frozen=True)
class SequencePairs:
    """Sources and what they are to become, both as `vocabulary.framed` makes them: `END`, their tokens, `END`.

    The encoder reads all of a source but the first; the decoder reads all of a target but the last, and predicts all
    but the first.
    """

    sources: Sequences
    targets: Sequences

    def __len__(self):
        return len(self.sources)

    @property
    def lengths(self):
        """Steps that encoder and decoder take for each pair (n,)."""
        return self.sources.lengths + self.targets.lengths - 2

    def take(self, indices):
        """A copy of those at `indices`, ints or a mask."""
        return SequencePairs(self.sources.take(indices), self.targets.take(indices))


@dataclass
class PairMasks:
    """Dropout masks of a batch of pairs; those of the dense layers stand with the decoder's."""

    encoder: Masks
    decoder: Masks

    def take(self, rows):
        """The masks of some pairs."""
        return PairMasks(self.encoder.take(rows), self.decoder.take(rows))


@dataclass
class PairPass:
    """What `EncoderDecoder._forward` gives, and what it leaves for the way back.

    The encoder's batch is ordered by the lengths of the sources, the decoder's by those of the targets.

    order : (n,), which pair each sequence of the decoder's batch belongs to
    sources : (n,), its source's place in the encoder's batch
    tape : AttentionTape or None
    z : what the head sees at each step of the decoder (n_steps, ...)
    targets : the token that each is to predict (n_steps,)
    """

    encoder: StackPass
    decoder: StackPass
    order: np.ndarray
    sources: np.ndarray
    tape: AttentionTape | None
    z: np.ndarray
    targets: np.ndarray


def lengths_read(sequences, rows):
    """Of some framed Sequences, what a network reads of each: all but one end."""
    return sequences.offsets[rows + 1] - sequences.offsets[rows] - 1


def longest_first(sequences, rows):
    """(batch, first, order): Batch of some framed Sequences without one end; where each begins, and which it is."""
    lengths = lengths_read(sequences, rows)
    order = np.argsort(-lengths, kind="stable")
    return _core.Batch(lengths[order]), sequences.offsets[rows[order]], order
