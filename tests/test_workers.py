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
    model = LSTMRegressor(32, max_iter=1, random_state=seed).fit(X, y)
    return config.effective_n_threads(None), os_threads(), crc32(model.predict(X))

def rest(_):
    time.sleep(0.1)
    return os_threads(), LSTMRegressor.__name__  # which brings threads of BLAS

alone = [fit(seed)[2] for seed in seeds]

def check_workers(run_all, n_workers, n_threads):
    "Fits of n_threads each: the workers' processes have no threads but their helpers more than at rest."
    at_rest = max(run_all(rest, range(4 * n_workers)))[0]
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
from joblib import Parallel, delayed, parallel_config
from sklearn.model_selection import GridSearchCV

def search(n_jobs):
    model, grid = LSTMRegressor(32, max_iter=1, random_state=0), {{"solver": ["adam", "sgd"]}}
    score = lambda model, X, y: crc32(model.predict(X))
    found = GridSearchCV(model, grid, scoring=score, cv=2, n_jobs=n_jobs, refit=False).fit(X, y).cv_results_
    return [found[f"split{{i}}_test_score"].tolist() for i in range(2)]

one = search(1)
with parallel_config({backend!r}):
    check_workers(lambda call, values: Parallel(2)(delayed(call)(value) for value in values), 2, {share})
    assert search(2) == one
assert config.effective_n_threads(None) == cpus
"""
    )


@pytest.mark.parametrize(
    ("cluster", "n_workers", "n_threads"),
    [("processes=False, n_workers=1, threads_per_worker=8", 8, "cpus"), ("n_workers=2, threads_per_worker=1", 2, "1")],
    ids=["threads", "processes"],
)
def test_dask(tmp_path, cluster, n_workers, n_threads):
    """Dask tells its processes to use one thread; in threads of one process, fits share the CPUs."""
    pytest.importorskip("distributed")
    run(
        FITS
        + f"""
from distributed import Client

with Client({cluster}, dashboard_address=None, local_directory={str(tmp_path)!r}) as client:
    check_workers(lambda call, values: client.gather(client.map(call, values, pure=False)), {n_workers}, {n_threads})
"""
    )
