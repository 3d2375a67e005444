"""The parameters of one direction of a recurrent layer."""

import numpy as np

from .. import _core
from ..workspace import aligned_empty
from .initializers import glorot_uniform, orthogonal
from .parameters import Parameter, Trainable

# By cell, which gate's bias starts at 1, in the order of the bias.
FORGET_GATE = {"lstm-coupled": 0, "gru": None, "gru-reset-before": None, "rnn": None}


def parameter_shapes(cell, input_size, hidden_size):
    """Shape of each parameter of a `_core.Cell` by name; biases end in "bias"."""
    shapes = {
        "kernel": (input_size, cell.kernel_gates * hidden_size),
        "recurrent_kernel": (hidden_size, cell.recurrent_gates * hidden_size),
    }
    if cell.has_peephole_kernel:
        shapes["peephole_kernel"] = (hidden_size, 4 * hidden_size)
    if cell.has_peephole:
        shapes["peephole"] = (3, hidden_size)
    shapes["bias"] = (cell.bias_gates * hidden_size,)
    if cell.has_recurrent_bias:
        shapes["recurrent_bias"] = (hidden_size,)
    return shapes


class Direction(Trainable):
    """The parameters of one direction of a recurrent layer: F inputs, H units, G gates (the cell's layer names them).

    Attributes
    ----------
    kernel : ndarray of shape (F, G H)
    recurrent_kernel : ndarray of shape (H, G H)
    bias : ndarray of shape (G H,)
    peephole : ndarray of shape (3, H)
        Of a cell "lstm-peephole": for the gates i, f, o.
    peephole_kernel : ndarray of shape (H, 4H)
        Of a cell "lstm-full-peephole".
    recurrent_bias : ndarray of shape (H,)
        Of a cell "gru".
    """

    kernel = Parameter()
    recurrent_kernel = Parameter()
    peephole_kernel = Parameter()
    peephole = Parameter()
    bias = Parameter()
    recurrent_bias = Parameter()

    def __init__(self, cell, input_size, hidden_size, dtype, reverse):
        self.cell, self.input_size, self.hidden_size, self.reverse = cell, input_size, hidden_size, reverse
        super().__init__(parameter_shapes(cell, input_size, hidden_size), dtype)

    def initialize(self, rng):
        """For each gate a Glorot uniform kernel and an orthogonal recurrent kernel; biases 0, but 1 for the forget
        gate; peepholes 0, a full peephole kernel like the recurrent one. The candidate of "lstm-cell-recurrent" has a
        bias in [-0.5, 0.5].

        Keras draws the four gates as one wide matrix, which makes all of them too small: Glorot's limit then counts
        the other gates' units among the outputs, and each gate's share of an orthogonal matrix has norm 1/2.

        Sources: Glorot & Bengio 2010; Saxe, McClelland & Ganguli 2014; Jozefowicz, Zaremba & Sutskever 2015.
        """
        units, arrays = self.hidden_size, self.arrays
        kernels = [(arrays["kernel"], glorot_uniform), (arrays["recurrent_kernel"], orthogonal)]
        n_gates = max(self.cell.kernel_gates, self.cell.recurrent_gates)
        if self.cell.has_peephole_kernel:
            kernels.append((arrays["peephole_kernel"], orthogonal))
        for gate in range(n_gates):
            columns = slice(gate * units, (gate + 1) * units)
            for array, draw in kernels:
                if columns.start < array.shape[1]:
                    array[:, columns] = draw(rng, (len(array), units))
        for name in arrays.keys() & {"bias", "recurrent_bias", "peephole"}:
            arrays[name][...] = 0
        if (
            self.cell.name == "lstm-cell-recurrent"
        ):  # the candidate sees c alone, which stays 0 unless something starts it
            arrays["bias"][2 * units : 3 * units] = rng.uniform(-0.5, 0.5, units)
        forget = FORGET_GATE.get(self.cell.name, 1)
        if forget is not None:
            arrays["bias"][forget * units : (forget + 1) * units] = 1
        self.forget_packed()

    @property
    def float64(self):
        return self.dtype == np.float64

    def packed_forward(self, n_threads=1):
        """Weights as the forward tile reads them."""
        if "forward" not in self.packed:
            sizes = self.input_size, self.hidden_size, self.float64
            packed = aligned_empty((_core.packed_gates_size(self.cell, *sizes),), self.dtype)
            arrays = dict(self.arrays)
            arrays.pop("peephole", None)  # it is not part of a product
            _core.pack_gates(
                self.cell, n_inputs=sizes[0], n_units=sizes[1], float64=sizes[2], packed=packed, n_threads=n_threads,
                **arrays,
            )  # fmt: skip
            self.packed["forward"] = packed
        return self.packed["forward"]

    def packed_transposed(self, operand, n_threads=1):
        """The transpose of an operand's weights as the backward tile reads them: "x", "h", or "extra" for what else
        the cell's products read."""
        if operand not in self.packed:
            name = {"x": "kernel", "h": "recurrent_kernel"}.get(operand)
            if name is None:
                name = "peephole_kernel" if self.cell.has_peephole_kernel else "recurrent_kernel"
            matrix, number = self.arrays[name], ("x", "h", "extra").index(operand)
            size = _core.packed_gates_transposed_size(self.cell, number, self.hidden_size, len(matrix), self.float64)
            packed = aligned_empty((size,), self.dtype)
            _core.pack_gates_transposed(
                self.cell, number, matrix, len(matrix), self.hidden_size, self.float64, packed, n_threads
            )  # fmt: skip
            self.packed[operand] = packed
        return self.packed[operand]
