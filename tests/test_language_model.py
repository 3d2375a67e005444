"""LSTMLanguageModel: likelihoods, generation, vocabulary, fits, files, the light runtime."""

import copy
import inspect
import itertools
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import lstmfast
from lstmfast import LSTMLanguageModel, ModelFormatError, language, runtime
from lstmfast._core import CELLS
from lstmfast.estimators.sharing import ATTRIBUTES
from lstmfast.losses import SoftmaxCrossEntropy
from lstmfast.persistence import read_model, write_model
from lstmfast.progress import _Bar
from lstmfast.stream import FrontStream
from lstmfast.vocabulary import END, UNKNOWN

TEXTS = ["the cat sat on the mat", "a dog", "", "the dog sat on the log " * 12, "on", "the cat"]
NUMBERS = [[5, 7, 5], [7], [], [9, 5]]


def small(**options):
    return LSTMLanguageModel(**{"hidden_layer_sizes": 8, "max_iter": 2, "bptt": 8, "random_state": 0, "n_jobs": 1,
                                "learning_rate_init": 0.02, **options})  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return small().fit(TEXTS)


@pytest.fixture(scope="module")
def doubles():
    return small(dtype="float64").fit(["ab", "abb", "b", "a?"], texts_val=["ab"])


def bits(model, texts=TEXTS):
    """Everything that a fitted model says of some texts."""
    return [x.tobytes() for x in model.token_log_likelihoods(texts)]


def weights(model):
    return model._network.parameters.tobytes()


def unchanged(model, action, error, match):
    before, parameters = pickle.dumps(model), model.get_params()
    with pytest.raises(error, match=match):
        action()
    assert model.get_params() == parameters
    assert pickle.dumps(model) == before


# ---- likelihoods ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [0, 1, 3])
def test_probabilities_of_all_texts_sum_to_one(length):
    """All that end by `length` tokens, and all longer ones by how they begin. "x" is an unknown token."""
    model = small(dtype="float64", max_iter=5).fit(["ab", "abb", "b", "ba"])
    ended = ["".join(text) for n in range(length + 1) for text in itertools.product("abx", repeat=n)]
    begun = ["".join(text) for text in itertools.product("abx", repeat=length + 1)]
    total = sum(math.exp(logs.sum()) for logs in model.token_log_likelihoods(ended))
    total += sum(math.exp(logs[:-1].sum()) for logs in model.token_log_likelihoods(begun))
    assert total == pytest.approx(1, rel=1e-12)


def test_score_and_perplexity(model):
    logs = model.token_log_likelihoods(TEXTS)
    assert [len(x) for x in logs] == [len(text) + 1 for text in TEXTS]
    assert all(x.max() < 0 for x in logs)
    assert model.score(TEXTS) == pytest.approx(np.concatenate(logs).astype(float).mean(), rel=1e-12)
    assert model.perplexity(TEXTS) == math.exp(-model.score(TEXTS))
    assert model.score([""]) == model.token_log_likelihoods([""])[0][0]


def test_likelihoods_are_the_products_of_a_streams_probabilities(doubles):
    for text, logs in zip(["abba", "", "axb"], doubles.token_log_likelihoods(["abba", "", "axb"]), strict=True):
        stream, token, expected = doubles.stream(), END, []
        for character in [*text, None]:
            probabilities = stream.step(token)
            token = END if character is None else doubles.vocabulary_.get(character, UNKNOWN)
            expected.append(probabilities[token])
        np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-12)


def test_untrained_on_a_model_that_knows_the_answer():
    """Half of the texts are "a", half are "b": 0.5, then 1 for the end. An optimum known in closed form."""
    model = small(max_iter=400, alpha=0.0, learning_rate_init=0.01, tol=0, n_iter_no_change=400).fit(["a", "b"] * 8)
    for logs in model.token_log_likelihoods(["a", "b"]):
        np.testing.assert_allclose(np.exp(logs), [0.5, 1], atol=0.01)


