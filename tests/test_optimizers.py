"""Solvers against a plain NumPy transcription of the papers' formulas; clipping, weight penalty, schedules."""

import math
from itertools import pairwise

import numpy as np
import pytest
from reference import penalty as reference_penalty

from lstmfast import LSTMRegressor, _core
from lstmfast.network import Network
from lstmfast.optimizers import SCHEDULES, SOLVERS, Optimizer, scheduled_rate
from lstmfast.sequences import check_sequences

N_STEPS = 20
ARGUMENTS = {
    "solver": "sgd", "alpha": 0.0, "l1_ratio": 0.0, "clip_norm": None, "momentum": 0.9, "nesterovs_momentum": True,
    "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8,
}  # fmt: skip
RTOL = {"float32": 2e-6, "float64": 1e-12}


class Parameters:
    """What an Optimizer needs of a network: n flat parameters, the first n_penalised of them weights."""

    def __init__(self, n, n_penalised, dtype, seed=0):
        self.parameters = np.random.default_rng(seed).normal(size=n).astype(dtype)
        self.gradients = np.zeros(n, dtype)
        self.n_penalised, self.n_dense, self.n_trained, self.tables = n_penalised, n, n, []
        self.float64 = dtype == "float64"
        self.n_changes = 0

    def parameters_changed(self):
        self.n_changes += 1


def gradients_of_steps(n, dtype, n_steps=N_STEPS):
    """Of very different sizes, and 0 at times."""
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(n_steps, n)) * 10 ** rng.uniform(-4, 1, (n_steps, n))
    gradients[:, ::7] = 0
    return gradients.astype(dtype)


def rates(n_steps=N_STEPS):
    return [0.05 / (1 + step / 7) for step in range(n_steps)]


def run(parameters, **arguments):
    """The parameters after each step."""
    optimizer, after = Optimizer(parameters, **ARGUMENTS | arguments), []
    dtype = parameters.parameters.dtype
    for gradient, rate in zip(gradients_of_steps(len(parameters.parameters), dtype), rates(), strict=True):
        parameters.gradients[...] = gradient
        norm, _ = optimizer.penalise(parameters)
        optimizer.step(parameters, rate, norm)
        after.append(parameters.parameters.copy())
    return np.array(after)


# ---- the papers' formulas, in float64 -------------------------------------------------------------------------------
def momentum_sgd(w, gradients, momentum):
    """v = mu v - lr g;  w = w + v. With mu = 0: w = w - lr g."""
    v = 0
    for g, rate in zip(gradients, rates(), strict=True):
        v = momentum * v - rate * g
        w = w + v
        yield w


def nesterov_sgd(w, gradients, momentum):
    """Sutskever et al. 2013, equations 3 and 4, v = mu v - lr g(w + mu v);  w = w + v, where the parameters that are
    stored, and have the gradients g, are w + mu v."""
    v, w = 0, w.copy()
    for g, rate in zip(gradients, rates(), strict=True):
        v = momentum * v - rate * g
        w = w + v
        yield w + momentum * v


def rmsprop(w, gradients, rho, epsilon):
    """Tieleman & Hinton 2012: s = rho s + (1 - rho) g^2;  w = w - lr g / (sqrt(s) + eps)."""
    s = 0
    for g, rate in zip(gradients, rates(), strict=True):
        s = rho * s + (1 - rho) * g**2
        w = w - rate * g / (np.sqrt(s) + epsilon)
        yield w


