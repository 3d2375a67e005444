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


cdef int _check_pooling(Batch batch, const Py_ssize_t *steps, const Py_ssize_t *rows) except -1:
    if steps[0] != batch.n_steps or rows[0] != batch.n_rows or steps[1] != rows[1]:
        raise ValueError(f"steps must have shape ({batch.n_steps}, {rows[1]}) and rows ({batch.n_rows}, {rows[1]}), "
                         f"got ({steps[0]}, {steps[1]}) and ({rows[0]}, {rows[1]})")
    return 0
