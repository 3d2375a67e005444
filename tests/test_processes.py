"""Forks, threads, signals, limits: each scenario in a process of its own that must end in time, without a crash."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

SECONDS = float(os.environ.get("LSTMFAST_TEST_SECONDS", "2"))  # a machine that does nothing else takes 0.1

# A network, which imports faster than the estimators, with batches that are worth several threads.
MODEL = f"""
import faulthandler, os, signal, sys, threading, time
faulthandler.enable()
faulthandler.dump_traceback_later(25, exit=True)
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
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(code, variables=None, first=""):
    """A new process that imports `first`, then runs MODEL and the code; it must end well."""
    process = subprocess.run(
        [sys.executable, "-c", first + MODEL + textwrap.dedent(code)], env=ENVIRONMENT | (variables or {}),
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert process.returncode == 0, f"exit status {process.returncode}\n{process.stderr}"


# ---- forks ----------------------------------------------------------------------------------------------------------
FORKS = """
def check_in_child():
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        return
    start = time.perf_counter()
    check()
    os._exit(0 if time.perf_counter() - start < limit and os_threads() > 1 else 1)

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
    file = tmp_path / "pool.py"
    file.write_text(
        MODEL
        + f"""
import functools, multiprocessing
if __name__ == "__main__":
    check()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        for result in pool.map(functools.partial(network.outputs, n_threads=2), [sequences] * 4):
            assert np.array_equal(result, expected[0])
"""
    )
    subprocess.run([sys.executable, str(file)], env=ENVIRONMENT, check=True, timeout=30, capture_output=True)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(backend):
    """Each worker gets its share of the CPUs."""
    run(
        f"""
        from joblib import Parallel, delayed
        from lstmfast import config
        os.environ.pop("OMP_NUM_THREADS", None)
        cpus = config.effective_n_threads(None)
        def work(network, sequences):
            from lstmfast.config import effective_n_threads
            return effective_n_threads(None), network.outputs(sequences, n_threads=2)
        check()
        for n, result in Parallel(2, backend={backend!r})(delayed(work)(network, sequences) for _ in range(4)):
            assert n == (1 if {backend!r} == "threading" else max(1, cpus // 2)), n
            assert np.array_equal(result, expected[0])
        assert config.effective_n_threads(None) == cpus
        """
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


def test_a_limit_on_threads_leaves_one():
    """GNU OpenMP would end the process."""
    run(
        """
        import resource
        if os.getuid() == 0: os.setuid(54321)  # root has no limit
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            threading.Thread(target=int).start()
        except RuntimeError:
            check()
        else:
            sys.exit("no limit")
        """
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


@pytest.mark.parametrize("first", ["import torch", "from lstmfast import _core"])
def test_two_openmp_runtimes(first):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    run(
        FORKS
        + """
import torch
module = torch.nn.LSTM(64, 64)
for _ in range(2):
    module(torch.zeros(40, 48, 64))
    check()
check_in_child()
""",
        first=first,
    )


def test_the_interpreter_ends_while_daemon_threads_predict():
    run(
        """
        def use():
            while True: network.outputs(sequences, n_threads=2)
        for _ in range(3): threading.Thread(target=use, daemon=True).start()
        time.sleep(0.2)
        """
    )


# ---- signals --------------------------------------------------------------------------------------------------------
INTERRUPT = """
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
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[-1]
    sys.exit("it ended before the signal")
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
    with subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(timeout=5) == -signal.SIGTERM
