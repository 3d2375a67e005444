"""ForecastDisplay."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .drawing import BLACK, BLUE, VERMILION, axes_for, few_dates, legend_right, plain
from .inputs import chosen


class ForecastDisplay:
    """The end of a series, its forecast, and the interval around it.

    Parameters
    ----------
    history : list of series
        A series is an array of shape (T,) or (T, d), or a pandas Series or DataFrame, whose index is then shown.
    forecast : list of series, as many
        What goes on where each series of `history` ends.
    lower, upper : lists of series like `forecast`, default=None
        Bounds of the interval.
    y_true : list of series, default=None
        What happened, from the first step of the forecast on; of any length.
    coverage : float, default=None
        That the interval was made for.
    names : list of str, default=None
        Of the series. None: their own, or their numbers.
    note : str, default=None
        Why there is no interval.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        For each series one for each variable.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    history_lines_, lines_, true_lines_ : lists of Line2D, one for each of the axes
        Of the history, the forecast and `y_true`; the last is [] without `y_true`.
    bands_ : list of PolyCollection
        The intervals; [] without.

    Examples
    --------
    >>> from lstmfast.display import ForecastDisplay
    >>> display = ForecastDisplay([[1, 2, 3]], [[4, 5]], [[3.5, 4]], [[4.5, 6]], coverage=0.9).plot()
    >>> display.lines_[0].get_xdata().tolist()  # from the last known value, at 0, on
    [0.0, 1.0, 2.0]
    """

    def __init__(
        self, history, forecast, lower=None, upper=None, *, y_true=None, coverage=None, names=None, note=None
    ):  # fmt: skip
        parts = {"forecast": forecast, "lower": lower, "upper": upper, "y_true": y_true}
        for name, part in parts.items():
            if part is not None and len(part) != len(history):
                raise ValueError(f"{name} must hold {len(history)} series as history does, got {len(part)}")
        if (lower is None) != (upper is None):
            raise ValueError("lower and upper go together; only one of them was given")
        self.history, self.forecast, self.lower, self.upper, self.y_true = history, forecast, lower, upper, y_true
        for past, future, true in zip(history, forecast, y_true or forecast, strict=True):
            if {np.shape(past)[1:], np.shape(future)[1:], np.shape(true)[1:]} != {np.shape(past)[1:]}:
                raise ValueError(
                    "history, forecast and y_true must have the same variables, got shapes "
                    f"{np.shape(past)}, {np.shape(future)} and {np.shape(true)}"
                )
            if len(true) > len(future):
                raise ValueError(f"y_true has {len(true)} steps, more than the {len(future)} of the forecast")
        self.coverage, self.note = coverage, note
        if names is None:
            numbers = range(len(history)) if len(history) > 1 else [None]
            names = map(_name, history, numbers)
        self.names = list(names)

    @classmethod
    def from_estimator(
        cls, estimator, y_true=None, *, y=None, X=None, horizon=None, coverage=0.9, n_history=None, index=None,
        max_sequences=4, ax=None, **kwargs,
    ):  # fmt: skip
        """Forecast and draw.

        Parameters
        ----------
        estimator : fitted LSTMForecaster
        y_true : series, or list of them as there are series, default=None
            What happened: its first step is the forecast's first. At most `horizon` steps.
        y, X, horizon : as in `LSTMForecaster.predict`
        coverage : float in (0, 1) or None, default=0.9
            Of the interval. None: no interval. One of an estimator that was not calibrated is left out, and the picture
            says why.
        n_history : int, default=None
            How many of the last values before the forecast are shown. None: 3 times the horizon, at least the
            estimator's window; of the training series as many as the estimator keeps.
        index : int or list of int, default=None
            Which of several series are shown. None: the first `max_sequences`.
        max_sequences : int, default=4
        ax, kwargs : as in `plot`

        Returns
        -------
        display : ForecastDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If an argument is not as described.
        """
        check_is_fitted(estimator)
        future = {"y": y, "X": X, "horizon": horizon}
        forecast, bounds, note = estimator.predict(**future), (None, None), None
        if coverage is not None and estimator.calibration_fraction:
            bounds = estimator.predict_interval(**future, coverage=coverage)
        elif coverage is not None:
            note = "No interval: calibration_fraction=0"
        history = estimator.training_tail_ if y is None else y
        several = isinstance(forecast, list)
        parts = [
            part if several or part is None else [part] for part in (history, forecast, *bounds, y_true)
        ]  # fmt: skip
        if y_true is not None and len(parts[-1]) != len(parts[1]):
            raise ValueError(f"y_true must hold {len(parts[1])} series, as the forecast does, got {len(parts[-1])}")
        indices = chosen(len(parts[1]), index, max_sequences)
        past, ahead, lower, upper, true = ([part[i] for i in indices] if part else None for part in parts)
        if n_history is None:
            n_history = max(3 * len(ahead[0]), estimator.window)
        past = [series[-n_history:] for series in past]
        names = [_name(series, i) for i, series in zip(indices, past, strict=True)] if several else None
        display = cls(past, ahead, lower, upper, y_true=true, coverage=coverage, names=names, note=note)
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, or array of as many as there are series times variables, default=None
            Where. None: a new figure.
        **kwargs : dict
            For `matplotlib.axes.Axes.plot`, of the forecast.

        Returns
        -------
        display : ForecastDisplay
        """
        panels = [(i, name, j) for i in range(len(self.history)) for j, name in enumerate(_variables(self.history[i]))]
        self.axes_ = axes_for(len(panels), ax, size=(8, 3.4 if len(panels) == 1 else 2.4))
        self.history_lines_, self.lines_, self.true_lines_, self.bands_ = [], [], [], []
        for axes, (i, name, j) in zip(self.axes_, panels, strict=True):
            self._plot_panel(axes, i, j, kwargs)
            axes.set_ylabel(name or self.names[i])
            if name and len(self.history) > 1 and j == 0:
                axes.set_title(self.names[i], loc="left", size="medium")
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.get_figure()
        legend_right(self.ax_)
        if self.note:
            self.ax_.set_title(self.note, loc="right", size="small", color="#555555")
        return self

    def _plot_panel(self, ax, i, j, kwargs):
        """Series i, variable j."""
        past, ahead = _column(self.history[i], j), _column(self.forecast[i], j)
        before, after = _positions(self.history[i], self.forecast[i])
        (line,) = ax.plot(before, past, color=BLACK, linewidth=1.2, label="History")
        self.history_lines_.append(line)
        joined = np.concatenate((before[-1:], after))  # the forecast goes on where the history ends
        if self.lower is not None:
            low, high = (_column(bound[i], j) for bound in (self.lower, self.upper))
            label = "Interval" if self.coverage is None else f"{100 * self.coverage:g} % interval"
            bounds = (np.concatenate((past[-1:], bound)) for bound in (low, high))
            band = ax.fill_between(joined, *bounds, color=BLUE, alpha=0.2, linewidth=0, label=label)
            self.bands_.append(band)
        style = {"color": BLUE, "linewidth": 1.8, "label": "Forecast"} | kwargs
        self.lines_ += ax.plot(joined, np.concatenate((past[-1:], ahead)), **style)
        if self.y_true is not None:
            true = self.y_true[i]
            at = _index(true) if hasattr(true, "iloc") else after[: len(true)]
            style = {"color": VERMILION, "linestyle": "--", "linewidth": 1.2, "label": "Observed"}
            self.true_lines_ += ax.plot(at, _column(true, j), **style)
        if not hasattr(self.history[i], "iloc"):
            ax.set_xlabel("Steps after the last known value")
        elif before.dtype.kind == "M":
            few_dates(ax.xaxis)
        plain(ax)


def _name(series, number):
    return str(getattr(series, "name", None) or ("Value" if number is None else f"series {number}"))


def _variables(series):
    """Names of a series' variables; one that has no name, None."""
    if np.ndim(series) == 1:
        return [None]
    return [str(name) for name in getattr(series, "columns", [f"variable {j}" for j in range(np.shape(series)[1])])]


def _column(series, j):
    values = np.asarray(series, dtype=float)
    return values if values.ndim == 1 else values[:, j]


def _positions(history, forecast):
    """Where the values of history and forecast stand: their index, or steps from the last known value."""
    if hasattr(history, "iloc"):
        return _index(history), _index(forecast)
    return np.arange(1.0 - len(history), 1.0), np.arange(1.0, 1.0 + len(forecast))


def _index(series):
    """A pandas index as matplotlib takes it: of a period its beginning."""
    index = series.index
    return (index.to_timestamp() if hasattr(index, "to_timestamp") else index).to_numpy()
