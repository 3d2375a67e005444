"""The compiled LSTM layer, alone: against the reference, PyTorch's results and finite differences; same bits in any
company; bad arguments.

Legend: n sequences, T steps, F features, H hidden units. A layer is "forward", "backward" (reverse=True) or
"bidirectional". All problems hold numbers that float32 holds exactly, so one expectation serves both dtypes.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from gradients import STEP, central_differences
from reference import LAYER_PARAMETERS, layer_backward, layer_forward, load_golden

from lstmfast import _core
from lstmfast.layers import LSTM

KINDS = {"forward": ("forward",), "backward": ("backward",), "bidirectional": ("forward", "backward")}
DTYPES = ("float32", "float64")
# Relative to the largest element. Float32 rounds at 6e-8; the longest sums here have some 200 terms.
FORWARD_RTOL = {"float32": 2e-5, "float64": 1e-12}
GRADIENT_RTOL = {"float32": 2e-5, "float64": 1e-11}

# Each of n in (1, 2, 6, 7, 13), T in (1, 2, 5), F in (1, 3, 16), H in (1, 7, 8, 9, 15, 16, 17, 33) several times: H
# around every vector width, n around every tile height.
SIZES = [
    (1, 1, 1, 1),
    (1, 1, 1, 8),
    (1, 5, 16, 16),
    (1, 5, 3, 33),
    (2, 2, 3, 1),
    (2, 1, 16, 7),
    (2, 5, 1, 15),
    (6, 5, 3, 8),
    (6, 2, 1, 9),
    (6, 1, 3, 33),
    (7, 5, 16, 1),
    (7, 2, 3, 17),
    (7, 5, 1, 16),
    (13, 5, 16, 9),
    (13, 2, 1, 33),
    (13, 1, 1, 7),
]

GOLDEN = load_golden()


# ---- a problem, what the reference makes of it and what the layer makes of it ---------------------------------------
@dataclass
class Problem:
    parameters: dict  # {direction: {name: array}}
    x: np.ndarray  # (n, T, F)
    dy: np.ndarray  # (n, T, H), bidirectional (n, T, 2H)
    lengths: np.ndarray | None = None
    state: tuple | None = None  # h0, c0, each (n, H), bidirectional (n, 2, H)
    dstate: tuple | None = None
    state_shape: tuple = field(default=())

    @property
    def all_lengths(self):
        return np.full(len(self.x), self.x.shape[1]) if self.lengths is None else np.asarray(self.lengths)

    @property
    def padding(self):
        """(n, T) mask of the steps past each length."""
        return np.arange(self.x.shape[1]) >= self.all_lengths[:, None]


def draw(rng, *shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(np.float32).astype(np.float64)


def make_problem(sizes, kind="forward", ragged=False, with_states=False, seed=10):
    """With seed 10 no result of few terms nearly cancels, so plain float32 NumPy keeps 6e-7 at all SIZES."""
    n, T, F, H = sizes
    rng = np.random.default_rng(seed)
    shapes = dict(zip(LAYER_PARAMETERS, [(F, 4 * H), (H, 4 * H), (4 * H,)], strict=True))
    scales = dict(zip(LAYER_PARAMETERS, [F**-0.5, H**-0.5, 0.5], strict=True))
    directions = KINDS[kind]
    state_shape = (n, H) if len(directions) == 1 else (n, 2, H)
    return Problem(
        parameters={d: {p: draw(rng, *shapes[p], scale=scales[p]) for p in LAYER_PARAMETERS} for d in directions},
        x=draw(rng, n, T, F),
        dy=draw(rng, n, T, H * len(directions)),
        lengths=rng.permutation(np.r_[T, rng.integers(1, T + 1, n - 1)]) if ragged else None,
        state=(draw(rng, *state_shape), draw(rng, *state_shape)) if with_states else None,
        dstate=(draw(rng, *state_shape), draw(rng, *state_shape)) if with_states else None,
        state_shape=state_shape,
    )


def reference_results(problem):
    """{name: array} of all that forward and backward give."""
    layer = {d: tuple(parameters.values()) for d, parameters in problem.parameters.items()}
    zeros = (np.zeros(problem.state_shape),) * 2
    results = {"y": np.zeros(problem.dy.shape), "dx": np.zeros(problem.x.shape)}
    results |= {name: np.zeros(problem.state_shape) for name in ("h", "c", "dh0", "dc0")}
    results |= {f"{d} d{p}": np.zeros_like(a) for d, arrays in problem.parameters.items() for p, a in arrays.items()}
    for s, length in enumerate(problem.all_lengths):
        h0, c0 = (np.atleast_2d(state[s]) for state in problem.state or zeros)
        dh, dc = (np.atleast_2d(dstate[s]) for dstate in problem.dstate or zeros)
        y, (h, c), cache = layer_forward(problem.x[s, :length], layer, h0, c0)
        dx, by_direction, dh0, dc0 = layer_backward(problem.dy[s, :length], dh, dc, cache)
        results["y"][s, :length], results["dx"][s, :length] = y, dx
        for name, value in {"h": h, "c": c, "dh0": dh0, "dc0": dc0}.items():
            results[name][s] = value.reshape(problem.state_shape[1:])
        for direction, gradients in by_direction.items():
            for name, gradient in zip(LAYER_PARAMETERS, gradients, strict=True):
                results[f"{direction} d{name}"] += gradient
    return results


def build(problem, dtype):
    """The layer with the problem's parameters."""
    directions = tuple(problem.parameters)
    first = problem.parameters[directions[0]]
    layer = LSTM(
        len(first["kernel"]),
        len(first["recurrent_kernel"]),
        bidirectional=len(directions) == 2,
        reverse=directions == ("backward",),
        dtype=dtype,
    )
    for direction, parameters in problem.parameters.items():
        for name, value in parameters.items():
            setattr(holder(layer, direction), name, value)
    return layer


