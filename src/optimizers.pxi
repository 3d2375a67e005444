# ---- optimisers -----------------------------------------------------------------------------------------------------

# Parameters in one go of a sum: sums add up piece by piece, whoever computed them.
cdef Py_ssize_t SUM_PIECE = 1 << 14


cdef optimizer_call _piece(const optimizer_call *call, Py_ssize_t begin, Py_ssize_t end, bint float64) noexcept nogil:
    """The call for parameters [begin, end)."""
    cdef optimizer_call piece = call[0]
    cdef Py_ssize_t offset = begin * (8 if float64 else 4)
    piece.n = end - begin
    piece.n_penalised = max(0, min(call.n_penalised - begin, piece.n))
    piece.parameters = <char *>call.parameters + offset
    piece.gradients = <char *>call.gradients + offset
    piece.first = <char *>call.first + offset
    piece.second = <char *>call.second + offset
    return piece


def penalised_gradient(parameters, gradients, Py_ssize_t n_penalised, double l1, double l2, bint float64,
                       Py_ssize_t n_threads=1):
    """Adds the gradient of l1 |w| + l2 w^2 / 2 over the first n_penalised parameters; returns (squared norm of the
    gradient, value of the penalty)."""
    cdef optimizer_call call
    cdef double norm = 0, penalty = 0
    cdef double *sums
    cdef Py_ssize_t i, n_pieces
    cdef int threads
    cdef _Team team
    cdef const kernel_table *table = _tables[float64]
    call.n, call.n_penalised = len(parameters), n_penalised
    if not 0 <= n_penalised <= call.n:
        raise ValueError(f"n_penalised must be in [0, {call.n}], got {n_penalised}")
    call.parameters = _flat(parameters, "parameters", float64, call.n, False)
    call.gradients = _flat(gradients, "gradients", float64, call.n, True)
    call.first = call.second = call.gradients  # not read
    n_pieces = (call.n + SUM_PIECE - 1) // SUM_PIECE
    sums = <double *>PyMem_Calloc(2 * n_pieces, sizeof(double))
    if sums == NULL:
        raise MemoryError("sums over the parameters")
    team = _Team(call.n * UPDATE_WORK, n_threads)
    threads = team.size
    for i in prange(n_pieces, nogil=True, schedule="static", num_threads=threads):
        _penalise_piece(table, &call, i, l1, l2, float64, sums + 2 * i)
    for i in range(n_pieces):
        norm += sums[2 * i]
        penalty += sums[2 * i + 1]
    PyMem_Free(sums)
    return norm, penalty


cdef void _penalise_piece(const kernel_table *table, const optimizer_call *call, Py_ssize_t i, double l1, double l2,
                          bint float64, double *sums) noexcept nogil:
    cdef optimizer_call piece = _piece(call, i * SUM_PIECE, min((i + 1) * SUM_PIECE, call.n), float64)
    sums[0] = table.penalised_gradient(&piece, l1, l2, sums + 1)


def optimizer_step(str solver, parameters, gradients, first, second, Py_ssize_t n_penalised, bint float64, *,
                   double scale, double learning_rate, double momentum=0, bint nesterov=False, double beta_1=0,
                   double beta_2=0, double epsilon=0, double decay=0, Py_ssize_t step=1, before=None,
                   Py_ssize_t n_threads=1):
    """One step of "sgd", "rmsprop" or "adam" (with decay > 0: AdamW) on the flat parameter array, in place; before, if
    given, is where the parameters go that were there before."""
    cdef optimizer_call call
    cdef Py_ssize_t i
    cdef int threads
    cdef _Team team
    cdef void *kept = NULL
    cdef void (*update)(const optimizer_call *) noexcept nogil
    cdef const kernel_table *table = _tables[float64]
    call.n, call.n_penalised = len(parameters), n_penalised
    if not 0 <= n_penalised <= call.n:
        raise ValueError(f"n_penalised must be in [0, {call.n}], got {n_penalised}")
    call.parameters = _flat(parameters, "parameters", float64, call.n, True)
    call.gradients = _flat(gradients, "gradients", float64, call.n, False)
    call.first = _flat(first, "first", float64, call.n, True)
    call.second = _flat(second, "second", float64, call.n, True)
    call.scale, call.learning_rate, call.momentum, call.nesterov = scale, learning_rate, momentum, nesterov
    call.beta_1, call.beta_2, call.epsilon, call.decay = beta_1, beta_2, epsilon, decay
    call.first_correction, call.second_correction = 1 - beta_1 ** step, 1 - beta_2 ** step
    if solver == "sgd":
        update = table.sgd
    elif solver == "rmsprop":
        update = table.rmsprop
    elif solver == "adam":
        update = table.adam
    else:
        raise ValueError(f"solver must be 'sgd', 'rmsprop' or 'adam', got {solver!r}")
    if before is not None:
        kept = _flat(before, "before", float64, call.n, True)
    team = _Team(call.n * UPDATE_WORK, n_threads)
    threads = team.size
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        _update_part(update, &call, kept, i, threads, float64)


cdef void _update_part(void (*update)(const optimizer_call *) noexcept nogil, const optimizer_call *call, void *kept,
                       Py_ssize_t part, Py_ssize_t parts, bint float64) noexcept nogil:
    # Parts begin at multiples of 64 values, so that vectors hold the same ones whatever the parts.
    cdef Py_ssize_t size = 8 if float64 else 4, lines = (call.n + 63) // 64
    cdef Py_ssize_t begin = _share(lines, part, parts) * 64, end = min(_share(lines, part + 1, parts) * 64, call.n)
    cdef optimizer_call piece = _piece(call, begin, end, float64)
    if kept != NULL:
        memcpy(<char *>kept + begin * size, piece.parameters, (end - begin) * size)
    update(&piece)
