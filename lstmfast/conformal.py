"""Split-conformal prediction intervals: how far forecasts were off on data kept out of training."""

import math

import numpy as np

# Of more residuals only so many order statistics are kept: a quantile is then up to 0.1 % too high, never too low.
N_KEPT = 1000


class ConformalQuantiles:
    """Quantiles of absolute residuals, for each step of a horizon and each variable, that hold for a finite sample.

    If the residuals r_1 ... r_n of the calibration data and that of a new forecast are exchangeable, the new one is at
    most the ceil((n + 1) coverage)-th smallest of |r_1| ... |r_n| with a probability of at least `coverage` (Vovk,
    Gammerman & Shafer 2005; Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, Theorem 2).

    Forecasts of step k that start one after the other have k - 1 steps in common, so even of a perfect forecaster
    residuals up to k - 1 apart are correlated, and n of them tell as much as n / t independent ones with
    t = 1 + 2 sum over j < k of rho_j, the sample autocorrelations of |r| (Bartlett 1946), at least 1. So the rank is
    ceil((n + t) coverage), but at most n. For k = 1 that is the rank above; otherwise it is a correction, no theorem.

    Parameters
    ----------
    ranks : ndarray of int of shape (k,)
        Which order statistics are kept: from 1 to n, rising.
    values : ndarray of shape (k, h, d)
        They.
    dependence : ndarray of shape (h, d)
        t, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.conformal import ConformalQuantiles
    >>> quantiles = ConformalQuantiles.of(np.arange(-5.0, 15.0)[:, None, None])
    >>> quantiles(0.9)  # the 19th of 20
    array([[13.]])
    """

    # Names of `fields`, which a file holds beside the weights.
    arrays = ("residual_ranks", "residual_quantiles", "residual_dependence")

    def __init__(self, ranks, values, dependence):
        self.ranks, self.values, self.dependence = ranks, values, dependence

    @classmethod
    def of(cls, residuals):
        """Quantiles of residuals (n, h, d) in order of time; n may be 0."""
        n, sizes = len(residuals), np.abs(residuals)
        ranks = np.unique(np.linspace(1, n, min(n, N_KEPT)).round().astype(np.int64))
        dependence = np.ones(sizes.shape[1:])
        for k in range(1, min(n, len(dependence))):
            dependence[k] = _dependence(sizes[:, k], k)
        return cls(ranks, np.sort(sizes, axis=0)[ranks - 1], dependence)

    def fields(self):
        """What a file holds of them."""
        return dict(zip(self.arrays, (self.ranks, self.values, self.dependence), strict=True))

    @classmethod
    def from_fields(cls, fields, shape):
        """The inverse of `fields`; ValueError if these cannot be quantiles of outputs of this shape."""
        quantiles = cls(*(fields[name] for name in cls.arrays))
        quantiles.check(shape)
        return quantiles

    @property
    def n(self):
        """Number of residuals."""
        return int(self.ranks[-1]) if len(self.ranks) else 0

    def check(self, shape):
        """ValueError if these cannot be quantiles of outputs of this shape."""
        ranks, values, dependence = self.ranks, self.values, self.dependence
        if ranks.dtype != np.int64 or ranks.ndim != 1 or values.shape != (len(ranks), *shape):
            raise ValueError(f"quantiles for outputs of shape {shape} are expected, got {values.shape}")
        if (np.diff(ranks, prepend=0) <= 0).any() or not (np.diff(values, axis=0, prepend=0) >= 0).all():
            raise ValueError("ranks and quantiles must rise")
        if self.n > 2**53:  # float64 would round it up, beyond the last
            raise ValueError(f"{self.n} residuals are too many for quantiles")
        if dependence.shape != shape or not (dependence >= 1).all():
            raise ValueError("the dependence of quantiles must be at least 1, for each")

    def __call__(self, coverage):
        """Half-widths (h, d) of intervals with this coverage; ValueError if there are too few residuals for it."""
        # Rounded: 0.9 * (19 + 1) is to be 18 whatever the last bit of a product says.
        ranks = np.ceil(np.round((self.n + self.dependence) * coverage, 9))
        if ranks[0].min() > self.n:
            raise ValueError(
                f"intervals with coverage={coverage} need at least {math.ceil(round(coverage / (1 - coverage), 9))} "
                f"calibration windows, but there are {self.n}: fit longer or more series, or with a larger "
                "calibration_fraction, a shorter window or a shorter horizon"
            )
        rows = np.searchsorted(self.ranks, np.minimum(ranks, self.n))
        return np.take_along_axis(self.values, rows[None], axis=0)[0]


def _dependence(sizes, n_lags):
    """How many residuals (n, d) of these sizes tell as much as an independent one, if n_lags neighbours are alike."""
    n, largest = len(sizes), sizes.max(axis=0)
    sizes = sizes / np.where(largest == 0, 1, largest)  # the squares of large ones would overflow
    distances = sizes - sizes.mean(axis=0)
    total = (distances**2).sum(axis=0)
    covered = sum(2 * (distances[j:] * distances[: n - j]).sum(axis=0) for j in range(1, min(n_lags, n - 1) + 1))
    return np.maximum(1 + covered / np.where(total == 0, 1, total), 1)
