"""What units, layers, batch size, learning rate and epochs do to accuracy and time: the figures of docs/sizes.md.

One setting at a time differs from a base; the mean accuracy on held-out data and its standard deviation over seeds, and
the median seconds of a fit on one thread. ``python -m benchmarks.accuracy.sizes [--seeds 5]``.
"""

import argparse
import time

import numpy as np

from lstmfast import LSTMClassifier
from lstmfast.commands.demo import digits

from . import japanese_vowels

BASE = {
    "hidden_layer_sizes": (64,), "batch_size": 32, "learning_rate": "cosine", "learning_rate_init": 5e-3,
    "max_iter": 60,
}  # fmt: skip
VARIED = {
    "hidden_layer_sizes": [(8,), (16,), (32,), (64,), (128,), (256,), (64, 64), (64, 64, 64)],
    "batch_size": [8, 32, 128],
    "learning_rate_init": [2e-4, 1e-3, 5e-3, 2e-2, 1e-1],
    "learning_rate": ["cosine", "one_cycle", "constant"],
    "max_iter": [10, 30, 60, 120],
    "dropout": [0.0, 0.3, 0.6],
    "bidirectional": [False, True],
    "pooling": ["last", "mean", "max"],
    "cell": ["lstm", "gru", "rnn"],
}


def measure(settings, data, n_seeds):
    """(mean accuracy, its standard deviation, median seconds) of fits from several seeds."""
    train, test = data
    scores, seconds = [], []
    for seed in range(n_seeds):
        model = LSTMClassifier(**BASE | settings, tol=0, n_iter_no_change=10**6, n_jobs=1, random_state=seed)
        started = time.perf_counter()
        model.fit(*train)
        seconds.append(time.perf_counter() - started)
        scores.append(model.score(*test))
    return np.mean(scores), np.std(scores, ddof=1), np.median(seconds)


def main():
    """Print a row of a table for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    X_train, X_test, y_train, y_test = digits()
    sets = {"digits": ((X_train, y_train), (X_test, y_test)), "Japanese vowels": japanese_vowels.load()}
    print("| setting | " + " | ".join(f"{name} | s" for name in sets) + " |")
    for name, values in VARIED.items():
        for value in values:
            row = [f"{name}={value!r}"]
            for data in sets.values():
                mean, deviation, seconds = measure({name: value}, data, arguments.seeds)
                row += [f"{100 * mean:.1f} ± {100 * deviation:.1f}", f"{seconds:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
