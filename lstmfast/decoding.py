"""Targets of sources alone: the decoders of an `EncoderDecoder` step by step, and greedy and beam search with them."""

import itertools

import numpy as np

from . import _core
from .layers import Pairs
from .losses import softmax_losses
from .network import prediction_batches
from .sequence_pairs import longest_first
from .sequences import first_rows
from .thread_choice import ThreadChoice
from .vocabulary import END, UNKNOWN
from .workspace import Workspace

# Ways to go on that a beam search compares at once, of all its sources together: bounds its memory, 8 bytes each.
BEAM_CANDIDATES = 1 << 21


def translate(network, sources, beam_width, max_length, n_threads):
    """`EncoderDecoder.translate`."""
    result = [None] * len(sources)
    workspace, threads = Workspace(), ThreadChoice(n_threads)
    for rows, batch in prediction_batches(sources):
        decoders = Decoders(network, sources, rows, workspace, threads, n_threads)
        limits = np.full(len(rows), max_length) if max_length else 2 * (batch.lengths - 2) + 10
        found = _greedy(decoders, limits) if beam_width == 1 else _beams(decoders, limits, beam_width)
        for i, ids in zip(rows.tolist(), found, strict=True):
            result[i] = ids
    return result


class Decoders:
    """The decoders of n sources; all that a search knows of a network.

    Parameters
    ----------
    network : EncoderDecoder
    sources : Sequences
        As of `SequencePairs`.
    rows : ndarray of int of shape (n,)
        Which of them, longest first.
    workspace : Workspace
    threads : ThreadChoice
        For the steps.
    n_threads : int
        For the encoder.

    Attributes
    ----------
    state : State
        That they start from.
    n_tokens : int
        Of the targets.
    """

    def __init__(self, network, sources, rows, workspace, threads, n_threads):
        self._network, self._workspace, self._threads = network, workspace, threads
        self.n_tokens = network.dense[-1].output_size
        batch, first, _ = longest_first(sources, rows)
        record = network.encoder.forward(
            batch, sources.steps, x_first=first + 1, masks=network.encoder.no_masks(),
            all_steps=network.attention is not None, workspace=workspace, n_threads=n_threads,
        )  # fmt: skip
        self.state = network.hand_over(record.state, np.arange(len(rows)))
        # What the attention sees: the encoder's outputs at all steps, and which of these rows are a source's.
        self._keys, self._first, self._lengths = record.y, first_rows(batch.lengths), batch.lengths
        self._projected = network.attention and network.attention.project_keys(record.y, n_threads)

    def step(self, which, tokens, state):
        """One step of m decoders: (outputs (m, n_tokens), State after it).

        Parameters
        ----------
        which : ndarray of int of shape (m,)
            Which of the sources each writes a target for.
        tokens : ndarray of int of shape (m,)
            What they wrote last; `END` at first.
        state : State
            Before the step. The one that is returned belongs to the workspace.
        """
        with self._threads.measure(len(tokens)) as n_threads:
            return self._step(which, tokens, state, n_threads)

    def _step(self, which, tokens, state, n_threads):
        network, ones = self._network, np.ones(len(tokens), np.int64)
        record = network.decoder.forward(
            _core.Batch(ones), tokens[:, None], masks=network.decoder.no_masks(), state=state, all_steps=True,
            workspace=self._workspace, n_threads=n_threads,
        )  # fmt: skip
        z = record.y
        if network.attention is not None:
            who = Pairs(np.arange(len(tokens)), ones, self._first[which], self._lengths[which])
            context, _ = network.attention.forward(
                z, self._keys, who, n_threads=n_threads, keys_projected=self._projected
            )
            z = np.concatenate((z, context), axis=1)
        return network.head.predict(z, n_threads), record.state


