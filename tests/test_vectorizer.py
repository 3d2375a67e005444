"""SequenceVectorizer."""

import pickle
import re
import unicodedata
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from lstmfast import LSTMClassifier, SequenceVectorizer

DOCUMENTS = ["the cat saw the dog", "the dog ran", "a cat"]
REAL = [files("sklearn.datasets.descr").joinpath(f"{name}.rst").read_text("utf-8") for name in ("iris", "wine_data")]
TEXTS = st.lists(st.text(), min_size=1).filter(any)


def as_lists(sequences):
    return [sequence.tolist() for sequence in sequences]


# Vocabulary ----------------------------------------------------------------------------------------------------------


def test_vocabulary_by_falling_frequency_then_characters():
    vectorizer = SequenceVectorizer().fit(DOCUMENTS)
    tokens = ["the", "cat", "dog", "a", "ran", "saw"]
    assert list(vectorizer.vocabulary_.items()) == list(zip(tokens, range(1, 7), strict=True))
    assert vectorizer.n_tokens_ == 7
    ids = vectorizer.transform(["the cow saw", "A CAT"])
    assert as_lists(ids) == [[1, 0, 6], [4, 2]]
    assert [x.dtype for x in ids] == [np.int64] * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_features": 2}, ["the", "cat"]),
        ({"max_features": 6}, ["the", "cat", "dog", "a", "ran", "saw"]),
        ({"max_features": 99}, ["the", "cat", "dog", "a", "ran", "saw"]),
        ({"min_frequency": 2}, ["the", "cat", "dog"]),
        ({"min_frequency": 3}, ["the"]),
        ({"min_frequency": 2, "max_features": np.int32(1)}, ["the"]),
    ],
)
def test_limits_of_the_vocabulary(options, expected):
    vectorizer = SequenceVectorizer(**options).fit(DOCUMENTS)
    assert list(vectorizer.vocabulary_) == expected
    assert vectorizer.n_tokens_ == len(expected) + 1
    seen = set(np.concatenate(vectorizer.transform(DOCUMENTS)).tolist())
    assert seen | {0} == set(range(vectorizer.n_tokens_))


@pytest.mark.parametrize("level", ["word", "char"])
def test_real_text(level):
    vectorizer = SequenceVectorizer(level=level, lowercase=False).fit(REAL)
    pattern = r"\w+|[^\w\s]" if level == "word" else r"(?s)."
    documents = [re.findall(pattern, text) for text in REAL]
    counts = Counter(token for tokens in documents for token in tokens)
    assert list(vectorizer.vocabulary_) == sorted(counts, key=lambda token: (-counts[token], token))
    for tokens, ids in zip(documents, vectorizer.transform(REAL), strict=True):
        assert [vectorizer.vocabulary_[token] for token in tokens] == ids.tolist()
    if level == "char":
        assert vectorizer.inverse_transform(vectorizer.transform(REAL)) == REAL


def test_same_tokens_as_count_vectorizer():
    counts = CountVectorizer(token_pattern=r"\w+|[^\w\s]").fit(REAL)
    vectorizer = SequenceVectorizer().fit(REAL)
    assert vectorizer.vocabulary_.keys() == counts.vocabulary_.keys()
    for text, ids in zip(REAL, vectorizer.transform(REAL), strict=True):
        totals = np.bincount(ids, minlength=vectorizer.n_tokens_)
        row = counts.transform([text]).toarray()[0]
        assert all(totals[i] == row[counts.vocabulary_[token]] for token, i in vectorizer.vocabulary_.items())


def test_all_marks_are_known():
    """Also those of the Unicode version of the next Python."""
    marks = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] == "M"]
    for start in range(0, len(marks), 500):
        word = "a" + "".join(marks[start : start + 500])
        assert SequenceVectorizer(lowercase=False).fit([word]).vocabulary_ == {word: 1}


@given(TEXTS, st.sampled_from(["word", "char"]), st.randoms(use_true_random=False))
def test_order_of_documents_does_not_matter(texts, level, random):
    texts = ["x", *texts]
    expected = list(SequenceVectorizer(level=level, max_features=3).fit(texts).vocabulary_.items())
    random.shuffle(texts)
    assert list(SequenceVectorizer(level=level, max_features=3).fit(texts).vocabulary_.items()) == expected


