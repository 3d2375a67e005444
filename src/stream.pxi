# ---- streaming: one step at a time, the state kept between calls -----------------------------------------------------

cdef object _aligned_empty, _np


cdef class Stream:
    """n live sequences on one set of weights: `step` advances each by one step.

    Parameters
    ----------
    layers : list of (Cell, packed weights, peephole or None, n_inputs, n_units)
        Unidirectional layers, lowest first; weights from `pack_gates`.
    dense : list of (packed weights, n_inputs, n_outputs)
        Dense layers with relu between them; weights from `pack_columns`.
    pooling : {"last", "mean", "max", "attention"}
        Over the steps so far.
    activation : {None, "softmax", "sigmoid"}
        Of the outputs.
    n : int
        Number of sequences.
    float64 : bool
        Precision.
    n_threads : int
        Used where a step is worth it: for many sequences or many units.
    attention : (packed kernel, packed context, n_units), default=None
        Of pooling "attention".
    """
    cdef readonly Py_ssize_t n, n_features, n_outputs
    cdef Py_ssize_t n_layers, n_dense, n_threads, width
    cdef const kernel_table *table
    cdef bint float64, busy
    cdef int now, multilabel
    cdef bint has_activation, mean, maximum, attends
    cdef recurrent_call *layers
    cdef dense_call *dense
    cdef dense_call scores[2]  # of pooling "attention": the projection and the product with the context
    cdef double work
    cdef object recipe  # the arguments, for copy
    cdef list arrays    # keeps every array alive
    cdef list cells, h_steps, c_steps  # of each layer; c_steps may hold None
    cdef object pooled, running, counts
    cdef void *pooled_data
    cdef void *running_data
    cdef void *features
    cdef int64_t *counts_data

    def __cinit__(self, list layers, list dense, str pooling, activation, Py_ssize_t n, bint float64,
                  Py_ssize_t n_threads=1, attention=None):
        global _aligned_empty, _np
        if _np is None:
            import numpy
            from lstmfast.workspace import aligned_empty
            _np, _aligned_empty = numpy, aligned_empty
        cdef Py_ssize_t i, n_inputs, n_units, n_outputs, size
        cdef Cell cell
        dtype = "float64" if float64 else "float32"
        self.n, self.float64, self.n_threads = _positive(n, "n"), float64, n_threads
        self.table = _tables[float64]
        self.recipe = (layers, dense, pooling, activation, n, float64, n_threads, attention)
        self.mean, self.maximum = pooling == "mean", pooling == "max"
        self.has_activation, self.multilabel = activation is not None, activation == "sigmoid"
        self.arrays, self.cells, self.h_steps, self.c_steps = [], [], [], []
        self.n_layers, self.n_dense = len(layers), len(dense)
        self.layers = <recurrent_call *>PyMem_Calloc(self.n_layers, sizeof(recurrent_call))
        self.dense = <dense_call *>PyMem_Calloc(self.n_dense, sizeof(dense_call))
        if self.layers == NULL or self.dense == NULL or self.n_layers < 1 or self.n_dense < 1:
            raise MemoryError("layers of a stream")
        size = self.n_features = layers[0][3]
        for i, (cell, packed, peephole, n_inputs, n_units) in enumerate(layers):
            if n_inputs != size:
                raise ValueError(f"layer {i} takes {n_inputs} inputs, but the one below gives {size}")
            self._add_layer(self.layers + i, cell, packed, peephole, n_inputs, _positive(n_units, "n_units"), dtype)
            size = n_units
        self.width = size
        pooled, self.counts = _aligned_empty((n * size,), dtype), _np.zeros(n, _np.int64)
        features = _aligned_empty((n * size,), dtype)
        self.arrays += [pooled, features]
        self.features = _flat(features, "features", float64, n * size, True)
        self.pooled, self.pooled_data = pooled.reshape(n, size), _flat(pooled, "pooled", float64, n * size, True)
        cdef int64_t[::1] counts = self.counts
        self.counts_data = &counts[0]
        self.attends = pooling == "attention"
        if self.attends:
            packed, context, n_units = attention
            self._add_dense(&self.scores[0], packed, size, _positive(n_units, "n_units"), dtype)
            self._add_dense(&self.scores[1], context, n_units, 1, dtype)
            self.scores[1].x = self.scores[0].y
            self.running = _aligned_empty((n, 2), dtype)
            self.running_data = _rows(self.running, "running", float64, n, 2, True, NULL)
        for i, (packed, n_inputs, n_outputs) in enumerate(dense):
            if n_inputs != size:
                raise ValueError(f"dense layer {i} takes {n_inputs} inputs, but the one below gives {size}")
            self._add_dense(self.dense + i, packed, n_inputs, _positive(n_outputs, "n_outputs"), dtype)
            size = n_outputs
        self.n_outputs = size
        self.reset()

    cdef int _add_dense(self, dense_call *call, packed, Py_ssize_t n_inputs, Py_ssize_t n_outputs, dtype) except -1:
        cdef bint float64 = self.float64
        z = _aligned_empty((self.n * n_outputs,), dtype)
        self.arrays += [packed, z]
        call.n_rows, call.n_inputs, call.n_outputs, call.x_stride = self.n, n_inputs, n_outputs, n_inputs
        call.weights = _flat(packed, "weights", float64, packed_columns_size(n_inputs, n_outputs, float64), False, True)
        call.y = _flat(z, "z", float64, self.n * n_outputs, True)
        self.work += <double>self.n * n_inputs * n_outputs
        return 0

    cdef int _add_layer(self, recurrent_call *call, Cell cell, packed, peephole, Py_ssize_t n_inputs,
                        Py_ssize_t n_units, dtype) except -1:
        cdef Py_ssize_t n = self.n, lanes = self.table.lanes, padded = -(-n_units // lanes) * lanes, size
        cdef bint float64 = self.float64
        c_steps = None
        h = _aligned_empty((2 * n * n_units,), dtype)
        self.arrays += [packed, peephole, h]
        cell.describe(call)
        call.n_rows, call.n_inputs, call.n_units, call.x_stride, call.h_stride = n, n_inputs, n_units, n_inputs, n_units
        call.weights = _flat(packed, "weights", float64, packed_gates_size(cell, n_inputs, n_units, float64), False,
                             True)
        call.h_steps = _flat(h, "h", float64, 2 * n * n_units, True)
        call.c_steps = call.gated_steps = call.h_steps  # never read or written where a cell has none
        if cell.has_peephole:
            call.peephole = _rows(peephole, "peephole", float64, 3, n_units, False, NULL)
        if cell.second_state:
            size = 2 if cell.reads_c else 1
            c = _aligned_empty((size * n * padded,), dtype)
            call.c_steps = _flat(c, "c", float64, size * n * padded, True)
            self.arrays.append(c)
            c_steps = c.reshape(size, n, padded)
        if cell.two_phases:
            size = n * self.table.gates_size(cell.code, n_units)
            gates, gated = _aligned_empty((size,), dtype), _aligned_empty((n * n_units,), dtype)
            call.gates = _flat(gates, "gates", float64, size, True)
            call.gated_steps = _flat(gated, "gated", float64, n * n_units, True)
            self.arrays += [gates, gated]
        self.cells.append(cell)
        self.h_steps.append(h.reshape(2, n, n_units))
        self.c_steps.append(c_steps)
        self.work += <double>n * (n_inputs + n_units) * 4 * n_units
        return 0

    def __dealloc__(self):
        PyMem_Free(self.layers)
        PyMem_Free(self.dense)

    def __reduce__(self):
        raise TypeError("a stream cannot be pickled: keep its model and its state")

    def step(self, x, out=None):
        """Advance every sequence by one step.

        Parameters
        ----------
        x : ndarray of shape (n_features,) for one sequence, or (n, n_features)
            The step of each sequence. Nothing is allocated if it is C-contiguous and of the stream's dtype.
        out : ndarray, default=None
            Where to put the output: C-contiguous, of the stream's dtype.

        Returns
        -------
        y : ndarray of shape (n_outputs,) or (n, n_outputs), like x
            Output after this step: probabilities of a classifier, values of a regressor.

        Raises
        ------
        ValueError, TypeError
            If x or out has another shape or type, or x is not finite. The state is then as it was.
        NotFiniteError
            (A ValueError.) If an output is not finite. The step has been taken, and the outputs are in `out`: `reset`
            the sequences whose outputs are not finite.
        """
        cdef Py_buffer source, target
        cdef bint one
        cdef _Team team
        if _acquire(x, &source, self.float64, self.n, self.n_features, False) < 0:
            x = self._convert(x)
            if _acquire(x, &source, self.float64, self.n, self.n_features, False) < 0:
                raise TypeError("x must be an array")
        try:
            one = source.ndim == 1
            if not _finite(source.buf, self.n * self.n_features, self.float64):
                raise ValueError("x contains NaN or infinity; the state is as it was")
            if out is None:
                out = _np.empty(self._output_shape(one), self.dtype)
            if _acquire(out, &target, self.float64, self.n, self.n_outputs, True) < 0 or (
                target.ndim != source.ndim
            ):
                raise ValueError(f"out must be a C-contiguous writable {self.dtype} array of shape "
                                 f"{self._output_shape(one)}")
            try:
                if self.busy:
                    raise RuntimeError("this stream is taking a step in another thread; give each thread its own")
                if self.work < PARALLEL_WORK:  # not worth giving the GIL away, which also keeps other threads out
                    self._advance(source.buf, target.buf, 1)
                else:
                    team = _Team(self.work, self.n_threads)
                    self.busy = True
                    with nogil:
                        self._advance(source.buf, target.buf, team.size)
                    self.busy = False
                if not _finite(target.buf, self.n * self.n_outputs, self.float64):
                    from lstmfast.outputs import check_outputs
                    with _np.errstate(all="ignore"):
                        check_outputs(_np.atleast_2d(out))
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)
        return out

    cdef void _advance(self, const void *x, void *y, Py_ssize_t n_threads) noexcept nogil:
        cdef Py_ssize_t i, part
        cdef recurrent_call *layer
        cdef int now = self.now
        for i in range(self.n_layers):
            layer = self.layers + i
            layer.x = x
            if n_threads == 1:
                self.table.recurrent_step(layer, now, 0, self.n, 0, 1)
            else:
                for part in prange(n_threads, schedule="static", chunksize=1, num_threads=<int>n_threads):
                    self._share_step(layer, now, part, n_threads)
            x = _half(layer, 1 - now, self.float64)
        self.now = 1 - now
        for i in range(self.n):
            self.counts_data[i] += 1
        if self.mean or self.maximum:
            if self.float64:
                _pool_step(<const double *>x, <double *>self.pooled_data, <double *>self.features, self.counts_data,
                           self.n, self.width, self.maximum)
            else:
                _pool_step(<const float *>x, <float *>self.pooled_data, <float *>self.features, self.counts_data,
                           self.n, self.width, self.maximum)
            x = self.features
        elif self.attends:
            self._attend(x)
            x = self.features
        for i in range(self.n_dense):
            self.dense[i].x = x
            if i == self.n_dense - 1:
                self.dense[i].y = y
            self.table.dense_forward(self.dense + i, 0, self.n)
            x = self.dense[i].y
            if i < self.n_dense - 1:
                _relu(self.dense[i].y, self.n * self.dense[i].n_outputs, self.float64)
        if self.has_activation:
            self.table.output_probabilities(self.multilabel, y, y, self.n, self.n_outputs)

    cdef void _attend(self, const void *h) noexcept nogil:
        """Takes one more step into the attention's weighted mean."""
        self.scores[0].x = h
        self.table.dense_forward(&self.scores[0], 0, self.n)
        self.table.evaluate(ACTIVATION_TANH, self.scores[0].y, self.scores[0].y, self.n * self.scores[0].n_outputs)
        self.table.dense_forward(&self.scores[1], 0, self.n)
        if self.float64:
            _attend_step(<const double *>h, <const double *>self.scores[1].y, <double *>self.running_data,
                         <double *>self.pooled_data, <double *>self.features, self.n, self.width)
        else:
            _attend_step(<const float *>h, <const float *>self.scores[1].y, <float *>self.running_data,
                         <float *>self.pooled_data, <float *>self.features, self.n, self.width)

    @cython.cdivision(True)
    cdef void _share_step(self, const recurrent_call *layer, int now, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
        """One thread's part of a step: rows where they fill tiles on every thread, else units."""
        cdef bint by_rows = self.n >= parts * self.table.tile_rows or layer.gates != NULL
        if by_rows:
            self.table.recurrent_step(layer, now, _share(self.n, part, parts), _share(self.n, part + 1, parts), 0, 1)
        else:
            self.table.recurrent_step(layer, now, 0, self.n, part, parts)

    cdef tuple _output_shape(self, bint one):
        if one:
            return (self.n_outputs,)
        return (self.n, self.n_outputs)

    def _convert(self, x):
        """x as the kernels read it, or an error that says what it should be."""
        from lstmfast.sequences import as_numbers, to_contiguous

        x = as_numbers(x, "x")
        if x.shape != (self.n, self.n_features) and (self.n > 1 or x.shape != (self.n_features,)):
            one = f"({self.n_features},) or " if self.n == 1 else ""
            raise ValueError(f"x must have shape {one}({self.n}, {self.n_features}), got {x.shape}")
        return to_contiguous(x, _np.dtype("float64" if self.float64 else "float32"))

    @property
    def dtype(self):
        """Type of x and of the outputs."""
        return _np.dtype("float64" if self.float64 else "float32")

    @property
    def state(self):
        """A copy of the state, as a dict of arrays; assign it to come back to it.

        "h" and "c": lists with an array (n, units) for each layer, None for c where the cell has none; "pooled": sum or
        maximum of the top layer's outputs (n, units); "n_steps": steps since the start, int64 (n,). With pooling
        "attention" also "attention" (n, 2): the largest score, and the sum of the weights measured from it.
        """
        state = {
            "h": [h[self.now].copy() for h in self.h_steps],
            "c": [self._c(i).copy() if (<Cell>self.cells[i]).has_c else None for i in range(self.n_layers)],
            "pooled": self.pooled.copy(),
            "n_steps": self.counts.copy(),
        }
        return state | {"attention": self.running.copy()} if self.attends else state

    @state.setter
    def state(self, state):
        from lstmfast.sequences import as_numbers, check_finite, to_contiguous

        def checked(value, name, shape):
            value = as_numbers(value, name)
            if value.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
            value = to_contiguous(value, self.dtype)
            check_finite(value, name)
            return value

        keys = ["h", "c", "pooled", "n_steps"] + ["attention"] * self.attends
        if not isinstance(state, dict) or set(state) != set(keys):
            raise ValueError(f"state must be a dict with the keys {', '.join(keys)}, as `state` gives it")
        if len(state["h"]) != self.n_layers or len(state["c"]) != self.n_layers:
            raise ValueError(f"state must hold h and c of {self.n_layers} layers")
        shapes = [(self.n, self.layers[i].n_units) for i in range(self.n_layers)]
        h = [checked(value, f"h[{i}]", shapes[i]) for i, value in enumerate(state["h"])]
        c = list(h)  # which is what a GRU keeps there
        for i, value in enumerate(state["c"]):
            if (<Cell>self.cells[i]).has_c:
                c[i] = checked(value, f"c[{i}]", shapes[i])
            elif value is not None:
                raise ValueError(f"c[{i}] must be None: layer {i} has no c")
        pooled = checked(state["pooled"], "pooled", (self.n, self.width))
        counts = _np.asarray(state["n_steps"])
        if counts.shape != (self.n,) or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ValueError(f"n_steps must be {self.n} integers, not negative, got {state['n_steps']}")
        if self.attends:
            running = checked(state["attention"], "attention", (self.n, 2))
            if (running[:, 1] < 0).any():
                raise ValueError(f"attention must not hold negative sums of weights, got {running[:, 1].min()}")
        self._must_be_idle()
        if self.attends:
            self.running[...] = running
        for i in range(self.n_layers):
            self.h_steps[i][self.now] = h[i]
            if self.c_steps[i] is not None:
                self._c(i)[...] = c[i]
        self.pooled[...] = pooled
        self.counts[...] = counts

    cdef object _c(self, Py_ssize_t i):
        """A view of layer i's c (n, units)."""
        c = self.c_steps[i]
        return c[self.now if len(c) == 2 else 0, :, : self.layers[i].n_units]

    def reset(self, rows=None):
        """Start sequences anew.

        Parameters
        ----------
        rows : int, slice or array of int or bool, default=None
            Which of the n sequences. None: all.
        """
        self._must_be_idle()
        rows = slice(None) if rows is None else rows
        self.counts[rows] = 0  # first: an IndexError of a wrong row comes before anything else changes
        for h, c in zip(self.h_steps, self.c_steps):
            h[:, rows] = 0
            if c is not None:
                c[:, rows] = 0
        self.pooled[rows] = 0
        if self.attends:
            self.running[rows] = 0

    def copy(self):
        """An independent stream on the same weights, in the same state."""
        twin = Stream(*self.recipe)
        twin.state = self.state
        return twin

    cdef int _must_be_idle(self) except -1:
        if self.busy:
            raise RuntimeError("this stream is taking a step in another thread; give each thread its own")
        return 0


cdef int _acquire(object array, Py_buffer *view, bint float64, Py_ssize_t n_rows, Py_ssize_t n_columns,
                  bint writable) except -2:
    """A buffer of (n_rows, n_columns), or of (n_columns,) for one row, as the kernels read it; -1 if it is none."""
    cdef Py_ssize_t size = 8 if float64 else 4
    if not PyObject_CheckBuffer(array):
        return -1
    try:
        PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_ND | (PyBUF_WRITABLE if writable else 0))
    except (BufferError, ValueError):  # not contiguous, read-only, or of a type that has no buffer
        return -1
    if (
        _holds(view, c"d" if float64 else c"f") and <Py_ssize_t>view.buf % size == 0
        and ((view.ndim == 2 and view.shape[0] == n_rows and view.shape[1] == n_columns)
             or (view.ndim == 1 and n_rows == 1 and view.shape[0] == n_columns))
    ):
        return 0
    PyBuffer_Release(view)
    return -1


