"""Random sequences for the benchmarks."""

import numpy as np

N_CLASSES = 10


def labelled_sequences(n, steps, features, dtype="float32", ragged=False):
    """X (n, T, F), or a list of n sequences of T / 5 to T steps, and labels y (n,); the same at each call."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, steps, features), dtype=dtype)
    y = np.arange(n) % N_CLASSES
    if ragged:
        X = [x[:length] for x, length in zip(X, rng.integers(-(-steps // 5), steps + 1, n), strict=True)]
    return X, y
