"""Vocabulary: tokens to ids and back."""

import copy
import json
import pickle
import subprocess
import sys
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmfast import SequenceVectorizer, saved_model
from lstmfast.tokens import tokenise
from lstmfast.vocabulary import END, UNKNOWN, Vocabulary

REAL = [files("sklearn.datasets.descr").joinpath(f"{name}.rst").read_text("utf-8") for name in ("iris", "wine_data")]
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too
TEXTS = st.lists(ANY_TEXT, min_size=1).filter(any)
INT64 = st.integers(-(2**63), 2**63 - 1)


def as_lists(sequences):
    return [sequence.tolist() for sequence in sequences]


def plain_encode(vocabulary, documents):
    """Look up by hand; the documents are lists of tokens, or str at level "char"."""
    tokens = vocabulary.tokens.tolist()
    return [[tokens.index(token) + 2 if token in tokens else UNKNOWN for token in document] for document in documents]


# Learning ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("lowercase", [False, True, np.True_])
def test_the_vectorizer_learns_the_same_tokens(level, lowercase):
    vocabulary = Vocabulary.learn(REAL, level, max_features=50, min_frequency=2, lowercase=lowercase)
    vectorizer = SequenceVectorizer(level=level, max_features=50, min_frequency=2, lowercase=lowercase).fit(REAL)
    assert vocabulary.tokens.tolist() == list(vectorizer.vocabulary_)
    assert vocabulary.n_tokens == len(vocabulary) == len(vectorizer.vocabulary_) + 2
    for ids, others in zip(vocabulary.encode(REAL), vectorizer.transform(REAL), strict=True):
        assert ids.tolist() == np.where(others > 0, others + 1, UNKNOWN).tolist()
    vocabulary.check()


@given(
    st.one_of(st.lists(st.lists(INT64)), st.lists(st.lists(ANY_TEXT))).filter(any), st.integers(1, 3), st.integers(1, 3)
)
def test_by_falling_frequency_then_the_tokens_order(documents, max_features, min_frequency):
    counts = Counter(token for document in documents for token in document)
    expected = sorted((t for t in counts if counts[t] >= min_frequency), key=lambda t: (-counts[t], t))
    limits = {"max_features": max_features, "min_frequency": min_frequency}
    if not expected:
        with pytest.raises(ValueError, match=f"No token occurs min_frequency={min_frequency} times"):
            Vocabulary.learn(documents, "token", **limits)
        return
    vocabulary = Vocabulary.learn(documents, "token", **limits)
    assert vocabulary.tokens.tolist() == expected[:max_features]
    vocabulary.check()


def test_a_vocabulary_of_one():
    for document, token in (("aaa", "a"), ([7, 7], 7)):
        vocabulary = Vocabulary.learn([document], "char" if token == "a" else "token")
        assert (vocabulary.tokens.tolist(), vocabulary.n_tokens) == ([token], 3)
        assert as_lists(vocabulary.encode([document[:1], document[:0]])) == [[2], []]


def test_lowercase():
    for level, documents in (("char", ["aA"]), ("word", ["a A"]), ("word", [["a", "A"]]), ("token", [["a", "A"]])):
        assert Vocabulary.learn(documents, level).tokens.tolist() == ["A", "a"]
        vocabulary = Vocabulary.learn(documents, level, lowercase=True)
        assert vocabulary.tokens.tolist() == ["a"]
        assert as_lists(vocabulary.encode(documents)) == [[2, 2]]
    assert as_lists(Vocabulary.learn(["i\u0307"], "char", lowercase=True).encode(["İ"])) == [[2, 3]]  # one becomes two
    assert Vocabulary.learn([[3, 3]], "token", lowercase=True).tokens.tolist() == [3]


# Encoding and decoding -----------------------------------------------------------------------------------------------
@given(TEXTS, TEXTS)
def test_characters(texts, others):
    vocabulary = Vocabulary.learn(texts, "char")
    ids = vocabulary.encode(texts)
    assert [vocabulary.decode(x) for x in ids] == texts
    assert {x.dtype for x in ids} == {np.dtype(np.int64)}
    assert as_lists(vocabulary.encode(others)) == plain_encode(vocabulary, others)
    # A document that comes as tokens sends all of them through the dictionary instead of the table.
    assert as_lists(vocabulary.encode([*others, list(others[0])])) == plain_encode(vocabulary, [*others, others[0]])


