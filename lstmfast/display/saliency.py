"""SaliencyDisplay."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .drawing import DIVERGING, GREY, PALETTE, TokenText, axes_for, colour_scale, legend_right, plain, whole_steps
from .inputs import at_last_step, checked_tokens, chosen, count, last_step, take, tokens_at, tokens_of

_METHODS = {"integrated_gradients": "Attribution", "occlusion": "Change by occlusion"}
_VALUE_HEIGHT = 1.8  # inches
_MOST_NAMES = 30  # features whose names are written beside the heat map


class SaliencyDisplay:
    """Which steps and features of a sequence speak for an output, and which against it.

    Numbers: a heat map, steps by features, below the values of the sequence. Tokens: their text, on patches of colour.
    Red raises the output, blue lowers it; one scale of colours for all sequences.

    Parameters
    ----------
    attributions : list of ndarrays of shape (T_i, F) or (T_i,)
        As `explain` of an estimator returns them.
    values : list of ndarrays of shape (T_i, F) or (T_i,), default=None
        The sequences.
    tokens : list of lists of T_i str, default=None
        Tokens in place of values.
    feature_names : list of F str, default=None
        None: their numbers.
    labels : list of str, default=None
        Names of the sequences. None: their numbers.
    what : str, default="Attribution"
        Label of the colours.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Of the text; of numbers one for each sequence, which holds the two below.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    heat_axes_, value_axes_ : lists of Axes
        For each sequence of numbers its heat map, and its values above.
    images_ : list of AxesImage
        The heat maps, features by steps.
    lines_ : list of lists of Line2D
        Each feature's values, for each sequence.
    patches_ : list of lists of Rectangle
        Behind each token of each sequence.
    colorbar_ : matplotlib Colorbar

    Examples
    --------
    >>> from lstmfast.display import SaliencyDisplay
    >>> display = SaliencyDisplay([[0.5, -0.25]], tokens=[["not", "bad"]]).plot()
    >>> len(display.patches_[0])
    2
    """

    def __init__(
        self, attributions, values=None, *, tokens=None, feature_names=None, labels=None, what="Attribution"
    ):  # fmt: skip
        self.attributions = [np.asarray(a, dtype=float) for a in attributions]
        if (values is None) == (tokens is None):
            raise ValueError("SaliencyDisplay needs either values or tokens")
        if tokens is not None:
            self.tokens, self.values = checked_tokens(tokens, map(len, self.attributions)), None
        else:
            self.attributions = [_two_dimensional(a) for a in self.attributions]
            self.values, self.tokens = [_two_dimensional(np.asarray(v, dtype=float)) for v in values], None
            shapes = [[array.shape for array in arrays] for arrays in (self.attributions, self.values)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"attributions and values must have the same shapes, got {shapes[0]} and {shapes[1]}")
            n_features = self.attributions[0].shape[1]
            names = [f"feature {i}" for i in range(n_features)] if feature_names is None else list(feature_names)
            if len(names) != n_features:
                raise ValueError(f"feature_names must be {n_features} names, one a feature, got {len(names)}")
            self.feature_names = names
        self.labels = [f"sequence {i}" for i in range(len(self.attributions))] if labels is None else list(labels)
        self.what = what

    @classmethod
    def from_estimator(
        cls, estimator, X=None, *, method="integrated_gradients", index=None, max_sequences=None, tokens=None,
        feature_names=None, ax=None, **kwargs,
    ):  # fmt: skip
        """Draw an explanation of what an estimator says of sequences.

        Parameters
        ----------
        estimator : fitted estimator, or a pipeline that ends with one
        X : sequences
            As the estimator's `explain` takes them. Of an LSTMForecaster without covariates the series y that its
            forecasts go on from, default=None: those of `fit`; shown is the last window.
        method : {"integrated_gradients", "occlusion"}, default="integrated_gradients"
        index : int or list of int, default=None
            Which sequences are shown. None: the first `max_sequences`.
        max_sequences : int, default=None
            None: 2 of numbers, 10 of tokens.
        tokens : list of lists of str, default=None
            What stands at the steps of each sequence of X, where these are tokens. None: the tokens of text, or ids.
        feature_names : list of str, default=None
            None: the columns of data frames, or the features' numbers.
        ax : as in `plot`
        **kwargs : dict
            For `explain`: target, baseline.

        Returns
        -------
        display : SaliencyDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If an argument is not as described.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if method not in _METHODS:
            raise ValueError(f"SaliencyDisplay shows methods {' and '.join(map(repr, _METHODS))}, not {method!r}")
        if hasattr(model, "training_tail_"):
            return cls._of_forecaster(model, X, method, index, max_sequences, **kwargs).plot(ax)
        n = count(X)
        are_tokens = model.embedding_dim is not None
        indices = chosen(n, index, (10 if are_tokens else 2) if max_sequences is None else max_sequences)
        shown = take(X, indices)
        given = at_last_step(estimator, shown)
        attributions = model.explain(given, method=method, **kwargs)
        about = {"labels": [f"sequence {i}" for i in indices], "what": _METHODS[method]}
        if are_tokens:
            tokens = tokens_of(estimator, shown) if tokens is None else tokens_at(tokens, n, indices)
            return cls(attributions, tokens=tokens, **about).plot(ax)
        if feature_names is None:
            feature_names = getattr(given[0], "columns", None) if isinstance(given, list | tuple) else None
        values = given.to_numpy() if hasattr(given, "to_numpy") else given
        return cls(attributions, values, feature_names=feature_names, **about).plot(ax)

    @classmethod
    def _of_forecaster(cls, forecaster, y, method, index, max_sequences, **kwargs):
        """Of the last windows of series y, or of those of its fit."""
        found = forecaster.explain(y, method=method, **kwargs)
        series = forecaster.training_tail_ if y is None else y
        if not isinstance(found, list):
            found, series = [found], [series]
        indices = chosen(len(found), index, 2 if max_sequences is None else max_sequences)
        windows = [series[i][-len(found[i]) :] for i in indices]
        return cls(
            [found[i] for i in indices], windows, feature_names=getattr(windows[0], "columns", None),
            labels=[f"series {i}" for i in indices], what=_METHODS[method],
        )  # fmt: skip

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, or array of as many as there are sequences of numbers, default=None
            Where. None: a new figure.

        Returns
        -------
        display : SaliencyDisplay
        """
        most = max(np.abs(a).max(initial=0) for a in self.attributions)
        colours = colour_scale(DIVERGING, -(most or 1), most or 1)
        self.heat_axes_, self.value_axes_, self.images_, self.lines_, self.patches_ = [], [], [], [], []
        if self.tokens is not None:
            text = TokenText(self.tokens, self.labels if len(self.labels) > 1 else [""])
            self.axes_ = axes_for(1, ax, size=(8, 1 + 0.3 * text.n_lines))
            self.patches_ = text.draw(self.axes_[0], self.attributions, colours)
        else:
            self._plot_numbers(ax, colours)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.get_figure()
        self.colorbar_ = self.figure_.colorbar(colours, ax=list(self.axes_), pad=0.02, label=self.what)
        self.colorbar_.outline.set_visible(False)
        return self

    def _plot_numbers(self, ax, colours):
        n_features = len(self.feature_names)
        heat_height = float(np.clip(0.22 * n_features, 0.5, 5.0))
        self.axes_ = axes_for(len(self.attributions), ax, size=(8, heat_height + _VALUE_HEIGHT + 1.0))
        total = sum(np.abs(attributions).sum(axis=0) for attributions in self.attributions)
        named = dict(zip(np.argsort(-total, kind="stable")[: len(PALETTE)].tolist(), PALETTE, strict=False))
        share = heat_height / (heat_height + _VALUE_HEIGHT)  # of the height below the gap
        for axes, attributions, values, label in zip(
            self.axes_, self.attributions, self.values, self.labels, strict=True
        ):
            axes.set_axis_off()
            heat = axes.inset_axes([0, 0, 1, share - 0.02])
            above = axes.inset_axes([0, share + 0.02, 1, 0.98 - share], sharex=heat)
            self.heat_axes_.append(heat)
            self.value_axes_.append(above)
            self.images_.append(self._plot_heat(heat, attributions, colours))
            self.lines_.append(self._plot_values(above, values, named))
            above.set(ylabel="Value", title=label if len(self.labels) > 1 else "")

    def _plot_heat(self, ax, attributions, colours):
        image = ax.imshow(
            attributions.T, aspect="auto", interpolation="nearest", cmap=colours.cmap, norm=colours.norm
        )  # fmt: skip
        ax.set(xlabel="Step")
        whole_steps(ax.xaxis)
        plain(ax)
        if len(self.feature_names) == 1:
            ax.set_yticks([])
        elif len(self.feature_names) <= _MOST_NAMES:
            ax.set_yticks(range(len(self.feature_names)), self.feature_names, size="small")
        else:
            ax.set(ylabel="Feature")
        return image

    def _plot_values(self, ax, values, named):
        """A line a feature: the named ones, those that matter most, in their colours, the others grey."""
        lines = []
        for i, name in enumerate(self.feature_names):
            style = {"color": named[i], "label": name, "zorder": 3} if i in named else {"color": GREY, "alpha": 0.4}
            lines += ax.plot(values[:, i], marker="o" if len(values) == 1 else None, **style)
        ax.tick_params(labelbottom=False)
        plain(ax)
        if len(lines) > 1:
            legend_right(ax, handles=[lines[i] for i in named], fontsize="small")
        return lines


def _two_dimensional(array):
    """(T, F) of (T,) too."""
    return array[:, None] if array.ndim == 1 else array
