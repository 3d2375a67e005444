"""JapaneseVowels: nine speakers, utterances of 7 to 29 steps of 12 features; its own train/test split."""

import sys

import numpy as np

from lstmfast import SequenceScaler

from .compare import compare

SETTINGS = {
    "hidden_layer_sizes": (64,),
    "max_iter": 60,
    "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
    "batch_size": 32,
    "alpha": 1e-4,
}


def japanese_vowels():
    """Scaled utterances and speakers: X_train, X_test, y_train, y_test."""
    try:
        from aeon.datasets import load_japanese_vowels
    except ModuleNotFoundError:
        sys.exit("this comparison needs aeon, which carries the data; install it beside lstmfast")
    utterances, speakers = {}, {}
    for split in ("train", "test"):
        X, speakers[split] = load_japanese_vowels(split=split)  # each (features, steps)
        utterances[split] = [np.ascontiguousarray(x.T) for x in X]
    scaler = SequenceScaler().fit(utterances["train"])
    X_train, X_test = (scaler.transform(utterances[split]) for split in ("train", "test"))
    return X_train, X_test, speakers["train"], speakers["test"]


if __name__ == "__main__":
    compare("JapaneseVowels", japanese_vowels(), SETTINGS)