@pytest.mark.parametrize(("lanes", "chunk"), [(1, 1), (2, 3), (3, 8), (1000, 1000)])
def test_likelihoods_do_not_depend_on_company(model, lanes, chunk, monkeypatch):
    expected = bits(model)
    assert [bits(model, [text])[0] for text in TEXTS] == expected
    assert bits(model, TEXTS[::-1])[::-1] == expected
    assert bits(model, TEXTS * 50)[-len(TEXTS) :] == expected
    assert bits(clone(model).set_params(n_jobs=2).fit(TEXTS)) == expected
    monkeypatch.setattr(language, "LANES", lanes)
    monkeypatch.setattr(language, "CHUNK", chunk)
    assert bits(model) == expected


# ---- generation -----------------------------------------------------------------------------------------------------
def greedy(model, prompt, n):
    """By hand: the most probable known token, again and again."""
    stream, names, text = model.stream(), {id: token for token, id in model.vocabulary_.items()}, []
    for token in [END, *(model.vocabulary_.get(token, UNKNOWN) for token in prompt)]:
        probabilities = stream.step(token)
    for _ in range(n):
        probabilities[UNKNOWN] = 0
        token = int(probabilities.argmax())
        if token == END:
            break
        text.append(names[token])
        probabilities = stream.step(token)
    return text


def test_greedy(model):
    expected = "the" + "".join(greedy(model, "the", 30))
    assert len(expected) > 5
    assert model.generate("the", 30, temperature=0) == model.generate("the", 30, top_k=1) == expected
    assert model.generate("the", 30, temperature=1e-310) == expected
    with np.errstate(all="raise"):
        assert model.generate("the", 30, temperature=1e-310) == expected


def test_random_state(model):
    texts = [model.generate("the", random_state=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert model.generate("the", random_state=np.random.RandomState(0)) == texts[0]
    same = [model.generate("the", random_state=np.random.default_rng(0)) for _ in range(2)]
    assert same[0] == same[1]
    rng = np.random.RandomState(0)
    assert [model.generate("the", random_state=rng) for _ in range(2)] != [texts[0]] * 2
    np.random.seed(0)  # noqa: NPY002
    assert model.generate("the") == texts[0]


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 2), (1.0, 100)])
def test_frequencies_of_draws(model, temperature, top_k):
    """A right sampler is rejected with probability 1e-4, once and for all: the seed is fixed."""
    probabilities = model.stream().step(END).astype(float)
    probabilities[UNKNOWN] = 0
    if top_k == 2:
        probabilities[probabilities < np.sort(probabilities)[-2]] = 0
    probabilities **= 1 / temperature
    probabilities /= probabilities.sum()
    ids, rng = model.vocabulary_, np.random.default_rng(0)
    counts = np.zeros(len(probabilities), int)
    for _ in range(4000):
        text = model.generate(max_length=1, temperature=temperature, top_k=top_k, random_state=rng)
        counts[ids[text] if text else END] += 1
    likely = probabilities > 0
    assert counts[~likely].sum() == 0
    assert likely.sum() == 2 if top_k == 2 else likely.sum() > 5
    assert chisquare(counts[likely], 4000 * probabilities[likely]).pvalue > 1e-4


def test_draws_at_the_ends_of_the_interval():
    class Fixed:
        def __init__(self, value):
            self.uniform = lambda: value

    logits = np.array([50.0, -np.inf, 1.0, 0.0, -np.inf])
    assert language.draw(logits.copy(), 1.0, None, Fixed(0.0)) == 2  # neither the unknown token nor an impossible one
    assert language.draw(logits.copy(), 1.0, None, Fixed(1 - 2**-53)) == 3


def test_the_end_stops_and_the_prompt_goes_on():
    model = small(max_iter=150).fit(["abc"] * 8)
    assert model.generate(temperature=0) == model.generate("", temperature=0) == "abc"
    assert model.generate("ab", temperature=0) == "abc"
    assert model.generate("ab", max_length=1, temperature=0) == "abc"
    assert model.generate(max_length=2, temperature=0) == "ab"


def test_unknown_tokens_are_never_written():
    model = small(max_features=1, max_iter=30).fit(["bacdefghijklmnopqrstuvwxyza" * 4])
    assert model.stream().step(END).argmax() == UNKNOWN
    for temperature in (0, 1, 5):
        text = model.generate(max_length=200, temperature=temperature, random_state=0)
        assert text
        assert set(text) == {"a"}


