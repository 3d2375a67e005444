"""Huge arrays and too little memory (rows 57 to 61 of the table in tests/README.md), and none lost over many calls.

The long run, 100 000 predictions and 1000 fits, is benchmarks/growth.py.
"""

import gc
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from every_estimator import EXAMPLES

from lstmfast import LSTMClassifier, LSTMRegressor, LSTMTranslator, _core
from lstmfast.layers import LSTM
from lstmfast.layers.initializers import BLANK
from lstmfast.workspace import Workspace, aligned_empty, explains_memory, out_of_memory

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space are Linux's")
X, Y = np.zeros((4, 3, 2), np.float32), [0, 1, 0, 1]

# Every allocation of a fit and of a prediction fails in turn: the limit rises in small steps until the call succeeds.
# Memory goes back to the system at once (see the environment below), or later calls would find it in the process. The
# C stack is grown first: that it cannot grow would be a segmentation fault, whatever the program.
LIMITED = """
import pickle, resource, sys
import numpy as np
from every_estimator import EXAMPLES

def grow_stack(n):
    return n and max([n], key=lambda _: grow_stack(n - 1))

def state(estimator):
    parameters = estimator.get_params(deep=False)
    return pickle.dumps({k: v for k, v in sorted(vars(estimator).items()) if k not in parameters})

def many(argument):
    if isinstance(argument, list):
        return argument * 60
    return np.concatenate([argument] * 60) if isinstance(argument, np.ndarray) else argument

def fails_in_every_way(call):
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    n_failures, before = 0, state(estimator)
    while True:
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_failures * 800_000, hard))
        message = None
        try:
            call()
        except MemoryError as error:
            message = str(error)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        if message is None:
            return n_failures
        assert "lower batch_size" in message and message[0] in "aUo", message
        assert state(estimator) == before
        n_failures += 1

grow_stack(300)
total = 0
for name in sys.argv[1:]:
    example = EXAMPLES[name]
    estimator = example.estimator(hidden_layer_sizes=64, batch_size=512, max_iter=1).fit(*example.fit)
    method, arguments = next(iter(example.calls.items()))
    expected = example.answers(estimator)
    much, more = [*map(many, arguments)], [*map(many, example.fit)]
    total += fails_in_every_way(lambda: getattr(estimator, method)(*much))
    assert all((value == expected[name]).all() for name, value in example.answers(estimator).items())
    total += fails_in_every_way(lambda: estimator.fit(*more))
print(total)
"""


