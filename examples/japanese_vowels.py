"""
Who speaks? Utterances of different lengths
===========================================

Nine men say two Japanese vowels. Each utterance is 7 to 29 steps of 12 cepstrum coefficients; the task is to tell the
speaker (Kudo, Toyama & Shimbo 1999; 270 utterances to train on, 370 to test on). The data come with aeon, matplotlib
draws the confusion matrix::

    pip install "lstmfast[examples]"
    python examples/japanese_vowels.py
"""

import argparse
import time

import numpy as np
from aeon.datasets import load_japanese_vowels
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.pipeline import make_pipeline

from lstmfast import LSTMClassifier, SequenceScaler


def load(split):
    """Utterances as (steps, 12) arrays of their own lengths, and speakers."""
    utterances, speakers = load_japanese_vowels(split=split)
    return [np.ascontiguousarray(utterance.T) for utterance in utterances], speakers


def main():
    """Train, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="japanese_vowels.png", help="where the confusion matrix goes")
    arguments = parser.parse_args()

    X_train, y_train = load("train")
    X_test, y_test = load("test")
    lengths = [len(x) for x in X_train + X_test]
    print(f"{len(X_train)} utterances to train on, {len(X_test)} to test on, {min(lengths)} to {max(lengths)} steps.")

    model = make_pipeline(
        SequenceScaler(),
        LSTMClassifier(
            hidden_layer_sizes=(64,), bidirectional=True, dropout=0.3, max_iter=60, learning_rate="cosine",
            learning_rate_init=5e-3, random_state=0,
        ),
    )  # fmt: skip
    started = time.perf_counter()
    model.fit(X_train, y_train)
    print(f"Trained in {time.perf_counter() - started:.1f} s.")
    most_common = np.mean(y_test == max(set(y_train), key=list(y_train).count))
    print(f"Test accuracy: {model.score(X_test, y_test):.2%} (always the same speaker: {most_common:.2%}).")

    import matplotlib

    matplotlib.use("agg")
    display = ConfusionMatrixDisplay.from_estimator(model, X_test, y_test, colorbar=False)
    display.ax_.set(title="Japanese vowels: who speaks?", xlabel="predicted speaker", ylabel="true speaker")
    display.figure_.savefig(arguments.plot, dpi=120, bbox_inches="tight")
    print(f"Confusion matrix: {arguments.plot}")


if __name__ == "__main__":
    main()
