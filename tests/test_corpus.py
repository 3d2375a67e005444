"""Corpus: each token is predicted once an epoch, from what comes before it, with the state of the steps before."""

import numpy as np
import pytest

from lstmfast.examples import Corpus
from lstmfast.losses import SoftmaxCrossEntropy
from lstmfast.network import Network
from lstmfast.sequences import Sequences
from lstmfast.vocabulary import framed
from lstmfast.workspace import Workspace

N_TOKENS = 7
LENGTHS = {
    "short": (1, 0, 3, 2, 1, 4, 2, 0, 5),
    "one long": (1000,),
    "one step over the lanes": (129,),
    "single token": (1,),
    "empty": (0,),
    "fewer than lanes": (9, 30),
    "long among short": (3, 200, 1, 1, 7, 0, 40),
    "around bptt": (7, 8, 9, 15, 16, 17, 6),
}


def texts(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return framed([rng.integers(2, N_TOKENS, length) for length in lengths])


def network(dtype="float64", **options):
    net = Network(**{"n_features": 3, "hidden_layer_sizes": (4,), "n_outputs": N_TOKENS, "pooling": "steps",
                     "n_tokens": N_TOKENS, "dtype": dtype, **options})  # fmt: skip
    net.initialize(np.random.default_rng(0))
    for layer in net.layers:  # otherwise biases are 0, and a state that was lost would hardly show
        layer.directions[0].arrays["bias"][...] = np.random.default_rng(1).normal(
            size=layer.directions[0].shapes["bias"]
        )
    net.parameters_changed()
    return net


def texts_of(places, sequences):
    return np.searchsorted(sequences.offsets, places, side="right") - 1


@pytest.mark.parametrize("n_lanes", [1, 2, 8, 100])
@pytest.mark.parametrize("bptt", [1, 8, 64, None])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "whole"])
@pytest.mark.parametrize("name", LENGTHS)
def test_each_token_is_predicted_once_from_its_predecessor(name, cut, bptt, n_lanes):
    sequences = texts(LENGTHS[name])
    corpus = Corpus(sequences, network(), n_lanes, bptt, cut)
    for rng in (None, np.random.default_rng(0)):
        predicted, n_batches = [], 0
        for batch in corpus.batches(rng):
            rows, lengths = batch.sequences, batch.sequences.lengths
            assert len(rows) == len(batch.rows) <= n_lanes
            assert lengths.min() >= 1
            assert bptt is None or lengths.max() <= bptt
            assert batch.n_steps == batch.share == lengths.sum() == len(batch.places)
            tokens = sequences.steps[:, 0]
            assert np.array_equal(rows.steps[:, 0], tokens[batch.places])
            assert np.array_equal(batch.targets.values, tokens[batch.places + 1])
            assert np.array_equal(texts_of(batch.places, sequences), texts_of(batch.places + 1, sequences))
            assert np.array_equal(batch.targets.offsets, rows.offsets)
            np.testing.assert_allclose(batch.weights.values, 1 / batch.n_steps)
            predicted.append(batch.places + 1)
            n_batches += 1
        firsts = sequences.offsets[:-1]
        expected = np.setdiff1d(np.arange(len(sequences.steps)), firsts)
        assert np.array_equal(np.sort(np.concatenate(predicted)), expected)
        # No order needs fewer, and giving the next piece to the first free lane less than twice as many (Graham 1966).
        assert corpus.n_batches <= n_batches <= 2 * corpus.n_batches


@pytest.mark.parametrize("bptt", [1, 3, 8])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("name", ["long among short", "short", "one long"])
def test_state_goes_on_within_a_piece_and_begins_at_zero(name, cell, bptt):
    """The likelihoods of a corpus in chunks are those of its pieces, each run as a whole."""
    sequences, net = texts(LENGTHS[name]), network(cell=cell, hidden_layer_sizes=(4, 3))
    corpus = Corpus(sequences, net, 4, bptt)
    found, workspace = np.full(len(sequences.steps), np.nan), Workspace()
    for batch in corpus.batches(np.random.default_rng(1)):
        found[batch.places] = net.log_likelihoods(batch, workspace)
    for start, stop in zip(corpus.starts, corpus.stops, strict=True):
        tokens = corpus.tokens[start : stop + 1]
        z = net.outputs(Sequences(tokens[:-1, None], np.array([0, stop - start])))
        logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(found[start:stop], logs[np.arange(len(z)), tokens[1:]], rtol=0, atol=1e-12)
    assert np.isnan(found).sum() == len(sequences)


