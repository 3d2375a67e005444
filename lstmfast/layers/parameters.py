"""What every layer with weights shares: named, checked, assignable parameters and their gradients."""

import operator

import numpy as np

from ..sequences import as_numbers, check_finite, to_contiguous


def check_size(value, name):
    """A positive int, NumPy's included; bools, floats and strings are refused."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    value = operator.index(value)
    if not 1 <= value < 2**31:
        raise ValueError(f"{name} must be at least 1 and below 2**31, got {value}")
    return value


def check_dtype(dtype):
    """np.float32 or np.float64 as a dtype."""
    try:
        checked = None if dtype is None else np.dtype(dtype)  # NumPy reads None as float64
    except TypeError:
        checked = None
    if checked not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    return checked


class Parameter:
    """An array of a fixed shape on a layer. Reading gives a read-only view; assigning checks and copies.

    Read-only, because the kernels use a packed copy: a silent change in place would not reach them.
    """

    def __set_name__(self, owner, name):
        self.name = name

    def _array(self, layer):
        if self.name not in layer.arrays:
            raise AttributeError(f"a cell {layer.cell.name!r} has no {self.name}")
        return layer.arrays[self.name]

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        view = self._array(layer).view()
        view.flags.writeable = False
        return view

    def __set__(self, layer, value):
        target = self._array(layer)
        value = as_numbers(value, self.name)
        if value.shape != target.shape:
            raise ValueError(f"{self.name} must have shape {target.shape}, got {value.shape}")
        value = to_contiguous(value, target.dtype)
        check_finite(value, self.name)
        np.copyto(target, value)
        layer.forget_packed()


class Trainable:
    """A layer's arrays by name, alone or as views of a network's flat arrays.

    Attributes
    ----------
    shapes : dict of str to tuple
        Shape of each parameter, in the order of the flat array.
    arrays, grads : dict of str to ndarray
        Parameters and their gradients. `backward` adds to the gradients.
    by_rows : bool
        Whether the layer keeps its gradient itself, by rows of its one parameter.
    """

    def __init__(self, shapes, dtype, by_rows=False):
        self.shapes = shapes
        self.dtype = dtype
        self.by_rows = by_rows
        self.packed = {}
        self.bind(
            {name: np.zeros(shape, dtype) for name, shape in shapes.items()},
            {} if by_rows else {name: np.zeros(shape, dtype) for name, shape in shapes.items()},
        )

    def bind(self, arrays, grads):
        """Use these arrays from now on."""
        self.arrays, self.grads = arrays, grads
        self.forget_packed()

    def forget_packed(self):
        """To be called after each change of the parameters: packed copies are made anew when next needed."""
        self.packed.clear()

    def __getstate__(self):
        # Packed copies depend on the machine's vectors.
        return {**self.__dict__, "packed": {}}
