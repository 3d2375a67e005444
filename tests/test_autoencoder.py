"""The autoencoder's network: against a reference written for reading, against central differences, and whatever must
not matter.

Legend: n sequences, T steps, F features, d values of a code.
"""

import copy
import pickle
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from gradients import check_gradient, draw_parameters, flat_gradient, idle_parameters, masks_of

from lstmfast import head, losses, network, stack
from lstmfast.autoencoder import Autoencoder
from lstmfast.pooling import POOLINGS
from lstmfast.saved_model import rebuild_network
from lstmfast.sequences import Sequences, StepValues, offsets_of
from lstmfast.workspace import Workspace

REFERENCE_RTOL, N_ELEMENTS = 1e-11, 30  # central differences of so many single parameters
LENGTHS = (3, 1, 5, 2, 5)
N_TOKENS = 6


# ---- the reference: one sequence at a time, float64 -----------------------------------------------------------------
def layer_of(network, name, directions):
    """One layer's parameters as tests/reference.py takes them."""
    parts, kind = network.named_parameters(), network.config["cell"]
    label = {direction: f"{name}.{direction}" if len(directions) == 2 else name for direction in directions}
    return {d: [parts[f"{label[d]}.{parameter}"] for parameter in reference.PARAMETERS[kind]] for d in directions}


def reference_code(network, x, masks=None):
    """Code (d,) of one sequence, (T, F) or T tokens."""
    parts, config = network.named_parameters(), network.config
    cell = reference.Cell(config["cell"], config["activation"], config["recurrent_activation"], config["clip"])
    directions = ("forward", "backward") if config["bidirectional"] else ("forward",)
    n_layers, n_dense = len(config["hidden_layer_sizes"]), len(config["dense_layer_sizes"]) + 1
    encoder = reference.Network(
        [layer_of(network, str(i), directions) for i in range(n_layers)], config["pooling"],
        tuple((parts[f"{i}.weight"], parts[f"{i}.bias"]) for i in range(n_layers, n_layers + n_dense)), cell,
        tuple((parts[f"conv{i}.kernel"], parts[f"conv{i}.bias"]) for i in range(len(config["conv_layers"]))),
        tuple(parts[f"pooling.{name}"] for name in reference.ATTENTION if config["pooling"] == "attention"),
    )  # fmt: skip
    x = parts["embedding.weight"][x[:, 0]] if network.embedding else x
    return reference.network_forward(encoder, x, masks)[0]


def reference_outputs(network, code, n_steps):
    """What the decoder writes of a code: (T, F), or (T, n_tokens) before the softmax. It starts at the last step."""
    parts, config = network.named_parameters(), network.config
    cell = reference.Cell(config["cell"], config["activation"], config["recurrent_activation"], config["clip"])
    y, n_layers = np.tile(code, (n_steps, 1)), len(config["hidden_layer_sizes"])
    for i in range(n_layers):
        y, _, _ = reference.layer_forward(y, layer_of(network, f"decoder.{i}", ("backward",)), cell=cell)
    return y @ parts[f"decoder.{n_layers}.weight"] + parts[f"decoder.{n_layers}.bias"]


def reference_losses(network, x, masks=None):
    """Loss of each step of one sequence."""
    outputs = reference_outputs(network, reference_code(network, x, masks), len(x))
    if network.embedding:
        return np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(len(x)), x[:, 0]]
    return ((outputs - x) ** 2).mean(axis=1)


# ---- problems -------------------------------------------------------------------------------------------------------
def random_network(n_features=3, hidden=(4,), code_size=2, seed=0, scale=1.5, **options):
    network = Autoencoder(n_features, hidden, code_size, **options)
    draw_parameters(network, seed, scale)
    return network


def float64(**options):
    return random_network(dtype="float64", **options)


def random_sequences(network, lengths=LENGTHS, seed=1):
    rng, shape = np.random.default_rng(seed), (sum(lengths), network.config["n_features"])
    steps = rng.integers(0, N_TOKENS, (shape[0], 1)) if network.embedding else rng.normal(size=shape)
    return Sequences(steps if network.embedding else steps.astype(network.dtype), offsets_of(lengths), "list")


@dataclass
class Case:
    """A network, some of its data in another order, and a weight for each step."""

    network: Autoencoder
    lengths: tuple = LENGTHS
    dropout: float = 0.0
    recurrent_dropout: float = 0.0

    def __post_init__(self):
        rng, n = np.random.default_rng(2), len(self.lengths)
        self.sequences = random_sequences(self.network, self.lengths)
        self.rows = rng.permutation(n)[: max(1, n - 1)]
        steps, offsets = self.sequences.steps, self.sequences.offsets
        self.targets = StepValues(steps[:, 0] if self.network.embedding else steps, offsets)[self.rows]
        self.weights = StepValues(rng.uniform(0.01, 0.1, len(steps)).astype(self.network.dtype), offsets)[self.rows]
        self.loss = losses.SoftmaxCrossEntropy() if self.network.embedding else losses.SquaredError()
        self.masks = None
        if self.dropout or self.recurrent_dropout:
            self.masks = self.network.draw_masks(rng, len(self.rows), self.dropout, self.recurrent_dropout)

    def value(self, **options):
        return self.network.loss_and_gradient(
            self.sequences, self.rows, self.loss, self.targets, self.weights, masks=self.masks, **options
        )

    def reference_value(self):
        data = self.sequences.split(self.sequences.steps)
        return sum(
            self.weights[[s]].values @ reference_losses(self.network, data[row], masks_of(self.masks, s))
            for s, row in enumerate(self.rows)
        )


