# ---- cells: what a recurrent layer computes at each step -------------------------------------------------------------

from numbers import Real as _Real

_CELLS = {
    "lstm": CELL_LSTM, "lstm-peephole": CELL_LSTM, "lstm-full-peephole": CELL_LSTM_FULL_PEEPHOLE,
    "lstm-coupled": CELL_LSTM_COUPLED, "lstm-gated-recurrence": CELL_LSTM_GATED_RECURRENCE,
    "lstm-cell-recurrent": CELL_LSTM_CELL_RECURRENT, "gru": CELL_GRU, "gru-reset-before": CELL_GRU_RESET_BEFORE,
    "rnn": CELL_RNN,
}
_ACTIVATIONS = {
    "tanh": ACTIVATION_TANH, "relu": ACTIVATION_RELU, "sigmoid": ACTIVATION_SIGMOID, "identity": ACTIVATION_IDENTITY,
    "softsign": ACTIVATION_SOFTSIGN, "hard_tanh": ACTIVATION_HARD_TANH, "elu": ACTIVATION_ELU,
}
_RECURRENT_ACTIVATIONS = {"sigmoid": ACTIVATION_SIGMOID, "hard_sigmoid": ACTIVATION_HARD_SIGMOID}


CELLS, ACTIVATIONS, RECURRENT_ACTIVATIONS = tuple(_CELLS), tuple(_ACTIVATIONS), tuple(_RECURRENT_ACTIVATIONS)


cdef class Cell:
    """A cell by its names, as the kernels need it.

    Parameters
    ----------
    name : {"lstm", "lstm-peephole", "lstm-full-peephole", "lstm-coupled", "lstm-gated-recurrence", \
"lstm-cell-recurrent", "gru", "gru-reset-before", "rnn"}
    activation : {"tanh", "relu", "sigmoid", "identity", "softsign", "hard_tanh", "elu"}
        Of the candidate and of c.
    recurrent_activation : {"sigmoid", "hard_sigmoid"}
        Of the gates.
    clip : float or None
        What goes into the gates and the candidate is clipped to [-clip, clip].

    Attributes
    ----------
    has_c : bool
        Whether h is not the whole state.
    second_state : bool
        Whether the kernels keep one: c, or the GRU's h as no dropout mask changed it.
    reads_c, two_phases : bool
        Whether products read c_prev; whether they read a gate times h_prev.
    shares_inputs : bool
        Whether steps may be rows of a few x.
    kernel_gates, recurrent_gates, bias_gates : int
        Columns of the parameters, in multiples of the units.
    """
    cdef readonly str name, activation, recurrent_activation
    cdef readonly object clip
    cdef readonly bint has_c, second_state, reads_c, two_phases, shares_inputs
    cdef readonly bint has_peephole, has_peephole_kernel, has_recurrent_bias
    cdef readonly int kernel_gates, recurrent_gates, bias_gates
    cdef int code, activation_code, recurrent_activation_code
    cdef double clip_at

    def __cinit__(self, name="lstm", activation="tanh", recurrent_activation="sigmoid", clip=None):
        self.code = _chosen(_CELLS, name, "cell")
        self.activation_code = _chosen(_ACTIVATIONS, activation, "activation")
        self.recurrent_activation_code = _chosen(_RECURRENT_ACTIVATIONS, recurrent_activation, "recurrent_activation")
        if clip is not None:
            if isinstance(clip, bool) or not isinstance(clip, _Real) or not 0 < clip < float("inf"):
                raise ValueError(f"clip must be None or a positive number, got {clip!r}")
            clip = self.clip_at = float(clip)
        self.name, self.activation, self.recurrent_activation, self.clip = name, activation, recurrent_activation, clip
        cdef cell_traits traits = _tables[0].traits(self.code)
        self.second_state, self.has_c = traits.has_c, traits.has_c and not name.startswith("gru")
        self.reads_c, self.two_phases, self.shares_inputs = traits.reads_c, traits.two_phases, traits.shares_inputs
        self.kernel_gates, self.recurrent_gates = traits.kernel_groups, traits.recurrent_groups
        self.bias_gates, self.has_recurrent_bias = traits.bias_groups, traits.recurrent_bias_groups > 0
        self.has_peephole, self.has_peephole_kernel = name == "lstm-peephole", name == "lstm-full-peephole"

    def __reduce__(self):
        return Cell, (self.name, self.activation, self.recurrent_activation, self.clip)

    cdef void describe(self, recurrent_call *call) noexcept:
        call.cell, call.activation = self.code, self.activation_code
        call.recurrent_activation, call.clip = self.recurrent_activation_code, self.clip_at


