"""What a table's target is: labels or numbers, of sequences or of steps."""

import numpy as np

from . import TableError

MAX_CLASSES = 20  # so many different whole numbers may be labels; more of them are numbers


def of_sequences(panel, column):
    """The target of each sequence of a `Panel`, as a Column with a cell a sequence; None if it varies within one."""
    firsts = panel.offsets[:-1]
    of_step = np.repeat(firsts, np.diff(panel.offsets))
    if isinstance(column.cells, np.ndarray):
        constant = (column.cells == column.cells[of_step]).all()
    else:
        constant = all(cell == column.cells[first] for cell, first in zip(column.cells, of_step.tolist(), strict=True))
    return column.take(firsts) if constant else None


def label_like(column):
    """Why a column seems to hold labels, as a clause; None if it holds numbers."""
    if not column.take(np.flatnonzero(~column.missing())).is_number():
        return "it holds text"
    column.check_present()
    labels = column.labels()
    n_labels = len(np.unique(labels))
    if labels.dtype.kind == "b":
        return "it holds truth values"
    if labels.dtype.kind in "iu" and n_labels <= min(MAX_CLASSES, len(labels) / 2):
        return f"it holds {n_labels} different whole numbers"
    return None


def choose_task(columns, panel):
    """(task, why) after the targets: `columns`, of a wide table (panel None) or of a panel."""
    per_sequence = columns if panel is None else [of_sequences(panel, column) for column in columns]
    if None in per_sequence:
        varying = columns[per_sequence.index(None)]
        reason = label_like(varying)
        if len(columns) > 1 or reason is None:
            raise TableError(
                f"{varying.path}: column {varying.name!r} changes within a sequence. A target is one value for each "
                f"{panel.steps.ids.name!r}, or a label for each step (--task tag); numbers that go on are forecast: "
                "--task forecast"
            )
        return "tag", f"it changes within a sequence, and {reason}"
    if len(columns) > 1:
        return "regress", "there are several targets"
    reason = label_like(per_sequence[0])
    return ("classify", reason) if reason else ("regress", "it holds numbers")


def check_task(task, columns, panel):
    """TableError if a task cannot be learned from these targets."""
    first = columns[0]
    if task == "tag" and panel is None:
        raise TableError("--task tag needs --id: which rows are the steps of a sequence")
    if task in ("classify", "tag") and len(columns) > 1:
        raise TableError(f"--task {task} learns one target, got {', '.join(column.name for column in columns)}")
    if task in ("classify", "regress") and panel is not None:
        for column in columns:
            if of_sequences(panel, column) is None:
                raise TableError(
                    f"{first.path}: --task {task} needs one value of {column.name!r} for each "
                    f"{panel.steps.ids.name!r}; it changes within a sequence"
                )


def read_targets(task, columns, panel):
    """Targets as an estimator takes them: labels (n,), numbers (n, n_targets), or a list of arrays of labels."""
    if task == "tag":
        return panel.split(_several(columns[0]))
    if panel is not None:
        columns = [of_sequences(panel, column) for column in columns]
    if task == "classify":
        return _several(columns[0])
    return np.stack([column.numbers() for column in columns], axis=1)


def _several(column):
    labels = column.labels()
    if (labels == labels[0]).all():
        raise TableError(f"{column.path}: column {column.name!r} is {labels[0]!s} throughout: nothing to learn")
    return labels
