# ---- conditional random field: labels of each step, y (S,) and z (S, K) one sequence after the other -----------------
#
#   score(y | z) = start[y_1] + sum_t z[t, y_t] + sum_t transitions[y_(t-1), y_t] + end[y_T]
#
# The scaled recursion works with probabilities, so that a step costs K^2 multiply-adds and K exponentials (Rabiner
# 1989, section V.A, with the emissions scaled too). All sequences run step by step together, on the dense kernels,
# whose rows do not depend on each other. With E = exp(transitions - their maximum), p[t] = exp(z[t] - its maximum)
# (start and end added to the first and last z), u[1] = 1 and v[T] = 1:
#
#   u[t] = a[t-1] E      a[t] = u[t] p[t] / c[t]     c[t] = sum u[t] p[t]
#   v[t] = E b[t+1]      b[t] = v[t] p[t] / d[t]     d[t] = sum v[t] p[t]
#
#   P(y_t = j) = a[t, j] v[t, j] / s[t]    P(y_t = i, y_(t+1) = j) = a[t, i] E[i, j] b[t+1, j] / s[t]
#                                                                                      s[t] = sum a[t] v[t]
#
# Nothing in it exceeds 1, sums aside. What is lost is what the exponential cannot hold: p is wrong by at most `floor`,
# hence a by floor / c and the next u by K floor / c. Where that may be more than a rounding error of the smallest u,
# the sequence is marked as unsafe, and the caller computes it anew: in double precision, and where that does not do
# either in log space. Where it is not, the wrong label sequences have no mass to speak of, and the way back needs no
# check: it sums the same ones, and s[t] = sum u[t+1] b[t+1] is at least the smallest u.

from libc.float cimport DBL_MIN, FLT_MIN
from libc.stdlib cimport calloc, free, malloc

cdef struct crf_call:
    const kernel_table *table
    Py_ssize_t n_labels
    const int64_t *lengths
    const int64_t *first
    const int64_t *step_base
    const void *forward
    const void *backward
    double largest_transition, limit
    double *log_partition
    unsigned char *unsafe
    interruption *stop


cdef inline cython.floating _largest(const cython.floating *x, Py_ssize_t n) noexcept nogil:
    """In lanes: a compiler must not reorder a maximum by itself, NaN being what it is."""
    cdef cython.floating lane[8]
    cdef Py_ssize_t j = 0, k
    for k in range(8):
        lane[k] = x[0]
    while j + 8 <= n:
        for k in range(8):
            lane[k] = x[j + k] if x[j + k] > lane[k] else lane[k]
        j += 8
    while j < n:
        lane[0] = x[j] if x[j] > lane[0] else lane[0]
        j += 1
    for k in range(1, 8):
        lane[0] = lane[k] if lane[k] > lane[0] else lane[0]
    return lane[0]


cdef inline cython.floating _smallest(const cython.floating *x, Py_ssize_t n) noexcept nogil:
    cdef cython.floating lane[8]
    cdef Py_ssize_t j = 0, k
    for k in range(8):
        lane[k] = x[0]
    while j + 8 <= n:
        for k in range(8):
            lane[k] = x[j + k] if x[j + k] < lane[k] else lane[k]
        j += 8
    while j < n:
        lane[0] = x[j] if x[j] < lane[0] else lane[0]
        j += 1
    for k in range(1, 8):
        lane[0] = lane[k] if lane[k] < lane[0] else lane[0]
    return lane[0]


cdef inline cython.floating _total(const cython.floating *x, Py_ssize_t n) noexcept nogil:
    cdef cython.floating lane[8]
    cdef Py_ssize_t j = 0, k
    for k in range(8):
        lane[k] = 0
    while j + 8 <= n:
        for k in range(8):
            lane[k] += x[j + k]
        j += 8
    while j < n:
        lane[0] += x[j]
        j += 1
    for k in range(1, 8):
        lane[0] += lane[k]
    return lane[0]


