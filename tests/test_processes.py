"""Forks, threads, signals, limits: each scenario in a process of its own that must end in time, without a crash."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

SECONDS = float(os.environ.get("LSTMFAST_TEST_SECONDS", "2"))  # a machine that does nothing else takes 0.1

# A network, which imports faster than the estimators, with batches that are worth several threads.
MODEL = f"""
import faulthandler, os, signal, sys, threading, time
faulthandler.enable()
faulthandler.dump_traceback_later(50, exit=True)
import numpy as np
from lstmfast.losses import SquaredError
from lstmfast.network import Network
from lstmfast.sequences import check_sequences

def random_sequences(n, n_steps):
    return check_sequences(np.random.default_rng(0).random((n, n_steps, 6), np.float32), dtype=np.float32)

def new_network(n_units):
    network = Network(6, (n_units,), 1)
    network.initialize(np.random.default_rng(0))
    return network

def gradient(network, sequences, n_threads=2):
    n = len(sequences)
    network.loss_and_gradient(
        sequences, np.arange(n), SquaredError(), np.ones((n, 1), np.float32), np.ones(n, np.float32) / n,
        n_threads=n_threads,
    )
    return network.gradients.copy()

def os_threads():
    return len(os.listdir("/proc/self/task"))

network, sequences, limit = new_network(64), random_sequences(48, 40), {SECONDS}
expected = network.outputs(sequences), gradient(network, sequences, 1)

def check():
    assert np.array_equal(network.outputs(sequences, n_threads=2), expected[0])
    assert np.array_equal(gradient(network.copy(), sequences), expected[1])
"""
# KMP_INIT_AT_FORK: scikit-learn, which other tests import, sets it, and it is asked below whether that matters.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "KMP_INIT_AT_FORK"} | {
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "PYTHONFAULTHANDLER": "1",
}


def run(code, variables=None, first="", file=None):
    """A new process that runs `first`, MODEL and the code, from a file if one is named; it must end well."""
    code = first + MODEL + textwrap.dedent(code)
    if file:
        file.write_text(code)
    process = subprocess.run(
        [sys.executable, *([str(file)] if file else ["-c", code])], env=ENVIRONMENT | (variables or {}),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert process.returncode == 0, f"exit status {process.returncode}\n{process.stderr}"
    assert "Fatal Python error" not in process.stderr, process.stderr


# ---- forks ----------------------------------------------------------------------------------------------------------
FORKS = """
helpers_in_child = True

def check_in_child():
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        return
    start = time.perf_counter()
    check()
    os._exit(0 if time.perf_counter() - start < limit and (os_threads() > 1) == helpers_in_child else 1)

check()
"""


def test_fork():
    run(FORKS + "check_in_child(); check(); check_in_child()")


def test_fork_from_a_thread_and_while_others_predict():
    run(
        FORKS
        + """
def use():
    while not end.is_set():
        check()