@pytest.mark.parametrize(
    ("level", "texts", "prompt", "kept"),
    [
        ("char", TEXTS, "the ?!", "the ?!"),
        ("char", TEXTS, ["t", "h", "?"], "th?"),
        ("char", TEXTS, np.array(["t", "h"]), "th"),
        ("char", TEXTS, np.str_("the"), "the"),
        ("char", TEXTS, "", ""),
        ("char", TEXTS, [], ""),
        ("word", TEXTS, "The  cat", "The  cat "),
        ("word", TEXTS, "the\n", "the\n"),
        ("word", TEXTS, ["the", "zebra"], "the zebra "),
        ("word", TEXTS, "", ""),
        ("word", TEXTS, None, ""),
        ("token", [["a", "b"], ["b"]], ["a", "?"], ["a", "?"]),
        ("token", NUMBERS, [5, 6], [5, 6]),
        ("token", NUMBERS, np.array([5, 6]), [5, 6]),
        ("token", NUMBERS, None, []),
        ("token", NUMBERS, "", []),
    ],
)
@pytest.mark.parametrize("lowercase", [False, True])
def test_the_prompt_is_kept(level, texts, prompt, kept, lowercase):
    model = small(level=level, lowercase=lowercase).fit(texts)
    for seed in range(5):
        text = model.generate(prompt, 4, random_state=seed)
        tokens = list(model.generate_tokens(prompt, 4, random_state=seed))
        assert set(tokens) <= model.vocabulary_.keys()
        if level == "token":
            assert text == kept + tokens
            assert {type(token) for token in text} <= {type(texts[0][0])}
        elif tokens:
            assert text == kept + (" " if level == "word" else "").join(tokens)
        else:
            assert text == kept.rstrip(" ")
        assert type(text) is (list if level == "token" else str)


def test_a_token_costs_one_step(model, monkeypatch):
    steps, step = [], FrontStream.step
    monkeypatch.setattr(FrontStream, "step", lambda self, token: steps.append(token) or step(self, token))
    monkeypatch.setattr(language, "draw", lambda *arguments: 3)
    tokens = model.generate_tokens("the", max_length=5)
    assert steps == []
    for i in range(5):
        next(tokens)
        assert len(steps) == 1 + 3 + i
    assert next(tokens, None) is None
    assert len(steps) == 8


BAD_ARGUMENTS = {
    "no length": ({"max_length": 0}, ValueError, "max_length must be at least 1"),
    "half a length": ({"max_length": 2.5}, TypeError, "max_length must be an integer"),
    "cold": ({"temperature": -0.1}, ValueError, "temperature must be at least 0 and finite"),
    "hot": ({"temperature": np.inf}, ValueError, "temperature must be at least 0 and finite"),
    "nan": ({"temperature": np.nan}, ValueError, "temperature must be at least 0 and finite"),
    "warm": ({"temperature": "warm"}, TypeError, "temperature must be a number, got 'warm'"),
    "top none": ({"top_k": 0}, ValueError, "top_k must be at least 1"),
    "top half": ({"top_k": 0.5}, TypeError, "top_k must be an integer"),
    "seed": ({"random_state": "x"}, TypeError, "random_state must be None, an integer"),
    "large seed": ({"random_state": 2**32}, ValueError, "Seed must be between"),
    "bytes": ({"prompt": b"a"}, TypeError, "prompt.* must be a str or a list of str, got b'a'"),
    "number": ({"prompt": 3}, TypeError, "prompt.* must be a str or a list of str, got 3"),
    "numbers": ({"prompt": [3]}, TypeError, "prompt.* must be a str, got 3"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
@pytest.mark.parametrize("method", ["generate", "generate_tokens"])
def test_bad_arguments_are_refused_at_the_call(model, method, name):
    arguments, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message):
        getattr(model, method)(**arguments)


@pytest.mark.parametrize("method", ["generate", "generate_tokens", "stream"])
def test_before_fit(method):
    for arguments in ({}, {"max_length": 0}):
        if method != "stream" or not arguments:
            with pytest.raises(NotFittedError):
                getattr(LSTMLanguageModel(), method)(**arguments)


def test_the_rest_before_fit(tmp_path):
    model = LSTMLanguageModel()
    for action in (
        lambda: model.score(["a"]), lambda: model.perplexity([3]), lambda: model.token_log_likelihoods(None),
        lambda: model.vocabulary_, lambda: model.layers_, lambda: model.save(tmp_path / "model"),
    ):  # fmt: skip
        with pytest.raises(NotFittedError):
            action()


# ---- texts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "texts", "tokens"),
    [
        ({}, ["Aba", ""], ["A", "a", "b"]),
        ({"lowercase": True}, ["Aba", ""], ["a", "b"]),
        ({"level": "word"}, ["to be, to"], ["to", ",", "be"]),
        ({"level": "word", "lowercase": True}, ["To to be"], ["to", "be"]),
        ({"level": "word"}, [["to be", "to be"], ["or"]], ["to be", "or"]),
        ({"level": "token"}, [["b", "a"], ("b",)], ["b", "a"]),
        ({"level": "token"}, NUMBERS, [5, 7, 9]),
        ({"level": "token"}, np.array([[5, 7], [5, 9]]), [5, 7, 9]),
        ({"max_features": 2}, ["abcaab"], ["a", "b"]),
        ({"min_frequency": 3}, ["abcaab"], ["a"]),
        ({}, ["a"], ["a"]),
    ],
)
def test_vocabulary(options, texts, tokens):
    model = small(**options).fit(texts)
    assert model.vocabulary_ == {token: i for i, token in enumerate(tokens, 2)}
    assert list(map(type, model.vocabulary_)) == list(map(type, tokens))
    assert model.n_outputs_ == len(tokens) + 2
    assert np.isfinite(model.score(texts))
    np.testing.assert_allclose(model.stream(3).step([0, 1, 2]).sum(axis=1), 1, rtol=1e-6)


