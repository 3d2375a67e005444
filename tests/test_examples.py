"""What examples and benchmarks/accuracy compute by themselves: baselines, error rates, the summary of a comparison."""

import importlib.util
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def module(path):
    """A module by its path. The root is not on sys.path: what is tested may be installed elsewhere."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look there
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def n_grams():
    return module("examples/language_model.py").NGrams


def test_n_grams_are_interpolated(n_grams):
    # "ab" and "a" and their ends: a a b END END; three characters are known, a fourth stands for all others.
    model = n_grams(2).fit(["ab", "a"])
    of_b = (1 + 3 / 4) / (5 + 3)
    assert model.probability("", "b") == pytest.approx(of_b)
    assert model.probability("a", "b") == pytest.approx((1 + 2 * of_b) / (2 + 2))
    assert model.probability("x", "b") == pytest.approx(of_b)  # a context that was never seen
    assert model.probability("a", "?") == pytest.approx(2 * 3 / 4 / 8 / 4)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_n_grams_are_probabilities(n_grams, order):
    model = n_grams(order).fit(["abracadabra", "cab"])
    contexts = ["", "a", "br", "abra", "zz", "rac"]
    for context in (context[max(0, len(context) - order + 1) :] for context in contexts):
        total = sum(model.probability(context, character) for character in [*"abcdr", model.END, "an unknown one"])
        assert total == pytest.approx(1)


def test_n_grams_score_is_the_mean_log_likelihood(n_grams):
    model = n_grams(2).fit(["ab", "a"])
    p = model.probability("", "a"), model.probability("a", "b"), model.probability("b", model.END)
    assert model.score(["ab"]) == pytest.approx(sum(map(math.log, p)) / 3)


@pytest.fixture(scope="module")
def pronunciation():
    return module("examples/pronunciation.py")


def test_distance(pronunciation):
    distance = pronunciation.distance
    assert [distance("kitten", "sitting"), distance("", "ab"), distance("ab", ""), distance("ab", "ab")] == [3, 2, 2, 0]
    words = ["".join(word) for n in range(4) for word in itertools.product("ab", repeat=n)]
    for a, b in itertools.product(words, repeat=2):
        # By definition: the cheapest of three last operations.
        expected = (
            min(distance(a[:-1], b) + 1, distance(a, b[:-1]) + 1, distance(a[:-1], b[:-1]) + (a[-1] != b[-1]))
            if a and b else len(a) + len(b)
        )  # fmt: skip
        assert distance(a, b) == expected


def test_error_rates_take_the_nearest_pronunciation(pronunciation):
    right = [[["A", "B"], ["A"]], [["C", "D", "E"]]]
    assert pronunciation.error_rates([["A"], ["C", "D"]], right) == {"words wrong": 0.5, "phonemes wrong": 0.25}


def test_letter_table_falls_back_on_fewer_neighbours(pronunciation):
    table = pronunciation.LetterTable(reach=1).fit(["ab", "ac", "xb"], [["A", "B"], ["a", "C"], ["X", "B"]])
    assert table.predict(["ab", "ac"]) == [["A", "B"], ["a", "C"]]  # a's neighbour decides
    assert table.predict(["b", "q"]) == [["B"], []]


def test_usual_pattern():
    stress = module("examples/stress.py")
    y_train = [["1", "-", "0"], ["1", "0"], ["0", "-", "1"], ["1"]]
    predicted = stress.usual_pattern(y_train, [["AE", "P", "AH"], ["T", "OW"], ["AE", "AH", "OW"]])
    assert predicted == [["1", "-", "0"], ["-", "1"], ["0", "0", "0"]]
    scores = stress.scores(predicted, [["1", "-", "0"], ["-", "0"], ["0", "0", "1"]])
    assert scores == {"vowels right": pytest.approx(4 / 6), "words right": pytest.approx(1 / 3)}


def test_markov_chain():
    movies = module("examples/movies.py")
    train = [np.array([5, 7, 9]), np.array([7, 9, 5]), np.array([9, 7])]
    assert movies.MarkovChain(1).fit(train).recommend([np.array([7]), np.array([5])], 2).tolist() == [[9, 5], [7, 9]]
    assert movies.MarkovChain(0).fit(train).recommend([np.array([7])], 2).tolist() == [[9, 5]]
    scores = movies.scores(np.array([[9, 5], [7, 9], [5, 9]]), [5, 7, 7])
    assert scores == {"hit rate at 10": pytest.approx(2 / 3), "mean reciprocal rank": pytest.approx(0.5)}


def test_features_of_the_baselines():
    features = module("examples/features.py")
    X = [np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 7.0]])]
    assert features.summaries(X).tolist() == [[2.0, 5.0, 1.0, 0.0], [2.0, 7.0, 0.0, 0.0]]
    assert features.padded(X, 2).tolist() == [[1.0, 5.0, 3.0, 5.0], [2.0, 7.0, 0.0, 0.0]]
    assert features.padded(X, 1).tolist() == [[1.0, 5.0], [2.0, 7.0]]
    speakers = np.array(["b", "a", "b", "a", "b", "a", "b"])
    chosen = features.labelled(speakers, 0)
    assert speakers[chosen].tolist() == ["a"] * 3 + ["b"] * 3
    assert len(set(chosen.tolist())) == 6


def test_summary_of_a_comparison():
    compare = module("benchmarks/accuracy/compare.py")
    fits = {
        "lstmfast": [({"accuracy": 0.9}, 1.0), ({"accuracy": 0.8}, 3.0), ({"accuracy": 0.7}, 2.0)],
        "PyTorch": [({"accuracy": 0.7}, 9.0), ({"accuracy": 0.7}, 4.0), ({"accuracy": 0.7}, 5.0)],
    }
    assert compare.summary(fits, {"accuracy": ".1%"}).splitlines() == [
        "accuracy, mean of 3: lstmfast 80.0% (standard deviation 10.0%), PyTorch 70.0% (standard deviation 0.0%), "
        "difference +10.0% (standard error 5.8%)",
        "fit, median: lstmfast 2.00 s, PyTorch 5.00 s, ratio 2.50",
    ]
    one = {name: found[:1] for name, found in fits.items()}
    assert "nan" in compare.summary(one, {"accuracy": ".1%"})  # one fit has no deviation