def check(case, idle=()):
    """The loss against the reference, its gradient against central differences; `idle` are parameters that must not
    matter."""
    value, gradient = case.value(), flat_gradient(case.network)
    assert value == pytest.approx(case.reference_value(), rel=REFERENCE_RTOL)
    check_gradient(case.network, case.value, gradient, N_ELEMENTS)
    names = case.network.named_parameters()
    assert idle_parameters(case.network, gradient) == [name for name in names if name.endswith(idle)]


# ---- loss and gradient ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "lstm-peephole", "lstm-cell-recurrent", "gru-reset-before"])
def test_cells_and_poolings(cell, bidirectional, pooling):
    check(Case(float64(cell=cell, bidirectional=bidirectional, pooling=pooling)))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_tokens(cell, pooling):
    check(Case(float64(cell=cell, pooling=pooling, n_tokens=N_TOKENS)))


@pytest.mark.parametrize("n_tokens", [None, N_TOKENS], ids=["numbers", "tokens"])
def test_layers_of_different_sizes(n_tokens):
    """The decoder has them in opposite order."""
    network = float64(hidden=(5, 3), bidirectional=True, dense_layer_sizes=(4, 6), n_tokens=n_tokens)
    assert [layer.hidden_size for layer in network.decoder.stack.layers] == [3, 5]
    check(Case(network))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15])
def test_sizes_around_the_vector_widths(size):
    check(Case(float64(hidden=(size,)), lengths=(3, 2)))
    check(Case(float64(hidden=(2,), code_size=size), lengths=(3, 2)))
    check(Case(float64(hidden=(2,), n_features=size), lengths=(3, 2)))


@pytest.mark.parametrize("lengths", [(6,), (4, 4, 4, 4), (1, 9, 2, 9)], ids=str)
def test_lengths(lengths):
    check(Case(float64(bidirectional=True), lengths=lengths))


@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1)], ids=str)
def test_a_single_step_has_none_before_it(lengths):
    check(Case(float64(bidirectional=True), lengths=lengths), idle=("recurrent_kernel",))


@pytest.mark.parametrize("n_tokens", [None, N_TOKENS], ids=["numbers", "tokens"])
def test_convolutions(n_tokens):
    check(Case(float64(conv_layers=((6, 3), (5, 2)), pooling="attention", n_tokens=n_tokens, seed=1)))


@pytest.mark.parametrize("n_frozen_layers", [1, 2, 3])
def test_frozen_layers_have_no_gradient(n_frozen_layers):
    """An embedding and two recurrent layers; all others have the gradient they had."""
    case = Case(float64(hidden=(4, 3), n_tokens=N_TOKENS, bidirectional=True))
    value, expected = case.value(), {name: dict(part.grads) for name, part in case.network.parts.items()}
    network = case.network = case.network.copy(n_frozen_layers=n_frozen_layers)
    assert case.value() == value
    frozen = network.stack.frozen_parts()
    assert len(frozen) == [1, 3, 5][n_frozen_layers - 1]
    for name in network.parts.keys() - frozen:
        for parameter, gradient in network.parts[name].grads.items():
            assert gradient.tobytes() == expected[name][parameter].tobytes()
    assert network.n_trained == len(network.parameters) - sum(
        array.size for name in frozen for array in network.parts[name].arrays.values()
    )


@pytest.mark.parametrize(("dropout", "recurrent_dropout"), [(0.4, 0.0), (0.0, 0.4), (0.3, 0.5)])
def test_dropout_is_the_encoder_s(dropout, recurrent_dropout):
    network = float64(hidden=(5, 4), bidirectional=True, dense_layer_sizes=(6,), conv_layers=((3, 2),))
    check(Case(network, dropout=dropout, recurrent_dropout=recurrent_dropout))


def test_several_groups_and_blocks(monkeypatch):
    """Of sequences in the encoder, of codes in its head, of steps in the decoder's."""
    monkeypatch.setattr(stack, "GROUP_BYTES", 1)
    monkeypatch.setattr(stack, "MIN_GROUP_SEQUENCES", 4)
    monkeypatch.setattr(head, "MIN_ROWS", 3)
    monkeypatch.setattr(head, "BLOCK_OUTPUTS", 1)
    check(Case(float64(hidden=(4, 3)), lengths=(*LENGTHS, 7, 1, 4), dropout=0.2))


