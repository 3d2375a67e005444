"""Two threads, one estimator: one fit at a time, and calls that see one fit throughout."""

import sys
import threading

import numpy as np
import pytest
from sklearn.base import clone

from lstmfast import LSTMClassifier, LSTMRegressor

X_SMALL = np.random.default_rng(0).normal(size=(20, 5, 2))


def test_a_second_fit_is_refused():
    started, go_on = threading.Event(), threading.Event()

    def callback(info):
        started.set()
        go_on.wait(20)

    model = LSTMRegressor(3, max_iter=2, callbacks=callback, random_state=0)
    thread = threading.Thread(target=model.fit, args=(X_SMALL, np.arange(20.0)))
    thread.start()
    assert started.wait(20)
    for again in (model.fit, model.partial_fit):
        with pytest.raises(RuntimeError, match="fit already running"):
            again(X_SMALL, np.arange(20.0))
    clone(model).set_params(callbacks=None).fit(X_SMALL, np.arange(20.0))
    go_on.set()
    thread.join()
    assert model.n_iter_ == 2
    model.fit(X_SMALL, np.arange(20.0))


def test_a_callback_cannot_fit_its_own_estimator():
    model = LSTMRegressor(3, max_iter=2)
    model.callbacks = lambda info: model.fit(X_SMALL, np.arange(20.0))
    with pytest.raises(RuntimeError, match="fit already running"):
        model.fit(X_SMALL, np.arange(20.0))
    model.set_params(callbacks=None).fit(X_SMALL, np.arange(20.0))


def test_predict_during_a_fit_sees_one_model():
    """Fits with two and with five classes by turns: no answer has one's network and the other's names."""
    few, many = np.arange(20) % 2, np.arange(20) % 5 + 10
    model = LSTMClassifier(3, max_iter=1, random_state=0, n_jobs=1).fit(X_SMALL, few)
    expected = {clone(model).fit(X_SMALL, y).predict_proba(X_SMALL).tobytes() for y in (few, many)}
    end, wrong, seen = threading.Event(), [], set()

    def predict():
        while not end.is_set():
            try:
                seen.add(model.predict_proba(X_SMALL).tobytes())
                model.predict(X_SMALL)
            except Exception as error:
                wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=predict)
    thread.start()
    try:
        for i in range(60):
            model.fit(X_SMALL, many if i % 2 else few)
    finally:
        end.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert not wrong
    assert seen <= expected


def test_a_call_goes_on_with_the_model_it_began_with(monkeypatch):
    """A fit that ends between a call's network and its labels."""
    model = LSTMClassifier(3, max_iter=1, random_state=0).fit(X_SMALL, np.arange(20) % 2)
    expected = model.predict(X_SMALL)
    outputs = LSTMClassifier._outputs

    def outputs_then_fit(self, X, **options):
        result = outputs(self, X, **options)
        monkeypatch.undo()
        model.fit(X_SMALL, np.arange(20) % 2 + 10)
        return result

    monkeypatch.setattr(LSTMClassifier, "_outputs", outputs_then_fit)
    assert np.array_equal(model.predict(X_SMALL), expected)
    assert set(model.classes_) == {10, 11}
