"""Linear-chain conditional random field."""

import numpy as np

from .. import _core
from .initializers import BLANK
from .parameters import Parameter, Trainable, check_dtype, check_size


class CRF(Trainable):
    """Linear-chain conditional random field: labels of a sequence's steps, each depending on the one before it.

    With K labels and scores z (T, K) of the steps, which a network gives::

        score(y | z) = start[y_1] + sum_t z[t, y_t] + sum_t transitions[y_(t-1), y_t] + end[y_T]
        P(y | z) = exp(score(y | z)) / sum_y' exp(score(y' | z))

    Scores may be of any finite size; a label sequence is ruled out by one of -1e4, say. A sequence's results have the
    same bits alone and in any batch, on any number of threads.

    Parameters
    ----------
    n_labels : int
        K, at least 1.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial parameters, uniform in [-0.1, 0.1).

    Attributes
    ----------
    transitions : ndarray of shape (n_labels, n_labels)
        From the row's label to the column's.
    start, end : ndarray of shape (n_labels,)
    grads : dict of str to ndarray
        Keyed like the parameters; `loss_and_gradient` adds to them.

    Notes
    -----
    In all methods `batch` is a `lstmfast._core.Batch` of N sequences, and z an array of shape (batch.n_steps, n_labels)
    of the layer's dtype, C-contiguous, in which the sequences stand one after the other. A NaN in z gives NaN for its
    sequence.

    The sums over all label sequences come from the forward-backward recursion on scaled probabilities (Rabiner 1989).
    Where the scores of a sequence span more than those can hold, about e^60 in float32 and e^660 in float64, it is
    computed anew: in float64, and if need be on logarithms, which takes K^2 exponentials a step.

    References
    ----------
    J. Lafferty, A. McCallum and F. Pereira, "Conditional random fields: probabilistic models for segmenting and
    labeling sequence data", ICML 2001. L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in
    speech recognition", Proceedings of the IEEE 77, 1989. A. Viterbi, "Error bounds for convolutional codes and an
    asymptotically optimum decoding algorithm", IEEE Transactions on Information Theory 13, 1967.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast._core import Batch
    >>> from lstmfast.layers import CRF
    >>> layer = CRF(2, dtype="float64")
    >>> layer.transitions, layer.start, layer.end = [[1, 0], [-2, 1]], [0, 0], [0, 0]
    >>> batch = Batch(np.array([3, 1]))
    >>> z = np.array([[0.0, 0.5], [0.0, 0.5], [3.0, 0.0], [0.0, 0.5]])
    >>> layer.decode(batch, z)
    array([0, 0, 0, 1])
    >>> layer.marginals(batch, z).round(2)
    array([[0.75, 0.25],
           [0.77, 0.23],
           [0.87, 0.13],
           [0.38, 0.62]])
    """

    transitions = Parameter()
    start = Parameter()
    end = Parameter()

    def __init__(self, n_labels, *, dtype="float32", random_state=None):
        n = self.n_labels = check_size(n_labels, "n_labels")
        super().__init__({"transitions": (n, n), "start": (n,), "end": (n,)}, check_dtype(dtype))
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new parameters from a numpy Generator."""
        for array in self.arrays.values():
            array[...] = rng.uniform(-0.1, 0.1, array.shape)
        self.forget_packed()

    def __repr__(self):
        return f"CRF({self.n_labels}, dtype={self.dtype.name!r})"

    # ---- arguments ----

    def _check_z(self, batch, z):
        if not isinstance(batch, _core.Batch):
            raise TypeError(f"batch must be a Batch, got {type(batch).__name__}")
        if not isinstance(z, np.ndarray) or z.dtype != self.dtype or not z.dtype.isnative:
            raise TypeError(f"z must be an array of {self.dtype.name}, got {getattr(z, 'dtype', type(z).__name__)}")
        if z.shape != (batch.n_steps, self.n_labels):
            raise ValueError(f"z must have shape ({batch.n_steps}, {self.n_labels}), got {z.shape}")
        if not (z.flags.c_contiguous and z.flags.aligned):
            raise ValueError("z must be C-contiguous and aligned")

    def _check_labels(self, batch, labels):
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
        if labels.shape != (batch.n_steps,):
            raise ValueError(f"labels must have shape ({batch.n_steps},), got {labels.shape}")
        wrong = (labels < 0) | (labels >= self.n_labels)
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(f"labels must be in [0, {self.n_labels}), got labels[{at}] = {labels[at]}")
        return np.ascontiguousarray(labels, np.int64)

    def _check_weights(self, batch, weights):
        weights = np.asarray(weights)
        if weights.dtype.kind not in "biuf":
            raise TypeError(f"weights must be numbers, got dtype {weights.dtype}")
        if weights.shape != (batch.n_rows,):
            raise ValueError(f"weights must have shape ({batch.n_rows},), got {weights.shape}")
        if not np.isfinite(weights).all():
            raise ValueError("weights must be finite")
        return np.ascontiguousarray(weights, self.dtype)

    # ---- sums over all label sequences ----

    def _sums(self, batch, z, marginals, weights, dtransitions, n_threads):
        """log_partition (N,), float64. Fills marginals and adds expected transitions to dtransitions unless None."""
        log_partition, unsafe = np.empty(batch.n_rows), np.empty(batch.n_rows, np.uint8)
        parameters = self.arrays["transitions"], self.arrays["start"], self.arrays["end"]
        _core.crf_scaled(batch, z, *parameters, log_partition, unsafe, marginals, weights, dtransitions, n_threads)
        rows = np.flatnonzero(unsafe)
        if not rows.size:
            return log_partition
        # What follows is rare: those sequences alone, in float64.
        steps = np.flatnonzero(np.repeat(unsafe, batch.lengths))
        part, z = _core.Batch(batch.lengths[rows]), z[steps].astype(np.float64)
        part_marginals, part_transitions = np.empty_like(z), np.zeros((self.n_labels, self.n_labels))
        part_weights = np.zeros(len(rows)) if weights is None else weights[rows].astype(np.float64)
        if self.dtype == np.float64:
            part_partition = np.empty(len(rows))
            _core.crf_log_space(part, z, *parameters, part_partition, part_marginals, part_weights, part_transitions)
        else:
            part_partition = self._float64()._sums(part, z, part_marginals, part_weights, part_transitions, n_threads)
        log_partition[rows] = part_partition
        if marginals is not None:
            marginals[steps] = part_marginals
        if dtransitions is not None:
            dtransitions += part_transitions.astype(self.dtype)
        return log_partition

    def _float64(self):
        layer = CRF(self.n_labels, dtype="float64", random_state=BLANK)
        for name, array in self.arrays.items():
            layer.arrays[name][...] = array
        return layer

    @np.errstate(all="ignore")
    def log_partition(self, batch, z, n_threads=1):
        """Logarithm of the sum of exp(score) over all label sequences.

        Returns
        -------
        log_partition : ndarray of shape (N,), float64
        """
        self._check_z(batch, z)
        return self._sums(batch, z, None, None, None, n_threads)

    @np.errstate(all="ignore")
    def marginals(self, batch, z, n_threads=1):
        """P(y_t = k | z) of each step.

        Returns
        -------
        marginals : ndarray of shape (n_steps, n_labels)
        """
        self._check_z(batch, z)
        marginals = np.empty_like(z)
        self._sums(batch, z, marginals, None, None, n_threads)
        return marginals

    # ---- one label sequence ----

    def scores(self, batch, z, labels):
        """score(y | z) of labels (n_steps,).

        Returns
        -------
        scores : ndarray of shape (N,), float64
        """
        self._check_z(batch, z)
        labels, scores = self._check_labels(batch, labels), np.empty(batch.n_rows)
        arrays = self.arrays
        _core.crf_scores(batch, z, arrays["transitions"], arrays["start"], arrays["end"], labels, scores)
        return scores

    def decode(self, batch, z, n_threads=1):
        """The labels of the highest score (Viterbi 1967).

        Of label sequences with the same score the one with the lowest last label, then with the lowest label before
        it, and so on.

        Returns
        -------
        labels : ndarray of int64 of shape (n_steps,)
        """
        self._check_z(batch, z)
        labels, arrays = np.empty(batch.n_steps, np.int64), self.arrays
        _core.crf_decode(batch, z, arrays["transitions"], arrays["start"], arrays["end"], labels, n_threads)
        return labels

    # ---- training ----

    def negative_log_likelihood(self, batch, z, labels, n_threads=1):
        """-log P(y | z) of labels (n_steps,).

        Returns
        -------
        losses : ndarray of shape (N,), float64
        """
        scores = self.scores(batch, z, labels)
        return self.log_partition(batch, z, n_threads) - scores

    @np.errstate(all="ignore")
    def loss_and_gradient(self, batch, z, labels, weights, n_threads=1):
        """Sum over sequences of weight * -log P(y | z), and its gradient; the parameters' is added to `grads`.

        Parameters
        ----------
        batch, z
            As for all methods.
        labels : array of int of shape (n_steps,)
            Each in [0, n_labels).
        weights : array of shape (N,)
            Used as they are.
        n_threads : int, default=1

        Returns
        -------
        value : float
        dz : ndarray of shape (n_steps, n_labels)
        """
        self._check_z(batch, z)
        labels, weights = self._check_labels(batch, labels), self._check_weights(batch, weights)
        scores, dz, arrays = np.empty(batch.n_rows), np.empty_like(z), self.arrays
        dtransitions = np.zeros_like(arrays["transitions"])
        log_partition = self._sums(batch, z, dz, weights, dtransitions, n_threads)
        _core.crf_scores(batch, z, arrays["transitions"], arrays["start"], arrays["end"], labels, scores)
        _core.crf_gradient(batch, labels, weights, dz, dtransitions, self.grads["start"], self.grads["end"])
        self.grads["transitions"] += dtransitions
        return float(np.dot(weights, log_partition - scores)), dz