# Tokens --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't, e-mail_2 3.5!", ["don", "'", "t", ",", "e", "-", "mail_2", "3", ".", "5", "!"]),
        ("...\t\n  ok", [".", ".", ".", "ok"]),
        ("naïve Ελλάδα Straße", ["naïve", "ελλάδα", "straße"]),
        (unicodedata.normalize("NFD", "naïve é"), [unicodedata.normalize("NFD", "naïve"), "e\u0301"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # noqa: RUF001
        ("İ", ["i\u0307"]),
        ("I ❤\ufe0f 👩\u200d🚀", ["i", "❤\ufe0f", "👩\u200d", "🚀"]),
        ("東京。", ["東京", "。"]),
        ("\u0301 a", ["\u0301", "a"]),
        ("a\x00b\u3000c\u00a0d", ["a", "\x00", "b", "c", "d"]),
    ],
)
def test_words(text, expected):
    vectorizer = SequenceVectorizer().fit([text])
    assert " ".join(expected) == vectorizer.inverse_transform(vectorizer.transform([text]))[0]
    assert set(vectorizer.vocabulary_) == set(expected)


@given(st.text())
def test_words_lose_nothing_but_white_space(text):
    vectorizer = SequenceVectorizer(lowercase=False).fit(["x " + text])
    (back,) = vectorizer.inverse_transform(vectorizer.transform(["x " + text]))
    assert re.sub(r"\s", "", back) == re.sub(r"\s", "", "x" + text)


@given(TEXTS)
def test_characters_come_back(texts):
    vectorizer = SequenceVectorizer(level="char", lowercase=False).fit(texts)
    ids = vectorizer.transform(texts)
    assert vectorizer.inverse_transform(ids) == [text or "\ufffd" for text in texts]
    assert [len(x) for x in ids] == [len(text) or 1 for text in texts]


def test_lowercase():
    assert list(SequenceVectorizer(lowercase=False).fit(["The the THE"]).vocabulary_) == ["THE", "The", "the"]
    for documents in (["The the THE"], [["The", "the", "THE"]]):
        assert SequenceVectorizer().fit(documents).vocabulary_ == {"the": 1}
    assert SequenceVectorizer(level="char", lowercase=np.True_).fit(["aA"]).vocabulary_ == {"a": 1}


def test_documents_without_tokens_become_the_unknown_token():
    for level, documents in (("word", ["", " \n", [], ()]), ("char", ["", [], ()])):
        vectorizer = SequenceVectorizer(level=level).fit(["a", *documents])
        assert as_lists(vectorizer.transform(documents)) == [[0]] * len(documents)
    assert as_lists(vectorizer.fit(["a b"]).transform([" "])) == [[vectorizer.vocabulary_[" "]]]


@pytest.mark.parametrize("level", ["word", "char"])
def test_a_vocabulary_of_one(level):
    vectorizer = SequenceVectorizer(level=level).fit(["a"])
    assert (vectorizer.vocabulary_, vectorizer.n_tokens_) == ({"a": 1}, 2)
    assert as_lists(vectorizer.transform(["a", "b", "", []])) == [[1], [0], [0], [0]]
    assert vectorizer.fit([["", ""]]).vocabulary_ == {"": 1}  # as a token the empty string is one like any other


def test_max_length():
    for level, documents in (("word", ["a b c d", "d"]), ("char", ["abcd", "d"]), ("word", [list("abcd"), ["d"]])):
        for truncate, expected in (("pre", "cd"), ("post", "ab")):
            vectorizer = SequenceVectorizer(level=level, max_length=2, truncate=truncate).fit(documents)
            back = vectorizer.inverse_transform(vectorizer.transform(documents))
            assert [text.replace(" ", "") for text in back] == [expected, "d"]
            # Only what is kept is counted, so an estimator sees every id of the vocabulary.
            assert set(vectorizer.vocabulary_) == set(expected + "d")
    vectorizer = SequenceVectorizer().fit(["a b c d"])
    assert as_lists(vectorizer.set_params(max_length=4).transform(["a b c d"])) == [[1, 2, 3, 4]]
    assert as_lists(vectorizer.set_params(max_length=1).transform(["a b c d"])) == [[4]]


