"""Accuracy of the vector sigmoid and tanh of src/simd.h, and of the other activations of src/activations.h, on every
instruction set of this machine.

Errors are in ULP: units in the last place of the exact value, which mpmath gives with 50 digits.
"""

import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest

from lstmfast import _core
from lstmfast.layers import LSTM

DTYPES = {"float32": np.float32, "float64": np.float64}
FUNCTIONS = ("sigmoid", "tanh")
OTHERS = tuple(name for name in (*_core.ACTIVATIONS, *_core.RECURRENT_ACTIVATIONS) if name not in FUNCTIONS)
BOUND = 4.0  # what src/simd.h promises
# Below -EXP_LIMIT the sigmoid may stay where it is there: its exact value is then below 1e-34 and 1e-304.
EXP_LIMIT = {"float32": 80.0, "float64": 700.0}


# ---- evaluation, in a process that uses one instruction set ---------------------------------------------------------
EVALUATE = """
import sys
import numpy as np
from lstmfast import _core
from lstmfast.layers import LSTM

arguments = np.load(sys.argv[1])
results = {}
for name, x in arguments.items():
    for function in sorted({*_core.ACTIVATIONS, *_core.RECURRENT_ACTIVATIONS}):
        y = np.full_like(x, 3)
        _core.evaluate(function, x, y, x.dtype == np.float64)
        results[f"{name} {function}"] = y
np.savez(sys.argv[2], isa=_core.isa(), lanes=[_core.lanes(False), _core.lanes(True)], **results)
"""


