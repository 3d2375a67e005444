"""The gradient of a whole network: against the reference, to 1e-11, and against central differences, to 1e-7, both
relative to the largest entry; and the same bits from any number of threads.

Legend: n sequences, F features, H hidden units, K outputs.
"""

import tracemalloc
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import reference
from gradients import check_gradient, flat_gradient, masks_of

from lstmfast import _core, head, losses, network, stack
from lstmfast.examples import Corpus
from lstmfast.head import Head
from lstmfast.network import Network
from lstmfast.optimizers import Optimizer
from lstmfast.pooling import POOLINGS
from lstmfast.sequences import StepValues, check_sequences
from lstmfast.vocabulary import framed
from lstmfast.workspace import Workspace

REFERENCE_RTOL, N_ELEMENTS = 1e-11, 40  # central differences of so many single parameters

LOSSES = {
    "softmax": (losses.SoftmaxCrossEntropy(), reference.cross_entropy),
    "sigmoid": (losses.SigmoidCrossEntropy(), reference.binary_cross_entropy),
    "squared": (losses.SquaredError(), reference.squared_error),
    "absolute": (losses.AbsoluteError(), reference.absolute_error),
    "huber": (losses.Huber(), reference.huber),
    "quantile": (losses.Quantile(0.8), partial(reference.quantile, level=0.8)),
}


@dataclass
class Case:
    """One objective: a network, a batch and how it is weighed."""

    hidden: tuple = (5,)
    n_features: int = 3
    n_outputs: int = 3
    bidirectional: bool = False
    pooling: str = "last"
    dense: tuple = ()
    loss: str = "softmax"
    lengths: tuple = (4, 1, 6, 3, 6)
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    alpha: float = 0.0
    l1_ratio: float = 0.0
    weighted: bool = False
    seed: int = 0
    cell: reference.Cell = reference.LSTM
    conv: tuple = ()

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        n = len(self.lengths)
        self.network = Network(
            self.n_features, self.hidden, self.n_outputs, bidirectional=self.bidirectional, pooling=self.pooling,
            dense_layer_sizes=self.dense, dtype="float64", cell=self.cell.kind, activation=self.cell.activation,
            recurrent_activation=self.cell.recurrent_activation, clip=self.cell.clip, conv_layers=self.conv,
        )  # fmt: skip
        for array in self.network.named_parameters().values():
            # Not near 0, where the L1 penalty has its kink; biases too, so that no relu sits on its own.
            n_inputs = array[..., 0].size
            size = rng.uniform(0.05, 1, array.shape) * (1.5 / np.sqrt(n_inputs) if array.ndim > 1 else 1)
            array[...] = rng.choice([-1, 1], array.shape) * size
        self.network.parameters_changed()
        # The batch is some of the data, in another order.
        self.rows = rng.permutation(n + 2)[:n]
        self.data = [None] * (n + 2)
        for row, length in zip(self.rows, self.lengths, strict=True):
            self.data[row] = rng.normal(size=(length, self.n_features))
        self.data = [np.full((2, self.n_features), 9.0) if x is None else x for x in self.data]
        self.sequences = check_sequences(self.data, dtype=np.float64)
        self.targets = self.draw_targets(rng, n)
        weights = rng.uniform(0.1, 1, n) if self.weighted else np.ones(n)
        self.weights = weights / weights.sum()
        self.masks = None
        if self.dropout or self.recurrent_dropout:
            self.masks = self.network.draw_masks(rng, n, self.dropout, self.recurrent_dropout)
        self.optimizer = Optimizer(
            self.network, solver="sgd", alpha=self.alpha, l1_ratio=self.l1_ratio, clip_norm=None, momentum=0.0,
            nesterovs_momentum=False, beta_1=0.0, beta_2=0.0, epsilon=1.0,
        )  # fmt: skip

    def draw_targets(self, rng, n):
        if self.loss == "softmax":
            return rng.integers(0, self.n_outputs, n)
        if self.loss == "sigmoid":
            return rng.integers(0, 2, (n, self.n_outputs)).astype(float)
        return rng.normal(scale=2, size=(n, self.n_outputs))

    def value_and_gradient(self, **options):
        """By lstmfast: the objective, and a copy of the flat gradient."""
        value = self.network.loss_and_gradient(
            self.sequences, self.rows, LOSSES[self.loss][0], self.targets, self.weights, masks=self.masks, **options
        )
        _, penalty = self.optimizer.penalise(self.network)
        return value + penalty, self.network.gradients.copy()

    # ---- the same by the reference ----

    def reference_results(self):
        """The objective, a flat gradient in lstmfast's order, and dx of each sequence."""
        names = reference.PARAMETERS[self.cell.kind]
        layers = [
            {
                direction: [parameters.arrays[name] for name in names]
                for direction, parameters in zip(reference.READING_ORDER, layer.directions, strict=False)
            }
            for layer in self.network.layers
        ]
        dense = tuple(tuple(layer.arrays.values()) for layer in self.network.dense)
        conv = tuple(tuple(layer.arrays.values()) for layer in self.network.stack.convolutions.layers)
        attention = self.network.parts["pooling"].arrays.values() if self.pooling == "attention" else ()
        network = reference.Network(layers, self.pooling, dense, self.cell, conv, tuple(attention))
        value, gradients, dxs = reference.objective(
            network, [self.data[row] for row in self.rows], self.targets,
            LOSSES[self.loss][1], self.weights, self.masks_of_sequences(), self.alpha, self.l1_ratio,
        )  # fmt: skip
        # In a network's flat array the weights come first, then the biases.
        ordered = sorted(gradients, key=lambda name: name.endswith("bias"))
        return value, np.concatenate([gradients[name].ravel() for name in ordered]), dxs

    def masks_of_sequences(self):
        return self.masks and [masks_of(self.masks, s) for s in range(len(self.rows))]


