"""Sampled softmax: the output embedding, the sampler, the loss, and networks that train with it."""

import pickle

import numpy as np
import pytest
from gradients import central_differences, flat_gradient

from lstmfast import _core
from lstmfast.examples import Examples
from lstmfast.head import Head
from lstmfast.layers import Dense, OutputEmbedding
from lstmfast.losses import SampledSoftmax, SoftmaxCrossEntropy
from lstmfast.network import Network
from lstmfast.optimizers import Optimizer
from lstmfast.sampling import LogUniformSampler
from lstmfast.saved_model import rebuild_network
from lstmfast.sequences import StepValues, check_tokens
from lstmfast.training import History, Options, Trainer

N_TOKENS, DIM = 11, 3
SIZES = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17]


class Case:
    """A network over steps or over sequences, with a batch of tokens and targets."""

    def __init__(self, n_outputs=40, n_samples=6, dtype="float64", pooling="last", **options):
        rng = np.random.default_rng(5)
        self.config = {
            "n_features": DIM, "hidden_layer_sizes": (5,), "n_outputs": n_outputs, "n_tokens": N_TOKENS,
            "dtype": dtype, "pooling": pooling, **options,
        }  # fmt: skip
        self.net = Network(n_samples=n_samples, **self.config)
        self.net.initialize(np.random.default_rng(1))
        self.net.dense[-1].arrays["weight"][...] *= 3
        self.net.dense[-1].arrays["weight"][:, -1] = rng.normal(size=n_outputs)
        self.net.parameters_changed()
        self.sequences = check_tokens([rng.integers(0, N_TOKENS, length) for length in rng.integers(1, 9, 12)])
        self.rows = np.arange(12)
        if pooling == "steps":
            n = len(self.sequences.steps)
            self.targets = StepValues(rng.integers(0, n_outputs, n), self.sequences.offsets)
            self.weights = StepValues(rng.uniform(0.5, 1.5, n).astype(dtype) / n, self.sequences.offsets)
        else:
            self.targets = rng.integers(0, n_outputs, 12)
            self.weights = rng.uniform(0.5, 1.5, 12).astype(dtype) / 12

    def loss(self, net=None, seed=0, loss=None, n_threads=1):
        loss = SampledSoftmax(np.random.default_rng(seed)) if loss is None else loss
        net = net or self.net
        targets, weights = self.targets[self.rows], self.weights[self.rows]
        return net.loss_and_gradient(self.sequences, self.rows, loss, targets, weights, n_threads=n_threads)

    def twin(self):
        """The same function with a dense layer at its end."""
        twin = Network(**self.config)
        for name, array in twin.named_parameters().items():
            if array.shape == getattr(self.net.named_parameters().get(name), "shape", None):
                array[...] = self.net.named_parameters()[name]
        twin.dense[-1].weight = self.net.dense[-1].weight[:, :-1].T
        twin.dense[-1].bias = self.net.dense[-1].weight[:, -1]
        return twin


def table_gradient(table):
    """(n_outputs, input_size + 1), of zeros where a row has none."""
    gradient = np.zeros(table.weight.shape)
    gradient[table.rows] = table.row_grads
    return gradient


def output_gradient(net):
    """That of the output layer as a table."""
    last = net.dense[-1]
    return table_gradient(last) if last.by_rows else np.column_stack((last.grads["weight"].T, last.grads["bias"]))


# ---- the layer ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_all_outputs_are_a_dense_layers_bit_for_bit(size, dtype):
    rng = np.random.default_rng(size)
    layer = OutputEmbedding(size, 18 - size, dtype=dtype, random_state=3)
    dense = Dense(size, 18 - size, dtype=dtype, random_state=3)
    assert (layer.weight[:, :-1] == dense.weight.T).all()
    dense.bias = bias = rng.normal(size=18 - size)
    layer.weight = np.column_stack((dense.weight.T, bias))
    x, dy = rng.normal(size=(9, size)).astype(dtype), rng.normal(size=(9, 18 - size)).astype(dtype)
    assert (layer.forward(x) == dense.forward(x)).all()
    assert (layer.backward(x, dy) == dense.backward(x, dy)).all()
    assert (table_gradient(layer) == np.column_stack((dense.grads["weight"].T, dense.grads["bias"]))).all()


