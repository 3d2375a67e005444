"""Transformers and helpers that prepare sequences, ragged ones too, for the estimators."""

import operator

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .sequences import CHUNK, check_sequences
from .series import named_series, read_series, windows_of


class SequenceScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Standardise each feature over all steps of all sequences.

    Like :class:`sklearn.preprocessing.StandardScaler`, but for sequences: each step of each sequence counts as one
    observation. The result is shaped as X is: a 3-D array gives a 3-D array, a list of arrays of any lengths gives a
    list of such arrays. A 2-D X is n univariate series of T steps, that is a single feature: all its values share one
    mean and one standard deviation. float32 stays float32, everything else becomes float64; the statistics are
    accumulated in float64.

    Parameters
    ----------
    with_mean : bool, default=True
        Subtract the mean.
    with_std : bool, default=True
        Divide by the standard deviation.

    Attributes
    ----------
    mean_ : ndarray of shape (F,), float64
        The mean of each feature; F is 1 for a 2-D X.
    var_ : ndarray of shape (F,), float64
        The variance of each feature (division by the number of steps).
    scale_ : ndarray of shape (F,), float64
        The standard deviation of each feature, 1 for a constant feature.
    n_steps_seen_ : int
        The number of steps of all sequences together.
    n_features_in_ : int
        F, or T when fitted on a 2-D X of shape (n, T).
    feature_names_in_ : ndarray of shape (n_features_in_,)
        The column names; only when fitted on a table whose column names are all strings.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import SequenceScaler
    >>> X = [np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[4.0, 5.0]])]
    >>> scaler = SequenceScaler().fit(X)
    >>> scaler.mean_, scaler.scale_.round(3)
    (array([2., 5.]), array([1.633, 1.   ]))
    >>> [x.round(3).tolist() for x in scaler.transform(X)]
    [[[-1.225, 0.0], [0.0, 0.0]], [[1.225, 0.0]]]
    """

    def __init__(self, *, with_mean=True, with_std=True):
        self.with_mean = with_mean
        self.with_std = with_std

    def fit(self, X, y=None):
        """Compute the mean and the standard deviation of each feature.

        Parameters
        ----------
        X : array-like of shape (n, T, F) or (n, T), or list of n arrays of shape (T_i, F) or (T_i,)
            The sequences.
        y : None
            Ignored.

        Returns
        -------
        SequenceScaler
            This scaler.

        Raises
        ------
        ValueError, TypeError
            If X is not as described, or holds NaN or infinity; if a parameter is not a bool.
        """
        for name in ("with_mean", "with_std"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {value!r}.")
        sequences = check_sequences(X, dtype=None, estimator=self)
        self.mean_, self.var_, self.scale_ = _moments(sequences.steps)
        self.n_steps_seen_ = len(sequences.steps)
        return self

    def transform(self, X):
        """Standardise X.

        Parameters
        ----------
        X : as in `fit`
            The sequences: as many features as in `fit`, of any lengths; a 2-D X as in `fit` if that was 2-D.

        Returns
        -------
        ndarray or list of ndarrays
            A standardised copy, shaped as X.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as in `fit`, or holds NaN or infinity.
        """
        check_is_fitted(self)
        sequences = check_sequences(X, dtype=None, estimator=self, reset=False)
        return self._shift_and_scale(sequences, back=False)

    def inverse_transform(self, X):
        """Undo `transform`.

        Parameters
        ----------
        X : as returned by `transform`
            The standardised sequences.

        Returns
        -------
        ndarray or list of ndarrays
            A copy on the original scale, shaped as X.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X has another number of features, or holds NaN or infinity.
        """
        check_is_fitted(self)
        # Without self: what transform returns has no column names, and need not have any.
        sequences = check_sequences(X, dtype=None)
        if sequences.n_features != len(self.mean_):
            raise ValueError(
                f"X has {sequences.n_features} features, but {type(self).__name__} is expecting {len(self.mean_)} "
                "features as input."
            )
        return self._shift_and_scale(sequences, back=True)

    def _shift_and_scale(self, sequences, back):
        out = np.empty_like(sequences.steps)
        # Too small for the type is 0, whatever the caller's np.errstate; too large is the caller's to know.
        with np.errstate(under="ignore"):
            for rows in _row_blocks(out):
                block = sequences.steps[rows].astype(np.float64)
                if back and self.with_std:
                    block *= self.scale_
                if self.with_mean:
                    block += self.mean_ if back else -self.mean_
                if not back and self.with_std:
                    block /= self.scale_
                out[rows] = block
        return sequences.like_input(out)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _row_blocks(steps):
    n_rows = max(1, CHUNK // steps.shape[1])
    return (slice(start, start + n_rows) for start in range(0, len(steps), n_rows))


@np.errstate(over="ignore", under="ignore")
def _moments(steps):
    """Mean, variance and scale of each column, in float64.

    Two passes: the mean, then the squared distances from it, less what rounding left in the mean: the corrected
    two-pass algorithm of Chan, Golub and LeVeque (1983). The first pass measures from the first row, so that a constant
    column has exactly its value for a mean and 0 for a variance.
    """
    n_steps, n_features = steps.shape
    largest = np.zeros((n_features, 1))
    for block in _columns(steps):
        np.maximum(largest, np.abs(block).max(axis=1, keepdims=True), out=largest)
    # Near the largest value, so no square overflows; a power of two, so dividing by it is exact.
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    first = steps[:1].T / unit
    mean = first + sum((block / unit - first).sum(axis=1, keepdims=True) for block in _columns(steps)) / n_steps
    rest = np.zeros_like(mean)
    squares = np.zeros_like(mean)
    for block in _columns(steps):
        distance = block / unit - mean
        rest += distance.sum(axis=1, keepdims=True)
        squares += (distance * distance).sum(axis=1, keepdims=True)
    variance = (squares - rest * rest / n_steps) / n_steps
    scale = np.sqrt(variance) * unit
    scale[scale == 0] = 1.0
    return (mean * unit).ravel(), (variance * unit * unit).ravel(), scale.ravel()


def _columns(steps):
    """Blocks of steps, transposed: numpy sums along contiguous memory fast and pairwise, so with little rounding."""
    return (np.ascontiguousarray(steps[rows].T, dtype=np.float64) for rows in _row_blocks(steps))


def make_windows(series, window, horizon=1, step=1):
    """Cut series into windows and the values that follow them.

    Window k holds ``series[k * step : k * step + window]``, and its target the next `horizon` values. Windows never
    reach from one series into the next.

    Parameters
    ----------
    series : array-like of shape (T,) or (T, d), or list of such
        One series of T numbers, or of T rows of d numbers; or a list of series, with any lengths and the same d. A list
        of numbers is one series; a list of anything else is a list of series.
    window : int
        The number of steps in a window, at least 1.
    horizon : int, default=1
        The number of steps in a target, at least 1.
    step : int, default=1
        The number of steps from the start of one window to the start of the next, at least 1.

    Returns
    -------
    X : ndarray of shape (n, window, d)
        The windows, those of the first series first; d is 1 for series of numbers. A copy, about window / step times
        the size of the series. float32 if all series are, else float64.
    y : ndarray of shape (n,) or (n, horizon), or (n, d) or (n, horizon, d)
        The targets. Series of numbers give (n,) for a horizon of 1 and else (n, horizon), both of which
        `LSTMRegressor` accepts as they are. Series of rows give (n, d) and (n, horizon, d); of the latter a regressor
        wants ``y.reshape(len(y), -1)``.

    Raises
    ------
    ValueError
        If a series is too short for one window and its target, holds NaN or infinity, or differs from the others in
        its number of columns; if window, horizon or step is below 1.
    TypeError
        If window, horizon or step is not an integer, or a series does not hold numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import make_windows
    >>> X, y = make_windows(np.arange(6.0), window=3)
    >>> X[:, :, 0].tolist(), y.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]], [3.0, 4.0, 5.0])
    >>> X, y = make_windows(np.zeros((100, 4)), window=24, horizon=12, step=8)
    >>> X.shape, y.shape
    ((9, 24, 4), (9, 12, 4))
    """
    window, horizon, step = _positive(window, "window"), _positive(horizon, "horizon"), _positive(step, "step")
    needed_for = f"window={window} and horizon={horizon}"
    arrays = read_series(named_series(series, "series"), "series", window + horizon, needed_for)
    views = [windows_of(array.reshape(len(array), -1), window + horizon)[::step] for array in arrays]
    X = np.concatenate([view[:, :window] for view in views])
    y = np.concatenate([view[:, window:] for view in views])
    if horizon == 1:
        y = y[:, 0]
    return X, y if arrays[0].ndim == 2 else y[..., 0]


def _positive(value, name):
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return operator.index(value)
