"""A skip must say why, in words that this file knows: otherwise a test run on the CI server fails."""

import os

# scikit-learn skips its array API check unless this is set before SciPy is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# Part of the reason a skip gives, and why it may stand.
EXPLAINED_SKIPS = {
    "does not have a decision_function": "a softmax classifier has predict_proba instead",
    "could not import 'torch'": "a 750 MB download for one more kind of input; run when it is installed",
    "PyTorch is not installed": "a live comparison; tests/golden holds results of it",
    "TensorFlow is not installed": "a live comparison; tests/reference.py stands for it",
    "could not import 'onnx": "36 MB, no wheels for musl: the extra [onnx] brings it; tests/golden has the data",
    "could not import 'keras'": "600 MB with its backend; what it computes is in tests/golden",
    "could not import 'sktime'": "30 MB and half a minute of its checks; run when it is installed",
    "could not import 'h5py'": "for one kind of file; run when it is installed",
    "could not import 'starlette": "for an example: the extra [service] brings it",
    "could not import 'uvicorn_worker'": "for an example: the extra [service] brings it",
    "Gunicorn and signals": "Gunicorn runs on no Windows, and Python sends no SIGTERM there",
    "needs fork": "processes are forked after the imports; Windows cannot",
    "LSTMFAST_TIGHT_MEMORY": "every allocation fails in turn, NumPy's own too, which can crash there: run by hand",
    "gunicorn is not installed": "for an example: the extra [service] brings it",
    "uwsgi is not installed": "it has no wheels and takes a compiler: run when it is installed",
    "could not import 'celery'": "the extra [test] brings it on Linux",
    "could not import 'distributed'": "the extra [test] brings it on Linux",
    "libiomp5.so is not installed": "Intel's OpenMP is a 50 MB download: run when it is installed",
    "libomp.so is not installed": "LLVM's OpenMP comes with the system: run when it is installed",
    "no control group can be made": "a container may not, nor who is not root",
    "LSTMFAST_HUGE": "arrays of more than 2**31 values need 12 GB and minutes: run by hand",
    "reads /proc": "forks and signals as Linux has them; the wheels for Linux run them",
    "root may write": "needs a user who is not root",
}


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    reasons = [str(report.longrepr[-1]) for report in reporter.stats.get("skipped", ())]
    unexplained = sorted({reason for reason in reasons if not any(part in reason for part in EXPLAINED_SKIPS)})
    if unexplained:
        reporter.write_line("Skipped for a reason that tests/conftest.py does not know:", red=True)
        for reason in unexplained:
            reporter.write_line(f"  {reason}")
        session.exitstatus = 1
