"""AttentionDisplay."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .drawing import BLUE, GREY, NO_VALUE, SEQUENTIAL, TokenText, axes_for, colour_scale, plain, whole_steps
from .inputs import at_last_step, checked_tokens, chosen, count, last_step, take, target_tokens_of, tokens_at, tokens_of


class AttentionDisplay:
    """Where a network looked: weights over the steps of a sequence, or over source and target of a translation.

    Weights of shape (T,) are bars, or a row of a heat map each if there are several sequences; with tokens they are the
    tokens on patches of colour. Weights of shape (T_out, T_in) are a map each.

    Parameters
    ----------
    weights : list of ndarrays, all of shape (T_i,) or all of shape (T_out, T_in)
        As `attention` of an estimator returns them.
    tokens : list of lists of T_i (T_in) str, default=None
        What stands at each step. None: its number.
    target_tokens : list of lists of T_out str, default=None
        What stands at each row of a map. None: its number.
    labels : list of str, default=None
        Names of the sequences. None: their numbers.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    bars_ : BarContainer or None
    images_ : list of AxesImage
        Maps, one a sequence (None: an empty source or target), or the heat map of all; [] for bars and tokens.
    patches_ : list of lists of Rectangle
        Behind each token of each sequence; [] where tokens are not drawn as text.
    colorbar_ : matplotlib Colorbar or None

    Examples
    --------
    >>> from lstmfast.display import AttentionDisplay
    >>> display = AttentionDisplay([[0.1, 0.7, 0.2]]).plot()
    >>> [float(bar.get_height()) for bar in display.bars_]
    [0.1, 0.7, 0.2]
    """

    def __init__(self, weights, *, tokens=None, target_tokens=None, labels=None):
        self.weights = [np.asarray(w, dtype=float) for w in weights]
        dimensions = {w.ndim for w in self.weights}
        if dimensions not in ({1}, {2}):
            shapes = [w.shape for w in self.weights]
            raise ValueError(f"weights must be arrays of one dimension, or all of two, got shapes {shapes}")
        self.is_map = dimensions == {2}
        self.tokens = tokens if tokens is None else checked_tokens(tokens, [w.shape[-1] for w in self.weights])
        if target_tokens is not None:
            if not self.is_map:
                raise ValueError("target_tokens go with weights of two dimensions, those of a translation")
            target_tokens = checked_tokens(target_tokens, map(len, self.weights), "target_tokens")
        self.target_tokens = target_tokens
        self.labels = [f"sequence {i}" for i in range(len(self.weights))] if labels is None else list(labels)

    @classmethod
    def from_estimator(cls, estimator, X=None, targets=None, *, index=None, max_sequences=None, tokens=None, ax=None):
        """Draw the attention that an estimator pays to sequences.

        Parameters
        ----------
        estimator : fitted estimator with ``pooling="attention"``, LSTMTranslator, or a pipeline that ends with one
        X : sequences
            As the estimator's `predict` takes them. Of an LSTMForecaster without covariates series y, default=None:
            those of `fit`; shown is the last window.
        targets : list of targets, default=None
            Of a translator: what is written. None: what it predicts.
        index : int or list of int, default=None
            Which sequences are shown. None: the first `max_sequences`.
        max_sequences : int, default=None
            None: 4 of a translator, else 20.
        tokens : list of lists of str, default=None
            What stands at the steps of each sequence of X. None: the tokens of text, or the steps' numbers.
        ax : as in `plot`

        Returns
        -------
        display : AttentionDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it pays no attention, or an argument is not as described.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "attention"):
            raise ValueError(f"{type(model).__name__} pays no attention: only one with pooling='attention' does")
        if hasattr(model, "training_tail_"):  # a forecaster, for which one array is one series
            weights = model.attention(X)
            indices = chosen(len(weights), index, 20 if max_sequences is None else max_sequences)
            return cls([weights[i] for i in indices], labels=[f"series {i}" for i in indices]).plot(ax)
        translates = hasattr(model, "attention_weights")
        n = count(X)
        indices = chosen(n, index, (4 if translates else 20) if max_sequences is None else max_sequences)
        shown = take(X, indices)
        tokens = tokens_of(estimator, shown) if tokens is None else tokens_at(tokens, n, indices)
        labels = [f"sequence {i}" for i in indices]
        if not translates:
            if targets is not None:
                raise ValueError(f"targets are for a translator, not for {type(model).__name__}")
            return cls(model.attention(at_last_step(estimator, shown)), tokens=tokens, labels=labels).plot(ax)
        targets = model.predict(shown) if targets is None else take(targets, indices)
        weights, written = model.attention_weights(shown, targets), target_tokens_of(model, targets)
        return cls(weights, tokens=tokens, target_tokens=written, labels=labels).plot(ax)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, or array of as many as there are maps, default=None
            Where. None: a new figure.
        **kwargs : dict
            For `matplotlib.axes.Axes.bar`, or `imshow` of maps and of the heat map.

        Returns
        -------
        display : AttentionDisplay
        """
        self.bars_, self.images_, self.patches_, self.colorbar_ = None, [], [], None
        if self.is_map:
            self._plot_maps(ax, kwargs)
        elif self.tokens is not None:
            self._plot_tokens(ax)
        elif len(self.weights) == 1:
            self._plot_bars(ax, kwargs)
        else:
            self._plot_heat(ax, kwargs)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.get_figure()
        return self

    def _plot_maps(self, ax, kwargs):
        rows, columns = np.max([w.shape for w in self.weights], axis=0)
        size = np.clip(1.8 + 0.3 * columns, 3.5, 8), np.clip(1.5 + 0.3 * rows, 3, 8)
        self.axes_ = axes_for(len(self.weights), ax, size=size, n_columns=2, layout="compressed")
        style = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": 1} | kwargs
        for i, (axes, weights) in enumerate(zip(self.axes_, self.weights, strict=True)):
            axes.set(xlabel="Source", ylabel="Target")
            if len(self.weights) > 1:
                axes.set_title(self.labels[i])
            axes.spines[:].set_visible(False)
            if not weights.size:
                self.images_.append(None)
                axes.set(xticks=[], yticks=[])
                axes.text(0.5, 0.5, "empty", ha="center", va="center", color=GREY)
                continue
            self.images_.append(axes.imshow(weights, **style))
            _tick(axes.xaxis, self.tokens and self.tokens[i])
            _tick(axes.yaxis, self.target_tokens and self.target_tokens[i])
        self._colorbar(colour_scale(style["cmap"], style["vmin"], style["vmax"]))

    def _plot_tokens(self, ax):
        text = TokenText(self.tokens, self.labels if len(self.labels) > 1 else [""])
        self.axes_ = axes_for(1, ax, size=(8, 1 + 0.3 * text.n_lines))
        colours = colour_scale(SEQUENTIAL, 0, max(w.max() for w in self.weights))
        self.patches_ = text.draw(self.axes_[0], self.weights, colours)
        self._colorbar(colours)

    def _plot_bars(self, ax, kwargs):
        self.axes_ = axes_for(1, ax, size=(6.4, 3.2))
        (weights,) = self.weights
        self.bars_ = self.axes_[0].bar(np.arange(len(weights)), weights, **{"color": BLUE, "width": 0.9} | kwargs)
        self.axes_[0].set(xlabel="Step", ylabel="Attention weight")
        whole_steps(self.axes_[0].xaxis)
        plain(self.axes_[0])

    def _plot_heat(self, ax, kwargs):
        self.axes_ = axes_for(1, ax, size=(6.4, 1.4 + 0.3 * len(self.weights)))
        heat = np.full((len(self.weights), max(map(len, self.weights))), np.nan)
        for row, weights in zip(heat, self.weights, strict=True):
            row[: len(weights)] = weights
        style = {"cmap": SEQUENTIAL, "vmin": 0, "aspect": "auto", "interpolation": "nearest"} | kwargs
        self.images_ = [self.axes_[0].imshow(heat, **style)]
        self.axes_[0].set(xlabel="Step")
        self.axes_[0].set_yticks(range(len(self.labels)), self.labels)
        whole_steps(self.axes_[0].xaxis)
        self.axes_[0].set_facecolor(NO_VALUE)
        plain(self.axes_[0])
        self._colorbar(self.images_[0])

    def _colorbar(self, mappable):
        figure = self.axes_[0].get_figure()
        self.colorbar_ = figure.colorbar(mappable, ax=list(self.axes_), label="Attention weight", pad=0.02)
        self.colorbar_.outline.set_visible(False)


def _tick(axis, tokens):
    """A tick for each token, upright where they are long; numbers where there are none."""
    if tokens is None:
        whole_steps(axis)
        return
    axis.set_ticks(range(len(tokens)), tokens, parse_math=False)
    if axis.axis_name == "x" and max(map(len, tokens), default=0) > 2:
        axis.set_tick_params(labelrotation=90)