@pytest.mark.parametrize("code", [0, 0x7F, 0x301, 0xD800, 0xDFFF, 0xFFFF, 0x1F600, 0x10FFFF])
def test_the_ends_of_the_table_of_characters(code):
    text = chr(code) * 3
    vocabulary = Vocabulary.learn([text], "char")
    near = [chr(c) for c in (code - 1, code + 1) if 0 <= c < 0x110000]
    assert as_lists(vocabulary.encode([text, *near])) == [[2, 2, 2], *([[UNKNOWN]] * len(near))]
    assert vocabulary.decode([2, 2]) == text[:2]


@given(st.lists(st.lists(ANY_TEXT)).filter(any), st.lists(st.lists(ANY_TEXT), min_size=1))
def test_tokens_that_are_str(documents, others):
    for level in ("token", "word", "char"):
        vocabulary = Vocabulary.learn(documents, level)
        assert as_lists(vocabulary.encode(others)) == plain_encode(vocabulary, others)
        separator = {"word": " ", "char": ""}.get(level)
        for ids, document in zip(vocabulary.encode(documents), documents, strict=True):
            assert vocabulary.decode(ids) == (document if level == "token" else separator.join(document))


@given(st.lists(st.lists(INT64)).filter(any), st.lists(st.lists(st.integers()), min_size=1))
def test_tokens_that_are_integers(documents, others):
    vocabulary = Vocabulary.learn(documents, "token")
    assert vocabulary.tokens.dtype == np.int64
    assert [vocabulary.decode(ids) for ids in vocabulary.encode(documents)] == documents
    assert as_lists(vocabulary.encode(others)) == plain_encode(vocabulary, others)


def test_words_of_many_scripts():
    text = "naïve हिन्दी 東京。 e\u0301 ❤\ufe0f"
    vocabulary = Vocabulary.learn([text], "word")
    assert vocabulary.decode(vocabulary.encode([text])[0]) == "naïve हिन्दी 東京 。 e\u0301 ❤\ufe0f"


def test_what_unknown_and_end_decode_to():
    cases = [
        ("char", ["ab"], "b\ufffda"),
        ("word", ["a b"], "b \ufffd a"),
        ("token", [["a", "b"]], ["b", "\ufffd", "a"]),
    ]
    for level, documents, expected in [*cases, ("token", [[1, 2]], [2, None, 1])]:
        vocabulary = Vocabulary.learn(documents, level)
        for ids in ([3, UNKNOWN, 2], [END, 3, END, UNKNOWN, 2, END, END], np.array([3, 0, 2], np.uint8)):
            assert vocabulary.decode(ids) == expected
        assert vocabulary.decode([]) == vocabulary.decode([END]) == ([] if level == "token" else "")
    assert {type(token) for token in Vocabulary.learn([np.array([5, 6])], "token").decode([2, 3])} == {int}


def test_long_tokens_at_level_char():
    vocabulary = Vocabulary.learn([["ab", "", "c", "ab"]], "char")
    assert as_lists(vocabulary.encode(["abc", ["ab", "c"]])) == [[UNKNOWN, UNKNOWN, 4], [2, 4]]
    assert as_lists(vocabulary.encode(["abc"])) == [[UNKNOWN, UNKNOWN, 4]]


def test_the_arrays_do_not_overlap():
    ids = Vocabulary.learn(["abc"], "char").encode(["ab", "c"])
    ids[0][:] = 9
    assert ids[1].tolist() == [4]


# Input ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, ">i4", str, object])
def test_kinds_of_token_sequences(dtype):
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    array = np.array([[3, 1, 3], [2, 3, 1]]).astype(dtype)
    lists = array.tolist()
    expected = Vocabulary.learn(lists, "token")
    ids = as_lists(expected.encode(lists))
    objects = np.empty(2, dtype=object)
    objects[:] = [tuple(lists[0]), pd.Series(lists[1], index=[5, 0, 2])]
    for documents in (
        array,
        array[:, ::-1][:, ::-1],
        list(array),
        [list(array[0]), tuple(array[1])],  # NumPy's scalars
        objects,
        pd.Series(lists, index=[1, 0]),
        [pd.Index(lists[0]), pd.Series(lists[1])],
        [pl.Series(lists[0]), lists[1]],
        pl.Series(lists),
    ):
        vocabulary = Vocabulary.learn(documents, "token")
        assert vocabulary == expected
        assert {type(token) for tokens in tokenise(documents, "X", "token") for token in tokens} == {type(lists[0][0])}
        assert as_lists(expected.encode(documents)) == ids


