"""y = x W + b for a matrix among a layer's parameters: what the dense layer and the attention stand on."""

import numpy as np

from .. import _core
from ..workspace import aligned_empty


def packed_matrix(layer, weight, bias=None, transpose=False):
    """The layer's parameter `weight`, or its transpose, as the forward tile reads it, with the parameter `bias`."""
    key = weight, transpose
    if key not in layer.packed:
        float64, shape = layer.dtype == np.float64, layer.shapes[weight]
        n_inputs, n_outputs = shape[::-1] if transpose else shape
        packed = aligned_empty((_core.packed_columns_size(n_inputs, n_outputs, float64),), layer.dtype)
        start = None if bias is None else layer.arrays[bias]
        _core.pack_columns(layer.arrays[weight], start, n_inputs, n_outputs, transpose, float64, packed)
        layer.packed[key] = packed
    return layer.packed[key]


def product(layer, x, weight, bias=None, n_threads=1, out=None):
    """x (n, M) times `weight` (M, N), plus `bias`: (n, N), written to `out` if given."""
    n_inputs, n_outputs = layer.shapes[weight]
    y = np.empty((len(x), n_outputs), layer.dtype) if out is None else out
    packed = packed_matrix(layer, weight, bias)
    _core.dense_forward(x, packed, n_inputs, n_outputs, layer.dtype == np.float64, y, n_threads)
    return y


def product_backward(layer, x, dy, weight, bias=None, n_threads=1, out=None):
    """Gradient of x (n, M) from that of y (n, N), written to `out` if given; adds to layer.grads."""
    float64, (n_inputs, n_outputs) = layer.dtype == np.float64, layer.shapes[weight]
    dbias = np.zeros(n_outputs, layer.dtype) if bias is None else layer.grads[bias]
    _core.dense_weight_gradient(x, dy, n_inputs, n_outputs, float64, layer.grads[weight], dbias, n_threads)
    dx = np.empty((len(x), n_inputs), layer.dtype) if out is None else out
    packed = packed_matrix(layer, weight, transpose=True)
    _core.dense_forward(dy, packed, n_outputs, n_inputs, float64, dx, n_threads)
    return dx


def padded_size(n, dtype):
    """n rounded up to whole vectors."""
    lanes = _core.lanes(dtype == np.float64)
    return -(-n // lanes) * lanes


def padded_columns(y, dtype):
    """y (n, N), or (N,), of this dtype with zeros behind its columns, up to whole vectors; y itself where it fits."""
    size = padded_size(y.shape[-1], dtype)
    if size == y.shape[-1]:
        return np.ascontiguousarray(y, dtype)
    padded = np.zeros((*y.shape[:-1], size), dtype)
    padded[..., : y.shape[-1]] = y
    return padded