def check(case, **options):
    value, gradient = case.value_and_gradient(**options)
    expected_value, expected, _ = case.reference_results()
    scale = np.abs(expected).max()
    assert scale > 1e-3
    assert value == pytest.approx(expected_value, rel=1e-13)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=REFERENCE_RTOL * scale)
    check_gradient(case.network, lambda: case.value_and_gradient()[0], gradient, N_ELEMENTS)


# ---- what a network can be made of ----------------------------------------------------------------------------------
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_pooling(loss, pooling, bidirectional):
    check(Case(loss=loss, pooling=pooling, bidirectional=bidirectional))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 33])
def test_sizes_around_the_vector_widths(size, pooling):
    check(Case(hidden=(size,), n_features=2, pooling=pooling, n_outputs=2, lengths=(5, 1, 3)))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 33])
def test_input_and_output_sizes_around_the_vector_widths(size):
    check(Case(hidden=(3,), n_features=size, n_outputs=size, dense=(size,), loss="sigmoid", lengths=(4, 1, 2)))


@pytest.mark.parametrize("loss", ["softmax", "squared", "sigmoid"])
def test_sizes_of_one(loss):
    n_outputs = 2 if loss == "softmax" else 1
    check(Case(hidden=(1,), n_features=1, n_outputs=n_outputs, loss=loss, lengths=(3,)))
    check(Case(hidden=(1, 1), n_features=1, n_outputs=n_outputs, loss=loss, lengths=(1,), bidirectional=True))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("hidden", [(4, 9), (17, 3, 8)], ids=str)
def test_stacked(hidden, bidirectional, pooling):
    check(Case(hidden=hidden, bidirectional=bidirectional, pooling=pooling, loss="squared"))


