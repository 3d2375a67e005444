"""First names, by characters: a woman's or a man's? As in examples/names_gender.py."""

from examples import names_gender
from lstmfast import SequenceVectorizer

from .classification import compare_classifiers


def load():
    """Ids of characters and "female" or "male": (X_train, y_train), (X_test, y_test)."""
    X_train, X_test, y_train, y_test = names_gender.load()
    vectorizer = SequenceVectorizer(level="char").fit(X_train)
    return (vectorizer.transform(X_train), y_train), (vectorizer.transform(X_test), y_test)


if __name__ == "__main__":
    compare_classifiers("first names", load, names_gender.SETTINGS)