@given(TEXTS, st.integers(1, 5), st.sampled_from(["pre", "post"]), st.sampled_from(["word", "char"]))
def test_max_length_cuts_what_transform_gives(texts, max_length, truncate, level):
    texts = ["x", *texts]
    vectorizer = SequenceVectorizer(level=level).fit(texts)
    whole = as_lists(vectorizer.transform(texts))
    cut = vectorizer.set_params(max_length=max_length, truncate=truncate).transform(texts)
    assert as_lists(cut) == [x[-max_length:] if truncate == "pre" else x[:max_length] for x in whole]


# Input ---------------------------------------------------------------------------------------------------------------


def test_kinds_of_input():
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    expected = SequenceVectorizer().fit(DOCUMENTS)
    tokens = [document.split() for document in DOCUMENTS]
    objects = np.empty(3, dtype=object)
    objects[:] = [np.array(tokens[0]), tuple(tokens[1]), pd.Series(tokens[2])]
    shuffled = pd.Series(DOCUMENTS, index=[2, 0, 1])
    for X in (
        tuple(DOCUMENTS),
        np.array(DOCUMENTS),
        np.array(DOCUMENTS, dtype=object),
        shuffled,
        shuffled.astype(object),
        shuffled.astype("string"),
        shuffled.astype("category"),
        shuffled.to_frame("text")["text"],
        pd.Index(DOCUMENTS),
        pl.Series(DOCUMENTS),
        tokens,
        objects,
        pd.Series(tokens),
        pl.Series(tokens),
        [tokens[0], *DOCUMENTS[1:]],
    ):
        for lowercase in (True, False):
            vectorizer = SequenceVectorizer(lowercase=lowercase)
            ids = vectorizer.fit_transform(X)
            assert vectorizer.vocabulary_ == expected.vocabulary_
            assert as_lists(ids) == as_lists(expected.transform(DOCUMENTS)) == as_lists(expected.transform(X))
            assert {type(token) for token in vectorizer.vocabulary_} == {str}  # not numpy.str_


@pytest.mark.parametrize("level", ["word", "char"])
def test_tokens_are_taken_as_they_are(level):
    X = [["GET /", "200"], ["GET /", "GET", "", "404"]]
    vectorizer = SequenceVectorizer(level=level, lowercase=False).fit(X)
    assert list(vectorizer.vocabulary_) == ["GET /", "", "200", "404", "GET"]
    assert as_lists(vectorizer.transform(X)) == [[1, 3], [1, 5, 2, 4]]


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one text", TypeError, r"^X is one str: expected a list, .* Pass \[X\]\."),
        (np.str_("one text"), TypeError, "^X is one str"),
        (b"one text", TypeError, "^X must be a list, tuple, 1-D array or Series of str, got bytes"),
        (None, TypeError, "^X must be a list, .* got NoneType"),
        (iter(["a"]), TypeError, "^X must be a list, .* got list_iterator"),
        ({"a"}, TypeError, "^X must be a list, .* got set"),
        ({"a": 1}, TypeError, "^X must be a list, .* got dict"),
        (3, TypeError, "^X must be a list, .* got int"),
        ([], ValueError, r"^Found array with 0 sample\(s\) \(shape=\(0,\)\) .* required by SequenceVectorizer"),
        (np.array([], dtype=str), ValueError, r"^Found array with 0 sample\(s\)"),
        (np.array([["a", "b"]]), ValueError, r"^X must have one dimension, .* got shape \(1, 2\)\. Pass one column"),
        (np.array("a"), ValueError, r"^X must have one dimension, .* got shape \(\)"),
        (["a", None], TypeError, r"^X\[1\] must be a str or a list of str, got None \(NoneType\)\. Fill or remove"),
        (["a", np.nan], TypeError, r"^X\[1\] must be .* got nan \(float\)"),
        ([b"a"], TypeError, r"^X\[0\] must be .* got b'a' \(bytes\)\. .*decode bytes"),
        (np.array([b"a"]), TypeError, r"^X\[0\] must be .* \(bytes_\)"),
        ([1, 2], TypeError, r"^X\[0\] must be .* got 1 \(int\)\. .*turn numbers into str"),
        (np.ones(2), TypeError, r"^X\[0\] must be .* \(float64\)"),
        ([["a"], [1]], TypeError, r"^X\[1\]\[0\] must be a str, got 1 \(int\)"),
        (["a", 1], TypeError, r"^X\[1\] must be .* got 1 \(int\)"),
        ([["a"], np.array([1.5])], TypeError, r"^X\[1\]\[0\] must be a str, got .*1.5"),
        ([["a", 1]], TypeError, r"^X\[0\]\[1\] must be a str, got 1 \(int\)"),
        ([["a", None]], TypeError, r"^X\[0\]\[1\] must be a str, got None"),
        (["a", [["b"]]], TypeError, r"^X\[1\]\[0\] must be a str, got \['b'\] \(list\)"),
        (["a", np.array([["b"]])], TypeError, r"^X\[1\] must be a str or a list of str, got array"),
        ([{"a"}], TypeError, r"^X\[0\] must be .* \(set\)"),
        (["x" * 9, range(9)], TypeError, r"^X\[1\] must be .* \(range\)"),
    ],
)
def test_wrong_input(X, error, message):
    vectorizer = SequenceVectorizer().fit(DOCUMENTS)
    before = dict(vectorizer.vocabulary_)
    for method in (vectorizer.fit, vectorizer.transform, vectorizer.fit_transform):
        with pytest.raises(error, match=message):
            method(X)
    assert (vectorizer.vocabulary_, vectorizer.n_tokens_) == (before, 7)


