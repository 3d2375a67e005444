"""Estimators that several threads use: one fit at a time, and calls that see one fit from beginning to end."""

import functools
import os
from contextlib import contextmanager

_fitting = {}  # by id, the estimators that a thread of this process fits now

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fitting.clear)  # those threads stay behind


@contextmanager
def only_fit(estimator):
    """Context in which nobody else may fit this estimator; RuntimeError if somebody does.

    Examples
    --------
    >>> with only_fit("an estimator"), only_fit("another one"):
    ...     pass
    """
    mine = object()
    if _fitting.setdefault(id(estimator), mine) is not mine:  # one step, whatever other threads do
        raise RuntimeError(
            "fit already running: another thread, or a callback, fits this estimator; wait for it, or fit a clone"
        )
    try:
        yield
    finally:
        _fitting.pop(id(estimator), None)


def of_one_fit(method):
    """A method that runs on the fitted attributes as they are when it begins.

    A fit in another thread ends by replacing all of them at once; a call that has read some of the old ones goes on
    with those.
    """

    @functools.wraps(method)
    def on_one_fit(self, *arguments, **options):
        snapshot = object.__new__(type(self))
        snapshot.__dict__ = vars(self)
        return method(snapshot, *arguments, **options)

    return on_one_fit