@pytest.mark.parametrize("level", ["char", "word"])
def test_kinds_of_texts(level):
    pd = pytest.importorskip("pandas")
    texts = ["a cat", "", "a dog"]
    expected = Vocabulary.learn(texts, level)
    for documents in (
        tuple(texts),
        np.array(texts),
        pd.Series(texts, index=[2, 0, 1]),
        pd.Series(texts, dtype="string"),
    ):
        vocabulary = Vocabulary.learn(documents, level)
        assert vocabulary == expected
        assert {type(token) for token in vocabulary.tokens} == {str}
        assert as_lists(vocabulary.encode(documents)) == as_lists(expected.encode(texts))


SAME_AT_EACH_LEVEL = [
    ("one text", TypeError, r"^texts is one str: expected a list, .* Pass \[texts\]\."),
    (None, TypeError, "^texts must be a list, .* got NoneType"),
    (iter(["a"]), TypeError, "^texts must be a list, .* got list_iterator"),
    ([], ValueError, r"^Found array with 0 sample\(s\) \(shape=\(0,\)\) while a minimum of 1 is required\."),
    (np.zeros((2, 2, 2), int), ValueError, r"^texts must have one dimension, .* got shape \(2, 2, 2\)"),
    ([None], TypeError, r"^texts\[0\] must be .* got None \(NoneType\)\. "),
    ([{"a"}], TypeError, r"^texts\[0\] must be .* \(set\)"),
    ([["a"], ["a", None]], TypeError, r"^texts\[1\]\[1\] must be a str, got None \(NoneType\)\. Fill or remove"),
    ([["a"], [float("nan")]], TypeError, r"^texts\[1\]\[0\] must be a str, got nan \(float\)"),
    ([["a"], ["a", 1]], TypeError, r"^texts\[1\]\[1\] must be a str, got 1 \(int\)\. .* turn numbers into str"),
    ([["a", b"a"]], TypeError, r"^texts\[0\]\[1\] must be a str, got b'a' \(bytes\)\. .* decode bytes"),
]


@pytest.mark.parametrize("level", ["char", "word", "token"])
@pytest.mark.parametrize(("documents", "error", "message"), SAME_AT_EACH_LEVEL)
def test_wrong_documents(level, documents, error, message):
    vocabulary = Vocabulary.learn([["a"]], level)
    for method in (vocabulary.encode, lambda documents: Vocabulary.learn(documents, level)):
        with pytest.raises(error, match=message):
            method(documents)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (["ab"], r"^X\[0\] is a str, 'ab', .* list of tokens\. .*level='char' or level='word'\. .* pass \[X\]"),
        ([["a"], "ab"], r"^X\[1\] is a str"),
        (np.array(["ab"]), r"^X\[0\] is a str, 'ab'"),
        ([1, 2], r"^X\[0\] must be a list of tokens, got 1 \(int\)\. For one document pass \[X\]"),
        (np.array([1, 2]), r"^X\[0\] must be a list of tokens, got .*1.* \(int64\)\. For one document pass \[X\]"),
        ([np.ones((2, 2), int)], r"^X\[0\] must be a list of tokens, got array"),
        ([range(3)], r"^X\[0\] must be a list of tokens, got range"),
        ([[True]], r"^X\[0\]\[0\] must be a str or an integer, got True \(bool\)"),
        ([[], [0.5]], r"^X\[1\]\[0\] must be a str or an integer, got 0.5 \(float\)"),
        ([np.array([1.0])], r"^X\[0\]\[0\] must be a str or an integer, got .*1.0.* \(float64\)"),
        ([np.array([True])], r"^X\[0\]\[0\] must be .* \(bool"),
        ([np.array(["2020-01-01"], "M8[ns]")], r"^X\[0\]\[0\] must be .* \(datetime64\)"),
        ([np.array([3], "m8[ns]")], r"^X\[0\]\[0\] must be .* \(timedelta64\)"),
        ([[("a", "b")]], r"^X\[0\]\[0\] must be a str or an integer, got \('a', 'b'\) \(tuple\)"),
        ([[["a"]]], r"^X\[0\]\[0\] must be a str or an integer, got \['a'\] \(list\)"),
        ([[1], [2, "a"]], r"^X\[1\]\[1\] must be an integer, got 'a' \(str\)\. Give all tokens as integers, or all as"),
        ([[1, True]], r"^X\[0\]\[1\] must be an integer, got True \(bool\)"),
        ([[1, 2.0]], r"^X\[0\]\[1\] must be an integer, got 2.0 \(float\)"),
        ([[1], np.array([1.0])], r"^X\[1\]\[0\] must be an integer"),
        ([[1, None]], r"^X\[0\]\[1\] must be an integer, got None \(NoneType\)"),
    ],
)
def test_wrong_token_sequences(documents, message):
    with pytest.raises(TypeError, match=message):
        Vocabulary.learn(documents, "token", name="X")


