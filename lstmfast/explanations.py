"""Why a network gives an output: how much each value of a sequence adds to it, and what its units did.

Integrated gradients and occlusion know a network only as a `Score`, and take one sequence at a time: so what they find
depends on no other sequence. They compute in float64, whatever the network's precision: attributions are differences
of outputs that are nearly equal.

References
----------
M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep networks", ICML 2017. M. D. Zeiler and R. Fergus,
"Visualizing and understanding convolutional networks", ECCV 2014. J. Crabbe and M. van der Schaar, "Label-free
explainability for unsupervised models", ICML 2022.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .layers import Dense
from .layers.traces import gate_traces, state_traces
from .sequence_pairs import SequencePairs
from .sequences import Sequences, offsets_of

# By what share of the change of the output its attributions may miss it, a tenth of the 1 % that is promised: small
# enough for the difference of two outputs. Where the change is nearly 0, rounding decides: as a share of their sizes.
TOLERANCE, ROUNDING = 1e-3, 1e-9
# Gauss-Legendre points of a piece of the path, as shares of it, and how many of them are tried in all.
NODES, WEIGHTS = (np.polynomial.legendre.leggauss(8) + np.array([[1.0], [0.0]])) / 2
MOST_POINTS = 1 << 13
# Values of the altered copies of a sequence that are given to a network at once: bounds the memory.
BLOCK_VALUES = 1 << 20

TRACES = {"gates": gate_traces, "states": state_traces}


@dataclass(frozen=True)
class Score:
    """The number that is explained, as a function of sequences of vectors.

    values : m sequences of the same length, an array (m, T, F) of float64 -> their scores (m,)
    gradients : likewise -> the scores' gradients (m, T, F)
    row_size : values that a network holds for one of them, beside the sequence itself
    """

    values: Callable
    gradients: Callable
    row_size: int = 1

    def block_size(self, x):
        """How many copies of a sequence to give to the network at once."""
        return max(1, BLOCK_VALUES // max(x.size, self.row_size))


# ---- networks as scores ---------------------------------------------------------------------------------------------


def on_vectors(network, reading_stack, **changes):
    """A copy of a network in float64 that reads vectors: of tokens what the embedding makes of them.

    reading_stack : network -> its Stack that reads X
    changes : as of `FlatParameters.copy`
    """
    result = network.copy(n_frozen_layers=0, dtype="float64", **changes)
    reading_stack(result).embedding = None
    return result


def linear_score(network, coefficients, threads):
    """Score: the sum of coefficient times output, of a Network that `on_vectors` made.

    coefficients : ndarray of shape (n_outputs,), or of a network without pooling (T, n_outputs)
    threads : ThreadChoice
    """
    if coefficients.ndim == 1:  # so a point on a path does not pay for a vocabulary
        layer, nothing = network.dense[-1], np.zeros((1, network.dense[-1].input_size))
        weight, bias = layer.backward(nothing, coefficients[None]).T, layer.forward(nothing) @ coefficients
        network, coefficients = _with_one_output(network, weight, bias), np.ones((1, 1))

    def repeated(m):
        return np.tile(coefficients, (m, 1))

    def values(points):
        outputs = network.outputs(equally_long(points), n_threads=threads.current)
        return (outputs * repeated(len(points))).reshape(len(points), -1).sum(axis=1)

    def gradients(points):
        with threads.measure(points.size) as n_threads:
            gradient = network.input_gradient(equally_long(points), repeated(len(points)), n_threads)
        return gradient.reshape(points.shape)

    return Score(values, gradients, coefficients.size)


def feature_score(network, weights, threads):
    """Score: the sum of weight times what the output layer sees, of a Network that `on_vectors` made.

    weights : ndarray of shape (d,)
    """
    return linear_score(_with_one_output(network, weights[:, None], [0.0]), np.ones((1, 1)), threads)


def _with_one_output(network, weight, bias):
    """The network with another output layer, of weight (d, 1) and bias (1,)."""
    output = Dense(len(weight), 1, dtype="float64")
    output.weight, output.bias = weight, bias
    result = object.__new__(type(network))  # copy.copy would copy the parameters too
    vars(result).update(vars(network), head=copy.copy(network.head))
    result.head.layers = [*network.dense[:-1], output]
    return result


def translation_score(network, source_length, target, threads):
    """Score: log-probability of a target, of an EncoderDecoder that `on_vectors` made.

    source_length : int
    target : ndarray of int of shape (T, 1), with its ends
    threads : ThreadChoice
    """

    def pairs(points):
        m = len(points)
        return SequencePairs(equally_long(points), Sequences(np.tile(target, (m, 1)), offsets_of([len(target)] * m)))

    def values(points):
        return np.array([steps.sum() for steps in network.log_likelihoods(pairs(points), threads.current)])

    def gradients(points):
        with threads.measure(points.size) as n_threads:
            return network.source_gradient(pairs(points), n_threads).reshape(points.shape)

    # 6 values a unit and step are kept for the way back.
    row_size = 6 * (source_length * network.encoder.n_units + len(target) * network.decoder.n_units)
    return Score(values, gradients, row_size)


def equally_long(points):
    """Sequences of an array (m, T, F)."""
    m, n_steps, n_features = points.shape
    return Sequences(np.ascontiguousarray(points).reshape(-1, n_features), offsets_of(np.full(m, n_steps)))


# ---- attributions of one sequence -----------------------------------------------------------------------------------


def integrated_gradients(score, x, baseline):
    """(attributions, gap): each value's share of score(x) - score(baseline), and by what part of it they miss it.

    An attribution is x - baseline times the gradient's mean on the straight line between the two (Sundararajan et al.
    2017, equation 1), by Gauss-Legendre quadrature of pieces of it. What a piece adds is known too from the score at
    its ends: pieces for which the two differ are halved until the differences add up to less than `TOLERANCE`. Then
    the gap is below it; otherwise `MOST_POINTS` were too few.

    Parameters
    ----------
    score : Score
    x, baseline : ndarrays of float64 of shape (T, F)

    Examples
    --------
    The score x_1^2 x_2, at (1, 2):

    >>> import numpy as np
    >>> from lstmfast.explanations import Score, integrated_gradients
    >>> def gradients(x):
    ...     return np.stack((2 * x[..., 0] * x[..., 1], x[..., 0] ** 2), axis=-1)
    >>> score = Score(lambda x: x[:, 0, 0] ** 2 * x[:, 0, 1], gradients)
    >>> attributions, _ = integrated_gradients(score, np.array([[1.0, 2.0]]), np.zeros((1, 2)))
    >>> attributions.round(6)
    array([[1.333333, 0.666667]])
    """
    path = Path(score, x, baseline)
    pieces = np.array([[0.0, 1.0]])
    at_ends = path.scores(pieces.ravel()).reshape(pieces.shape)
    change, n_points = abs(np.diff(at_ends)[0, 0]), len(NODES)
    attributions, sums = path.integrals(pieces)
    errors = np.abs(sums - np.diff(at_ends)[:, 0])
    tolerance = TOLERANCE * change + ROUNDING * np.abs(attributions).sum()
    while errors.sum() > tolerance and n_points < MOST_POINTS:
        rough = errors > tolerance * np.diff(pieces)[:, 0]
        middles = pieces[rough].mean(axis=1)
        halves = _halved(pieces[rough], middles)
        halves_at_ends = _halved(at_ends[rough], path.scores(middles))
        coarse, _ = path.integrals(pieces[rough])  # once more: to keep them would take memory for each piece
        fine, sums = path.integrals(halves)
        attributions += fine - coarse
        n_points += 3 * len(NODES) * len(middles)
        pieces = np.concatenate((pieces[~rough], halves))
        at_ends = np.concatenate((at_ends[~rough], halves_at_ends))
        errors = np.concatenate((errors[~rough], np.abs(sums - np.diff(halves_at_ends)[:, 0])))
    return attributions, float(errors.sum() * TOLERANCE / tolerance) if tolerance else 0.0


class Path:
    """The straight line from a baseline to a sequence, with a Score along it; its points are numbers from 0 to 1."""

    def __init__(self, score, x, baseline):
        self.score, self.baseline, self.difference = score, baseline, x - baseline

    def _at(self, shares):
        return self.baseline + shares[:, None, None] * self.difference

    def scores(self, shares):
        """Of points (n,): (n,)."""
        size = self.score.block_size(self.difference)
        return np.concatenate([self.score.values(self._at(shares[block])) for block in _blocks(len(shares), size)])

    def integrals(self, pieces):
        """(attributions (T, F) of all pieces (n, 2), what each adds to the score (n,))."""
        attributions, sums = np.zeros_like(self.difference), np.empty(len(pieces))
        for block in _blocks(len(pieces), max(1, self.score.block_size(self.difference) // len(NODES))):
            begin, width = pieces[block, :1], np.diff(pieces[block])
            gradients = self.score.gradients(self._at((begin + width * NODES).ravel()))
            weights = (width * WEIGHTS)[..., None, None]
            parts = (weights * gradients.reshape(-1, len(NODES), *attributions.shape)).sum(axis=1) * self.difference
            attributions += parts.sum(axis=0)
            sums[block] = parts.sum(axis=(1, 2))
        return attributions, sums


def _halved(pieces, middles):
    """Pairs (n, 2) as pairs (2n, 2), both halves of one after the other."""
    return np.stack((pieces[:, 0], middles, middles, pieces[:, 1]), axis=1).reshape(-1, 2)


def occlusion(score, x, baseline, window=1, by_feature=True):
    """By how much the score falls when a value gives way to that of the baseline (Zeiler & Fergus 2014).

    Parameters
    ----------
    score : Score
    x, baseline : ndarrays of float64 of shape (T, F)
    window : int, default=1
        Steps that give way together. Windows of more overlap: a value gets the mean of those that it is in.
    by_feature : bool, default=True
        False: all features of a step give way together.

    Returns
    -------
    drops : ndarray of shape (T, F), or with by_feature=False (T, 1)
    """
    n_steps, n_features = x.shape
    window, n_columns = min(window, n_steps), n_features if by_feature else 1
    columns = np.eye(n_features, dtype=bool) if by_feature else np.ones((1, n_features), bool)
    starts = np.arange(n_steps - window + 1)
    drops = np.empty(len(starts) * n_columns)
    before = score.values(x[None])[0]
    for block in _blocks(len(drops), score.block_size(x)):
        start, column = np.divmod(np.arange(block.start, block.stop), n_columns)
        place = np.arange(n_steps) - start[:, None]  # in the window
        altered = ((place >= 0) & (place < window))[:, :, None] & columns[column][:, None]
        drops[block] = before - score.values(np.where(altered, baseline, x))
    totals, counts = np.zeros((n_steps, n_columns)), np.zeros((n_steps, 1))
    for start, drop in zip(starts, drops.reshape(-1, n_columns), strict=True):
        totals[start : start + window] += drop
        counts[start : start + window] += 1
    return totals / counts


def _blocks(n, size):
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def traces(stack, record, method):
    """For each recurrent layer of a Stack an array (n_steps, ...) of what its units did in a training forward.

    method : "gates" or "states", see `layers.traces`
    """
    return [TRACES[method](layer, tape) for layer, tape in zip(stack.layers, record.tapes, strict=True)]
