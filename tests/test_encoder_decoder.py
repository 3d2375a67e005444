"""The translator's network: against a reference written for reading, against central differences, its searches against
trying every target, and whatever must not matter.

Legend: T_in and T_out tokens of a source and its target, without their ends.
"""

import copy
import itertools
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from gradients import check_gradient, draw_parameters, flat_gradient, idle_parameters, masks_of

from lstmfast import _core, decoding, losses, stack
from lstmfast.encoder_decoder import EncoderDecoder
from lstmfast.examples import PairExamples
from lstmfast.saved_model import rebuild_network
from lstmfast.sequence_pairs import SequencePairs
from lstmfast.vocabulary import END, UNKNOWN, framed

REFERENCE_RTOL = 1e-11
LOSS = losses.SoftmaxCrossEntropy()
# (T_in, T_out): each order its own, ties, ends alone
LENGTHS = [(3, 5), (1, 2), (5, 0), (0, 3), (5, 5), (3, 1), (0, 0)]


# ---- the reference: one pair at a time, float64 ---------------------------------------------------------------------
def layers_of(network, side):
    """Each layer's parameters as tests/reference.py takes them, by direction."""
    parts = network.named_parameters()
    kind = network.config["cell"]
    for number in range(len(network.config["hidden_layer_sizes"])):
        two_way = side == "encoder" and network.config["bidirectional"]
        prefixes = {"forward": f"{side}.{number}" + (".forward" if two_way else "")}
        if two_way:
            prefixes["backward"] = f"{side}.{number}.backward"
        yield {
            direction: [parts[f"{prefix}.{name}"] for name in reference.PARAMETERS[kind]]
            for direction, prefix in prefixes.items()
        }


def reference_outputs(network, source, target, masks=None):
    """(outputs (T_out + 1, n_target_tokens), attention (T_out + 1, T_in + 1) or None) of one pair of lists of ids.

    masks: {"encoder": [one dict for each layer], "decoder": likewise, "dense": [mask or None]}
    """
    parts, config = network.named_parameters(), network.config
    cell = reference.Cell(config["cell"], config["activation"], config["recurrent_activation"], config["clip"])
    n_layers = len(config["hidden_layer_sizes"])
    masks = masks or {"encoder": [None] * n_layers, "decoder": [None] * n_layers, "dense": [None] * 9}

    # The encoder reads the source and its end.
    x, states = parts["encoder.embedding.weight"][[*source, END]], []
    for layer, mask in zip(layers_of(network, "encoder"), masks["encoder"], strict=True):
        x, (h, c), _ = reference.layer_forward(x, layer, masks=mask, cell=cell)
        # Each layer hands its final state to the decoder's: the mean of its directions.
        states.append((h.mean(axis=0, keepdims=True), None if c is None else c.mean(axis=0, keepdims=True)))
    keys = x

    # The decoder reads an end and the target ...
    x = parts["decoder.embedding.weight"][[END, *target]]
    for layer, mask, (h, c) in zip(layers_of(network, "decoder"), masks["decoder"], states, strict=True):
        x, _, _ = reference.layer_forward(x, layer, h, c, masks=mask, cell=cell)

    # ... and looks at the encoder's outputs,
    weights = None
    if config["attention"]:
        query_kernel, key_kernel, scale = (parts[f"attention.{n}"] for n in ("query_kernel", "key_kernel", "scale"))
        scores = np.array([[scale @ np.tanh(q @ query_kernel + k @ key_kernel) for k in keys] for q in x])
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        x = np.concatenate((x, weights @ keys), axis=1)

    # of which dense layers, with relu between them, make outputs.
    for i in range(len(config["dense_layer_sizes"]) + 1):
        x = np.maximum(x, 0) if i else x
        mask = 1.0 if masks["dense"][i] is None else masks["dense"][i]
        x = (mask * x) @ parts[f"decoder.{n_layers + i}.weight"] + parts[f"decoder.{n_layers + i}.bias"]
    return x, weights


