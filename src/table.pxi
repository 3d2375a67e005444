# ---- tables: gradients of the few rows that were used ----------------------------------------------------------------

def sum_groups(const int64_t[::1] order not None, const int64_t[::1] starts not None,
               const cython.floating[:, ::1] values not None, cython.floating[:, ::1] sums not None):
    """sums[k] = the rows order[starts[k]], ..., order[starts[k + 1] - 1] of values, added up one after the other."""
    cdef Py_ssize_t n = order.shape[0], n_groups = starts.shape[0], k, s, j, end, columns = values.shape[1]
    cdef const cython.floating *row
    cdef cython.floating *total
    if sums.shape[0] != n_groups or sums.shape[1] != columns:
        raise ValueError(f"sums must have shape ({n_groups}, {columns})")
    for s in range(n):
        if not 0 <= order[s] < values.shape[0]:
            raise ValueError(f"order must be in [0, {values.shape[0]}), got {order[s]}")
    for k in range(n_groups):
        end = starts[k + 1] if k + 1 < n_groups else n
        if not 0 <= starts[k] < end <= n:
            raise ValueError(f"starts must ascend from 0 or more to less than {n}, got {starts[k]}")
    if columns == 0:
        return
    with nogil:
        for k in range(n_groups):
            total, row = &sums[k, 0], &values[order[starts[k]], 0]
            end = starts[k + 1] if k + 1 < n_groups else n
            for j in range(columns):
                total[j] = row[j]
            for s in range(starts[k] + 1, end):
                row = &values[order[s], 0]
                for j in range(columns):
                    total[j] += row[j]
