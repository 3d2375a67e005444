"""How long Ctrl-C takes: calls of many kinds, cut short at random moments.

    python tools/interrupts.py                  # every case, 20 moments each
    python tools/interrupts.py --times 200 conv

A timer's signal stands for Ctrl-C: it comes at a known moment, whoever holds the interpreter. For each case the longest
time until the exception, and the line of lstmfast in which the call was then.
"""

import argparse
import signal
import sys
import time
import traceback
from functools import partial

import numpy as np

from lstmfast import LSTMClassifier, LSTMForecaster, LSTMLanguageModel, LSTMTagger, LSTMTransformer, LSTMTranslator

RNG = np.random.default_rng(0)


def sequences(n, n_steps, n_features=8):
    return RNG.standard_normal((n, n_steps, n_features), np.float32)


def classifier(X, **arguments):
    """A fit without end and predictions of a classifier."""
    y = np.arange(len(X)) % 2
    arguments = {"max_iter": 10**6, "tol": 0, "n_iter_no_change": 10**6} | arguments
    return LSTMClassifier(**arguments), lambda model: model.fit(X, y), lambda model: model.predict(X)


def tagger(X, n_tags, **arguments):
    tags = RNG.integers(0, n_tags, X.shape[:2])
    return LSTMTagger(max_iter=10**6, **arguments), lambda model: model.fit(X, tags), lambda model: model.predict(X)


def transformer(X):
    model = LSTMTransformer(64, max_iter=10**6)
    return model, lambda model: model.fit(X), lambda model: model.reconstruct(X)


def language_model(n):
    text = "".join(RNG.choice(list("abcdefgh "), n))
    return LSTMLanguageModel(128, max_iter=10**6), lambda m: m.fit([text]), lambda m: m.generate("a", 10**5)


def translator(n, n_letters):
    texts = ["".join(RNG.choice(list("abcdefgh"), n_letters)) for _ in range(n)]
    model = LSTMTranslator(64, level="char", max_iter=10**6)
    return model, lambda m: m.fit(texts, texts), lambda m: m.predict(texts, 5)


def forecaster(n):
    model = LSTMForecaster(12, max_iter=10**6, window=200)
    return model, lambda m: m.fit(RNG.standard_normal(n)), lambda m: m.predict()


STACK = {"hidden_layer_sizes": (128, 128), "bidirectional": True, "pooling": "attention"}
CASES = {
    "one long sequence": lambda: classifier(np.repeat(sequences(1, 65_536), 2, axis=0), hidden_layer_sizes=512),
    "long sequences": lambda: classifier(sequences(24, 100_000), hidden_layer_sizes=64),
    "wide": lambda: classifier(sequences(64, 1024), hidden_layer_sizes=512),
    "many short": lambda: classifier(sequences(200_000, 10), hidden_layer_sizes=32),
    "conv, two directions, attention": lambda: classifier(sequences(24, 20_000), conv_layers=((64, 9),) * 2, **STACK),
    "double": lambda: classifier(sequences(24, 20_000), conv_layers=((64, 9),), dtype="float64", **STACK),
    "dropout": lambda: classifier(sequences(24, 20_000), dropout=0.5, recurrent_dropout=0.5, **STACK),
    "gru": lambda: classifier(sequences(24, 20_000), cell="gru", hidden_layer_sizes=256, pooling="max"),
    "CRF": lambda: tagger(sequences(8, 50_000), 30, hidden_layer_sizes=32, crf=True),
    "CRF, one sequence": lambda: tagger(sequences(2, 300_000), 30, hidden_layer_sizes=8, crf=True),
    "autoencoder": lambda: transformer(sequences(24, 20_000)),
    "language model": lambda: language_model(10**6),
    "translator": lambda: translator(64, 1000),
    "forecaster": lambda: forecaster(10**5),
}


def interrupt(*_):
    raise KeyboardInterrupt


def seconds_until_it_ends(call, after):
    """From the moment of the signal, `after` from now, and the line in which it found the call."""
    due = time.perf_counter() + after
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        while True:
            call()
    except KeyboardInterrupt as error:
        late = time.perf_counter() - due
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "lstmfast" in frame.filename]
        place = f"{frames[-1].filename.rpartition('lstmfast/')[2]}:{frames[-1].lineno}" if frames else "between calls"
        return late, place


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="parts of names; all if there is none")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--within", type=float, default=4, help="seconds after which the latest signal comes")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, interrupt)
    worst = 0
    for name, make in CASES.items():
        if options.cases and not any(part in name for part in options.cases):
            continue
        model, fit, predict = make()
        fitted = type(model)(**model.get_params() | {"max_iter": 1})
        fit(fitted)
        for kind, call in ("fit", partial(fit, model)), ("predict", partial(predict, fitted)):
            moments = RNG.uniform(0.01, options.within, options.times)
            late = [seconds_until_it_ends(call, after) for after in moments]
            seconds = [s for s, _ in late]
            print(f"{name}, {kind}: median {np.median(seconds):.3f} s, longest", end=" ")
            print(", ".join(f"{s:.3f} ({place})" for s, place in sorted(late, reverse=True)[:3]), flush=True)
            worst = max(worst, *seconds)
    print(f"longest of all: {worst:.3f} s")
    return int(worst > 0.2)


if __name__ == "__main__":
    sys.exit(main())