def adam(w, gradients, beta_1, beta_2, epsilon, decay=0.0):
    """Kingma & Ba 2015, algorithm 1; with decay (of each parameter) Loshchilov & Hutter 2019, algorithm 2."""
    m = v = 0
    for t, (g, rate) in enumerate(zip(gradients, rates(), strict=True), 1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        w = w - rate * (m_hat / (np.sqrt(v_hat) + epsilon) + decay * w)
        yield w


N_PENALISED = 13
DECAY = 0.3
SOLVER_CASES = {
    "sgd": ({"momentum": 0.0}, lambda w, g: momentum_sgd(w, g, 0.0)),
    "sgd plain momentum": ({"nesterovs_momentum": False}, lambda w, g: momentum_sgd(w, g, 0.9)),
    "sgd nesterov": ({"momentum": 0.7}, lambda w, g: nesterov_sgd(w, g, 0.7)),
    "sgd nesterov without momentum": (
        {"momentum": 0.0, "nesterovs_momentum": True},
        lambda w, g: momentum_sgd(w, g, 0.0),
    ),
    "rmsprop": ({"beta_2": 0.9}, lambda w, g: rmsprop(w, g, 0.9, 1e-8)),
    "rmsprop large epsilon": ({"beta_2": 0.99, "epsilon": 0.1}, lambda w, g: rmsprop(w, g, 0.99, 0.1)),
    "adam": ({}, lambda w, g: adam(w, g, 0.9, 0.999, 1e-8)),
    "adam other betas": ({"beta_1": 0.5, "beta_2": 0.8}, lambda w, g: adam(w, g, 0.5, 0.8, 1e-8)),
    "adam large epsilon": ({"epsilon": 0.1}, lambda w, g: adam(w, g, 0.9, 0.999, 0.1)),
    "adam without averages": ({"beta_1": 0.0, "beta_2": 0.0}, lambda w, g: adam(w, g, 0.0, 0.0, 1e-8)),
    "adamw": (
        {"alpha": DECAY},
        lambda w, g: adam(w, g, 0.9, 0.999, 1e-8, np.where(np.arange(len(w)) < N_PENALISED, DECAY, 0)),
    ),
}


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("n", [N_PENALISED, 16, 17, 67])
@pytest.mark.parametrize("name", SOLVER_CASES)
def test_steps(name, n, dtype):
    arguments, formula = SOLVER_CASES[name]
    parameters = Parameters(n, N_PENALISED, dtype)
    start = parameters.parameters.astype(np.float64)
    actual = run(parameters, solver=name.split()[0], **arguments)
    expected = np.array(list(formula(start, gradients_of_steps(n, dtype).astype(np.float64))))
    assert actual.dtype == dtype
    assert np.abs(expected[-1] - start).max() > 0.1  # it went somewhere
    np.testing.assert_allclose(actual, expected, rtol=0, atol=RTOL[dtype] * np.abs(expected).max())
    assert parameters.n_changes == N_STEPS


def test_every_solver_is_tested():
    assert {name.split()[0] for name in SOLVER_CASES} == set(SOLVERS)


@pytest.mark.parametrize("dtype", RTOL)
def test_adamw_leaves_biases_alone(dtype):
    network = Network(2, (3,), 2, dense_layer_sizes=(4,), dtype=dtype)
    network.initialize(np.random.default_rng(0))
    network.parameters[...] += 1
    before = {name: array.copy() for name, array in network.named_parameters().items()}
    optimizer = Optimizer(network, **ARGUMENTS | {"solver": "adamw", "alpha": 0.5})
    norm, penalty = optimizer.penalise(network)  # gradients of 0
    assert norm == penalty == 0
    optimizer.step(network, 0.1, norm)
    for name, array in network.named_parameters().items():
        factor = 1 if name.endswith("bias") else 1 - 0.1 * 0.5
        np.testing.assert_allclose(array, before[name] * factor, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
def test_adamw_decouples_the_l2_part_only(l1_ratio):
    """Its L1 part is a gradient as for any other solver."""
    alpha = 0.3
    parameters, plain = Parameters(29, N_PENALISED, "float64"), Parameters(29, N_PENALISED, "float64")
    actual = run(parameters, solver="adamw", alpha=alpha, l1_ratio=l1_ratio)
    optimizer = Optimizer(plain, **ARGUMENTS | {"solver": "adam", "alpha": alpha * l1_ratio, "l1_ratio": 1.0})
    for gradient, rate, expected in zip(gradients_of_steps(29, "float64"), rates(), actual, strict=True):
        shrunk = plain.parameters[:N_PENALISED] * (1 - rate * alpha * (1 - l1_ratio))
        plain.gradients[...] = gradient
        norm, _ = optimizer.penalise(plain)
        plain.parameters[:N_PENALISED] = shrunk
        optimizer.step(plain, rate, norm)
        np.testing.assert_allclose(plain.parameters, expected, rtol=1e-12)


def test_the_network_uses_the_new_weights_after_a_step():
    """Its kernels read packed copies."""
    network = Network(2, (3,), 1, dtype="float64")
    network.initialize(np.random.default_rng(0))
    sequences = check_sequences(np.ones((1, 4, 2)), dtype=np.float64)
    before = network.outputs(sequences)
    optimizer = Optimizer(network, **ARGUMENTS)
    network.gradients[...] = 1
    optimizer.step(network, 0.1, 1.0)
    fresh = Network(**network.config)
    fresh.parameters[...] = network.parameters
    assert network.outputs(sequences) != before
    assert network.outputs(sequences) == fresh.outputs(sequences)


# ---- clipping -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("clip_norm", [0.5, 12.0, 1e9, None])
def test_clipping(clip_norm, solver, dtype):
    """The same as without clipping on gradients scaled to the norm beforehand; shorter ones stay as they are."""
    n = 35
    arguments = {"momentum": 0.8, "nesterovs_momentum": True, "beta_2": 0.9}
    parameters = Parameters(n, N_PENALISED, dtype)
    start = parameters.parameters.astype(np.float64)
    actual = run(parameters, solver=solver, clip_norm=clip_norm, **arguments)
    gradients = gradients_of_steps(n, dtype).astype(np.float64)
    if clip_norm is not None:
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        assert clip_norm != 12 or ((norms < 12).any() and ((norms > 12) & (norms < 18)).any())
        gradients = gradients * np.minimum(1, clip_norm / norms)
    formula = {
        "sgd": lambda: nesterov_sgd(start, gradients, 0.8),
        "rmsprop": lambda: rmsprop(start, gradients, 0.9, 1e-8),
        "adam": lambda: adam(start, gradients, 0.9, 0.9, 1e-8),
    }
    expected = np.array(list(formula[solver]()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=RTOL[dtype] * np.abs(expected).max())


def test_clipping_counts_the_penalty():
    """The norm is that of the whole gradient, penalty and biases included."""
    parameters = Parameters(20, N_PENALISED, "float64")
    optimizer = Optimizer(parameters, **ARGUMENTS | {"alpha": 2.0, "clip_norm": 1.0, "momentum": 0.0})
    parameters.gradients[...] = gradient = gradients_of_steps(20, "float64")[0]
    start = parameters.parameters.copy()
    whole = gradient + 2 * np.where(np.arange(20) < N_PENALISED, start, 0)
    norm, _ = optimizer.penalise(parameters)
    assert norm == pytest.approx(np.linalg.norm(whole), rel=1e-14)
    optimizer.step(parameters, 0.5, norm)
    np.testing.assert_allclose(parameters.parameters, start - 0.5 * whole / norm, rtol=1e-13)
    assert np.linalg.norm(parameters.parameters - start) == pytest.approx(0.5, rel=1e-13)


# ---- penalty --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("n", "n_penalised"), [(1, 1), (5, 0), (16, 16), (17, 16), (40, 33), (100, 97)])
def test_penalty(n, n_penalised, l1_ratio, dtype):
    parameters = Parameters(n, n_penalised, dtype)
    parameters.parameters[::5] = 0  # the L1 part's subgradient is 0 there
    w, alpha = parameters.parameters.astype(np.float64), 0.7
    parameters.gradients[...] = before = gradients_of_steps(n, dtype)[0]
    optimizer = Optimizer(parameters, **ARGUMENTS | {"alpha": alpha, "l1_ratio": l1_ratio})
    norm, penalty = optimizer.penalise(parameters)
    value, added = reference_penalty({"weights": w[:n_penalised]}, alpha, l1_ratio)
    expected = before + np.concatenate([added["weights"], np.zeros(n - n_penalised)])
    assert penalty == pytest.approx(value, rel=1e-6 if dtype == "float32" else 1e-14)
    np.testing.assert_allclose(parameters.gradients, expected, rtol=RTOL[dtype], atol=RTOL[dtype])
    assert norm == pytest.approx(np.linalg.norm(parameters.gradients.astype(np.float64)), rel=1e-14)


def test_no_penalty_changes_nothing():
    parameters = Parameters(40, 33, "float64")
    parameters.gradients[...] = before = gradients_of_steps(40, "float64")[0]
    norm, penalty = Optimizer(parameters, **ARGUMENTS).penalise(parameters)
    assert penalty == 0
    assert parameters.gradients.tolist() == before.tolist()
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-14)


def test_norm_of_large_float32_gradients_does_not_overflow():
    parameters = Parameters(40, 33, "float32")
    parameters.gradients[...] = 1e30
    norm, _ = Optimizer(parameters, **ARGUMENTS).penalise(parameters)
    assert norm == pytest.approx(1e30 * math.sqrt(40), rel=1e-6)


# ---- going on -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", SOLVERS)
def test_going_on_from_moments_is_as_if_never_interrupted(solver):
    whole, parts = Parameters(23, N_PENALISED, "float64"), Parameters(23, N_PENALISED, "float64")
    arguments = ARGUMENTS | {"solver": solver, "alpha": 0.1}
    expected = run(whole, **arguments)
    optimizer = Optimizer(parts, **arguments)
    for step, (gradient, rate) in enumerate(zip(gradients_of_steps(23, "float64"), rates(), strict=True)):
        if step == 11:
            earlier, optimizer = optimizer, Optimizer(parts, **arguments)
            optimizer.go_on_from(earlier)
            kept = earlier.first.copy(), earlier.second.copy()
        parts.gradients[...] = gradient
        optimizer.step(parts, rate, optimizer.penalise(parts)[0])
        assert parts.parameters.tolist() == expected[step].tolist()
    assert (kept[0] == earlier.first).all()  # the earlier one is a fitted estimator's
    assert (kept[1] == earlier.second).all()


@pytest.mark.parametrize("change", [{"solver": "rmsprop"}, {"solver": "sgd"}])
def test_other_solvers_start_anew(change):
    parameters = Parameters(23, N_PENALISED, "float64")
    adam_optimizer = Optimizer(parameters, **ARGUMENTS | {"solver": "adam"})
    parameters.gradients[...] = 1
    adam_optimizer.step(parameters, 0.1, 1.0)
    optimizer = Optimizer(parameters, **ARGUMENTS | change)
    optimizer.go_on_from(adam_optimizer)
    assert optimizer.n_steps == 0
    assert not optimizer.first.any()
    assert not optimizer.second.any()


# ---- the compiled door ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"solver": "newton"}, ValueError),
        ({"gradients": np.zeros(4)}, ValueError),
        ({"first": np.zeros(6)}, ValueError),
        ({"second": np.zeros(5, np.float32)}, TypeError),
        ({"gradients": np.zeros(10)[::2]}, ValueError),
        ({"n_penalised": 6}, ValueError),
        ({"n_penalised": -1}, ValueError),
        ({"gradients": None}, TypeError),
    ],
)
def test_wrong_arrays_are_refused(change, error):
    arguments = {
        "solver": "sgd", "parameters": np.ones(5), "gradients": np.ones(5), "first": np.zeros(5), "second": np.zeros(5),
        "n_penalised": 5,
    } | change  # fmt: skip
    with pytest.raises(error):
        _core.optimizer_step(**arguments, float64=True, scale=1.0, learning_rate=0.1)
    assert (arguments["parameters"] == 1).all()