def test_candidates_are_some_of_the_outputs_and_their_gradients_add_up():
    rng = np.random.default_rng(0)
    layer = OutputEmbedding(7, 20, dtype="float64", random_state=0)
    layer.weight = rng.normal(size=(20, 8))
    x, expected = rng.normal(size=(5, 7)), np.zeros((20, 8))
    for rows in (np.array([3, 17, 4]), np.array([4, 0])):
        shift, dy = rng.normal(size=len(rows)), rng.normal(size=(5, len(rows)))
        some = layer.candidates(rows, shift)
        np.testing.assert_allclose(some.forward(x), layer.forward(x)[:, rows] + shift, rtol=1e-12)
        np.testing.assert_allclose(some.backward(x, dy), dy @ layer.weight[rows, :-1], rtol=1e-12)
        expected[rows] += dy.T @ np.column_stack((x, np.ones(5)))
    assert layer.rows.tolist() == [0, 3, 4, 17]
    np.testing.assert_allclose(table_gradient(layer), expected, rtol=1e-12)
    layer.forget_gradient()
    assert len(layer.rows) == len(layer.row_grads) == 0


def test_a_changed_weight_reaches_the_packed_copy():
    layer, x = OutputEmbedding(2, 3, random_state=0), np.ones((1, 2), np.float32)
    before = layer.forward(x)
    layer.weight = layer.weight + 1
    np.testing.assert_allclose(layer.forward(x), before + 3, rtol=1e-6)
    assert (pickle.loads(pickle.dumps(layer)).forward(x) == layer.forward(x)).all()


@pytest.mark.parametrize(("sizes", "error"), [((0, 3), ValueError), ((3, 0), ValueError), ((3.0, 1), TypeError)])
def test_bad_sizes(sizes, error):
    with pytest.raises(error, match="put_size must be"):
        OutputEmbedding(*sizes)


# ---- the sampler ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("n_outputs", "n_samples"), [(1, 1), (2, 1), (10, 3), (10, 9), (100, 30), (1000, 50)])
def test_outputs_are_drawn_as_often_as_their_probability_says(n_outputs, n_samples):
    """A count of 4000 draws has a standard deviation of at most 32; 5.5 of them happen to one count in 10^7."""
    sampler, rng, n_draws = LogUniformSampler(n_outputs, n_samples), np.random.default_rng(0), 4000
    counts = np.zeros(n_outputs)
    for _ in range(n_draws):
        drawn = sampler.draw(rng)
        assert (np.diff(drawn) > 0).all()
        assert len(drawn) <= n_samples
        counts[drawn] += 1
    p = np.exp(sampler.log_probabilities)
    assert (np.abs(counts - n_draws * p) <= 5.5 * np.sqrt(n_draws * p * (1 - p)) + 1e-6).all()


def test_uncertain_outputs_have_log_uniform_shares():
    n, n_samples = 100_000, 100
    p = np.exp(LogUniformSampler(n, n_samples).log_probabilities)
    certain = np.count_nonzero(p == 1)
    assert 1 < certain < n_samples
    k = np.arange(1000, n)
    shares = np.log((k + 2) / (k + 1)) / np.log((n + 1) / (certain + 1))  # of what the certain ones leave
    np.testing.assert_allclose(p[1000:], (n_samples - certain) * shares, rtol=0.02)  # some lie across two parts


@pytest.mark.parametrize("n_outputs", [1, 2, 7, 1000, 50_000])
@pytest.mark.parametrize("more", [0, 1, 10**6])
def test_enough_samples_are_all_outputs(n_outputs, more):
    sampler = LogUniformSampler(n_outputs, n_outputs + more)
    assert (sampler.log_probabilities == 0).all()
    assert (sampler.draw(np.random.default_rng(0)) == np.arange(n_outputs)).all()


def test_a_point_that_rounds_up_is_the_last_output():
    class Highest:
        def random(self, n):
            return np.full(n, 1 - 2**-53)

    assert LogUniformSampler(9, 4).draw(Highest()).max() == 8