def test_wrong_tables():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"text": ["a", None]}, index=[7, 3])
    with pytest.raises(ValueError, match=r"^X must have one dimension, .* got shape \(2, 1\)\. Pass one column"):
        SequenceVectorizer().fit(frame)
    for dtype in (object, "string", "category"):
        with pytest.raises(TypeError, match=r"^X\.iloc\[1\] must be a str .* Fill or remove missing entries"):
            SequenceVectorizer().fit(frame["text"].astype(dtype))


def test_nothing_for_a_vocabulary():
    vectorizer = SequenceVectorizer(min_frequency=4).fit(["a a a a"])
    with pytest.raises(ValueError, match=r"^No token occurs min_frequency=4 times, the most frequent one 3 times\."):
        vectorizer.fit(DOCUMENTS)
    for X in (["", " "], [[], []]):
        with pytest.raises(ValueError, match=r"^All documents of X are empty or white space: they hold no tokens\."):
            vectorizer.fit(X)
    assert vectorizer.vocabulary_ == {"a": 1}


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("level", "words", ValueError, "^level must be 'word' or 'char', got 'words'"),
        ("level", None, ValueError, "^level must be 'word' or 'char', got None"),
        ("truncate", True, ValueError, "^truncate must be 'pre' or 'post', got True"),
        ("truncate", ["pre"], ValueError, "^truncate must be 'pre' or 'post', got"),
        ("lowercase", 1, TypeError, "^lowercase must be True or False, got 1"),
        ("lowercase", "yes", TypeError, "^lowercase must be True or False, got 'yes'"),
        ("max_features", 0, ValueError, "^max_features must be at least 1"),
        ("max_features", 1.5, TypeError, "^max_features must be an integer, got 1.5"),
        ("min_frequency", 0, ValueError, "^min_frequency must be at least 1"),
        ("min_frequency", None, TypeError, "^min_frequency must be an integer, got None"),
        ("max_length", 0, ValueError, "^max_length must be at least 1"),
        ("max_length", -3, ValueError, "^max_length must be at least 1"),
        ("max_length", "9", TypeError, "^max_length must be an integer, got '9'"),
        ("max_length", True, TypeError, "^max_length must be an integer, got True"),
    ],
)
def test_wrong_parameters(name, value, error, message):
    with pytest.raises(error, match=message):
        SequenceVectorizer(**{name: value}).fit(DOCUMENTS)
    with pytest.raises(error, match=message):
        SequenceVectorizer().fit(DOCUMENTS).set_params(**{name: value}).transform(DOCUMENTS)


# inverse_transform ---------------------------------------------------------------------------------------------------