def _greedy(decoders, limits):
    """List of targets, each token the most probable one after those before it."""
    sources, tokens, state = np.arange(len(limits)), np.full(len(limits), END), decoders.state
    written = []
    for length in itertools.count(1):
        outputs, state = decoders.step(sources, tokens, state)
        outputs[:, UNKNOWN] = -np.inf
        tokens = outputs.argmax(axis=1)
        going_on = tokens != END
        written.append((sources[going_on], tokens[going_on]))
        going_on &= limits[sources] > length
        if not going_on.any():
            break
        sources, tokens, state = sources[going_on], tokens[going_on], state.take(going_on)
    who, ids = (np.concatenate(parts) for parts in zip(*written, strict=True))
    return np.split(ids[np.argsort(who, kind="stable")], np.searchsorted(np.sort(who), np.arange(1, len(limits))))


def _beams(decoders, limits, width):
    """Yields the targets of all sources, by `_beam` of as many at once as memory has room for."""
    size = max(1, BEAM_CANDIDATES // (width * decoders.n_tokens))
    for start in range(0, len(limits), size):
        rows = np.arange(start, min(start + size, len(limits)))
        yield from _beam(decoders, rows, limits[rows], width)


def _beam(decoders, rows, limits, width):
    """List of targets for sources `rows`, of the highest log-probability that a beam search finds."""
    n = len(rows)
    best, best_at = np.full(n, -np.inf), np.zeros((n, 2), np.int64)  # the best target that has ended, and where
    trail = []  # for each step: which of the beginnings before it each goes on, and with which token
    # Beginnings that are followed, of one source after the other; of one, the most probable first.
    source, score, tokens, state = np.arange(n), np.zeros(n), np.full(n, END), decoders.state.take(rows)
    while len(source):
        outputs, after = decoders.step(rows[source], tokens, state)
        totals = score[:, None] + log_softmax(outputs)
        totals[:, UNKNOWN] = -np.inf
        at_limit = limits[source] == len(trail)  # only the end may follow
        totals[at_limit, :END] = totals[at_limit, END + 1 :] = -np.inf

        parent, token = _best_of_each(totals, source, width)
        source, score = source[parent], totals[parent, token]
        ended = token == END
        # Of a source's, the first is the best one.
        who, first = np.unique(source[ended], return_index=True)
        at = np.flatnonzero(ended)[first]
        better = score[at] > best[who]
        who, at = who[better], at[better]
        best[who], best_at[who] = score[at], np.column_stack((np.full(len(at), len(trail)), parent[at]))

        kept = ~ended & (score > best[source])
        source, score, parent, tokens = source[kept], score[kept], parent[kept], token[kept]
        state = after.take(parent)
        trail.append((parent, tokens))
    return [_trace(trail, *where) for where in best_at.tolist()]


def _trace(trail, n_steps, i):
    """The tokens that led to beginning i after n_steps."""
    ids = np.empty(n_steps, np.int64)
    for t in reversed(range(n_steps)):
        parents, tokens = trail[t]
        ids[t], i = tokens[i], parents[i]
    return ids


def _best_of_each(totals, source, width):
    """Rows and columns of the `width` largest entries of each source's rows, those of one after those of another, by
    falling value; equal ones in their order. -inf is none of them."""
    who, first, number = np.unique(source, return_index=True, return_inverse=True)
    slot = np.arange(len(source)) - first[number]
    pool = np.full((len(who), slot.max() + 1, totals.shape[1]), -np.inf)
    pool[number, slot] = totals
    pool = pool.reshape(len(who), -1)
    threshold = np.full(len(who), -np.inf)
    if width < pool.shape[1]:
        threshold = np.partition(pool, -width, axis=1)[:, -width]
    row, place = np.nonzero((pool >= threshold[:, None]) & (pool > -np.inf))
    order = np.lexsort((place, -pool[row, place], row))
    row, place = row[order], place[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    row, place = row[rank < width], place[rank < width]
    slot, column = np.divmod(place, totals.shape[1])
    return first[row] + slot, column


def log_softmax(outputs):
    """Logarithm of softmax of each row, in float64; a row has the same bits in any company."""
    best = outputs.argmax(axis=1)
    shifted = outputs.astype(np.float64)
    shifted -= shifted[np.arange(len(best)), best][:, None]
    shifted -= softmax_losses(outputs.copy(), best)[:, None]
    return shifted