@pytest.fixture(scope="module", params=_core.available_isas())
def results(request, tmp_path_factory):
    """{"float32 accuracy tanh": values, ...} of one instruction set, for all ARGUMENTS."""
    folder = tmp_path_factory.mktemp(request.param)
    np.savez(folder / "x.npz", **ARGUMENTS)
    environment = os.environ | {"LSTMFAST_ISA": request.param, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", EVALUATE, folder / "x.npz", folder / "y.npz"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    with np.load(folder / "y.npz") as loaded:
        values = dict(loaded)
    assert values["isa"] == request.param
    return values


# ---- arguments and exact values -------------------------------------------------------------------------------------
def accuracy_arguments(dtype):
    """Every size from subnormals to the largest number, densest where the functions bend, of both signs."""
    rng = np.random.default_rng(0)
    info, limit = np.finfo(dtype), EXP_LIMIT[np.dtype(dtype).name]
    half_ln2 = np.log(2) / 2 * np.arange(1, 60)  # where the argument reduction goes on to the next integer
    sizes = np.concatenate([
        np.linspace(0, 12, 500), rng.uniform(0, 1, 400), rng.uniform(0, 20, 400), rng.uniform(0, limit, 200),
        2.0 ** np.arange(info.minexp - 5, 5), 10 ** rng.uniform(-12, 0, 300),
        half_ln2, np.nextafter(half_ln2.astype(dtype), dtype(0)), np.nextafter(half_ln2.astype(dtype), dtype(99)),
        [info.smallest_subnormal, info.tiny, limit, np.nextafter(dtype(limit), dtype(0)), 2 * limit, 1e9, info.max],
    ]).astype(dtype)  # fmt: skip
    return np.concatenate([sizes, -sizes])


SPECIAL = [0.0, -0.0, np.inf, -np.inf]
ARGUMENTS = {}
for _name, _dtype in DTYPES.items():
    ARGUMENTS[f"{_name} accuracy"] = accuracy_arguments(_dtype)
    ARGUMENTS[f"{_name} dense"] = np.random.default_rng(1).normal(scale=4, size=300_000).astype(_dtype)
    ARGUMENTS[f"{_name} special"] = np.array(SPECIAL, _dtype)
    for _n in range(1, 35):  # 16 lanes at most: every number of values past a whole vector
        ARGUMENTS[f"{_name} length {_n}"] = ARGUMENTS[f"{_name} accuracy"][100 : 100 + _n].copy()
    for _place in range(34):
        ARGUMENTS[f"{_name} nan {_place}"] = np.where(np.arange(34) == _place, np.nan, 0.5).astype(_dtype)


def exact(function, x):
    """The exact value of function(x) as the sum of two float64, so that a float64 result's error can be told."""
    x = mpmath.mpf(float(x))
    with mpmath.workdps(50):
        value = mpmath.tanh(x) if function == "tanh" else 1 / (1 + mpmath.exp(-x))
        high = float(value)
        return high, float(value - high)


@pytest.fixture(scope="module", params=[(dtype, function) for dtype in DTYPES for function in FUNCTIONS], ids=" ".join)
def case(request):
    """dtype, function, arguments and exact values there. The sigmoid's arguments stop at -EXP_LIMIT."""
    dtype, function = request.param
    x = ARGUMENTS[f"{dtype} accuracy"]
    where = np.maximum(x, -EXP_LIMIT[dtype]) if function == "sigmoid" else x
    return dtype, function, x, np.array([exact(function, value) for value in where])


def ulp(values, dtype):
    """Distance of the floating-point numbers at these values."""
    return np.spacing(np.abs(values.astype(dtype))).astype(np.float64)


# ---- tests ----------------------------------------------------------------------------------------------------------
def test_error_is_at_most_4_ulp(results, case):
    dtype, function, x, (high, low) = *case[:3], case[3].T
    y = results[f"{dtype} accuracy {function}"].astype(np.float64)
    error = np.abs((y - high) - low) / ulp(high, dtype)
    if function == "sigmoid":  # past the limit the exact value is right too
        past = x < -EXP_LIMIT[dtype]
        error[past & (y < high)] = 0
        assert (y > 0)[~past].all()
        assert (y >= 0).all()
        assert past.sum() >= 3
    at = error.argmax()
    assert error[at] <= BOUND, f"{function}({x[at]!r}) = {y[at]!r}: {error[at]:.2f} ULP from {high[at]!r}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_error_of_float32_over_dense_arguments(results, function):
    """Against float64, whose own error is far below float32's ULP."""
    x = ARGUMENTS["float32 dense"].astype(np.float64)
    expected = np.tanh(x) if function == "tanh" else 1 / (1 + np.exp(-x))
    error = np.abs(results[f"float32 dense {function}"] - expected) / ulp(expected, np.float32)
    assert error.max() <= BOUND
    assert error.mean() < 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_stay_in_their_range(results, dtype):
    for arguments in ("accuracy", "dense"):
        tanh, sigmoid = results[f"{dtype} {arguments} tanh"], results[f"{dtype} {arguments} sigmoid"]
        x = ARGUMENTS[f"{dtype} {arguments}"]
        assert (np.abs(tanh) <= 1).all()
        assert (np.sign(tanh) == np.sign(x)).all()
        assert ((sigmoid >= 0) & (sigmoid <= 1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_infinity(results, dtype):
    assert (results[f"{dtype} special tanh"] == [0, 0, 1, -1]).all()
    at_zero, at_minus_zero, above, below = results[f"{dtype} special sigmoid"].tolist()
    assert at_zero == at_minus_zero == 0.5
    assert above == 1
    assert 0 <= below <= np.exp(-EXP_LIMIT[dtype]) * 1.000001


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS + OTHERS)
def test_nan_gives_nan_in_its_own_lane_only(results, function, dtype):
    for place in range(34):
        y = results[f"{dtype} nan {place} {function}"]
        assert np.isnan(y).nonzero()[0].tolist() == [place]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS + OTHERS)
def test_lengths_off_the_vector_width_give_the_same_bits(results, function, dtype):
    whole = results[f"{dtype} accuracy {function}"]
    for n in range(1, 35):
        assert results[f"{dtype} length {n} {function}"].tobytes() == whole[100 : 100 + n].tobytes(), n


# ---- the other activations -------------------------------------------------------------------------------------------
def accuracy_of(results, dtype, function):
    """Arguments as float64, which holds them, and values."""
    return ARGUMENTS[f"{dtype} accuracy"].astype(np.float64), results[f"{dtype} accuracy {function}"]


def test_no_activation_is_forgotten():
    assert set(OTHERS) == {"identity", "relu", "hard_tanh", "hard_sigmoid", "softsign", "elu"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "expected"),
    [("identity", lambda x: x), ("relu", lambda x: np.maximum(x, 0)), ("hard_tanh", lambda x: np.clip(x, -1, 1))],
)
def test_exact_activations(results, function, expected, dtype):
    x, y = accuracy_of(results, dtype, function)
    assert (y == expected(x)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_sigmoid(results, dtype):
    """x / 6 + 1 / 2 in [0, 1]; next to -3, where two nearly equal numbers are subtracted, as exact as they are."""
    x, y = accuracy_of(results, dtype, "hard_sigmoid")
    assert (np.abs(y - np.clip(x / 6 + 0.5, 0, 1)) <= np.finfo(dtype).eps).all()
    assert (y[x <= -3.001] == 0).all()
    assert (y[x >= 3.001] == 1).all()
    assert ((y >= 0) & (y <= 1)).all()
    order = np.argsort(x)
    assert (np.diff(y[order]) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_softsign(results, dtype):
    x, y = accuracy_of(results, dtype, "softsign")
    with mpmath.workdps(50):
        exact = [mpmath.mpf(value) / (1 + abs(mpmath.mpf(value))) for value in x]
        high = np.array([float(value) for value in exact])
        low = np.array([float(value - float(value)) for value in exact])
    error = np.abs((y.astype(np.float64) - high) - low) / ulp(high, dtype)
    at = error.argmax()
    assert error[at] <= BOUND, f"softsign({x[at]!r}) = {y[at]!r}: {error[at]:.2f} ULP from {high[at]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_elu(results, dtype):
    """x > 0: x itself; else e^x - 1, which keeps its relative accuracy near 0."""
    x, y = accuracy_of(results, dtype, "elu")
    assert (y[x > 0] == x[x > 0]).all()
    x, y = x[x <= 0], y[x <= 0]
    with mpmath.workdps(50):
        exact = [mpmath.expm1(value) for value in x]
        high = np.array([float(value) for value in exact])
        low = np.array([float(value - float(value)) for value in exact])
    error = np.abs((y.astype(np.float64) - high) - low) / ulp(high, dtype)
    at = error.argmax()
    assert error[at] <= BOUND, f"elu({x[at]!r}) = {y[at]!r}: {error[at]:.2f} ULP from {high[at]!r}"
    assert (y >= -1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "expected"),  # at 0, -0, infinity, -infinity
    [
        ("identity", [0, 0, np.inf, -np.inf]),
        ("relu", [0, 0, np.inf, 0]),
        ("hard_tanh", [0, 0, 1, -1]),
        ("hard_sigmoid", [0.5, 0.5, 1, 0]),
        ("elu", [0, 0, np.inf, -1]),
        ("softsign", [0, 0, 1, -1]),
    ],
)
def test_others_at_zero_and_infinity(results, function, expected, dtype):
    assert results[f"{dtype} special {function}"].tolist() == expected


def test_vector_widths(results):
    """The lengths above are off the widths in use, and float64 vectors hold half as many values."""
    narrow, wide = results["lanes"][1], results["lanes"][0]
    assert wide == 2 * narrow
    assert wide in (4, 8, 16)


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (np.zeros(3, np.float32), np.zeros(3, np.float32), TypeError),  # said to be float64
        (np.zeros(3), np.zeros(4), ValueError),
        (np.zeros(3), np.zeros(6)[::2], ValueError),
        (np.zeros((3, 1)), np.zeros((3, 1)), ValueError),
        (np.zeros(3), np.zeros(3, ">f8"), TypeError),
    ],
)
def test_evaluate_checks_its_arrays(x, y, error):
    with pytest.raises(error, match="must"):
        _core.evaluate("tanh", x, y, True)


def test_evaluate_checks_its_function():
    with pytest.raises(ValueError, match=r"function must be one of 'tanh', .*'hard_sigmoid', got 'gelu'"):
        _core.evaluate("gelu", np.zeros(3), np.zeros(3), True)


def test_the_callers_floating_point_mode_is_left_alone():
    """Kernels take subnormal numbers for 0; nobody else must notice."""
    layer = LSTM(3, 5, random_state=0)
    y, _ = layer.forward(np.ones((2, 4, 3), np.float32), training=True)
    layer.backward(np.full_like(y, 1e-30))
    tiny = np.full(64, np.finfo(np.float32).tiny, np.float32)
    assert (tiny / 4 > 0).all()
    assert (tiny / 4 * 4 == tiny).all()
    assert (layer.grads["kernel"] == 0).any() or np.abs(layer.grads["kernel"]).min() >= tiny[0]