def holder(layer, direction):
    """The object that has this direction's kernel, recurrent_kernel and bias."""
    return getattr(layer, f"{direction}_") if hasattr(layer, "forward_") else layer


def layer_results(layer, problem):
    """The same names as reference_results'. All results must have the layer's dtype."""
    y, (h, c) = layer.forward(problem.x, problem.lengths, problem.state, training=True)
    dx, (dh0, dc0) = layer.backward(problem.dy, problem.dstate)
    results = {"y": y, "h": h, "c": c, "dx": dx, "dh0": dh0, "dc0": dc0}
    grads = layer.grads
    for direction in problem.parameters:
        gradients = grads[f"{direction}_"] if len(problem.parameters) == 2 else grads
        assert set(gradients) == set(LAYER_PARAMETERS)
        results |= {f"{direction} d{name}": gradient.copy() for name, gradient in gradients.items()}
    assert {array.dtype for array in results.values()} == {np.dtype(layer.dtype)}
    return results


def assert_close(actual, expected, rtol, what):
    """Relative to the largest expected element: a gradient's small elements carry the rounding of the large ones."""
    assert actual.shape == expected.shape, f"{what}: {actual.shape} instead of {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max(), err_msg=what)


def assert_all_close(actual, expected, dtype):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        rtol = FORWARD_RTOL if name in ("y", "h", "c") else GRADIENT_RTOL
        assert_close(actual[name], array, rtol[dtype], name)


def assert_same_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        assert np.array_equal(actual[name], expected[name]), name