def test_unknown_tokens_and_lower_case_are_scored():
    model = small(max_features=1, max_iter=30, lowercase=True).fit(["abcdefg" * 5])
    assert bits(model, ["xyz"]) == bits(model, ["bcd"]) == bits(model, ["BCD"]) != bits(model, ["aaa"])
    assert model.score(["AXA"]) == model.score(["aba"])


BAD_TEXTS = {
    "one str": ("abc", TypeError, r"{name} is one str.*Pass \[{name}\]"),
    "None": (None, TypeError, "{name} must be a list"),
    "a generator": ((text for text in "ab"), TypeError, "{name} must be a list"),
    "no texts": ([], ValueError, "0 sample"),
    "bytes": (["a", b"abc"], TypeError, r"{name}\[1\] must be a str.*bytes"),
    "a missing one": (["a", None], TypeError, r"{name}\[1\] must be a str.*None"),
    "mixed types": (["a", 3], TypeError, r"{name}\[1\] must be a str"),
    "mixed tokens": ([["a", 3]], TypeError, r"{name}\[0\]\[1\] must be a str"),
    "a table": (np.array([["a", "b"]]), ValueError, "{name} must have one dimension"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_bad_texts_are_refused_and_change_nothing(name):
    texts, error, message = BAD_TEXTS[name]
    model = small().fit(TEXTS)
    unchanged(model, lambda: model.fit(texts), error, message.format(name="texts"))
    if texts is not None:
        unchanged(model, lambda: model.fit(TEXTS, texts_val=texts), error, message.format(name="texts_val"))
    unchanged(model, lambda: model.score(texts), error, message.format(name="texts"))


@pytest.mark.parametrize(
    ("options", "texts", "error", "message"),
    [
        ({}, ["", ""], ValueError, "hold no tokens"),
        ({"level": "word"}, [" "], ValueError, "hold no tokens"),
        ({"min_frequency": 9}, ["ab"], ValueError, "min_frequency=9"),
        ({"level": "token"}, ["ab"], TypeError, "is a str, 'ab', but at level='token'"),
        ({"level": "token"}, [[1, "a"]], TypeError, r"texts\[0\]\[1\] must be an integer"),
        ({"level": "token"}, [[2**70]], ValueError, "2\\*\\*63"),
        ({"level": "line"}, TEXTS, ValueError, "level"),
        ({"bptt": 0}, TEXTS, ValueError, "bptt"),
        ({"max_features": 0}, TEXTS, ValueError, "max_features"),
        ({"min_frequency": 0}, TEXTS, ValueError, "min_frequency"),
        ({"lowercase": "no"}, TEXTS, ValueError, "lowercase"),
        ({"embedding_dim": None}, TEXTS, ValueError, "embedding_dim"),
        ({"hidden_layer_sizes": ()}, TEXTS, ValueError, "hidden_layer_sizes"),
        ({"early_stopping": True, "validation_fraction": 0.9}, ["abc"], ValueError, "pass texts_val"),
        ({"early_stopping": True, "validation_fraction": 0.9}, ["abc", "a"], ValueError, "both need at least 1"),
    ],
)
def test_a_failed_fit_changes_nothing(options, texts, error, message):
    model = small().fit(TEXTS)
    model.set_params(**options)
    unchanged(model, lambda: model.fit(texts), error, message)


def test_arguments_that_it_does_not_have():
    for name in ("bidirectional", "pooling", "embedding_weights"):
        with pytest.raises(TypeError, match=f"no argument '{name}'"):
            LSTMLanguageModel(**{name: None})
        assert name not in LSTMLanguageModel().get_params()


# ---- fits -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [*({"cell": cell} for cell in CELLS), {"hidden_layer_sizes": (9, 5)}, {"dense_layer_sizes": (7, 6)},
     {"dropout": 0.3, "recurrent_dropout": 0.2}, {"dtype": "float64"}, {"bptt": 1}, {"batch_size": 1},
     {"shuffle": False}, {"hidden_layer_sizes": 130, "batch_size": 64}],
    ids=str,
)  # fmt: skip
def test_it_learns_with_the_same_bits_on_any_number_of_threads(options):
    texts = ["abcabcabc" * 5, "cbacba"] * 6
    models = [small(max_iter=8, n_jobs=n_jobs, **options).fit(texts) for n_jobs in (1, 2)]
    assert weights(models[0]) == weights(models[1])
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert models[0].loss_ < 0.9 * models[0].loss_curve_[0]
    assert models[0].score(texts) > -math.log(5)
    log_likelihoods = np.concatenate(models[0].token_log_likelihoods(["abc", ""]))
    assert log_likelihoods.dtype == models[0].dtype
    assert weights(clone(models[0]).set_params(random_state=1).fit(texts)) != weights(models[0])