cdef inline double _step_work(Py_ssize_t n_labels) noexcept nogil:
    """Multiply-adds that a step takes as long as."""
    return <double>n_labels * (n_labels + EXPONENTIAL_WORK)


cdef inline double _end_score(const cython.floating *z, const cython.floating *start, const cython.floating *end,
                              Py_ssize_t j, bint is_first, bint is_last) noexcept nogil:
    return <double>z[j] + (start[j] if is_first else 0) + (end[j] if is_last else 0)


@cython.cdivision(True)
cdef void _crf_forward(const crf_call *call, const cython.floating *z, const cython.floating *start,
                       const cython.floating *end, cython.floating *p, cython.floating *a, cython.floating *c,
                       cython.floating *u, Py_ssize_t row_begin, Py_ssize_t row_end) noexcept nogil:
    """p, a (time after time), c and log_partition of some sequences. u: scratch (n_rows, K)."""
    cdef Py_ssize_t n = call.n_labels, t, r, j, active, slot
    cdef cython.floating total
    cdef cython.floating *p_row
    cdef cython.floating *a_row
    cdef cython.floating *u_row
    cdef const cython.floating *z_row
    cdef double shift, value
    cdef dense_call product
    product.n_rows, product.n_inputs, product.n_outputs = row_end, n, n
    product.weights, product.y, product.x_stride = call.forward, u, n
    for r in range(row_begin, row_end):
        call.log_partition[r] = <double>(call.lengths[r] - 1) * call.largest_transition
        call.unsafe[r] = False
    for t in range(call.lengths[row_begin]):
        active = min(row_end, call.step_base[t + 1] - call.step_base[t])
        if stopped(call.stop, (active - row_begin) * _step_work(n)):
            return
        if t > 0:
            product.x = a + call.step_base[t - 1] * n
            call.table.dense_forward(&product, row_begin, active)
        for r in range(row_begin, active):
            slot = call.step_base[t] + r
            z_row, p_row, a_row, u_row = z + (call.first[r] + t) * n, p + slot * n, a + slot * n, u + r * n
            if t == 0 or t == call.lengths[r] - 1:
                # In double precision: the loss is a small difference of such sums.
                shift = -INFINITY
                for j in range(n):
                    value = _end_score(z_row, start, end, j, t == 0, t == call.lengths[r] - 1)
                    shift = shift if shift > value else value
                for j in range(n):
                    value = _end_score(z_row, start, end, j, t == 0, t == call.lengths[r] - 1)
                    p_row[j] = <cython.floating>(value - shift)
                call.table.shifted_exp(p_row, 0, p_row, n)
            else:
                shift = _largest(z_row, n)
                call.table.shifted_exp(z_row, shift, p_row, n)
            # The largest is 1 now.
            if t == 0:
                for j in range(n):
                    a_row[j] = p_row[j]
            else:
                for j in range(n):
                    a_row[j] = u_row[j] * p_row[j]
            total = _total(a_row, n)
            for j in range(n):
                a_row[j] /= total
            c[slot] = total
            if t > 0 and not (_smallest(u_row, n) * <double>c[call.step_base[t - 1] + r] >= call.limit
                              and total >= call.limit):
                call.unsafe[r] = True
            call.log_partition[r] += shift + log(<double>total)


