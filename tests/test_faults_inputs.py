"""X at the door of every estimator that takes sequences (rows 1 to 27 of the table in tests/README.md).

What test_sequences.py shows of the one function that reads X, here through `fit` and every method of each estimator.
"""

import pickle
import threading

import numpy as np
import pytest
from every_estimator import EQUAL, EXAMPLES, LABELS, RAGGED
from sklearn.exceptions import NotFittedError
from test_sequences import WRONG_KINDS, WRONG_VALUES

SEQUENCES = ("LSTMClassifier", "LSTMRegressor", "LSTMTagger", "LSTMTransformer")
OF_NUMBERS = [
    name
    for name, example in EXAMPLES.items()
    if example.kind in SEQUENCES and "embedding_dim" not in example.arguments and "dtype" not in example.arguments
]
OF_TOKENS = {  # what tells tokens apart from numbers
    "floats": ([np.ones(3)], TypeError, "must hold integers"),
    "negative": ([np.array([0, -1])], ValueError, "tokens must be not negative, got -1 at X\\[0\\]\\[1\\]"),
    "None": (None, TypeError, "must hold integers"),
    "bool": ([np.array([True, False])], TypeError, "must hold integers"),
    "text": (["ab"], TypeError, "SequenceVectorizer"),
    "several a step": (np.ones((2, 3, 2), int), ValueError, r"tokens come one a step|expecting 1 features"),
    "one sequence": (np.ones(3, int), ValueError, "one sequence. Pass"),
    "empty": ([], ValueError, "0 sample"),
    "no steps": ([np.array([], int)], ValueError, r"0 time step|0 feature"),
    "uint64": ([np.array([2**63], np.uint64)], ValueError, "below 2"),
}


def state_of(estimator):
    """All that fitting set, in bytes."""
    parameters = estimator.get_params(deep=False)
    return pickle.dumps({name: value for name, value in sorted(vars(estimator).items()) if name not in parameters})


def assert_refused(example, estimator, X, error, message):
    """By fit and by all methods, of a fitted estimator, which stays as it was, and by fit of a new one."""
    state = state_of(estimator)
    new = example.estimator()
    with pytest.raises(error, match=message):
        new.fit(X, *example.fit[1:])
    with pytest.raises(NotFittedError):
        example.answers(new)
    for method in ("fit", *example.calls):
        arguments = example.fit[1:] if method == "fit" else example.calls[method][1:]
        with pytest.raises(error, match=message):
            getattr(estimator, method)(X, *arguments)
        assert state_of(estimator) == state, method


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_wrong_sequences_are_refused_1_to_19(name):
    example = EXAMPLES[name]
    estimator = example.fitted()
    for error, cases in ((ValueError, WRONG_VALUES), (TypeError, WRONG_KINDS)):
        for row, (X, message) in cases.items():
            if row != "2 generator":  # it is used up; test_sequences.py has it
                assert_refused(example, estimator, X, error, message)


@pytest.mark.parametrize("case", OF_TOKENS)
def test_wrong_tokens_are_refused(case):
    example = EXAMPLES["classifier_tokens"]
    assert_refused(example, example.fitted(), *OF_TOKENS[case])


def test_tokens_that_fit_did_not_see():
    example = EXAMPLES["classifier_tokens"]
    with pytest.raises(ValueError, match="tokens must be below 7, got 7 at X"):
        example.fitted().predict([np.array([1, 7])])


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_other_numbers_of_features_and_steps_7_8(name):
    example = EXAMPLES[name]
    estimator = example.fitted()
    state = state_of(estimator)
    is_2d = estimator._input_kind == "2d"
    X = np.ones((2, 6)) if is_2d else np.ones((2, 5, 4))
    message = r"X has 6 features, but \w+ is expecting 5" if is_2d else r"X has 4 features, but \w+ is expecting 3"
    for method in example.calls:
        with pytest.raises(ValueError, match=message):
            getattr(estimator, method)(X)
        if not is_2d:
            assert len(getattr(estimator, method)(np.ones((2, 9, 3)))) == 2  # longer than any that fit saw
    assert state_of(estimator) == state


LAYOUTS = {
    "21 Fortran": np.asfortranarray,
    "21 reversed": lambda a: a[::-1].copy()[::-1],
    "21 every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "21 transposed": lambda a: np.ascontiguousarray(a.T).T,
    "22 read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "23 big-endian": lambda a: a.astype(">f8"),
    "24 misaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "13 float16": lambda a: a.astype(np.float16),  # exact: multiples of 1/16
    "13 long double": lambda a: a.astype(np.longdouble),
    "15 objects": lambda a: a.astype(object),
    "27 subclass": lambda a: a.view(type("Subclass", (np.ndarray,), {})),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["classifier_convolutions_attention", "tagger_crf", "transformer", "regressor_2d"])
def test_layouts_make_no_difference_13_to_27(name, layout):
    example = EXAMPLES[name]
    X, *rest = example.fit
    laid_out = LAYOUTS[layout](X) if isinstance(X, np.ndarray) else [LAYOUTS[layout](x) for x in X]
    expected = example.answers(example.fitted())
    estimator = example.estimator().fit(laid_out, *rest)
    for method, value in expected.items():
        result = getattr(estimator, method)(laid_out)
        result = np.concatenate([np.ravel(part) for part in result]) if isinstance(result, list) else result
        np.testing.assert_array_equal(result.reshape(value.shape), value)


@pytest.mark.parametrize("name", ["classifier_convolutions_attention", "regressor_2d"])
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_inputs_are_never_written_to_26(name, method):
    example = EXAMPLES[name]
    estimator = example.fitted()
    for X in (example.fit[0].astype(np.float32), np.asfortranarray(example.fit[0])):
        before = X.tobytes()
        getattr(estimator, method)(X, *(example.fit[1:] if method == "fit" else ()))
        assert X.tobytes() == before


def test_x_that_another_thread_writes_to_25():
    """What is learned then is not said, but its shape is right, and so are later fits."""
    example = EXAMPLES["classifier_convolutions_attention"]
    X, stop = EQUAL.astype(np.float32), threading.Event()

    def write():
        rng = np.random.default_rng(0)
        while not stop.is_set():
            X[...] = rng.normal(size=X.shape)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        estimator = example.estimator(max_iter=30).fit(X, LABELS)
        assert estimator.predict_proba(X).shape == (12, 3)
    finally:
        stop.set()
        thread.join()
    probabilities = estimator.predict_proba(EQUAL)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["classifier", "tagger", "transformer"])
def test_columns_of_tables_are_remembered_20(name):
    """Sequences as data frames: their values count. (Names of a 2-D table's columns: test_sequences.py.)"""
    pd = pytest.importorskip("pandas")
    example = EXAMPLES[name]
    frames = [pd.DataFrame(x, columns=["a", "b", "c"]) for x in RAGGED]
    estimator = example.estimator().fit(frames, *example.fit[1:])
    for method, value in example.answers(estimator).items():
        np.testing.assert_array_equal(value, example.answers(example.fitted())[method])
