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
# Each library's name and the modules it cannot do without; its worker is worker_NAME.py.
LIBRARIES = {
    "sgemm": ("numpy",), "lstmfast": ("lstmfast",), "torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"), "jax": ("jax",), "tensorflow": ("tensorflow",),
}  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# OpenBLAS's and OpenMP's threads wait for more work in a loop for about a tenth of a second before they sleep.
PAUSE = 0.15
TOLERANCE = 1e-4
NEGLIGIBLE = 1e-5  # difference of two outputs near zero


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
    """One case: by (library, threads), round medians in seconds, and which way was fastest where there are several.

    disturbed: how many turns other processes disturbed.
    """

    case: object
    seconds: dict = field(default_factory=dict)
    ways: dict = field(default_factory=dict)
    disturbed: int = 0

    def median(self, *key):
        """Seconds."""
        return statistics.median(self.seconds[key])

    def best_threads(self, library):
        """The number of threads with which a library is fastest."""
        return min((key for key in self.seconds if key[0] == library), key=lambda key: self.median(*key))[1]

    def best(self, library):
        """Seconds with as many."""
        return self.median(library, self.best_threads(library))


def start_workers(task, threads, pythons):
    """Workers of a task's libraries, a dict by (library, threads), and the module that each of the others lacks.

    lstmfast runs with `threads`; the peers and the yardstick with one thread too; lstmfast if the task says so.
    """
    workers, missing = {}, {}
    try:
        for library in ("sgemm", *task.libraries):
            python = pythons.get(library, sys.executable)
            modules = [*LIBRARIES[library], *filter(None, [task.extra_modules.get(library)])]
            if lacking := next((module for module in modules if not _importable(python, module)), None):
                missing[library] = lacking
                continue
            for n in sorted({threads} if library == "lstmfast" and not task.own_choice else {1, threads}):
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
    """Have every worker build the case; what they compute, by (library, threads, way).

    Raises
    ------
    Disagreement
        If a number is not the same for all libraries, to `TOLERANCE`.
    """
    values = {}
    for key, worker in workers.items():
        if key[0] != "sgemm":
            for way, numbers in worker.ask("prepare", task=task, case=asdict(case)).items():
                values[*key, way] = numbers
        else:
            worker.ask("prepare", task=task, case=asdict(case))
    first = next((key for key in values if key[0] == "lstmfast"), next(iter(values), None))
    for key, found in values.items():
        if not all(
            math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=NEGLIGIBLE) for a, b in zip(found, values[first], strict=True)
        ):
            names = [f"{name} ({way}) with {n} threads" for name, n, way in (key, first)]
            raise Disagreement(f"{' and '.join(names)} differ in case {case}:\n{found}\n{values[first]}")
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
    for key, worker in workers.items():
        time.sleep(PAUSE)
        result.ways[key] = worker.ask("choose")
    for _ in range(rounds):
        for key, worker in workers.items():
            median, disturbed = stopwatch.turn(worker)
            result.seconds[key].append(median)
            result.disturbed += disturbed
    return result
