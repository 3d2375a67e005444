"""The compiled core: everything that touches arrays without the GIL.

Imports nothing, NumPy included: arrays come in through the buffer protocol. Each is checked at this door for type,
shape and layout, before any compiled loop sees it; no size is taken from one argument and trusted for another.
"""
cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY, exp, expf, log
from libc.stdint cimport int64_t
from libc.string cimport memcpy

import os as _os
import threading as _threading

cdef extern from "kernels.h" nogil:
    const int BLOCK_ROWS
    const bint CAN_MEET

    ctypedef struct meeting:
        int waiting
        int asked
        int leave
        unsigned int round

    ctypedef struct interruption:
        pass

    int lstmfast_enter_team(int wanted)
    void lstmfast_leave_team(int size)
    void lstmfast_watch(interruption *call, int (*answer)(void *) noexcept, void *whose)
    int stopped(interruption *call, double work)

    ctypedef struct recurrent_call:
        interruption *stop
        Py_ssize_t n_rows, n_inputs, n_units, n_steps
        int cell, activation, recurrent_activation
        double clip
        const int64_t *lengths
        const int64_t *step_base
        int reverse, keep
        const void *x
        Py_ssize_t x_stride
        const int64_t *x_first
        const int64_t *x_rows
        Py_ssize_t n_x
        void *x_sums
        const void *weights
        const void *peephole
        const void *h0
        const void *c0
        const void *h_mask
        void *y
        Py_ssize_t y_stride
        const int64_t *y_first
        void *h
        void *c
        void *h_steps
        Py_ssize_t h_stride
        void *c_steps
        void *gates
        void *gated_steps
        const void *dy
        Py_ssize_t dy_stride
        const void *dh
        const void *dc
        const void *weights_x_t
        const void *weights_h_t
        const void *weights_extra_t
        void *dc_carry
        void *dh_carry
        void *dx_sums
        void *dx
        Py_ssize_t dx_stride
        int dx_accumulate
        void *dh0
        void *dc0
        void *dkernel
        void *drecurrent_kernel
        void *dbias
        void *drecurrent_bias
        void *dpeephole
        void *dpeephole_kernel

    ctypedef struct cell_traits:
        int has_c, reads_c, two_phases, shares_inputs
        int kernel_groups, recurrent_groups, bias_groups, recurrent_bias_groups

    enum:
        CELL_LSTM
        CELL_LSTM_COUPLED
        CELL_LSTM_FULL_PEEPHOLE
        CELL_LSTM_GATED_RECURRENCE
        CELL_LSTM_CELL_RECURRENT
        CELL_GRU
        CELL_GRU_RESET_BEFORE
        CELL_RNN
        ACTIVATION_SIGMOID
        ACTIVATION_TANH
        ACTIVATION_RELU
        ACTIVATION_IDENTITY
        ACTIVATION_SOFTSIGN
        ACTIVATION_HARD_TANH
        ACTIVATION_ELU
        ACTIVATION_HARD_SIGMOID

    ctypedef struct dense_call:
        Py_ssize_t n_rows, n_inputs, n_outputs
        const void *x
        Py_ssize_t x_stride
        const void *weights
        void *y
        const void *dy
        Py_ssize_t dy_stride
        void *dweight
        void *dbias

    ctypedef struct cross_entropy_call:
        Py_ssize_t n_outputs
        void *z
        const int64_t *targets
        const void *weights
        void *losses

    ctypedef struct attention_call:
        Py_ssize_t n_units, n_padded, n_values
        const int64_t *q_first
        const int64_t *q_lengths
        const int64_t *k_first
        const int64_t *k_lengths
        const int64_t *w_first
        const void *queries
        const void *keys
        const void *q_odds
        const void *k_odds
        const void *scale
        const void *values
        void *weights
        void *context
        Py_ssize_t context_stride
        const void *dcontext
        void *dscores
        void *dqueries
        void *dkeys
        void *dvalues
        void *dscale

    ctypedef struct optimizer_call:
        Py_ssize_t n, n_penalised
        void *parameters
        void *gradients
        void *first
        void *second
        double scale, learning_rate, momentum, beta_1, beta_2, epsilon
        double first_correction, second_correction, decay
        int nesterov

    ctypedef struct kernel_table:
        const char *name
        int lanes
        int tile_rows
        cell_traits (*traits)(int) noexcept nogil
        Py_ssize_t (*packed_gates_size)(int, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*packed_gates_transposed_size)(int, int, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*gates_size)(int, Py_ssize_t) noexcept nogil
        Py_ssize_t (*packed_columns_size)(Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*pack_gates)(int, const void *, const void *, const void *, const void *, const void *, Py_ssize_t,
                           Py_ssize_t, void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*pack_gates_transposed)(int, int, const void *, Py_ssize_t, Py_ssize_t, void *, Py_ssize_t,
                                      Py_ssize_t) noexcept nogil
        void (*pack_columns)(const void *, Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, Py_ssize_t,
                             void *) noexcept nogil
        void (*input_sums)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*recurrent_forward)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*recurrent_forward_shared)(const recurrent_call *, meeting *, int, int) noexcept nogil
        void (*recurrent_backward)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*input_gradient)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*weight_gradient_tasks)(const recurrent_call *) noexcept nogil
        void (*weight_gradient)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*dense_forward)(const dense_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*dense_weight_gradient_task)(const dense_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*dense_weight_gradient)(const dense_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        double (*penalised_gradient)(const optimizer_call *, double, double, double *) noexcept nogil
        void (*sgd)(const optimizer_call *) noexcept nogil
        void (*rmsprop)(const optimizer_call *) noexcept nogil
        void (*adam)(const optimizer_call *) noexcept nogil
        void (*output_probabilities)(int, const void *, void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*softmax_cross_entropy)(const cross_entropy_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*attention_odds)(const void *, Py_ssize_t, void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*attention_forward)(const attention_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*attention_backward)(const attention_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*shifted_exp)(const void *, double, void *, Py_ssize_t) noexcept nogil
        void (*recurrent_step)(const recurrent_call *, int, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                               Py_ssize_t) noexcept nogil
        void (*evaluate)(int, const void *, void *, Py_ssize_t) noexcept nogil

    const char *const *lstmfast_instruction_sets()
    const kernel_table *lstmfast_kernels(const char *name, int float64)

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define LSTMFAST_OPENMP 1
    #define LSTMFAST_TEAM_SIZE omp_get_num_threads()
    #else
    #define LSTMFAST_OPENMP 0
    #define LSTMFAST_TEAM_SIZE 1
    #endif
    #define LSTMFAST_LITTLE_ENDIAN (*(const unsigned char *)&(const unsigned short){1})
    """
    const bint LSTMFAST_OPENMP
    int LSTMFAST_TEAM_SIZE
    const bint LSTMFAST_LITTLE_ENDIAN

# A call whose arithmetic is below this many multiply-adds stays on the calling thread: it ends sooner (about 20 us at
# 100 GFLOP/s) than a sleeping worker wakes up.
cdef double PARALLEL_WORK = 1e6
cdef double EXPONENTIAL_WORK = 10  # multiply-adds in the time of an exponential or a tanh
cdef double PACKING_WORK = 20  # and in that of packing a weight
cdef double UPDATE_WORK = 20  # and in that of an optimiser's step of one

cdef const kernel_table *_tables[2]


def available_isas():
    """Names of the instruction sets that this machine can run, best first."""
    cdef const char *const *names = lstmfast_instruction_sets()
    cdef list found = []
    cdef Py_ssize_t i = 0
    while names[i] != NULL:
        found.append(names[i].decode())
        i += 1
    return found


def _choose_isa():
    names = available_isas()
    name = _os.environ.get("LSTMFAST_ISA") or names[0]
    if name not in names:
        raise ImportError(f"LSTMFAST_ISA={name!r} is not an instruction set of this machine; choose from {names}")
    _tables[0] = lstmfast_kernels(name.encode(), 0)
    _tables[1] = lstmfast_kernels(name.encode(), 1)


_choose_isa()


def isa():
    """Name of the instruction set in use: the best one, or what the environment variable LSTMFAST_ISA asks for."""
    return _tables[0].name.decode()


def has_openmp():
    """Whether this build runs on more than one thread."""
    return bool(LSTMFAST_OPENMP)


def lanes(bint float64):
    """Number of values in a vector register."""
    return _tables[float64].lanes


def tile_rows():
    """Number of rows in a register tile."""
    return _tables[0].tile_rows


# ---- the door -------------------------------------------------------------------------------------------------------

cdef bint _holds(const Py_buffer *view, char kind):
    """Whether a buffer holds native values of this kind; NumPy may spell their byte order out."""
    cdef const char *form = view.format
    if form == NULL:
        return False
    if form[0] == c"@" or form[0] == c"=" or form[0] == (c"<" if LSTMFAST_LITTLE_ENDIAN else c">"):
        form += 1
    return form[0] == kind and form[1] == 0


cdef void *_rows(object array, str name, bint float64, Py_ssize_t n_rows, Py_ssize_t n_columns, bint writable,
                 Py_ssize_t *stride) except? NULL:
    """Address of an (n_rows, n_columns) array; n_rows = -1: at least one. Rows may be `stride` values apart when
    stride is not NULL, otherwise the array must be C-contiguous."""
    cdef Py_buffer view
    cdef Py_ssize_t size = 8 if float64 else 4
    if array is None:
        raise TypeError(f"{name} must be an array, got None")
    PyObject_GetBuffer(array, &view, PyBUF_FORMAT | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    try:
        if not _holds(&view, c"d" if float64 else c"f"):
            raise TypeError(f"{name} must be an array of native {'float64' if float64 else 'float32'}")
        if view.ndim != 2 or view.shape[1] != n_columns or (n_rows >= 0 and view.shape[0] != n_rows):
            shape = tuple(view.shape[i] for i in range(view.ndim))
            raise ValueError(f"{name} must have shape ({n_rows if n_rows >= 0 else 'n'}, {n_columns}), got {shape}")
        if n_columns > 1 and view.strides[1] != size:
            raise ValueError(f"{name} must be contiguous along its last axis")
        if <Py_ssize_t>view.buf % size != 0:
            raise ValueError(f"{name} must be aligned")
        if stride != NULL:
            if view.strides[0] % size != 0:
                raise ValueError(f"{name} must be aligned")
            stride[0] = view.strides[0] // size
            if n_rows < 0 and stride[0] < 0:
                raise ValueError(f"{name} must not run backwards")
        elif view.shape[0] > 1 and view.strides[0] != n_columns * size:
            raise ValueError(f"{name} must be C-contiguous")
        return view.buf
    finally:
        PyBuffer_Release(&view)


cdef void *_flat(object array, str name, bint float64, Py_ssize_t n, bint writable, bint at_least=False) except? NULL:
    """Address of a contiguous one-dimensional array of n values."""
    cdef Py_buffer view
    cdef Py_ssize_t size = 8 if float64 else 4
    if array is None:
        raise TypeError(f"{name} must be an array, got None")
    PyObject_GetBuffer(array, &view, PyBUF_FORMAT | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    try:
        if not _holds(&view, c"d" if float64 else c"f"):
            raise TypeError(f"{name} must be an array of native {'float64' if float64 else 'float32'}")
        if view.ndim != 1 or (view.shape[0] < n if at_least else view.shape[0] != n):
            shape = tuple(view.shape[i] for i in range(view.ndim))
            raise ValueError(f"{name} must have shape ({n},), got {shape}")
        if (view.shape[0] > 1 and view.strides[0] != size) or <Py_ssize_t>view.buf % size != 0:
            raise ValueError(f"{name} must be contiguous and aligned")
        return view.buf
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t _positive(Py_ssize_t value, str name) except -1:
    # 2^31 of anything is past every use, and products of two such sizes still fit.
    if not 1 <= value < 2**31:
        raise ValueError(f"{name} must be at least 1 and below 2**31, got {value}")
    return value


# ---- sharing work among threads --------------------------------------------------------------------------------------

@cython.cdivision(True)
cdef inline Py_ssize_t _share(Py_ssize_t total, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Where part `part` of `parts` begins in `total` items."""
    return part * total // parts


include "team.pxi"


# ---- packed weights -------------------------------------------------------------------------------------------------

def packed_columns_size(Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint float64):
    """Number of values that `pack_columns` writes."""
    return _tables[float64].packed_columns_size(_positive(n_inputs, "n_inputs"), _positive(n_outputs, "n_outputs"))


def pack_columns(weight, bias, Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint transpose, bint float64, packed):
    """Packs weight (n_inputs, n_outputs) and bias (n_outputs,) or None of a dense layer; with transpose, the transpose
    of weight (n_outputs, n_inputs)."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t size = packed_columns_size(n_inputs, n_outputs, float64)
    cdef void *source
    cdef void *b = NULL
    if transpose:
        source = _rows(weight, "weight", float64, n_outputs, n_inputs, False, NULL)
    else:
        source = _rows(weight, "weight", float64, n_inputs, n_outputs, False, NULL)
    if bias is not None:
        b = _flat(bias, "bias", float64, n_outputs, False)
    cdef void *out = _flat(packed, "packed", float64, size, True, True)
    with nogil:
        table.pack_columns(source, 1 if transpose else n_outputs, n_inputs if transpose else 1, b, n_inputs, n_outputs,
                           out)


# ---- dense layers ---------------------------------------------------------------------------------------------------

def dense_forward(x, weights, Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint float64, y, Py_ssize_t n_threads=1):
    """y (n, N) = x (n, M) W + b, with W and b packed by `pack_columns`; rows of x may be further apart."""
    cdef const kernel_table *table = _tables[float64]
    cdef dense_call call
    cdef Py_ssize_t i
    cdef int threads
    cdef _Team team
    call.n_rows, call.n_inputs, call.n_outputs = len(x), n_inputs, n_outputs
    call.x = _rows(x, "x", float64, call.n_rows, n_inputs, False, &call.x_stride)
    call.weights = _flat(weights, "weights", float64, packed_columns_size(n_inputs, n_outputs, float64), False, True)
    call.y = _rows(y, "y", float64, call.n_rows, n_outputs, True, NULL)
    team = _Team(<double>call.n_rows * n_inputs * n_outputs, n_threads)
    threads = team.size
    for i in prange(team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        if not team.stopped():
            table.dense_forward(&call, _share(call.n_rows, i, team.pieces), _share(call.n_rows, i + 1, team.pieces))
    team.finish()


def output_probabilities(bint multilabel, z, probabilities, Py_ssize_t n_outputs, bint float64):
    """Softmax over each row of z (n, n_outputs), or with multilabel the sigmoid of each output."""
    cdef Py_ssize_t n = len(z)
    cdef const void *source = _rows(z, "z", float64, n, _positive(n_outputs, "n_outputs"), False, NULL)
    cdef void *target = _rows(probabilities, "probabilities", float64, n, n_outputs, True, NULL)
    with nogil:
        _tables[float64].output_probabilities(multilabel, source, target, n, n_outputs)


def softmax_cross_entropy(z, const int64_t[::1] targets not None, weights, losses, Py_ssize_t n_outputs, bint float64,
                          Py_ssize_t n_threads=1):
    """losses (n,) = -log softmax(z)[target] of each row of z (n, K), which becomes weight * (softmax(z) - onehot).

    targets (n,) in [0, K), weights (n,).
    """
    cdef const kernel_table *table = _tables[float64]
    cdef cross_entropy_call call
    cdef Py_ssize_t i, n = len(z)
    cdef int threads
    cdef _Team team
    call.n_outputs = _positive(n_outputs, "n_outputs")
    call.z = _rows(z, "z", float64, n, n_outputs, True, NULL)
    call.weights = _flat(weights, "weights", float64, n, False)
    call.losses = _flat(losses, "losses", float64, n, True)
    if targets.shape[0] != n:
        raise ValueError(f"targets must have shape ({n},), got ({targets.shape[0]},)")
    for i in range(n):
        if not 0 <= targets[i] < n_outputs:
            raise ValueError(f"targets must be in [0, {n_outputs}), got targets[{i}] = {targets[i]}")
    if n == 0:
        return
    call.targets = &targets[0]
    team = _Team(<double>n * n_outputs * EXPONENTIAL_WORK, n_threads)
    threads = team.size
    for i in prange(team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        if not team.stopped():
            table.softmax_cross_entropy(&call, _share(n, i, team.pieces), _share(n, i + 1, team.pieces))
    team.finish()


def dense_weight_gradient(x, dy, Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint float64, dweight, dbias,
                          Py_ssize_t n_threads=1):
    """Adds x^T dy to dweight (M, N) and the sum of dy to dbias (N,); rows of x (n, M) and dy (n, N) may be further
    apart."""
    cdef const kernel_table *table = _tables[float64]
    cdef dense_call call
    cdef Py_ssize_t i
    cdef int threads
    cdef _Team team
    call.n_rows = len(x)
    call.n_inputs, call.n_outputs = _positive(n_inputs, "n_inputs"), _positive(n_outputs, "n_outputs")
    call.x = _rows(x, "x", float64, call.n_rows, n_inputs, False, &call.x_stride)
    call.dy = _rows(dy, "dy", float64, call.n_rows, n_outputs, False, &call.dy_stride)
    if call.dy_stride < n_outputs and call.n_rows > 1:
        raise ValueError(f"rows of dy must not overlap, got a stride of {call.dy_stride} values")
    call.dy_stride = max(call.dy_stride, n_outputs)  # of a single row NumPy may say anything
    call.dweight = _rows(dweight, "dweight", float64, n_inputs, n_outputs, True, NULL)
    call.dbias = _flat(dbias, "dbias", float64, n_outputs, True)
    team = _Team(<double>call.n_rows * n_inputs * n_outputs, n_threads)
    threads = team.size
    for i in prange(team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        if not team.stopped():
            table.dense_weight_gradient(&call, table.dense_weight_gradient_task(&call, i, team.pieces),
                                        table.dense_weight_gradient_task(&call, i + 1, team.pieces))
    team.finish()


def evaluate(str function, x, y, bint float64, Py_ssize_t n_threads=1):
    """y = an activation of x, by the vector code of the kernels, in place if one likes."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t i, begin, n = len(x), size = 8 if float64 else 4
    cdef const char *source = <const char *>_flat(x, "x", float64, n, False)
    cdef char *target = <char *>_flat(y, "y", float64, n, True)
    cdef int code = _chosen(_ACTIVATIONS | _RECURRENT_ACTIVATIONS, function, "function")
    cdef _Team team = _Team(<double>n * EXPONENTIAL_WORK, n_threads)
    cdef int threads = team.size
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        begin = _share(n, i, threads)
        table.evaluate(code, source + begin * size, target + begin * size, _share(n, i + 1, threads) - begin)


include "cell.pxi"
include "recurrent.pxi"
include "pooling.pxi"
include "table.pxi"
include "crf.pxi"
include "attention.pxi"
include "optimizers.pxi"
include "stream.pxi"
