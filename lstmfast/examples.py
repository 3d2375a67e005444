"""What a fit goes through, epoch after epoch, cut into minibatches."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sequences import Sequences, StepValues, offsets_of, step_rows
from .stack import State


@dataclass
class Minibatch:
    """What one gradient step learns from.

    Its first five fields are arguments of a network's `loss_and_gradient`.

    sequences, rows : sequences, and which n of them
    targets, weights : for these rows; weights as the loss takes them
    state : State before the first steps, or None
    n_steps : int
        Steps of all its sequences.
    share : float
        Its weight in the mean over an epoch.
    places : ndarray of shape (n_steps,) or None
        Of a corpus: where its steps stand in there.
    """

    sequences: Any
    rows: np.ndarray
    targets: Any
    weights: Any
    state: State | None
    n_steps: int
    share: float
    places: np.ndarray | None = None


def row_batches(n, batch_size, rng):
    """The numbers 0 to n - 1 in batches, shuffled unless rng is None."""
    order = np.arange(n) if rng is None else rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))


class Examples:
    """Sequences with their targets, in a new order each epoch.

    Parameters
    ----------
    sequences : Sequences, or whatever else the network's `loss_and_gradient` takes
    targets, weights : ndarrays of shape (n, ...) and (n,), or StepValues
        Of the weights only their ratios count.
    dtype : dtype
        Of the network.
    batch_size : int
    """

    def __init__(self, sequences, targets, weights, dtype, batch_size):
        self.sequences, self.targets, self.batch_size = sequences, targets, batch_size
        self._lengths = sequences.lengths
        # Mean 1 over all sequences, so that a batch of light ones takes a smaller step than a batch of heavy ones.
        self.weights = (weights / weights.mean()).astype(dtype)

    @property
    def n_batches(self):
        return -(-len(self.sequences) // self.batch_size)

    def batches(self, rng):
        """Minibatches of one epoch; in the order of the data where rng is None."""
        for rows in row_batches(len(self.sequences), self.batch_size, rng):
            weights = self.weights[rows]
            n_steps = int(self._lengths[rows].sum())
            yield Minibatch(
                self.sequences, rows, self.targets[rows], weights / len(weights), None, n_steps, share=len(rows)
            )


class PairExamples:
    """Pairs in a new order each epoch. A batch's loss is the mean over all its target tokens, ends included.

    Parameters
    ----------
    pairs : SequencePairs
    batch_size : int
    """

    def __init__(self, pairs, batch_size):
        self.pairs, self.batch_size = pairs, batch_size
        self._n_steps, self._n_predicted = pairs.lengths, pairs.targets.lengths - 1

    @property
    def n_batches(self):
        return -(-len(self.pairs) // self.batch_size)

    def batches(self, rng):
        """Minibatches of one epoch; in the order of the data where rng is None."""
        for rows in row_batches(len(self.pairs), self.batch_size, rng):
            n_predicted = int(self._n_predicted[rows].sum())
            n_steps = int(self._n_steps[rows].sum())
            yield Minibatch(self.pairs, rows, None, 1 / n_predicted, None, n_steps, share=n_predicted)


class Corpus:
    """Texts in which each token is predicted from those before it, cut for truncated backpropagation through time.

    A minibatch takes the next `bptt` steps of up to `n_lanes` texts side by side and hands their state on to the next
    one, through which no gradient flows (Williams & Peng 1990; Mikolov et al. 2010). A lane whose text has ended goes
    on with another text, from state 0. Texts longer than a lane's share of the corpus are cut into pieces of at least
    `bptt` steps, so that a single long text fills all lanes; each piece starts from state 0.

    Parameters
    ----------
    texts : Sequences
        Tokens; of each text the first is only read and the last only predicted.
    network : Network
        Without pooling.
    n_lanes : int
    bptt : int or None
        None: whole texts.
    cut : bool, default=True
        Whether long texts may be cut into pieces.
    """

    def __init__(self, texts, network, n_lanes, bptt, cut=True):
        self.tokens, self.network, self.n_lanes = texts.steps[:, 0], network, n_lanes
        self.bptt = bptt or int(texts.lengths.max())
        n_steps = texts.lengths - 1
        n_pieces = np.minimum(n_steps, 1)
        if cut:
            lanes_worth = -(-n_steps * n_lanes // max(int(n_steps.sum()), 1))
            n_pieces = np.maximum(n_pieces, np.minimum(lanes_worth, n_steps // self.bptt))
        # Piece j of k of a text of T steps: from jT/k to (j + 1)T/k.
        text = np.repeat(np.arange(len(texts)), n_pieces)
        j = np.arange(len(text)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        first = texts.offsets[text]
        self.starts = first + j * n_steps[text] // n_pieces[text]
        self.stops = first + (j + 1) * n_steps[text] // n_pieces[text]

    @property
    def n_batches(self):
        """About as many as an epoch has; how many there are depends on the order of the texts."""
        n_chunks = -(-(self.stops - self.starts) // self.bptt)
        return max(-(-int(n_chunks.sum()) // self.n_lanes), int(n_chunks.max(initial=0)))

    def batches(self, rng):
        """Minibatches of one epoch; the texts in their own order where rng is None."""
        n_lanes = min(self.n_lanes, len(self.starts))
        waiting = iter(np.arange(len(self.starts)) if rng is None else rng.permutation(len(self.starts)))
        at, stops = np.zeros(n_lanes, np.int64), np.zeros(n_lanes, np.int64)
        state = self.network.stack.zero_state(n_lanes)
        while True:
            ended = np.flatnonzero(at == stops)
            pieces = np.fromiter(itertools.islice(waiting, len(ended)), np.int64)
            fresh = ended[: len(pieces)]
            at[fresh], stops[fresh] = self.starts[pieces], self.stops[pieces]
            lanes = np.flatnonzero(at < stops)
            if not len(lanes):
                return
            live = state.take(lanes)
            live.clear(np.searchsorted(lanes, fresh))
            yield self._chunk(at[lanes], np.minimum(stops[lanes] - at[lanes], self.bptt), live)
            state.put(lanes, live)
            at[lanes] = np.minimum(at[lanes] + self.bptt, stops[lanes])

    def _chunk(self, starts, lengths, state):
        offsets, places = offsets_of(lengths), step_rows(starts, lengths)
        weights = np.full(len(places), 1 / len(places), self.network.dtype)
        return Minibatch(
            Sequences(self.tokens[places][:, None], offsets), np.arange(len(lengths)),
            StepValues(self.tokens[places + 1], offsets), StepValues(weights, offsets), state, n_steps=len(places),
            share=len(places), places=places,
        )  # fmt: skip
