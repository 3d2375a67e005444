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

from .cases import TASKS
from .load import OtherLoad

HERE = Path(__file__).parent
# Runs a worker in any interpreter, with this folder as its package "peers": nothing else that is installed beside
# lstmfast comes onto its path.
START = """
import runpy, sys, types
peers = sys.modules["peers"] = types.ModuleType("peers")
peers.__path__ = [sys.argv.pop(1)]
runpy.run_module("peers." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # a folder "torch" where this is called is not PyTorch
# Each library's name and the modules it cannot do without; its worker is worker_NAME.py.
LIBRARIES = {
    "sgemm": ("numpy",), "lstmfast": ("lstmfast",), "torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"), "jax": ("jax",), "tensorflow": ("tensorflow",),
}  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# What keeps whom from wider vectors. XLA's newest kernels for products (YNN) have no switch but to be left out; then
# oneDNN's serve. ONNX Runtime's kernels ask the processor alone.
ISA_VARIABLES = {
    "avx2": {
        "LSTMFAST_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": " ".join(
            [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_max_isa=AVX2", "--xla_cpu_experimental_ynn_fusion_type="]
        ),
    },
}  # fmt: skip
UNLIMITED = ("onnxruntime",)
# OpenBLAS's and OpenMP's threads wait for more work in a loop for about a tenth of a second before they sleep.
PAUSE = 0.15
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
    isa : str, optional
        A key of `ISA_VARIABLES`.
    """

    def __init__(self, library, threads, python, isa=None):
        self.library, self.threads = library, threads
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) | ISA_VARIABLES.get(isa, {}) | SAFE_PATH
        self.process = subprocess.Popen(
            [python, "-c", START, str(HERE), f"worker_{library}", str(threads)], env={**os.environ, **variables},
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
    memory: by library, bytes at the peak above the idle process, where known.
    """

    case: object
    seconds: dict = field(default_factory=dict)
    ways: dict = field(default_factory=dict)
    disturbed: int = 0
    memory: dict = field(default_factory=dict)

    def median(self, *key):
        """Seconds."""
        return statistics.median(self.seconds[key])

    def best_threads(self, library):
        """The number of threads with which a library is fastest."""
        return min((key for key in self.seconds if key[0] == library), key=lambda key: self.median(*key))[1]

    def best(self, library):
        """Seconds with as many."""
        return self.median(library, self.best_threads(library))


def start_workers(task, threads, pythons, isa=None):
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
                workers[library, n] = Worker(library, n, python, isa)
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
    return subprocess.run([python, "-c", code, module], env={**os.environ, **SAFE_PATH}).returncode == 0


def prepare(workers, task, case):
    """Have every worker build the case; what they compute, by (library, threads, way).

    Raises
    ------
    Disagreement
        If a number is not the same for all libraries, to the task's tolerance.
    """
    values = {}
    for key, worker in workers.items():
        if key[0] != "sgemm":
            for way, numbers in worker.ask("prepare", task=task, case=asdict(case)).items():
                values[*key, way] = numbers
        else:
            worker.ask("prepare", task=task, case=asdict(case))
    first = next((key for key in values if key[0] == "lstmfast"), next(iter(values), None))
    tolerance = TASKS[task].tolerance
    for key, found in values.items():
        if not all(
            math.isclose(a, b, rel_tol=tolerance, abs_tol=NEGLIGIBLE) for a, b in zip(found, values[first], strict=True)
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
    for library in {key[0]: None for key in workers if key[0] != "sgemm"}:
        result.memory[library] = workers[library, result.best_threads(library)].ask("memory")
    return result