# ---- values ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full", [False, True], ids=["plain", "ragged-states"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_agrees_with_the_reference(sizes, full, kind, dtype):
    problem = make_problem(sizes, kind, ragged=full, with_states=full)
    results = layer_results(build(problem, dtype), problem)
    assert_all_close(results, reference_results(problem), dtype)
    assert not results["y"][problem.padding].any()
    assert not results["dx"][problem.padding].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_the_reference_on_work_for_many_threads(dtype):
    """Large enough for every way of splitting the work: rows, and units when the rows are few."""
    for sizes in [(64, 20, 32, 64), (2, 40, 8, 130)]:
        problem = make_problem(sizes, "bidirectional", ragged=True, with_states=True)
        assert_all_close(layer_results(build(problem, dtype), problem), reference_results(problem), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_agrees_with_pytorch(case, dtype):
    rtol = {"float32": 1e-5, "float64": 1e-11}[dtype]
    y, problems, layers = case["x"], [], []
    for k, golden in enumerate(case["layers"]):
        directions = [direction for direction in ("forward", "backward") if direction in golden]
        problem = Problem(
            parameters={
                direction: {name: golden[direction][name] for name in LAYER_PARAMETERS} for direction in directions
            },
            x=y,
            dy=None,
            lengths=case["lengths"],
            state=(golden["h0"], golden["c0"]),
            dstate=(golden["dh"], golden["dc"]),
        )
        layer = build(problem, dtype)
        y, (h, c) = layer.forward(problem.x, problem.lengths, problem.state, training=True)
        assert_close(h, golden["h"], rtol, f"{k} h")
        assert_close(c, golden["c"], rtol, f"{k} c")
        problems.append(problem)
        layers.append(layer)
    assert_close(y, case["y"], rtol, "y")

    dy = case["dy"]
    for k, golden in reversed(list(enumerate(case["layers"]))):
        dy, (dh0, dc0) = layers[k].backward(dy, problems[k].dstate)
        assert_close(dh0, golden["dh0"], rtol, f"{k} dh0")
        assert_close(dc0, golden["dc0"], rtol, f"{k} dc0")
        for direction in problems[k].parameters:
            for name in LAYER_PARAMETERS:
                gradient = holder(layers[k], direction).grads[name]
                assert_close(gradient, golden[direction][f"d{name}"], rtol, f"{k} {direction} d{name}")
    assert_close(dy, case["dx"], rtol, "dx")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sizes", "ragged"), [((1, 1, 1, 1), False), ((3, 4, 2, 7), True), ((2, 3, 3, 9), False)])
def test_gradients_agree_with_finite_differences(sizes, ragged, kind):
    """Knows no formula of the LSTM at all: L = sum(y dy) + sum(h dh) + sum(c dc), moved by +-1e-5 in each argument."""
    problem = make_problem(sizes, kind, ragged, with_states=True, seed=1)
    layer = build(problem, "float64")
    actual = layer_results(layer, problem)

    def loss():
        y, (h, c) = layer.forward(problem.x, problem.lengths, problem.state)
        dh, dc = problem.dstate
        return (y * problem.dy).sum() + (h * dh).sum() + (c * dc).sum()

    def differences(array, changed=lambda: None):
        return central_differences(loss, array, step=STEP, changed=changed)

    h0, c0 = problem.state
    assert_close(actual["dx"], differences(problem.x), 1e-7, "x")
    assert_close(actual["dh0"], differences(h0), 1e-7, "h0")
    assert_close(actual["dc0"], differences(c0), 1e-7, "c0")
    for direction, parameters in problem.parameters.items():
        for name, array in parameters.items():
            expected = differences(array, lambda d=direction, n=name, a=array: setattr(holder(layer, d), n, a))
            assert_close(actual[f"{direction} d{name}"], expected, 1e-7, f"{direction} {name}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_and_tiny_numbers(dtype):
    """exp must not overflow; tanh must keep its relative accuracy near 0, where with a zero bias y is tiny like x."""
    problem = make_problem((7, 5, 3, 9))
    problem.parameters["forward"]["bias"][:] = 0
    for scale in (1e-30, 1e3, 1e30):
        scaled = replace(problem, x=(problem.x * scale).astype(np.float32).astype(np.float64))
        with np.errstate(all="raise"):
            y, (h, c) = build(scaled, dtype).forward(scaled.x)
        with np.errstate(all="ignore"):
            expected = reference_results(scaled)
        for name, array in {"y": y, "h": h, "c": c}.items():
            assert_close(array, expected[name], FORWARD_RTOL[dtype], f"{name} at {scale}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_step_after_step_is_forward_bit_for_bit(bidirectional, dtype):
    problem = make_problem((7, 5, 3, 9), "bidirectional" if bidirectional else "forward", with_states=True)
    layer = build(problem, dtype)
    if bidirectional:
        with pytest.raises((ValueError, RuntimeError), match="bidirectional"):
            layer.step(problem.x[:, 0], problem.state)
        return
    expected, (h, c) = layer.forward(problem.x, state=problem.state)
    state = problem.state
    for t in range(problem.x.shape[1]):
        y, state = layer.step(problem.x[:, t], state)
        assert np.array_equal(y, expected[:, t])
    assert np.array_equal(state[0], h)
    assert np.array_equal(state[1], c)


def test_backward_replaces_the_gradients_and_results_are_the_callers():
    first, second = make_problem((6, 5, 3, 8), seed=2), make_problem((6, 5, 3, 8), seed=3)
    second = replace(second, parameters=first.parameters)
    layer = build(first, "float64")
    results = layer_results(layer, first)
    kept = {name: array.copy() for name, array in results.items()}
    assert_all_close(layer_results(layer, second), reference_results(second), "float64")
    assert_same_bits(results, kept)


def run_python(*arguments, **environment):
    """A new process that finds the modules that this one finds."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600)


# ---- the same bits in any company -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(13, 5, 1, 1), (13, 5, 3, 8), (13, 5, 16, 33), (13, 9, 4, 130)], ids=str)
def test_bit_for_bit_in_any_batch(sizes, kind, dtype):
    problem = make_problem(sizes, kind, ragged=True, with_states=True)
    layer, n = build(problem, dtype), sizes[0]

    def forward(rows, n_steps, **options):
        """The rows' sequences as one batch, cut after n_steps."""
        state = tuple(array[rows] for array in problem.state)
        return layer.forward(problem.x[rows, :n_steps], problem.lengths[rows], state, **options)

    y, (h, c) = forward(np.arange(n), sizes[1])
    rng = np.random.default_rng(4)
    batches = [np.array([row]) for row in range(n)]  # alone
    batches += [np.arange(n)[::-1], rng.permutation(n), np.argsort(problem.lengths), np.argsort(-problem.lengths)]
    batches += [rng.choice(n, size) for size in (2, 3, 5, 6, 7, 12)]  # with replacement: twins side by side
    for rows in batches:
        n_steps = problem.lengths[rows].max()
        for training in (False, True):
            y_batch, (h_batch, c_batch) = forward(rows, n_steps, training=training)
            assert np.array_equal(y_batch, y[rows, :n_steps])
            assert np.array_equal(h_batch, h[rows])
            assert np.array_equal(c_batch, c[rows])


DIGEST = """
import hashlib
from test_layers import build, layer_results, make_problem
for sizes in [(64, 20, 32, 64), (2, 40, 8, 130), (1, 100, 3, 256)]:
    for dtype in ("float32", "float64"):
        problem = make_problem(sizes, "bidirectional", ragged=True, with_states=True)
        for name, array in layer_results(build(problem, dtype), problem).items():
            print(sizes, dtype, name, hashlib.sha256(array.tobytes()).hexdigest())
"""


def test_bit_for_bit_on_any_number_of_threads():
    """Gradients too."""
    digests = {}
    for n_threads in ("1", "2", "3"):
        outcome = run_python("-c", DIGEST, OMP_NUM_THREADS=n_threads)
        assert outcome.returncode == 0, outcome.stderr
        digests[n_threads] = outcome.stdout.splitlines()
    assert len(digests["1"]) == 3 * 2 * 12
    assert digests["2"] == digests["1"]
    assert digests["3"] == digests["1"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("H", [1, 8, 33])
def test_padding_is_never_read(H, kind, dtype):
    problem = make_problem((7, 5, 3, H), kind, ragged=True, with_states=True)
    layer = build(problem, dtype)
    assert problem.padding.any()
    clean = layer_results(layer, problem)
    x, dy = problem.x.copy(), problem.dy.copy()
    x[problem.padding] = np.nan
    dy[problem.padding] = np.nan
    assert_same_bits(layer_results(layer, replace(problem, x=x, dy=dy)), clean)
    assert not clean["y"][problem.padding].any()
    assert not clean["dx"][problem.padding].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_stays_in_its_sequence_and_is_not_hidden(dtype):
    """Layers do not look for NaN (estimators do), but what comes out must show it."""
    problem = make_problem((7, 5, 3, 9))
    layer = build(problem, dtype)
    expected, _ = layer.forward(problem.x)
    x = problem.x.copy()
    x[2, 3, 1] = np.nan
    y, (h, _) = layer.forward(x)
    others = np.arange(7) != 2
    assert np.array_equal(y[others], expected[others])
    assert np.array_equal(y[2, :3], expected[2, :3])
    assert np.isnan(y[2, 3:]).all()
    assert np.isnan(h[2]).all()


# ---- every instruction set ------------------------------------------------------------------------------------------
def test_the_instruction_set_in_use_is_the_one_asked_for():
    assert _core.isa() == os.environ.get("LSTMFAST_ISA", _core.available_isas()[0])


CORE = (
    test_the_instruction_set_in_use_is_the_one_asked_for,
    test_agrees_with_the_reference,
    test_agrees_with_the_reference_on_work_for_many_threads,
    test_agrees_with_pytorch,
    test_gradients_agree_with_finite_differences,
    test_huge_and_tiny_numbers,
    test_step_after_step_is_forward_bit_for_bit,
    test_bit_for_bit_in_any_batch,
    test_bit_for_bit_on_any_number_of_threads,
    test_padding_is_never_read,
    test_a_nan_stays_in_its_sequence_and_is_not_hidden,
)


@pytest.mark.parametrize("isa", [isa for isa in _core.available_isas() if isa != _core.isa()])
def test_core_on_every_other_instruction_set(isa):
    """The variable is read at import, so it takes a new process."""
    tests = [f"{__file__}::{test.__name__}" for test in CORE]
    outcome = run_python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests, LSTMFAST_ISA=isa)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_unknown_instruction_set():
    outcome = run_python("-c", "import lstmfast._core", LSTMFAST_ISA="abacus")
    assert outcome.returncode != 0
    assert "LSTMFAST_ISA='abacus'" in outcome.stderr
    assert _core.isa() in outcome.stderr, "the message should list what there is"


# ---- all kinds of arrays --------------------------------------------------------------------------------------------
def misaligned(array):
    buffer = bytearray(array.nbytes + 1)
    view = np.frombuffer(buffer, array.dtype, array.size, offset=1).reshape(array.shape)
    view[...] = array
    return view


def wide_and_cut(array):
    """The array as every second element of a larger one full of NaN."""
    larger = np.full([2 * size for size in array.shape], np.nan, array.dtype)
    view = larger[(slice(1, None, 2),) * array.ndim]
    view[...] = array
    return view


FORMS = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "strided": wide_and_cut,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "little-endian": lambda a: a.astype(a.dtype.newbyteorder("<")),
    "misaligned": misaligned,
    "float32": lambda a: a.astype(np.float32),
    "longdouble": lambda a: a.astype(np.longdouble),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_all_kinds_of_arrays_give_the_same_bits(form, dtype):
    problem = make_problem((6, 5, 3, 9), ragged=True, with_states=True)

    def change(array):
        changed = FORMS[form](array)
        if isinstance(changed, np.ndarray):
            changed.flags.writeable = False  # inputs are never written to
        return changed

    changed = replace(
        problem,
        x=change(problem.x),
        dy=change(problem.dy),
        lengths=problem.lengths.astype(np.int16),
        state=tuple(map(change, problem.state)),
        dstate=tuple(map(change, problem.dstate)),
    )
    layer = build(problem, dtype)
    expected = layer_results(layer, problem)
    y, (h, c) = layer.forward(changed.x, changed.lengths, changed.state, training=True)
    dx, (dh0, dc0) = layer.backward(changed.dy, changed.dstate)
    actual = {"y": y, "h": h, "c": c, "dx": dx, "dh0": dh0, "dc0": dc0}
    actual |= {f"forward d{name}": gradient for name, gradient in layer.grads.items()}
    assert_same_bits(actual, expected)
    for name, value in problem.parameters["forward"].items():
        setattr(layer, name, change(value))
    assert_same_bits(layer_results(layer, problem), expected)


def test_broadcast_x_and_integers():
    problem = make_problem((6, 5, 3, 9))
    layer = build(problem, "float32")
    row = np.arange(15).reshape(1, 5, 3) % 4
    expected, _ = layer.forward(np.repeat(row, 6, axis=0).astype(float))
    assert np.array_equal(layer.forward(np.broadcast_to(row, (6, 5, 3)))[0], expected)
    assert np.array_equal(layer.forward(np.repeat(row, 6, axis=0).astype(np.uint8), lengths=[5] * 6)[0], expected)


# ---- bad arguments --------------------------------------------------------------------------------------------------
def describe(value):
    return f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)


X = np.zeros((6, 5, 3))


@pytest.fixture
def layer():
    return LSTM(3, 8, random_state=0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), r"\bx\b.*\(3,\)"),
        (np.zeros((5, 3)), r"\bx\b.*\(5, 3\)"),
        (np.zeros((1, 6, 5, 3)), r"\bx\b.*\(1, 6, 5, 3\)"),
        (np.zeros((6, 5, 4)), r"\bx\b.*\b4\b"),
        (np.zeros((6, 5, 0)), r"\bx\b.*\b0\b"),
        (np.zeros((6, 0, 3)), r"\bx\b.*\b0\b"),
        (np.zeros((6, 5, 3), dtype=complex), r"\bx\b"),
        (np.full((6, 5, 3), "a", dtype=object), r"\bx\b"),
        (np.full((6, 5, 3), "a"), r"\bx\b"),
        (np.zeros((6, 5, 3), dtype="datetime64[s]"), r"\bx\b"),
        (None, r"\bx\b"),
    ],
    ids=describe,
)
@pytest.mark.filterwarnings("error")
def test_bad_x(layer, x, message):
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        layer.forward(x)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (1, 6, 5, 3), (6, 5, 4), (6, 5, 0), (6, 0, 3)])
def test_a_bad_shape_is_a_value_error(layer, shape):
    with pytest.raises(ValueError, match=r"\bx\b"):
        layer.forward(np.zeros(shape))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        # n = 6 and T = 5: 4 can only be the index, or what was found there
        ([5, 5, 5, 5, -1, 5], r"\b4\b"),
        ([5, 5, 5, 5, 0, 0], r"\b4\b"),
        ([5, 5, 5, 5, 6, 1], r"\b4\b"),
        ([5, 5, 5, 5, 2**40, 1], r"\b4\b"),
        ([5, 5, 5, 5, 2**64 - 1, 1], ""),
        ([5] * 5, r"\b6\b"),
        ([5] * 7, r"\b6\b"),
        ([], ""),
        (5, ""),
        ([[5]] * 6, r"\(6, 1\)"),
        ([5.0] * 6, "integer"),
        ([1.5] * 6, "integer"),
        ([np.nan] * 6, "integer"),
        ([True] * 6, "integer"),
        (["5"] * 6, "integer"),
    ],
    ids=repr,
)
def test_bad_lengths(layer, lengths, message):
    with pytest.raises(ValueError, match=rf"(?s)\blengths\b.*{message}"):
        layer.forward(X, lengths)


