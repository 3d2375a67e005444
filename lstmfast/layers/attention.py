"""Additive attention."""

from dataclasses import dataclass

import numpy as np

from .. import _core
from ..workspace import aligned_empty
from .initializers import BLANK, glorot_uniform
from .parameters import Parameter, Trainable, check_dtype, check_size
from .products import padded_columns, padded_size, product, product_backward


@dataclass(frozen=True)
class Projected:
    """Queries or keys times their kernel.

    values : ndarray of shape (n, units)
    odds : ndarray of shape (n, units rounded up to whole vectors)
        e^(2 values), from which the kernels have tanh(q + k) without an exponential.
    """

    values: np.ndarray
    odds: np.ndarray

    def take(self, rows):
        """Some rows, for instance those of the sequences that are still being decoded."""
        return Projected(self.values[rows], self.odds[rows])


@dataclass(frozen=True)
class AttentionTape:
    """What `AdditiveAttention.forward` leaves: the weights, and with training what `backward` needs.

    weights : ndarray of shape (pairs.n_weights,)
        Of one pair after the other; `pairs.split(weights)` gives a matrix (T_q, T_k) for each.
    """

    pairs: _core.Pairs
    weights: np.ndarray
    queries: np.ndarray | None = None
    keys: np.ndarray | None = None
    projected: tuple | None = None  # queries, keys