def reference_log_likelihoods(network, source, target, masks=None):
    """Of each token of the target, and of its end."""
    outputs, _ = reference_outputs(network, source, target, masks)
    logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    return logs[np.arange(len(target) + 1), [*target, END]]


# ---- problems -------------------------------------------------------------------------------------------------------
def random_network(n_source=6, n_target=5, embedding=3, hidden=(4,), seed=0, scale=1.5, **options):
    network = EncoderDecoder(n_source, n_target, embedding, hidden, **options)
    draw_parameters(network, seed, scale)
    return network


def random_pairs(network, lengths=LENGTHS, seed=1):
    """Lists of sources and targets."""
    rng, config = np.random.default_rng(seed), network.config
    return [
        [rng.choice([UNKNOWN, *range(2, config[f"n_{side}_tokens"])], size=both[i]) for both in lengths]
        for i, side in enumerate(("source", "target"))
    ]


def pack(sources, targets):
    return SequencePairs(framed(sources), framed(targets))


@dataclass
class Case:
    """A network and some of its data, in another order."""

    network: EncoderDecoder
    lengths: tuple = tuple(LENGTHS)
    dropout: float = 0.0
    recurrent_dropout: float = 0.0

    def __post_init__(self):
        self.sources, self.targets = random_pairs(self.network, self.lengths)
        self.pairs, rng = pack(self.sources, self.targets), np.random.default_rng(2)
        n = len(self.sources)
        self.rows = rng.permutation(n)[: max(1, n - 1)]
        self.weight = 1 / sum(len(self.targets[row]) + 1 for row in self.rows)
        self.masks = None
        if self.dropout or self.recurrent_dropout:
            self.masks = self.network.draw_masks(rng, len(self.rows), self.dropout, self.recurrent_dropout)

    def value(self, **options):
        return self.network.loss_and_gradient(
            self.pairs, self.rows, LOSS, None, self.weight, masks=self.masks, **options
        )

    def masks_of(self, s):
        if self.masks is None:
            return None
        encoder, decoder = (masks_of(masks, s) for masks in (self.masks.encoder, self.masks.decoder))
        return {"encoder": encoder["layers"], "decoder": decoder["layers"], "dense": decoder["dense"]}

    def reference_value(self):
        return -self.weight * sum(
            reference_log_likelihoods(self.network, self.sources[row], self.targets[row], self.masks_of(s)).sum()
            for s, row in enumerate(self.rows)
        )


def check(case):
    """Every parameter against central differences, and the loss against the reference."""
    value, gradient = case.value(), flat_gradient(case.network)
    assert value == pytest.approx(case.reference_value(), rel=REFERENCE_RTOL)
    assert len(gradient) < 3000, "a smaller network would do"
    check_gradient(case.network, case.value, gradient)
    assert not idle_parameters(case.network, gradient)


def float64(**options):
    return random_network(dtype="float64", **options)


# ---- loss and gradient ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("attention", [True, False], ids=["attention", "plain"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "lstm-peephole", "gru-reset-before"])
def test_cells(cell, bidirectional, attention):
    check(Case(float64(cell=cell, bidirectional=bidirectional, attention=attention)))


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "plain"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_two_layers_of_different_sizes(cell, bidirectional, attention):
    check(Case(float64(hidden=(5, 3), cell=cell, bidirectional=bidirectional, attention=attention)))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15])
def test_sizes_around_the_vector_widths(size):
    check(Case(float64(hidden=(size,), embedding=2), lengths=((2, 3), (3, 1))))
    check(Case(float64(hidden=(2,), embedding=size, n_target=size + 3), lengths=((2, 3), (3, 1))))


def test_dense_layers():
    check(Case(float64(dense_layer_sizes=(7, 4), bidirectional=True)))


