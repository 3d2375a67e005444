"""A layer whose one parameter is a table of which a step touches few rows."""

import numpy as np

from .. import _core
from .parameters import Parameter, Trainable


class Table(Trainable):
    """Its gradient is kept as the rows that have one: a step does not pay for the vocabulary.

    Parameters
    ----------
    n_rows, n_columns : int
    dtype : dtype

    Attributes
    ----------
    weight : ndarray of shape (n_rows, n_columns)
    rows, row_grads : ndarrays of shape (n,) and (n, n_columns)
        Gradient: the rows, ascending, and what belongs to each.
    """

    weight = Parameter()

    def __init__(self, n_rows, n_columns, dtype):
        super().__init__({"weight": (n_rows, n_columns)}, dtype, by_rows=True)
        self.forget_gradient()

    def forget_gradient(self):
        """Gradient 0."""
        self.rows = np.empty(0, np.int64)
        self.row_grads = np.empty((0, self.shapes["weight"][1]), self.dtype)

    def add_gradient(self, rows, grads):
        """Adds the gradient (n, n_columns) of rows (n,), which may repeat: they are summed in the order given."""
        if len(self.rows):
            rows, grads = np.concatenate((self.rows, rows)), np.concatenate((self.row_grads, grads))
        # 16-bit integers are sorted by radix, five times faster than others.
        order = np.argsort(rows if len(self.arrays["weight"]) > 1 << 16 else rows.astype(np.uint16), kind="stable")
        rows = rows[order]
        begins = np.ones(len(rows), bool)
        begins[1:] = rows[1:] != rows[:-1]
        starts = np.flatnonzero(begins)
        self.rows, self.row_grads = rows[starts], np.empty((len(starts), grads.shape[1]), self.dtype)
        _core.sum_groups(order, starts, np.ascontiguousarray(grads, self.dtype), self.row_grads)
