"""A network's outputs that are no numbers are errors, never answers."""

import math

import numpy as np


class NotFiniteError(ValueError):
    """A network's outputs are NaN or infinite: finite inputs and weights outgrew float32 or float64 on the way.

    From all that predicts. A stream has then taken the step: its outputs are in `out`, and the sequences whose outputs
    are not finite have to be `reset`.
    """


def rows_not_finite(values):
    """Numbers of the rows of values (n, d) that hold NaN or infinity. For callers whose np.errstate ignores these."""
    if math.isfinite(np.add.reduce(values, axis=None)):  # a finite sum has finite terms
        return []
    return np.flatnonzero(~np.isfinite(values).all(axis=1))


def check_outputs(outputs):
    """NotFiniteError if outputs (n, d) are not all finite.

    Inputs and weights are finite here, so something in between was too large for its type. It is not to be mistaken for
    an answer: the kernels pass NaN on to the outputs.
    """
    wrong = rows_not_finite(outputs)
    if len(wrong):
        raise NotFiniteError(
            f"the network's outputs are not finite (the first of {len(wrong)} is number {wrong[0]}): values of X, or "
            "the weights, are too large. Scale X, train with a lower learning_rate_init or with clip_norm, or use "
            "dtype='float64' or activation='tanh'."
        )
