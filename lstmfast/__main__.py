"""Command line: ``lstmfast demo``, ``lstmfast bench``."""

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

from ._version import __version__

# What the demo trains, and what benchmarks/accuracy trains beside it in PyTorch.
DEMO_SETTINGS = {
    "hidden_layer_sizes": (64,),
    "max_iter": 60,
    "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
    "batch_size": 64,
}


def digits():
    """scikit-learn's handwritten digits as sequences (n, 8, 8), rows top down: X_train, X_test, y_train, y_test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    return train_test_split(data.images / 16, data.target, test_size=0.25, random_state=0, stratify=data.target)


def demo(arguments):
    """Train on real data, score on data held out, save, load and predict again, saying so."""
    from . import LSTMClassifier, config, load

    settings = config.config()
    X_train, X_test, y_train, y_test = digits()
    print(f"lstmfast {__version__}: {settings['instruction set'].split(' ')[0]}, {settings['threads']}")
    print(f"Data: {len(X_train) + len(X_test)} handwritten digits, each a sequence of 8 rows of 8 pixels;")
    print(f"      {len(X_train)} to train on, {len(X_test)} held out.")
    verbose = int(sys.stderr.isatty()) if arguments.verbose is None else arguments.verbose
    classifier = LSTMClassifier(**DEMO_SETTINGS, random_state=arguments.seed, verbose=verbose)
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


def bench_module():
    """The command line of the comparison with other libraries."""
    import lstmfast

    # It lies in benchmarks/peers and is installed as lstmfast.peers. An editable install does not find it there: it
    # has no __init__.py, which hides it from asv.
    if importlib.util.find_spec("lstmfast.peers") is None:
        lstmfast.__path__.append(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("lstmfast.peers.command")


def main(argv=None):
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser("lstmfast", description="LSTM networks for CPUs.")
    parser.add_argument("--version", action="version", version=f"lstmfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "demo", help="train and score a model on real data, in seconds", description=demo.__doc__
    )
    command.add_argument("--seed", type=int, default=0, help="random_state of the training (default: 0)")
    command.add_argument(
        "--verbose", type=int, help="0: no progress, 1: a bar, 2: a line an epoch (default: 1 on a terminal)"
    )
    command.add_argument("--out", metavar="FILE", help="keep the trained model in this file")
    command.set_defaults(run=demo)
    bench = bench_module()
    command = commands.add_parser(
        "bench",
        help="time it on this machine, beside the other libraries that are installed",
        description="Time lstmfast on this machine, beside the other libraries that are installed: each in a process "
        "of its own, in turns, once they agree in what they compute. The table is Markdown; without any other library "
        "it shows lstmfast beside NumPy's matrix product (sgemm).",
    )
    bench.add_arguments(command, quick=True)
    command.set_defaults(run=bench.run)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