class AdditiveAttention(Trainable):
    """Additive attention of the steps of one sequence over those of another.

    For each query q_t of a pair of sequences, over the pair's keys k_s, which are the values too::

        score(t, s) = scale . tanh(q_t query_kernel + k_s key_kernel)
        weight(t, s) = exp(score(t, s)) / sum_s' exp(score(t, s'))
        context_t = sum_s weight(t, s) k_s

    A query's results have the same bits alone and in any batch, on any number of threads.

    Parameters
    ----------
    query_size, key_size : int
        Columns of the queries and of the keys.
    units : int
        Columns of their projections.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial parameters (Glorot uniform).

    Attributes
    ----------
    query_kernel : ndarray of shape (query_size, units)
    key_kernel : ndarray of shape (key_size, units)
    scale : ndarray of shape (units,)
    grads : dict of str to ndarray
        Keyed like the parameters; `backward` adds to them.

    Notes
    -----
    In all methods queries have shape (N_q, query_size) and keys (N_k, key_size): C-contiguous arrays of the layer's
    dtype; queries, contexts and their gradients may be columns of larger ones. `pairs`, a `lstmfast.layers.Pairs`, says
    which rows are a sequence, and which sequences belong together. A NaN spoils the rows of its own pair alone.

    References
    ----------
    D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate",
    ICLR 2015 (appendix A.1.2, the alignment model; there a tanh's argument has no bias either).

    Examples
    --------
    Two queries over three keys:

    >>> import numpy as np
    >>> from lstmfast.layers import AdditiveAttention, Pairs
    >>> layer = AdditiveAttention(1, 1, 1, dtype="float64")
    >>> layer.query_kernel, layer.key_kernel, layer.scale = [[1.0]], [[1.0]], [4.0]
    >>> pairs = Pairs(np.array([0]), np.array([2]), np.array([0]), np.array([3]))
    >>> queries, keys = np.array([[0.0], [-2.0]]), np.array([[0.0], [1.0], [2.0]])
    >>> context, tape = layer.forward(queries, keys, pairs)
    >>> context.round(2)
    array([[1.67],
           [1.92]])
    >>> pairs.split(tape.weights)[0].round(2)
    array([[0.01, 0.3 , 0.68],
           [0.02, 0.04, 0.94]])
    """

    query_kernel = Parameter()
    key_kernel = Parameter()
    scale = Parameter()

    def __init__(self, query_size, key_size, units, *, dtype="float32", random_state=None):
        self.query_size = check_size(query_size, "query_size")
        self.key_size = check_size(key_size, "key_size")
        self.units = check_size(units, "units")
        super().__init__(
            {
                "query_kernel": (self.query_size, self.units),
                "key_kernel": (self.key_size, self.units),
                "scale": (self.units,),
            },
            check_dtype(dtype),
        )
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new parameters from a numpy Generator."""
        for name in ("query_kernel", "key_kernel"):
            self.arrays[name][...] = glorot_uniform(rng, self.shapes[name])
        self.arrays["scale"][...] = glorot_uniform(rng, (self.units, 1))[:, 0]
        self.forget_packed()

    def __repr__(self):
        return f"AdditiveAttention({self.query_size}, {self.key_size}, {self.units}, dtype={self.dtype.name!r})"

    @property
    def _float64(self):
        return self.dtype == np.float64

    def _scale(self):
        """As the kernels read it: tanh z = 1 - 2 / (1 + e^2z), and softmax ignores the 1."""
        if "scale" not in self.packed:
            self.packed["scale"] = padded_columns(-2 * self.arrays["scale"], self.dtype)
        return self.packed["scale"]

    def _project(self, x, kernel, n_threads):
        values = product(self, x, kernel, n_threads=n_threads)
        odds = aligned_empty((len(x), padded_size(self.units, self.dtype)), self.dtype)
        _core.attention_odds(values, self.units, self._float64, odds, n_threads)
        return Projected(values, odds)

    def project_keys(self, keys, n_threads=1):
        """What `forward` takes as keys_projected: a decoder that goes step by step computes it once.

        Returns
        -------
        projected : Projected
            One row for each row of keys; `projected.take(rows)` follows keys[rows].
        """
        return self._project(keys, "key_kernel", n_threads)

    def forward(self, queries, keys, pairs, training=False, n_threads=1, keys_projected=None, out=None):
        """Context of each query.

        Parameters
        ----------
        queries : ndarray of shape (N_q, query_size)
        keys : ndarray of shape (N_k, key_size)
        pairs : Pairs
        training : bool, default=False
            Whether `backward` will follow.
        n_threads : int, default=1
        keys_projected : Projected, default=None
            What `project_keys` returned for these keys. None: computed here.
        out : ndarray of shape (N_q, key_size), default=None
            Where the context goes.

        Returns
        -------
        context : ndarray of shape (N_q, key_size)
            0 for queries that are in no pair.
        tape : AttentionTape
            `tape.weights` are those of all pairs.
        """
        if training:
            pairs.check_apart()
        projected = (
            self._project(queries, "query_kernel", n_threads),
            keys_projected or self.project_keys(keys, n_threads),
        )
        context = np.empty((len(queries), self.key_size), self.dtype) if out is None else out
        context[...] = 0
        weights = np.empty(pairs.n_weights, self.dtype)
        _core.attention_forward(
            *self._inputs(pairs, keys, projected), weights, context, *self._sizes(), n_threads,
        )  # fmt: skip
        tape = AttentionTape(pairs, weights, queries, keys, projected) if training else AttentionTape(pairs, weights)
        return context, tape

    @np.errstate(all="ignore")  # whatever the caller set: tiny products underflow
    def backward(self, tape, dcontext, n_threads=1):
        """Gradients of queries and keys; those of the parameters are added to `grads`.

        Parameters
        ----------
        tape : AttentionTape
            Of a `forward` with training, whose pairs do not share keys.
        dcontext : ndarray of shape (N_q, key_size)

        Returns
        -------
        dqueries : ndarray of shape (N_q, query_size)
        dkeys : ndarray of shape (N_k, key_size)
        """
        if tape.projected is None:
            raise ValueError("backward needs the tape of forward(..., training=True)")
        padded = padded_size(self.units, self.dtype)
        dqueries, dkeys = (np.zeros((len(x), padded), self.dtype) for x in (tape.queries, tape.keys))
        dvalues, dscale = np.zeros_like(tape.keys), np.empty((tape.pairs.n_pairs, padded), self.dtype)
        _core.attention_backward(
            *self._inputs(tape.pairs, tape.keys, tape.projected), tape.weights, dcontext, np.empty_like(tape.weights),
            dqueries, dkeys, dvalues, dscale, *self._sizes(), n_threads,
        )  # fmt: skip
        self.grads["scale"] -= 2 * dscale.sum(axis=0)[: self.units]
        dqueries, dkeys = dqueries[:, : self.units], dkeys[:, : self.units]
        dvalues += product_backward(self, tape.keys, dkeys, "key_kernel", n_threads=n_threads)
        return product_backward(self, tape.queries, dqueries, "query_kernel", n_threads=n_threads), dvalues

    def _inputs(self, pairs, keys, projected):
        queries, projected_keys = projected
        return (pairs, queries.values, queries.odds, projected_keys.values, projected_keys.odds, self._scale(), keys)

    def _sizes(self):
        return self.units, self.key_size, self._float64
