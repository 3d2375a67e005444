"""Workspaces are bounded: what predict and fit need beside their input and result does not grow with the data."""

import tracemalloc

import numpy as np
import pytest

from lstmfast import LSTMClassifier, network, runtime, stack

FEATURES, UNITS, STEPS = 3, 16, 20


@pytest.fixture(scope="module")
def model():
    X = np.random.default_rng(0).normal(size=(20, STEPS, FEATURES)).astype(np.float32)
    return LSTMClassifier((UNITS, UNITS), max_iter=1, n_jobs=1).fit(X, np.arange(20) % 2)


def peak(call):
    """Most bytes that a call held at once, in Python and NumPy, and its result."""
    call()
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("serve", ["estimator", "runtime"])
def test_predict_works_in_a_workspace_that_does_not_grow(model, tmp_path, serve):
    model.save(tmp_path / "model")
    served = model if serve == "estimator" else runtime.load(tmp_path / "model")
    X = np.zeros((4 * network.PREDICT_SEQUENCES * 4, STEPS, FEATURES), np.float32)
    few, _ = peak(lambda: served.predict_proba(X[: len(X) // 4]))
    many, result = peak(lambda: served.predict_proba(X))
    # A row costs its result, in both precisions, a few numbers that say where it stands and how long it is, and its
    # share of the checks for NaN (a byte a value): not the states of its steps.
    rows = len(X) - len(X) // 4
    states = 4 * STEPS * UNITS
    assert many - few < rows * (states / 4)
    assert len(result) == len(X)


def test_fit_works_in_a_workspace_that_does_not_grow_with_the_batch(monkeypatch):
    monkeypatch.setattr(stack, "GROUP_BYTES", 1 << 20)
    X = np.random.default_rng(0).normal(size=(2048, STEPS, FEATURES)).astype(np.float32)
    y = np.arange(len(X)) % 2

    def fit(n):
        return lambda: LSTMClassifier(UNITS, max_iter=1, batch_size=n, n_jobs=1).fit(X[:n], y[:n])

    states = 4 * 6 * UNITS * STEPS  # of a sequence, kept for the backward pass
    few, _ = peak(fit(512))
    many, _ = peak(fit(2048))
    assert 512 * states > 2 * stack.GROUP_BYTES  # already 512 are more than one group
    assert many - few < (2048 - 512) * states / 4
