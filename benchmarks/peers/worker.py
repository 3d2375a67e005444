"""A worker's side: read requests, a line of JSON each, from stdin; answer each with a line on stdout.

Between requests a worker is blocked in a read, and its threads go to sleep: only one worker is ever at work.
"""

import gc
import json
import os
import sys
import time
from functools import partial
from itertools import repeat
from statistics import median

import numpy as np

from .cases import Case
from .memory import peak_rise

MIN_CALLS = 5
WARM_UP_SECONDS = 0.05
# Shorter calls are timed several at a time: reading the clock takes 0.05 us.
MIN_SECONDS = 50e-6
CHECKED_STEPS, CHECKED_OUTPUTS = 3, 8
TRIES, TRY_SECONDS = 3, 0.05


def serve(describe, tasks):
    """Answer requests until stdin ends.

    Parameters
    ----------
    describe : callable
        Gives the library's name and version, as a str.
    tasks : dict of callables
        Each takes a `Case` and the number of threads; it returns a callable without arguments, which is what will be
        timed, and a list of floats, in which all libraries must agree. Or, where a library has several ways to do it,
        a dict by name of callables that return such pairs; the fastest is timed.
    """
    threads = int(sys.argv[1])
    # Whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def builders(case):
        """By name, what builds each way."""
        found = task(case, threads)
        return found if isinstance(found, dict) else {"": lambda: found}

    def build(case, way):
        """What is timed, anew."""
        return builders(case)[way]()[0]

    task = case = way = ways = call = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "describe":
            answer = describe()
        elif request["do"] == "prepare":
            ways = call = None  # free the last case's memory first
            task, case = tasks[request["task"]], Case(**request["case"])
            ways = {name: builder() for name, builder in builders(case).items()}
            answer = {name: values for name, (_, values) in ways.items()}
        elif request["do"] == "choose":
            answer = way = fastest({name: call for name, (call, _) in ways.items()})
            call, ways = ways[way][0], None
        elif request["do"] == "memory":
            call = None
            answer = peak_rise(partial(build, case, way))
        else:
            answer = time_calls(call, request["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


def time_calls(call, seconds):
    """Seconds of each of several calls, as many as fit into `seconds`, after some that wake caches and threads up."""
    calls, warm = 0, time.perf_counter()
    while True:
        call()
        calls, elapsed = calls + 1, time.perf_counter() - warm
        if elapsed >= WARM_UP_SECONDS:
            break
    at_once = max(1, round(MIN_SECONDS * calls / elapsed))
    taken, end = [], time.perf_counter() + seconds
    gc.disable()
    while len(taken) < MIN_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in repeat(None, at_once):
            call()
        taken.append((time.perf_counter() - start) / at_once)
    gc.enable()
    return taken


def fastest(calls):
    """The name of the fastest of some callables."""
    if len(calls) == 1:
        return next(iter(calls))
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(TRIES):
        for name, call in calls.items():
            best[name] = min(best[name], median(time_calls(call, TRY_SECONDS)))
    return min(best, key=best.get)


def check_training(step):
    """Loss and gradient norm of the first steps, from a callable that does one and returns both."""
    return [float(value) for _ in range(CHECKED_STEPS) for value in step()]


def check_outputs(h):
    """Norm and some values of the last outputs, (B, H) or (B, 2H); or of (directions, B, H)."""
    h = np.asarray(h)
    if h.ndim == 3:
        h = h.transpose(1, 0, 2)
    h = h.ravel()
    some = h[np.linspace(0, len(h) - 1, CHECKED_OUTPUTS).astype(int)]
    return [float(value) for value in (np.linalg.norm(h), *some)]


def check_steps(step, h):
    """Likewise after the first steps; `h` gives what the last one left."""
    for _ in range(CHECKED_STEPS):
        step()
    return check_outputs(h())
