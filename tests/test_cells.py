"""Every cell of the recurrent layers, alone: against the reference, finite differences, PyTorch and ONNX Runtime; the
same bits in any company, on any number of threads and step by step; bad arguments; initial weights.

What holds for all layers, and was there before there were other cells than the LSTM, is in test_layers.py.

Legend: n sequences, T steps, F features, H hidden units, D directions. All problems hold numbers that float32 holds
exactly, so one expectation serves both dtypes.
"""

import copy
import os
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import pytest
from gradients import central_differences
from reference import PARAMETERS, Cell, layer_backward, layer_forward, load_golden, parameter_shapes

from lstmfast import _core
from lstmfast.layers import GRU, LSTM, RNN, recurrent_layer
from lstmfast.layers.initializers import BLANK
from lstmfast.layers.padded import Padding
from lstmfast.network import Network
from lstmfast.sequences import check_sequences
from lstmfast.workspace import Workspace

KINDS = tuple(PARAMETERS)
WITH_C = tuple(kind for kind in KINDS if kind.startswith("lstm"))
DIRECTIONS = {"forward": ("forward",), "backward": ("backward",), "bidirectional": ("forward", "backward")}
DTYPES = ("float32", "float64")
JUMPS = ("relu", "hard_tanh")  # whose slope does; so does that of hard_sigmoid, and at the clip

REFERENCE_RTOL = 1e-11  # of float64, relative to an array's largest element
FLOAT32_RTOL = 1e-5  # of float32 against float64, likewise
# Elements of float32 gradients with a slope that jumps: more, and one of their arguments, which has another rounding in
# float64, would lie on the other side of the jump.
MOST_AT_JUMPS = 100


# ---- a problem, what the reference makes of it and what the layer makes of it ---------------------------------------
@dataclass
class Problem:
    cell: Cell
    parameters: dict  # {direction: {name: array}}
    x: np.ndarray  # (n, T, F)
    lengths: np.ndarray  # (n,)
    dy: np.ndarray | None = None  # (n, T, D H)
    h0: np.ndarray | None = None  # (n, D, H); None: zeros; so are those below
    c0: np.ndarray | None = None
    dh: np.ndarray | None = None
    dc: np.ndarray | None = None
    masks: np.ndarray | None = None

    @property
    def has_c(self):
        return self.cell.kind in WITH_C

    @property
    def padding(self):
        """(n, T) mask of the steps past each length."""
        return np.arange(self.x.shape[1]) >= self.lengths[:, None]