def test_a_workspace_can_be_used_again():
    case, workspace = Case(float64(hidden=(4, 3), dense_layer_sizes=(5,))), Workspace()
    expected = case.value(), flat_gradient(case.network).tobytes()
    for _ in range(2):
        assert (case.value(workspace=workspace), flat_gradient(case.network).tobytes()) == expected


def test_memory_of_a_training_step_is_bounded():
    """Of 3000 sequences of 100 steps all states take 920 MB, those of a group 32 on either side."""
    case = Case(random_network(4, (64,), 8), lengths=(100,) * 3000)
    tracemalloc.start()
    case.value()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_give_the_same_bits(dtype):
    case = Case(
        random_network(9, (64, 33), 40, dtype=dtype, bidirectional=True, scale=1.0),
        lengths=tuple(np.random.default_rng(0).integers(1, 20, 60)), dropout=0.2,
    )  # fmt: skip
    results = [(case.value(n_threads=n_threads), flat_gradient(case.network).tobytes()) for n_threads in (1, 2, 3)]
    assert results[0] == results[1] == results[2]


# ---- codes and reconstructions --------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_tokens", [None, N_TOKENS], ids=["numbers", "tokens"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_results_agree_with_the_reference(pooling, n_tokens):
    network = float64(hidden=(5, 3), dense_layer_sizes=(4,), pooling=pooling, bidirectional=True, n_tokens=n_tokens)
    sequences = random_sequences(network)
    by_step = sequences.steps, network.reconstruct(sequences), network.step_losses(sequences)
    for code, x, reconstructed, step_losses in zip(
        network.outputs(sequences), *map(sequences.split, by_step), strict=True
    ):
        expected = reference_code(network, x)
        np.testing.assert_allclose(code, expected, rtol=1e-11)
        outputs = reference_outputs(network, expected, len(x))
        if n_tokens:
            assert reconstructed[:, 0].tolist() == outputs.argmax(axis=1).tolist()
        else:
            np.testing.assert_allclose(reconstructed, outputs, rtol=1e-10)
        np.testing.assert_allclose(step_losses, reference_losses(network, x), rtol=1e-10)


def results(network, sequences, **options):
    parts = network.reconstruct(sequences, **options), network.step_losses(sequences, **options)
    codes = [code.tobytes() for code in network.outputs(sequences, **options)]
    return [codes, *([array.tobytes() for array in sequences.split(part)] for part in parts)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_tokens", [None, N_TOKENS], ids=["numbers", "tokens"])
def test_bit_for_bit_in_any_company_order_chunks_and_threads(monkeypatch, n_tokens, dtype):
    autoencoder = random_network(9, (33, 17), 13, scale=2.5, bidirectional=True, dtype=dtype, n_tokens=n_tokens)
    rng = np.random.default_rng(0)
    sequences = random_sequences(autoencoder, rng.integers(1, 12, 41))
    expected = results(autoencoder, sequences)
    assert len(set(expected[0])) > 30
    assert results(autoencoder, sequences, n_threads=3) == expected
    order = rng.permutation(41)
    assert results(autoencoder, sequences.take(order)) == [[part[i] for i in order] for part in expected]
    for i in range(0, 41, 5):
        assert results(autoencoder, sequences.take([i])) == [[part[i]] for part in expected]
    monkeypatch.setattr(network, "PREDICT_SEQUENCES", 7)
    monkeypatch.setattr(head, "MIN_ROWS", 2)
    monkeypatch.setattr(head, "BLOCK_OUTPUTS", 1)
    assert results(autoencoder, sequences) == expected


# ---- what it is made of ---------------------------------------------------------------------------------------------
def test_copies_pickles_and_files_compute_the_same():
    network = random_network(bidirectional=True, hidden=(4, 3), dense_layer_sizes=(5,), clip=3.0)
    sequences = random_sequences(network)
    expected = results(network, sequences)
    rebuilt = rebuild_network(Autoencoder, network.config, network.named_parameters())
    for other in (network.copy(), copy.deepcopy(network), pickle.loads(pickle.dumps(network)), rebuilt):
        assert results(other, sequences) == expected


@pytest.mark.parametrize("n_tokens", [None, N_TOKENS], ids=["numbers", "tokens"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "lstm-peephole", "gru", "rnn"])
def test_count_parameters(cell, bidirectional, n_tokens):
    network = Autoencoder(
        7, (4, 6), 5, bidirectional=bidirectional, dense_layer_sizes=(8,), cell=cell, n_tokens=n_tokens
    )
    assert Autoencoder.count_parameters(**network.config) == network.parameters.size


@pytest.mark.parametrize("options", [{"crf": True}, {"n_samples": 3}], ids=str)
def test_outputs_of_another_kind_are_refused(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        Autoencoder(3, (4,), 2, **options)


def test_a_code_is_of_a_sequence():
    with pytest.raises(ValueError, match="it must pool its steps"):
        Autoencoder(3, (4,), 2, pooling="steps")
