"""LossCurveDisplay."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .drawing import BLUE, GREY, VERMILION, axes_for, whole_steps
from .inputs import last_step


class LossCurveDisplay:
    """Training loss and validation score after each epoch.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training loss of each epoch, as an estimator's ``loss_curve_``.
    validation_scores : array-like of shape (n_scored,), default=None
        Validation score after each of the first `n_scored` epochs; `partial_fit` adds epochs without one.
    name : str, default=None
        Label of the loss, for a legend of several fits.

    Attributes
    ----------
    best_epoch : int
        That with the best validation score, or without scores that with the smallest loss; epochs count from 1.
    ax_, score_ax_ : matplotlib Axes
        Axes of the loss, and of the score on the right; the second is None without scores.
    figure_ : matplotlib Figure
    line_, score_line_ : matplotlib Line2D
        The curves; the second is None without scores.
    best_line_ : matplotlib Line2D
        The upright line at the best epoch.

    See Also
    --------
    LossCurveDisplay.from_estimator : From a fitted estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import LSTMRegressor
    >>> from lstmfast.display import LossCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(60, 5, 2))
    >>> regressor = LSTMRegressor(4, max_iter=5, random_state=0).fit(X, X[:, -1])
    >>> LossCurveDisplay.from_estimator(regressor).line_.get_xdata().tolist()
    [1, 2, 3, 4, 5]
    """

    def __init__(self, loss_curve, validation_scores=None, *, name=None):
        self.loss_curve = np.asarray(loss_curve, dtype=float)
        self.validation_scores = None if validation_scores is None else np.asarray(validation_scores, dtype=float)
        if self.loss_curve.ndim != 1 or not len(self.loss_curve):
            raise ValueError(f"loss_curve must hold the loss of at least one epoch, got shape {self.loss_curve.shape}")
        self.name = name

    @property
    def best_epoch(self):
        values = -self.loss_curve if self.validation_scores is None else self.validation_scores
        return int(np.argmax(np.where(np.isnan(values), -np.inf, values))) + 1

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, **kwargs):
        """Draw the fit of an estimator.

        Parameters
        ----------
        estimator : fitted estimator, or a pipeline that ends with one
        ax, kwargs : as in `plot`
        name : str, default=None
            Label of the loss. None: the estimator's class.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If it has no history: it came from another library, or training ended within the first epoch.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not model.loss_curve_:
            raise ValueError(
                f"this {type(model).__name__} has no loss curve: it was not trained here, or for less than an epoch"
            )
        display = cls(model.loss_curve_, model.validation_scores_, name=type(model).__name__ if name is None else name)
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where. None: a new figure.
        **kwargs : dict
            For `matplotlib.axes.Axes.plot`, of the loss.

        Returns
        -------
        display : LossCurveDisplay
        """
        (self.ax_,) = axes_for(1, ax, size=(6.4, 4.0))
        self.figure_ = self.ax_.get_figure()
        epochs = np.arange(1, len(self.loss_curve) + 1)
        style = {"color": BLUE, "label": self.name} | kwargs
        (self.line_,) = self.ax_.plot(epochs, self.loss_curve, **style | _marks(self.loss_curve))
        self.ax_.set(xlabel="Epoch")
        whole_steps(self.ax_.xaxis)
        self.ax_.spines["top"].set_visible(False)
        colour = self.line_.get_color()
        self.ax_.set_ylabel("Training loss", color=colour)
        self.ax_.tick_params(axis="y", labelcolor=colour)
        self.score_ax_ = self.score_line_ = None
        if self.validation_scores is None:
            self.ax_.spines["right"].set_visible(False)
        else:
            self._plot_scores(epochs)
        self.best_line_ = self.ax_.axvline(self.best_epoch, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
        what = "smallest loss" if self.validation_scores is None else "best score"
        above = self.ax_.secondary_xaxis("top")  # a tick label: a title goes above it by itself
        above.set_xticks([self.best_epoch], [f"{what}: epoch {self.best_epoch}"])
        above.tick_params(length=0, labelcolor="#555555", labelsize="small")
        above.spines["top"].set_visible(False)
        return self

    def _plot_scores(self, epochs):
        self.score_ax_ = self.ax_.twinx()
        self.score_ax_.spines["top"].set_visible(False)
        (self.score_line_,) = self.score_ax_.plot(
            epochs[: len(self.validation_scores)], self.validation_scores, color=VERMILION, linestyle="--",
            **_marks(self.validation_scores),
        )  # fmt: skip
        self.score_ax_.set_ylabel("Validation score", color=VERMILION)
        self.score_ax_.tick_params(axis="y", labelcolor=VERMILION)


def _marks(values):
    """A line through a single value is invisible without a marker."""
    return {"marker": "o"} if len(values) == 1 else {}