def draw(rng, *shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(np.float32).astype(np.float64)


def draw_parameters(rng, kind, F, H):
    # With more of c on its way back, a c without bounds doubles at each step, and its rounding errors with it.
    scales = {"kernel": F**-0.5, "recurrent_kernel": H**-0.5, "peephole_kernel": 0.3 * H**-0.5}
    shapes = parameter_shapes(kind, F, H)
    return {name: draw(rng, *shape, scale=scales.get(name, 0.5)) for name, shape in shapes.items()}


def make_problem(cell, sizes, directions="forward", ragged=False, states=False, masks=False, seed=0):
    n, T, F, H = sizes
    rng, names = np.random.default_rng(seed), DIRECTIONS[directions]
    problem = Problem(
        cell=cell,
        parameters={direction: draw_parameters(rng, cell.kind, F, H) for direction in names},
        x=draw(rng, n, T, F),
        lengths=rng.permutation(np.r_[T, rng.integers(1, T + 1, n - 1)]) if ragged else np.full(n, T),
        dy=draw(rng, n, T, H * len(names)),
    )
    shape = n, len(names), H
    if states:
        problem = replace(problem, h0=draw(rng, *shape), dh=draw(rng, *shape))
        if problem.has_c:
            problem = replace(problem, c0=draw(rng, *shape), dc=draw(rng, *shape))
    if masks:
        problem.masks = rng.choice([0.0, 1.25, 2.0], shape)
    return problem


def reference_results(problem):
    """{name: array} of all that forward and backward give; states are (n, D, H)."""
    names = tuple(PARAMETERS[problem.cell.kind])
    layer = {d: tuple(parameters[name] for name in names) for d, parameters in problem.parameters.items()}
    state = (len(problem.x), len(layer), len(layer[next(iter(layer))][1]))
    results = {"y": np.zeros(problem.dy.shape), "dx": np.zeros(problem.x.shape)}
    results |= {name: np.zeros(state) for name in ("h", "dh0", *(("c", "dc0") if problem.has_c else ()))}
    results |= {f"{d} d{name}": np.zeros_like(a) for d in layer for name, a in problem.parameters[d].items()}

    def of(array, s):
        return None if array is None else array[s]

    for s, length in enumerate(problem.lengths):
        masks = None if problem.masks is None else dict(zip(layer, problem.masks[s], strict=True))
        states = [np.zeros(state[1:]) if problem.has_c and array is None else of(array, s)
                  for array in (problem.h0, problem.c0)]  # fmt: skip
        y, (h, c), cache = layer_forward(problem.x[s, :length], layer, *states, masks, problem.cell)
        dx, gradients, dh0, dc0 = layer_backward(
            problem.dy[s, :length], of(problem.dh, s), of(problem.dc, s), cache
        )  # fmt: skip
        results["y"][s, :length], results["dx"][s, :length], results["h"][s], results["dh0"][s] = y, dx, h, dh0
        if problem.has_c:
            results["c"][s], results["dc0"][s] = c, dc0
        for direction, arrays in gradients.items():
            for name, gradient in zip(names, arrays, strict=True):
                results[f"{direction} d{name}"] += gradient
    return results


def build(problem, dtype, **options):
    """The layer with the problem's parameters."""
    cell, directions = problem.cell, tuple(problem.parameters)
    F, H = (len(problem.parameters[directions[0]][name]) for name in ("kernel", "recurrent_kernel"))
    layer = recurrent_layer(
        cell.kind, F, H, activation=cell.activation, recurrent_activation=cell.recurrent_activation, clip=cell.clip,
        bidirectional=len(directions) == 2, reverse=directions == ("backward",), dtype=dtype, random_state=BLANK,
        **options,
    )  # fmt: skip
    for direction, parameters in problem.parameters.items():
        for name, value in parameters.items():
            setattr(holder(layer, direction), name, value)
    return layer


def holder(layer, direction):
    """The object that has this direction's parameters."""
    return getattr(layer, f"{direction}_") if layer.bidirectional else layer


def state_of(problem, h, c):
    """States (n, D, H) as a layer takes them."""
    if len(problem.parameters) == 1:
        h, c = h[:, 0], None if c is None else c[:, 0]
    return (h, c) if problem.has_c else h


def split_state(problem, state):
    """The inverse, as a dict."""
    state = dict(zip("hc", state, strict=True)) if problem.has_c else {"h": state}
    return {name: array.reshape(len(array), len(problem.parameters), -1) for name, array in state.items()}


def layer_results(layer, problem):
    """The same names as reference_results'. All results must have the layer's dtype."""
    if problem.masks is not None:
        return run_results(layer, problem)
    state = None if problem.h0 is None else state_of(problem, problem.h0, problem.c0)
    dstate = None if problem.dh is None else state_of(problem, problem.dh, problem.dc)
    y, state = layer.forward(problem.x, problem.lengths, state, training=True)
    dx, dstate0 = layer.backward(problem.dy, dstate)
    results = {"y": y, "dx": dx, **split_state(problem, state)}
    results |= {f"d{name}0": array for name, array in split_state(problem, dstate0).items()}
    return checked(results | gradients_of(layer, problem), layer)


def run_results(layer, problem, n_threads=1):
    """Through `run` and `run_backward`, as networks do, which take recurrent masks and threads too."""
    n, T, F = problem.x.shape
    padding = Padding(problem.lengths, n, T)
    h0, c0, dh, dc, masks = (
        None if array is None else padding.sort_state(array).astype(layer.dtype)
        for array in (problem.h0, problem.c0, problem.dh, problem.dc, problem.masks)
    )
    y, h, c, tape = layer.run(
        padding.batch, problem.x.reshape(n * T, F).astype(layer.dtype), x_first=padding.x_first,
        state=None if h0 is None else (h0, c0), h_masks=masks, training=True, workspace=Workspace(),
        n_threads=n_threads,
    )  # fmt: skip
    for direction in layer.directions:
        for gradient in direction.grads.values():
            gradient[...] = 0
    dy = padding.pack(problem.dy.astype(layer.dtype))
    dx, dh0, dc0 = layer.run_backward(tape, dy=dy, dh=dh, dc=dc, state_gradient=True, n_threads=n_threads)
    results = {"y": padding.unpack(y), "dx": padding.unpack(dx)}
    for name, array in {"h": h, "c": c, "dh0": dh0, "dc0": dc0}.items():
        assert (array is None) == (name in ("c", "dc0") and not problem.has_c)
        if array is not None:
            results[name] = padding.unsort_state(array).reshape(n, len(problem.parameters), -1)
    return checked(results | gradients_of(layer, problem), layer)


def gradients_of(layer, problem):
    results = {}
    for direction, parameters in problem.parameters.items():
        gradients = layer.grads[f"{direction}_"] if layer.bidirectional else layer.grads
        assert set(gradients) == set(parameters)
        results |= {f"{direction} d{name}": gradient.copy() for name, gradient in gradients.items()}
    return results


def checked(results, layer):
    assert {array.dtype for array in results.values()} == {np.dtype(layer.dtype)}
    return results


def assert_close(actual, expected, rtol, what):
    """Relative to the largest expected element: a gradient's small elements carry the rounding of the large ones. And
    not to less than 0.1: sums of terms of about 1 may nearly cancel."""
    assert actual.shape == expected.shape, f"{what}: {actual.shape} instead of {expected.shape}"
    scale = max(np.abs(expected).max(), 0.1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale, err_msg=str(what))


def assert_all_close(actual, expected, rtol):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert_close(actual[name], array, rtol, name)


def assert_same_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        assert actual[name].tobytes() == expected[name].tobytes(), name


# ---- configurations: every level of every factor several times with every cell, and every pair of levels ------------
FACTORS = {
    "H": (1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 65),  # around every vector width, and several blocks of units
    "F": (1, 5, 16, 17),
    "n": (1, 2, 5, 6, 7, 13),  # around every tile height
    "T": (1, 2, 9),
    "directions": tuple(DIRECTIONS),
    "activation": _core.ACTIVATIONS,
    "recurrent_activation": _core.RECURRENT_ACTIVATIONS,
    "clip": (None, None, 0.6, 2.0),
    "ragged": (False, True),
    "states": (False, True),
    "masks": (False, False, True),
}
PER_CELL, CORE_PER_CELL = 66, 22  # the latter on every instruction set


def configurations():
    """For each cell a table with a column a factor: its levels again and again, each time in another order."""
    found = []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng(number)
        columns = []
        for levels in FACTORS.values():
            rounds = -(-PER_CELL // len(levels))
            columns.append([levels[k] for _ in range(rounds) for k in rng.permutation(len(levels))][:PER_CELL])
        for k, row in enumerate(zip(*columns, strict=True)):
            found.append((kind, k, dict(zip(FACTORS, row, strict=True))))
    return found


CONFIGURATIONS = configurations()


def problem_of(kind, k, levels):
    cell = Cell(kind, levels["activation"], levels["recurrent_activation"], levels["clip"])
    sizes = [levels[name] for name in ("n", "T", "F", "H")]
    options = {name: levels[name] for name in ("directions", "ragged", "states", "masks")}
    return make_problem(cell, sizes, **options, seed=1000 + k)


def name_of(configuration):
    kind, k, levels = configuration
    return f"{kind}-{k}-H{levels['H']}-n{levels['n']}"


def check_configuration(configuration):
    problem = problem_of(*configuration)
    expected = reference_results(problem)
    actual = layer_results(build(problem, "float64"), problem)
    assert_all_close(actual, expected, REFERENCE_RTOL)
    assert not actual["y"][problem.padding].any()
    assert not actual["dx"][problem.padding].any()
    in_float32 = layer_results(build(problem, "float32"), problem)
    cell, elements = problem.cell, problem.dy.size
    jumps = cell.activation in JUMPS or cell.recurrent_activation == "hard_sigmoid" or cell.clip is not None
    names = [name for name in expected if elements <= MOST_AT_JUMPS or not jumps or name in ("y", "h", "c")]
    assert_all_close({name: in_float32[name] for name in names}, {name: expected[name] for name in names}, FLOAT32_RTOL)


def test_configurations_hold_every_pair_of_levels():
    rows = [{"kind": kind} | levels for kind, _, levels in CONFIGURATIONS]
    for a, b in combinations(["kind", *FACTORS], 2):
        levels = {"kind": KINDS} | FACTORS
        counts = Counter((row[a], row[b]) for row in rows)
        missing = set(product(levels[a], levels[b])) - set(counts)
        assert not missing, (a, b, missing)
    core = [row for row, (_, k, _) in zip(rows, CONFIGURATIONS, strict=True) if k < CORE_PER_CELL]
    for factor, levels in FACTORS.items():
        assert {(row["kind"], row[factor]) for row in core} == set(product(KINDS, levels)), factor


@pytest.mark.parametrize("configuration", [c for c in CONFIGURATIONS if c[1] < CORE_PER_CELL], ids=name_of)
def test_agrees_with_the_reference(configuration):
    check_configuration(configuration)


@pytest.mark.parametrize("configuration", [c for c in CONFIGURATIONS if c[1] >= CORE_PER_CELL], ids=name_of)
def test_agrees_with_the_reference_further(configuration):
    check_configuration(configuration)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_reference_on_work_for_many_threads(kind):
    """Large enough for every way of splitting the work, and more rows than advance together."""
    for sizes, directions in [
        ((33, 9, 17, 65), "bidirectional"),
        ((1, 12, 5, 130), "forward"),
        ((101, 3, 5, 17), "backward"),
    ]:
        problem = make_problem(Cell(kind), sizes, directions, ragged=True, states=True, masks=True)
        expected = reference_results(problem)
        for n_threads in (1, 2):
            results = run_results(build(problem, "float64"), problem, n_threads)
            assert_all_close(results, expected, REFERENCE_RTOL)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_gradient_alone(kind):
    """Gradients of the last state without those of the outputs, and the other way round, are parts of a sum."""
    whole = make_problem(Cell(kind), (5, 4, 3, 9), "bidirectional", ragged=True, states=True)
    layer, none = build(whole, "float64"), None if whole.dc is None else np.zeros_like(whole.dc)
    parts = [replace(whole, dh=None, dc=None), replace(whole, dy=np.zeros_like(whole.dy))]
    if whole.has_c:
        parts[1:] = [replace(parts[1], dc=none), replace(parts[1], dh=np.zeros_like(whole.dh))]
    results = [layer_results(layer, problem) for problem in parts]
    together = layer_results(layer, whole)
    for name in together:
        if "d" in name:
            assert_close(sum(part[name] for part in results), together[name], 1e-13, name)


# ---- finite differences ---------------------------------------------------------------------------------------------
def check_differences(problem):
    """Knows no formula at all: L = sum(y dy) + sum(h dh) + sum(c dc), moved by +-1e-6 in each argument."""
    layer = build(problem, "float64")
    actual = layer_results(layer, problem)

    def loss():
        y, state = layer.forward(problem.x, problem.lengths, state_of(problem, problem.h0, problem.c0))
        state = split_state(problem, state)
        total = (y * problem.dy).sum() + (state["h"] * problem.dh).sum()
        return total + (state["c"] * problem.dc).sum() if problem.has_c else total

    def differences(array, changed=lambda: None):
        return central_differences(loss, array, changed=changed)

    assert_close(actual["dx"], differences(problem.x), 1e-7, "x")
    assert_close(actual["dh0"], differences(problem.h0), 1e-7, "h0")
    if problem.has_c:
        assert_close(actual["dc0"], differences(problem.c0), 1e-7, "c0")
    for direction, parameters in problem.parameters.items():
        for name, array in parameters.items():
            expected = differences(array, lambda d=direction, n=name, a=array: setattr(holder(layer, d), n, a))
            assert np.abs(expected).max() > 1e-3, name
            assert_close(actual[f"{direction} d{name}"], expected, 1e-7, f"{direction} {name}")


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind, activation):
    number = _core.ACTIVATIONS.index(activation)
    cell = Cell(kind, activation, _core.RECURRENT_ACTIVATIONS[number % 2], [None, 1.0][number // 2 % 2])
    directions = list(DIRECTIONS)[(number + KINDS.index(kind)) % 3]
    check_differences(make_problem(cell, (2, 3, 2, 3), directions, ragged=True, states=True, seed=number))


# ---- other libraries ------------------------------------------------------------------------------------------------
def golden_problem(case, golden, x):
    directions = [direction for direction in ("forward", "backward") if direction in golden]

    def states(name):
        return golden[name].reshape(len(x), len(directions), -1) if name in golden else None

    return Problem(
        cell=case["cell"],
        parameters={d: {name: golden[d][name] for name in PARAMETERS[case["cell"].kind]} for d in directions},
        x=x, lengths=case["lengths"], h0=states("h0"), c0=states("c0"), dh=states("dh"), dc=states("dc"),
    )  # fmt: skip


def golden_forward(case, dtype, rtol):
    """Through the layers of a case -> y, the layers and their problems."""
    y, layers, problems = case["x"], [], []
    for k, golden in enumerate(case["layers"]):
        problem = golden_problem(case, golden, y)
        layer = build(problem, dtype)
        state = None if problem.h0 is None else state_of(problem, problem.h0, problem.c0)
        y, state = layer.forward(y, problem.lengths, state, training=True)
        for name, value in split_state(problem, state).items():
            assert_close(value, golden[name].reshape(value.shape), rtol, f"{k} {name}")
        layers.append(layer)
        problems.append(problem)
    return y, layers, problems


TORCH = load_golden("torch_gru_rnn.npz")
ONNX = load_golden("onnx.npz")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", TORCH, ids=lambda case: case["name"])
def test_agrees_with_pytorch(case, dtype):
    rtol = {"float32": FLOAT32_RTOL, "float64": REFERENCE_RTOL}[dtype]
    y, layers, problems = golden_forward(case, dtype, rtol)
    assert_close(y, case["y"], rtol, "y")
    dy = case["dy"]
    for k, golden in reversed(list(enumerate(case["layers"]))):
        problem = problems[k]
        dy, dstate0 = layers[k].backward(dy, state_of(problem, problem.dh, problem.dc))
        for name, value in split_state(problem, dstate0).items():
            assert_close(value, golden[f"d{name}0"].reshape(value.shape), rtol, f"{k} d{name}0")
        for name, value in gradients_of(layers[k], problem).items():
            direction, parameter = name.split()
            assert_close(value, golden[direction][parameter], rtol, f"{k} {name}")
    assert_close(dy, case["dx"], rtol, "dx")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ONNX, ids=lambda case: case["name"])
def test_agrees_with_onnx_runtime(case, dtype):
    y, _, _ = golden_forward(case, dtype, FLOAT32_RTOL)
    assert_close(y, case["y"], FLOAT32_RTOL, "y")


def test_golden_cases_hold_every_cell_that_the_libraries_have():
    assert {case["cell"].kind for case in TORCH} == {"gru", "rnn"}
    assert {case["cell"].kind for case in ONNX} == {
        "lstm", "lstm-peephole", "lstm-coupled", "gru", "gru-reset-before", "rnn"
    }  # fmt: skip
    assert {case["cell"].clip is None for case in ONNX} == {True, False}


# ---- the same bits in any company -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("directions", ["backward", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_bit_for_bit_in_any_batch(kind, directions, dtype):
    rng = np.random.default_rng(4)
    for H, cell in [(1, Cell(kind)), (33, Cell(kind)), (9, Cell(kind, "elu", "hard_sigmoid", 2.0))]:
        problem = make_problem(cell, (13, 9, 5, H), directions, ragged=True, states=True)
        layer, n = build(problem, dtype), 13

        def forward(rows, n_steps, problem=problem, layer=layer, **options):
            """The rows' sequences as one batch, cut after n_steps."""
            c0 = problem.c0[rows] if problem.has_c else None
            state = state_of(problem, problem.h0[rows], c0)
            y, state = layer.forward(problem.x[rows, :n_steps], problem.lengths[rows], state, **options)
            return {"y": y, **split_state(problem, state)}

        together = forward(np.arange(n), 9)
        batches = [np.array([row]) for row in range(n)]  # alone
        batches += [np.arange(n)[::-1], rng.permutation(n), np.argsort(problem.lengths), np.argsort(-problem.lengths)]
        batches += [rng.choice(n, size) for size in (2, 3, 5, 6, 7, 12)]  # with replacement: twins side by side
        for rows in batches:
            n_steps = problem.lengths[rows].max()
            expected = {name: array[rows] for name, array in together.items()}
            expected["y"] = expected["y"][:, :n_steps]
            for training in (False, True):
                assert_same_bits(forward(rows, n_steps, training=training), expected)


# (lengths, F, H): few rows and many units, where threads own units (from 32768 multiply-adds a step); H on and off
# vector widths; and more rows, where they own rows. All beyond the million multiply-adds that threads start at.
THREADED = {
    "one row": ([40], 5, 96),
    "one row, odd sizes": ([40], 3, 101),
    "three ragged rows": ([30, 30, 1], 1, 130),
    "rows": ([30, 29, 28, 20, 20, 20, 7, 1], 4, 97),
    "many rows": ([9] * 203, 4, 33),
}


def threaded_problem(case, kind, directions="forward", clip=None):
    lengths, F, H = THREADED[case]
    assert sum(lengths) * (F + H) * 4 * H > 1e6
    problem = make_problem(
        Cell(kind, clip=clip), (len(lengths), max(lengths), F, H), directions, states=True, masks=True
    )  # fmt: skip
    return replace(problem, lengths=np.array(lengths))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", THREADED)
@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_bits(kind, case, dtype):
    """Gradients too."""
    problem = threaded_problem(case, kind)
    layer = build(problem, dtype)
    expected = run_results(layer, problem)
    for n_threads in (2, 3):
        assert_same_bits(run_results(layer, problem, n_threads), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_bits_of_two_directions(kind):
    for case in ("one row", "three ragged rows", "rows"):
        problem = threaded_problem(case, kind, "bidirectional", clip=1.5)
        layer = build(problem, "float32")
        expected = run_results(layer, problem)
        for n_threads in (2, 3):
            assert_same_bits(run_results(layer, problem, n_threads), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_shared_units_agree_with_the_row_by_row_path(kind, dtype):
    """One row, whose units threads share, against a batch of many rows, which they do not."""
    problem = make_problem(Cell(kind), (13, 40, 5, 101))
    layer = build(problem, dtype)
    expected, _ = layer.forward(problem.x)
    batch, x = _core.Batch(np.array([40])), problem.x.astype(dtype)
    for row, n_threads in product(range(0, 13, 4), (1, 2, 3)):
        y, *_ = layer.run(batch, x[row], workspace=Workspace(), n_threads=n_threads)
        assert y.tobytes() == expected[row].tobytes(), (row, n_threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_step_after_step_is_forward_bit_for_bit(kind, dtype):
    for H, cell in [(17, Cell(kind)), (7, Cell(kind, "softsign", "hard_sigmoid", 0.7))]:
        problem = make_problem(cell, (7, 6, 3, H), states=True)
        layer, state = build(problem, dtype), state_of(problem, problem.h0, problem.c0)
        expected, last = layer.forward(problem.x, state=state)
        for t in range(6):
            y, state = layer.step(problem.x[:, t], state)
            assert y.tobytes() == np.ascontiguousarray(expected[:, t]).tobytes()
        assert_same_bits(split_state(problem, state), split_state(problem, last))
        assert y.tobytes() == np.ascontiguousarray(split_state(problem, state)["h"][:, 0]).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bidirectional_layer_has_no_step(kind):
    with pytest.raises(ValueError, match="bidirectional"):
        recurrent_layer(kind, 3, 4, bidirectional=True).step(np.zeros((2, 3)))


def small_network(kind, hidden, dtype, pooling="last", **options):
    network, rng = Network(3, hidden, 2, cell=kind, dtype=dtype, pooling=pooling, **options), np.random.default_rng(0)
    for array in network.named_parameters().values():
        array[...] = rng.normal(scale=0.7 * len(array) ** -0.5 if array.ndim == 2 else 0.3, size=array.shape)
    network.parameters_changed()
    return network


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_the_whole_sequence_bit_for_bit(kind, pooling, dtype):
    network = small_network(kind, (17, 4), dtype, pooling, activation="softsign", clip=1.5)
    x = np.random.default_rng(2).normal(size=(7, 6, 3)).astype(dtype)
    sequences = check_sequences(x, dtype=np.dtype(dtype))
    steps = network.step_outputs(sequences, "softmax").reshape(7, 6, 2)
    together, alone = network.stream(7, "softmax"), [network.stream(1, "softmax") for _ in x]
    for t in range(6):
        y = together.step(np.ascontiguousarray(x[:, t]))
        assert y.tobytes() == np.ascontiguousarray(steps[:, t]).tobytes()
        one_by_one = np.array([stream.step(row) for stream, row in zip(alone, x[:, t].copy(), strict=True)])
        assert one_by_one.tobytes() == y.tobytes()
        outputs = network.outputs(check_sequences(x[:, : t + 1], dtype=np.dtype(dtype)))
        _core.output_probabilities(False, outputs, outputs, 2, dtype == "float64")
        assert outputs.tobytes() == y.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_bits_of_streams(kind):
    """One sequence and few, whose units threads own, and many, whose rows they do; two phases: always rows."""
    for n, H in [(1, 513), (2, 520), (300, 33)]:
        assert n * (3 + H) * 4 * H > 1e6
        network = small_network(kind, (H, 5), "float32")
        streams = [network.stream(n, None, n_threads) for n_threads in (1, 2, 3)]
        for x in np.random.default_rng(3).normal(size=(4, n, 3)).astype(np.float32):
            expected, *others = (stream.step(x) for stream in streams)
            assert all(y.tobytes() == expected.tobytes() for y in others)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind, directions, dtype):
    problem = make_problem(Cell(kind), (7, 5, 3, 9), directions, ragged=True, states=True)
    layer = build(problem, dtype)
    assert problem.padding.any()
    clean = layer_results(layer, problem)
    x, dy = problem.x.copy(), problem.dy.copy()
    x[problem.padding] = np.nan
    dy[problem.padding] = np.nan
    assert_same_bits(layer_results(layer, replace(problem, x=x, dy=dy)), clean)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_stays_in_its_sequence_and_is_not_hidden(kind, dtype):
    for activation, clip in product(_core.ACTIVATIONS, (None, 1.0)):
        problem = make_problem(Cell(kind, activation, "hard_sigmoid", clip), (7, 5, 3, 9))
        layer = build(problem, dtype)
        expected, _ = layer.forward(problem.x)
        x = problem.x.copy()
        x[2, 3, 1] = np.nan
        y, _ = layer.forward(x)
        others = np.arange(7) != 2
        assert np.array_equal(y[others], expected[others])
        assert np.array_equal(y[2, :3], expected[2, :3])
        assert np.isnan(y[2, 3:]).all(), activation


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_huge_numbers_saturate(kind, dtype):
    """No NaN, and no floating-point warning, where gates are wide open or shut."""
    for recurrent_activation, clip in product(_core.RECURRENT_ACTIVATIONS, (None, 3.0)):
        problem = make_problem(Cell(kind, "tanh", recurrent_activation, clip), (7, 5, 3, 9))
        problem.x = (problem.x * 1e30).astype(np.float32).astype(np.float64)
        with np.errstate(all="raise"):
            actual, _ = build(problem, dtype).forward(problem.x)
        with np.errstate(all="ignore"):
            expected = reference_results(problem)["y"]
        assert_close(actual, expected, {"float32": 2e-5, "float64": 1e-12}[dtype], recurrent_activation)


def test_earlier_gradients_and_results_do_not_matter():
    for kind in KINDS:
        first = make_problem(Cell(kind), (6, 5, 3, 8), seed=2)
        second = replace(make_problem(Cell(kind), (6, 5, 3, 8), seed=3), parameters=first.parameters)
        layer = build(first, "float64")
        results = layer_results(layer, first)
        kept = {name: array.copy() for name, array in results.items()}
        again = layer_results(layer, second)
        assert_same_bits(again, layer_results(build(second, "float64"), second))
        assert_same_bits(results, kept)


# ---- every instruction set ------------------------------------------------------------------------------------------
CORE = (
    test_agrees_with_the_reference,
    test_agrees_with_the_reference_on_work_for_many_threads,
    test_agrees_with_pytorch,
    test_bit_for_bit_in_any_batch,
    test_threads_do_not_change_bits_of_two_directions,
    test_shared_units_agree_with_the_row_by_row_path,
    test_step_after_step_is_forward_bit_for_bit,
    test_streams_are_the_whole_sequence_bit_for_bit,
    test_padding_is_never_read,
    test_a_nan_stays_in_its_sequence_and_is_not_hidden,
    test_huge_numbers_saturate,
)


def test_the_instruction_set_in_use_is_the_one_asked_for():
    assert _core.isa() == os.environ.get("LSTMFAST_ISA", _core.available_isas()[0])


@pytest.mark.parametrize("isa", [isa for isa in _core.available_isas() if isa != _core.isa()])
def test_core_on_every_other_instruction_set(isa):
    """The variable is read at import, so it takes a new process."""
    tests = [f"{__file__}::{test.__name__}" for test in (test_the_instruction_set_in_use_is_the_one_asked_for, *CORE)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LSTMFAST_ISA": isa}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


# ---- bad arguments --------------------------------------------------------------------------------------------------
X = np.zeros((6, 5, 3))
LAYERS = {
    "lstm": (LSTM, {}), "peephole": (LSTM, {"cell": "lstm-peephole"}), "gru": (GRU, {}),
    "gru, reset before": (GRU, {"reset_after": False}), "rnn": (RNN, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ["gru", "rnn", "peephole", "LSTM", "", "lstm-", "lstm-peepholes", None, 3, ["lstm"]])
def test_bad_cell(name):
    with pytest.raises(ValueError, match=r"cell must be .* got"):
        LSTM(3, 4, cell=name)


@pytest.mark.parametrize("name", ["lstm-gru", "GRU", "", None, b"rnn"])
def test_bad_cell_of_a_network(name):
    with pytest.raises(ValueError, match=r"cell must be .* got"):
        Network(3, (4,), 2, cell=name)


def test_the_message_lists_what_there_is():
    with pytest.raises(ValueError, match=r"activation must be one of 'tanh', 'relu', .*'elu', got 'gelu'"):
        GRU(3, 4, activation="gelu")
    with pytest.raises(ValueError, match=r"recurrent_activation must be one of 'sigmoid', 'hard_sigmoid', got 'tanh'"):
        LSTM(3, 4, recurrent_activation="tanh")


@pytest.mark.parametrize("value", ["Tanh", "hard_sigmoid", "", None, 1, np.tanh, ["tanh"]], ids=repr)
@pytest.mark.parametrize("layer", LAYERS)
def test_bad_activation(layer, value):
    cls, options = LAYERS[layer]
    with pytest.raises(ValueError, match="activation must be one of"):
        cls(3, 4, activation=value, **options)


@pytest.mark.parametrize("value", ["relu", "", None, 0, ["sigmoid"]], ids=repr)
@pytest.mark.parametrize("layer", [name for name in LAYERS if name != "rnn"])
def test_bad_recurrent_activation(layer, value):
    cls, options = LAYERS[layer]
    with pytest.raises(ValueError, match="recurrent_activation must be one of"):
        cls(3, 4, recurrent_activation=value, **options)


@pytest.mark.parametrize("value", [0, 0.0, -1.0, np.inf, -np.inf, np.nan, True, "1", [1.0], 1j], ids=repr)
@pytest.mark.parametrize("layer", LAYERS)
def test_bad_clip(layer, value):
    cls, options = LAYERS[layer]
    with pytest.raises(ValueError, match="clip must be None or a positive number, got"):
        cls(3, 4, clip=value, **options)


@pytest.mark.parametrize("value", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)], ids=repr)
def test_every_kind_of_number_is_a_clip(value):
    assert GRU(3, 4, clip=value).cell.clip == 2.0


def test_arguments_that_a_layer_does_not_have():
    for cls, name in [(RNN, "recurrent_activation"), (RNN, "cell"), (GRU, "cell"), (LSTM, "reset_after")]:
        with pytest.raises(TypeError, match=name):
            cls(3, 4, **{name: "sigmoid"})


def describe(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    return f"tuple of {len(value)}" if isinstance(value, tuple) else repr(value)[:9]


H0 = np.zeros((6, 8))


@pytest.mark.parametrize("layer", ["gru", "gru, reset before", "rnn"])
@pytest.mark.parametrize("state", [(H0, H0), (H0, None), (), (H0, H0, H0)], ids=describe)
def test_a_state_without_c_is_one_array(layer, state):
    cls, options = LAYERS[layer]
    with pytest.raises(ValueError, match="state must be the array h0"):
        cls(3, 8, **options).forward(X, state=state)


@pytest.mark.parametrize("layer", ["lstm", "peephole"])
@pytest.mark.parametrize("state", [H0, (H0,), (H0, H0, H0), [], 1.0, "hc", {"h": H0, "c": H0}], ids=describe)
def test_a_state_with_c_is_a_pair(layer, state):
    cls, options = LAYERS[layer]
    with pytest.raises(ValueError, match=r"state must be a pair \(h0, c0\)"):
        cls(3, 8, **options).forward(X, state=state)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", [(6,), (8,), (6, 9), (5, 8), (8, 6), (6, 1, 8), (6, 2, 8), (1, 8), ()])
def test_bad_shape_of_a_state(layer, shape):
    cls, options = LAYERS[layer]
    layer, bad = cls(3, 8, **options), np.zeros(shape)
    with pytest.raises(ValueError, match=r"h0 must have shape .*\(6, 8\)"):
        layer.forward(X, state=(bad, H0) if layer.cell.has_c else bad)
    layer.forward(X, training=True)
    with pytest.raises(ValueError, match=r"dh must have shape .*\(6, 8\)"):
        layer.backward(np.zeros((6, 5, 8)), (bad, H0) if layer.cell.has_c else bad)


@pytest.mark.parametrize("layer", LAYERS)
def test_bad_state_of_a_bidirectional_layer(layer):
    cls, options = LAYERS[layer]
    layer = cls(3, 8, bidirectional=True, **options)
    with pytest.raises(ValueError, match=r"h0 must have shape .*\(6, 2, 8\)"):
        layer.forward(X, state=(H0, H0) if layer.cell.has_c else H0)


@pytest.mark.parametrize("bad", [np.full((6, 8), 1j), np.full((6, 8), "a"), None, "h"], ids=describe)
def test_a_state_of_no_real_numbers(bad):
    with pytest.raises((ValueError, TypeError), match="h0"):
        GRU(3, 8).forward(X, state=(bad,))
    with pytest.raises((ValueError, TypeError), match="c0"):
        LSTM(3, 8).forward(X, state=(H0, bad))


def test_a_list_is_an_array_of_h():
    layer = RNN(3, 8, random_state=0)
    expected, _ = layer.forward(X, state=H0 + 0.5)
    assert np.array_equal(layer.forward(X, state=(H0 + 0.5).tolist())[0], expected)
    assert np.array_equal(layer.forward(X, state=(H0 + 0.5,))[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_parameter(kind):
    layer = recurrent_layer(kind, 3, 8, random_state=0)
    x = np.ones((2, 3, 3))
    y, _ = layer.forward(x)
    assert tuple(sorted(layer.directions[0].shapes)) == tuple(sorted(PARAMETERS[kind]))
    for name, shape in parameter_shapes(kind, 3, 8).items():
        before = getattr(layer, name).copy()
        assert before.shape == shape
        for bad in (before[:-1], before[None], before.T[..., None], 0.0, [], None, before.astype(complex), "wide"):
            with pytest.raises((ValueError, TypeError), match=name):
                setattr(layer, name, bad)
        with pytest.raises(ValueError, match=rf"{name} must have shape"):
            setattr(layer, name, np.concatenate([before, before]))
        for value in (np.nan, np.inf):
            with pytest.raises(ValueError, match=name):
                setattr(layer, name, np.full(shape, value))
        with pytest.raises(ValueError, match="read-only"):
            getattr(layer, name)[...] = 7
        assert np.array_equal(getattr(layer, name), before)
    assert np.array_equal(layer.forward(x)[0], y)


@pytest.mark.parametrize("kind", KINDS)
def test_assigning_a_parameter_takes_a_copy_that_the_next_pass_uses(kind):
    """Forward and backward, each of which keeps packed copies of its own."""
    problem = make_problem(Cell(kind), (4, 3, 3, 8))
    layer = build(problem, "float32")
    before = layer_results(layer, problem)
    for name, array in problem.parameters["forward"].items():
        value = array + 0.25
        changed = replace(problem, parameters={"forward": problem.parameters["forward"] | {name: value}})
        expected = layer_results(build(changed, "float32"), changed)
        assert not np.array_equal(expected["y"], before["y"]), name
        assert not np.array_equal(expected["dx"], before["dx"]), name
        setattr(layer, name, value)
        value[...] = 7
        assert_same_bits(layer_results(layer, problem), expected)
        setattr(layer, name, array)
        assert_same_bits(layer_results(layer, problem), before)


ALL_PARAMETERS = tuple({name: None for names in PARAMETERS.values() for name in names})


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_that_a_cell_does_not_have(kind):
    missing = set(ALL_PARAMETERS) - set(PARAMETERS[kind])
    assert missing
    one, two = (recurrent_layer(kind, 3, 4, bidirectional=both) for both in (False, True))
    for name in missing:
        for owner in (one.directions[0], two.forward_, two.backward_):
            with pytest.raises(AttributeError, match=f"a cell '{kind}' has no {name}"):
                getattr(owner, name)
            with pytest.raises(AttributeError, match=f"a cell '{kind}' has no {name}"):
                setattr(owner, name, np.zeros((3, 4)))
        for layer in (one, two):
            assert not hasattr(layer, name)


@pytest.mark.parametrize("kind", KINDS)
def test_assigning_a_parameter_that_a_cell_does_not_have(kind):
    for name in set(ALL_PARAMETERS) - set(PARAMETERS[kind]):
        for bidirectional in (False, True):
            with pytest.raises(AttributeError, match=name):
                setattr(recurrent_layer(kind, 3, 4, bidirectional=bidirectional), name, np.zeros((3, 4)))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_two_directions_are_theirs(kind):
    layer = recurrent_layer(kind, 3, 4, bidirectional=True)
    for name in PARAMETERS[kind]:
        with pytest.raises(AttributeError, match=rf"forward_.{name} and backward_.{name}"):
            setattr(layer, name, 0.0)
        with pytest.raises(AttributeError, match=name):
            getattr(layer, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_call_changes_nothing(kind):
    """backward still belongs to the last forward that worked."""
    problem = make_problem(Cell(kind), (6, 5, 3, 8))
    layer = build(problem, "float64")
    expected = layer_results(layer, problem)
    layer.forward(problem.x, training=True)
    with pytest.raises(ValueError, match=r"\bx\b"):
        layer.forward(problem.x[:, :, :2], training=True)
    with pytest.raises(ValueError, match="state must be"):
        layer.forward(problem.x, state=(H0, H0, H0), training=True)
    with pytest.raises(ValueError, match="dy must have shape"):
        layer.backward(problem.dy[:, :, :2])
    with pytest.raises(ValueError, match="state must be"):
        layer.backward(problem.dy, (H0, H0, H0))
    dx, _ = layer.backward(problem.dy)
    assert dx.tobytes() == expected["dx"].tobytes()
    with pytest.raises(RuntimeError, match="training=True"):
        layer.backward(problem.dy)


# ---- repr, pickle, copies -------------------------------------------------------------------------------------------
VARIETIES = [
    (cls, options | more)
    for cls, options in LAYERS.values()
    for more in (
        {}, {"activation": "relu", "clip": 1.5, "bidirectional": True}, {"reverse": True, "dtype": "float64", "clip": 2}
    )
] + [(LSTM, {"cell": kind, "recurrent_activation": "hard_sigmoid"}) for kind in WITH_C]  # fmt: skip


@pytest.mark.parametrize(("cls", "options"), VARIETIES, ids=str)
def test_repr_makes_the_layer_again(cls, options):
    layer = cls(3, 8, **options)
    again = eval(repr(layer), {cls.__name__: cls})
    assert repr(again) == repr(layer)
    for name in ("input_size", "hidden_size", "bidirectional", "reverse", "dtype"):
        assert getattr(again, name) == getattr(layer, name)
    assert again.cell.__reduce__() == layer.cell.__reduce__()


def test_repr_names_only_what_is_not_the_default():
    assert repr(LSTM(3, 8)) == "LSTM(3, 8, dtype='float32')"
    assert repr(GRU(3, 8, reset_after=False, clip=1)) == "GRU(3, 8, reset_after=False, clip=1.0, dtype='float32')"
    assert repr(RNN(3, 8, activation="relu", reverse=True)) == (
        "RNN(3, 8, activation='relu', reverse=True, dtype='float32')"
    )
    assert repr(LSTM(3, 8, cell="lstm-peephole")) == "LSTM(3, 8, cell='lstm-peephole', dtype='float32')"


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_have_the_same_bits_and_their_own_weights(kind, how):
    cell = Cell(kind, "relu", "hard_sigmoid", 1.5)
    problem = make_problem(cell, (6, 5, 3, 9), "bidirectional", states=True)
    layer = build(problem, "float64")
    expected = layer_results(layer, problem)
    twin = how(layer)
    assert repr(twin) == repr(layer)
    assert_same_bits(layer_results(twin, problem), expected)
    twin.backward_.bias = np.zeros_like(twin.backward_.bias)
    assert not np.array_equal(twin.forward(problem.x)[0], expected["y"])
    assert_same_bits(layer_results(layer, problem), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_can_be_pickled(kind):
    cell = _core.Cell(kind, "elu", "hard_sigmoid", 2)
    twin = pickle.loads(pickle.dumps(cell))
    for name in ("name", "activation", "recurrent_activation", "clip", "has_c", "kernel_gates", "bias_gates"):
        assert getattr(twin, name) == getattr(cell, name)
    assert copy.copy(cell).clip == 2.0


def test_the_core_and_the_reference_name_the_same():
    assert set(_core.CELLS) == set(KINDS)
    with pytest.raises(ValueError, match="cell must be one of"):
        _core.Cell("lstm-none")


# ---- initial weights ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights(kind):
    F, H = 5, 12
    layer = recurrent_layer(kind, F, H, bidirectional=True, dtype="float64", random_state=0)
    for direction in layer.directions:
        for gate, block in enumerate(np.split(direction.bias, len(PARAMETERS[kind]["bias"]))):
            name = PARAMETERS[kind]["bias"][gate]
            if kind == "lstm-cell-recurrent" and name == "g":
                assert 0 < np.abs(block).min() <= np.abs(block).max() <= 0.5  # with 0, c would stay 0
            else:
                assert (block == (name == "f")).all()
        blocks = np.split(direction.kernel, len(PARAMETERS[kind]["kernel"]), axis=1)
        limit = np.sqrt(6 / (F + H))
        for block in blocks:
            assert np.abs(block).max() <= limit
            assert block.std() == pytest.approx(limit / np.sqrt(3), rel=0.3)
        for name in {"recurrent_kernel", "peephole_kernel"} & set(PARAMETERS[kind]):
            for block in np.split(getattr(direction, name), len(PARAMETERS[kind][name]), axis=1):
                np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-12)
        for name in {"peephole", "recurrent_bias"} & set(PARAMETERS[kind]):
            assert not getattr(direction, name).any()
    forward, backward = layer.directions
    assert not np.array_equal(forward.kernel, backward.kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_says_which_weights(kind):
    first, same, other = (recurrent_layer(kind, 5, 7, random_state=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.kernel, same.kernel)
    assert np.array_equal(first.recurrent_kernel, same.recurrent_kernel)
    assert not np.array_equal(first.kernel, other.kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_packing_on_any_number_of_threads(kind):
    direction = recurrent_layer(kind, 60, 128, random_state=0).directions[0]  # enough for threads

    def packed(n_threads):
        direction.forget_packed()
        arrays = [direction.packed_forward(n_threads)]
        operands = ["x", "h"] + ["extra"] * (direction.cell.reads_c or direction.cell.two_phases)
        return arrays + [direction.packed_transposed(operand, n_threads) for operand in operands]

    for one, three in zip(packed(1), packed(3), strict=True):
        np.testing.assert_array_equal(three, one)
