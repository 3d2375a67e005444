"""MovieLens 100k, everybody's last film, as in examples/movies.py."""

from examples import movies

from .compare import Comparison, compare

FORMATS = {"hit rate at 10": ".4f", "mean reciprocal rank": ".4f"}


def load():
    """Histories to learn from, these and how many films to recommend, and the films that came next."""
    histories = movies.load()
    train = [history[:-1] for history in histories]
    return train, ((train, movies.K), [history[-1] for history in histories])


def fit(train, settings, seed, n_threads):
    """Fitted recommender."""
    from lstmfast import LSTMRecommender

    return LSTMRecommender(**settings, random_state=seed, n_jobs=n_threads).fit(train)


def predict(model, inputs):
    """Its recommendations."""
    histories, k = inputs
    return model.recommend(histories, k=k, exclude_seen=True)


if __name__ == "__main__":
    compare(
        Comparison("MovieLens 100k", load, movies.SETTINGS, fit, predict, "torch_recommender", movies.scores, FORMATS)
    )
