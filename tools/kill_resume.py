"""Does a fit that is killed at a random moment, and resumed, end with the bits of one that was left alone?

    python tools/kill_resume.py --kills 50

Each round takes the next estimator and solver, starts a fit with a checkpoint in a process of its own, kills that with
SIGKILL after a random time, and resumes the fit in another process. Three things are compared with an uninterrupted
fit, byte for byte: the saved model, the last checkpoint (moments, random state, history) and the one before it. And the
killed fit may have lost no more than the epoch that it was in. Needs an operating system with fork.
"""

import argparse
import itertools
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lstmfast

PROCESSES = multiprocessing.get_context("fork")  # NumPy and scikit-learn are imported once
SOLVERS = ("adam", "adamw", "sgd", "rmsprop")
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 20, 120)
RAGGED = [RNG.normal(size=(length, 3)) for length in LENGTHS]
TOKENS = [RNG.integers(0, 50, length).tolist() for length in LENGTHS]
TEXTS = [" ".join(map(str, tokens)) for tokens in TOKENS]
LABELS, NUMBERS = RNG.integers(0, 3, 120), RNG.normal(size=120)
SERIES = np.sin(np.arange(300) / 5) + RNG.normal(scale=0.1, size=300)
DROPOUT = {"dropout": 0.2, "recurrent_dropout": 0.1}

FITS = {
    "classifier, early stopping": (lstmfast.LSTMClassifier, DROPOUT | {"early_stopping": True}, (RAGGED, LABELS)),
    "classifier of tokens": (lstmfast.LSTMClassifier, DROPOUT | {"embedding_dim": 8}, (TOKENS, LABELS)),
    "regressor, cosine": (lstmfast.LSTMRegressor, {"learning_rate": "cosine"}, (RAGGED, NUMBERS)),
    "regressor, adaptive": (
        lstmfast.LSTMRegressor, {"learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 3}, (RAGGED, NUMBERS),
    ),
    "tagger with CRF": (lstmfast.LSTMTagger, {"crf": True}, (RAGGED, [RNG.integers(0, 3, n) for n in LENGTHS])),
    "forecaster": (lstmfast.LSTMForecaster, {"window": 12, "horizon": 3}, (SERIES,)),
    "language model": (lstmfast.LSTMLanguageModel, DROPOUT | {"bptt": 32}, (TEXTS,)),
    "recommender, sampled": (lstmfast.LSTMRecommender, {"n_samples": 10}, (TOKENS,)),
    "translator": (lstmfast.LSTMTranslator, DROPOUT, (TEXTS, TEXTS[::-1])),
    "transformer": (lstmfast.LSTMTransformer, {"early_stopping": True}, (RAGGED,)),
}  # fmt: skip


def train(kind, solver, folder, epochs):
    """What a process does: a fit to its end, from where its checkpoint stands."""
    cls, arguments, data = FITS[kind]

    def count(info):
        epochs.value = info.epoch

    estimator = cls(
        hidden_layer_sizes=16, solver=solver, max_iter=25, batch_size=16, learning_rate_init=0.01, random_state=0,
        n_jobs=1, **{"n_iter_no_change": 25} | arguments, callbacks=count,
    )  # fmt: skip
    estimator.fit(*data, checkpoint=folder / "fit", resume=True)
    estimator.save(folder / "model")


def run(kind, solver, folder, kill_after=None):
    """(seconds that the process lived, epochs that it trained, whether it was killed)"""
    epochs = PROCESSES.Value("i", 0)
    process = PROCESSES.Process(target=train, args=(kind, solver, folder, epochs))
    started = time.perf_counter()
    process.start()
    process.join(kill_after)
    killed = process.is_alive()
    if killed:
        process.kill()
        process.join()
    elif process.exitcode:
        sys.exit(f"{kind}, {solver}: the process ended with {process.exitcode}")
    return time.perf_counter() - started, epochs.value, killed


def contents(folder):
    """Bytes of all files of a finished fit, by name: no temporary may be left."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kill_and_resume(kind, solver, expected, seconds, rng):
    """One round: a line that says how it went, and whether it went well."""
    with tempfile.TemporaryDirectory() as name:
        folder, killed = Path(name), False
        while not killed:  # it may have ended before: a new fit
            for path in folder.iterdir():
                path.unlink()
            _, epochs, killed = run(kind, solver, folder, rng.uniform(0, seconds))
        files = [path for path in (folder / "fit", folder / "fit.previous") if path.exists()]
        kept = lstmfast.load(files[0]).n_iter_ if files else 0
        run(kind, solver, folder)
        equal = contents(folder) == expected
    return f"killed in epoch {epochs}, {kept} kept, {'equal' if equal else 'DIFFERENT'}", equal and epochs - kept <= 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, known, failures = np.random.default_rng(arguments.seed), {}, 0
    fits = itertools.cycle(itertools.product(SOLVERS, FITS))
    for number, (solver, kind) in enumerate(itertools.islice(fits, arguments.kills), 1):
        if (kind, solver) not in known:
            with tempfile.TemporaryDirectory() as name:
                seconds, _, _ = run(kind, solver, Path(name))
                known[kind, solver] = contents(Path(name)), seconds
        line, good = kill_and_resume(kind, solver, *known[kind, solver], rng)
        failures += not good
        print(f"{number:4} {kind}, {solver}: {line}", flush=True)
    print(f"{arguments.kills} kills, {arguments.kills - failures} ends bit-identical with at most one epoch lost")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
