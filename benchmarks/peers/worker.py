"""A worker's side: read requests, a line of JSON each, from stdin; answer each with a line on stdout.

Between requests a worker is blocked in a read, and its threads go to sleep: only one worker is ever at work.
"""

import gc
import json
import os
import sys
import time

from .cases import Case

MIN_CALLS = 5
WARM_UP_SECONDS = 0.05
CHECKED_STEPS = 3


def serve(describe, tasks):
    """Answer requests until stdin ends.

    Parameters
    ----------
    describe : callable
        Gives the library's name and version, as a str.
    tasks : dict of callables
        Each takes a `Case` and the number of threads; it returns a callable without arguments, which is what will be
        timed, and a list of floats, in which all libraries must agree.
    """
    threads = int(sys.argv[1])
    # Whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    call = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "describe":
            answer = describe()
        elif request["do"] == "prepare":
            call = None  # free the last case's memory first
            call, answer = tasks[request["task"]](Case(**request["case"]), threads)
        else:
            answer = time_calls(call, request["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


def time_calls(call, seconds):
    """Seconds of each of several calls, as many as fit into `seconds`, after some that wake caches and threads up."""
    warm = time.perf_counter() + WARM_UP_SECONDS
    while True:
        call()
        if time.perf_counter() >= warm:
            break
    taken, end = [], time.perf_counter() + seconds
    gc.disable()
    while len(taken) < MIN_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    gc.enable()
    return taken


def check_training(step):
    """Loss and gradient norm of the first steps, from a callable that does one and returns both."""
    return [float(value) for _ in range(CHECKED_STEPS) for value in step()]