@pytest.mark.parametrize("name", ["h0", "c0"])
@pytest.mark.parametrize("shape", [(6,), (8,), (6, 9), (5, 8), (8, 6), (6, 1, 8), (6, 2, 8), (1, 6, 8), (1, 8), ()])
def test_bad_state(layer, name, shape):
    good, bad = np.zeros((6, 8)), np.zeros(shape)
    with pytest.raises(ValueError, match=rf"{name} must have shape .*\(6, 8\)"):
        layer.forward(X, state=(bad, good) if name == "h0" else (good, bad))


def test_bad_state_of_a_bidirectional_layer():
    layer, state = LSTM(3, 8, bidirectional=True), np.zeros((6, 8))
    with pytest.raises(ValueError, match=r"h0 must have shape .*\(6, 2, 8\)"):
        layer.forward(X, state=(state, state))


@pytest.mark.parametrize(
    "state", [np.zeros((6, 8)), (np.zeros((6, 8)),), (np.zeros((6, 8)),) * 3, 1, "hc"], ids=describe
)
def test_a_state_is_a_pair(layer, state):
    with pytest.raises((ValueError, TypeError), match="state"):
        layer.forward(X, state=state)


def test_state_of_no_real_numbers(layer):
    with pytest.raises((ValueError, TypeError), match="c0"):
        layer.forward(X, state=(np.zeros((6, 8)), np.full((6, 8), 1j)))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 9), (5, 5, 8), (6, 4, 8), (6, 8), (1,)])
