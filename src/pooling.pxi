# ---- pooling: steps of each sequence -> one vector. y (S, D) one sequence after the other; out (N, D) ----------------

cdef enum:
    ELEMENT_WORK = 8  # of an element of attention, some operations in memory, as a _Team reckons


def pool_mean(Batch batch not None, const cython.floating[:, ::1] y, cython.floating[:, ::1] out):
    """out[r] = mean of y over the steps of sequence r."""
    cdef Py_ssize_t r, s, j
    cdef cython.floating length
    _check_pooling(batch, y.shape, out.shape)
    with nogil:
        for r in range(batch.n_rows):
            length = <cython.floating>batch._lengths[r]
            for j in range(y.shape[1]):
                out[r, j] = 0
            for s in range(batch._first[r], batch._first[r] + batch._lengths[r]):
                for j in range(y.shape[1]):
                    out[r, j] += y[s, j]
            for j in range(y.shape[1]):
                out[r, j] /= length


def pool_mean_backward(Batch batch not None, const cython.floating[:, ::1] dout, cython.floating[:, ::1] dy):
    """dy[s] = dout[r] / length for each step s of sequence r."""
    cdef Py_ssize_t r, s, j
    _check_pooling(batch, dy.shape, dout.shape)
    with nogil:
        for r in range(batch.n_rows):
            for s in range(batch._first[r], batch._first[r] + batch._lengths[r]):
                for j in range(dy.shape[1]):
                    dy[s, j] = dout[r, j] / <cython.floating>batch._lengths[r]


def pool_max(Batch batch not None, const cython.floating[:, ::1] y, cython.floating[:, ::1] out, int64_t[:, ::1] at):
    """out[r] = maximum of y over the steps of sequence r; at[r] = the (first) rows of y where it stands."""
    cdef Py_ssize_t r, s, j
    _check_pooling(batch, y.shape, out.shape)
    _check_pooling(batch, y.shape, at.shape)
    with nogil:
        for r in range(batch.n_rows):
            for j in range(y.shape[1]):
                out[r, j] = y[batch._first[r], j]
                at[r, j] = batch._first[r]
            for s in range(batch._first[r] + 1, batch._first[r] + batch._lengths[r]):
                for j in range(y.shape[1]):
                    if not y[s, j] <= out[r, j]:  # NaN, too: it must not get lost here
                        out[r, j] = y[s, j]
                        at[r, j] = s


def pool_max_backward(Batch batch not None, const cython.floating[:, ::1] dout, const int64_t[:, ::1] at,
                      cython.floating[:, ::1] dy):
    """dy is dout where the maximum stands, 0 elsewhere."""
    cdef Py_ssize_t r, j
    _check_pooling(batch, dy.shape, dout.shape)
    _check_pooling(batch, dy.shape, at.shape)
    for r in range(batch.n_rows):
        for j in range(dy.shape[1]):
            if not batch._first[r] <= at[r, j] < batch._first[r] + batch._lengths[r]:
                raise ValueError(f"at[{r}, {j}] is no step of sequence {r}")
    with nogil:
        dy[:, :] = 0
        for r in range(batch.n_rows):
            for j in range(dy.shape[1]):
                dy[at[r, j], j] = dout[r, j]


def pool_steps(Batch batch not None, cython.floating[:, ::1] y, bint maximum):
    """Replaces each step of y by the mean or the maximum over the steps up to it, as pool_mean and pool_max sum."""
    cdef Py_ssize_t r, s, j, first
    cdef cython.floating largest, total
    if y.shape[0] != batch.n_steps:
        raise ValueError(f"y must have {batch.n_steps} rows, got {y.shape[0]}")
    with nogil:
        for r in range(batch.n_rows):
            first = batch._first[r]
            for j in range(y.shape[1]):
                total, largest = 0, y[first, j]
                for s in range(first, first + batch._lengths[r]):
                    if maximum:
                        largest = largest if y[s, j] <= largest else y[s, j]
                        y[s, j] = largest
                    else:
                        total += y[s, j]
                        y[s, j] = total / <cython.floating>(s - first + 1)


def pool_attention(Batch batch not None, const cython.floating[:, ::1] y, cython.floating[::1] scores,
                   cython.floating[:, ::1] out):
    """out[r] = mean of y over the steps of sequence r, weighted by e^score; the scores become its weights, of sum 1."""
    cdef Py_ssize_t r, s
    cdef cython.floating running[2]
    _check_pooling(batch, y.shape, out.shape)
    _check_scores(batch, scores.shape[0])
    with nogil:
        for r in range(batch.n_rows):
            running[1] = 0
            for s in range(batch._first[r], batch._first[r] + batch._lengths[r]):
                _attend(&y[s, 0], scores[s], running, &out[r, 0], y.shape[1])
            _divide(&out[r, 0], running[1], &out[r, 0], y.shape[1])
            for s in range(batch._first[r], batch._first[r] + batch._lengths[r]):
                scores[s] = <cython.floating>exp(scores[s] - running[0]) / running[1]


def pool_attention_steps(Batch batch not None, cython.floating[:, ::1] y, const cython.floating[::1] scores):
    """Replaces each step of y by the weighted mean of the steps up to it, as pool_attention sums."""
    cdef Py_ssize_t r, s
    cdef cython.floating running[2]
    cdef cython.floating[::1] total
    if y.shape[0] != batch.n_steps:
        raise ValueError(f"y must have {batch.n_steps} rows, got {y.shape[0]}")
    _check_scores(batch, scores.shape[0])
    total = y[0].copy()
    with nogil:
        for r in range(batch.n_rows):
            running[1] = 0
            for s in range(batch._first[r], batch._first[r] + batch._lengths[r]):
                _attend(&y[s, 0], scores[s], running, &total[0], y.shape[1])
                _divide(&total[0], running[1], &y[s, 0], y.shape[1])


