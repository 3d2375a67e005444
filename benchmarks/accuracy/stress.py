"""The stress of vowels, a label for each phoneme, as in examples/stress.py; then with a conditional random field."""

from examples import stress
from lstmfast import LSTMTagger, SequenceVectorizer

from .compare import Comparison, compare

FORMATS = {"vowels right": ".2%", "words right": ".2%"}


def load():
    """Ids of phonemes and labels: (X_train, y_train), (X_test, y_test)."""
    X_train, X_test, y_train, y_test = stress.load()
    vectorizer = SequenceVectorizer(lowercase=False).fit(X_train)
    return (vectorizer.transform(X_train), y_train), (vectorizer.transform(X_test), y_test)


def fit(train, settings, seed, n_threads):
    """Fitted tagger."""
    return LSTMTagger(**settings, random_state=seed, n_jobs=n_threads).fit(*train)


def predict(model, X):
    """Its labels."""
    return model.predict(X)


if __name__ == "__main__":
    for crf in (False, True):
        settings = stress.SETTINGS | {"crf": crf}
        compare(Comparison("stress of vowels", load, settings, fit, predict, "torch_tagger", stress.scores, FORMATS))
