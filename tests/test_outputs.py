"""Numbers that outgrow their type on the way to the outputs: an error, not NaN, and not an answer that hides them."""

import contextlib
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from lstmfast import LSTMClassifier, LSTMForecaster, LSTMRegressor, LSTMTagger
from lstmfast.outputs import NotFiniteError, check_outputs

X = np.random.default_rng(0).normal(size=(6, 4, 2)).astype(np.float32)
HUGE = X.copy()
HUGE[2] = 3e38


def outgrown(kind=LSTMRegressor, y=tuple(range(6)), **arguments):
    """An estimator whose units are not bounded."""
    return kind(5, activation="identity", max_iter=1, random_state=0, **arguments).fit(X, y)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("dense_layer_sizes", [(), (3,)])
def test_predictions(pooling, dense_layer_sizes):
    model = outgrown(pooling=pooling, dense_layer_sizes=dense_layer_sizes)
    expected = model.predict(X)
    for use in (model.predict, model.transform, model.predict_steps):
        with pytest.raises(NotFiniteError, match="not finite"):
            use(HUGE)
    assert np.array_equal(model.predict(X), expected)


def test_labels_and_probabilities():
    classifier = outgrown(LSTMClassifier, np.arange(6) % 3)
    for use in (classifier.predict, classifier.predict_proba, classifier.predict_log_proba):
        with pytest.raises(NotFiniteError):
            use(HUGE)
    for crf in (False, True):
        tagger = outgrown(LSTMTagger, [[0, 1, 0, 1]] * 6, crf=crf)
        for use in (tagger.predict, tagger.predict_proba):
            with pytest.raises(NotFiniteError):
                use(HUGE)


@pytest.mark.parametrize("arguments", [{}, {"pooling": "max"}, {"dense_layer_sizes": (3,)}, {"conv_layers": ((9, 2),)}])
def test_streams_say_whose_output_it_is_and_go_on_with_the_others(arguments):
    model = outgrown(**arguments)
    rehearsal, n_good = model.stream(6), 0
    with contextlib.suppress(NotFiniteError):
        while n_good < 20:
            rehearsal.step(HUGE[:, 0])
            n_good += 1
    stream, alone, out = model.stream(6), [model.stream() for _ in range(6)], np.empty((6, 1), np.float32)
    for _ in range(n_good):
        stream.step(HUGE[:, 0])
    for _ in range(n_good + 1):
        expected = [alone[i].step(HUGE[i, 0]) for i in (0, 1, 3, 4, 5)]
    with pytest.raises(NotFiniteError, match="number 2"):
        stream.step(HUGE[:, 0], out)
    assert np.array_equal(np.delete(out, 2, axis=0), expected)
    stream.reset(2)
    alone[2].reset()
    assert np.array_equal(stream.step(X[:, 1]), [one.step(x) for one, x in zip(alone, X[:, 1], strict=True)])


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("kind", "y"), [(LSTMRegressor, np.arange(6.0)), (LSTMClassifier, [0, 1, 0, 1, 0, 1])])
def test_a_last_update_that_goes_too_far_is_undone(kind, y, activation, early_stopping):
    """No loss is computed after it."""
    model = kind(
        5, activation=activation, learning_rate_init=1e30, max_iter=1, early_stopping=early_stopping, random_state=0,
        validation_fraction=0.4,
    )  # fmt: skip
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    assert np.isfinite(getattr(model, "predict_proba", model.predict)(X)).all()
    assert len(model.validation_scores_ or []) == (len(model.loss_curve_) if early_stopping else 0)


def test_intervals_of_a_forecaster_that_went_too_far():
    model = LSTMForecaster(5, 8, activation="identity", hidden_layer_sizes=1, learning_rate_init=1e30, max_iter=1)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.set_params(calibration_fraction=0.5, random_state=0).fit(np.sin(np.arange(60.0)))
    lower, upper = model.predict_interval(coverage=0.5)
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()


@np.errstate(all="ignore")
def test_large_but_finite_outputs_are_answers():
    """Their sum is not finite."""
    check_outputs(np.full((9, 2), 3e38, np.float32))
    with pytest.raises(NotFiniteError, match="the first of 2 is number 3"):
        check_outputs(np.array([0, 1, 2, np.nan, 4, -np.inf])[:, None])
