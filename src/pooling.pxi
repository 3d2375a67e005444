# ---- pooling: steps of each sequence -> one vector. y (S, D) one sequence after the other; out (N, D) ----------------

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
                    if y[s, j] > out[r, j]:
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
                        largest = y[s, j] if y[s, j] > largest else largest
                        y[s, j] = largest
                    else:
                        total += y[s, j]
                        y[s, j] = total / <cython.floating>(s - first + 1)


def pool_attention(Batch batch not None, const cython.floating[:, ::1] y, cython.floating[::1] scores,
                   cython.floating[:, ::1] out):
    """out[r] = mean of y over the steps of sequence r, weighted by e^score; the scores become these weights / their sum.
    """
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


def pool_attention_backward(Batch batch not None, const cython.floating[:, ::1] y, const cython.floating[::1] weights,
                            const cython.floating[:, ::1] out, const cython.floating[:, ::1] dout,
                            cython.floating[:, ::1] dy, cython.floating[::1] dscores):
    """dy[s] = weight[s] dout[r] and dscore[s] = weight[s] dout[r] . (y[s] - out[r]) for each step s of sequence r."""
    cdef Py_ssize_t r, s, j
    cdef cython.floating change[8]  # sums side by side: one alone would wait for each addition
    _check_pooling(batch, y.shape, dout.shape)
    _check_pooling(batch, dy.shape, out.shape)
    _check_scores(batch, weights.shape[0])
    _check_scores(batch, dscores.shape[0])
    if dy.shape[1] != y.shape[1]:
        raise ValueError(f"dy must have {y.shape[1]} columns, got {dy.shape[1]}")
    with nogil:
        for r in range(batch.n_rows):
            for s in range(batch._first[r], batch._first[r] + batch._lengths[r]):
                for j in range(8):
                    change[j] = 0
                for j in range(y.shape[1]):
                    dy[s, j] = weights[s] * dout[r, j]
                    change[j & 7] += dout[r, j] * (y[s, j] - out[r, j])
                dscores[s] = weights[s] * (((change[0] + change[1]) + (change[2] + change[3]))
                                           + ((change[4] + change[5]) + (change[6] + change[7])))


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
