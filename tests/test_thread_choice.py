"""Which number of threads a fit uses, as batches of each take the time a test says."""

from itertools import pairwise

import pytest

from lstmfast import thread_choice
from lstmfast.thread_choice import ThreadChoice


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until its `now` is moved."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(thread_choice, "time", clock)
    return clock


def run(choice, clock, n_batches, seconds_of, work=100):
    """Number of threads of each batch, when a batch takes seconds_of(n_threads)."""
    used = []
    for _ in range(n_batches):
        with choice.measure(work) as n_threads:
            used.append(n_threads)
            clock.now += seconds_of(n_threads)
    return used


def test_one_thread_is_tried_less_and_less_while_two_are_faster(clock):
    used = run(ThreadChoice(2), clock, 4000, {1: 2.0, 2: 1.0}.get)
    tries = [i for i, n in enumerate(used) if n == 1]
    pauses = [b - a for a, b in pairwise(tries)]
    assert tries[0] == ThreadChoice.FIRST_TRY
    assert pauses == sorted(pauses)
    assert pauses[-1] == ThreadChoice.LONGEST_PAUSE + 1
    assert len(tries) < 15


def test_one_thread_stays_where_the_second_has_to_wait(clock):
    used = run(ThreadChoice(2), clock, 1000, {1: 1.0, 2: 10.0}.get)
    assert used[: ThreadChoice.FIRST_TRY] == [2] * ThreadChoice.FIRST_TRY
    assert used[ThreadChoice.FIRST_TRY :].count(2) < 10


def test_it_comes_back_when_the_machine_is_free_again(clock):
    choice = ThreadChoice(2)
    run(choice, clock, 300, {1: 1.0, 2: 10.0}.get)
    assert choice.current == 1
    run(choice, clock, 2 * ThreadChoice.LONGEST_PAUSE, {1: 1.0, 2: 0.6}.get)
    assert choice.current == 2


def test_batches_count_by_their_work(clock):
    """A long batch takes long; that says nothing about threads."""
    choice = ThreadChoice(2)
    for i in range(200):
        work = 10 if i % 9 == ThreadChoice.FIRST_TRY else 1000
        with choice.measure(work) as n_threads:
            clock.now += work * {1: 2.0, 2: 1.0}[n_threads]
    assert choice.current == 2


def test_a_batch_that_fails_is_not_counted(clock):
    choice = ThreadChoice(2)
    with pytest.raises(ZeroDivisionError), choice.measure(1):
        raise ZeroDivisionError
    assert choice.cost is None
    assert choice.countdown == ThreadChoice.FIRST_TRY


def test_one_thread_is_one_thread(clock):
    assert set(run(ThreadChoice(1), clock, 100, lambda n_threads: 1.0)) == {1}
