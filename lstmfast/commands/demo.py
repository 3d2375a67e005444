"""``lstmfast demo``: train and score a model on real data, in seconds."""

import tempfile
import time
from pathlib import Path

from .._version import __version__
from . import add_verbose, verbosity

# What the demo trains, and what benchmarks/accuracy trains beside it in PyTorch.
DEMO_SETTINGS = {
    "hidden_layer_sizes": (64,),
    "max_iter": 60,
    "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
    "batch_size": 64,
}


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("--seed", type=int, default=0, help="random_state of the training (default: 0)")
    add_verbose(parser)
    parser.add_argument("--out", metavar="FILE", help="keep the trained model in this file")


def digits():
    """scikit-learn's handwritten digits as sequences (n, 8, 8), rows top down: X_train, X_test, y_train, y_test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    return train_test_split(data.images / 16, data.target, test_size=0.25, random_state=0, stratify=data.target)


def run(arguments):
    """Train on real data, score on data held out, save, load and predict again, saying so."""
    from .. import LSTMClassifier, config, load

    settings = config.config()
    X_train, X_test, y_train, y_test = digits()
    print(f"lstmfast {__version__}: {settings['instruction set'].split(' ')[0]}, {settings['threads']}")
    print(f"Data: {len(X_train) + len(X_test)} handwritten digits, each a sequence of 8 rows of 8 pixels;")
    print(f"      {len(X_train)} to train on, {len(X_test)} held out.")
    classifier = LSTMClassifier(**DEMO_SETTINGS, random_state=arguments.seed, verbose=verbosity(arguments))
    started = time.perf_counter()
    classifier.fit(X_train, y_train)
    seconds = time.perf_counter() - started
    print(
        f"Trained: an LSTM of {classifier.layers_[0].hidden_size} units, {classifier.n_parameters_} parameters, "
        f"{classifier.n_iter_} epochs in {seconds:.1f} s: {len(X_train) * classifier.n_iter_ / seconds:,.0f} samples/s."
    )
    started = time.perf_counter()
    predicted = classifier.predict(X_test)
    seconds = time.perf_counter() - started
    correct = int((predicted == y_test).sum())
    print(f"Test accuracy: {correct / len(y_test):.2%} ({correct} of {len(y_test)} right).")
    print(f"Predicted: {len(X_test)} sequences in {seconds * 1e3:.1f} ms: {len(X_test) / seconds:,.0f} samples/s.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments.out or Path(folder, "digits.lstmfast"))
        classifier.save(path)
        same = (load(path).predict_proba(X_test) == classifier.predict_proba(X_test)).all()
        print(f"Saved ({path.stat().st_size / 1024:.0f} kB), loaded and predicted again: ", end="")
        print("the same bits." if same else "the results DIFFER.")
        if arguments.out:
            print(f"The model is in {path}.")
    return 0 if same else 1
