"""Test accuracy of LSTMClassifier and of the same network in PyTorch, several seeds each."""

import argparse
import sys

import numpy as np

from lstmfast import LSTMClassifier


def compare(title, data, settings):
    """Train with each seed of the command line, print the accuracies and their means.

    Parameters
    ----------
    title : str
        What the data are.
    data : tuple
        X_train, X_test, y_train, y_test.
    settings : dict
        Arguments of `LSTMClassifier`; see `torch_training.accuracy`.
    """
    parser = argparse.ArgumentParser(description=f"{__doc__[:-1]}: {title}.")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each (default: 3)")
    seeds = range(parser.parse_args().seeds)
    try:
        from .torch_training import accuracy
    except ModuleNotFoundError as error:
        sys.exit(f"this comparison needs {error.name}; install it beside lstmfast")
    X_train, X_test, y_train, y_test = data
    print(f"{title}: {len(X_train)} sequences to train on, {len(X_test)} to test on.")
    print("Settings:", ", ".join(f"{name}={value}" for name, value in settings.items()))
    found = []
    for seed in seeds:
        model = LSTMClassifier(**settings, random_state=seed, n_jobs=1).fit(X_train, y_train)
        found.append((model.score(X_test, y_test), accuracy(*data, settings, seed)))
        print(f"seed {seed}: lstmfast {found[-1][0]:.2%} ({model.n_iter_} epochs), PyTorch {found[-1][1]:.2%}")
    own, peer = np.mean(found, axis=0)
    print(f"mean of {len(found)}: lstmfast {own:.2%}, PyTorch {peer:.2%}")
