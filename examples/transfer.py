"""
Five digits known, five to learn from a few examples
====================================================

A network reads handwritten digits row by row. It first learns five of them, of which there are plenty of examples; then
it has to tell the other five apart, of which there are few. Does it help to start from what it knows? Three ways: from
random weights; ``pretrained=``, all layers but the output taken over; and ``n_frozen_layers=1`` besides, which keeps
the recurrent layer as it is and trains the new output alone. Each with five seeds, which draw the known digits too::

    pip install "lstmfast[examples]"
    python examples/transfer.py

It helps as long as examples are few. The frozen layer is never the best of the three here: what tells 0 to 4 apart is
not what tells 5 to 9 apart. On Japanese vowels (examples/japanese_vowels.py), five speakers known and four to learn, we
saw no gain at all: there a few utterances are enough from the start.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits

from lstmfast import LSTMClassifier

SEEDS, EXAMPLES = range(5), (2, 5, 10, 20)
SETTINGS = {
    "hidden_layer_sizes": (64,), "bidirectional": True, "dropout": 0.2, "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
}  # fmt: skip
WAYS = ("from scratch", "pretrained", "pretrained, recurrent layer frozen")


def split(labels, known, n_examples, rng):
    """Numbers of the images: n_examples to train on of each digit that is not known, and the rest of these."""
    others = np.setdiff1d(np.arange(10), known)
    train = np.concatenate([rng.permutation(np.flatnonzero(labels == digit))[:n_examples] for digit in others])
    return train, np.setdiff1d(np.flatnonzero(np.isin(labels, others)), train)


def accuracies(seed):
    """Test accuracy (ways, numbers of examples)."""
    digits = load_digits()
    images, labels, rng = digits.images / 16, digits.target, np.random.default_rng(seed)
    known = rng.permutation(10)[:5]
    plenty = np.isin(labels, known)
    source = LSTMClassifier(**SETTINGS, max_iter=30, batch_size=64, random_state=seed)
    source.fit(images[plenty], labels[plenty])
    ways = {}, {"pretrained": source}, {"pretrained": source, "n_frozen_layers": 1}
    results = np.empty((len(ways), len(EXAMPLES)))
    for column, n_examples in enumerate(EXAMPLES):
        train, test = split(labels, known, n_examples, rng)
        for row, way in enumerate(ways):
            model = LSTMClassifier(**SETTINGS, **way, max_iter=80, batch_size=8, random_state=seed)
            results[row, column] = model.fit(images[train], labels[train]).score(images[test], labels[test])
    return results


def main():
    """Train, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="transfer.png", help="where the plot goes")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many (default: %(default)s)")
    arguments = parser.parse_args()

    results = np.array([accuracies(seed) for seed in range(arguments.seeds)])
    means = results.mean(axis=0)
    gains = results[:, 1] - results[:, 0]
    errors = gains.std(axis=0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.zeros(len(EXAMPLES))
    print("Test accuracy on the five new digits, mean of", arguments.seeds, "seeds:")
    for column, n_examples in enumerate(EXAMPLES):
        figures = ", ".join(f"{way} {mean:.1%}" for way, mean in zip(WAYS, means[:, column], strict=True))
        gain = f"{gains[:, column].mean():+.1%} (standard error {errors[column]:.1%})"
        print(f"{n_examples:3} examples of each: {figures}; pretraining gains {gain}")

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for way, mean, deviation, style in zip(WAYS, means, results.std(axis=0), ("C0o-", "C1s-", "C2^--"), strict=True):
        axes.errorbar(EXAMPLES, 100 * mean, 100 * deviation, fmt=style, capsize=3, label=way)
    axes.set(
        title="Five new digits, after five known ones", xlabel="examples of each new digit", ylabel="test accuracy, %",
        xscale="log", xticks=EXAMPLES, xticklabels=EXAMPLES,
    )  # fmt: skip
    axes.minorticks_off()
    axes.legend()
    figure.savefig(arguments.plot, dpi=120)
    print(f"Plot: {arguments.plot}")


if __name__ == "__main__":
    main()
