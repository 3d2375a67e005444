"""The yardstick's worker: NumPy's float32 matrix product, whatever the task."""

import numpy as np

from .cases import TASKS
from .worker import serve

SIZE = 1536  # large enough for OpenBLAS's full rate
FLOPS = 2 * SIZE**3


def product(case, threads):
    """The product of two square matrices. Threads are set by the environment, before NumPy is imported."""
    a, b = np.random.default_rng(0).random((2, SIZE, SIZE), dtype=np.float32)
    c = np.empty_like(a)
    return lambda: np.matmul(a, b, out=c), []


def describe():
    """NumPy's version and its BLAS."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"NumPy {np.__version__} ({blas['name']} {blas['version']})"


if __name__ == "__main__":
    serve(describe, dict.fromkeys(TASKS, product))
