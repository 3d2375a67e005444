"""Dense layer."""

import numpy as np

from .. import _core
from ..workspace import aligned_empty
from .initializers import BLANK, glorot_uniform
from .parameters import Parameter, Trainable, check_dtype, check_size


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

    def _packed(self, name, n_inputs, n_outputs, bias, transpose):
        if name not in self.packed:
            float64 = self.dtype == np.float64
            packed = aligned_empty((_core.packed_columns_size(n_inputs, n_outputs, float64),), self.dtype)
            _core.pack_columns(self.arrays["weight"], bias, n_inputs, n_outputs, transpose, float64, packed)
            self.packed[name] = packed
        return self.packed[name]

    def packed_forward(self):
        """Weight and bias as the forward tile reads them."""
        return self._packed("forward", self.input_size, self.output_size, self.arrays["bias"], False)

    def forward(self, x, n_threads=1):
        """y (n, output_size) of x (n, input_size), a C-contiguous array of the layer's dtype."""
        y = np.empty((len(x), self.output_size), self.dtype)
        _core.dense_forward(
            x, self.packed_forward(), self.input_size, self.output_size, self.dtype == np.float64, y, n_threads
        )
        return y

    def backward(self, x, dy, n_threads=1):
        """dx (n, input_size) from dy (n, output_size), both for the x of `forward`; weight gradients are added."""
        float64 = self.dtype == np.float64
        lanes = _core.lanes(float64)
        padded = np.zeros((len(x), -(-self.output_size // lanes) * lanes), self.dtype)
        padded[:, : self.output_size] = dy
        _core.dense_weight_gradient(
            x, padded, self.input_size, self.output_size, float64, self.grads["weight"], self.grads["bias"], n_threads
        )
        dx = np.empty((len(x), self.input_size), self.dtype)
        weights = self._packed("transposed", self.output_size, self.input_size, None, True)
        _core.dense_forward(
            np.ascontiguousarray(dy), weights, self.output_size, self.input_size, float64, dx, n_threads
        )
        return dx