def test_tables_at_level_token():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"^texts must have one dimension, .* got shape \(1, 2\)"):
        Vocabulary.learn(pd.DataFrame({"a": ["x"], "b": ["y"]}), "token")
    with pytest.raises(TypeError, match=r"^texts.iloc\[1\]\[0\] must be an integer, got 'a'"):
        Vocabulary.learn(pd.Series([[1], ["a"]], index=[4, 2]), "token")
    with pytest.raises(TypeError, match=r"^texts\[0\]\[1\] must be an integer, got <NA>"):
        Vocabulary.learn([pd.Series([1, None], dtype="Int64")], "token")


@pytest.mark.parametrize(
    ("known", "given", "message"),
    [
        ([["a"]], [[], [1]], r"^X\[1\]\[0\] must be a str, got 1 \(int\)"),
        ([[1]], [[1, "a"]], r"^X\[0\]\[1\] must be an integer, got 'a' \(str\)"),
        ([[1]], ["a"], r"^X\[0\] is a str"),
        ([[1]], [[1.5]], r"^X\[0\]\[0\] must be an integer, got 1.5"),
        ([[1]], [np.array([False])], r"^X\[0\]\[0\] must be an integer"),
    ],
)
def test_tokens_of_another_kind_than_the_vocabulary_s(known, given, message):
    with pytest.raises(TypeError, match=message):
        Vocabulary.learn(known, "token").encode(given, "X")


@pytest.mark.parametrize("documents", [["", ""], [[], ()], [" \n", []]])
def test_documents_without_tokens(documents):
    with pytest.raises(ValueError, match=r"^All documents of sources are empty or white space: they hold no tokens\."):
        Vocabulary.learn(documents, "word", name="sources")
    assert as_lists(Vocabulary.learn(["a"], "word").encode(documents)) == [[], []]
    for level in ("char", "token"):
        with pytest.raises(ValueError, match="they hold no tokens"):
            Vocabulary.learn([[], np.array([])], level)
        assert as_lists(Vocabulary.learn([["a"]], level).encode([[], np.array([])])) == [[], []]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_integers_beyond_int64(value):
    with pytest.raises(ValueError, match=rf"^Integers of texts must be at least -2\*\*63 .* got {value}\. Turn all"):
        Vocabulary.learn([[1, value]], "token")
    assert as_lists(Vocabulary.learn([[1]], "token").encode([[1, value]])) == [[2, UNKNOWN]]


