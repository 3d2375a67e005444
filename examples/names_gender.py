"""
Is it a woman's name or a man's? Text by characters
===================================================

The first names of the US census of 1990, 5160 of them, come with the package names; so does how many per cent of the
women and of the men have each. 331 names are in both lists: they count for the sex in which they are more frequent, and
three that are equally frequent in both are left out. An LSTM reads a name character by character. Two baselines:
always the more common answer, and a logistic regression on how often each run of one to four characters occurs::

    pip install "lstmfast[examples]"
    python examples/names_gender.py

The settings of both models were chosen by cross-validation on the training names. The two are about equally good: a
name's last letters tell most, and 4100 names teach little more.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from lstmfast import LSTMClassifier, SequenceVectorizer

SETTINGS = {
    "hidden_layer_sizes": (64,), "embedding_dim": 32, "bidirectional": True, "pooling": "max", "max_iter": 12,
    "learning_rate": "cosine", "learning_rate_init": 5e-3, "batch_size": 32, "alpha": 1e-4,
}  # fmt: skip


def load():
    """Names and "female" or "male": X_train, X_test, y_train, y_test, a fifth of the names for the test."""
    import names

    folder = Path(names.__file__).parent
    shares = {}  # by sex and name, per cent of that sex
    for sex in ("female", "male"):
        lines = (folder / f"dist.{sex}.first").read_text().splitlines()
        shares[sex] = {name: float(share) for name, share, *_ in map(str.split, lines)}
    X, y = [], []
    for name in sorted(shares["female"].keys() | shares["male"].keys()):
        female, male = (shares[sex].get(name, 0) for sex in ("female", "male"))
        if female != male:
            X.append(name.lower())
            y.append("female" if female > male else "male")
    return train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)


def main():
    """Train, score beside the baselines, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="names_gender.png", help="where the confusion matrix goes")
    arguments = parser.parse_args()

    X_train, X_test, y_train, y_test = load()
    print(f"{len(X_train)} names to learn from, {len(X_test)} to test on.")
    model = make_pipeline(SequenceVectorizer(level="char"), LSTMClassifier(**SETTINGS, random_state=0))
    started = time.perf_counter()
    model.fit(X_train, y_train)
    print(f"Trained in {time.perf_counter() - started:.1f} s.")

    n_grams = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4), binary=True)
    baseline = make_pipeline(n_grams, LogisticRegression(max_iter=1000)).fit(X_train, y_train)
    most_common = max(set(y_train), key=y_train.count)
    print(f"Test accuracy, LSTM: {model.score(X_test, y_test):.2%}")
    print(f"Test accuracy, logistic regression on n-grams of characters: {baseline.score(X_test, y_test):.2%}")
    print(f"Test accuracy, always {most_common}: {np.mean(np.equal(y_test, most_common)):.2%}")

    import matplotlib

    matplotlib.use("agg")
    display = ConfusionMatrixDisplay.from_estimator(model, X_test, y_test, colorbar=False)
    display.ax_.set(title="First names: a woman's or a man's?", xlabel="predicted", ylabel="true")
    display.figure_.savefig(arguments.plot, dpi=120, bbox_inches="tight")
    print(f"Confusion matrix: {arguments.plot}")


if __name__ == "__main__":
    main()