@pytest.mark.parametrize("dense", [(1,), (9,), (16, 5), (7, 8, 3)], ids=str)
def test_dense_layers(dense):
    case = Case(dense=dense, loss="huber", pooling="mean", hidden=(6,), seed=2)
    check(case)
    if sum(dense) > 1:  # relus that are on and relus that are off
        at_relu = case.value_and_gradient()[1][-case.n_outputs - dense[-1] : -case.n_outputs]
        assert at_relu.any()


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("conv", [((4, 1),), ((5, 3),), ((1, 2), (17, 5)), ((9, 4), (8, 1), (3, 3))], ids=str)
def test_convolutions(conv, bidirectional):
    case = Case(conv=conv, bidirectional=bidirectional, pooling="mean", seed=1)
    check(case)
    for layer in case.network.stack.convolutions.layers:  # relus that are on, even in the lowest layer
        assert layer.grads["kernel"].any()


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 33])
def test_sizes_of_convolutions_around_the_vector_widths(size):
    check(Case(n_features=size, conv=((size, 3), (2, 2)), lengths=(5, 1, 3)))
    check(Case(n_features=2, conv=((3, size),), lengths=(5, 1, 3)))


@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1), (7,), (5, 5, 5), (1, 2, 3, 4, 5, 6, 7), (30, 1)], ids=str)
def test_ragged_convolutions(lengths):
    check(Case(lengths=lengths, conv=((4, 4), (3, 2)), pooling="attention", seed=1))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_convolutions_attention_and_all_else(monkeypatch, dropout):
    monkeypatch.setattr(stack, "GROUP_BYTES", 1)
    monkeypatch.setattr(stack, "MIN_GROUP_SEQUENCES", 3)
    check(Case(
        hidden=(9, 5), dense=(7,), conv=((6, 3), (5, 2)), bidirectional=True, pooling="attention", dropout=dropout,
        recurrent_dropout=dropout, alpha=0.1, l1_ratio=0.5, weighted=True, loss="sigmoid",
        lengths=(3, 1, 7, 7, 2, 5, 4, 1, 6, 3), seed=4,
    ))  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 12, 13, 20])
def test_batches_around_the_tile_heights(n):
    lengths = tuple(np.random.default_rng(n).integers(1, 6, n))
    check(Case(hidden=(9,), lengths=lengths, pooling="max", seed=n))


@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1), (7,), (5, 5, 5), (1, 2, 3, 4, 5, 6, 7), (30, 1)], ids=str)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_ragged(pooling, lengths):
    check(Case(lengths=lengths, pooling=pooling, bidirectional=True, hidden=(4, 3)))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize(("dropout", "recurrent_dropout"), [(0.4, 0.0), (0.0, 0.4), (0.3, 0.5)])