@pytest.mark.parametrize(("dropout", "recurrent_dropout"), [(0.4, 0.0), (0.0, 0.4), (0.3, 0.5)])
def test_dropout_with_fixed_masks(dropout, recurrent_dropout):
    network = float64(hidden=(5, 4), bidirectional=True, dense_layer_sizes=(6,))
    check(Case(network, dropout=dropout, recurrent_dropout=recurrent_dropout))


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "plain"])
def test_several_groups(monkeypatch, attention):
    monkeypatch.setattr(stack, "GROUP_BYTES", 1)
    monkeypatch.setattr(stack, "MIN_GROUP_SEQUENCES", 3)
    network = float64(hidden=(4, 3), bidirectional=True, attention=attention)
    lengths = (*LENGTHS, (2, 7), (6, 1), (4, 4))
    case = Case(network, lengths=lengths, dropout=0.2, recurrent_dropout=0.3)
    batches, original = [], _core.Batch
    monkeypatch.setattr(_core, "Batch", lambda lengths: batches.append(len(lengths)) or original(lengths))
    case.value()
    assert batches == [3, 3, 3, 3, 3, 3]  # encoder and decoder
    check(case)


@pytest.mark.parametrize("lengths", [((3, 4),), ((0, 0),), ((2, 2),) * 5, ((0, 4), (4, 0))], ids=str)
def test_single_pairs_and_ties(lengths):
    case = Case(float64(bidirectional=True), lengths=lengths)
    case.rows = np.arange(len(lengths))
    assert case.value() == pytest.approx(case.reference_value(), rel=REFERENCE_RTOL)
    check_gradient(case.network, case.value, flat_gradient(case.network), n_elements=0)


def test_a_batch_weighs_its_target_tokens_alike():
    case = Case(float64())
    (batch,) = PairExamples(case.pairs, 100).batches(None)
    case.rows, case.weight = batch.rows, batch.weights
    n_tokens = sum(len(target) + 1 for target in case.targets)
    assert batch.share == n_tokens
    assert batch.n_steps == n_tokens + sum(len(source) + 1 for source in case.sources)
    assert case.value() == pytest.approx(case.reference_value(), rel=REFERENCE_RTOL)
    assert batch.weights == pytest.approx(1 / n_tokens)


def test_examples_visit_each_pair_once_an_epoch():
    examples = PairExamples(Case(float64()).pairs, 3)
    assert examples.n_batches == 3
    batches = list(examples.batches(np.random.default_rng(0)))
    assert [len(batch.rows) for batch in batches] == [3, 3, 1]
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(7))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_give_the_same_bits(dtype):
    network = random_network(60, 50, 40, (64, 33), dtype=dtype, bidirectional=True, scale=1.0)
    lengths = np.random.default_rng(0).integers(0, 20, (60, 2))
    case = Case(network, lengths=tuple(map(tuple, lengths)), dropout=0.2)
    results = []
    for n_threads in (1, 2, 3):
        results.append((case.value(n_threads=n_threads), flat_gradient(case.network).tobytes()))
    assert results[0] == results[1] == results[2]


# ---- likelihoods and attention --------------------------------------------------------------------------------------
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("attention", [True, False], ids=["attention", "plain"])
def test_log_likelihoods_agree_with_the_reference(attention, bidirectional):
    network = float64(attention=attention, bidirectional=bidirectional, hidden=(4, 5))
    sources, targets = random_pairs(network)
    for found, source, target in zip(network.log_likelihoods(pack(sources, targets)), sources, targets, strict=True):
        np.testing.assert_allclose(found, reference_log_likelihoods(network, source, target), rtol=1e-12)


def test_attention_weights_agree_with_the_reference():
    network = float64(bidirectional=True)
    sources, targets = random_pairs(network)
    for found, source, target in zip(network.attention_weights(pack(sources, targets)), sources, targets, strict=True):
        assert found.shape == (len(target), len(source))
        _, weights = reference_outputs(network, source, target)
        np.testing.assert_allclose(found, weights[:-1, :-1], rtol=1e-11)


# ---- searches -------------------------------------------------------------------------------------------------------
def every_target(n_tokens, max_length):
    for length in range(max_length + 1):
        yield from (list(ids) for ids in itertools.product(range(2, n_tokens), repeat=length))


