"""LSTMTranslator: what it learns, what it refuses, and what scikit-learn, files and threads make of it.

The network behind it has its own tests, test_encoder_decoder.py.
"""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import lstmfast
from lstmfast import LSTMTranslator, ModelFormatError, runtime
from lstmfast.layers import GRU, LSTM, Dense
from lstmfast.vocabulary import framed

SOURCES = [str(i) for i in range(100)]
TARGETS = [source[::-1] for source in SOURCES]


def translator(**parameters):
    """Small and quick, of characters."""
    defaults = {"hidden_layer_sizes": 8, "level": "char", "embedding_dim": 5, "max_iter": 2, "random_state": 0}
    return LSTMTranslator(**defaults | parameters)


@pytest.fixture(scope="module")
def fitted():
    return translator(hidden_layer_sizes=32, max_iter=60, learning_rate_init=0.02).fit(SOURCES, TARGETS)


def same(one, other, sources=SOURCES):
    """Whether two translators compute the same bits."""
    return all(
        [x.tobytes() for x in one.attention(sources)] == [x.tobytes() for x in other.attention(sources)]
        and one.predict(sources, width) == other.predict(sources, width)
        for width in (1, 3)
    )


# ---- learning -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [{}, {"attention": False}, {"bidirectional": True}, {"cell": "gru"}, {"hidden_layer_sizes": (24, 16)},
     {"dropout": 0.1, "recurrent_dropout": 0.1, "max_iter": 150}, {"dense_layer_sizes": 16}, {"dtype": "float64"}],
    ids=lambda options: ", ".join(options) or "plain",
)  # fmt: skip
def test_it_learns_to_write_backwards(options):
    model = translator(**{"hidden_layer_sizes": 32, "max_iter": 80, "learning_rate_init": 0.02} | options)
    model.fit(SOURCES, TARGETS)
    assert model.score(SOURCES, TARGETS) > 0.9
    assert model.score(SOURCES, TARGETS, beam_width=3) > 0.9
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 5


def test_attention_goes_to_the_source_and_its_end(fitted):
    for source, text, weights in zip(SOURCES, fitted.predict(SOURCES), fitted.attention(SOURCES), strict=True):
        assert weights.shape == (len(text), len(source))
        assert (weights >= 0).all()
        assert weights.sum(axis=1).max() <= 1 + 1e-6


def test_levels():
    sources, targets = ["two plus one", "one plus one", "two two plus two"] * 9, ["3", "2", "6"] * 9
    model = translator(level=("word", "char"), max_iter=60, learning_rate_init=0.03).fit(sources, targets)
    assert model.source_vocabulary_ == {"two": 2, "one": 3, "plus": 4}
    assert sorted(model.target_vocabulary_) == ["2", "3", "6"]
    assert model.predict(sources[:3]) == targets[:3]
    words = translator(level="word", max_iter=60, learning_rate_init=0.03).fit(targets, sources)
    assert words.predict(targets[:3]) == sources[:3]


def test_tokens_of_any_kind():
    sources, targets = [[7, -3], [5], [7, 7, 5]] * 9, [["a", "b"], [], ["c c"]] * 9
    model = translator(level="token", max_iter=80, learning_rate_init=0.03).fit(sources, targets)
    assert model.predict(sources[:3]) == targets[:3]
    assert model.score(sources, targets) == 1
    assert [x.shape for x in model.attention(sources[:3])] == [(2, 2), (0, 1), (1, 3)]
    swapped = translator(level="token", max_iter=80, learning_rate_init=0.03).fit(targets, sources)
    assert swapped.predict(targets[:3]) == sources[:3]


def test_score_counts_exact_matches(fitted):
    predicted = fitted.predict(SOURCES[:4])
    assert fitted.score(SOURCES[:4], predicted) == 1
    assert fitted.score(SOURCES[:4], [*predicted[:3], predicted[3] + "1"]) == 0.75
    assert fitted.score(SOURCES[:4], [*predicted[:3], "x"]) == 0.75  # no unknown token is ever written
    assert fitted.score(SOURCES[:1], [list(predicted[0])]) == 1