def test_batches_go_on_from_the_last_ones_final_state():
    """What `loss_and_gradient` leaves in a batch's state is what the next batch begins with."""
    net, bptt = network(), 5
    corpus = Corpus(texts((12, 23, 4)), net, 2, bptt, cut=False)
    ends = {}  # the place where a step would follow, and the state there
    for batch in corpus.batches(None):
        offsets = batch.sequences.offsets
        firsts, lasts = batch.places[offsets[:-1]], batch.places[offsets[1:] - 1]
        for row, place in enumerate(firsts.tolist()):
            before = ends.get(place, np.zeros(4))
            assert np.array_equal(batch.state.h[0][0, row], before)
            assert (place in ends) == (place not in corpus.starts)
        net.loss_and_gradient(
            batch.sequences, batch.rows, SoftmaxCrossEntropy(), batch.targets, batch.weights, state=batch.state
        )
        ends |= {int(place) + 1: batch.state.h[0][0, row].copy() for row, place in enumerate(lasts)}
    assert all(np.abs(h).max() > 1e-3 for h in ends.values())


# ---- lanes and pieces -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_lanes_stay_full_while_texts_wait(seed):
    corpus = Corpus(texts(np.random.default_rng(seed).integers(0, 40, 60)), network(), 8, 6)
    waiting = len(corpus.starts)
    for batch in corpus.batches(np.random.default_rng(seed)):
        waiting -= np.isin(batch.places[batch.sequences.offsets[:-1]], corpus.starts).sum()
        assert len(batch.rows) == 8 or waiting == 0
    assert waiting == 0


@pytest.mark.parametrize("length", [63, 64, 65, 100, 999, 1000, 4321])
@pytest.mark.parametrize("n_lanes", [1, 7, 8, 32])
def test_one_long_text_fills_all_lanes(length, n_lanes):
    bptt = 4
    corpus = Corpus(texts((length,)), network(), n_lanes, bptt)
    n_pieces = min(n_lanes, (length + 1) // bptt)
    assert len(next(corpus.batches(None)).rows) == len(corpus.starts) == n_pieces
    sizes = corpus.stops - corpus.starts
    assert sizes.min() >= bptt
    assert sizes.max() - sizes.min() <= 1


def test_short_texts_are_never_cut():
    lengths = (14, 6, 3, 14, 0, 100)
    corpus = Corpus(texts(lengths), network(), 32, 8)
    n_pieces = np.bincount(texts_of(corpus.starts, texts(lengths)))
    assert n_pieces.tolist() == [1, 1, 1, 1, 1, 12]  # a text of less than twice bptt is one piece


def test_many_texts_are_not_cut():
    """None is longer than a lane's share of them all."""
    assert len(Corpus(texts((300,) * 50), network(), 10, 8).starts) == 50


def test_without_bptt_texts_are_whole():
    lengths = (300, 2, 40)
    corpus = Corpus(texts(lengths), network(), 2, None)
    found = np.concatenate([batch.sequences.lengths for batch in corpus.batches(None)])
    assert found.tolist() == [301, 3, 41]


def test_order():
    corpus = Corpus(texts((1,) * 50), network(), 4, 8)

    def order(rng):
        return np.concatenate([batch.places[batch.sequences.offsets[:-1]] for batch in corpus.batches(rng)]).tolist()

    assert order(None) == corpus.starts.tolist()
    assert order(np.random.default_rng(0)) == order(np.random.default_rng(0)) != order(None)
    rng = np.random.default_rng(0)
    assert order(rng) != order(rng)


@pytest.mark.parametrize("lengths", [(1000,), (10,) * 300, tuple(range(100))], ids=len)
def test_the_number_of_batches_is_about_what_is_said(lengths):
    corpus = Corpus(texts(lengths), network(), 8, 16)
    counts = [sum(1 for _ in corpus.batches(np.random.default_rng(seed))) for seed in range(5)]
    assert max(counts) <= 1.15 * corpus.n_batches


def test_texts_without_any_step():
    """A history without its end may be a single token: there is nothing to predict in it."""
    sequences = framed([np.array([2, 3]), np.empty(0, int), np.array([4])], end=False)
    corpus = Corpus(sequences, network(), 1, 8)
    assert [batch.places.tolist() for batch in corpus.batches(None)] == [[0, 1], [4]]
    nothing = Corpus(framed([np.empty(0, int)], end=False), network(), 1, None)
    assert (list(nothing.batches(None)), nothing.n_batches) == ([], 0)