@linux
@pytest.mark.skipif(not os.environ.get("LSTMFAST_TIGHT_MEMORY"), reason="LSTMFAST_TIGHT_MEMORY is not set")
@pytest.mark.parametrize(
    "names",
    [("classifier_gru_stack", "tagger_crf", "transformer"), ("classifier_convolutions_attention", "translator")],
    ids="+".join,
)
def test_allocations_that_fail_59_60(names):
    """Not of the forecaster: NumPy 2.4 itself crashes where its own iterators find no memory."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", LIMITED, *names]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 2 * len(names)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_layer_sizes": 2**31 - 1},
        {"hidden_layer_sizes": 2**30, "bidirectional": True},
        {"hidden_layer_sizes": (4, 2**31 - 1), "cell": "gru"},
        {"dense_layer_sizes": (2**31 - 1, 2**31 - 1)},
        {"conv_layers": ((2**31 - 1, 2**31 - 1),)},
    ],
    ids=str,
)
def test_sizes_whose_product_overflows_58(arguments):
    estimator = LSTMClassifier(**{"hidden_layer_sizes": 4} | arguments)
    with pytest.raises((MemoryError, ValueError), match=r"lower batch_size|too big"):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "n_iter_")


def test_a_layer_of_more_weights_than_there_are_addresses_58():
    with pytest.raises((MemoryError, ValueError), match=r"Unable to allocate|too big|too large"):
        LSTM(2**31 - 1, 2**31 - 1, dtype="float64")


def test_messages_name_the_size_and_what_to_lower_59():
    with pytest.raises(MemoryError, match=r"shape \(1073741824, 2048\) needs 8192\.0 GiB; lower batch_size"):
        aligned_empty((2**30, 2**11), np.float32)

    @explains_memory
    def fail(*said):
        raise MemoryError(*said)

    with pytest.raises(MemoryError, match=r"^out of memory; lower batch_size"):
        fail()
    with pytest.raises(MemoryError, match=r"^Unable to allocate 3 GiB; lower batch_size[^;]*$") as caught:
        fail("Unable to allocate 3 GiB")
    assert out_of_memory(caught.value) is caught.value  # said once


@pytest.mark.parametrize("change", ["fit", "partial_fit"])
@pytest.mark.parametrize("n_calls", [1, 2])
def test_a_fit_that_runs_out_of_memory_changes_nothing_59(monkeypatch, change, n_calls):
    """In the middle of training too, where an interrupt would leave what was learned so far."""
    example = EXAMPLES["classifier_gru_stack"]
    estimator, twin = example.fitted(dropout=0.1), example.fitted(dropout=0.1)
    network_class, calls = type(estimator._network), []
    loss_and_gradient = network_class.loss_and_gradient

    def fail(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == n_calls:
            raise MemoryError
        return loss_and_gradient(*arguments, **keywords)

    monkeypatch.setattr(network_class, "loss_and_gradient", fail)
    with pytest.raises(MemoryError, match="lower batch_size"):
        getattr(estimator, change)(*example.fit)
    monkeypatch.undo()
    assert estimator.loss_curve_ == twin.loss_curve_
    for _ in range(2):  # as it was, and then as if that call had not been: its random numbers are not used up either
        for name, value in example.answers(estimator).items():
            np.testing.assert_array_equal(value, example.answers(twin)[name])
        estimator.partial_fit(*example.fit)
        twin.partial_fit(*example.fit)


def grown_by(call, n):
    """Bytes of Python and NumPy that n calls leave behind, after as many to fill caches."""
    for _ in range(n):
        call()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(n):
            call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["classifier_gru_stack", "tagger_crf", "forecaster", "language_model", "translator"])
def test_no_growth_over_predictions_and_fits(name):
    example = EXAMPLES[name]
    estimator = example.fitted()
    assert grown_by(lambda: example.answers(estimator), 15) < 50_000
    assert grown_by(lambda: estimator.fit(*example.fit), 5) < 100_000  # one fitted model, replaced
    assert grown_by(example.fitted, 5) < 20_000


def test_what_is_grown_by_can_see():
    kept = []
    assert grown_by(lambda: kept.append(bytes(10_000)), 5) > 50_000


def test_a_long_translation_is_bounded():
    """`max_length` bounds a beam search whose model never ends a target."""
    translator = LSTMTranslator(level="char", max_iter=1, hidden_layer_sizes=4).fit(["ab"] * 4, ["ba"] * 4)
    assert all(len(text) <= 5 for text in translator.predict(["ab" * 10], beam_width=3, max_length=5))


# ---- more values than 32 bits count (57) ----
#
# NumPy's zeros take no memory until they are written to: most of these arrays are such zeros. What must be right is the
# last rows, which lie beyond 2**31 values; alone, far from there, they have the same bits.

huge = pytest.mark.skipif(not os.environ.get("LSTMFAST_HUGE"), reason="LSTMFAST_HUGE is not set")
LIMIT = 2**31


def zeros_but_the_last(n, *shape):
    """float32 zeros (n, ...) but for the last 3 rows."""
    x = np.zeros((n, *shape), np.float32)
    x[-3:] = np.random.default_rng(0).normal(size=(3, *shape))
    return x


def run(layer, x, *, sequence=True, training=False):
    """What RecurrentLayer.run gives for sequences (n, T, F) of equal lengths; it copies nothing."""
    batch = _core.Batch(np.full(len(x), x.shape[1]))
    steps = x.reshape(-1, x.shape[2])
    return layer.run(batch, steps, sequence=sequence, training=training, workspace=Workspace())


@huge
@pytest.mark.parametrize("kind", [np.asarray, list], ids=["array", "list"])
def test_predictions_of_a_huge_X_57(kind):
    """A list is copied: 9 GB."""
    X = zeros_but_the_last(2**17 + 4, 4, 2**12)
    assert X.size > LIMIT
    regressor = LSTMRegressor(2, max_iter=1, random_state=0).fit(X[-3:], [0.0, 1.0, 2.0])
    y = regressor.predict(kind(X))
    assert y[-3:].tobytes() == regressor.predict(X[-3:]).tobytes()
    assert (y[:-3] == regressor.predict(X[:1])).all()


@huge
def test_predictions_of_many_steps_57():
    X = zeros_but_the_last(2**18 + 4, 2**13, 1)
    assert X.shape[0] * X.shape[1] > LIMIT
    regressor = LSTMRegressor(1, max_iter=1, random_state=0).fit(X[-3:], [0.0, 1.0, 2.0])
    y = regressor.predict(X)
    assert y[-3:].tobytes() == regressor.predict(X[-3:]).tobytes()
    assert (y[:-3] == regressor.predict(X[:1])).all()


@huge
def test_a_layer_over_many_steps_57():
    """In one batch: its outputs are 9 GB."""
    x = zeros_but_the_last(2**15 + 4, 2**16, 1)
    assert x.shape[0] * x.shape[1] > LIMIT
    layer = LSTM(1, 1, random_state=0)
    (y, h, c, _), (y_alone, h_alone, c_alone, _) = run(layer, x), run(layer, x[-3:])
    assert y[-len(y_alone) :].tobytes() == y_alone.tobytes()
    assert h[:, -3:].tobytes() == h_alone.tobytes()
    assert c[:, -3:].tobytes() == c_alone.tobytes()


@huge
@pytest.mark.parametrize(
    ("n", "n_features", "units"),
    [
        (2**17 + 4, 2**12, 2),  # x and its gradient, 9 GB
        (2**23 + 4, 1, 1),  # the gates of all steps, 9 GB, and the states
    ],
)
def test_gradients_of_many_values_57(n, n_features, units):
    x, n_steps = zeros_but_the_last(n, 4, n_features), 4
    layer = LSTM(n_features, units, random_state=0)
    assert max(x.size, n * n_steps * _core.gates_size(layer.cell, units, False)) > LIMIT

    def gradients(x):
        *_, tape = run(layer, x, sequence=False, training=True)
        dh = np.zeros((1, len(x), units), np.float32)
        dh[:, -3:] = np.arange(1, 4)[:, None]
        for grad in layer.grads.values():
            grad[...] = 0
        dx, _, _ = layer.run_backward(tape, dh=dh)
        return dx, {name: grad.copy() for name, grad in layer.grads.items()}

    dx_alone, grads_alone = gradients(x[-3:])
    dx, grads = gradients(x)
    assert dx[-len(dx_alone) :].tobytes() == dx_alone.tobytes()
    assert not dx[: -len(dx_alone)].any()
    for name, grad in grads.items():  # sums of these steps and of zeros, in another order
        size = np.abs(grads_alone[name]).max()
        np.testing.assert_allclose(grad, grads_alone[name], rtol=0, atol=1e-6 * size, err_msg=name)


@huge
def test_a_layer_of_many_weights_57():
    """4 H F weights; packed, they are 9 GB."""
    n_features, units, few = 2**25 + 16, 16, 32
    layer, small = LSTM(n_features, units, random_state=BLANK), LSTM(few, units, random_state=0)
    kernel = layer.directions[0].arrays["kernel"]  # where it lies: assigning it would take another 9 GB
    assert kernel.size > LIMIT
    kernel[-few:] = small.kernel
    layer.recurrent_kernel, layer.bias = small.recurrent_kernel, small.bias
    x = np.zeros((3, 2, n_features), np.float32)
    x[..., -few:] = np.random.default_rng(0).normal(size=(3, 2, few))
    y, (h, c) = layer.forward(x)
    expected, (h_expected, c_expected) = small.forward(x[..., -few:])
    assert np.array_equal(y, expected)
    assert np.array_equal(h, h_expected)
    assert np.array_equal(c, c_expected)