def test_lowercase_and_rare_tokens():
    model = translator(lowercase=True, max_features=3).fit(["Ab", "aB", "bac", "cd"], ["A", "a", "b", "c"])
    assert sorted(model.source_vocabulary_) == ["a", "b", "c"]
    assert sorted(model.target_vocabulary_) == ["a", "b", "c"]
    assert model.predict(["AB"]) == model.predict(["ab"])
    model = translator(min_frequency=2).fit(["aab", "ac"], ["xx", "yx"])
    assert (list(model.source_vocabulary_), list(model.target_vocabulary_)) == (["a"], ["x"])
    assert model.predict(["zq"]) == model.predict(["bc"])


def test_empty_and_unknown_sources(fitted):
    predicted = fitted.predict(["", "?!", "12"])
    assert all(isinstance(text, str) and set(text) <= set("0123456789") for text in predicted)
    shapes = [weights.shape for weights in fitted.attention(["", "?!", "12"])]
    assert shapes == [(len(text), n) for text, n in zip(predicted, (0, 2, 2), strict=True)]
    model = translator(max_iter=60, learning_rate_init=0.03).fit(["a", "", "b"] * 9, ["", "x", "y"] * 9)
    assert model.predict(["a", "", "b"]) == ["", "x", "y"]


def test_max_length(fitted):
    assert all(len(text) <= 1 for text in fitted.predict(SOURCES, max_length=1))
    assert fitted.predict(SOURCES, max_length=9) == fitted.predict(SOURCES)


# ---- attributes, validation, going on -------------------------------------------------------------------------------
def test_attributes():
    model = translator(hidden_layer_sizes=(8, 4), cell="gru", bidirectional=True).fit(SOURCES, TARGETS)
    assert [type(layer) for layer in model.layers_] == [GRU] * 4 + [Dense]
    assert [layer.bidirectional for layer in model.layers_[:4]] == [True, True, False, False]
    assert model.n_layers_ == 5
    assert model.n_outputs_ == 12
    assert model.n_parameters_ == model._network.parameters.size
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert model.validation_scores_ is None
    assert sorted(model.source_vocabulary_.values()) == list(range(2, 12))
    assert type(translator().fit(SOURCES, TARGETS).layers_[0]) is LSTM


def test_loss_is_the_mean_over_target_tokens():
    model = translator(max_iter=1, batch_size=7, shuffle=False, solver="sgd", learning_rate_init=1e-12, alpha=0)
    model.fit(SOURCES, TARGETS)
    pairs = model._encode((SOURCES, TARGETS, ""))
    expected = -np.concatenate(model._network.log_likelihoods(pairs)).mean(dtype=np.float64)
    assert model.loss_ == pytest.approx(expected, rel=1e-5)


def test_validation_score_is_the_mean_log_likelihood_of_a_token():
    model = translator(max_iter=3)
    model.fit(SOURCES[::2], TARGETS[::2], sources_val=SOURCES[1::2], targets_val=TARGETS[1::2])
    pairs = model._encode((SOURCES[1::2], TARGETS[1::2], ""))
    expected = np.concatenate(model._network.log_likelihoods(pairs)).mean(dtype=np.float64)
    assert len(model.validation_scores_) == 3
    assert model.validation_scores_[-1] == pytest.approx(expected, rel=1e-12)


def test_early_stopping_keeps_the_best_weights():
    model = translator(max_iter=200, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.1)
    model.fit(SOURCES[:30], TARGETS[:30], sources_val=SOURCES[50:60], targets_val=TARGETS[50:60])
    assert model.stop_reason_ == "early_stopping"
    pairs = model._encode((SOURCES[50:60], TARGETS[50:60], ""))
    score = np.concatenate(model._network.log_likelihoods(pairs)).mean(dtype=np.float64)
    assert score == pytest.approx(model.best_validation_score_, rel=1e-12)
    held_out = translator(early_stopping=True, validation_fraction=0.2).fit(SOURCES, TARGETS)
    assert len(held_out.validation_scores_) == 2


def test_warm_start_goes_on():
    model = translator(warm_start=True).fit(SOURCES, TARGETS)
    first = model.loss_curve_
    model.fit(SOURCES, TARGETS)
    assert model.loss_curve_[0] < first[-1]
    with pytest.raises(ValueError, match="warm_start=False"):
        model.set_params(hidden_layer_sizes=9).fit(SOURCES, TARGETS)