end = threading.Event()
threads = [threading.Thread(target=use) for _ in range(3)] + [threading.Thread(target=check_in_child)]
for thread in threads: thread.start()
for _ in range(5): check_in_child()
end.set()
for thread in threads: thread.join()
"""
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools(tmp_path, method):
    """multiprocessing imports the main module anew, so it must be a file."""
    run(
        f"""
        import functools, multiprocessing
        if __name__ == "__main__":
            check()
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                for result in pool.map(functools.partial(network.outputs, n_threads=2), [sequences] * 4):
                    assert np.array_equal(result, expected[0])
        """,
        file=tmp_path / "pool.py",
    )


# ---- threads --------------------------------------------------------------------------------------------------------
def test_64_threads_get_the_serial_bits_with_few_threads():
    run(
        """
        before, most, wrong, together = os_threads(), 0, [], threading.Barrier(64)
        def use():
            global most
            together.wait()
            for _ in range(5):
                if not np.array_equal(network.outputs(sequences, n_threads=2), expected[0]): wrong.append(True)
                most = max(most, os_threads())
            together.wait()
        threads = [threading.Thread(target=use) for _ in range(64)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not wrong
        assert most - before <= 64 + 4 * len(os.sched_getaffinity(0)), (before, most)
        """
    )


LIMITS = {
    "ulimit": """
import resource
if os.getuid() == 0: os.setuid(54321)  # root has no limit
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
""",
    "control group": """
group = os.environ["GROUP"]
open(group + "/cgroup.procs", "w").write("0")
open(group + "/pids.max", "w").write(str(os_threads()))
""",
}


@pytest.fixture
def group():
    """A new control group, which a process may join and limit."""
    for root in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        path = Path(root, f"lstmfast-{os.getpid()}")
        with contextlib.suppress(OSError):
            path.mkdir()
            yield path
            path.rmdir()
            return
    pytest.skip("no control group can be made")


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_on_threads_leaves_one(name, request):
    """GNU OpenMP would end the process."""
    run(
        LIMITS[name]
        + """
try:
    threading.Thread(target=int).start()
except RuntimeError:
    check()
else:
    sys.exit("no limit")
""",
        {"GROUP": str(request.getfixturevalue("group"))} if name == "control group" else None,
    )


@pytest.mark.parametrize(
    "variables",
    [
        *[{"OMP_NUM_THREADS": value} for value in ("abc", "0", "4,2")],
        *[{"OMP_STACKSIZE": value} for value in ("1k", "16k", " 20000 B", "64k")],
        {"OMP_DYNAMIC": "true", "OMP_PROC_BIND": "close"}, {"OMP_THREAD_LIMIT": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_openmp_variables(variables):
    run("check()", variables)


def runtime(path):
    """Code that gives `use` of an OpenMP library: what a compiler calls for a parallel region of two threads."""
    return f"""
import ctypes
library, nothing = ctypes.CDLL({str(path)!r}, ctypes.RTLD_GLOBAL), ctypes.CDLL(None).sched_yield
def use(): library.GOMP_parallel(nothing, None, 2, 0)
"""


# Who else brings an OpenMP library: a module to import or the library's file, and code that gives `use`.
INTEL = Path(sys.prefix, "lib", "libiomp5.so")
LLVM = min(Path("/usr/lib").glob("llvm-*/lib/libomp.so"), default=Path("libomp.so"))
OTHERS = {
    "torch": """
import torch
def use(): torch.nn.LSTM(64, 64)(torch.zeros(40, 48, 64))
""",
    "sklearn": """
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
def use(): HistGradientBoostingRegressor(max_iter=1, max_leaf_nodes=2).fit(np.eye(99, 4), np.arange(99))
""",
    INTEL: runtime(INTEL),
    LLVM: runtime(LLVM),
}


@pytest.mark.parametrize(
    ("other", "order"),
    [*itertools.product(OTHERS, ["first", "last"]), (INTEL, "preloaded"), (LLVM, "preloaded")],
    ids=lambda value: getattr(value, "stem", value),
)
def test_two_openmp_runtimes(other, order):
    """A library that was there first, and lets others see it, is the one that our calls reach too."""
    if isinstance(other, Path) and not other.exists():
        pytest.skip(f"{other.name} is not installed")
    if other == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    load, ours_too = OTHERS[other] + "use()\n", isinstance(other, Path) and order != "last"
    run(
        f"""
{"" if order == "first" else load}
before = os_threads()
check()
assert os_threads() == before or not {ours_too}
{FORKS}
for _ in range(2):
    check_in_child()
    use()
    check()
""",
        first=load if order == "first" else "",
        variables={"LD_PRELOAD": str(other)} if order == "preloaded" else None,
    )


@pytest.mark.parametrize("library", [INTEL, LLVM], ids=lambda path: path.stem)
def test_a_runtime_that_is_told_not_to_look_after_forks(library):
    """As scikit-learn tells it. A child that had threads of it would wait for others that are not there."""
    if not library.exists():
        pytest.skip(f"{library.name} is not installed")
    run(
        FORKS + "helpers_in_child = False\ncheck_in_child(); check(); check_in_child()",
        variables={"LD_PRELOAD": str(library), "KMP_INIT_AT_FORK": "FALSE"},
    )


def test_inside_another_parallel_region():
    """Two threads of one region predict; in them OpenMP gives teams of one."""
    run(
        """
        import ctypes
        from lstmfast import _core
        done = []
        def predict(_):
            check()
            done.append(threading.get_ident())
        region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(predict)
        for _ in range(3):
            ctypes.CDLL(_core.__file__).GOMP_parallel(region, None, 2, 0)
        check()
        assert len(done) == 6 and len(set(done)) == 2, done
        """
    )


# ---- interpreters ---------------------------------------------------------------------------------------------------
def test_the_interpreter_ends_while_daemon_threads_predict():
    run(
        """
        def use():
            while True: network.outputs(sequences, n_threads=2)
        for _ in range(3): threading.Thread(target=use, daemon=True).start()
        time.sleep(0.2)
        """
    )


def test_import_in_a_subinterpreter():
    """NumPy refuses it, and so do we."""
    run(
        """
        try:
            import _interpreters as interpreters
        except ImportError:  # until Python 3.12
            import _xxsubinterpreters as interpreters
        for _ in range(2):
            other = interpreters.create()
            assert not interpreters.run_string(other, '''if True:
                for name in ("_core", "network"):
                    try:
                        __import__("lstmfast." + name)
                    except ImportError:
                        continue
                    raise AssertionError(name)
            ''')
            interpreters.destroy(other)
            check()
        """
    )


# ---- signals --------------------------------------------------------------------------------------------------------
INTERRUPT = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with Ctrl-C ignored
sent = []
def interrupt(after):
    def send():
        time.sleep(after)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=send, daemon=True).start()

def seconds_to_answer(call, after):
    interrupt(after)
    try:
        while True: call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[-1]
"""


@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c(n_threads):
    """Many long sequences, one (whose units the threads share), and a gradient: each takes seconds."""
    run(
        f"""
{INTERRUPT}
wide, many, one = new_network(512), random_sequences(128, 1000), random_sequences(1, 40_000)
assert seconds_to_answer(lambda: wide.outputs(many, n_threads={n_threads}), 0.1) < limit / 2
assert seconds_to_answer(lambda: wide.outputs(one, n_threads={n_threads}), 0.1) < limit / 2
long = random_sequences(16, 2000)  # a second's work for the fastest
for after in (0.1, 0.4):
    assert seconds_to_answer(lambda: gradient(wide, long, {n_threads}), after) < limit / 2
check()
"""
    )


def test_ctrl_c_in_a_conditional_random_field():
    """One sequence, whose steps wait for each other."""
    run(
        f"""
{INTERRUPT}
from lstmfast._core import Batch
from lstmfast.layers import CRF
crf, batch = CRF(200, random_state=0), Batch(np.array([150_000]))
z, labels, weights = np.zeros((150_000, 200), np.float32), np.zeros(150_000, np.int64), np.ones(1, np.float32)
assert seconds_to_answer(lambda: crf.decode(batch, z), 0.1) < limit / 4
for after in (0.2, 1):
    assert seconds_to_answer(lambda: crf.loss_and_gradient(batch, z, labels, weights), after) < limit / 4
"""
    )


def test_a_handler_that_raises_nothing_lets_a_call_go_on():
    run(
        f"""
{INTERRUPT}
wide, many, seen = new_network(256), random_sequences(64, 200), []
expected_wide = wide.outputs(many, n_threads=2)
signal.signal(signal.SIGINT, lambda *_: seen.append(True))
interrupt(0.05)
for _ in range(3):
    assert np.array_equal(wide.outputs(many, n_threads=2), expected_wide)
assert seen
"""
    )


def test_sigterm_ends_the_process():
    code = MODEL + "print('up', flush=True)\ngradient(new_network(512), random_sequences(24, 2000))"
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(timeout=5) == -signal.SIGTERM
        assert "Fatal Python error" not in process.stderr.read()
