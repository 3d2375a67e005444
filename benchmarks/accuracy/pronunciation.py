"""Letters to phonemes, as in examples/pronunciation.py with half the units and fewer epochs; greedy decoding."""

from examples import pronunciation

from .compare import Comparison, compare

SETTINGS = pronunciation.SETTINGS | {"hidden_layer_sizes": (128,), "max_iter": 3}
FORMATS = {"words wrong": ".2%", "phonemes wrong": ".2%"}


def fit(train, settings, seed, n_threads):
    """Fitted translator."""
    from lstmfast import LSTMTranslator

    return LSTMTranslator(**settings, random_state=seed, n_jobs=n_threads).fit(*train)


def predict(model, words):
    """Its pronunciations."""
    return model.predict(words)


if __name__ == "__main__":
    compare(
        Comparison(
            "letters to phonemes", pronunciation.load, SETTINGS, fit, predict, "torch_translator",
            pronunciation.error_rates, FORMATS,
        )
    )  # fmt: skip