def test_uint64():
    documents = np.array([[2**64 - 1, 1]], np.uint64)
    with pytest.raises(ValueError, match="got 18446744073709551615"):
        Vocabulary.learn(documents, "token")
    assert as_lists(Vocabulary.learn([[-1]], "token").encode(documents)) == [[UNKNOWN, UNKNOWN]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": "words"}, ValueError, "^level must be 'char' or 'word' or 'token', got 'words'"),
        ({"level": None}, ValueError, "^level must be .* got None"),
        ({"lowercase": 1}, TypeError, "^lowercase must be True or False, got 1"),
        ({"max_features": 0}, ValueError, "^max_features must be at least 1"),
        ({"max_features": 1.5}, TypeError, "^max_features must be an integer, got 1.5"),
        ({"min_frequency": True}, TypeError, "^min_frequency must be an integer, got True"),
        ({"min_frequency": None}, TypeError, "^min_frequency must be an integer, got None"),
    ],
)
def test_wrong_parameters(options, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.learn(**{"documents": ["a"], "level": "char", **options})


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([2, 4], ValueError, r"^ids holds id 4, but ids are 0 \.\.\. 3"),
        ([-1], ValueError, "^ids holds id -1"),
        ([1.0], TypeError, "^ids must hold integers, got dtype float64"),
        ([True], TypeError, "^ids must hold integers, got dtype bool"),
        ("ab", ValueError, r"^ids must have one dimension, got shape \(\)\. Decode one document at a time"),
        ([[2], [3]], ValueError, r"^ids must have one dimension, got shape \(2, 1\)"),
        (None, ValueError, "^ids must have one dimension"),
    ],
)
def test_wrong_ids(ids, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.learn(["ab"], "char").decode(ids)


# Files, pickles ------------------------------------------------------------------------------------------------------
DOCUMENTS = {
    "char": ["a\x00b", "é😀\n"],
    "word": ["The cat\x00 saw", "a"],
    "token": [["", "\x00", "a\x00", "a" * 1000], ["\udc80"]],
    "integers": [[-(2**63), 0, 2**63 - 1]],
}


@pytest.mark.parametrize("which", DOCUMENTS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_files_pickles_and_copies(which, lowercase):
    level = "token" if which == "integers" else which
    vocabulary = Vocabulary.learn(DOCUMENTS[which], level, lowercase=lowercase)
    ids = as_lists(vocabulary.encode(DOCUMENTS[which]))
    written = {field: saved_model.encode(getattr(vocabulary, field)) for field in Vocabulary.fields}
    read = {field: saved_model.decode(value) for field, value in json.loads(json.dumps(written)).items()}
    for twin in (Vocabulary(**read), pickle.loads(pickle.dumps(vocabulary)), copy.deepcopy(vocabulary)):
        twin.check()
        assert twin == vocabulary
        assert as_lists(twin.encode(DOCUMENTS[which])) == ids
        assert [twin.decode(x) for x in ids] == [vocabulary.decode(x) for x in ids]
    assert len(pickle.dumps(vocabulary)) == len(pickle.dumps(Vocabulary(**read)))  # the tables stay behind


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level": "line"}, "level"),
        ({"level": ["char"]}, "level"),
        ({"lowercase": 1}, "lowercase"),
        ({"lowercase": None}, "lowercase"),
        ({"tokens": "ab"}, "one-dimensional array"),
        ({"tokens": ("a", "b")}, "one-dimensional array"),
        ({"tokens": np.array([], object)}, "not empty"),
        ({"tokens": np.array([["a", "b"]], object)}, "one-dimensional"),
        ({"tokens": np.array("a", object)}, "one-dimensional"),
        ({"tokens": np.array(["a", "b", "a"], object)}, "different"),
        ({"tokens": np.array(["a", 1], object)}, "must be str"),
        ({"tokens": np.array([1, 2])}, "int64 at level 'token', got int64 at 'char'"),
        ({"tokens": np.array([1, 2], object), "level": "token"}, "must be str"),
        ({"tokens": np.array([1, 2], np.int32), "level": "token"}, "got int32"),
        ({"tokens": np.array([1.0, 2.0]), "level": "token"}, "got float64"),
        ({"tokens": np.array([b"a"]), "level": "token"}, "must be str"),
        ({"tokens": np.array([2, 2]), "level": "token"}, "different"),
    ],
)
def test_a_damaged_file_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**{"level": "char", "tokens": np.array(["a", "b"], object), "lowercase": False, **fields}).check()


def test_numpys_strings_are_converted():
    vocabulary = Vocabulary("word", np.array(["cat", "a"]))
    vocabulary.check()
    assert vocabulary == Vocabulary.learn(["cat cat a"], "word")
    assert as_lists(vocabulary.encode(["a cat"])) == [[3, 2]]


def test_equality_and_repr():
    vocabulary = Vocabulary.learn(["abba!"], "char")
    assert repr(vocabulary) == "Vocabulary('char', n_tokens=5: 'a', 'b', '!')"
    assert repr(Vocabulary.learn([[4, 3, 2, 1]], "token")) == "Vocabulary('token', n_tokens=6: 1, 2, 3, ...)"
    others = [["abb", "char"], ["abba!c", "char"], ["a b b a !", "word"]]
    assert all(vocabulary != Vocabulary.learn([text], level) for text, level in others)
    assert vocabulary != Vocabulary.learn(["abba!"], "char", lowercase=True)
    assert Vocabulary("token", np.array([1])) != Vocabulary("token", np.array(["1"]))
    assert vocabulary != "abba!"


def test_serving_imports_neither_scikit_learn_nor_scipy():
    code = "import sys, lstmfast.vocabulary; print(sorted({'sklearn', 'scipy', 'joblib'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
