"""The compiled core: everything that touches arrays without the GIL.

Imports nothing, NumPy included: arrays come in through the buffer protocol. Each is checked at this door for type,
shape and layout, before any compiled loop sees it; no size is taken from one argument and trusted for another.
"""
cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
)
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int64_t

import os as _os

cdef extern from "kernels.h" nogil:
    const int BLOCK_ROWS
    const bint CAN_MEET

    ctypedef struct meeting:
        int waiting
        int round

    ctypedef struct recurrent_call:
        Py_ssize_t n_rows, n_inputs, n_units, n_steps
        const int64_t *lengths
        const int64_t *step_base
        int reverse
        const void *x
        Py_ssize_t x_stride
        const int64_t *x_first
        const void *weights
        const void *h0
        const void *c0
        const void *h_mask
        void *y
        Py_ssize_t y_stride
        const int64_t *y_first
        void *h
        void *c
        void *h_steps
        void *c_steps
        void *gates
        const void *dy
        Py_ssize_t dy_stride
        const void *dh
        const void *dc
        const void *weights_h_t
        const void *weights_x_t
        void *dc_carry
        void *dx
        Py_ssize_t dx_stride
        int dx_accumulate
        void *dh0
        void *dc0
        void *dkernel
        void *drecurrent_kernel
        void *dbias

    ctypedef struct dense_call:
        Py_ssize_t n_rows, n_inputs, n_outputs
        const void *x
        const void *weights
        void *y
        const void *dy_padded
        void *dweight
        void *dbias

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
        Py_ssize_t (*packed_gates_size)(Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*packed_gates_transposed_size)(Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*packed_columns_size)(Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*pack_gates)(const void *, const void *, const void *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*pack_gates_transposed)(const void *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*pack_columns)(const void *, Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, Py_ssize_t,
                             void *) noexcept nogil
        void (*lstm_forward)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*lstm_forward_shared)(const recurrent_call *, meeting *, int, int) noexcept nogil
        void (*lstm_backward)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*input_gradient)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*weight_gradient_tasks)(const recurrent_call *) noexcept nogil
        void (*weight_gradient)(const recurrent_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*dense_forward)(const dense_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*dense_weight_gradient_tasks)(const dense_call *) noexcept nogil
        void (*dense_weight_gradient)(const dense_call *, Py_ssize_t, Py_ssize_t) noexcept nogil
        double (*penalised_gradient)(const optimizer_call *, double, double, double *) noexcept nogil
        void (*sgd)(const optimizer_call *) noexcept nogil
        void (*rmsprop)(const optimizer_call *) noexcept nogil
        void (*adam)(const optimizer_call *) noexcept nogil
        void (*output_probabilities)(int, const void *, void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*lstm_step)(const recurrent_call *, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
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


# ---- packed weights -------------------------------------------------------------------------------------------------

def packed_gates_size(Py_ssize_t n_inputs, Py_ssize_t n_units, bint float64):
    """Number of values that `pack_gates` writes."""
    return _tables[float64].packed_gates_size(_positive(n_inputs, "n_inputs"), _positive(n_units, "n_units"))


def packed_gates_transposed_size(Py_ssize_t n_units, Py_ssize_t n_columns, bint float64):
    """Number of values that `pack_gates_transposed` writes."""
    return _tables[float64].packed_gates_transposed_size(_positive(n_units, "n_units"),
                                                         _positive(n_columns, "n_columns"))


def packed_columns_size(Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint float64):
    """Number of values that `pack_columns` writes."""
    return _tables[float64].packed_columns_size(_positive(n_inputs, "n_inputs"), _positive(n_outputs, "n_outputs"))


def pack_gates(kernel, recurrent_kernel, bias, Py_ssize_t n_inputs, Py_ssize_t n_units, bint float64, packed):
    """Packs kernel (F, 4H), recurrent_kernel (H, 4H) and bias (4H,) as the forward tile reads them."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t size = packed_gates_size(n_inputs, n_units, float64)
    cdef void *w = _rows(kernel, "kernel", float64, n_inputs, 4 * n_units, False, NULL)
    cdef void *u = _rows(recurrent_kernel, "recurrent_kernel", float64, n_units, 4 * n_units, False, NULL)
    cdef void *b = _flat(bias, "bias", float64, 4 * n_units, False)
    cdef void *out = _flat(packed, "packed", float64, size, True, True)
    with nogil:
        table.pack_gates(w, u, b, n_inputs, n_units, out)


def pack_gates_transposed(matrix, Py_ssize_t n_columns, Py_ssize_t n_units, bint float64, packed):
    """Packs the transpose of a matrix (n_columns, 4H), for products with gradients of the gates."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t size = packed_gates_transposed_size(n_units, n_columns, float64)
    cdef void *source = _rows(matrix, "matrix", float64, n_columns, 4 * n_units, False, NULL)
    cdef void *out = _flat(packed, "packed", float64, size, True, True)
    with nogil:
        table.pack_gates_transposed(source, n_columns, n_units, out)


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


# ---- recurrent layers -----------------------------------------------------------------------------------------------

cdef class Batch:
    """N sequences for the recurrent kernels: lengths (N,), descending, each at least 1.

    Arrays of their steps, where not said otherwise, hold one sequence after the other.
    """
    cdef readonly Py_ssize_t n_rows, n_steps, max_length
    cdef readonly object lengths  # (N,) int64, as given
    cdef const int64_t[::1] _lengths
    cdef int64_t *_step_base
    cdef int64_t *_first

    def __cinit__(self, array):
        cdef Py_ssize_t r, t, previous
        cdef const int64_t[::1] lengths = array
        self.n_rows = lengths.shape[0]
        if self.n_rows == 0:
            raise ValueError("lengths must name at least one sequence")
        previous = lengths[0]
        for r in range(self.n_rows):
            if not 1 <= lengths[r] <= previous or lengths[r] >= 2**40:
                raise ValueError(f"lengths must be descending and at least 1, got {lengths[r]} after {previous}")
            previous = lengths[r]
        self.max_length = lengths[0]
        self._lengths, self.lengths = lengths, array
        self._step_base = <int64_t *>PyMem_Calloc(self.max_length + 1, sizeof(int64_t))
        self._first = <int64_t *>PyMem_Calloc(self.n_rows, sizeof(int64_t))
        if self._step_base == NULL or self._first == NULL:
            raise MemoryError(f"a batch of {self.n_rows} sequences of up to {self.max_length} steps")
        for r in range(1, self.n_rows):
            self._first[r] = self._first[r - 1] + lengths[r - 1]
        self.n_steps = self._first[self.n_rows - 1] + lengths[self.n_rows - 1]
        r = self.n_rows
        for t in range(self.max_length):
            while lengths[r - 1] <= t:
                r -= 1
            self._step_base[t + 1] = self._step_base[t] + r

    def __dealloc__(self):
        PyMem_Free(self._step_base)
        PyMem_Free(self._first)


cdef class Recurrence:
    """One direction of one recurrent layer over one batch: its arrays, checked, ready for `forward` and `backward`.

    Shapes as in kernels.h. x and y hold rows of steps; sequence r of the batch starts at row x_first[r] of x (default:
    the steps before it), and after the steps before it in y. With `gates` the pass can be run backward.
    """
    cdef recurrent_call call
    cdef const kernel_table *table
    cdef bint float64
    cdef readonly Batch batch
    cdef const int64_t[::1] _x_first
    cdef list _keep

    def __cinit__(self, Batch batch not None, x, weights, Py_ssize_t n_inputs, Py_ssize_t n_units, bint float64, *,
                  h, c, h_steps, c_steps, gates=None, x_first=None, y=None, h0=None, c0=None, h_mask=None,
                  bint reverse=False):
        cdef recurrent_call *call = &self.call
        cdef Py_ssize_t padded, n = batch.n_rows, r, n_x
        self.float64 = float64
        self.table = _tables[float64]
        self.batch = batch
        self._keep = [x, weights, h, c, h_steps, c_steps, gates, y, h0, c0, h_mask]
        padded = -(-_positive(n_units, "n_units") // self.table.lanes) * self.table.lanes
        call.n_rows, call.n_steps, call.reverse = n, batch.n_steps, reverse
        call.n_inputs, call.n_units = _positive(n_inputs, "n_inputs"), n_units
        call.lengths, call.step_base = &batch._lengths[0], batch._step_base
        call.x = _rows(x, "x", float64, -1, n_inputs, False, &call.x_stride)
        call.x_first = call.y_first = batch._first
        n_x = len(x)
        if x_first is not None:
            self._x_first = x_first
            if self._x_first.shape[0] != n:
                raise ValueError(f"x_first must have shape ({n},), got ({self._x_first.shape[0]},)")
            call.x_first = &self._x_first[0]
        for r in range(n):
            if call.x_first[r] < 0 or call.x_first[r] + call.lengths[r] > n_x:
                raise ValueError(f"sequence {r} lies outside x of {n_x} steps")
        call.weights = _flat(weights, "weights", float64, self.table.packed_gates_size(n_inputs, n_units), False, True)
        call.h = _rows(h, "h", float64, n, n_units, True, NULL)
        call.c = _rows(c, "c", float64, n, n_units, True, NULL)
        if h0 is not None:
            call.h0 = _rows(h0, "h0", float64, n, n_units, False, NULL)
        if c0 is not None:
            call.c0 = _rows(c0, "c0", float64, n, n_units, False, NULL)
        if h_mask is not None:
            call.h_mask = _rows(h_mask, "h_mask", float64, n, n_units, False, NULL)
        if y is not None:
            call.y = _rows(y, "y", float64, batch.n_steps, n_units, True, &call.y_stride)
        if gates is None:
            call.h_steps = _flat(h_steps, "h_steps", float64, 2 * n * n_units, True, True)
            call.c_steps = _flat(c_steps, "c_steps", float64, n * padded, True, True)
        else:
            call.h_steps = _flat(h_steps, "h_steps", float64, batch.n_steps * n_units, True, True)
            call.c_steps = _flat(c_steps, "c_steps", float64, (n + batch.n_steps) * padded, True, True)
            call.gates = _flat(gates, "gates", float64, 4 * batch.n_steps * padded, True, True)

    def set_gradients(self, *, weights_h_t, dc_carry, dkernel, drecurrent_kernel, dbias, dy=None, dh=None, dc=None,
                      weights_x_t=None, dx=None, bint dx_accumulate=False, dh0=None, dc0=None):
        """What `backward` reads (dy, dh, dc: gradients of y, h, c) and writes; weight gradients are added to."""
        cdef recurrent_call *call = &self.call
        cdef Py_ssize_t n = call.n_rows, units = call.n_units, steps = call.n_steps, lanes = self.table.lanes
        cdef bint float64 = self.float64
        if call.gates == NULL:
            raise RuntimeError("backward needs a forward pass made with gates")
        self._keep += [weights_h_t, dc_carry, dkernel, drecurrent_kernel, dbias, dy, dh, dc, weights_x_t, dx, dh0, dc0]
        call.weights_h_t = _flat(weights_h_t, "weights_h_t", float64,
                                 self.table.packed_gates_transposed_size(units, units), False, True)
        call.dc_carry = _flat(dc_carry, "dc_carry", float64, n * (-(-units // lanes) * lanes), True, True)
        call.dkernel = _rows(dkernel, "dkernel", float64, call.n_inputs, 4 * units, True, NULL)
        call.drecurrent_kernel = _rows(drecurrent_kernel, "drecurrent_kernel", float64, units, 4 * units, True, NULL)
        call.dbias = _flat(dbias, "dbias", float64, 4 * units, True)
        if dy is not None:
            call.dy = _rows(dy, "dy", float64, steps, units, False, &call.dy_stride)
        if dh is not None:
            call.dh = _rows(dh, "dh", float64, n, units, False, NULL)
        if dc is not None:
            call.dc = _rows(dc, "dc", float64, n, units, False, NULL)
        if dx is not None:
            call.weights_x_t = _flat(weights_x_t, "weights_x_t", float64,
                                     self.table.packed_gates_transposed_size(units, call.n_inputs), False, True)
            call.dx = _rows(dx, "dx", float64, steps, call.n_inputs, True, &call.dx_stride)
            call.dx_accumulate = dx_accumulate
        if dh0 is not None:
            call.dh0 = _rows(dh0, "dh0", float64, n, units, True, NULL)
        if dc0 is not None:
            call.dc0 = _rows(dc0, "dc0", float64, n, units, True, NULL)


cdef Py_ssize_t _thread_count(double work, Py_ssize_t n_threads) except -1:
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads}")
    return n_threads if LSTMFAST_OPENMP and work >= PARALLEL_WORK else 1


cdef struct row_range:
    recurrent_call *call
    Py_ssize_t begin
    Py_ssize_t end


cdef class _Plan:
    """The passes of one call (the directions of a layer), their rows cut into `parts` ranges of about equal work."""
    cdef recurrent_call *calls[2]
    cdef const kernel_table *table
    cdef row_range *ranges
    cdef Py_ssize_t n_calls, n_ranges, parts, n_threads

    def __cinit__(self, list passes, Py_ssize_t n_threads):
        cdef Recurrence item
        cdef Py_ssize_t i, part, begin, end, steps
        cdef recurrent_call *call
        if not 1 <= len(passes) <= 2:
            raise ValueError(f"a layer has one or two directions, got {len(passes)}")
        self.n_calls = len(passes)
        for i in range(self.n_calls):
            item = passes[i]
            self.calls[i] = &item.call
            self.table = item.table
            if item.table != (<Recurrence>passes[0]).table or item.batch is not (<Recurrence>passes[0]).batch:
                raise ValueError("both directions must have the same batch and precision")
        call = self.calls[0]
        self.n_threads = _thread_count(self.n_calls * <double>call.n_steps * (call.n_inputs + call.n_units) * 4
                                       * call.n_units, n_threads)
        # The directions run side by side; rows are cut only as far as threads are left for it.
        self.parts = min(-(-self.n_threads // self.n_calls), call.n_rows)
        self.ranges = <row_range *>PyMem_Calloc(self.parts * self.n_calls, sizeof(row_range))
        if self.ranges == NULL:
            raise MemoryError("row ranges")
        begin = 0
        for part in range(self.parts):
            end, steps = begin, 0
            while end < call.n_rows and (steps == 0 or (steps + call.lengths[end] // 2) * self.parts <= call.n_steps):
                steps += call.lengths[end]
                end += 1
            if part == self.parts - 1:
                end = call.n_rows
            for i in range(self.n_calls):
                self.ranges[self.n_ranges] = row_range(self.calls[i], begin, end)
                self.n_ranges += 1
            begin = end

    cdef bint shares_units(self):
        """Whether threads should own units: rows are too few for them all, and half a step's product takes longer than
        a meeting (0.3 us against 0.5 us at 32768 multiply-adds a step and two threads)."""
        cdef recurrent_call *call = self.calls[0]
        cdef Py_ssize_t step_work = call.n_rows * (call.n_inputs + call.n_units) * 4 * call.n_units
        return (CAN_MEET and self.n_threads > 1 and self.n_calls == 1 and call.n_rows < 2 * self.n_threads
                and call.n_rows <= BLOCK_ROWS and step_work >= 32768)

    def __dealloc__(self):
        PyMem_Free(self.ranges)


def forward(list passes, Py_ssize_t n_threads=1):
    """Runs the one or two directions of a layer over their batch."""
    cdef _Plan plan = _Plan(passes, n_threads)
    cdef const kernel_table *table = plan.table
    cdef Py_ssize_t i
    cdef int threads = min(plan.n_threads, plan.n_ranges)
    cdef meeting place = meeting(0, 0)
    if plan.shares_units():
        with nogil, parallel(num_threads=<int>plan.n_threads):
            table.lstm_forward_shared(plan.calls[0], &place, threadid(), LSTMFAST_TEAM_SIZE)
    elif threads == 1:
        with nogil:
            for i in range(plan.n_ranges):
                table.lstm_forward(plan.ranges[i].call, plan.ranges[i].begin, plan.ranges[i].end)
    else:
        for i in prange(plan.n_ranges, nogil=True, schedule="static", chunksize=1, num_threads=threads):
            table.lstm_forward(plan.ranges[i].call, plan.ranges[i].begin, plan.ranges[i].end)


def backward(list passes, Py_ssize_t n_threads=1):
    """Backpropagation through time for the passes of one `forward`, after `set_gradients` on each.

    Within it, threads first own rows (gradients of the gates, then of x), then tiles of the weight gradients: each
    weight gradient is summed by one thread in a fixed order.
    """
    cdef Recurrence item
    for item in passes:
        if item.call.dc_carry == NULL:
            raise RuntimeError("set_gradients comes before backward")
    cdef _Plan plan = _Plan(passes, n_threads)
    cdef const kernel_table *table = plan.table
    cdef Py_ssize_t i, part, tasks = table.weight_gradient_tasks(plan.calls[0])
    cdef Py_ssize_t pieces = plan.n_threads * plan.n_calls
    cdef Py_ssize_t input_parts = plan.parts if plan.calls[0].dx != NULL else 0
    cdef int threads = plan.n_threads
    with nogil, parallel(num_threads=threads):
        for i in prange(plan.n_ranges, schedule="static", chunksize=1):
            table.lstm_backward(plan.ranges[i].call, plan.ranges[i].begin, plan.ranges[i].end)
        for part in prange(input_parts, schedule="static", chunksize=1):
            _input_gradient(plan, part)
        for i in prange(pieces, schedule="static", chunksize=1):
            _weight_gradient(plan, i, tasks)


@cython.cdivision(True)
cdef inline Py_ssize_t _share(Py_ssize_t total, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Where part `part` of `parts` begins in `total` items."""
    return part * total // parts


@cython.cdivision(True)
cdef void _weight_gradient(_Plan plan, Py_ssize_t piece, Py_ssize_t tasks) noexcept nogil:
    cdef Py_ssize_t part = piece // plan.n_calls
    plan.table.weight_gradient(plan.calls[piece % plan.n_calls], _share(tasks, part, plan.n_threads),
                               _share(tasks, part + 1, plan.n_threads))


cdef void _input_gradient(_Plan plan, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t i
    cdef row_range piece
    for i in range(part * plan.n_calls, (part + 1) * plan.n_calls):
        piece = plan.ranges[i]
        if piece.call.dx != NULL:
            plan.table.input_gradient(piece.call, piece.begin, piece.end)


# ---- dense layers ---------------------------------------------------------------------------------------------------

def dense_forward(x, weights, Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint float64, y, Py_ssize_t n_threads=1):
    """y (n, N) = x (n, M) W + b, with W and b packed by `pack_columns`."""
    cdef const kernel_table *table = _tables[float64]
    cdef dense_call call
    cdef Py_ssize_t i
    cdef int threads
    call.n_rows, call.n_inputs, call.n_outputs = len(x), n_inputs, n_outputs
    call.x = _rows(x, "x", float64, call.n_rows, n_inputs, False, NULL)
    call.weights = _flat(weights, "weights", float64, packed_columns_size(n_inputs, n_outputs, float64), False, True)
    call.y = _rows(y, "y", float64, call.n_rows, n_outputs, True, NULL)
    threads = _thread_count(<double>call.n_rows * n_inputs * n_outputs, n_threads)
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        table.dense_forward(&call, _share(call.n_rows, i, threads), _share(call.n_rows, i + 1, threads))


def output_probabilities(bint multilabel, z, probabilities, Py_ssize_t n_outputs, bint float64):
    """Softmax over each row of z (n, n_outputs), or with multilabel the sigmoid of each output."""
    cdef Py_ssize_t n = len(z)
    cdef const void *source = _rows(z, "z", float64, n, _positive(n_outputs, "n_outputs"), False, NULL)
    cdef void *target = _rows(probabilities, "probabilities", float64, n, n_outputs, True, NULL)
    with nogil:
        _tables[float64].output_probabilities(multilabel, source, target, n, n_outputs)


def dense_weight_gradient(x, dy_padded, Py_ssize_t n_inputs, Py_ssize_t n_outputs, bint float64, dweight, dbias,
                          Py_ssize_t n_threads=1):
    """Adds x^T dy to dweight (M, N) and the sum of dy to dbias (N,); dy_padded (n, N rounded up to a vector)."""
    cdef const kernel_table *table = _tables[float64]
    cdef dense_call call
    cdef Py_ssize_t i, tasks, padded = -(-_positive(n_outputs, "n_outputs") // table.lanes) * table.lanes
    cdef int threads
    call.n_rows, call.n_inputs, call.n_outputs = len(x), _positive(n_inputs, "n_inputs"), n_outputs
    call.x = _rows(x, "x", float64, call.n_rows, n_inputs, False, NULL)
    call.dy_padded = _rows(dy_padded, "dy_padded", float64, call.n_rows, padded, False, NULL)
    call.dweight = _rows(dweight, "dweight", float64, n_inputs, n_outputs, True, NULL)
    call.dbias = _flat(dbias, "dbias", float64, n_outputs, True)
    threads = _thread_count(<double>call.n_rows * n_inputs * n_outputs, n_threads)
    tasks = table.dense_weight_gradient_tasks(&call)
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        table.dense_weight_gradient(&call, _share(tasks, i, threads), _share(tasks, i + 1, threads))


def evaluate(str function, x, y, bint float64):
    """y = sigmoid(x) or tanh(x), by the vector code of the kernels; for tests of its accuracy."""
    cdef const kernel_table *table = _tables[float64]
    cdef void *source = _flat(x, "x", float64, len(x), False)
    cdef void *target = _flat(y, "y", float64, len(x), True)
    table.evaluate(1 if function == "tanh" else 0, source, target, len(x))


include "pooling.pxi"
include "optimizers.pxi"
include "stream.pxi"
