"""Too little memory (rows 58 to 61 of the table in tests/README.md), and none that is lost over many calls.

Not here: arrays of more than 2**31 values (row 57) need some 20 GB; the kernels count in 64 bits and call no BLAS.
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

from lstmfast import LSTMClassifier, LSTMTranslator
from lstmfast.layers import LSTM
from lstmfast.workspace import aligned_empty, explains_memory, out_of_memory

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
