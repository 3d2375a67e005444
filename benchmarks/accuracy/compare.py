"""A task solved by lstmfast and by the same network in PyTorch: scores and seconds of several fits each."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context

N_THREADS = 2
TRIAL_STEPS = 200


@dataclass(frozen=True)
class Comparison:
    """What is compared. Everything is sent to the processes that train, so functions must stand in modules.

    Attributes
    ----------
    title : str
        What the data are.
    load : callable
        () -> (train, (inputs, truth)), whatever the functions below take; the same in every process.
    settings : dict
        How to train: arguments of the estimator, and of the network in PyTorch.
    fit : callable
        (train, settings, seed, n_threads) -> lstmfast's fitted estimator.
    predict : callable
        (model, inputs) -> what it predicts.
    peer : str
        Module beside this one that does the same in PyTorch: `fit(train, settings, seed, way)`,
        `predict(model, inputs)`, and `ways(settings)`, the ways to lay out a batch.
    score : callable
        (predicted, truth) -> dict of str to float: the scores of a model, by name.
    formats : dict of str to str
        How to print the scores, for example {"accuracy": ".2%"}.
    """

    title: str
    load: Callable
    settings: dict
    fit: Callable
    predict: Callable
    peer: str
    score: Callable
    formats: dict


def fit_ours(comparison, seed):
    """(scores, seconds) of one fit."""
    import_module("lstmfast.estimators")  # before the clock starts, as PyTorch is
    train, (inputs, truth) = comparison.load()
    started = time.perf_counter()
    model = comparison.fit(train, comparison.settings, seed, N_THREADS)
    seconds = time.perf_counter() - started
    return comparison.score(comparison.predict(model, inputs), truth), seconds


def fit_peer(comparison, seed, way, n_threads):
    """The same in PyTorch."""
    peer, torch = import_module(f".{comparison.peer}", __package__), import_module("torch")
    train, (inputs, truth) = comparison.load()
    torch.set_num_threads(n_threads)
    started = time.perf_counter()
    model = peer.fit(train, comparison.settings, seed, way)
    seconds = time.perf_counter() - started
    return comparison.score(peer.predict(model, inputs), truth), seconds


def try_peer(comparison):
    """Seconds of TRIAL_STEPS batches in PyTorch by (way, number of threads), the best of two; and its version.

    Where an epoch has fewer batches, seconds of one epoch.
    """
    peer, torch = import_module(f".{comparison.peer}", __package__), import_module("torch")
    train, _ = comparison.load()
    settings, seconds = comparison.settings | {"max_iter": 1, "max_steps": TRIAL_STEPS}, {}
    for _ in range(2):
        for way in peer.ways(settings):
            for n_threads in range(1, N_THREADS + 1):
                torch.set_num_threads(n_threads)
                started = time.perf_counter()
                peer.fit(train, settings, 0, way)
                elapsed = time.perf_counter() - started
                seconds[way, n_threads] = min(elapsed, seconds.get((way, n_threads), elapsed))
    return seconds, torch.__version__


def in_new_process(function, *arguments):
    """What the function returns, computed in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(comparison):
    """Train with each seed of the command line, by turns; print scores, seconds, and what they say."""
    parser = argparse.ArgumentParser(description=f"{__doc__.splitlines()[0][:-1]}: {comparison.title}.")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="fits of each (default: 3)")
    n_seeds = parser.parse_args().seeds
    print(f"{comparison.title}. Settings:", ", ".join(f"{k}={v}" for k, v in comparison.settings.items()), flush=True)
    try:
        trials, version = in_new_process(try_peer, comparison)
    except ModuleNotFoundError as error:
        sys.exit(f"this comparison needs {error.name}; install it beside lstmfast")
    print(f"An epoch in PyTorch {version}, or {TRIAL_STEPS} batches of it:")
    for (way, n_threads), seconds in trials.items():
        print(f"  {way}, threads: {n_threads}: {seconds:.2f} s")
    best = min(trials, key=trials.get)
    fits = {"lstmfast": [], "PyTorch": []}
    for seed in range(n_seeds):
        fits["lstmfast"].append(in_new_process(fit_ours, comparison, seed))
        fits["PyTorch"].append(in_new_process(fit_peer, comparison, seed, *best))
        for name, found in fits.items():
            scores, seconds = found[-1]
            print(f"seed {seed}, {name}: {describe(scores, comparison.formats)}; fit {seconds:.1f} s", flush=True)
    print(summary(fits, comparison.formats))


def describe(scores, formats):
    """Scores as text."""
    return ", ".join(f"{name} {score:{formats[name]}}" for name, score in scores.items())


def summary(fits, formats):
    """Means, standard deviations, the difference with its standard error, and how the times compare, as text.

    Parameters
    ----------
    fits : dict of str to list
        Of two libraries, the (scores, seconds) of each fit.
    formats : dict of str to str
        As of a `Comparison`.
    """
    lines, (own, other) = [], fits.values()
    for name, form in formats.items():
        values = [[scores[name] for scores, _ in found] for found in (own, other)]
        means = [statistics.mean(of_one) for of_one in values]
        deviations = [statistics.stdev(of_one) if len(of_one) > 1 else float("nan") for of_one in values]
        error = sum(deviation**2 / len(of_one) for deviation, of_one in zip(deviations, values, strict=True)) ** 0.5
        parts = [
            f"{library} {mean:{form}} (standard deviation {deviation:{form}})"
            for library, mean, deviation in zip(fits, means, deviations, strict=True)
        ]
        parts.append(f"difference {means[0] - means[1]:+{form}} (standard error {error:{form}})")
        lines.append(f"{name}, mean of {len(own)}: {', '.join(parts)}")
    medians = [statistics.median(seconds for _, seconds in found) for found in (own, other)]
    times = ", ".join(f"{library} {median:.2f} s" for library, median in zip(fits, medians, strict=True))
    lines.append(f"fit, median: {times}, ratio {medians[1] / medians[0]:.2f}")
    return "\n".join(lines)
