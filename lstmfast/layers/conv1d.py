"""Causal convolution over the steps of sequences."""

import numpy as np

from .. import _core
from ..workspace import aligned_empty
from .initializers import BLANK, glorot_uniform
from .parameters import Parameter, Trainable, check_dtype, check_size


class Conv1D(Trainable):
    """Causal convolution over time: C channels in, N filters of `width` steps, of which the last is the step itself::

        y_t = bias + sum_j x_(t - width + 1 + j) kernel[j],   j = 0 ... width - 1,   x = 0 before the first step

    so that an output never depends on later steps: a sequence can be read as it comes in.

    Steps stand as rows, each sequence behind `width` - 1 or more rows of zeros, and the last before as many (see
    `lstmfast.convolutions`). A window is then `width` C values that lie side by side, and the convolution is a product
    of overlapping rows, which are never copied.

    Parameters
    ----------
    input_size, filters : int
        Channels of x and of y.
    width : int
        Steps that a filter sees.
    dtype : {"float32", "float64"}, default="float32"
        Precision.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights (Glorot uniform; zero bias).

    Attributes
    ----------
    kernel : ndarray of shape (width, input_size, filters)
    bias : ndarray of shape (filters,)
    grads : dict of str to ndarray
        Keyed like the parameters; `backward` adds to them.

    References
    ----------
    A. van den Oord et al., "WaveNet: a generative model for raw audio", 2016 (causal convolutions).

    Examples
    --------
    The sum of each step and the one before it; one sequence of three steps.

    >>> import numpy as np
    >>> from lstmfast.layers import Conv1D
    >>> layer = Conv1D(1, 1, 2)
    >>> layer.kernel = [[[1.0]], [[1.0]]]
    >>> rows = np.array([0, 1, 2, 4, 0], np.float32)[:, None]
    >>> layer.forward(rows, gap=1)[:, 0].tolist()
    [1.0, 3.0, 6.0]
    """

    kernel = Parameter()
    bias = Parameter()

    def __init__(self, input_size, filters, width, *, dtype="float32", random_state=None):
        self.input_size = check_size(input_size, "input_size")
        self.filters = check_size(filters, "filters")
        self.width = check_size(width, "width")
        super().__init__(
            {"kernel": (self.width, self.input_size, self.filters), "bias": (self.filters,)}, check_dtype(dtype)
        )
        if random_state is not BLANK:
            self.initialize(np.random.default_rng(random_state))

    @property
    def output_size(self):
        return self.filters

    def initialize(self, rng):
        """Draw new weights from a numpy Generator."""
        fans = self.width * self.input_size, self.width * self.filters
        self.arrays["kernel"][...] = glorot_uniform(rng, self.shapes["kernel"], fans)
        self.arrays["bias"][...] = 0
        self.forget_packed()

    def __repr__(self):
        return f"Conv1D({self.input_size}, {self.filters}, {self.width}, dtype={self.dtype.name!r})"

    @property
    def _float64(self):
        return self.dtype == np.float64

    def _packed(self, name):
        """The "kernel" as a matrix (width C, N), or "transposed" (width N, C), its last step first."""
        if name not in self.packed:
            kernel, bias = self.arrays["kernel"], None
            if name == "kernel":
                matrix, bias = kernel.reshape(-1, self.filters), self.arrays["bias"]
            else:
                matrix = kernel[::-1].transpose(0, 2, 1).reshape(-1, self.input_size)
            matrix, float64 = np.ascontiguousarray(matrix), self._float64
            packed = aligned_empty((_core.packed_columns_size(*matrix.shape, float64),), self.dtype)
            _core.pack_columns(matrix, bias, *matrix.shape, False, float64, packed)
            self.packed[name] = packed
        return self.packed[name]

    def forward(self, x, gap, n_threads=1, out=None):
        """y (R - 2 gap, N), written to `out` if given, of rows x (R, C).

        Row p of y belongs to row gap + p of x. What stands in rows of y that belong to zeros of x has no meaning.
        """
        windows = self._windows(x, gap - self.width + 1, len(x) - 2 * gap)
        y = np.empty((len(windows), self.filters), self.dtype) if out is None else out
        return self._product(windows, "kernel", y, n_threads)

    def step(self, window):
        """y (n, N) of the last `width` steps (n, width, C) of n sequences: the bits of `forward`."""
        y = np.empty((len(window), self.filters), self.dtype)
        return self._product(window.reshape(len(window), -1), "kernel", y, 1)

    def backward(self, x, dy, gap, input_gradient=True, n_threads=1):
        """Gradient of x, (R - 2 gap, C), or None, from rows dy (R, N), 0 where those of x are zeros; weight gradients
        are added."""
        n = len(x) - 2 * gap
        windows = self._windows(x, gap - self.width + 1, n)
        dkernel = self.grads["kernel"].reshape(-1, self.filters)
        _core.dense_weight_gradient(
            windows, dy[gap : gap + n], windows.shape[1], self.filters, self._float64, dkernel, self.grads["bias"],
            n_threads,
        )  # fmt: skip
        if not input_gradient:
            return None
        # A step took part in its own output and in those of the width - 1 steps behind it.
        return self._product(
            self._windows(dy, gap, n), "transposed", np.empty((n, self.input_size), self.dtype), n_threads
        )

    def _windows(self, x, first, n):
        """Rows (n, width C): of x, each `width` rows from `first` on, from `first` + 1 on, ..."""
        stride = x.shape[1] * x.itemsize
        return np.ndarray((n, self.width * x.shape[1]), x.dtype, x, offset=first * stride, strides=(stride, x.itemsize))

    def _product(self, windows, weights, out, n_threads):
        size, n_outputs = windows.shape[1], out.shape[1]
        _core.dense_forward(windows, self._packed(weights), size, n_outputs, self._float64, out, n_threads)
        return out
