"""Attention over the steps of a sequence, to make one vector of them."""

import numpy as np

from .. import _core
from .initializers import BLANK, glorot_uniform
from .parameters import Parameter, Trainable, check_dtype, check_size
from .products import packed_matrix, product, product_backward


class AttentionPooling(Trainable):
    """Weighted mean of a sequence's steps, by weights that are learned.

    Of the steps y_t::

        score_t = context . tanh(y_t kernel + bias)
        weight_t = exp(score_t) / sum_s exp(score_s)
        z = sum_t weight_t y_t

    Parameters
    ----------
    input_size, units : int
        Columns of y, and of its projection.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights (Glorot uniform; zero bias).

    Attributes
    ----------
    kernel : ndarray of shape (input_size, units)
    bias : ndarray of shape (units,)
    context : ndarray of shape (units, 1)
    grads : dict of str to ndarray
        Keyed like the parameters; `backward` adds to them.

    References
    ----------
    Z. Yang et al., "Hierarchical attention networks for document classification", NAACL 2016 (equations 5 to 7).

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast._core import Batch
    >>> from lstmfast.layers import AttentionPooling
    >>> layer = AttentionPooling(1, 1)
    >>> layer.kernel, layer.context = [[1.0]], [[4.0]]
    >>> z, tape = layer.forward(Batch(np.array([2])), np.array([[0.0], [2.0]], np.float32))
    >>> z.round(2), tape.weights.round(2)
    (array([[1.96]], dtype=float32), array([0.02, 0.98], dtype=float32))
    """

    kernel = Parameter()
    bias = Parameter()
    context = Parameter()

    def __init__(self, input_size, units, *, dtype="float32", random_state=None):
        self.input_size, self.units = check_size(input_size, "input_size"), check_size(units, "units")
        shapes = {"kernel": (self.input_size, self.units), "bias": (self.units,), "context": (self.units, 1)}
        super().__init__(shapes, check_dtype(dtype))
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new weights from a numpy Generator."""
        for name in ("kernel", "context"):
            self.arrays[name][...] = glorot_uniform(rng, self.shapes[name])
        self.arrays["bias"][...] = 0
        self.forget_packed()

    def __repr__(self):
        return f"AttentionPooling({self.input_size}, {self.units}, dtype={self.dtype.name!r})"

    def forward(self, batch, y, n_threads=1, workspace=None):
        """z (n, input_size) of the steps y (n_steps, input_size) of a `_core.Batch`, and what `backward` needs, which
        belongs to the workspace if there is one."""
        tape = AttentionPoolingTape(y, *self._scores(y, n_threads, workspace))
        tape.z = np.empty((batch.n_rows, self.input_size), self.dtype)
        _core.pool_attention(batch, y, tape.weights, tape.z)
        return tape.z, tape

    def steps(self, batch, y, n_threads=1):
        """Replaces each step of y by z of the steps up to it: the last has the bits of `forward`."""
        _core.pool_attention_steps(batch, y, self._scores(y, n_threads, None)[1])

    def backward(self, batch, tape, dz, n_threads=1, workspace=None):
        """Gradient of y from dz (n, input_size); those of the parameters are added."""
        dy, dy_scores = (self._take(workspace, name, tape.y.shape) for name in ("dy", "dy_scores"))
        du, dscores = self._take(workspace, "du", tape.u.shape), np.empty_like(tape.weights)
        context = self.arrays["context"]
        _core.pool_attention_backward(
            batch, tape.y, tape.u, context.ravel(), tape.weights, tape.z, dz, dy, dscores, du, n_threads
        )
        float64, nothing = self.dtype == np.float64, np.zeros(1, self.dtype)
        _core.dense_weight_gradient(
            tape.u, dscores[:, None], self.units, 1, float64, self.grads["context"], nothing, n_threads
        )
        dy += product_backward(self, tape.y, du, "kernel", "bias", n_threads, out=dy_scores)
        return dy

    def packed_forward(self):
        """What a `_core.Stream` takes."""
        return packed_matrix(self, "kernel", "bias"), packed_matrix(self, "context"), self.units

    def _scores(self, y, n_threads, workspace):
        """(tanh(y kernel + bias), score of each step)"""
        u = self._take(workspace, "u", (len(y), self.units))
        product(self, y, "kernel", "bias", n_threads, out=u)
        _core.evaluate("tanh", u.ravel(), u.ravel(), self.dtype == np.float64, n_threads)
        return u, product(self, u, "context", n_threads=n_threads).ravel()

    def _take(self, workspace, name, shape):
        if workspace is None:
            return np.empty(shape, self.dtype)
        return workspace.take(("attention pooling", name), shape, self.dtype)


class AttentionPoolingTape:
    """Steps y, their projections u = tanh(y kernel + bias), their weights, and what was made of them, z."""

    def __init__(self, y, u, weights):
        self.y, self.u, self.weights, self.z = y, u, weights, None