def test_targets_are_candidates_once_and_for_certain():
    sampler = LogUniformSampler(50, 5)
    targets = np.array([40, 0, 40, 3, 49])
    rows, places, log_probabilities = sampler.candidates(targets, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all()
    assert set(rows) == {*targets, *sampler.draw(np.random.default_rng(0))}
    assert (rows[places] == targets).all()
    others = ~np.isin(rows, targets)
    assert others.any()
    assert (log_probabilities[~others] == 0).all()
    assert (log_probabilities[others] == sampler.log_probabilities[rows[others]]).all()


# ---- the loss -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_samples", [40, 41, 1000])
@pytest.mark.parametrize("options", [{}, {"pooling": "steps"}, {"pooling": "mean", "dense_layer_sizes": (6,)}], ids=str)
def test_with_all_outputs_sampled_it_is_the_full_softmax(options, n_samples):
    case = Case(n_samples=n_samples, **options)
    twin = case.twin()
    assert case.loss() == pytest.approx(case.loss(twin, loss=SoftmaxCrossEntropy()), rel=1e-12)
    expected = output_gradient(twin)
    np.testing.assert_allclose(output_gradient(case.net), expected, rtol=1e-10, atol=1e-15)
    for name, part in case.net.parts.items():
        for key, gradient in part.grads.items():
            np.testing.assert_allclose(gradient, twin.parts[name].grads[key], rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(case.net.embedding.row_grads, twin.embedding.row_grads, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_that_of_the_formula(seed):
    case = Case()
    logits = case.net.outputs(case.sequences)
    drawn = case.net.head.sampler.draw(np.random.default_rng(seed))
    expected = 0.0
    for z, target, weight in zip(logits, case.targets, case.weights, strict=True):
        partition = sum(np.exp(z[k]) for k in set(case.targets))
        for k in set(drawn) - set(case.targets):
            partition += np.exp(z[k]) / np.exp(case.net.head.sampler.log_probabilities[k])
        expected += weight * (np.log(partition) - z[target])
    assert case.loss(seed=seed) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"pooling": "steps"}, {"pooling": "max", "dense_layer_sizes": (6,)}], ids=str)
def test_gradients_agree_with_finite_differences(options, monkeypatch):
    monkeypatch.setattr("lstmfast.head.MIN_ROWS", 5)
    monkeypatch.setattr("lstmfast.head.BLOCK_OUTPUTS", 1)  # several blocks: each with its own sample
    case = Case(**options)
    case.loss()
    gradient = flat_gradient(case.net)
    expected = central_differences(case.loss, case.net.parameters, changed=case.net.parameters_changed)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)


def test_the_mean_gradient_is_near_the_full_one():
    """The estimate of Z has the right mean, so the gradient's bias is of order 1 / n_samples (that of a ratio), and its
    noise falls by averaging. Bound, relative to the full gradient's norm: 2 % of bias plus three times the root mean
    square of the noise in the mean. Without the correction log q the mean lies three times as far off."""
    case = Case(n_outputs=60, n_samples=30)
    case.net.dense[-1].weight = case.net.dense[-1].weight / 2

    def gradient(net, loss):
        case.loss(net, loss=loss)
        return output_gradient(net)

    def sampled():
        return np.array([gradient(case.net, SampledSoftmax(np.random.default_rng(seed))) for seed in range(1000)])

    full = gradient(case.twin(), SoftmaxCrossEntropy())
    many = sampled()
    noise = np.linalg.norm(many.std(axis=0)) / np.sqrt(len(many))
    bound = 0.02 * np.linalg.norm(full) + 3 * noise
    assert np.linalg.norm(many.mean(axis=0) - full) < bound
    case.net.head.sampler.log_probabilities[:] = 0
    assert np.linalg.norm(sampled().mean(axis=0) - full) > 3 * bound


def test_the_partition_functions_estimate_has_the_right_mean():
    """Within 5 standard errors of the mean of 20 000 estimates."""
    rng = np.random.default_rng(0)
    terms, targets = np.exp(rng.normal(size=80)), np.array([70, 2, 33])
    sampler = LogUniformSampler(80, 10)

    def estimate():
        rows, _, log_probabilities = sampler.candidates(targets, rng)
        return (terms[rows] / np.exp(log_probabilities)).sum()

    estimates = np.array([estimate() for _ in range(20_000)])
    assert abs(estimates.mean() - terms.sum()) < 5 * estimates.std() / np.sqrt(len(estimates))


