# ---- additive attention: queries (N_q, D) and keys (N_k, D), projected, and values (N_k, E) of pairs of sequences ----

cdef class Pairs:
    """Which steps attend to which: the queries of pair r to all of its keys.

    Parameters
    ----------
    q_first, q_lengths : arrays of int64 of shape (n,)
        Pair r has the rows q_first[r] ... q_first[r] + q_lengths[r] - 1 of the queries; no row may be in two pairs.
    k_first, k_lengths : arrays of int64 of shape (n,)
        The same for keys. Pairs may share them, but then have no `backward`.

    Attributes
    ----------
    n_pairs, n_weights : int
        n, and the number of weights: the sum of q_lengths * k_lengths.
    q_end, k_end : int
        Number of rows that queries and keys must have at least.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.layers import Pairs
    >>> pairs = Pairs(np.array([0, 2]), np.array([2, 1]), np.array([0, 3]), np.array([3, 2]))
    >>> pairs.n_weights
    8
    >>> [matrix.shape for matrix in pairs.split(np.zeros(8))]
    [(2, 3), (1, 2)]
    """
    cdef readonly Py_ssize_t n_pairs, n_weights, q_end, k_end
    cdef int64_t *_q_first
    cdef int64_t *_q_lengths
    cdef int64_t *_k_first
    cdef int64_t *_k_lengths
    cdef int64_t *_w_first

    def __cinit__(self, const int64_t[::1] q_first not None, const int64_t[::1] q_lengths not None,
                  const int64_t[::1] k_first not None, const int64_t[::1] k_lengths not None):
        cdef Py_ssize_t r, n = q_first.shape[0]
        if n == 0:
            raise ValueError("q_first must name at least one pair")
        if q_lengths.shape[0] != n or k_first.shape[0] != n or k_lengths.shape[0] != n:
            raise ValueError(f"q_first, q_lengths, k_first and k_lengths must have one shape, got ({n},), "
                             f"({q_lengths.shape[0]},), ({k_first.shape[0]},) and ({k_lengths.shape[0]},)")
        # A copy: what is checked here stays as it is.
        self._q_first = <int64_t *>PyMem_Calloc(5 * n, sizeof(int64_t))
        if self._q_first == NULL:
            raise MemoryError(f"{n} pairs of sequences")
        self._q_lengths, self._k_first = self._q_first + n, self._q_first + 2 * n
        self._k_lengths, self._w_first = self._q_first + 3 * n, self._q_first + 4 * n
        self.n_pairs = n
        for r in range(n):
            self.q_end = max(self.q_end, _end_of_run(q_first[r], q_lengths[r], "q", r))
            self.k_end = max(self.k_end, _end_of_run(k_first[r], k_lengths[r], "k", r))
            self._q_first[r], self._q_lengths[r] = q_first[r], q_lengths[r]
            self._k_first[r], self._k_lengths[r] = k_first[r], k_lengths[r]
            self._w_first[r] = self.n_weights
            if self.n_weights > 2**62 - q_lengths[r] * k_lengths[r]:
                raise ValueError("the pairs have more than 2**62 weights")
            self.n_weights += q_lengths[r] * k_lengths[r]
        if _overlap(self._q_first, self._q_lengths, n):
            raise ValueError("a row of the queries must not be in two pairs")

    def __dealloc__(self):
        PyMem_Free(self._q_first)

    def split(self, weights):
        """Views of weights (n_weights,), one of shape (T_q, T_k) for each pair."""
        if weights.shape != (self.n_weights,):
            raise ValueError(f"weights must have shape ({self.n_weights},), got {weights.shape}")
        return [
            weights[self._w_first[r] : self._w_first[r] + self._q_lengths[r] * self._k_lengths[r]].reshape(
                self._q_lengths[r], self._k_lengths[r])
            for r in range(self.n_pairs)
        ]

    def check_apart(self):
        """ValueError if pairs share keys: their gradients would meet."""
        if _overlap(self._k_first, self._k_lengths, self.n_pairs):
            raise ValueError("a row of the keys is in two pairs: backward needs keys of its own for each pair")

    cdef Py_ssize_t begin(self, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
        """The first pair of one of some shares of about the same number of weights."""
        cdef int64_t weight = _share(self.n_weights, part, parts)
        cdef Py_ssize_t low = 0, high = self.n_pairs
        if part == parts:
            return self.n_pairs
        while low < high:
            if self._w_first[(low + high) // 2] < weight:
                low = (low + high) // 2 + 1
            else:
                high = (low + high) // 2
        return low


cdef Py_ssize_t _end_of_run(int64_t first, int64_t length, str name, Py_ssize_t r) except -1:
    if not 0 <= first < 2**40:
        raise ValueError(f"{name}_first must be at least 0, got {name}_first[{r}] = {first}")
    if not 1 <= length < 2**31:
        raise ValueError(f"{name}_lengths must be at least 1 and below 2**31, got {name}_lengths[{r}] = {length}")
    return first + length


cdef bint _overlap(const int64_t *first, const int64_t *lengths, Py_ssize_t n) except -1:
    cdef Py_ssize_t r
    cdef bint ascending = True
    for r in range(1, n):
        ascending = ascending and first[r - 1] + lengths[r - 1] <= first[r]
    if ascending:
        return False
    runs = sorted([(first[r], first[r] + lengths[r]) for r in range(n)])
    return any([before[1] > after[0] for before, after in zip(runs, runs[1:])])


def attention_odds(x, Py_ssize_t n_units, bint float64, odds, Py_ssize_t n_threads=1):
    """e^(2 x) of projected queries or keys x (n, D), as the other two functions read it: odds (n, D rounded up to a
    vector)."""
    cdef const kernel_table *table = _tables[float64]
    cdef Py_ssize_t i, n = len(x), padded = -(-_positive(n_units, "n_units") // table.lanes) * table.lanes
    cdef const void *source = _rows(x, "x", float64, n, n_units, False, NULL)
    cdef void *target = _rows(odds, "odds", float64, n, padded, True, NULL)
    cdef _Team team = _Team(<double>n * n_units * EXPONENTIAL_WORK, n_threads)
    cdef int threads = team.size
    for i in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        table.attention_odds(source, n_units, target, _share(n, i, threads), _share(n, i + 1, threads))


cdef int _describe_attention(attention_call *call, Pairs pairs, queries, q_odds, keys, k_odds, scale, values,
                             Py_ssize_t n_units, Py_ssize_t n_values, bint float64) except -1:
    """What forward and backward read."""
    cdef Py_ssize_t lanes = _tables[float64].lanes, n_queries = len(queries), n_keys = len(keys)
    call.n_units, call.n_values = _positive(n_units, "n_units"), _positive(n_values, "n_values")
    call.n_padded = -(-n_units // lanes) * lanes
    if n_queries < pairs.q_end or n_keys < pairs.k_end:
        raise ValueError(f"the pairs reach to row {pairs.q_end} of the queries and {pairs.k_end} of the keys, "
                         f"got {n_queries} and {n_keys} rows")
    call.q_first, call.q_lengths, call.k_first = pairs._q_first, pairs._q_lengths, pairs._k_first
    call.k_lengths, call.w_first = pairs._k_lengths, pairs._w_first
    call.queries = _rows(queries, "queries", float64, n_queries, n_units, False, NULL)
    call.q_odds = _rows(q_odds, "q_odds", float64, n_queries, call.n_padded, False, NULL)
    call.keys = _rows(keys, "keys", float64, n_keys, n_units, False, NULL)
    call.k_odds = _rows(k_odds, "k_odds", float64, n_keys, call.n_padded, False, NULL)
    call.scale = _flat(scale, "scale", float64, call.n_padded, False)
    call.values = _rows(values, "values", float64, n_keys, n_values, False, NULL)
    return 0


def attention_forward(Pairs pairs not None, queries, q_odds, keys, k_odds, scale, values, weights, context,
                      Py_ssize_t n_units, Py_ssize_t n_values, bint float64, Py_ssize_t n_threads=1):
    """weights (pairs.n_weights,) of the values (N_k, E), and their weighted sums: context (N_q, E), of which rows in no
    pair are left alone. Rows of context, and of its gradient, may be further apart.

    queries (N_q, D) and keys (N_k, D) are projected; q_odds and k_odds `attention_odds` of them; scale (D rounded up to
    a vector,) holds -2 times the scale, and zeros behind it.
    """
    cdef const kernel_table *table = _tables[float64]
    cdef attention_call call
    cdef Py_ssize_t i
    cdef int threads
    cdef _Team team
    _describe_attention(&call, pairs, queries, q_odds, keys, k_odds, scale, values, n_units, n_values, float64)
    call.weights = _flat(weights, "weights", float64, pairs.n_weights, True)
    call.context = _rows(context, "context", float64, len(queries), n_values, True, &call.context_stride)
    team = _Team(<double>pairs.n_weights * (3 * n_units + n_values), n_threads)
    threads = team.size
    for i in prange(team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        if not team.stopped():
            table.attention_forward(&call, pairs.begin(i, team.pieces), pairs.begin(i + 1, team.pieces))
    team.finish()


def attention_backward(Pairs pairs not None, queries, q_odds, keys, k_odds, scale, values, weights, dcontext, dscores,
                       dqueries, dkeys, dvalues, dscale, Py_ssize_t n_units, Py_ssize_t n_values, bint float64,
                       Py_ssize_t n_threads=1):
    """Gradients from dcontext (N_q, E), and the weights of `attention_forward`.

    Written, for the rows that are in a pair: dqueries (N_q, D rounded up to a vector), dkeys (N_k, the same), of the
    projected ones, zeros behind D; dvalues (N_k, E). dscale (n, D rounded up): of what `scale` holds, a row for each
    pair. dscores (pairs.n_weights,) is scratch.
    """
    cdef const kernel_table *table = _tables[float64]
    cdef attention_call call
    cdef Py_ssize_t i
    cdef int threads
    cdef _Team team
    _describe_attention(&call, pairs, queries, q_odds, keys, k_odds, scale, values, n_units, n_values, float64)
    pairs.check_apart()
    call.weights = _flat(weights, "weights", float64, pairs.n_weights, False)
    call.dcontext = _rows(dcontext, "dcontext", float64, len(queries), n_values, False, &call.context_stride)
    call.dscores = _flat(dscores, "dscores", float64, pairs.n_weights, True)
    call.dqueries = _rows(dqueries, "dqueries", float64, len(queries), call.n_padded, True, NULL)
    call.dkeys = _rows(dkeys, "dkeys", float64, len(keys), call.n_padded, True, NULL)
    call.dvalues = _rows(dvalues, "dvalues", float64, len(keys), n_values, True, NULL)
    call.dscale = _rows(dscale, "dscale", float64, pairs.n_pairs, call.n_padded, True, NULL)
    team = _Team(<double>pairs.n_weights * (5 * n_units + 2 * n_values), n_threads)
    threads = team.size
    for i in prange(team.pieces, nogil=True, schedule="static", chunksize=1, num_threads=threads):
        if not team.stopped():
            table.attention_backward(&call, pairs.begin(i, team.pieces), pairs.begin(i + 1, team.pieces))
    team.finish()
