"""Fits side by side in workers of joblib, scikit-learn and Dask: the serial fits' bits, with few threads."""

import sys

import pytest
from test_processes import run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

FITS = """
from zlib import crc32
from lstmfast import LSTMRegressor, config

os.environ.pop("OMP_NUM_THREADS", None)
cpus, seeds = config.effective_n_threads(None), range(8)
X = np.random.default_rng(0).random((96, 40, 6), np.float32)
y = X.sum(axis=(1, 2))

def fit(seed):
    from lstmfast.config import effective_n_threads
    model = LSTMRegressor(32, max_iter=1, random_state=seed).fit(X, y)
    return effective_n_threads(None), len(os.listdir("/proc/self/task")), crc32(model.predict(X))

def rest(_):
    time.sleep(0.1)
    return len(os.listdir("/proc/self/task"))

alone = [fit(seed)[2] for seed in seeds]

def check_workers(run_all, n_workers, n_threads):
    "Workers whose fits may use n_threads have no more threads than when all are there and do nothing, but helpers."
    at_rest = max(run_all(rest, range(4 * n_workers)))
    n, most, bits = zip(*run_all(fit, seeds))
    assert set(n) == {n_threads}, n
    assert max(most) <= at_rest + n_workers * (n_threads - 1), (most, at_rest)
    assert list(bits) == alone
"""


@pytest.mark.parametrize(("backend", "share"), [("loky", "max(1, cpus // 2)"), ("threading", "1")])
def test_joblib(backend, share):
    """Each worker gets its share of the CPUs."""
    run(
        FITS
        + f"""
from joblib import Parallel, delayed
check_workers(lambda call, values: Parallel(2, {backend!r})(delayed(call)(value) for value in values), 2, {share})
assert config.effective_n_threads(None) == cpus
"""
    )


def test_grid_search():
    run(
        FITS
        + """
from sklearn.model_selection import GridSearchCV

def score(model, X, y):
    return crc32(model.predict(X))

def search(n_jobs):
    model = LSTMRegressor(32, max_iter=1, random_state=0)
    grid = {"solver": ["adam", "sgd"]}
    return GridSearchCV(model, grid, scoring=score, cv=3, n_jobs=n_jobs, refit=False).fit(X, y).cv_results_

one, two = search(1), search(2)
for i in range(3):
    assert one[f"split{i}_test_score"].tolist() == two[f"split{i}_test_score"].tolist()
"""
    )


@pytest.mark.parametrize(("processes", "n_workers", "n_threads"), [(False, 8, "cpus"), (True, 2, "1")])
def test_dask(tmp_path, processes, n_workers, n_threads):
    """Dask tells its processes to use one thread; in threads of one process, fits share the CPUs."""
    pytest.importorskip("distributed")
    run(
        FITS
        + f"""
import dask
from distributed import Client

faulthandler.cancel_dump_traceback_later()
dask.config.set({{"distributed.worker.daemon": True, "temporary-directory": {str(tmp_path)!r}}})
with Client(processes={processes}, n_workers=..., threads_per_worker=..., dashboard_address=None) as client:
    check_workers(lambda call, values: client.gather(client.map(call, values, pure=False)), {n_workers}, {n_threads})
"""
    )