def test_the_loss_is_the_mean_over_tokens():
    """With a step that changes nothing, it is minus the score, however the texts are cut into batches."""
    texts = ["a dog", "", "on", "the cat", "dog", "the"]
    for batch_size, bptt in ((1, 3), (2, 8), (32, 1000)):
        model = small(
            alpha=0.0, learning_rate_init=1e-30, max_iter=1, dtype="float64", batch_size=batch_size, bptt=bptt
        ).fit(texts)
        assert model.loss_ == pytest.approx(-model.score(texts), rel=1e-12)


def test_validation_scores(doubles):
    assert len(doubles.validation_scores_) == doubles.n_iter_ == 2
    assert doubles.validation_scores_[-1] == doubles.score(["ab"])
    assert small().fit(TEXTS).validation_scores_ is None


def test_early_stopping_keeps_the_best_weights():
    texts = ["abab", "baba", "abba"] * 4
    model = small(early_stopping=True, max_iter=60, n_iter_no_change=3, learning_rate_init=0.3, alpha=0.0)
    model.fit(texts, texts_val=["bb", "a"])
    assert model.stop_reason_ == "early_stopping"
    assert model.best_validation_score_ > model.validation_scores_[-1]
    assert model.score(["bb", "a"]) == model.best_validation_score_
    model.fit(texts)
    assert len(model.validation_scores_) == model.n_iter_


def test_early_stopping_of_one_text_holds_out_its_end(monkeypatch):
    text, seen = "ab" * 45 + "cd" * 5, []
    scored = language.log_likelihoods

    def watched(network, sequences, *arguments):
        seen.append(sequences)
        return scored(network, sequences, *arguments)

    monkeypatch.setattr("lstmfast.estimators.language_model.log_likelihoods", watched)
    model = small(early_stopping=True, max_iter=1).fit([text])
    (sequences,) = seen
    tokens = sequences.steps[:, 0].tolist()
    ids = [model.vocabulary_[token] for token in text]
    assert tokens == [*ids, END][-len(tokens) :]
    assert len(tokens) - 1 == math.ceil(0.1 * (len(text) + 2))  # its first is only read
    for fraction in (1e-20, 0.97):
        small(early_stopping=True, max_iter=1, validation_fraction=fraction).fit([text])


