"""Losses: what a network's outputs z (n, n_outputs) cost against targets, and the gradient.

Each is a sum over sequences of weight * loss; the caller's weights sum to 1, so it is a weighted mean. Where a sequence
has several outputs, its loss is their mean. A loss may overwrite z.
"""

import numpy as np

from . import _core


def softmax_losses(z, targets, weights=None, n_threads=1):
    """-log softmax(z)[target] (n,); z, which must be C-contiguous, becomes the gradient of their weighted sum."""
    losses = np.empty(len(z), z.dtype)
    weights = np.ones(len(z), z.dtype) if weights is None else np.ascontiguousarray(weights, z.dtype)
    targets = np.ascontiguousarray(targets, np.int64)
    _core.softmax_cross_entropy(z, targets, weights, losses, z.shape[1], z.dtype == np.float64, n_threads)
    return losses


class SoftmaxCrossEntropy:
    """-log softmax(z)[target]; targets (n,) are class indices."""

    name = "log_loss"

    def initial_bias(self, targets, weights):
        return None

    @np.errstate(all="ignore")  # a loss that overflows is told by its value
    def value_and_gradient(self, z, targets, weights, n_threads=1):
        """The gradient takes the place of z, which must be C-contiguous."""
        losses = softmax_losses(z, targets, weights, n_threads)
        return float(np.multiply(weights, losses, dtype=np.float64).sum()), z


class SampledSoftmax(SoftmaxCrossEntropy):
    """Softmax cross-entropy over the targets of a block of rows and a sample of the other outputs.

    For a network with `n_samples`. Each row's loss is log Z - z[target], and its partition function is estimated from
    the candidates C, the targets of all rows and the sample, by importance sampling:

        Z = sum over k of e^z[k]  is about  sum over k in C of e^z[k] / q[k] = sum over k in C of e^(z[k] - log q[k])

    (Bengio & Senecal 2008; on a set of candidates Jean et al. 2015; TensorFlow's ``sampled_softmax_loss`` subtracts
    log q from logits too). q[k] is the probability that k is a candidate given the targets: 1 for targets, for others
    that of being drawn (`lstmfast.sampling`). So the estimate of Z has the right mean (Horvitz & Thompson 1952), and
    with every output drawn it is the sum itself. The logarithm of the estimate, and so the loss, is on average a little
    too small (Jensen's inequality), the less so the more samples.

    A row's own target counts once; the targets of other rows are wrong answers like any others.

    Parameters
    ----------
    rng : numpy.random.Generator
        The fit's, which also shuffles: each block of rows takes the next numbers from it.
    """

    def __init__(self, rng):
        self.rng = rng


class SigmoidCrossEntropy:
    """-t log p - (1 - t) log(1 - p), p = sigmoid(z), for each label; targets (n, n_labels) are 0 or 1."""

    name = "log_loss"

    def initial_bias(self, targets, weights):
        return None

    @np.errstate(all="ignore")  # an improbable label underflows to 0
    def value_and_gradient(self, z, targets, weights, n_threads=1):
        # log(1 + e^z) - t z without overflow
        value = np.dot(weights, (np.logaddexp(0, z) - targets * z).mean(axis=1))
        # sigmoid(z): the exponent is never positive, so nothing overflows.
        exponentials = np.exp(-np.abs(z))
        probabilities = np.where(z >= 0, 1, exponentials) / (1 + exponentials)
        return float(value), (probabilities - targets) * (weights[:, None] / z.shape[1])


class _Residual:
    """A loss of the residual r = z - target, averaged over outputs."""

    def value_and_gradient(self, z, targets, weights, n_threads=1):
        value, slope = self._loss(z - targets)
        slope *= weights[:, None] / z.dtype.type(z.shape[1])
        return float(np.dot(weights, value.mean(axis=1))), slope


class SquaredError(_Residual):
    """r^2."""

    name = "squared_error"

    def initial_bias(self, targets, weights):
        return np.average(targets, axis=0, weights=weights)

    def _loss(self, r):
        return r * r, 2 * r


class AbsoluteError(_Residual):
    """|r|; subgradient 0 at 0."""

    name = "absolute_error"

    def initial_bias(self, targets, weights):
        return weighted_quantile(targets, weights, 0.5)

    def _loss(self, r):
        return np.abs(r), np.sign(r)


class Huber(_Residual):
    """r^2 / 2 where |r| <= 1, |r| - 1/2 beyond (Huber 1964)."""

    name = "huber"

    def initial_bias(self, targets, weights):
        return weighted_quantile(targets, weights, 0.5)

    def _loss(self, r):
        clipped = np.clip(r, -1, 1)
        return clipped * (r - clipped / 2), clipped


class Quantile(_Residual):
    """Pinball loss (Koenker & Bassett 1978): max(q (t - z), (q - 1) (t - z)) for quantile q."""

    name = "quantile"

    def __init__(self, quantile):
        self.quantile = quantile

    def initial_bias(self, targets, weights):
        return weighted_quantile(targets, weights, self.quantile)

    def _loss(self, r):
        below = r < 0  # the prediction lies below the target
        return np.where(below, -self.quantile * r, (1 - self.quantile) * r), np.where(
            below, -self.quantile, np.where(r > 0, 1 - self.quantile, 0)
        ).astype(r.dtype)


REGRESSION_LOSSES = {loss.name: loss for loss in (SquaredError, AbsoluteError, Huber, Quantile)}


def weighted_quantile(values, weights, quantile):
    """For each column, the smallest value with at least `quantile` of the weight at or below it."""
    order = np.argsort(values, axis=0)
    shares = np.cumsum(weights[order], axis=0)
    at = np.argmax(shares >= quantile * shares[-1], axis=0)
    return np.take_along_axis(np.take_along_axis(values, order, 0), at[None], 0)[0]
