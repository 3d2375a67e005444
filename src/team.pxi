# ---- the threads of a call, and how it ends early --------------------------------------------------------------------

# From this many multiply-adds on a call of the main thread looks for signals; it takes a millisecond, or 0.1 s where
# arithmetic is slow. Other threads get none from Python.
cdef double LONG_WORK = 1e8


cdef class _Team:
    """The threads of one call, until it is gone: at most n_threads, one for little work or where others have them all.

    Loops run over `pieces`, in which a long call of the main thread can be cut short: each begins with
    ``stopped(&team.stop, work)``. Then `finish` raises what a signal's handler raised, KeyboardInterrupt for Ctrl-C.
    """
    cdef int size
    cdef Py_ssize_t pieces
    cdef double piece_work
    cdef interruption stop
    cdef object error

    def __cinit__(self, double work, Py_ssize_t n_threads):
        if n_threads < 1:
            raise ValueError(f"n_threads must be at least 1, got {n_threads}")
        self.pieces = self.size = lstmfast_enter_team(n_threads if LSTMFAST_OPENMP and work >= PARALLEL_WORK else 1)
        if work >= LONG_WORK and _threading.get_ident() == _threading.main_thread().ident:
            lstmfast_watch(&self.stop, _answer_signals, <void *>self)
            self.pieces *= <Py_ssize_t>(work / (LONG_WORK * self.size)) + 1
        self.piece_work = work / self.pieces

    cdef bint stopped(self) noexcept nogil:
        """Whether to leave out the next piece."""
        return stopped(&self.stop, self.piece_work)

    cdef int finish(self) except -1:
        if self.error is not None:
            raise self.error

    def __dealloc__(self):
        lstmfast_leave_team(self.size)


cdef int _answer_signals(void *team) noexcept with gil:
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<_Team>team).error = error
        return True
    return False