# ---- schedules ------------------------------------------------------------------------------------------------------
def schedule(name, total=1000, initial=0.2):
    return np.array([scheduled_rate(name, initial, step, total) for step in range(total)])


@pytest.mark.parametrize("name", ["constant", "adaptive"])
def test_constant(name):
    assert (schedule(name) == 0.2).all()


def test_cosine():
    values = schedule("cosine")
    assert values[0] == 0.2
    assert (np.diff(values) < 0).all()
    assert values[500] == pytest.approx(0.1)
    assert 0 < values[-1] < 0.2 * 1e-5
    np.testing.assert_allclose(values, 0.1 * (1 + np.cos(np.pi * np.arange(1000) / 1000)), rtol=1e-9)
    assert scheduled_rate("cosine", 0.2, 1000, 1000) == 0


def test_one_cycle():
    """As torch.optim.lr_scheduler.OneCycleLR: initial_lr = peak / 25, final = initial_lr / 1e4, up for 30 %."""
    values = schedule("one_cycle")
    assert values[0] == pytest.approx(0.2 / 25)
    assert values.argmax() == 300
    assert values[300] == pytest.approx(0.2)
    assert (np.diff(values[:301]) > 0).all()
    assert (np.diff(values[300:]) < 0).all()
    assert values[150] == pytest.approx((0.2 + 0.2 / 25) / 2)
    assert values[650] == pytest.approx(0.1, rel=1e-4)
    assert scheduled_rate("one_cycle", 0.2, 1000, 1000) == pytest.approx(0.2 / 25 / 1e4)
    assert values[-1] < 0.2 * 1e-4