def search_problem(seed):
    """A network of steep outputs, and sources."""
    network = float64(n_target=5, hidden=(8,), seed=seed, scale=6.0, attention=seed % 2 == 0)
    return network, random_pairs(network, [(3, 0), (0, 0), (5, 0), (2, 0)], seed)[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_beam_wide_enough_finds_the_most_probable_target(seed):
    network, sources = search_problem(seed)
    found = network.translate(framed(sources), beam_width=3**4, max_length=4)
    for source, ids in zip(sources, found, strict=True):
        scores = {
            tuple(target): reference_log_likelihoods(network, source, target).sum() for target in every_target(5, 4)
        }
        assert tuple(ids) == max(scores, key=scores.get)


def test_the_best_targets_of_these_networks_are_no_trifle():
    """The test above sees targets of several lengths, and ones that greedy decoding misses."""
    lengths, missed = set(), 0
    for seed in range(6):
        network, sources = search_problem(seed)
        best, greedy = (network.translate(framed(sources), width, max_length=4) for width in (81, 1))
        lengths |= {len(ids) for ids in best}
        missed += sum(a.tolist() != b.tolist() for a, b in zip(best, greedy, strict=True))
    assert len(lengths) >= 3
    assert missed >= 2


def greedy_reference(network, source, max_length):
    ids = []
    while len(ids) < max_length:
        outputs = reference_outputs(network, source, ids)[0][-1]
        outputs[UNKNOWN] = -np.inf
        if outputs.argmax() == END:
            break
        ids.append(int(outputs.argmax()))
    return ids


def beam_reference(network, source, max_length, width):
    """The same search with lists: ended targets stay in the beam, and the best that ever was there wins."""
    beam, best = [(0.0, [])], (-np.inf, [])
    while beam:
        ways = []
        for score, ids in beam:
            outputs = reference_outputs(network, source, ids)[0][-1]
            logs = outputs - np.log(np.exp(outputs).sum())
            allowed = range(END, len(logs)) if len(ids) < max_length else [END]
            ways += [(score + logs[token], ids, token) for token in allowed]
        ways = sorted(ways, key=lambda way: -way[0])[:width]
        best = max([best, *[(score, ids) for score, ids, token in ways if token == END]], key=lambda pair: pair[0])
        beam = [(score, [*ids, token]) for score, ids, token in ways if token != END and score > best[0]]
    return best[1]


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_searches_agree_with_the_reference(width, cell, bidirectional):
    network = float64(n_target=7, seed=5, scale=6.0, hidden=(8, 5), cell=cell, bidirectional=bidirectional)
    sources = random_pairs(network)[0]
    for source, ids in zip(sources, network.translate(framed(sources), width), strict=True):
        limit = 2 * len(source) + 10
        assert ids.dtype == np.int64
        assert ids.tolist() == beam_reference(network, source, limit, width)
        if width == 1:
            assert ids.tolist() == greedy_reference(network, source, limit)


@pytest.mark.parametrize("max_length", [1, 3, None])
def test_unknown_tokens_are_never_written_and_max_length_is_kept(max_length):
    network = random_network()
    network.dense[-1].bias = [100.0, -100.0, 0.0, 0.0, 0.0]
    sources = random_pairs(network)[0]
    for width in (1, 2, 3, 30):
        for source, ids in zip(sources, network.translate(framed(sources), width, max_length), strict=True):
            # The end is improbable wherever it stands. A beam that keeps it beside the three tokens takes it at once.
            assert len(ids) == (0 if width > 3 else max_length or 2 * len(source) + 10)
            assert all(ids > END)


@pytest.mark.parametrize("width", [1, 4])
def test_a_network_that_ends_at_once(width):
    network = random_network()
    network.dense[-1].bias = [0.0, 100.0, 0.0, 0.0, 0.0]
    assert [ids.tolist() for ids in network.translate(framed(random_pairs(network)[0]), width)] == [[]] * len(LENGTHS)


def test_ties_go_to_the_first_token():
    network = EncoderDecoder(4, 5, 2, (2,))
    network.dense[-1].bias = [0.0, -1.0, 0.0, 0.0, 0.0]
    for width in (1, 2, 3):
        (ids,) = network.translate(framed([np.array([2])]), width, max_length=3)
        assert ids.tolist() == [2, 2, 2]
    assert network.translate(framed([np.array([2])]), 4, max_length=3)[0].tolist() == []  # now the end is in the beam


# ---- what must not matter -------------------------------------------------------------------------------------------
def results(network, sources, targets, **options):
    pairs = pack(sources, targets)
    return [
        [array.tobytes() for array in part]
        for part in (
            network.translate(pairs.sources, **options), network.translate(pairs.sources, beam_width=3, **options),
            network.log_likelihoods(pairs, **options), network.attention_weights(pairs, **options),
        )
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_bit_for_bit_in_any_company_order_chunks_and_threads(monkeypatch, bidirectional, dtype):
    network = random_network(12, 23, 9, (33, 17), scale=2.5, bidirectional=bidirectional, dtype=dtype)
    rng = np.random.default_rng(0)
    sources, targets = random_pairs(network, rng.integers(0, 12, (41, 2)))
    expected = results(network, sources, targets)
    assert len(set(expected[0])) > 5
    assert expected[0] != expected[1]
    assert results(network, sources, targets, n_threads=3) == expected
    order = rng.permutation(len(sources))
    mixed = results(network, [sources[i] for i in order], [targets[i] for i in order])
    assert mixed == [[part[i] for i in order] for part in expected]
    for i in range(0, len(sources), 5):
        assert results(network, [sources[i]], [targets[i]]) == [[part[i]] for part in expected]
    monkeypatch.setattr("lstmfast.network.PREDICT_SEQUENCES", 7)
    monkeypatch.setattr(decoding, "BEAM_CANDIDATES", 100)
    assert results(network, sources, targets) == expected


def test_a_greedy_target_is_scored_as_it_was_written():
    """A decoder that goes step by step computes the bits of one that reads the target at once."""
    network = random_network(12, 23, 9, (33, 17), scale=2.5)
    sources = random_pairs(network)[0]
    for source, ids in zip(sources, network.translate(framed(sources)), strict=True):
        for t, token in enumerate(ids):
            (found,) = network.log_likelihoods(pack([source], [ids]))
            (instead,) = network.log_likelihoods(pack([source], [np.array([*ids[:t], 2])]))
            assert found[t] >= instead[t] or token == 2


def test_copies_pickles_and_files_compute_the_same():
    network = random_network(bidirectional=True, hidden=(4, 3), dense_layer_sizes=(5,), clip=3.0)
    sources, targets = random_pairs(network)
    expected = results(network, sources, targets)
    rebuilt = rebuild_network(EncoderDecoder, network.config, network.named_parameters())
    for other in (network.copy(), copy.deepcopy(network), pickle.loads(pickle.dumps(network)), rebuilt):
        assert results(other, sources, targets) == expected
    assert network.copy(dtype="float64").dtype == np.float64


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "lstm-peephole", "gru", "rnn"])
def test_count_parameters(cell, bidirectional, attention):
    network = EncoderDecoder(
        7, 5, 3, (4, 6), attention=attention, bidirectional=bidirectional, dense_layer_sizes=(8,), cell=cell
    )
    assert EncoderDecoder.count_parameters(**network.config) == network.parameters.size


def test_pairs_taken_are_those_pairs():
    network = random_network()
    sources, targets = random_pairs(network)
    taken = pack(sources, targets).take([4, 1])
    assert len(taken) == 2
    assert taken.lengths.tolist() == [12, 5]
    expected = results(network, [sources[4], sources[1]], [targets[4], targets[1]])
    assert [x.tobytes() for x in network.log_likelihoods(taken)] == expected[2]
