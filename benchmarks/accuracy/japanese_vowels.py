"""JapaneseVowels: nine speakers, utterances of 7 to 29 steps of 12 features; its own train/test split."""

from lstmfast import SequenceScaler

from .classification import compare_classifiers

SETTINGS = {
    "hidden_layer_sizes": (64,),
    "max_iter": 60,
    "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
    "batch_size": 32,
    "alpha": 1e-4,
}


def load():
    """Scaled utterances and speakers: (X_train, y_train), (X_test, y_test)."""
    from examples import japanese_vowels

    (X_train, y_train), (X_test, y_test) = (japanese_vowels.load(split) for split in ("train", "test"))
    scaler = SequenceScaler().fit(X_train)
    return (scaler.transform(X_train), y_train), (scaler.transform(X_test), y_test)


if __name__ == "__main__":
    compare_classifiers("JapaneseVowels", load, SETTINGS)