def test_callbacks_and_verbose(capsys):
    seen = []
    translator(verbose=2, max_iter=5, callbacks=lambda info: seen.append(info.loss) or len(seen) == 3).fit(
        SOURCES, TARGETS
    )
    assert len(seen) == 3
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_interrupt_keeps_the_last_weights():
    def interrupt(info):
        if info.epoch == 2:
            raise KeyboardInterrupt

    model = translator(max_iter=9, callbacks=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(SOURCES, TARGETS)
    assert model.stop_reason_ == "interrupted"
    assert same(model, translator(max_iter=2).fit(SOURCES, TARGETS))


# ---- bits -----------------------------------------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    options = {"hidden_layer_sizes": 48, "batch_size": 50, "dropout": 0.2}
    one, two = (translator(n_jobs=n, **options).fit(SOURCES, TARGETS) for n in (1, 2))
    assert one._network.parameters.tobytes() == two._network.parameters.tobytes()
    assert same(one, two)


def test_alone_and_in_any_company(fitted):
    sources = ["", *SOURCES[::9], "123456789" * 5, "x"]
    for width in (1, 2, 5):
        together = fitted.predict(sources, width)
        assert [fitted.predict([source], width)[0] for source in sources] == together
        assert fitted.predict(sources[::-1], width)[::-1] == together


@pytest.mark.parametrize("options", [{}, {"level": ("char", "word"), "bidirectional": True, "dtype": "float64"}])
def test_files_pickles_and_copies_have_the_same_bits(tmp_path, options):
    model = translator(**options).fit(SOURCES, TARGETS)
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert same(model, other)
        assert other.get_params() == model.get_params()
        assert other.source_vocabulary_ == model.source_vocabulary_
    assert loaded.loss_curve_ == model.loss_curve_
    loaded.set_params(warm_start=True).fit(SOURCES, TARGETS)
    with pytest.raises(ValueError, match=r"LSTMTranslator.*lstmfast\.load"):
        runtime.load(tmp_path / "model")


def test_a_file_that_contradicts_itself(tmp_path):
    model = translator().fit(SOURCES, TARGETS)
    model._vocabularies = model._vocabularies[0], translator().fit(["a"], ["b"])._vocabularies[1]
    model.save(tmp_path / "model")
    with pytest.raises(ModelFormatError, match="does not have the tokens"):
        lstmfast.load(tmp_path / "model")


# ---- scikit-learn ---------------------------------------------------------------------------------------------------
def test_scikit_learn_takes_it():
    assert clone(translator(attention=False)).get_params()["attention"] is False
    scores = cross_val_score(translator(), SOURCES, TARGETS, cv=3)
    assert scores.shape == (3,)
    assert ((scores >= 0) & (scores <= 1)).all()
    tokens = [list(source) for source in SOURCES]
    search = GridSearchCV(translator(level="token"), {"cell": ["gru", "rnn"]}, cv=2).fit(tokens, tokens)
    assert search.best_params_["cell"] in ("gru", "rnn")


def test_arrays_of_str():
    sources, targets = np.array(SOURCES), np.array(TARGETS, dtype=object)
    assert same(translator().fit(sources, targets), translator().fit(SOURCES, TARGETS))


# ---- errors ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sources", "targets", "error", "message"),
    [
        (["a", "b"], ["c"], ValueError, "2 sources and 1 targets"),
        ("ab", ["c"], TypeError, r"sources is one str.*\[sources\]"),
        (["ab"], "c", TypeError, r"targets is one str.*\[targets\]"),
        ([], [], ValueError, "0 sample"),
        (["", ""], ["a", "b"], ValueError, "All documents of sources are empty"),
        (["a", "b"], ["", ""], ValueError, "All documents of targets are empty"),
        (["a", 3], ["a", "b"], TypeError, r"sources\[1\]"),
        (["a", "b"], ["a", None], TypeError, r"targets\[1\]"),
        (["a"], None, TypeError, "targets"),
    ],
)
def test_texts_that_are_none(sources, targets, error, message):
    model = translator()
    with pytest.raises(error, match=message):
        model.fit(sources, targets)
    assert not hasattr(model, "_network")