# ---- networks -------------------------------------------------------------------------------------------------------
def optimizer_of(net, solver="adam", alpha=0.1):
    return Optimizer(
        net, solver=solver, alpha=alpha, l1_ratio=0.0, clip_norm=None, momentum=0.9, nesterovs_momentum=True,
        beta_1=0.9, beta_2=0.999, epsilon=1e-8,
    )  # fmt: skip


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_step_changes_the_candidates_alone(solver):
    case = Case()
    net = case.net
    optimizer = optimizer_of(net, solver)
    for seed in range(3):
        case.loss(seed=seed)
        table, before = net.dense[-1], net.dense[-1].weight.copy()
        sampled = net.head.sampler.draw(np.random.default_rng(seed))
        assert table.rows.tolist() == sorted({*case.targets.tolist(), *sampled.tolist()})
        assert 6 < len(table.rows) < 40
        norm, _ = optimizer.penalise(net)
        optimizer.step(net, 0.01, norm)
        changed = (table.weight != before).any(axis=1)
        assert changed.nonzero()[0].tolist() == table.rows.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_any_number_of_threads(dtype):
    results = []
    for n_threads in (1, 2, 5):
        case = Case(n_outputs=700, n_samples=300, dtype=dtype, pooling="steps", hidden_layer_sizes=(65,))
        value = case.loss(n_threads=n_threads)
        table = case.net.dense[-1]
        results.append((value, case.net.gradients.tobytes(), table.rows.tobytes(), table.row_grads.tobytes()))
        results[-1] += (case.net.outputs(case.sequences, n_threads=n_threads).tobytes(),)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_and_streams_use_every_output(dtype):
    case = Case(dtype=dtype)
    twin = case.twin()
    assert (case.net.outputs(case.sequences) == twin.outputs(case.sequences)).all()
    expected = twin.step_outputs(case.sequences, "softmax")
    assert (case.net.step_outputs(case.sequences, "softmax") == expected).all()
    stream = case.net.stream(1, "softmax")
    first = case.sequences.steps.reshape(-1)[: case.sequences.lengths[0]]
    assert (np.array([stream.step(int(token)) for token in first]) == expected[: len(first)]).all()


def test_pickles_copies_and_rebuilt_networks_are_the_same():
    case = Case(dtype="float32")
    net = case.net
    expected, value = net.outputs(case.sequences), case.loss()
    rebuilt = rebuild_network(Network, net.config, {k: v.copy() for k, v in net.named_parameters().items()})
    for twin in (pickle.loads(pickle.dumps(net)), net.copy(), rebuilt):
        assert (twin.outputs(case.sequences) == expected).all()
        assert case.loss(twin) == value
    assert net.copy(dtype="float64").dense[-1].dtype == np.float64
    assert net.named_parameters()["1.weight"].shape == (40, 6)


def test_files_from_before_have_a_dense_layer():
    case = Case()
    old = {name: value for name, value in Network(**case.config).config.items() if name != "n_samples"}
    twin = case.twin()
    rebuilt = rebuild_network(Network, old, twin.named_parameters())
    assert type(rebuilt.dense[-1]) is Dense
    assert (rebuilt.outputs(case.sequences) == twin.outputs(case.sequences)).all()


def test_the_count_of_parameters_is_right():
    case = Case(dense_layer_sizes=(6,))
    assert Network.count_parameters(**case.net.config) == case.net.parameters.size


@pytest.mark.parametrize(
    ("n_samples", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_bad_numbers_of_samples(n_samples, error):
    with pytest.raises(error, match="n_samples must be"):
        Head(3, (5,), np.dtype("float32"), 0, n_samples)


def test_a_crf_scores_all_labels():
    with pytest.raises(ValueError, match="n_samples must be None, got 3"):
        Network(3, (4,), 5, pooling="steps", crf=True, n_samples=3)


def fit(n_samples, n_threads=1, seed=0):
    """(network, its share of the loss of guessing): each sequence of one token has that token's target, out of 200."""
    rng = np.random.default_rng(seed)
    tokens, answers = rng.integers(0, N_TOKENS, 400), rng.choice(200, N_TOKENS, replace=False)
    net = Network(8, (16,), 200, n_tokens=N_TOKENS, n_samples=n_samples)
    net.initialize(rng)
    sequences, targets = check_tokens(tokens[:, None]), answers[tokens]
    options = Options(
        learning_rate="constant", learning_rate_init=0.02, max_iter=15, tol=0.0, n_iter_no_change=15, shuffle=True,
        max_time=None, dropout=0.0, recurrent_dropout=0.0, verbose=0, callbacks=[], n_threads=n_threads,
        early_stopping=False,
    )  # fmt: skip
    trainer = Trainer(net, optimizer_of(net, alpha=0.0), SampledSoftmax(rng), options, rng, History())
    trainer.run(Examples(sequences, targets, np.ones(400), net.dtype, 64))
    outputs = net.outputs(sequences)
    _core.output_probabilities(False, outputs, outputs, 200, False)
    return net, -np.log(outputs[np.arange(400), targets]).mean() / np.log(200)


@pytest.mark.parametrize("n_samples", [20, 100, 200])
def test_it_learns_what_the_full_softmax_learns(n_samples):
    assert fit(n_samples)[1] < 0.1


def test_a_fit_is_reproducible_on_any_number_of_threads():
    expected = fit(20)[0].parameters
    assert (fit(20)[0].parameters == expected).all()
    assert (fit(20, n_threads=2)[0].parameters == expected).all()
    assert (fit(20, seed=1)[0].parameters != expected).any()
