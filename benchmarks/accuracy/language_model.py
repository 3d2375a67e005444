"""The Python reference, character by character, as in examples/language_model.py."""

import math

from examples import language_model

from .compare import Comparison, compare


def load():
    """Texts to learn from and to test on."""
    train, test = language_model.load()
    return train, (test, None)


def fit(train, settings, seed, n_threads):
    """Fitted language model."""
    from lstmfast import LSTMLanguageModel

    return LSTMLanguageModel(**settings, random_state=seed, n_jobs=n_threads).fit(train)


def predict(model, texts):
    """Mean log-likelihood of a token."""
    return model.score(texts)


def score(log_likelihood, _):
    """Perplexity."""
    return {"perplexity": math.exp(-log_likelihood)}


if __name__ == "__main__":
    title, formats = "Python reference by characters", {"perplexity": ".3f"}
    compare(Comparison(title, load, language_model.SETTINGS, fit, predict, "torch_language_model", score, formats))