def test_an_error_leaves_a_fitted_translator_as_it_was():
    model = translator().fit(SOURCES, TARGETS)
    before = model.predict(SOURCES), vars(model).copy()
    with pytest.raises(ValueError, match="2 sources and 1 targets"):
        model.fit(["x", "y"], ["z"])
    with pytest.raises(ValueError, match="go together"):
        model.fit(["x"], ["z"], sources_val=["x"])
    with pytest.raises(ValueError, match="1 sources_val and 2 targets_val"):
        model.fit(["x"], ["z"], sources_val=["x"], targets_val=["y", "z"])
    assert (model.predict(SOURCES), vars(model)) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"level": "line"}, "level"), ({"level": ("char",)}, "one level or two"),
        ({"level": ("char", "line")}, "each of level must be"), ({"level": ("char",) * 3}, "one level or two"),
        ({"attention": "yes"}, "attention"), ({"embedding_dim": None}, "embedding_dim"),
        ({"max_features": 0}, "max_features"), ({"min_frequency": 0}, "min_frequency"),
        ({"hidden_layer_sizes": ()}, "at least one"),
    ],
)  # fmt: skip
def test_bad_arguments(parameters, message):
    with pytest.raises(ValueError, match=message):
        translator(**parameters).fit(SOURCES, TARGETS)


@pytest.mark.parametrize("name", ["pooling", "embedding_weights"])
def test_arguments_that_make_no_sense_here(name):
    with pytest.raises(TypeError, match=name):
        translator(**{name: None})
    assert f"    {name} :" not in LSTMTranslator.__doc__


def test_each_argument_is_described_once():
    for name in LSTMTranslator().get_params():
        assert LSTMTranslator.__doc__.count(f"    {name} :") <= 1


@pytest.mark.parametrize("method", ["predict", "score"])
@pytest.mark.parametrize(
    "options", [{"beam_width": 0}, {"beam_width": 1.5}, {"beam_width": None}, {"max_length": 0}, {"max_length": -1}]
)
def test_bad_searches(fitted, method, options):
    texts = (["1"], ["1"])[: 1 + (method == "score")]
    with pytest.raises(ValueError, match=next(iter(options))):
        getattr(fitted, method)(*texts, **options)


def test_bad_texts_for_a_fitted_translator(fitted):
    with pytest.raises(TypeError, match="sources is one str"):
        fitted.predict("12")
    with pytest.raises(ValueError, match="0 sample"):
        fitted.predict([])
    with pytest.raises(ValueError, match="2 sources and 1 targets"):
        fitted.score(["1", "2"], ["1"])
    with pytest.raises(ValueError, match="2 sources and 1 targets"):
        fitted.attention(["1", "2"], ["1"])


def test_without_attention_there_are_no_weights():
    with pytest.raises(ValueError, match="attention=False"):
        translator(attention=False).fit(SOURCES, TARGETS).attention(SOURCES)


def test_attention_for_given_targets(fitted):
    predicted = fitted.predict(SOURCES[:5])
    given, own = fitted.attention(SOURCES[:5], predicted), fitted.attention(SOURCES[:5])
    assert [x.tobytes() for x in given] == [x.tobytes() for x in own]
    (weights,) = fitted.attention(["123"], ["4"])
    assert weights.shape == (1, 3)


def test_not_fitted():
    for call in ("predict", "attention", "attention_weights"):
        with pytest.raises(NotFittedError):
            getattr(translator(), call)(SOURCES)
    with pytest.raises(NotFittedError):
        translator().score(SOURCES, TARGETS)
    with pytest.raises(NotFittedError):
        translator().source_vocabulary_  # noqa: B018


def test_framed_puts_ends_around():
    sequences = framed([np.array([5, 6]), np.array([], np.int64)])
    assert sequences.steps[:, 0].tolist() == [1, 5, 6, 1, 1, 1]
    assert sequences.offsets.tolist() == [0, 4, 6]


# ---- attention is an argument and a method --------------------------------------------------------------------------
def test_attention_the_argument():
    model = translator(attention=False)
    assert not model.attention
    assert model.attention == False  # noqa: E712, what people write
    assert repr(model.attention) == "False"
    assert "attention=False" in repr(model)
    model.set_params(attention=True)
    assert model.attention
    assert model.get_params()["attention"] is True
    model.attention = "yes"
    with pytest.raises(ValueError, match="'attention' parameter"):
        model.fit(SOURCES, TARGETS)


def test_attention_the_method(fitted):
    for own, other in zip(fitted.attention(SOURCES[:4]), fitted.attention_weights(SOURCES[:4]), strict=True):
        assert own.tobytes() == other.tobytes()
