"""Series to forecast from: read, differenced, standardised, cut into windows, and back to values.

A series of T steps has d variables. Its *levels* are its values, or their logarithms. Its *changes* are the levels
differenced at some lags l, l', ..., that is (1 - B^l)(1 - B^l') ... levels with the backward shift B (Box & Jenkins
1976); without lags they are the levels. An *origin* is a number of changes: those that a forecast has seen.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .layers.parameters import check_size
from .sequences import as_numbers, check_finite, is_list, to_contiguous


def is_series_list(series):
    """Whether this is a list of series: a list of anything but numbers."""
    entries = list(series) if is_list(series) else []
    return bool(entries) and hasattr(entries[0], "__len__") and not isinstance(entries[0], str)


def named_series(series, name):
    """Each of a list of series, or the one series, by what errors call it."""
    return {f"{name}[{i}]": entry for i, entry in enumerate(series)} if is_series_list(series) else {name: series}


def read_series(named, name, min_steps=1, needed_for=""):
    """Series as arrays.

    Parameters
    ----------
    named : dict of str to array-like of shape (T,) or (T, d)
    name : str
        What errors call all of them.
    min_steps : int, default=1
        Shorter ones are refused.
    needed_for : str
        What needs so many steps.

    Returns
    -------
    arrays : list of C-contiguous ndarrays of shape (T,) or (T, d)
        float32 if all series are, else float64.

    Raises
    ------
    ValueError, TypeError
        If a series has another shape or other columns than the first, is too short, or does not hold finite numbers.
    """
    named = {place: as_numbers(series, place) for place, series in named.items()}
    first_name, first = next(iter(named.items()))
    for place, array in named.items():
        if array.ndim not in (1, 2) or array.shape[1:] == (0,):
            raise ValueError(f"{place} must have shape (T,) or (T, d) with d at least 1, got {array.shape}.")
        if array.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{place} has shape {array.shape}, but {first_name} has {first.shape}: all {name} must have the same "
                "number of columns."
            )
        if len(array) < min_steps:
            raise ValueError(f"{place} has {len(array)} steps, but {needed_for} need at least {min_steps}.")
    dtype = np.float32 if all(array.dtype.type is np.float32 for array in named.values()) else np.float64
    named = {place: to_contiguous(array, dtype) for place, array in named.items()}
    for place, array in named.items():
        check_finite(array, name, place)
    return list(named.values())


# ---- differences ----


def _polynomial(lags):
    """Coefficients of the product of (1 - B^lag)."""
    polynomial = np.ones(1)
    for lag in lags:
        polynomial = np.convolve(polynomial, np.concatenate(([1.0], np.zeros(lag - 1), [-1.0])))
    return polynomial


def difference(levels, lags):
    """Changes (T - sum(lags), d) of levels (T, d)."""
    polynomial = _polynomial(lags)
    n_lost = len(polynomial) - 1
    terms = (polynomial[k] * levels[n_lost - k : len(levels) - k] for k in np.flatnonzero(polynomial))
    return sum(terms, np.zeros_like(levels[n_lost:]))


def undo_difference(changes, before, lags):
    """Levels (n, h, d) that have these changes (n, h, d) and come after levels `before` (n, sum(lags), d)."""
    polynomial = _polynomial(lags)
    n_lost, past = len(polynomial) - 1, np.flatnonzero(polynomial)[1:]
    levels = np.concatenate([before, changes], axis=1)
    for step in range(n_lost, levels.shape[1]):
        levels[:, step] -= sum(polynomial[k] * levels[:, step - k] for k in past)
    return levels[:, n_lost:]


# ---- a series and where forecasts begin ----


class Series:
    """Levels with their changes, and what these are standardised by at each origin.

    With differences that is the mean and standard deviation of all windows so far. Levels wander, so without
    differences each window is measured from its own mean (as by Kim et al. 2022), and in units of the root mean
    variance of all windows so far; unless windows have one step. Each window enters these moments when it ends: nothing
    is known early.

    Parameters
    ----------
    levels : ndarray of shape (T, d)
    covariates : ndarray of shape (T or more, F)
        Row for row, and possibly those of the future.
    lags : tuple of int
    window : int
    before : ndarray of shape (4, d), default=None
        The first change of all, and sums over all windows that ended before the first one here: their number, and of
        the mean and mean square of their distances from where they are measured. None: there were none.
    """

    def __init__(self, levels, covariates, lags, window, before=None):
        self.levels, self.covariates, self.lags, self.window = levels, covariates, lags, window
        self.changes = difference(levels, lags)
        if before is None:
            before = np.zeros((4, levels.shape[1]))
            before[0] = self.changes[0]
        windows = windows_of(self.changes, window)
        # Distances from a value of the window itself are all 0 where it is constant, and so is what comes of them.
        self._first = self._centres = before[:1]
        self._wanders = not lags and window > 1
        if self._wanders:
            self._centres = windows[:, 0] + (windows - windows[:, :1]).mean(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            distances = windows - self._centres[:, None]
            terms = [np.ones_like(windows[:, 0]), distances.mean(axis=1), (distances**2).mean(axis=1)]
            # Added in order: a series that is cut off and continued has the same bits as the whole.
            self._sums = np.cumsum(np.concatenate([before[None, 1:], np.stack(terms, axis=1)]), axis=0)
        if not np.isfinite(self._sums[-1]).all():
            raise ValueError("y has values too large for their squares: divide it by a larger unit")

    @property
    def before(self):
        return np.concatenate([self._first, self._sums[0]])

    def moments(self, origins, moments_from=0):
        """Mean and standard deviation (n, d) for windows that end at n origins, but of origins before `moments_from`
        with what is known then."""
        count, total, squares = self._sums[np.maximum(origins, moments_from) - self.window + 1].swapaxes(0, 1)
        mean = total / count
        centres = self._centres[origins - self.window] if self._wanders else self._centres
        return centres + mean, np.sqrt(np.maximum(squares / count - mean**2, 0))

    def tail(self):
        """The last window, with all that is needed to go on from it."""
        start = len(self.changes) - self.window
        before = np.concatenate([self._first, self._sums[start]])
        return Series(self.levels[start:].copy(), self.covariates[start:].copy(), self.lags, self.window, before)

    def followed_by(self, levels, covariates):
        """This series and then these rows."""
        levels, covariates = np.concatenate([self.levels, levels]), np.concatenate([self.covariates, covariates])
        return Series(levels, covariates, self.lags, self.window, self.before)


@dataclass(frozen=True)
class Origins:
    """Where n forecasts begin.

    Attributes
    ----------
    windows : ndarray of shape (n, window, d)
        Standardised changes before each origin.
    covariates : ndarray of shape (n, window - 1 + h, F)
        From the second step of the window to the last of h to forecast.
    mean, scale : ndarrays of shape (n, d)
        What the changes were standardised by.
    levels : ndarray of shape (n, sum(lags), d)
        The last ones before each origin.
    """

    windows: np.ndarray
    covariates: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    levels: np.ndarray

    @classmethod
    def join(cls, parts):
        """All of several."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def spread(self):
        """Units (n, d) of forecast errors: the mean of the variances of all windows so far and of the last one.

        Calm and wild times last, so that errors of locally weighted conformal prediction (Lei et al. 2018, 5.2) are
        more alike; all windows together steady what the last one says.
        """
        return self.scale * np.sqrt((1 + self.windows.var(axis=1)) / 2)

    def standardise(self, changes):
        """Changes (n, h, d) in units of their origins; where nothing ever changed, the unit is 1."""
        return (changes - self.mean[:, None]) / unit(self.scale)