def test_bad_dy(layer, shape):
    layer.forward(X, training=True)
    with pytest.raises(ValueError, match=r"dy must have shape .*\(6, 5, 8\)"):
        layer.backward(np.zeros(shape))


def test_bad_dstate(layer):
    layer.forward(X, training=True)
    dy, good = np.zeros((6, 5, 8)), np.zeros((6, 8))
    with pytest.raises(ValueError, match="dh must have shape"):
        layer.backward(dy, (good[:5], good))
    with pytest.raises(ValueError, match="dc must have shape"):
        layer.backward(dy, (good, good.T))


def test_backward_needs_a_training_forward(layer):
    with pytest.raises(RuntimeError, match="training=True"):
        layer.backward(np.zeros((6, 5, 8)))
    layer.forward(X)
    with pytest.raises(RuntimeError, match="training=True"):
        layer.backward(np.zeros((6, 5, 8)))


@pytest.mark.parametrize("name", LAYER_PARAMETERS)
def test_bad_parameter(layer, name):
    before = getattr(layer, name).copy()
    y, _ = layer.forward(np.ones((2, 3, 3)))
    for bad in (before[:-1], before[None], before.T[..., None], 0.0, [], None, before.astype(complex), "wide"):
        with pytest.raises((ValueError, TypeError), match=name):
            setattr(layer, name, bad)
    with pytest.raises(ValueError, match=rf"{name} must have shape"):
        setattr(layer, name, np.concatenate([before, before]))
    assert np.array_equal(getattr(layer, name), before)
    assert np.array_equal(layer.forward(np.ones((2, 3, 3)))[0], y)