@cython.cdivision(True)
cdef void _crf_backward(const crf_call *call, const cython.floating *weights, const cython.floating *p,
                        const cython.floating *a, cython.floating *v, cython.floating *b, cython.floating *x,
                        cython.floating *dy, cython.floating *marginals, Py_ssize_t row_begin,
                        Py_ssize_t row_end) noexcept nogil:
    """Marginals of some sequences. v, b: scratch (n_rows, K). Unless x is NULL, weight a[t-1] / s[t-1] and b[t] of each
    step but the first go to x and dy, both (S, K)."""
    cdef Py_ssize_t n = call.n_labels, t, r, j, active, slot
    cdef bint is_last
    cdef cython.floating s, factor
    cdef cython.floating *b_row
    cdef cython.floating *v_row
    cdef cython.floating *x_row
    cdef cython.floating *out
    cdef const cython.floating *p_row
    cdef const cython.floating *a_row
    cdef dense_call product
    product.n_rows, product.n_inputs, product.n_outputs = row_end, n, n
    product.weights, product.x, product.y, product.x_stride = call.backward, b, v, n
    for t in range(call.lengths[row_begin] - 1, -1, -1):
        active = min(row_end, call.step_base[t + 1] - call.step_base[t])
        if stopped(call.stop, (active - row_begin) * _step_work(n)):
            return
        for r in range(row_begin, active):
            slot, is_last = call.step_base[t] + r, t == call.lengths[r] - 1
            p_row, a_row, b_row, v_row = p + slot * n, a + slot * n, b + r * n, v + r * n
            out = marginals + (call.first[r] + t) * n
            if is_last:
                for j in range(n):
                    v_row[j] = 1
            for j in range(n):
                out[j] = a_row[j] * v_row[j]
            s = _total(out, n)
            for j in range(n):
                out[j] /= s
            if x != NULL and not is_last:  # beside b[t + 1]
                x_row, factor = x + (call.step_base[t + 1] + r) * n, weights[r] / s
                for j in range(n):
                    x_row[j] = a_row[j] * factor
            if t == 0:
                continue
            for j in range(n):
                b_row[j] = v_row[j] * p_row[j]
            factor = _total(b_row, n)
            for j in range(n):
                b_row[j] /= factor
            if x != NULL:
                for j in range(n):
                    dy[slot * n + j] = b_row[j]
        if t > 0:
            call.table.dense_forward(&product, row_begin, active)
    for r in range(row_begin, row_end):
        if x != NULL and call.unsafe[r]:
            for t in range(1, call.lengths[r]):
                slot = call.step_base[t] + r
                for j in range(n):
                    x[slot * n + j] = dy[slot * n + j] = 0


cdef Py_ssize_t _check_crf(Batch batch, const Py_ssize_t *z, const Py_ssize_t *transitions, Py_ssize_t n_start,
                           Py_ssize_t n_end) except -1:
    """The number of labels, where all shapes agree."""
    cdef Py_ssize_t n = _positive(transitions[0], "the number of labels")
    if transitions[1] != n:
        raise ValueError(f"transitions must be square, got ({n}, {transitions[1]})")
    if z[0] != batch.n_steps or z[1] != n:
        raise ValueError(f"z must have shape ({batch.n_steps}, {n}), got ({z[0]}, {z[1]})")
    if n_start != n or n_end != n:
        raise ValueError(f"start and end must have shape ({n},), got ({n_start},) and ({n_end},)")
    return n


cdef int _check_rows(Batch batch, Py_ssize_t n, str name) except -1:
    if n != batch.n_rows:
        raise ValueError(f"{name} must have shape ({batch.n_rows},), got ({n},)")
    return 0


cdef int _check_labels(Batch batch, const int64_t[::1] labels, Py_ssize_t n) except -1:
    cdef Py_ssize_t s
    if labels.shape[0] != batch.n_steps:
        raise ValueError(f"labels must have shape ({batch.n_steps},), got ({labels.shape[0]},)")
    for s in range(batch.n_steps):
        if not 0 <= labels[s] < n:
            raise ValueError(f"labels[{s}] is {labels[s]}, which is no label in [0, {n})")
    return 0


