"""Embedding layer: a row of weights for each token."""

import numpy as np

from .initializers import BLANK
from .parameters import check_dtype, check_size
from .table import Table


class Embedding(Table):
    """Embedding: y = W[token].

    Its gradient touches the rows of the tokens that were read, and is kept as those rows: a step does not pay for the
    vocabulary.

    Parameters
    ----------
    n_tokens, embedding_dim : int
        Rows and columns of the weights; tokens are 0 ... n_tokens - 1.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights, normal with standard deviation 1 as in PyTorch.

    Attributes
    ----------
    weight : ndarray of shape (n_tokens, embedding_dim)
    rows, row_grads : ndarrays of shape (n,) and (n, embedding_dim)
        Gradient: the rows, ascending, and what belongs to each; `backward` adds to it.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.layers import Embedding
    >>> layer = Embedding(3, 2)
    >>> layer.weight = [[0, 0], [1, 2], [3, 4]]
    >>> layer.forward(np.array([2, 1, 2]))
    array([[3., 4.],
           [1., 2.],
           [3., 4.]], dtype=float32)
    >>> layer.backward(np.array([2, 1, 2]), np.ones((3, 2), np.float32))
    >>> layer.rows, layer.row_grads
    (array([1, 2]), array([[1., 1.],
           [2., 2.]], dtype=float32))
    """

    def __init__(self, n_tokens, embedding_dim, *, dtype="float32", random_state=None):
        self.n_tokens = check_size(n_tokens, "n_tokens")
        self.embedding_dim = check_size(embedding_dim, "embedding_dim")
        super().__init__(self.n_tokens, self.embedding_dim, check_dtype(dtype))
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new weights from a numpy Generator."""
        self.arrays["weight"][...] = rng.standard_normal(self.shapes["weight"])

    def __repr__(self):
        return f"Embedding({self.n_tokens}, {self.embedding_dim}, dtype={self.dtype.name!r})"

    def forward(self, tokens):
        """y (n, embedding_dim) for tokens (n,), integers below n_tokens."""
        return np.take(self.arrays["weight"], tokens, axis=0)

    def backward(self, tokens, dy):
        """Adds the gradient from tokens (n,) and that of their rows (n, embedding_dim), summed in the order given."""
        self.add_gradient(tokens, dy)
