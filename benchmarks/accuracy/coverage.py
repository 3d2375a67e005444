"""Do nine of ten values come true? Coverage of `LSTMForecaster.predict_interval` on the end of series not learned from.

Each series is forecast from every origin of its last part, the forecaster staying as it was fitted on the first. What
is synthetic is generated anew for each seed; real series are fitted anew.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from lstmfast import LSTMForecaster

from .forecasts import load_series

COVERAGE, N_TRAIN, N_TEST = 0.9, 300, 100
NETWORK = {
    "horizon": 6, "window": 24, "hidden_layer_sizes": 16, "max_iter": 60, "learning_rate": "cosine",
    "learning_rate_init": 5e-3, "n_jobs": 1,
}  # fmt: skip


def autoregression(rng, n, first=0.6, second=0.3):
    """AR(2)."""
    y = np.zeros(n + 100)
    for t in range(2, len(y)):
        y[t] = first * y[t - 1] + second * y[t - 2] + rng.normal()
    return y[100:]


def seasonal(rng, n):
    """A yearly cycle with AR(1) errors."""
    return 10 + 3 * np.sin(np.arange(n) * np.pi / 6) + 0.5 * autoregression(rng, n, 0.5, 0.0)


def growing(rng, n):
    """Exponential growth with a cycle and errors in proportion."""
    return np.exp(0.01 * np.arange(n) + 0.3 * np.sin(np.arange(n) * np.pi / 6) + 0.05 * rng.normal(size=n))


def volatile(rng, n):
    """GARCH(1, 1)."""
    y, variance = np.zeros(n), 1.0
    for t in range(1, n):
        variance = 0.1 + 0.15 * y[t - 1] ** 2 + 0.8 * variance
        y[t] = np.sqrt(variance) * rng.normal()
    return y


SYNTHETIC = {
    "noise": (lambda rng, n: rng.normal(size=n), {}),
    "noise with heavy tails": (lambda rng, n: rng.standard_t(3, size=n), {}),
    "GARCH": (volatile, {}),
    "AR(2)": (autoregression, {}),
    "season": (seasonal, {}),
    "random walk": (lambda rng, n: rng.normal(size=n).cumsum(), {}),
    "random walk, recursive": (lambda rng, n: rng.normal(size=n).cumsum(), {"strategy": "recursive"}),
    "random walk, differences=1": (lambda rng, n: rng.normal(size=n).cumsum(), {"differences": 1}),
    "growing season, log, differences=12": (growing, {"log": True, "differences": 12}),
    "growing season, log, differences=(1, 12)": (growing, {"log": True, "differences": (1, 12)}),
}
REAL = {
    "sunspots": {},
    "sunspots, recursive": {"strategy": "recursive"},
    "co2": {},
    "co2, differences=1": {"differences": 1},
    "airline": {"log": True, "window": 12},
    "airline, differences=1": {"log": True, "window": 12, "differences": 1},
    "macrodata": {"window": 8, "log": True, "differences": 1},
    "nile": {"window": 12},
    "elnino": {"differences": 12},
}


def hits_of(case, seed):
    """(case, hits (n_origins, horizon, d)) of one series."""
    rng = np.random.default_rng(seed)
    if case in SYNTHETIC:
        make, settings = SYNTHETIC[case]
        y, n_train = make(rng, N_TRAIN + N_TEST), N_TRAIN
    else:
        settings, y = REAL[case], load_series(case.split(",")[0])
        n_train = int(0.75 * len(y))
    forecaster = LSTMForecaster(**NETWORK | settings, random_state=seed).fit(y[:n_train])
    origins = range(n_train, len(y) - NETWORK["horizon"] + 1)
    lower, upper = map(np.array, forecaster.predict_interval([y[:origin] for origin in origins], coverage=COVERAGE))
    truth = np.array([y[origin : origin + NETWORK["horizon"]] for origin in origins])
    return case, ((lower <= truth) & (truth <= upper)).reshape(*truth.shape[:2], -1)


def main():
    """Print the coverage of each kind of series and of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="series of each kind (default: 20)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of the seeds (default: 0)")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    jobs = [(case, seed) for case in (*SYNTHETIC, *REAL) for seed in seeds]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        found = list(processes.map(hits_of, *zip(*jobs, strict=True), chunksize=4))
    of_kind = []
    for case in (*SYNTHETIC, *REAL):
        of_seeds = [hits.mean() for name, hits in found if name == case]
        by_step = np.mean([hits.mean(axis=(0, 2)) for name, hits in found if name == case], axis=0)
        of_kind.append(np.mean(of_seeds))
        steps = " ".join(f"{share:.1%}" for share in by_step)
        print(f"{case}: {of_kind[-1]:.1%} (standard deviation {np.std(of_seeds):.1%}); by step {steps}")
    for name, part in {"synthetic": of_kind[: len(SYNTHETIC)], "real": of_kind[len(SYNTHETIC) :]}.items():
        print(f"all {name}: {np.mean(part):.1%}")


if __name__ == "__main__":
    main()
