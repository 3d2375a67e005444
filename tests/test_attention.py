"""Additive attention: against the reference below, finite differences, and whatever must not matter.

Legend: pair r has T_q queries and T_k keys; D units, Q and E columns of queries and keys.
"""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from gradients import central_differences

from lstmfast import _core
from lstmfast.layers import AdditiveAttention, Pairs

DTYPES = ["float32", "float64"]
# units, query size, key size: 1, and one off every vector, two vectors and four
SIZES = [(1, 1, 1), (3, 2, 5), (4, 3, 4), (7, 5, 9), (8, 4, 15), (9, 3, 16), (15, 2, 17), (16, 6, 31), (17, 7, 33)]
SIZES += [(33, 4, 63), (63, 3, 65), (64, 5, 64), (65, 2, 130)]
LENGTHS = [(1, 1), (1, 7), (5, 1), (3, 4), (4, 3), (9, 6), (2, 19)]  # (T_q, T_k): each below and above four


# ---- the reference: one pair, float64, one query after the other ----------------------------------------------------
def reference(parameters, queries, keys):
    """weights (T_q, T_k), context (T_q, E)."""
    query_kernel, key_kernel, scale = (np.asarray(p, np.float64) for p in parameters)
    weights = np.empty((len(queries), len(keys)))
    for t, q in enumerate(queries):
        scores = np.array([scale @ np.tanh(q @ query_kernel + k @ key_kernel) for k in keys])
        exponentials = np.exp(scores - scores.max())
        weights[t] = exponentials / exponentials.sum()
    return weights, weights @ keys


def reference_gradients(parameters, queries, keys, dcontext):
    """dquery_kernel, dkey_kernel, dscale, dqueries, dkeys."""
    query_kernel, key_kernel, scale = (np.asarray(p, np.float64) for p in parameters)
    weights, _ = reference(parameters, queries, keys)
    gradients = [np.zeros(np.shape(p)) for p in (*parameters, queries, keys)]
    dquery_kernel, dkey_kernel, dscale, dqueries, dkeys = gradients
    for t, q in enumerate(queries):
        dweights = keys @ dcontext[t]
        dscores = weights[t] * (dweights - weights[t] @ dweights)
        for s, k in enumerate(keys):
            tanh = np.tanh(q @ query_kernel + k @ key_kernel)
            dz = dscores[s] * scale * (1 - tanh**2)
            dscale += dscores[s] * tanh
            dquery_kernel += np.outer(q, dz)
            dkey_kernel += np.outer(k, dz)
            dqueries[t] += query_kernel @ dz
            dkeys[s] += key_kernel @ dz + weights[t, s] * dcontext[t]
    return gradients


# ---- problems -------------------------------------------------------------------------------------------------------
def starts(lengths):
    return np.cumsum(lengths) - lengths


class Problem:
    """A layer, packed queries and keys, pairs, and dcontext."""

    def __init__(self, sizes=(5, 3, 4), dtype="float64", lengths=LENGTHS, scale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        units, query_size, key_size = sizes
        self.layer = AdditiveAttention(query_size, key_size, units, dtype=dtype, random_state=seed)
        self.layer.scale = rng.normal(size=units)
        q_lengths, k_lengths = (np.array(column) for column in zip(*lengths, strict=True))
        self.pairs = Pairs(starts(q_lengths), q_lengths, starts(k_lengths), k_lengths)
        self.q_rows = [slice(a, a + n) for a, n in zip(starts(q_lengths), q_lengths, strict=True)]
        self.k_rows = [slice(a, a + n) for a, n in zip(starts(k_lengths), k_lengths, strict=True)]
        self.queries = rng.normal(scale=scale, size=(q_lengths.sum(), query_size)).astype(dtype)
        self.keys = rng.normal(scale=scale, size=(k_lengths.sum(), key_size)).astype(dtype)
        self.dcontext = rng.normal(size=(q_lengths.sum(), key_size)).astype(dtype)

    @property
    def parameters(self):
        return [self.layer.query_kernel, self.layer.key_kernel, self.layer.scale]

    def run(self, n_threads=1):
        """context, weights, and the gradients in the reference's order."""
        layer = self.layer
        for grad in layer.grads.values():
            grad[...] = 0
        context, tape = layer.forward(self.queries, self.keys, self.pairs, training=True, n_threads=n_threads)
        gradients = layer.backward(tape, self.dcontext, n_threads)
        return context, tape.weights, [*(layer.grads[name].copy() for name in layer.shapes), *gradients]


def assert_close(actual, expected, dtype, factor=60):
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * np.finfo(dtype).eps * scale)