@cython.cdivision(True)
def crf_scaled(Batch batch not None, const cython.floating[:, ::1] z not None,
               const cython.floating[:, ::1] transitions not None, const cython.floating[::1] start not None,
               const cython.floating[::1] end not None, double[::1] log_partition not None,
               unsigned char[::1] unsafe not None, cython.floating[:, ::1] marginals=None,
               const cython.floating[::1] weights=None, cython.floating[:, ::1] dtransitions=None,
               Py_ssize_t n_threads=1):
    """log_partition (N,) of each sequence; marginals (S, K), P(y_t = j); adds to dtransitions (K, K) the sum over
    sequences of weight * expected number of each transition.

    unsafe (N,) becomes 1 where the scores span too much: log_partition and marginals of that sequence are then to be
    overwritten, and dtransitions has nothing of it.
    """
    cdef Py_ssize_t n = _check_crf(batch, z.shape, transitions.shape, start.shape[0], end.shape[0])
    cdef bint float64 = cython.floating is double, backward = marginals is not None, gradient = dtransitions is not None
    cdef const kernel_table *table = _tables[float64]
    cdef crf_call call
    cdef dense_call outer
    cdef Py_ssize_t steps = batch.n_steps, rows = batch.n_rows, packed, size, i, j
    cdef _Team team = _Team(steps * _step_work(n), n_threads)
    cdef int threads = team.size
    cdef Py_ssize_t pieces = min(threads, rows)
    cdef cython.floating *memory
    cdef cython.floating *p
    cdef cython.floating *a
    cdef cython.floating *c
    cdef cython.floating *u
    cdef cython.floating *b
    cdef cython.floating *x = NULL
    cdef cython.floating *dy = NULL
    cdef cython.floating *e
    cdef cython.floating *sums
    cdef const cython.floating *z_data = &z[0, 0]
    cdef const cython.floating *start_data = &start[0]
    cdef const cython.floating *end_data = &end[0]
    cdef const cython.floating *weights_data = NULL
    cdef cython.floating *marginals_data = NULL
    cdef int64_t *bounds
    _check_rows(batch, log_partition.shape[0], "log_partition")
    _check_rows(batch, unsafe.shape[0], "unsafe")
    if backward:
        if marginals.shape[0] != steps or marginals.shape[1] != n:
            raise ValueError(f"marginals must have shape ({steps}, {n})")
        marginals_data = &marginals[0, 0]
    if gradient:
        if not backward or weights is None:
            raise ValueError("dtransitions needs marginals and weights")
        if dtransitions.shape[0] != n or dtransitions.shape[1] != n:
            raise ValueError(f"dtransitions must have shape ({n}, {n})")
        _check_rows(batch, weights.shape[0], "weights")
        weights_data = &weights[0]
    packed = table.packed_columns_size(n, n)
    size = 2 * steps * n + steps + 2 * rows * n + n * n + 2 * packed
    if gradient:
        size += 2 * steps * n + n * (n + 1)
    memory = <cython.floating *>malloc(size * sizeof(cython.floating))
    bounds = <int64_t *>malloc((pieces + 1) * sizeof(int64_t))
    if memory == NULL or bounds == NULL:
        free(memory)
        free(bounds)
        raise MemoryError(f"a conditional random field over {steps} steps and {n} labels")
    p = memory
    a = p + steps * n
    c = a + steps * n
    u = c + steps
    b = u + rows * n
    e = b + rows * n
    call.forward, call.backward = e + n * n, e + n * n + packed
    sums = e + n * n + 2 * packed
    if gradient:
        x = sums + n * (n + 1)
        dy = x + steps * n
    call.table, call.n_labels, call.stop = table, n, &team.stop
    call.lengths, call.first, call.step_base = &batch._lengths[0], batch._first, batch._step_base
    call.log_partition, call.unsafe = &log_partition[0], &unsafe[0]
    # The exponential of simd.h stays where it is at -EXP_LIMIT; next to 2^-24 or 2^-53 these are K floor / limit.
    call.limit = n * (1e-304 / 1e-17 if float64 else 2e-35 / 1e-8)
    # Piece i has the sequences from bounds[i] on: about as many steps each.
    i = 0
    for j in range(pieces):
        while i < rows and batch._first[i] < _share(steps, j, pieces):
            i += 1
        bounds[j] = i
    bounds[pieces] = rows
    with nogil:
        call.largest_transition = _largest(&transitions[0, 0], n * n)
        for i in range(n):
            for j in range(n):
                if cython.floating is double:
                    e[i * n + j] = exp(transitions[i, j] - call.largest_transition)
                    e[i * n + j] = e[i * n + j] if e[i * n + j] >= DBL_MIN else 0
                else:
                    e[i * n + j] = expf(transitions[i, j] - <float>call.largest_transition)
                    e[i * n + j] = e[i * n + j] if e[i * n + j] >= FLT_MIN else 0
        table.pack_columns(e, n, 1, NULL, n, n, <void *>call.forward)
        if backward:
            table.pack_columns(e, 1, n, NULL, n, n, <void *>call.backward)
    for i in prange(pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        if bounds[i] < bounds[i + 1]:
            _crf_forward(&call, z_data, start_data, end_data, p, a, c, u, bounds[i], bounds[i + 1])
            if marginals_data != NULL:
                _crf_backward(&call, weights_data, p, a, u, b, x, dy, marginals_data, bounds[i], bounds[i + 1])
    if gradient and steps > rows:
        outer.n_rows, outer.n_inputs, outer.n_outputs = steps - rows, n, n
        outer.x, outer.x_stride, outer.dy, outer.dy_stride = x + rows * n, n, dy + rows * n, n
        outer.dweight, outer.dbias = sums, sums + n * n
        for i in range(n * (n + 1)):
            sums[i] = 0
        for i in prange(team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
            if not team.stopped():
                table.dense_weight_gradient(&outer, table.dense_weight_gradient_task(&outer, i, team.pieces),
                                            table.dense_weight_gradient_task(&outer, i + 1, team.pieces))
        for i in range(n):
            for j in range(n):
                dtransitions[i, j] += sums[i * n + j] * e[i * n + j]
    free(memory)
    free(bounds)
    team.finish()


cdef double _log_sum_exp(const double *x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef double largest = _largest(x, n), total = 0
    for j in range(n):
        total += exp(x[j] - largest)
    return largest + log(total)


def crf_log_space(Batch batch not None, const double[:, ::1] z not None, const double[:, ::1] transitions not None,
                  const double[::1] start not None, const double[::1] end not None,
                  double[::1] log_partition not None, double[:, ::1] marginals not None,
                  const double[::1] weights not None, double[:, ::1] dtransitions not None):
    """What `crf_scaled` computes, for scores of any size: K^2 exponentials a step.

    alpha[t, j]: log of the sum over all labellings up to step t that end in j, less a shift; beta[t, i]: over those
    from step t + 1 on, after i.
    """
    cdef Py_ssize_t n = _check_crf(batch, z.shape, transitions.shape, start.shape[0], end.shape[0]), r, t, i, j, s, last
    cdef double shift, factor
    cdef double *alpha
    cdef double *beta
    cdef double *best
    cdef double *total
    cdef double *ahead
    cdef double *now = NULL
    cdef double step_work = EXPONENTIAL_WORK * <double>n * n
    cdef _Team team = _Team(2 * batch.n_steps * step_work, 1)
    _check_rows(batch, log_partition.shape[0], "log_partition")
    _check_rows(batch, weights.shape[0], "weights")
    if marginals.shape[0] != batch.n_steps or marginals.shape[1] != n:
        raise ValueError(f"marginals must have shape ({batch.n_steps}, {n})")
    if dtransitions.shape[0] != n or dtransitions.shape[1] != n:
        raise ValueError(f"dtransitions must have shape ({n}, {n})")
    alpha = <double *>calloc((batch.max_length + 4) * n, sizeof(double))
    if alpha == NULL:
        raise MemoryError(f"a conditional random field over {batch.max_length} steps and {n} labels")
    best = alpha + batch.max_length * n
    total, beta, ahead = best + n, best + 2 * n, best + 3 * n
    with nogil:
        for r in range(batch.n_rows):
            last = batch._lengths[r] - 1
            log_partition[r] = 0
            for t in range(last + 1):
                s, now = batch._first[r] + t, alpha + t * n
                if stopped(&team.stop, step_work):
                    break
                for j in range(n):
                    now[j] = z[s, j]
                if t == 0:
                    for j in range(n):
                        now[j] += start[j]
                if t == last:
                    for j in range(n):
                        now[j] += end[j]
                if t > 0:
                    for j in range(n):
                        best[j], total[j] = -INFINITY, 0
                    for i in range(n):
                        for j in range(n):
                            shift = (now - n)[i] + transitions[i, j]
                            best[j] = shift if shift > best[j] else best[j]
                    for i in range(n):
                        for j in range(n):
                            total[j] += exp((now - n)[i] + transitions[i, j] - best[j])
                    for j in range(n):
                        now[j] += best[j] + log(total[j])
                shift = _largest(now, n)  # what is left grows with the scores, not with the length
                log_partition[r] += shift
                for j in range(n):
                    now[j] -= shift
            log_partition[r] += _log_sum_exp(now, n)
            for j in range(n):
                beta[j] = 0
            for t in range(last, -1, -1):
                s, now = batch._first[r] + t, alpha + t * n
                if stopped(&team.stop, step_work):
                    break
                if t < last:
                    # ahead: of step t + 1, z + beta; beta still its own
                    for j in range(n):
                        ahead[j] = z[s + 1, j] + beta[j] + (end[j] if t + 1 == last else 0)
                    shift = _largest(ahead, n)
                    for j in range(n):
                        ahead[j] -= shift
                    for i in range(n):
                        for j in range(n):
                            best[j] = transitions[i, j] + ahead[j]
                        beta[i] = _log_sum_exp(best, n)
                for j in range(n):
                    best[j] = now[j] + beta[j]
                shift = _log_sum_exp(best, n)
                for i in range(n):
                    marginals[s, i] = exp(best[i] - shift)
                    factor = weights[r] * marginals[s, i]
                    if t < last and factor != 0:
                        for j in range(n):
                            dtransitions[i, j] += factor * exp(transitions[i, j] + ahead[j] - beta[i])
    free(alpha)
    team.finish()


def crf_scores(Batch batch not None, const cython.floating[:, ::1] z not None,
               const cython.floating[:, ::1] transitions not None, const cython.floating[::1] start not None,
               const cython.floating[::1] end not None, const int64_t[::1] labels not None,
               double[::1] scores not None):
    """scores (N,) of the labels (S,) of each sequence."""
    cdef Py_ssize_t n = _check_crf(batch, z.shape, transitions.shape, start.shape[0], end.shape[0]), r, s
    cdef double score
    _check_rows(batch, scores.shape[0], "scores")
    _check_labels(batch, labels, n)
    with nogil:
        for r in range(batch.n_rows):
            s = batch._first[r]
            score = <double>start[labels[s]] + z[s, labels[s]]
            for s in range(batch._first[r] + 1, batch._first[r] + batch._lengths[r]):
                score += <double>transitions[labels[s - 1], labels[s]] + z[s, labels[s]]
            scores[r] = score + end[labels[batch._first[r] + batch._lengths[r] - 1]]


def crf_gradient(Batch batch not None, const int64_t[::1] labels not None, const cython.floating[::1] weights not None,
                 cython.floating[:, ::1] dz not None, cython.floating[:, ::1] dtransitions not None,
                 cython.floating[::1] dstart not None, cython.floating[::1] dend not None):
    """Marginals in dz (S, K) become weight * (marginal - [j = label]); the first and the last step's are added to
    dstart and dend, and the weight of each transition in the labels is taken off dtransitions."""
    cdef Py_ssize_t n = _check_crf(batch, dz.shape, dtransitions.shape, dstart.shape[0], dend.shape[0]), r, s, j, last
    _check_rows(batch, weights.shape[0], "weights")
    _check_labels(batch, labels, n)
    with nogil:
        for r in range(batch.n_rows):
            last = batch._first[r] + batch._lengths[r] - 1
            for s in range(batch._first[r], last + 1):
                dz[s, labels[s]] -= 1
                for j in range(n):
                    dz[s, j] *= weights[r]
                if s > batch._first[r]:
                    dtransitions[labels[s - 1], labels[s]] -= weights[r]
            for j in range(n):
                dstart[j] += dz[batch._first[r], j]
                dend[j] += dz[last, j]


cdef void _viterbi(const cython.floating *z, const cython.floating *transitions, const cython.floating *start,
                   const cython.floating *end, Py_ssize_t length, Py_ssize_t n, cython.floating *values,
                   int64_t *labels, interruption *stop) noexcept nogil:
    """Best labels of one sequence. values (length, n): score of the best labelling up to a step that ends in j, less
    the best j's. Which label came before is found again on the way back, for one label a step."""
    cdef Py_ssize_t t, i, j, best
    cdef cython.floating largest, value, a0, a1, a2, a3
    cdef cython.floating *now = values
    cdef cython.floating *previous
    cdef const cython.floating *row
    for j in range(n):
        now[j] = z[j] + start[j]
    for t in range(1, length):
        if stopped(stop, <double>n * n):
            return
        previous, now = now, now + n
        largest = _largest(previous, n)
        for i in range(n):
            previous[i] -= largest
        value = previous[0]
        for j in range(n):
            now[j] = value + transitions[j]
        i = 1
        while i + 4 <= n:
            row, a0, a1, a2, a3 = transitions + i * n, previous[i], previous[i + 1], previous[i + 2], previous[i + 3]
            for j in range(n):
                value = now[j]
                value = a0 + row[j] if a0 + row[j] > value else value
                value = a1 + row[n + j] if a1 + row[n + j] > value else value
                value = a2 + row[2 * n + j] if a2 + row[2 * n + j] > value else value
                value = a3 + row[3 * n + j] if a3 + row[3 * n + j] > value else value
                now[j] = value
            i += 4
        while i < n:
            row, a0 = transitions + i * n, previous[i]
            for j in range(n):
                now[j] = a0 + row[j] if a0 + row[j] > now[j] else now[j]
            i += 1
        for j in range(n):
            now[j] += z[t * n + j]
    best = 0
    for j in range(n):
        now[j] += end[j]
        if now[j] > now[best]:
            best = j
    labels[length - 1] = best
    for t in range(length - 1, 0, -1):
        previous, row = values + (t - 1) * n, transitions + best
        best, value = 0, previous[0] + row[0]
        for i in range(1, n):
            if previous[i] + row[i * n] > value:
                best, value = i, previous[i] + row[i * n]
        labels[t - 1] = best


def crf_decode(Batch batch not None, const cython.floating[:, ::1] z not None,
               const cython.floating[:, ::1] transitions not None, const cython.floating[::1] start not None,
               const cython.floating[::1] end not None, int64_t[::1] labels not None, Py_ssize_t n_threads=1):
    """labels (S,): those of the highest score (Viterbi 1967). Of equal ones the lowest last label, then the lowest
    before it, and so on."""
    cdef Py_ssize_t n = _check_crf(batch, z.shape, transitions.shape, start.shape[0], end.shape[0]), i, r, s
    cdef Py_ssize_t rows = batch.n_rows, size = batch.max_length * n
    cdef _Team team = _Team(<double>batch.n_steps * n * n, n_threads)
    cdef int threads = min(team.size, rows)
    cdef const int64_t *first = batch._first
    cdef const int64_t *lengths = &batch._lengths[0]
    cdef int64_t *labels_data
    cdef cython.floating *values
    cdef const cython.floating *z_data = &z[0, 0]
    cdef const cython.floating *transitions_data = &transitions[0, 0]
    cdef const cython.floating *start_data = &start[0]
    cdef const cython.floating *end_data = &end[0]
    if labels.shape[0] != batch.n_steps:
        raise ValueError(f"labels must have shape ({batch.n_steps},), got ({labels.shape[0]},)")
    labels_data = &labels[0]
    values = <cython.floating *>malloc(threads * size * sizeof(cython.floating))
    if values == NULL:
        raise MemoryError(f"a conditional random field over {batch.max_length} steps and {n} labels")
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        r = i
        while r < rows:
            s = first[r]
            _viterbi(z_data + s * n, transitions_data, start_data, end_data, lengths[r], n, values + i * size,
                     labels_data + s, &team.stop)
            r = r + threads
    free(values)
    team.finish()