def test_invscaling():
    np.testing.assert_allclose(schedule("invscaling"), 0.2 / np.sqrt(np.arange(1, 1001)), rtol=1e-14)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_short_schedules_are_positive_and_bounded(name, total):
    values = schedule(name, total)
    assert (values > 0).all()
    assert (values <= 0.2).all()


def fitted_rates(**arguments):
    """The learning rate after each epoch of a fit of 3 batches an epoch, and the estimator."""
    seen = []
    rng = np.random.default_rng(0)
    estimator = LSTMRegressor(
        2, batch_size=4, random_state=0, n_jobs=1, callbacks=lambda info: seen.append(info.learning_rate), **arguments
    )
    estimator.fit(rng.normal(size=(12, 3, 1)), rng.normal(size=12))
    return np.array(seen), estimator


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "invscaling"])
def test_a_fit_follows_the_schedule_batch_by_batch(name):
    seen, _ = fitted_rates(learning_rate=name, learning_rate_init=0.01, max_iter=10, tol=0.0)
    expected = [scheduled_rate(name, 0.01, 3 * epoch, 30) for epoch in range(1, 11)]
    assert seen.tolist() == expected


def test_adaptive_divides_by_five_when_training_stalls():
    """With tol=10 nothing after the first epoch counts as better: 3 epochs, then every 2, down to 1e-6."""
    seen, estimator = fitted_rates(
        learning_rate="adaptive", learning_rate_init=1e-3, max_iter=100, tol=10.0, n_iter_no_change=2
    )
    expected = [1e-3] * 3 + [2e-4] * 2 + [4e-5] * 2 + [8e-6] * 2 + [1.6e-6] * 2
    np.testing.assert_allclose(seen, expected, rtol=1e-12)
    assert estimator.stop_reason_ == "tol"