def check_against_reference(problem, factor=60):
    dtype = problem.queries.dtype
    context, weights, gradients = problem.run()
    matrices, sums = problem.pairs.split(weights), [np.zeros(p.shape) for p in problem.parameters]
    for r, (q, k) in enumerate(zip(problem.q_rows, problem.k_rows, strict=True)):
        queries, keys = problem.queries[q].astype(np.float64), problem.keys[k].astype(np.float64)
        expected_weights, expected_context = reference(problem.parameters, queries, keys)
        assert_close(matrices[r], expected_weights, dtype, factor)
        assert_close(context[q], expected_context, dtype, factor)
        expected = reference_gradients(problem.parameters, queries, keys, problem.dcontext[q].astype(np.float64))
        assert_close(gradients[3][q], expected[3], dtype, factor)
        assert_close(gradients[4][k], expected[4], dtype, factor)
        for total, part in zip(sums, expected, strict=False):
            total += part
    for gradient, expected in zip(gradients, sums, strict=False):
        assert_close(gradient, expected, dtype, factor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_agrees_with_the_reference(sizes, dtype):
    check_against_reference(Problem(sizes, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [30, 1000])
@pytest.mark.parametrize("sizes", [(5, 3, 4), (33, 3, 4)], ids=str)
def test_projections_past_what_the_exponentials_hold(sizes, scale, dtype):
    """Of some queries and keys only, so that the two ways meet within a pair; queries and keys may cancel."""
    problem = Problem(sizes, dtype, seed=1)
    far = np.random.default_rng(0).random(len(problem.queries)) < 0.4
    limit = {"float32": 20, "float64": 175}[dtype]
    problem.queries[far] *= scale * limit / 20
    problem.keys[problem.k_rows[3]] *= scale * limit / 20
    assert np.abs(problem.queries @ problem.layer.query_kernel).max() > limit
    problem.keys[problem.k_rows[5]] *= scale * limit / 20
    rounding = 60 * max(1, np.abs(problem.queries).max(), np.abs(problem.keys).max())  # of the projections
    check_against_reference(problem, rounding)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_queries_and_keys_may_cancel(dtype):
    layer = AdditiveAttention(1, 1, 1, dtype=dtype)
    layer.query_kernel, layer.key_kernel, layer.scale = [[1.0]], [[1.0]], [2.0]
    pairs, one = Pairs(*(np.array([n]) for n in (0, 1, 0, 3))), np.ones((1, 1), dtype)
    keys = np.array([[-1001.0], [-1000.0], [-999.5]], dtype)
    _, tape = layer.forward(1000 * one, keys, pairs)
    scores = 2 * np.tanh([-1, 0, 0.5])
    np.testing.assert_allclose(tape.weights, np.exp(scores) / np.exp(scores).sum(), rtol=8 * np.finfo(dtype).eps)


def test_gradients_agree_with_finite_differences():
    problem = Problem((9, 3, 5), lengths=[(1, 3), (3, 2), (5, 6)])
    _, _, gradients = problem.run()
    gradients = [gradient.copy() for gradient in gradients]
    layer = problem.layer
    arrays = [*(layer.arrays[name] for name in layer.shapes), problem.queries, problem.keys]

    def loss():
        layer.forget_packed()
        context, _ = layer.forward(problem.queries, problem.keys, problem.pairs)
        return (context * problem.dcontext).sum()

    for array, gradient in zip(arrays, gradients, strict=True):
        np.testing.assert_allclose(gradient, central_differences(loss, array), rtol=1e-6, atol=1e-8)


def test_weights_of_a_query_sum_to_one_and_one_key_gets_all():
    for dtype in DTYPES:
        problem = Problem((16, 3, 4), dtype)
        _, weights, _ = problem.run()
        for matrix, (_, n_keys) in zip(problem.pairs.split(weights), LENGTHS, strict=True):
            np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=n_keys * np.finfo(dtype).eps)
            assert n_keys > 1 or (matrix == 1).all()


# ---- what must not matter -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(5, 3, 4), (33, 4, 65)], ids=str)
def test_bit_for_bit_alone_and_in_any_order(sizes, dtype):
    problem = Problem(sizes, dtype)
    context, weights, gradients = problem.run()
    matrices = problem.pairs.split(weights)
    layer, order = problem.layer, np.random.default_rng(0).permutation(len(LENGTHS))
    for rows in [[r] for r in range(len(LENGTHS))] + [list(order)]:
        q_first, q_lengths = (np.array([getattr(problem.q_rows[r], at) for r in rows]) for at in ("start", "stop"))
        k_first, k_lengths = (np.array([getattr(problem.k_rows[r], at) for r in rows]) for at in ("start", "stop"))
        pairs = Pairs(q_first, q_lengths - q_first, k_first, k_lengths - k_first)
        own, tape = layer.forward(problem.queries, problem.keys, pairs, training=True)
        dqueries, dkeys = layer.backward(tape, problem.dcontext)
        for r, matrix in zip(rows, pairs.split(tape.weights), strict=True):
            q, k = problem.q_rows[r], problem.k_rows[r]
            assert matrix.tobytes() == matrices[r].tobytes()
            assert own[q].tobytes() == context[q].tobytes()
            assert dqueries[q].tobytes() == gradients[3][q].tobytes()
            assert dkeys[k].tobytes() == gradients[4][k].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bit_for_bit_on_any_number_of_threads(dtype):
    lengths = [(40, 30), (1, 2), (25, 60), (3, 3), (50, 50), (7, 41)]  # enough work for many threads
    problem = Problem((70, 33, 50), dtype, lengths)
    context, weights, gradients = problem.run()
    for n_threads in (2, 3, 8):
        others = problem.run(n_threads)
        assert others[0].tobytes() == context.tobytes()
        assert others[1].tobytes() == weights.tobytes()
        assert [g.tobytes() for g in others[2]] == [g.tobytes() for g in gradients]


@pytest.mark.parametrize("dtype", DTYPES)
def test_query_after_query_over_shared_keys_is_forward_bit_for_bit(dtype):
    """What a beam does: several hypotheses of one source, its keys projected once."""
    problem = Problem((17, 3, 5), dtype)
    context, _, _ = problem.run()
    layer, projected = problem.layer, problem.layer.project_keys(problem.keys)
    for r in (3, 5):
        q, k = problem.q_rows[r], problem.k_rows[r]
        n = q.stop - q.start
        every = np.full(n, 1)
        pairs = Pairs(np.arange(n), every, k.start * every, (k.stop - k.start) * every)
        queries = problem.queries[q]
        stepwise, _ = layer.forward(queries, problem.keys, pairs, keys_projected=projected)
        assert stepwise.tobytes() == context[q].tobytes()
        some = np.arange(k.start, k.stop)
        pairs = Pairs(np.arange(n), every, 0 * every, (k.stop - k.start) * every)
        taken, _ = layer.forward(queries, problem.keys[some], pairs, keys_projected=projected.take(some))
        assert taken.tobytes() == context[q].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_stays_in_its_pair(bad, dtype):
    problem = Problem((17, 3, 5), dtype)
    context, _, gradients = problem.run()
    q, k = problem.q_rows[3], problem.k_rows[3]
    problem.keys[k.start + 1, 2] = bad
    spoilt, _, others = problem.run()
    assert not np.isfinite(spoilt[q]).all(axis=1).any()
    outside = np.setdiff1d(np.arange(len(context)), np.r_[q])
    assert spoilt[outside].tobytes() == context[outside].tobytes()
    assert others[3][outside].tobytes() == gradients[3][outside].tobytes()


def test_rows_in_no_pair_are_zero_and_gradients_add_up():
    problem = Problem()
    layer, dcontext = problem.layer, problem.dcontext
    pairs = Pairs(*(np.array([n]) for n in (1, 5, 8, 1)))  # five queries and a key amid the others
    context, tape = layer.forward(problem.queries, problem.keys, pairs, training=True)
    assert not context[[0, *range(6, len(context))]].any()
    assert context[1:6].all()
    dqueries, dkeys = layer.backward(tape, dcontext)
    assert not dqueries[[0, *range(6, len(context))]].any()
    assert dkeys.any(axis=1).nonzero()[0].tolist() == [8]
    problem.run()  # from 0
    once = {name: grad.copy() for name, grad in layer.grads.items()}
    _, tape = layer.forward(problem.queries, problem.keys, problem.pairs, training=True)
    layer.backward(tape, dcontext)
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(grad, 2 * once[name], rtol=1e-12, atol=1e-14)


# ---- the layer ------------------------------------------------------------------------------------------------------
def test_parameters():
    layer = AdditiveAttention(3, 4, 5, dtype="float64", random_state=0)
    assert repr(layer) == "AdditiveAttention(3, 4, 5, dtype='float64')"
    assert {name: array.shape for name, array in layer.arrays.items()} == {
        "query_kernel": (3, 5), "key_kernel": (4, 5), "scale": (5,),
    }  # fmt: skip
    assert np.abs(layer.query_kernel).max() <= np.sqrt(6 / 8)
    assert np.abs(layer.key_kernel).max() <= np.sqrt(6 / 9)
    assert np.abs(layer.scale).max() <= 1
    assert all(array.std() > 0 for array in layer.arrays.values())
    with pytest.raises(ValueError, match=r"scale must have shape \(5,\)"):
        layer.scale = [1.0]
    with pytest.raises(ValueError, match="units must be at least 1"):
        AdditiveAttention(3, 4, 0)


@pytest.mark.parametrize("name", ["query_kernel", "key_kernel", "scale"])
def test_a_new_parameter_is_used_at_once(name):
    problem = Problem()
    before = problem.run()
    setattr(problem.layer, name, 2 * getattr(problem.layer, name))
    assert not np.array_equal(problem.run()[1], before[1])
    check_against_reference(problem)


def test_copies_compute_the_same():
    problem = Problem()
    expected = problem.run()[0]
    for layer in (copy.deepcopy(problem.layer), pickle.loads(pickle.dumps(problem.layer))):
        context, _ = layer.forward(problem.queries, problem.keys, problem.pairs)
        assert context.tobytes() == expected.tobytes()


# ---- bad arguments --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [1, 1], [0, 1], [1]), "must have one shape"),
        (([], [], [], []), "at least one pair"),
        (([-1], [1], [0], [1]), r"q_first must be at least 0, got q_first\[0\] = -1"),
        (([0], [1], [-5], [1]), r"k_first must be at least 0, got k_first\[0\] = -5"),
        (([2**62], [1], [0], [1]), "q_first must"),
        (([0], [0], [0], [1]), r"q_lengths must be at least 1 .* got q_lengths\[0\] = 0"),
        (([0], [1], [0], [2**40]), "k_lengths must be at least 1 and below"),
        (([0, 1], [2, 2], [0, 5], [1, 1]), "a row of the queries must not be in two pairs"),
        (([4, 0, 3], [2, 2, 2], [0, 5, 6], [1, 1, 1]), "a row of the queries must not be in two pairs"),
        (([0, 2**31], [2**31 - 1] * 2, [0, 0], [2**31 - 1] * 2), "more than"),
    ],
)
def test_bad_pairs(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pairs(*(np.array(a, np.int64) for a in arguments))


def test_pairs_keep_their_own_copy():
    arrays = [np.array(a) for a in ([0], [1], [0], [1])]
    pairs = Pairs(*arrays)
    for array in arrays:
        array[...] = 10**9
    problem = Problem()
    context, _ = problem.layer.forward(problem.queries, problem.keys, pairs)
    assert np.isfinite(context).all()
    with pytest.raises(ValueError, match="mismatch"):
        Pairs(*(array.astype(np.int32) for array in arrays))


def test_shared_keys_have_no_backward():
    problem = Problem()
    pairs = Pairs(np.array([0, 1]), np.array([1, 1]), np.array([0, 2]), np.array([3, 1]))
    problem.layer.forward(problem.queries, problem.keys, pairs)
    with pytest.raises(ValueError, match="a row of the keys is in two pairs"):
        problem.layer.forward(problem.queries, problem.keys, pairs, training=True)
    _, tape = problem.layer.forward(problem.queries, problem.keys, problem.pairs)
    with pytest.raises(ValueError, match="training=True"):
        problem.layer.backward(tape, problem.dcontext)


def door_arguments():
    """Good ones, of both functions: D = 5, E = 4, 3 queries and 6 keys."""
    padded = -(-5 // _core.lanes(True)) * _core.lanes(True)
    pairs = Pairs(*(np.array(a) for a in ([0, 2], [2, 1], [0, 4], [4, 2])))
    read = {
        "pairs": pairs, "queries": np.ones((3, 5)), "q_odds": np.ones((3, padded)), "keys": np.ones((6, 5)),
        "k_odds": np.ones((6, padded)), "scale": np.ones(padded), "values": np.ones((6, 4)), "weights": np.ones(10),
        "n_units": 5, "n_values": 4, "float64": True,
    }  # fmt: skip
    written = {
        "dcontext": np.ones((3, 4)), "dscores": np.ones(10), "dqueries": np.ones((3, padded)),
        "dkeys": np.ones((6, padded)), "dvalues": np.ones((6, 4)), "dscale": np.ones((2, padded)),
    }  # fmt: skip
    return {"forward": read | {"context": np.ones((3, 4))}, "backward": read | written}


@pytest.mark.parametrize("function", ["forward", "backward"])
def test_the_door_checks_every_array(function):
    call = getattr(_core, f"attention_{function}")
    call(**door_arguments()[function])
    for name, good in door_arguments()[function].items():
        if not isinstance(good, np.ndarray):
            continue
        if name != "weights" or function == "forward":
            wrong = good[:-1].copy()
            with pytest.raises(ValueError, match=r"must have shape|reach to row"):
                call(**door_arguments()[function] | {name: wrong})
        for bad, error in [
            (good.astype(np.float32), TypeError), (None, TypeError), (np.ones((2, 2, 2)), ValueError),
            (np.repeat(good, 2, axis=-1)[..., ::2], ValueError), (good[..., :-1].copy(), ValueError),
        ]:  # fmt: skip
            with pytest.raises(error):
                call(**door_arguments()[function] | {name: bad})
    for change in ({"n_units": 0}, {"n_units": 6}, {"n_values": 3}, {"n_values": 2**40}, {"n_threads": 0}):
        with pytest.raises(ValueError, match="must"):
            call(**door_arguments()[function] | change)
    with pytest.raises(TypeError, match="pairs"):
        call(**door_arguments()[function] | {"pairs": None})


def test_pairs_must_lie_within_the_rows():
    problem = Problem()
    for end, message in [((0, 99, 0, 1), "row 99 of the queries"), ((0, 1, 40, 9), "and 49 of the keys")]:
        pairs = Pairs(*(np.array([n]) for n in end))
        with pytest.raises(ValueError, match=message):
            problem.layer.forward(problem.queries, problem.keys, pairs)


def test_split_checks_its_weights():
    with pytest.raises(ValueError, match=r"weights must have shape \(1,\)"):
        Pairs(*(np.array([n]) for n in (0, 1, 0, 1))).split(np.ones(2))


# ---- every instruction set ------------------------------------------------------------------------------------------
CORE = (
    test_agrees_with_the_reference,
    test_projections_past_what_the_exponentials_hold,
    test_far_queries_and_keys_may_cancel,
    test_gradients_agree_with_finite_differences,
    test_bit_for_bit_alone_and_in_any_order,
    test_bit_for_bit_on_any_number_of_threads,
    test_query_after_query_over_shared_keys_is_forward_bit_for_bit,
    test_a_bad_number_stays_in_its_pair,
)


@pytest.mark.parametrize("isa", [isa for isa in _core.available_isas() if isa != _core.isa()])
def test_attention_on_every_other_instruction_set(isa):
    tests = [f"{__file__}::{test.__name__}" for test in CORE]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"LSTMFAST_ISA": isa, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
