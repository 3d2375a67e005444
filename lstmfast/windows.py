"""Windows of many series: which of them are for what, and how a network takes them."""

from dataclasses import dataclass

import numpy as np

from .sequences import Sequences, to_contiguous
from .series import Origins, Preparation


@dataclass(frozen=True)
class SplitWindows:
    """Origins in some series, a tuple with an array for each series: to train on, to validate and to calibrate with.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.series import Preparation
    >>> from lstmfast.windows import SplitWindows
    >>> preparation = Preparation(window=3, horizon=1, direct=True, lags=(), log=False, scale=True)
    >>> series = [preparation.series(np.arange(8.0)[:, None], np.empty((8, 0)))]
    >>> split = SplitWindows.of(preparation, series, 0.2, 0.0)
    >>> split.training[0], split.calibration[0]
    (array([3, 4, 5, 6]), array([7]))
    >>> sequences, targets = split.examples(split.training, np.dtype("float32"))
    >>> len(sequences), targets.shape
    (4, (4, 1))
    """

    preparation: Preparation
    series: list
    training: tuple
    validation: tuple
    calibration: tuple

    @classmethod
    def of(cls, preparation, series, calibration_fraction, validation_fraction):
        """Split each of a list of Series by `Preparation.split`."""
        fractions = calibration_fraction, validation_fraction
        splits = [preparation.split(len(each.changes), *fractions) for each in series]
        return cls(preparation, series, *zip(*splits, strict=True))

    def examples(self, chosen, dtype):
        """Sequences and targets (n, width * d) at chosen origins of each series, as a network of this dtype takes
        them."""
        parts = [self.preparation.examples(*each) for each in zip(self.series, chosen, self.training, strict=True)]
        inputs, targets = map(np.concatenate, zip(*parts, strict=True))
        return as_sequences(inputs, dtype), to_contiguous(targets.reshape(len(targets), -1), dtype)

    def calibration_pairs(self):
        """Origins to calibrate with, and the levels (n, horizon, d) that came."""
        pairs = [self.preparation.forecasts_due(*each) for each in zip(self.series, self.calibration, strict=True)]
        origins, levels = zip(*pairs, strict=True)
        return Origins.join(origins), np.concatenate(levels)


def as_sequences(inputs, dtype):
    """Inputs (n, window, F) as Sequences of this dtype; ValueError where it does not hold them."""
    n, window, n_features = inputs.shape
    steps = to_contiguous(inputs.reshape(n * window, n_features), dtype)
    if not np.isfinite(steps).all():
        raise ValueError(f"y or X has values too large for {dtype}: divide them by a larger unit")
    return Sequences(steps, window * np.arange(n + 1), "3d")
