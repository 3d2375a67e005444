"""What a fit goes through, epoch after epoch, cut into minibatches."""

from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """

    sequences: Any
    rows: np.ndarray
    targets: Any
    weights: Any
    state: State | None
    n_steps: int
    share: float


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
        # Mean 1 over all sequences, so that a batch of light ones takes a smaller step than a batch of heavy ones.
        self.weights = (weights / weights.mean()).astype(dtype)

    @property
    def n_batches(self):
        return -(-len(self.sequences) // self.batch_size)

    def batches(self, rng):
        """Minibatches of one epoch; in the order of the data where rng is None."""
        n = len(self.sequences)
        order = np.arange(n) if rng is None else rng.permutation(n)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            weights = self.weights[rows]
            n_steps = int(self.sequences.lengths[rows].sum())
            yield Minibatch(
                self.sequences, rows, self.targets[rows], weights / len(weights), None, n_steps, share=len(rows)
            )
