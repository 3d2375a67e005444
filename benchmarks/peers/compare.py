"""The coordinator: starts a worker process for each library and number of threads, lets one at a time work."""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .load import OtherLoad

ROOT = Path(__file__).parents[2]
# Each library's name and the module it cannot do without; its worker is worker_NAME.py.
LIBRARIES = {"sgemm": "numpy", "lstmfast": "lstmfast", "torch": "torch"}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# OpenBLAS's and OpenMP's threads wait for more work in a loop for about a tenth of a second before they sleep.
PAUSE = 0.15
TOLERANCE = 1e-4


class Disagreement(Exception):
    """Two libraries do not compute the same."""


class Worker:
    """A library with a number of threads, in a process of its own.

    Parameters
    ----------
    library : str
        A key of `LIBRARIES`.
    threads : int
        Its threads.
    python : str
        Path of the interpreter that has the library.
    """

    def __init__(self, library, threads, python):
        self.library, self.threads = library, threads
        self.process = subprocess.Popen(
            [python, "-m", f"{__package__}.worker_{library}", str(threads)],
            cwd=ROOT, env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, do, **request):
        """The answer to a request."""
        try:
            print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the worker of {self.library} ended; what it said last stands above")
        return json.loads(answer)

    def close(self):
        """End the process."""
        self.process.kill()
        self.process.communicate()


@dataclass
class Result:
    """Round medians of one case, in seconds, by (library, threads); how many turns other processes disturbed."""

    case: object
    seconds: dict = field(default_factory=dict)
    disturbed: int = 0

    def median(self, *key):
        return statistics.median(self.seconds[key])

    def best_threads(self, library):
        """The number of threads with which a library is fastest."""
        return min((key for key in self.seconds if key[0] == library), key=lambda key: self.median(*key))[1]


def start_workers(libraries, threads, pythons):
    """Workers of the libraries that can be imported, a dict by (library, threads), and the names of the others.

    lstmfast runs with `threads`; the peers and the yardstick with one thread too.
    """
    workers, missing = {}, []
    try:
        for library in ("sgemm", *libraries):
            python = pythons.get(library, sys.executable)
            if not _importable(python, LIBRARIES[library]):
                missing.append(library)
                continue
            for n in sorted({threads} if library == "lstmfast" else {1, threads}):
                workers[library, n] = Worker(library, n, python)
    except BaseException:
        close(workers)
        raise
    return workers, missing


def close(workers):
    """End all workers."""
    for worker in workers.values():
        worker.close()


def _importable(python, module):
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([python, "-c", code, module], cwd=ROOT).returncode == 0


def prepare(workers, task, case):
    """Have every worker build the case; what they compute, by (library, threads).

    Raises
    ------
    Disagreement
        If a number is not the same for all libraries, to `TOLERANCE`.
    """
    values = {}
    for key, worker in workers.items():
        values[key] = worker.ask("prepare", task=task, case=asdict(case))
    expected = next(value for (library, _), value in values.items() if library == "lstmfast")
    for (library, threads), found in values.items():
        if library == "sgemm":
            continue
        if not all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(found, expected, strict=True)):
            raise Disagreement(
                f"{library} with {threads} threads does not compute what lstmfast does in case {case}:\n"
                f"{found}\n{expected}"
            )
    return values


class Stopwatch:
    """Times turns, and those again in which other processes were busy.

    Parameters
    ----------
    seconds : float
        How long a turn times calls.
    patience : float
        Seconds to spend on repeating turns, in all. When they are used up, disturbed turns count as they are.
    """

    def __init__(self, seconds, patience):
        self.seconds, self.patience = seconds, patience

    def turn(self, worker):
        """The median time of a call, and whether other processes disturbed it."""
        while True:
            started = time.monotonic()
            time.sleep(PAUSE)
            load = OtherLoad(worker.process.pid)
            median = statistics.median(worker.ask("time", seconds=self.seconds))
            disturbed = load.too_much()
            if not disturbed or self.patience <= 0:
                return median, disturbed
            time.sleep(self.seconds)
            self.patience -= time.monotonic() - started


def measure(workers, task, case, rounds, stopwatch):
    """Time one case in turns: each worker once a round.

    Parameters
    ----------
    workers : dict of Worker
        By (library, threads).
    task : str
        A key of `cases.TASKS`.
    case : Case
    rounds : int
    stopwatch : Stopwatch

    Returns
    -------
    Result
    """
    prepare(workers, task, case)
    result = Result(case, {key: [] for key in workers})
    for _ in range(rounds):
        for key, worker in workers.items():
            median, disturbed = stopwatch.turn(worker)
            result.seconds[key].append(median)
            result.disturbed += disturbed
    return result
