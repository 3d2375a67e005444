"""Time of the estimators of tokens: fit, likelihood, generation, translation, recommendation."""

import numpy as np

from lstmfast import LSTMLanguageModel, LSTMRecommender, LSTMTranslator

THREADS = [1, 2]


def random_tokens(n, length, n_tokens, seed=0):
    """n lists of about `length` tokens, frequent and rare ones."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length // 2, length * 3 // 2 + 1, n)
    return [np.minimum(rng.zipf(1.3, size), n_tokens).tolist() for size in lengths]


class TimeLanguageModel:
    """One long text of 60 or of 10 000 different tokens."""

    param_names = ["(length, vocabulary, H)", "threads"]
    params = [[(40_000, 60, 128), (20_000, 10_000, 128)], THREADS]

    def setup(self, shape, threads):
        length, n_tokens, units = shape
        self.texts = random_tokens(1, length, n_tokens)
        self.model = LSTMLanguageModel(units, level="token", max_iter=1, n_jobs=threads, random_state=0)
        self.model.fit(self.texts)

    def time_fit(self, shape, threads):
        self.model.fit(self.texts)

    def time_score(self, shape, threads):
        self.model.score(self.texts)

    def time_generate_100_tokens(self, shape, threads):
        self.model.generate(max_length=100, random_state=0)


class TimeTranslator:
    """2000 pairs of about 7 tokens each."""

    param_names = ["H", "attention", "threads"]
    params = [[64, 256], [True, False], THREADS]

    def setup(self, units, attention, threads):
        self.sources, self.targets = random_tokens(2000, 7, 30), random_tokens(2000, 7, 40, seed=1)
        self.model = LSTMTranslator(
            units, level="token", attention=attention, max_iter=1, n_jobs=threads, random_state=0
        ).fit(self.sources, self.targets)

    def time_fit(self, units, attention, threads):
        self.model.fit(self.sources, self.targets)

    def time_greedy(self, units, attention, threads):
        self.model.predict(self.sources, max_length=10)

    def time_beam_of_4(self, units, attention, threads):
        self.model.predict(self.sources[:200], beam_width=4, max_length=10)


class TimeRecommender:
    """300 histories of about 60 of 20 000 items."""

    param_names = ["n_samples", "threads"]
    params = [[None, 500], THREADS]

    def setup(self, n_samples, threads):
        self.histories = random_tokens(300, 60, 20_000)
        self.model = LSTMRecommender(64, n_samples=n_samples, max_iter=1, n_jobs=threads, random_state=0)
        self.model.fit(self.histories)

    def time_fit(self, n_samples, threads):
        self.model.fit(self.histories)

    def time_recommend(self, n_samples, threads):
        self.model.recommend(self.histories)
