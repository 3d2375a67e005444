"""Output embedding: a dense layer whose outputs are rows, so that a step can touch a few of many."""

import numpy as np

from .. import _core
from ..workspace import aligned_empty
from .dense import Dense
from .initializers import BLANK, glorot_uniform
from .parameters import check_dtype, check_size
from .table import Table


class OutputEmbedding(Table):
    """Dense layer with a row for each output: y[k] = W[k, :-1] . x + W[k, -1].

    The name is that of Press & Wolf (2017, "Using the output embedding to improve language models") for the last matrix
    of a network over a vocabulary. Its values are a `Dense` layer's, bit for bit.

    Parameters
    ----------
    input_size, output_size : int
        Columns of x and of y.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights, those that a `Dense` layer draws.

    Attributes
    ----------
    weight : ndarray of shape (output_size, input_size + 1)
        In each row the weights of an output and, last, its bias.
    rows, row_grads : ndarrays of shape (n,) and (n, input_size + 1)
        Gradient: the rows, ascending, and what belongs to each; `backward` adds to it.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.layers import OutputEmbedding
    >>> layer = OutputEmbedding(2, 3)
    >>> layer.weight = [[1, 0, 0], [0, 1, 0], [1, 1, 5]]
    >>> x = np.array([[2, 3]], np.float32)
    >>> layer.forward(x)
    array([[ 2.,  3., 10.]], dtype=float32)
    >>> some = layer.candidates(np.array([0, 2]))
    >>> some.forward(x)
    array([[ 2., 10.]], dtype=float32)
    >>> some.backward(x, np.array([[1, -1]], np.float32))
    array([[ 0., -1.]], dtype=float32)
    >>> layer.rows, layer.row_grads
    (array([0, 2]), array([[ 2.,  3.,  1.],
           [-2., -3., -1.]], dtype=float32))
    """

    def __init__(self, input_size, output_size, *, dtype="float32", random_state=None):
        self.input_size = check_size(input_size, "input_size")
        self.output_size = check_size(output_size, "output_size")
        super().__init__(self.output_size, self.input_size + 1, check_dtype(dtype))
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new weights from a numpy Generator."""
        self.arrays["weight"][:, :-1] = glorot_uniform(rng, (self.input_size, self.output_size)).T
        self.arrays["weight"][:, -1] = 0
        self.forget_packed()

    def __repr__(self):
        return f"OutputEmbedding({self.input_size}, {self.output_size}, dtype={self.dtype.name!r})"

    def packed_forward(self):
        """Weights and biases as the forward tile reads them, like those of a `Dense` layer."""
        if "weight" not in self.packed:
            sizes, float64, table = (self.input_size, self.output_size), self.dtype == np.float64, self.arrays["weight"]
            packed = aligned_empty((_core.packed_columns_size(*sizes, float64),), self.dtype)
            weight, bias = np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1])
            _core.pack_columns(weight, bias, *sizes, True, float64, packed)
            self.packed["weight"] = packed
        return self.packed["weight"]

    def forward(self, x, n_threads=1, out=None):
        """y (n, output_size), written to `out` if given, of x (n, input_size), both of the layer's dtype."""
        y = np.empty((len(x), self.output_size), self.dtype) if out is None else out
        sizes = self.input_size, self.output_size
        _core.dense_forward(x, self.packed_forward(), *sizes, self.dtype == np.float64, y, n_threads)
        return y

    def backward(self, x, dy, n_threads=1, out=None):
        """dx (n, input_size), written to `out` if given, from dy (n, output_size), for the x of `forward`; every row
        gets a gradient."""
        return self.candidates(np.arange(self.output_size)).backward(x, dy, n_threads, out)

    def candidates(self, rows, shift=0.0):
        """A layer with a few of the outputs, for one pass forward and one backward; its gradient goes to this table.

        Parameters
        ----------
        rows : ndarray of int of shape (n,)
            Different outputs, in the order that they shall have.
        shift : float or ndarray of shape (n,), default=0.0
            Added to the outputs.
        """
        return _Candidates(self, rows, shift)


class _Candidates(Dense):
    """Some rows of a table as a dense layer."""

    def __init__(self, table, rows, shift):
        super().__init__(table.input_size, len(rows), dtype=table.dtype, random_state=BLANK)
        chosen = table.arrays["weight"][rows]
        self.arrays["weight"][...] = chosen[:, :-1].T
        self.arrays["bias"][...] = chosen[:, -1] + shift
        self._table, self._rows = table, rows

    def backward(self, x, dy, n_threads=1, out=None):
        dx = super().backward(x, dy, n_threads, out)
        self._table.add_gradient(self._rows, np.column_stack((self.grads["weight"].T, self.grads["bias"])))
        return dx