cdef int _chosen(dict choices, object value, str name) except -1:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[value]


def packed_gates_size(Cell cell not None, Py_ssize_t n_inputs, Py_ssize_t n_units, bint float64):
    """Number of values that `pack_gates` writes."""
    return _tables[float64].packed_gates_size(cell.code, _positive(n_inputs, "n_inputs"), _positive(n_units, "n_units"))


def packed_gates_transposed_size(Cell cell not None, int operand, Py_ssize_t n_units, Py_ssize_t n_columns,
                                 bint float64):
    """Number of values that `pack_gates_transposed` writes."""
    return _tables[float64].packed_gates_transposed_size(cell.code, operand, _positive(n_units, "n_units"),
                                                         _positive(n_columns, "n_columns"))


def gates_size(Cell cell not None, Py_ssize_t n_units, bint float64):
    """Number of values that the kernels keep of a step's gates."""
    return _tables[float64].gates_size(cell.code, _positive(n_units, "n_units"))


def pack_gates(Cell cell not None, kernel, recurrent_kernel, bias, Py_ssize_t n_inputs, Py_ssize_t n_units,
               bint float64, packed, *, peephole_kernel=None, recurrent_bias=None, Py_ssize_t n_threads=1):
    """Packs kernel (F, G H), recurrent_kernel (H, G H) and bias (G H,) as the forward tile reads them."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t size = packed_gates_size(cell, n_inputs, n_units, float64)
    cdef void *w = _rows(kernel, "kernel", float64, n_inputs, cell.kernel_gates * n_units, False, NULL)
    cdef void *u = _rows(recurrent_kernel, "recurrent_kernel", float64, n_units, cell.recurrent_gates * n_units, False,
                         NULL)
    cdef void *b = _flat(bias, "bias", float64, cell.bias_gates * n_units, False)
    cdef void *v = NULL
    cdef void *d = NULL
    if cell.has_peephole_kernel:
        v = _rows(peephole_kernel, "peephole_kernel", float64, n_units, 4 * n_units, False, NULL)
    if cell.has_recurrent_bias:
        d = _flat(recurrent_bias, "recurrent_bias", float64, n_units, False)
    cdef void *out = _flat(packed, "packed", float64, size, True, True)
    cdef Py_ssize_t i
    cdef _Team team = _Team(size * PACKING_WORK, n_threads)
    cdef int threads = team.size
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        table.pack_gates(cell.code, w, u, b, v, d, n_inputs, n_units, out, i, threads)


def pack_gates_transposed(Cell cell not None, int operand, matrix, Py_ssize_t n_columns, Py_ssize_t n_units,
                          bint float64, packed, Py_ssize_t n_threads=1):
    """Packs the transpose of the matrix (n_columns, G H) of an operand (0: x, 1: h, 2: c, or h behind a gate), for
    products with gradients of the gates."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t size = packed_gates_transposed_size(cell, operand, n_units, n_columns, float64)
    cdef int groups = cell.kernel_gates if operand == 0 else cell.recurrent_gates
    if not 0 <= operand <= 2 or size == 0:
        raise ValueError(f"a cell {cell.name!r} has no operand {operand}")
    cdef void *source = _rows(matrix, "matrix", float64, n_columns, groups * n_units, False, NULL)
    cdef void *out = _flat(packed, "packed", float64, size, True, True)
    cdef Py_ssize_t i
    cdef _Team team = _Team(size * PACKING_WORK, n_threads)
    cdef int threads = team.size
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        table.pack_gates_transposed(cell.code, operand, source, n_columns, n_units, out, i, threads)