def test_warm_start_goes_on():
    model = small(max_iter=5, warm_start=True).fit(TEXTS)
    first, vocabulary = model.loss_curve_, model.vocabulary_
    model.fit([*TEXTS, "Zebra"])
    assert model.loss_curve_[0] < first[0]
    assert model.vocabulary_ == vocabulary
    assert model.set_params(warm_start=False).fit(TEXTS).loss_curve_ == first


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", "word"), ("lowercase", True), ("hidden_layer_sizes", 9), ("embedding_dim", 5), ("cell", "gru"),
     ("dense_layer_sizes", 3)],
)  # fmt: skip
def test_warm_start_says_what_does_not_fit(name, value):
    model = small(warm_start=True).fit(TEXTS)
    model.set_params(**{name: value})
    unchanged(model, lambda: model.fit(TEXTS), ValueError, "warm_start=False to start anew")


def test_max_time_and_callbacks():
    model = small(max_time=1e-9, max_iter=9).fit(TEXTS)
    assert (model.stop_reason_, model.n_iter_) == ("max_time", 1)
    seen = []
    model = small(callbacks=[seen.append, lambda info: info.epoch == 3], max_iter=9).fit(TEXTS, texts_val=["the"])
    assert (model.stop_reason_, len(seen)) == ("callback", 3)
    assert [info.validation_score for info in seen] == model.validation_scores_
    assert [info.loss for info in seen] == model.loss_curve_


@pytest.mark.parametrize("where", ["callback", "loss"])
def test_an_interrupt_keeps_the_weights(where, monkeypatch):
    def interrupt(info):
        if info.epoch == 2:
            raise KeyboardInterrupt

    model = small(max_iter=9, warm_start=True, callbacks=interrupt if where == "callback" else None)
    if where == "loss":
        losses, original = [], SoftmaxCrossEntropy.value_and_gradient

        def loss(self, *arguments):
            losses.append(1)
            if len(losses) == 6:
                raise KeyboardInterrupt
            return original(self, *arguments)

        monkeypatch.setattr(SoftmaxCrossEntropy, "value_and_gradient", loss)
    with pytest.raises(KeyboardInterrupt):
        model.fit(TEXTS)
    monkeypatch.undo()
    assert model.stop_reason_ == "interrupted"
    assert model.score(TEXTS) > small(max_iter=1, learning_rate_init=1e-30).fit(TEXTS).score(TEXTS)
    begun = model.score(TEXTS)
    model.set_params(callbacks=None).fit(TEXTS)
    assert model.stop_reason_ == "max_iter"
    assert model.score(TEXTS) > begun


def test_the_bar_moves_within_an_epoch(monkeypatch, capsys):
    places, batch = [], _Bar.batch
    monkeypatch.setattr(_Bar, "batch", lambda self: batch(self) or places.append(self.bar.n))
    small(verbose=1, max_iter=2, batch_size=1).fit(TEXTS)
    assert places == sorted(places)
    assert len({place for place in places if 0 < place < 0.99}) > 3
    assert "2.0/2 epochs" in capsys.readouterr().err


