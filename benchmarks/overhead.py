"""What Python adds to the kernels: `python -m benchmarks.overhead`.

One prediction of one sequence, and the share of `fit` that is spent inside the compiled core.
"""

import statistics
import time

import numpy as np

from lstmfast import LSTMClassifier, _core


class CoreClock:
    """Adds up the time spent in functions and classes of the compiled core while it is active."""

    NAMES = (
        "Batch", "Recurrence", "forward", "backward", "dense_forward", "dense_weight_gradient", "pack_gates",
        "pack_gates_transposed", "pack_columns", "penalised_gradient", "optimizer_step", "output_probabilities",
    )  # fmt: skip

    def __init__(self):
        self.seconds = 0.0

    def __enter__(self):
        self.originals = {name: getattr(_core, name) for name in self.NAMES}
        for name, original in self.originals.items():
            setattr(_core, name, self.timed(original))
        return self

    def __exit__(self, *error):
        for name, original in self.originals.items():
            setattr(_core, name, original)

    def timed(self, function):
        """The function, its time added up."""

        def call(*arguments, **options):
            started = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds += time.perf_counter() - started
            return result

        return call


def seconds(call, repeats):
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main():
    """Print both."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 20, 8)).astype(np.float32), np.arange(100) % 3
    fit = LSTMClassifier(32, max_iter=50, tol=0, n_iter_no_change=50, n_jobs=1, random_state=0).fit
    whole = seconds(lambda: fit(X, y), 7)
    shares = []
    for _ in range(7):
        with CoreClock() as clock:
            started = time.perf_counter()
            fit(X, y)
            shares.append((time.perf_counter() - started) / clock.seconds)
    print(f"fit, 100 sequences of 20 steps, 32 units, 50 epochs: {whole * 1e3:.1f} ms, "
          f"{statistics.median(shares):.2f} times what the compiled core takes")  # fmt: skip
    x = rng.standard_normal((1, 100, 8)).astype(np.float32)
    model = LSTMClassifier(32, max_iter=1, n_jobs=1).fit(X, y)
    print(f"predict, 1 sequence of 100 steps, 32 units: {seconds(lambda: model.predict(x), 2000) * 1e6:.0f} us")


if __name__ == "__main__":
    main()
