"""Memory of the process over many predictions and fits: it must not grow.

python -m benchmarks.growth [--predictions N] [--fits N]
"""

import argparse
import gc
import os
import time

import psutil

from lstmfast import LSTMClassifier, LSTMForecaster, LSTMTranslator

from .sequences import labelled_sequences

TEXTS = ["to be or not to be", "be not", "to be", "or not"] * 4


def resident():
    """MiB that the process holds."""
    gc.collect()
    return psutil.Process(os.getpid()).memory_info().rss / 2**20


def report(what, n, call):
    """Run a call n times; print the memory after a tenth of them, when all caches are full, and after each half."""
    started, points = time.perf_counter(), {max(1, n // 10), n // 2, n}
    held = []
    for i in range(1, n + 1):
        call()
        if i in points:
            held.append(f"{resident():.1f} MiB after {i}")
    print(f"{what}: {', '.join(held)}; {time.perf_counter() - started:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=100_000, metavar="N")
    parser.add_argument("--fits", type=int, default=1000, metavar="N")
    arguments = parser.parse_args()
    X, y = labelled_sequences(64, 20, 4)
    ragged = [x[: 1 + i % 20] for i, x in enumerate(X)]
    classifier = LSTMClassifier(16, max_iter=2, random_state=0).fit(X, y)
    sizes = iter(range(10**9))

    def predict():
        i = next(sizes)
        classifier.predict_proba(ragged[i % 60 : i % 60 + 1 + i % 5])  # many shapes, so that caches by shape would show

    report("predictions", arguments.predictions, predict)
    stream = classifier.stream()
    report("steps of a stream", arguments.predictions, lambda: stream.step(X[0, 0]))
    report("fits", arguments.fits, lambda: LSTMClassifier(16, max_iter=2).fit(ragged, y))
    report("fits of one estimator", arguments.fits, lambda: classifier.fit(ragged, y))
    forecaster = LSTMForecaster(horizon=2, window=8, max_iter=1, hidden_layer_sizes=8)
    report("forecasters", arguments.fits // 5, lambda: forecaster.fit(X[0, :, 0].repeat(3)).predict())
    translator = LSTMTranslator(level="char", max_iter=1, hidden_layer_sizes=8)
    report("translators", arguments.fits // 5, lambda: translator.fit(TEXTS, TEXTS).predict(TEXTS))


if __name__ == "__main__":
    main()
