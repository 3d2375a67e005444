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
    the steps before it), and after the steps before it in y. With x_rows, for a cell that `shares_inputs`, step s is
    row x_rows[s] of x, and x_first counts such steps. With `keep` the pass can be run backward.
    """
    cdef recurrent_call call
    cdef const kernel_table *table
    cdef bint float64
    cdef Cell cell
    cdef readonly Batch batch
    cdef const int64_t[::1] _x_first
    cdef const int64_t[::1] _x_rows
    cdef list _keep

    def __cinit__(self, Cell cell not None, Batch batch not None, x, weights, Py_ssize_t n_inputs, Py_ssize_t n_units,
                  bint float64, *, h, h_steps, c=None, c_steps=None, gates=None, gated_steps=None, peephole=None,
                  bint keep=False, x_first=None, x_rows=None, x_sums=None, y=None, h0=None, c0=None, h_mask=None,
                  bint reverse=False):
        cdef recurrent_call *call = &self.call
        cdef Py_ssize_t padded, n = batch.n_rows, r, s, n_x, stride, slots = batch.n_steps if keep else n
        self.cell = cell
        self.float64 = float64
        self.table = _tables[float64]
        self.batch = batch
        self._keep = [x, x_sums, weights, h, c, h_steps, c_steps, gates, gated_steps, peephole, y, h0, c0, h_mask]
        padded = -(-_positive(n_units, "n_units") // self.table.lanes) * self.table.lanes
        cell.describe(call)
        call.keep = keep
        call.n_rows, call.n_steps, call.reverse = n, batch.n_steps, reverse
        call.n_inputs, call.n_units = _positive(n_inputs, "n_inputs"), n_units
        call.lengths, call.step_base = &batch._lengths[0], batch._step_base
        call.x = _rows(x, "x", float64, -1, n_inputs, False, &call.x_stride)
        call.x_first = call.y_first = batch._first
        n_x = call.n_x = len(x)
        if x_rows is not None:
            if not cell.shares_inputs:
                raise ValueError("this cell's steps do not share their x")
            self._x_rows = x_rows
            n_x = self._x_rows.shape[0]
            for s in range(n_x):
                if not 0 <= self._x_rows[s] < call.n_x:
                    raise ValueError(f"x_rows must be in [0, {call.n_x}), got {self._x_rows[s]}")
            call.x_rows = &self._x_rows[0] if n_x else NULL
            call.x_sums = _flat(x_sums, "x_sums", float64, call.n_x * self.table.gates_size(cell.code, n_units), True,
                                True)
        if x_first is not None:
            self._x_first = x_first
            if self._x_first.shape[0] != n:
                raise ValueError(f"x_first must have shape ({n},), got ({self._x_first.shape[0]},)")
            call.x_first = &self._x_first[0]
        for r in range(n):
            if call.x_first[r] < 0 or call.x_first[r] + call.lengths[r] > n_x:
                raise ValueError(f"sequence {r} lies outside x of {n_x} steps")
        call.weights = _flat(weights, "weights", float64, packed_gates_size(cell, n_inputs, n_units, float64), False,
                             True)
        call.h = _rows(h, "h", float64, n, n_units, True, NULL)
        if c is not None:
            call.c = _rows(c, "c", float64, n, n_units, True, NULL)
        if cell.has_peephole:
            call.peephole = _rows(peephole, "peephole", float64, 3, n_units, False, NULL)
        if h0 is not None:
            call.h0 = _rows(h0, "h0", float64, n, n_units, False, NULL)
        if c0 is not None:
            call.c0 = _rows(c0, "c0", float64, n, n_units, False, NULL)
        if h_mask is not None:
            call.h_mask = _rows(h_mask, "h_mask", float64, n, n_units, False, NULL)
        if y is not None:
            call.y = _rows(y, "y", float64, batch.n_steps, n_units, True, &call.y_stride)
        call.h_steps = _rows(h_steps, "h_steps", float64, slots if keep else 2 * n, n_units, True, &call.h_stride)
        call.c_steps = call.gated_steps = call.h_steps  # never read or written where a cell has none
        if cell.second_state:
            call.c_steps = _flat(c_steps, "c_steps", float64,
                                 (n + slots if keep else 2 * n if cell.reads_c else n) * padded, True, True)
        if keep or cell.two_phases:
            call.gates = _flat(gates, "gates", float64, slots * self.table.gates_size(cell.code, n_units), True, True)
        if cell.two_phases:
            call.gated_steps = _rows(gated_steps, "gated_steps", float64, slots, n_units, True, &stride)
            if stride != call.h_stride:
                raise ValueError("rows of gated_steps must be as far apart as those of h_steps")

    def set_gradients(self, *, weights_h_t, dkernel, drecurrent_kernel, dbias, dc_carry=None, dh_carry=None,
                      weights_extra_t=None, drecurrent_bias=None, dpeephole=None, dpeephole_kernel=None, dy=None,
                      dh=None, dc=None, weights_x_t=None, dx=None, bint dx_accumulate=False, dx_sums=None,
                      dh0=None, dc0=None):
        """What `backward` reads (dy, dh, dc: gradients of y, h, c) and writes; weight gradients are added to."""
        cdef recurrent_call *call = &self.call
        cdef Cell cell = self.cell
        cdef Py_ssize_t n = call.n_rows, units = call.n_units, steps = call.n_steps, lanes = self.table.lanes
        cdef Py_ssize_t carried = n * (-(-units // lanes) * lanes)
        cdef bint float64 = self.float64
        if not call.keep:
            raise RuntimeError("backward needs a forward pass that kept its steps")
        self._keep += [dx_sums, weights_h_t, dc_carry, dh_carry, weights_extra_t, dkernel, drecurrent_kernel, dbias,
                       drecurrent_bias, dpeephole, dpeephole_kernel, dy, dh, dc, weights_x_t, dx, dh0, dc0]
        call.weights_h_t = self._transposed(weights_h_t, "weights_h_t", 1, units)
        if cell.reads_c or cell.two_phases:
            call.weights_extra_t = self._transposed(weights_extra_t, "weights_extra_t", 2, units)
        call.dc_carry = call.dh_carry = call.c_steps  # never read or written where a cell has none
        if cell.second_state:
            call.dc_carry = _flat(dc_carry, "dc_carry", float64, carried, True, True)
        if cell.two_phases:
            call.dh_carry = _flat(dh_carry, "dh_carry", float64, carried, True, True)
        call.dkernel = _rows(dkernel, "dkernel", float64, call.n_inputs, cell.kernel_gates * units, True, NULL)
        call.drecurrent_kernel = _rows(drecurrent_kernel, "drecurrent_kernel", float64, units,
                                       cell.recurrent_gates * units, True, NULL)
        call.dbias = _flat(dbias, "dbias", float64, cell.bias_gates * units, True)
        if cell.has_recurrent_bias:
            call.drecurrent_bias = _flat(drecurrent_bias, "drecurrent_bias", float64, units, True)
        if cell.has_peephole:
            call.dpeephole = _rows(dpeephole, "dpeephole", float64, 3, units, True, NULL)
        if cell.has_peephole_kernel:
            call.dpeephole_kernel = _rows(dpeephole_kernel, "dpeephole_kernel", float64, units, 4 * units, True, NULL)
        if dy is not None:
            call.dy = _rows(dy, "dy", float64, steps, units, False, &call.dy_stride)
        if dh is not None:
            call.dh = _rows(dh, "dh", float64, n, units, False, NULL)
        if dc is not None:
            call.dc = _rows(dc, "dc", float64, n, units, False, NULL)
        if call.x_rows != NULL:
            if dx is not None:
                raise ValueError("with x_rows there is no dx, but dx_sums")
            call.dx_sums = _rows(dx_sums, "dx_sums", float64, call.n_x, cell.kernel_gates * units, True, NULL)
        if dx is not None:
            call.weights_x_t = self._transposed(weights_x_t, "weights_x_t", 0, call.n_inputs)
            call.dx = _rows(dx, "dx", float64, steps, call.n_inputs, True, &call.dx_stride)
            call.dx_accumulate = dx_accumulate
        if dh0 is not None:
            call.dh0 = _rows(dh0, "dh0", float64, n, units, True, NULL)
        if dc0 is not None:
            call.dc0 = _rows(dc0, "dc0", float64, n, units, True, NULL)

    cdef void *_transposed(self, object packed, str name, int operand, Py_ssize_t n_columns) except NULL:
        cdef Py_ssize_t size = self.table.packed_gates_transposed_size(self.cell.code, operand, self.call.n_units,
                                                                       n_columns)
        return _flat(packed, name, self.float64, size, False, True)


cdef struct row_range:
    recurrent_call *call
    Py_ssize_t begin
    Py_ssize_t end


cdef class _Plan:
    """The passes of one call (the directions of a layer), their rows cut into `parts` ranges of about equal work."""
    cdef recurrent_call *calls[2]
    cdef const kernel_table *table
    cdef row_range *ranges
    cdef Py_ssize_t n_calls, n_ranges, parts
    cdef _Team team

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
            if (item.call.x_rows == NULL) != (self.calls[0].x_rows == NULL):
                raise ValueError("both directions must have x_rows, or none of them")
        call = self.calls[0]
        self.team = _Team(self.n_calls * <double>call.n_steps * (call.n_inputs + call.n_units) * 4 * call.n_units,
                          n_threads)
        for i in range(self.n_calls):
            self.calls[i].stop = &self.team.stop
        # The directions run side by side; rows are cut only as far as threads are left for it.
        self.parts = min(-(-self.team.size // self.n_calls), call.n_rows)
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
        return (CAN_MEET and self.team.size > 1 and self.n_calls == 1 and call.n_rows < 2 * self.team.size
                and call.n_rows <= BLOCK_ROWS and step_work >= 32768)

    def __dealloc__(self):
        PyMem_Free(self.ranges)


def forward(list passes, Py_ssize_t n_threads=1):
    """Runs the one or two directions of a layer over their batch."""
    cdef _Plan plan = _Plan(passes, n_threads)
    cdef const kernel_table *table = plan.table
    cdef Py_ssize_t i, d
    cdef int threads = plan.team.size
    cdef meeting place = meeting(0, 0, 0, 0)
    cdef recurrent_call *call = plan.calls[0]
    if call.x_rows != NULL:
        for i in prange(plan.team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
            if not plan.team.stopped():
                for d in range(plan.n_calls):
                    table.input_sums(plan.calls[d], i, plan.team.pieces)
    if plan.shares_units():
        with nogil, parallel(num_threads=threads):
            table.recurrent_forward_shared(plan.calls[0], &place, threadid(), LSTMFAST_TEAM_SIZE)
    elif threads == 1 or plan.n_ranges == 1:  # a helper that has nothing to do would still spin
        with nogil:
            for i in range(plan.n_ranges):
                table.recurrent_forward(plan.ranges[i].call, plan.ranges[i].begin, plan.ranges[i].end)
    else:
        for i in prange(plan.n_ranges, nogil=True, schedule="static", chunksize=1, num_threads=threads):
            table.recurrent_forward(plan.ranges[i].call, plan.ranges[i].begin, plan.ranges[i].end)
    plan.team.finish()


def backward(list passes, Py_ssize_t n_threads=1):
    """Backpropagation through time for the passes of one `forward`, after `set_gradients` on each.

    Within it, threads first own rows (gradients of the gates, then of x), then tiles of the weight gradients: each
    weight gradient is summed by one thread in a fixed order.
    """
    cdef Recurrence item
    for item in passes:
        if item.call.dkernel == NULL:
            raise RuntimeError("set_gradients comes before backward")
    cdef _Plan plan = _Plan(passes, n_threads)
    cdef const kernel_table *table = plan.table
    cdef Py_ssize_t i, part, tasks = table.weight_gradient_tasks(plan.calls[0])
    cdef Py_ssize_t pieces = plan.team.size * plan.n_calls
    cdef Py_ssize_t input_parts = plan.parts if plan.calls[0].dx != NULL else 0
    cdef int threads = plan.team.size
    with nogil, parallel(num_threads=threads):
        for i in prange(plan.n_ranges, schedule="static", chunksize=1):
            table.recurrent_backward(plan.ranges[i].call, plan.ranges[i].begin, plan.ranges[i].end)
        for part in prange(input_parts, schedule="static", chunksize=1):
            _input_gradient(plan, part)
        for i in prange(pieces, schedule="static", chunksize=1):
            _weight_gradient(plan, i, tasks)
    plan.team.finish()


@cython.cdivision(True)
cdef void _weight_gradient(_Plan plan, Py_ssize_t piece, Py_ssize_t tasks) noexcept nogil:
    cdef Py_ssize_t part = piece // plan.n_calls
    plan.table.weight_gradient(plan.calls[piece % plan.n_calls], _share(tasks, part, plan.team.size),
                               _share(tasks, part + 1, plan.team.size))


cdef void _input_gradient(_Plan plan, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t i
    cdef row_range piece
    for i in range(part * plan.n_calls, (part + 1) * plan.n_calls):
        piece = plan.ranges[i]
        if piece.call.dx != NULL:
            plan.table.input_gradient(piece.call, piece.begin, piece.end)