def pool_attention_backward(Batch batch not None, const cython.floating[:, ::1] y, const cython.floating[:, ::1] u,
                            const cython.floating[::1] context, const cython.floating[::1] weights,
                            const cython.floating[:, ::1] out, const cython.floating[:, ::1] dout,
                            cython.floating[:, ::1] dy, cython.floating[::1] dscores, cython.floating[:, ::1] du,
                            Py_ssize_t n_threads=1):
    """For each step s of sequence r: dy[s] = weight[s] dout[r], dscore[s] = weight[s] dout[r] . (y[s] - out[r]), and of
    its score, tanh(z) . context with u = tanh(z), du[s] = dscore[s] context (1 - u^2), the gradient of z."""
    cdef Py_ssize_t r
    cdef int threads
    cdef _Team team
    _check_pooling(batch, y.shape, dout.shape)
    _check_pooling(batch, dy.shape, out.shape)
    _check_scores(batch, weights.shape[0])
    _check_scores(batch, dscores.shape[0])
    if dy.shape[1] != y.shape[1]:
        raise ValueError(f"dy must have {y.shape[1]} columns, got {dy.shape[1]}")
    if not u.shape[0] == du.shape[0] == batch.n_steps or not u.shape[1] == du.shape[1] == context.shape[0]:
        raise ValueError(f"u and du must have shape ({batch.n_steps}, {context.shape[0]})")
    team = _Team(<double>batch.n_steps * (y.shape[1] + u.shape[1]) * ELEMENT_WORK, n_threads)
    threads = team.size
    for r in prange(batch.n_rows, nogil=True, schedule="static", num_threads=threads):
        _attend_backward(batch._first[r], batch._first[r] + batch._lengths[r], y, u, context, weights, &out[r, 0],
                         &dout[r, 0], dy, dscores, du)


cdef void _attend_backward(Py_ssize_t begin, Py_ssize_t end, const cython.floating[:, ::1] y,
                           const cython.floating[:, ::1] u, const cython.floating[::1] context,
                           const cython.floating[::1] weights, const cython.floating *out,
                           const cython.floating *dout, cython.floating[:, ::1] dy, cython.floating[::1] dscores,
                           cython.floating[:, ::1] du) noexcept nogil:
    """The steps from begin to end are those of one sequence."""
    cdef Py_ssize_t s, j
    cdef cython.floating weight, mean = _dot(dout, out, y.shape[1])
    for s in range(begin, end):
        weight = weights[s]
        for j in range(y.shape[1]):
            dy[s, j] = weight * dout[j]
        dscores[s] = weight * (_dot(dout, &y[s, 0], y.shape[1]) - mean)
        for j in range(u.shape[1]):
            du[s, j] = dscores[s] * context[j] * (1 - u[s, j] * u[s, j])


cdef inline cython.floating _dot(const cython.floating *a, const cython.floating *b, Py_ssize_t n) noexcept nogil:
    """Eight sums side by side: one alone would wait for each addition."""
    cdef cython.floating total[8]
    cdef Py_ssize_t j, k, whole = n - n % 8
    for k in range(8):
        total[k] = 0
    for j in range(0, whole, 8):
        for k in range(8):
            total[k] += a[j + k] * b[j + k]
    for j in range(whole, n):
        total[0] += a[j] * b[j]
    return ((total[0] + total[1]) + (total[2] + total[3])) + ((total[4] + total[5]) + (total[6] + total[7]))


cdef inline void _attend(const cython.floating *y, cython.floating score, cython.floating *running,
                         cython.floating *total, Py_ssize_t n) noexcept nogil:
    """Takes one more step into a mean weighted by e^score: total / running[1].

    running[0] is the largest score so far, from which all are measured, so that none overflows; running[1] the sum of
    the weights, 0 before the first step (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax").
    """
    cdef Py_ssize_t j
    cdef cython.floating factor
    if running[1] == 0:
        running[0], running[1] = score, 1
        for j in range(n):
            total[j] = y[j]
    elif score > running[0]:
        factor = <cython.floating>exp(running[0] - score)
        running[0], running[1] = score, running[1] * factor + 1
        for j in range(n):
            total[j] = total[j] * factor + y[j]
    else:
        factor = <cython.floating>exp(score - running[0])
        running[1] += factor
        for j in range(n):
            total[j] += factor * y[j]


cdef inline void _divide(const cython.floating *total, cython.floating divisor, cython.floating *out,
                         Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        out[j] = total[j] / divisor


cdef int _check_scores(Batch batch, Py_ssize_t n) except -1:
    if n != batch.n_steps:
        raise ValueError(f"there must be a score for each of {batch.n_steps} steps, got {n}")
    return 0


cdef int _check_pooling(Batch batch, const Py_ssize_t *steps, const Py_ssize_t *rows) except -1:
    if steps[0] != batch.n_steps or rows[0] != batch.n_rows or steps[1] != rows[1]:
        raise ValueError(f"steps must have shape ({batch.n_steps}, {rows[1]}) and rows ({batch.n_rows}, {rows[1]}), "
                         f"got ({steps[0]}, {steps[1]}) and ({rows[0]}, {rows[1]})")
    return 0
