"""What the cells of a recurrent layer did at each step, read from what a training forward keeps for its backward."""

import numpy as np

from ..sequences import step_rows
from .recurrent import LANES

# The gates in the order in which the kernels keep them (src/cells.h), where that is not "ifgo".
KEPT = {
    "lstm-coupled": "fgo", "lstm-gated-recurrence": "ifog", "lstm-cell-recurrent": "ifog", "gru": "nrzq",
    "gru-reset-before": "rzn", "rnn": "h",
}  # fmt: skip


def gate_traces(layer, tape):
    """Activations (n_steps, n_gates, n_directions * H) of the gates at each step.

    Parameters
    ----------
    layer : RecurrentLayer
    tape : Tape
        Of its last training forward, not yet run backward.

    Returns
    -------
    gates : ndarray of shape (n_steps, n_gates, n_directions * H)
        i, f, g, o of an LSTM; r, z, n of a GRU; h of an RNN, which has no gate. Steps of one sequence after the other,
        and of the directions the forward one first, as in y. A copy.
    """
    cell, by_direction = layer.cell, []
    kept = KEPT.get(cell.name, "ifgo")
    # A block of units is one vector of them; that of an RNN, which has one activation a unit, is four.
    width = LANES[layer.dtype.itemsize == 8] * (4 if kept == "h" else 1)
    for direction, gates in zip(layer.directions, tape.gates, strict=True):
        blocks = gates.reshape(-1, tape.batch.n_steps, len(kept), width)
        slots = slots_of_steps(tape.batch, direction.reverse)
        traces = {gate: _units(blocks[:, :, k], slots, layer.hidden_size) for k, gate in enumerate(kept)}
        if "f" in traces and "i" not in traces:
            traces["i"] = 1 - traces["f"]
        order = "ifgo" if "f" in traces else "rzn" if "r" in traces else "h"
        by_direction.append(np.stack([traces[gate] for gate in order], axis=1))
    return np.concatenate(by_direction, axis=2)


def state_traces(layer, tape):
    """State (n_steps, n_directions * H) after each step: c of an LSTM, h of a GRU or RNN.

    Parameters and layout as of `gate_traces`.
    """
    if not layer.cell.second_state:
        return gate_traces(layer, tape)[:, 0]
    by_direction, batch = [], tape.batch
    for direction, c_steps in zip(layer.directions, tape.c_steps, strict=True):
        # The n rows before those of the slots hold what was before the first step.
        after = c_steps.reshape(1, batch.n_rows + batch.n_steps, -1)[:, batch.n_rows :]
        by_direction.append(_units(after, slots_of_steps(batch, direction.reverse), layer.hidden_size))
    return np.concatenate(by_direction, axis=1)


def slots_of_steps(batch, reverse):
    """Where the kernels keep each step (n_steps,): they go through all sequences side by side, step by step.

    >>> import numpy as np
    >>> from lstmfast import _core
    >>> from lstmfast.layers.traces import slots_of_steps
    >>> batch = _core.Batch(np.array([3, 1]))
    >>> slots_of_steps(batch, reverse=False), slots_of_steps(batch, reverse=True)
    (array([0, 2, 3, 1]), array([3, 2, 0, 1]))
    """
    lengths = batch.lengths
    alive = np.searchsorted(-lengths, -np.arange(batch.max_length), side="left")  # sequences longer than t
    time = step_rows(np.zeros_like(lengths), lengths)
    if reverse:
        time = np.repeat(lengths, lengths) - 1 - time
    return (np.cumsum(alive) - alive)[time] + np.repeat(np.arange(batch.n_rows), lengths)


def _units(blocks, slots, n_units):
    """Rows (n_slots, n_units) of blocks of units (n_blocks, n_slots, width), at some slots."""
    return np.moveaxis(blocks[:, slots], 0, 1).reshape(len(slots), -1)[:, :n_units]