def test_inverse_transform():
    vectorizer = SequenceVectorizer().fit(DOCUMENTS)
    assert vectorizer.inverse_transform(vectorizer.transform(DOCUMENTS)) == DOCUMENTS
    for X in ([[1, 0], [2, 3]], np.array([[1, 0], [2, 3]], dtype=np.uint8), (np.array([1, 0]), [2, 3])):
        assert vectorizer.inverse_transform(X) == ["the \ufffd", "cat dog"]
    assert vectorizer.inverse_transform([[], [6]]) == ["", "saw"]
    assert vectorizer.inverse_transform([]) == []


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([[1], [2, 7, -1]], ValueError, r"^X\[1\] holds id 7, but ids are 0 \.\.\. 6"),
        ([[-1]], ValueError, r"^X\[0\] holds id -1"),
        ([[1.0]], TypeError, r"^X\[0\] must hold integers, got dtype float64"),
        ([[True]], TypeError, r"^X\[0\] must hold integers, got dtype bool"),
        ([["the"]], TypeError, r"^X\[0\] must hold integers"),
        ([1, 2], ValueError, r"^X\[0\] must have one dimension, got shape \(\)\. Pass \[X\]"),
        (np.zeros((2, 3, 1), int), ValueError, r"^X\[0\] must have one dimension, got shape \(3, 1\)"),
        (["the"], ValueError, r"^X\[0\] must have one dimension"),
        (None, TypeError, "^X must be a list of arrays of ids, got NoneType"),
        (3, TypeError, "^X must be a list of arrays of ids, got int"),
    ],
)
def test_wrong_ids(X, error, message):
    with pytest.raises(error, match=message):
        SequenceVectorizer().fit(DOCUMENTS).inverse_transform(X)


# scikit-learn --------------------------------------------------------------------------------------------------------


def test_not_fitted():
    for method in ("transform", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(SequenceVectorizer(), method)(DOCUMENTS)


def test_parameters_clone_and_pickle():
    options = {"level": "char", "max_features": 9, "min_frequency": 2, "max_length": 30, "truncate": "post"}
    options["lowercase"] = False
    assert SequenceVectorizer().get_params().keys() == options.keys()
    vectorizer = SequenceVectorizer(**options).fit(REAL)
    assert clone(vectorizer).get_params() == vectorizer.get_params() == options
    with pytest.raises(NotFittedError):
        clone(vectorizer).transform(REAL)
    again = pickle.loads(pickle.dumps(vectorizer))
    assert as_lists(again.transform(REAL)) == as_lists(vectorizer.transform(REAL))
    assert repr(SequenceVectorizer(level="char")) == "SequenceVectorizer(level='char')"


def test_no_output_containers():
    vectorizer = SequenceVectorizer()
    with pytest.raises(AttributeError, match="'SequenceVectorizer' has no attribute 'set_output'"):
        vectorizer.set_output(transform="pandas")
    with pytest.raises(ValueError, match="Unable to configure output for SequenceVectorizer"):
        make_pipeline(vectorizer).set_output(transform="pandas")
    with config_context(transform_output="pandas"):
        assert isinstance(vectorizer.fit_transform(DOCUMENTS), list)


def test_tags():
    tags = SequenceVectorizer().__sklearn_tags__().input_tags
    assert (tags.string, tags.two_d_array) == (True, False)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pipeline_and_grid_search():
    rng = np.random.default_rng(0)
    X = [" ".join(rng.choice(["red", "green", "blue"], size=rng.integers(1, 6))) for _ in range(24)]
    y = ["starts red" if text.startswith("red") else "other" for text in X]
    pipeline = make_pipeline(
        SequenceVectorizer(), LSTMClassifier((4,), max_iter=3, random_state=0, dtype="float64", n_jobs=1)
    )
    expected = LSTMClassifier((4,), max_iter=3, random_state=0, dtype="float64", n_jobs=1)
    expected.fit(SequenceVectorizer().fit_transform(X), y)
    np.testing.assert_array_equal(
        pipeline.fit(X, y).predict_proba(X), expected.predict_proba(SequenceVectorizer().fit_transform(X))
    )
    assert pipeline.predict(["", "never seen"]).shape == (2,)
    grid = {"sequencevectorizer__level": ["word", "char"], "sequencevectorizer__max_length": [None, 3]}
    for documents in (X, np.array(X)):
        search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(documents, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert np.isfinite(cross_val_score(search.best_estimator_, documents, y, cv=2, error_score="raise")).all()