def test_dropout_with_fixed_masks(dropout, recurrent_dropout, bidirectional, pooling):
    case = Case(
        dropout=dropout, recurrent_dropout=recurrent_dropout, bidirectional=bidirectional, pooling=pooling,
        hidden=(6, 9), dense=(8,), seed=3,
    )  # fmt: skip
    masks = [*case.masks.inputs, *case.masks.recurrent, *case.masks.dense]
    for mask in masks:
        rates = {0.0, 1 / (1 - dropout), 1 / (1 - recurrent_dropout)}
        assert mask is None or (set(mask.ravel()) <= rates and 0 < (mask == 0).mean() < 1)
    assert any(mask is None for mask in masks) == (not (dropout and recurrent_dropout))
    check(case)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_penalty(l1_ratio):
    check(Case(alpha=0.3, l1_ratio=l1_ratio, dense=(4,), bidirectional=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_sequences(loss):
    check(Case(loss=loss, weighted=True, pooling="mean"))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_everything_at_once_in_several_groups(monkeypatch, pooling):
    monkeypatch.setattr(stack, "GROUP_BYTES", 1)
    monkeypatch.setattr(stack, "MIN_GROUP_SEQUENCES", 3)
    case = Case(
        hidden=(9, 5), dense=(7, 6), bidirectional=True, pooling=pooling, dropout=0.2, recurrent_dropout=0.2, alpha=0.1,
        l1_ratio=0.5, weighted=True, loss="sigmoid", lengths=(3, 1, 7, 7, 2, 5, 4, 1, 6, 3), seed=4,
    )  # fmt: skip
    batches, original = [], _core.Batch
    monkeypatch.setattr(network._core, "Batch", lambda lengths: batches.append(len(lengths)) or original(lengths))
    case.value_and_gradient()
    assert batches == [3, 3, 2, 2]
    check(case)


def test_groups_are_large_enough_for_whole_tiles_and_small_enough_for_the_cache():
    layers = Network(3, (4,), 2).stack
    assert layers.group_size(10) >= 1000
    assert layers.group_size(100_000) == stack.MIN_GROUP_SEQUENCES


# ---- gradient of x --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("with_conv", [False, True], ids=["", "conv"])
def test_gradient_of_x(with_conv, dropout, pooling):
    """Checked by the reference, whose own dx complex steps have checked (test_reference.py)."""
    case = Case(
        hidden=(5, 4),
        bidirectional=True,
        pooling=pooling,
        dropout=dropout,
        dense=(6,),
        conv=((3, 2),) * with_conv,
        seed=1,
    )
    lengths = np.array(case.lengths)
    order = np.argsort(-lengths, kind="stable")
    masks = case.masks.take(order) if case.masks else case.network.no_masks()
    net, workspace, x_first = case.network, Workspace(), case.sequences.offsets[case.rows[order]]
    record = net.stack.forward(
        _core.Batch(lengths[order]), case.sequences.steps, x_first=x_first, masks=masks, training=True,
        all_steps=pooling != "last", workspace=workspace,
    )  # fmt: skip
    z, tape = net._pooling.forward(record)
    loss = LOSSES[case.loss][0]
    _, dz = net._head_loss(record.batch, z, loss, case.targets[order], case.weights[order], masks.dense, Workspace(), 1)
    dx, _ = net.stack.backward(record, **net._pooling.backward(record, dz, tape, workspace), input_gradient=True)
    expected = np.concatenate([case.reference_results()[2][s] for s in order])
    np.testing.assert_allclose(dx, expected, rtol=0, atol=REFERENCE_RTOL * np.abs(expected).max())


# ---- what must not matter -------------------------------------------------------------------------------------------
def test_earlier_gradients_and_workspaces_do_not_matter():
    case, other = Case(pooling="max", hidden=(5, 4)), Case(pooling="max", hidden=(5, 4), lengths=(9, 2), seed=5)
    expected = case.value_and_gradient()[1]
    workspace = Workspace()
    other.network.loss_and_gradient(
        other.sequences, other.rows, LOSSES["softmax"][0], other.targets, other.weights, workspace=workspace
    )
    case.network.gradients[...] = np.nan
    assert case.value_and_gradient(workspace=workspace)[1].tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (48,), "n": 64, "length": 20},
        {"hidden": (48, 33), "n": 64, "length": 20, "bidirectional": True, "pooling": "max", "dense": (200, 190)},
        {"hidden": (150,), "n": 2, "length": 40, "pooling": "mean"},  # few sequences, many units
        {"hidden": (150,), "n": 1, "length": 60},
        {"hidden": (40,), "n": 61, "length": 25, "dropout": 0.3, "pooling": "mean"},
    ],
    ids=["plain", "stacked", "few", "one", "dropout"],
)
def test_threads_give_the_same_bits(options, dtype):
    """Each of these has many times the million multiply-adds above which work is shared between threads."""
    options = dict(options)
    n, length, dropout = options.pop("n"), options.pop("length"), options.pop("dropout", 0.0)
    rng = np.random.default_rng(0)
    net = Network(
        16, options.pop("hidden"), 7, dtype=dtype, dense_layer_sizes=options.pop("dense", ()),
        **{"bidirectional": False, "pooling": "last"} | options,
    )  # fmt: skip
    net.initialize(rng)
    lengths = rng.integers(length // 2, length + 1, n)
    sequences = check_sequences([rng.normal(size=(k, 16)) for k in lengths], dtype=np.dtype(dtype))
    targets, weights = rng.integers(0, 7, n), np.full(n, 1 / n, dtype)
    masks = net.draw_masks(rng, n, dropout, dropout) if dropout else None
    results = []
    for n_threads in (1, 2, 3, 2):
        value = net.loss_and_gradient(
            sequences, np.arange(n), losses.SoftmaxCrossEntropy(), targets, weights, masks=masks, n_threads=n_threads
        )
        results.append((value, net.gradients.tobytes(), net.outputs(sequences, n_threads=n_threads).tobytes()))
    assert np.abs(net.gradients).max() > 1e-3
    assert all(result == results[0] for result in results[1:])


# ---- tokens, carried state, blocks ----------------------------------------------------------------------------------
class Chunk:
    """A minibatch of a corpus whose texts have begun before it, and the gradient of its loss with all parameters."""

    def __init__(self, lengths=(9, 2, 13, 30, 7), bptt=4, n_lanes=4, number=1, n_tokens=9, dropout=0.0, **options):
        self.network = Network(**{
            "n_features": 3, "hidden_layer_sizes": (5,), "n_outputs": n_tokens, "pooling": "steps",
            "n_tokens": n_tokens, "dtype": "float64", **options,
        })  # fmt: skip
        rng = np.random.default_rng(0)
        self.network.initialize(rng)
        for name, array in self.network.named_parameters().items():
            if name.endswith("bias"):  # so that no relu sits on its kink
                array[...] = rng.uniform(0.1, 1, array.shape)
        self.network.parameters_changed()
        self.corpus = Corpus(framed([rng.integers(2, n_tokens, n) for n in lengths]), self.network, n_lanes, bptt)
        for batch in self.corpus.batches(None):
            self.batch, self.before = batch, batch.state.take(np.arange(len(batch.rows)))
            if number == 0:
                break
            self.network.log_likelihoods(batch, Workspace())  # moves its state on
            number -= 1
        self.masks = self.network.draw_masks(rng, len(self.batch.rows), dropout, dropout) if dropout else None

    def value_and_gradient(self):
        batch, net = self.batch, self.network
        value = net.loss_and_gradient(
            batch.sequences, batch.rows, losses.SoftmaxCrossEntropy(), batch.targets, batch.weights, masks=self.masks,
            state=self.before.take(np.arange(len(batch.rows))),
        )  # fmt: skip
        return value, flat_gradient(net)

    def check(self):
        """Central differences along every parameter, the state before the chunk held fixed."""
        check_gradient(self.network, lambda: self.value_and_gradient()[0], self.value_and_gradient()[1])


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of three rows in the head, groups of three sequences in the stack."""
    monkeypatch.setattr(head, "BLOCK_OUTPUTS", 1)
    monkeypatch.setattr(head, "MIN_ROWS", 3)
    monkeypatch.setattr(stack, "GROUP_BYTES", 1)
    monkeypatch.setattr(stack, "MIN_GROUP_SEQUENCES", 3)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"cell": "gru"}, {"cell": "rnn"}, {"cell": "lstm-peephole"}, {"hidden_layer_sizes": (4, 3)},
        {"dense_layer_sizes": (6, 5)}, {"hidden_layer_sizes": (3, 4), "dense_layer_sizes": (6,), "dropout": 0.3},
    ],
    ids=str,
)  # fmt: skip
def test_truncated_gradient_of_a_language_model(options, small_blocks):
    chunk = Chunk(**options)
    begun = np.abs(chunk.before.h[0][0]).max(axis=1) > 1e-3
    assert begun.tolist() == [True, False, True, True]
    assert chunk.batch.n_steps > 2 * head.MIN_ROWS
    assert len(chunk.batch.rows) > stack.MIN_GROUP_SEQUENCES
    chunk.check()


def test_the_whole_text_is_the_gradient_where_bptt_is_long_enough():
    chunk = Chunk(lengths=(9, 2, 13), n_lanes=3, bptt=14, number=0)
    value, gradient = chunk.value_and_gradient()
    net, (total, expected) = chunk.network, (0.0, np.zeros_like(gradient))
    for row, length in enumerate((10, 3, 14)):
        weights = StepValues(np.full(length, 1 / 27), np.array([0, length]))
        rows = np.array([row])
        total += net.loss_and_gradient(
            chunk.batch.sequences, rows, losses.SoftmaxCrossEntropy(), chunk.batch.targets[rows], weights
        )
        expected[: net.n_dense] += net.gradients
        net.rows_of(net.embedding, expected)[net.embedding.rows] += net.embedding.row_grads
    assert value == pytest.approx(total, rel=1e-13)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=REFERENCE_RTOL * np.abs(expected).max())


def test_no_gradient_flows_through_the_state():
    """One text in one chunk has another gradient than in two."""
    whole, cut = Chunk(lengths=(7,), n_lanes=1, bptt=8, number=0), Chunk(lengths=(7,), n_lanes=1, bptt=4, number=0)
    later = Chunk(lengths=(7,), n_lanes=1, bptt=4, number=1)
    assert np.abs(later.before.h[0]).max() > 1e-3
    parts = [chunk.value_and_gradient() for chunk in (cut, later)]
    value, gradient = whole.value_and_gradient()
    assert value == pytest.approx((parts[0][0] + parts[1][0]) / 2, rel=1e-13)
    assert np.abs(gradient - (parts[0][1] + parts[1][1]) / 2).max() > 1e-3


@pytest.mark.parametrize("n_rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("options", [{"dense_layer_sizes": (6, 5), "dropout": 0.4}, {}], ids=str)
def test_blocks_of_the_head_do_not_matter(options, n_rows, monkeypatch):
    expected = Chunk(**options).value_and_gradient()
    monkeypatch.setattr(head, "BLOCK_OUTPUTS", 1)
    monkeypatch.setattr(head, "MIN_ROWS", n_rows)
    sizes, forward = [], Head.forward

    def counted(self, z, *arguments, **more):
        sizes.append(len(z))
        return forward(self, z, *arguments, **more)

    monkeypatch.setattr(Head, "forward", counted)
    chunk = Chunk(**options)
    sizes.clear()
    value, gradient = chunk.value_and_gradient()
    n_steps = chunk.batch.n_steps
    assert sizes == [min(n_rows, n_steps - start) for start in range(0, n_steps, n_rows)]
    assert value == pytest.approx(expected[0], rel=1e-13)
    np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=1e-13 * np.abs(expected[1]).max())


@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_of_rows_with_every_loss(loss, small_blocks):
    check(Case(loss=loss, pooling="mean", dense=(6,), dropout=0.3, weighted=True, lengths=(4, 1, 6, 3, 6, 2, 5, 1)))


@pytest.mark.parametrize("method", ["loss_and_gradient", "log_likelihoods"])
def test_steps_times_vocabulary_is_never_in_memory(method):
    n_tokens, n_steps = 20_000, 4096
    chunk = Chunk(lengths=(n_steps - 1,), bptt=256, n_lanes=16, number=0, n_tokens=n_tokens, dtype="float32")
    assert chunk.batch.n_steps == n_steps
    tracemalloc.start()
    try:
        if method == "log_likelihoods":
            chunk.network.log_likelihoods(chunk.batch, Workspace())
        else:
            chunk.value_and_gradient()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n_steps * n_tokens * 4 / 4  # a quarter; what is there is a block of 256 rows, and the gradient