cdef bint _finite(const void *values, Py_ssize_t n, bint float64) noexcept nogil:
    # x - x is 0 unless x is NaN or infinite; sums of zeros and NaN need no branch.
    cdef Py_ssize_t i
    cdef double total = 0
    if float64:
        for i in range(n):
            total += (<const double *>values)[i] - (<const double *>values)[i]
    else:
        for i in range(n):
            total += (<const float *>values)[i] - (<const float *>values)[i]
    return total == 0


cdef const void *_half(const recurrent_call *layer, int half, bint float64) noexcept nogil:
    return <const char *>layer.h_steps + half * layer.n_rows * layer.n_units * (8 if float64 else 4)


cdef void _relu(void *values, Py_ssize_t n, bint float64) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if float64:
            (<double *>values)[i] = 0 if (<double *>values)[i] < 0 else (<double *>values)[i]
        else:
            (<float *>values)[i] = 0 if (<float *>values)[i] < 0 else (<float *>values)[i]


cdef void _pool_step(const cython.floating *h, cython.floating *pooled, cython.floating *features,
                     const int64_t *counts, Py_ssize_t n, Py_ssize_t width, bint maximum) noexcept nogil:
    """Takes one more step into the sum or maximum, in the order and with the roundings of pool_mean and pool_max."""
    cdef Py_ssize_t r, j
    for r in range(n):
        for j in range(r * width, (r + 1) * width):
            if not maximum:
                pooled[j] += h[j]
                features[j] = pooled[j] / <cython.floating>counts[r]
            else:
                if counts[r] == 1 or not h[j] <= pooled[j]:
                    pooled[j] = h[j]
                features[j] = pooled[j]


cdef void _attend_step(const cython.floating *h, const cython.floating *scores, cython.floating *running,
                       cython.floating *pooled, cython.floating *features, Py_ssize_t n,
                       Py_ssize_t width) noexcept nogil:
    """Takes one more step into the attention's mean, as pool_attention does."""
    cdef Py_ssize_t r
    for r in range(n):
        _attend(h + r * width, scores[r], running + 2 * r, pooled + r * width, width)
        _divide(pooled + r * width, running[2 * r + 1], features + r * width, width)