def unit(scale):
    """A divisor (n, 1, d) for scales (n, d): 1 instead of 0."""
    return np.where(scale == 0, 1.0, scale)[:, None]


def windows_of(values, size):
    """Views (n, size, d) of all windows of an array (T, d)."""
    return sliding_window_view(values, size, axis=0).swapaxes(1, 2)


def hold_out(origins, fraction, gap):
    """Origins to keep, and a fraction of them at the end to hold out.

    The `gap` origins between these are neither: their targets overlap with those held out. Of too few none are.
    """
    n_left = len(origins) - gap
    n_last = min(int(np.ceil(fraction * n_left)), n_left - 1)
    return (origins[: n_left - n_last], origins[-n_last:]) if n_last > 0 else (origins, origins[:0])


@dataclass(frozen=True)
class Preparation:
    """How series become what a network reads, and its outputs forecasts.

    Parameters
    ----------
    window, horizon : int
    direct : bool
        Whether the network gives the whole horizon at once, or the next step, which is fed back.
    lags : tuple of int
    log, scale : bool
    """

    window: int
    horizon: int
    direct: bool
    lags: tuple
    log: bool
    scale: bool

    def check(self):
        """TypeError or ValueError if a file has something else."""
        for name in ("window", "horizon"):
            check_size(getattr(self, name), name)
        for lag in self.lags:
            check_size(lag, "each of lags")
        if not all(type(flag) is bool for flag in (self.direct, self.log, self.scale)):
            raise TypeError("direct, log and scale must be booleans")

    @property
    def width(self):
        """Steps that the network gives at once."""
        return self.horizon if self.direct else 1

    @property
    def needed(self):
        """Steps before an origin."""
        return self.window + sum(self.lags)

    def check_horizon(self, horizon):
        """The fitted one instead of None; TypeError or ValueError if forecasts do not reach so far."""
        horizon = self.horizon if horizon is None else check_size(horizon, "horizon")
        if self.direct and horizon > self.horizon:
            raise ValueError(
                f"horizon={horizon} is beyond the {self.horizon} steps of fit; fit with horizon={horizon}, or with "
                'strategy="recursive", which forecasts any number of steps'
            )
        return horizon

    def levels(self, values, name):
        """Of values (T, d); ValueError where there is no logarithm."""
        if not self.log:
            return values
        if values.min() <= 0:
            raise ValueError(f"log=True needs positive values, but {name} has {values.min()}")
        return np.log(values)

    def values(self, levels):
        """Of levels."""
        return np.exp(levels) if self.log else levels

    def series(self, levels, covariates, before=None):
        """A Series with these differences."""
        return Series(levels, covariates, self.lags, self.window, before)

    def split(self, n_changes, calibration_fraction, validation_fraction):
        """Origins (training, validation, calibration) in a series, each after the ones before."""
        whole = np.arange(self.window, n_changes - self.horizon + 1)
        known, calibration = hold_out(whole, calibration_fraction, self.width - 1)
        if not len(calibration):
            known = np.arange(self.window, n_changes - self.width + 1)
        return *hold_out(known, validation_fraction, self.width - 1), calibration

    def examples(self, series, at, training):
        """Inputs and targets (n, width, d) of the network at some origins, standardised as for the training origins."""
        origins = self.origins(series, at, self.width, moments_from=training[-1] + self.width)
        targets = windows_of(series.changes, self.width)[at]
        return self.inputs(origins.windows, origins.covariates), origins.standardise(targets)

    def forecasts_due(self, series, at):
        """Origins for forecasts of the whole horizon, and the levels (n, horizon, d) that came."""
        return self.origins(series, at, self.horizon), windows_of(series.levels, self.horizon)[at + sum(self.lags)]

    def origins(self, series, at, horizon, moments_from=0):
        """Origins of a series, for forecasts of up to `horizon` steps.

        They are standardised by what is known at each; those before `moments_from` by what is known then.
        """
        at = np.asarray(at)
        rows, n_variables = at - self.window, series.levels.shape[1]
        mean, scale = series.moments(at, moments_from)
        if not self.scale:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        n_lost = sum(self.lags)
        levels = windows_of(series.levels, n_lost)[at] if n_lost else np.empty((len(at), 0, n_variables))
        covariates = windows_of(series.covariates[n_lost + 1 :], self.window - 1 + horizon)[rows]
        raw = windows_of(series.changes, self.window)[rows]
        return Origins((raw - mean[:, None]) / unit(scale), covariates, mean, scale, levels)

    def inputs(self, windows, covariates):
        """What the network reads (n, window, d + width * F): at each step the standardised changes, and the covariates
        (n, window - 1 + width, F) of the `width` steps after it."""
        ahead = sliding_window_view(covariates, self.width, axis=1)
        return np.concatenate([windows, ahead.reshape(*ahead.shape[:2], np.prod(ahead.shape[2:]))], axis=2)

    def forecast(self, origins, horizon, predict):
        """Levels (n, horizon, d) after the origins; predict: inputs -> outputs (n, width * d) of the network."""
        steps, window = origins.windows, self.window
        for k in range(0, horizon, self.width):
            covariates = origins.covariates[:, k : k + window - 1 + self.width]
            outputs = predict(self.inputs(steps[:, k:], covariates))
            steps = np.concatenate([steps, outputs.reshape(len(steps), self.width, steps.shape[2])], axis=1)
        changes = origins.mean[:, None] + origins.scale[:, None] * steps[:, window : window + horizon]
        return undo_difference(changes, origins.levels, self.lags)