def test_adaptive_keeps_its_rate_while_training_improves():
    seen, estimator = fitted_rates(
        learning_rate="adaptive", learning_rate_init=1e-3, max_iter=12, tol=0.0, n_iter_no_change=2
    )
    assert all(after < before for before, after in pairwise(estimator.loss_curve_))
    assert (seen == 1e-3).all()
    assert estimator.stop_reason_ == "max_iter"


# ---- threads --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_same_bits_on_any_number_of_threads(solver, dtype):
    n, n_penalised, results = 60_001, 40_000, []  # enough for threads, in pieces that end anywhere
    for n_threads in (1, 2, 3):
        parameters = Parameters(n, n_penalised, dtype)
        optimizer = Optimizer(parameters, **ARGUMENTS | {"solver": solver, "alpha": 0.1, "l1_ratio": 0.5})
        sums = []
        for gradient in gradients_of_steps(n, dtype, 3):
            parameters.gradients[...] = gradient
            sums.append(optimizer.penalise(parameters, n_threads))
            before, expected = np.empty(n, dtype), parameters.parameters.copy()
            optimizer.step(parameters, 0.01, sums[-1][0], before=before, n_threads=n_threads)
            np.testing.assert_array_equal(before, expected)
        results.append((sums, parameters.parameters, optimizer.first, optimizer.second))
    for other in results[1:]:
        assert other[0] == results[0][0]
        for array, expected in zip(other[1:], results[0][1:], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_norm_and_penalty_of_many_parameters():
    parameters = Parameters(60_001, 40_000, "float64")
    parameters.gradients[...] = gradients_of_steps(60_001, "float64", 1)[0]
    weights, gradient = parameters.parameters[:40_000], parameters.gradients.copy()
    gradient[:40_000] += 0.05 * np.sign(weights) + 0.05 * weights
    norm, penalty = Optimizer(parameters, **ARGUMENTS | {"alpha": 0.1, "l1_ratio": 0.5}).penalise(parameters)
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
    assert penalty == pytest.approx(0.05 * np.abs(weights).sum() + 0.025 * (weights**2).sum(), rel=1e-12)


def test_the_rate_is_what_the_steps_use():
    """One batch of plain gradient descent with a learning rate of 1e-3 / sqrt(step + 1), step by step."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4, 3, 1)), rng.normal(size=4)
    weights = []
    for n_epochs in (1, 2, 3):
        estimator = LSTMRegressor(
            2, solver="sgd", momentum=0.0, clip_norm=None, alpha=0.0, learning_rate="invscaling", tol=0.0,
            learning_rate_init=1e-3, max_iter=n_epochs, random_state=0, dtype="float64", n_jobs=1, shuffle=False,
        ).fit(X, y)  # fmt: skip
        weights.append(np.concatenate([array.ravel() for layer in estimator.layers_ for array in parameters_of(layer)]))
    for step, (before, after) in enumerate(pairwise(weights), 1):
        rate = 1e-3 / math.sqrt(step + 1)
        assert np.linalg.norm(after - before) == pytest.approx(rate * estimator.grad_norm_curve_[step], rel=1e-9)


def parameters_of(layer):
    return [getattr(layer, name) for name in ("kernel", "recurrent_kernel", "weight", "bias") if hasattr(layer, name)]
