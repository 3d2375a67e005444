"""A fitted model in a server that forks: the parent's bits in time, also where a worker is killed and forked anew."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from test_processes import ENVIRONMENT, MODEL, SECONDS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

N_WORKERS = 2
SERVED = (
    MODEL
    + """
import json
from lstmfast import LSTMRegressor

before = os_threads()
check()
assert os_threads() > before  # a helper, which is there when a server forks
X = np.random.default_rng(0).random((48, 40, 6), np.float32)
model = LSTMRegressor(64, max_iter=1, n_jobs=2, random_state=0).fit(X, X.sum(axis=(1, 2)))
predicted = model.predict(X)
faulthandler.cancel_dump_traceback_later()

def answer():
    start = time.perf_counter()
    right = np.array_equal(model.predict(X), predicted)
    check()
    return {"right": right, "seconds": time.perf_counter() - start, "pid": os.getpid(), "threads": os_threads()}

def application(environ, start_response):
    body = json.dumps(answer()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "served.py").write_text(SERVED)
    return tmp_path


def paths(folder):
    return {"PYTHONPATH": os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])}


@contextlib.contextmanager
def started(command, **variables):
    """A process that runs until the end of this context, and must not crash in it."""
    with tempfile.TemporaryFile("w+") as log:
        how = {"env": ENVIRONMENT | variables, "stdout": log, "stderr": log, "start_new_session": True}
        with subprocess.Popen(command, **how) as process:
            try:
                yield process
                process.terminate()
                process.wait(20)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its workers too
                log.seek(0)
                said = log.read()
                print(said)
    assert "Fatal Python error" not in said


@contextlib.contextmanager
def server(command, **variables):
    """A server's address, of a free port ({port} in its command) of this machine, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with started([word.format(port=port) for word in command], **variables) as process:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", process


def assert_right(answers):
    """Answers of workers, each on two threads; None was lost with the worker that was killed, which had one in hand."""
    assert answers.count(None) <= 1
    answers = [answer for answer in answers if answer]
    assert all(answer["right"] and answer["threads"] == 2 for answer in answers)
    assert max(answer["seconds"] for answer in answers) < SECONDS
    assert len({answer["pid"] for answer in answers}) == N_WORKERS + 1


# ---- web servers ----------------------------------------------------------------------------------------------------
SERVERS = {
    "gunicorn": (
        *("gunicorn", "--bind", "127.0.0.1:{port}", "--preload", "--workers", f"{N_WORKERS}"),
        "served:application",
    ),
    "uwsgi": (
        *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", f"{N_WORKERS}", "--die-on-term"),
        *("--disable-logging", "--virtualenv", sys.prefix, "--module", "served:application"),
    ),
}


def ask(address):
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=20) as response:
            return json.load(response)
    except (OSError, http.client.HTTPException):
        return None


@pytest.mark.parametrize("name", SERVERS)
def test_a_worker_is_killed_under_load(folder, name):
    """Requests go on until the worker that takes its place has answered some."""
    if not shutil.which(name, path=ENVIRONMENT["PATH"]):
        pytest.skip(f"{name} is not installed")
    with server(SERVERS[name], **paths(folder)) as (address, _), ThreadPoolExecutor(4) as clients:
        answers, pids = [ask(address)], set()
        assert answers[0], "no answer in time"
        while len(pids) <= N_WORKERS and len(answers) < 2000 and answers.count(None) <= 1:
            burst = [clients.submit(ask, address) for _ in range(100)]
            if not pids:
                os.kill(next(as_completed(burst)).result()["pid"], signal.SIGKILL)
            answers += [request.result() for request in burst]
            pids = {answer["pid"] for answer in answers if answer}
    assert_right(answers)


# ---- task queues ----------------------------------------------------------------------------------------------------
TASKS = """
import os, signal
import celery

queue = os.environ["QUEUE"]
app = celery.Celery(broker="filesystem://", backend=f"file://{queue}")
folders = dict.fromkeys(["data_folder_in", "data_folder_out", "control_folder"], queue)
app.conf.broker_transport_options = folders | {"polling_interval": 0.05}
app.conf.worker_lost_wait = 1

@app.task
def answer(killed=False):
    import served
    result = served.answer()
    if killed:  # in a task: one that waits for a task has the lock that all wait for
        os.kill(os.getpid(), signal.SIGKILL)
    return result
"""
CLIENT = """
import json, sys, time
n_workers = int(sys.argv[1])
from billiard.exceptions import WorkerLostError
from tasks import answer

def get(result):
    try:
        return result.get(timeout=20, interval=0.02)
    except WorkerLostError:
        return None

answers, end = [], time.monotonic() + 30
while not answers or (len({each["pid"] for each in answers if each}) <= n_workers and time.monotonic() < end):
    burst = [answer.delay(killed=i == 10 and not answers) for i in range(100)]
    answers += [get(result) for result in burst]
json.dump(answers, sys.stdout)
"""


def test_celery(folder):
    """As above, with Celery's pool of forked workers and a folder as its broker."""
    pytest.importorskip("celery")
    (folder / "tasks.py").write_text(TASKS)
    (folder / "queue").mkdir()
    variables = paths(folder) | {"QUEUE": str(folder / "queue")}
    command = [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--include", "served"]
    with started([*command, "--concurrency", str(N_WORKERS)], **variables):
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, str(N_WORKERS)],
            env=ENVIRONMENT | variables,
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
    assert_right(json.loads(client.stdout))
