"""The rows of a long table as sequences: grouped by id and sorted by time, at once or while they stream by."""

from dataclasses import dataclass

import numpy as np

from .columns import Column, written_times


@dataclass(frozen=True)
class Steps:
    """Rows of a table whose cells have been read.

    Parameters
    ----------
    values : ndarray of shape (n, n_features)
        The features.
    ids : Column of n str or int, or None
        Which sequence each row belongs to. None: all to one.
    times : Column of n numbers or dates, or None
        What the rows of a sequence are sorted by. None: they stay as they are.
    targets : list of Column
        Columns to be learned, or none.
    """

    values: np.ndarray
    ids: Column | None
    times: Column | None
    targets: list

    def __len__(self):
        return len(self.values)

    @staticmethod
    def join(parts):
        """The rows of several, one after the other."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return Steps(
            np.concatenate([part.values for part in parts]),
            first.ids and Column.join([part.ids for part in parts]),
            first.times and Column.join([part.times for part in parts]),
            [Column.join(columns) for columns in zip(*[part.targets for part in parts], strict=True)],
        )

    def take(self, indices):
        """The rows at some indices, an array or a slice."""
        return Steps(
            self.values[indices],
            self.ids and self.ids.take(indices),
            self.times and self.times.take(indices),
            [column.take(indices) for column in self.targets],
        )


@dataclass(frozen=True)
class Panel:
    """Sequences: those of the rows `steps` that lie between two offsets.

    Parameters
    ----------
    keys : list
        The id of each sequence; [None] where there are no ids.
    offsets : ndarray of shape (n_sequences + 1,)
    steps : Steps
    """

    keys: list
    offsets: np.ndarray
    steps: Steps

    def split(self, values):
        """List of arrays, one a sequence, of an array with an entry a row."""
        return np.split(values, self.offsets[1:-1])


def group(steps):
    """The rows as sequences, in the order in which their ids first appear, each sorted by time.

    Raises
    ------
    TableError
        If a sequence has the same time twice.

    Returns
    -------
    panel : Panel
    """
    if steps.ids is None:
        keys, codes = [None], np.zeros(len(steps), np.int64)
    else:
        number = {}
        codes = np.fromiter((number.setdefault(key, len(number)) for key in steps.ids.cells), np.int64, len(steps))
        keys = list(number)
    order = np.lexsort((codes,) if steps.times is None else (steps.times.cells, codes))
    if (np.diff(order) != 1).any():
        steps, codes = steps.take(order), codes[order]
    if steps.times is not None:
        times = steps.times.cells
        twice = (times[1:] == times[:-1]) & (codes[1:] == codes[:-1])
        if twice.any():
            second = int(twice.argmax()) + 1
            whose = "" if steps.ids is None else f" for {steps.ids.name} {steps.ids.cells[second]!r}"
            time, before = written_times(times[[second]])[0], steps.times.lines[second - 1]
            raise steps.times.error(second, f"the time {time} is there already{whose}, in {steps.times.unit} {before}")
    return Panel(keys, np.searchsorted(codes, np.arange(len(keys) + 1)), steps)


def stream(chunks):
    """Panels of whole sequences from chunks of rows in which the rows of an id stand together.

    It holds a chunk, the rows of one id and the set of the ids so far.

    Parameters
    ----------
    chunks : iterable of Steps
        With ids.

    Yields
    ------
    panel : Panel

    Raises
    ------
    TableError
        If an id comes back after another, or as `group` does.
    """
    seen, pending = set(), []
    for steps in chunks:
        ids = steps.ids.cells
        last = len(ids) - 1  # where the rows of the last id begin, which may go on in the next chunk
        while last > 0 and ids[last - 1] == ids[-1]:
            last -= 1
        if last > 0:
            whole = Steps.join([*pending, steps.take(slice(last))])
            _check_together(whole.ids, seen)
            yield group(whole)
            pending = []
        pending.append(steps.take(slice(last, None)))
    whole = Steps.join(pending)
    _check_together(whole.ids, seen)
    yield group(whole)


def _check_together(ids, seen):
    """TableError if an id was seen before; adds those that are here."""
    before = None
    for row, key in enumerate(ids.cells):
        if key != before:
            if key in seen:
                raise ids.error(
                    row, f"{key!r} was there before, followed by another; sort the file by {ids.name!r}, so that the "
                    "rows of a sequence stand together",
                )  # fmt: skip
            seen.add(key)
            before = key
