"""The Python reference, character by character, as in examples/language_model.py."""

from examples import language_model

from .compare import Comparison, compare


def fit(train, settings, seed, n_threads):
    """Fitted language model."""
    from lstmfast import LSTMLanguageModel

    return LSTMLanguageModel(**settings, random_state=seed, n_jobs=n_threads).fit(train)


def score(model, test):
    """Its perplexity."""
    return {"perplexity": model.perplexity(test)}


if __name__ == "__main__":
    title, formats = "Python reference by characters", {"perplexity": ".3f"}
    compare(
        Comparison(
            title, language_model.load, language_model.SETTINGS, fit, score, "torch_language_model", formats
        )
    )
