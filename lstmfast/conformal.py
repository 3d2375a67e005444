"""Split-conformal prediction intervals: how far forecasts were off on data kept out of training."""

import math

import numpy as np

# Of more residuals only so many order statistics are kept: a quantile is then up to 0.1 % too high, never too low.
N_KEPT = 1000


class ConformalQuantiles:
    """Quantiles of absolute residuals, for each of some outputs, that hold for a finite sample.

    If the residuals r_1 ... r_n of the calibration data and that of a new forecast are exchangeable, the new one is at
    most the ceil((n + 1) coverage)-th smallest of |r_1| ... |r_n| with a probability of at least `coverage` (Vovk,
    Gammerman & Shafer 2005; Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, Theorem 2).

    Parameters
    ----------
    ranks : ndarray of int of shape (k,)
        Which order statistics are kept: from 1 to n, rising.
    values : ndarray of shape (k, ...)
        They, for each output.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.conformal import ConformalQuantiles
    >>> quantiles = ConformalQuantiles.of(np.arange(-5.0, 15.0))
    >>> float(quantiles(0.9))  # the 19th of 20
    13.0
    """

    def __init__(self, ranks, values):
        self.ranks, self.values = ranks, values

    @classmethod
    def of(cls, residuals):
        """Quantiles of residuals (n, ...); n may be 0."""
        n = len(residuals)
        ranks = np.unique(np.linspace(1, n, min(n, N_KEPT)).round().astype(np.int64))
        return cls(ranks, np.sort(np.abs(residuals), axis=0)[ranks - 1])

    @property
    def n(self):
        """Number of residuals."""
        return int(self.ranks[-1]) if len(self.ranks) else 0

    def check(self, shape):
        """ValueError if these cannot be quantiles of outputs of this shape."""
        ranks, values = self.ranks, self.values
        if ranks.dtype != np.int64 or ranks.ndim != 1 or values.shape != (len(ranks), *shape):
            raise ValueError(f"quantiles for outputs of shape {shape} are expected, got {values.shape}")
        if (np.diff(ranks, prepend=0) <= 0).any() or not (np.diff(values, axis=0, prepend=0) >= 0).all():
            raise ValueError("ranks and quantiles must rise")

    def __call__(self, coverage):
        """Half-width (...) of intervals with this coverage; ValueError if there are too few residuals for it."""
        # Rounded: 0.9 * (19 + 1) is to be 18 whatever the last bit of a product says.
        rank = math.ceil(round((self.n + 1) * coverage, 9))
        if rank > self.n:
            raise ValueError(
                f"intervals with coverage={coverage} need at least {math.ceil(round(coverage / (1 - coverage), 9))} "
                f"calibration windows, but there are {self.n}: fit longer or more series, or with a larger "
                "calibration_fraction, a shorter window or a shorter horizon"
            )
        return self.values[np.searchsorted(self.ranks, rank)]