@pytest.mark.parametrize("name", LAYER_PARAMETERS)
def test_assigning_a_parameter_takes_a_copy_that_the_next_forward_uses(layer, name):
    value = np.full(getattr(layer, name).shape, 0.25)
    before, _ = layer.forward(np.ones((2, 3, 3)))
    setattr(layer, name, value)
    after, _ = layer.forward(np.ones((2, 3, 3)))
    assert not np.array_equal(after, before)
    value[...] = 7
    assert np.all(getattr(layer, name) == 0.25)
    assert np.array_equal(layer.forward(np.ones((2, 3, 3)))[0], after)


@pytest.mark.parametrize("argument", ["input_size", "hidden_size"])
@pytest.mark.parametrize("size", [0, -1, 2.5, 8.0, "8", True, None, np.nan, np.float64(8), [8], 2**80], ids=repr)
def test_bad_sizes(argument, size):
    sizes = {"input_size": 3, "hidden_size": 8} | {argument: size}
    with pytest.raises((ValueError, TypeError), match=argument):
        LSTM(**sizes)


@pytest.mark.parametrize("size", [np.int64(8), np.uint8(8), np.int16(8)])
def test_numpy_integers_are_sizes(size):
    assert LSTM(size, size).forward(np.zeros((2, 3, 8)))[0].shape == (2, 3, 8)


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex128", "double precision", 64])
def test_bad_dtype(dtype):
    with pytest.raises((ValueError, TypeError), match="dtype"):
        LSTM(3, 8, dtype=dtype)


def test_both_directions_and_reverse_at_once():
    with pytest.raises(ValueError, match="reverse"):
        LSTM(3, 8, bidirectional=True, reverse=True)


def test_a_failed_call_changes_nothing(layer):
    """backward still belongs to the last forward that worked."""
    problem = make_problem((6, 5, 3, 8))
    layer = build(problem, "float64")
    layer.forward(problem.x, training=True)
    with pytest.raises(ValueError, match=r"\bx\b"):
        layer.forward(problem.x[:, :, :2], training=True)
    with pytest.raises(ValueError, match="dy must have shape"):
        layer.backward(problem.dy[:, :, :2])
    dx, _ = layer.backward(problem.dy)
    assert_close(dx, reference_results(problem)["dx"], GRADIENT_RTOL["float64"], "dx")
