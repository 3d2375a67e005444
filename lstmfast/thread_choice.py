"""All threads or one? On a busy machine, a second thread that has to wait for its CPU makes each batch wait."""

import time


class ThreadChoice:
    """Times the batches of a fit, or calls of predict, and says how many threads the next one should use.

    Results do not depend on the number of threads, so it may change at any batch. Beside another process that keeps one
    of two CPUs busy, steps of half a millisecond took 10 ms on two threads: each of their meetings can cost a time
    slice of the scheduler. So the choice that is not in use is tried for one batch now and then, and taken if it was
    faster. A try that confirms the present choice doubles the time to the next one.

    Several threads may share one: at worst a try comes early or late.

    Parameters
    ----------
    n_threads : int
        As many as may be used.

    Examples
    --------
    >>> choice = ThreadChoice(2)
    >>> with choice.measure(work=1000) as n_threads:
    ...     pass  # train on one batch of 1000 steps
    """

    FIRST_TRY, LONGEST_PAUSE, MEMORY = 8, 512, 0.2

    def __init__(self, n_threads):
        self.current, self.other = n_threads, 1
        self.cost = None  # mean time per unit of work with the current choice, of the last few batches
        self.countdown = self.pause = self.FIRST_TRY

    def measure(self, work):
        """Context manager around one batch; yields the number of threads for it."""
        return _Measurement(self, work)

    def record(self, cost, trying):
        """Take note of what a unit of work took."""
        if not trying:
            self.cost = cost if self.cost is None else self.cost + self.MEMORY * (cost - self.cost)
            self.countdown -= 1
        elif self.cost is None or cost < self.cost:
            self.current, self.other, self.cost = self.other, self.current, cost
            self.countdown = self.pause = self.FIRST_TRY
        else:
            self.pause = min(2 * self.pause, self.LONGEST_PAUSE)
            self.countdown = self.pause


class _Measurement:
    def __init__(self, choice, work):
        self.choice, self.work = choice, work
        self.trying = choice.current != choice.other and choice.countdown <= 0

    def __enter__(self):
        self.started = time.perf_counter()
        return self.choice.other if self.trying else self.choice.current

    def __exit__(self, error_type, error, traceback):
        if error is None:
            self.choice.record((time.perf_counter() - self.started) / self.work, self.trying)
