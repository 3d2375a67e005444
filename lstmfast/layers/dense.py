"""Dense layer."""

import numpy as np

from .initializers import BLANK, glorot_uniform
from .parameters import Parameter, Trainable, check_dtype, check_size
from .products import packed_matrix, product, product_backward


class Dense(Trainable):
    """Dense layer: y = x W + b.

    Each row is computed in the same order whatever the other rows are, unlike in BLAS.

    Parameters
    ----------
    input_size, output_size : int
        Columns of x and of y.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights (Glorot uniform; zero bias).

    Attributes
    ----------
    weight : ndarray of shape (input_size, output_size)
    bias : ndarray of shape (output_size,)
    grads : dict of str to ndarray
        Keyed like the parameters; `backward` adds to them.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.layers import Dense
    >>> layer = Dense(2, 1)
    >>> layer.weight, layer.bias = [[2.0], [3.0]], [1.0]
    >>> layer.forward(np.ones((1, 2), np.float32))
    array([[6.]], dtype=float32)
    """

    weight = Parameter()
    bias = Parameter()

    def __init__(self, input_size, output_size, *, dtype="float32", random_state=None):
        self.input_size = check_size(input_size, "input_size")
        self.output_size = check_size(output_size, "output_size")
        super().__init__(
            {"weight": (self.input_size, self.output_size), "bias": (self.output_size,)}, check_dtype(dtype)
        )
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    def initialize(self, rng):
        """Draw new weights from a numpy Generator."""
        self.arrays["weight"][...] = glorot_uniform(rng, self.shapes["weight"])
        self.arrays["bias"][...] = 0
        self.forget_packed()

    def __repr__(self):
        return f"Dense({self.input_size}, {self.output_size}, dtype={self.dtype.name!r})"

    def packed_forward(self):
        """Weight and bias as the forward tile reads them."""
        return packed_matrix(self, "weight", "bias")

    def forward(self, x, n_threads=1, out=None):
        """y (n, output_size), written to `out` if given, of x (n, input_size), both of the layer's dtype."""
        return product(self, x, "weight", "bias", n_threads, out)

    def backward(self, x, dy, n_threads=1, out=None):
        """dx (n, input_size), written to `out` if given, from dy (n, output_size), for the x of `forward`; weight
        gradients are added."""
        return product_backward(self, x, np.ascontiguousarray(dy, self.dtype), "weight", "bias", n_threads, out)