def test_fitted_attributes_are_there(doubles):
    for names in re.findall(r"^(\w.*) :", ATTRIBUTES, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(doubles, name), name
    assert doubles.n_parameters_ == sum(array.size for array in doubles._network.named_parameters().values())
    assert [type(layer).__name__ for layer in doubles.layers_] == ["LSTM", "Dense"]
    assert (doubles.n_layers_, doubles.n_outputs_, doubles.stop_reason_) == (2, 5, "max_iter")


@pytest.mark.parametrize("name", ["LSTMClassifier", "LSTMLanguageModel", "LSTMRegressor", "LSTMTagger"])
def test_docstrings_name_each_parameter_once(name):
    cls = getattr(lstmfast, name)
    assert not re.search(r"\{\w+\}", cls.__doc__)
    section = cls.__doc__[: cls.__doc__.index("    Attributes\n")]
    documented = [each for names in re.findall(r"^    (\w[\w, ]*) : ", section, re.M) for each in names.split(", ")]
    assert sorted(documented) == sorted(inspect.signature(cls).parameters)


ESTIMATORS = [name for name in lstmfast.__all__ if hasattr(getattr(lstmfast, name), "explain")]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_docstring_of_fit_is_whole(name):
    fit = getattr(lstmfast, name).fit
    docstring = inspect.cleandoc(fit.__doc__)
    assert not re.search(r"\{\w+\}", docstring)
    sections = re.findall(r"^(\w+)\n---+\n(.*?)(?=\n\n|\Z)", docstring, re.M | re.S)
    assert [title for title, _ in sections[:3]] == ["Parameters", "Returns", "Raises"]
    documented = [each for names in re.findall(r"^(\w[\w, ]*) : ", sections[0][1], re.M) for each in names.split(", ")]
    assert documented == [parameter for parameter in inspect.signature(fit).parameters if parameter != "self"]


def test_model_selection():
    texts = ["abab", "baba", "ab", "aab"] * 3
    scores = cross_val_score(small(), texts, cv=3)
    assert scores.shape == (3,)
    assert (scores < 0).all()
    search = GridSearchCV(small(), {"hidden_layer_sizes": [2, (3, 3)], "bptt": [4]}, cv=2).fit(texts)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert search.score(texts) == search.best_estimator_.score(texts)


def test_clone_and_parameters(model):
    parameters = model.get_params()
    assert parameters["bptt"] == 8
    twin = clone(model)
    assert twin.get_params() == parameters
    assert not hasattr(twin, "n_iter_")
    assert bits(twin.fit(TEXTS)) == bits(model)
    assert clone(twin.set_params(level="word", embedding_dim=3)).get_params()["embedding_dim"] == 3


# ---- files, copies, the light runtime -------------------------------------------------------------------------------
KINDS = {
    "char": (lambda: small().fit(TEXTS), TEXTS, "the"),
    "word": (lambda: small(level="word", lowercase=True, max_features=4).fit(TEXTS), TEXTS, "The cat"),
    "str": (lambda: small(level="token").fit([["a\0", "日本"], ["b"]]), [["a\0"], []], ["b"]),
    "int": (lambda: small(level="token", hidden_layer_sizes=(4, 3)).fit(NUMBERS), NUMBERS, [5]),
    "gru": (lambda: small(cell="gru", dense_layer_sizes=5).fit(TEXTS), TEXTS, None),
}


@pytest.mark.parametrize("way", ["pickle", "copy", "save"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_again(kind, way, tmp_path):
    make, texts, prompt = KINDS[kind]
    model = make()
    if way == "save":
        model.save(tmp_path / "model")
        twin = lstmfast.load(tmp_path / "model")
    else:
        twin = pickle.loads(pickle.dumps(model)) if way == "pickle" else copy.deepcopy(model)
    assert twin.get_params() == model.get_params()
    assert twin.vocabulary_ == model.vocabulary_
    assert twin.loss_curve_ == model.loss_curve_
    assert bits(twin, texts) == bits(model, texts)
    assert twin.generate(prompt, random_state=0) == model.generate(prompt, random_state=0)
    for each in (model, twin):
        each.set_params(warm_start=True).fit(texts)
    assert twin.loss_curve_[0] < make().loss_curve_[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_light_runtime_has_the_estimators_bits(kind, tmp_path):
    make, texts, prompt = KINDS[kind]
    model = make()
    model.save(tmp_path / "model")
    light = runtime.load(tmp_path / "model", n_jobs=2)
    assert bits(light, texts) == bits(model, texts)
    assert (light.score(texts), light.perplexity(texts)) == (model.score(texts), model.perplexity(texts))
    for options in ({"random_state": 0}, {"temperature": 0}, {"top_k": 2, "random_state": np.random.RandomState(1)}):
        again = options | {"random_state": copy.deepcopy(options.get("random_state"))}
        assert light.generate(prompt, 20, **options) == model.generate(prompt, 20, **again)
    assert list(light.generate_tokens(prompt, 5, random_state=0)) == list(
        model.generate_tokens(prompt, 5, random_state=0)
    )
    assert np.array_equal(light.stream(2).step([1, 2]), model.stream(2).step([1, 2]))
    assert "TextModel(Vocabulary(" in repr(light)


def test_the_light_runtime_rounds_doubles_and_refuses_what_the_estimator_does(doubles, tmp_path):
    doubles.save(tmp_path / "model")
    light = runtime.load(tmp_path / "model")
    assert light.token_log_likelihoods(["ab"])[0].dtype == np.float32
    assert light.score(["ab"]) == pytest.approx(doubles.score(["ab"]), abs=1e-5)
    for arguments, error, message in BAD_ARGUMENTS.values():
        with pytest.raises(error, match=message):
            light.generate_tokens(**arguments)
    with pytest.raises(TypeError, match="one str"):
        light.score("ab")


def test_the_light_runtime_imports_no_scikit_learn(model, tmp_path):
    model.save(tmp_path / "model")
    code = (
        "import sys; from lstmfast import runtime;"
        f"model = runtime.load({str(tmp_path / 'model')!r}); model.generate('the', random_state=0); model.score(['a']);"
        "print([name for name in ('sklearn', 'scipy', 'safetensors', 'tqdm') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_light_runtime_says_what_it_does_not_serve(model, tmp_path):
    model.save(tmp_path / "model")
    metadata, arrays = read_model(tmp_path / "model")
    write_model(tmp_path / "other", metadata | {"estimator": "LSTMTranslator"}, arrays)
    with pytest.raises(ModelFormatError, match=r"holds 'LSTMTranslator', but the runtime.*with lstmfast\.load"):
        runtime.load(tmp_path / "other")


def fields(**changes):
    return lambda metadata: metadata["fitted"].update(changes)


def tokens(values, dtype="|O"):
    return fields(tokens={"type": f"array {dtype}", "value": values})


DAMAGE = {
    "no tokens": lambda metadata: metadata["fitted"].pop("tokens"),
    "no level": lambda metadata: metadata["fitted"].pop("level"),
    "another field": fields(more=1),
    "another level": fields(level="line"),
    "the wrong level": fields(level="word", tokens={"type": "array <i8", "value": [1, 2, 3]}),
    "no bool": fields(lowercase=1),
    "tokens are no array": fields(tokens="abc"),
    "fewer tokens": tokens(["a", "b"]),
    "more tokens": tokens(["a", "b", "?", "c"]),
    "no tokens at all": tokens([]),
    "a token twice": tokens(["a", "b", "a"]),
    "tokens of another kind": tokens([1, 2, 3]),
    "integers at level char": tokens([1, 2, 3], "<i8"),
    "more embeddings": lambda metadata: metadata["network"].update(n_tokens=6),
    "more outputs": lambda metadata: metadata["network"].update(n_outputs=6),
    "pooling": lambda metadata: metadata["network"].update(pooling="last"),
    "fitted is a list": lambda metadata: metadata.update(fitted=[]),
    "no estimator": lambda metadata: metadata.pop("estimator"),
    "a list for an estimator": lambda metadata: metadata.update(estimator=["LSTMLanguageModel"]),
}


@pytest.mark.parametrize("load", [lstmfast.load, runtime.load], ids=["load", "runtime"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_fields(doubles, name, load, tmp_path):
    doubles.save(tmp_path / "model")
    metadata, arrays = read_model(tmp_path / "model")
    DAMAGE[name](metadata)
    write_model(tmp_path / "model", metadata, arrays)
    with pytest.raises(ModelFormatError, match=r"not consistent|the runtime serves"):
        load(tmp_path / "model")


def test_a_bidirectional_network_in_a_file(doubles, tmp_path):
    """It would read the tokens that it predicts."""
    twin = copy.deepcopy(doubles)
    config = twin._network.config | {"bidirectional": True}
    twin._network = type(twin._network)(**config)
    twin.save(tmp_path / "model")
    for load in (lstmfast.load, runtime.load):
        with pytest.raises(ModelFormatError, match="not consistent"):
            load(tmp_path / "model")
