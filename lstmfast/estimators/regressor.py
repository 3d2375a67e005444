"""LSTMRegressor."""

import itertools
from numbers import Real

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, RegressorMixin, TransformerMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import column_or_1d

from ..concurrency import of_one_fit
from ..decisions import Numbers
from ..losses import REGRESSION_LOSSES, Quantile
from ..sequences import as_numbers, check_finite, to_contiguous
from .explaining import check_column, one_hot
from .sharing import shares_parameters
from .supervised import SequenceEstimator


@shares_parameters
class LSTMRegressor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RegressorMixin, SequenceEstimator):
    """Predict numbers from sequences with an LSTM network.

    Recurrent layers (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000), pooling
    over steps, dense layers, linear output; trained by backpropagation through time. Sequences may differ in length:
    they are neither padded nor cut, and what is predicted for one does not depend on the others.

    Training starts from the best constant prediction (the output's bias is the mean of y, or its median or quantile,
    after the loss). Targets far from unit scale still train faster in a
    `sklearn.compose.TransformedTargetRegressor` that standardises them.

    Parameters
    ----------
    {parameters}
    loss : {"squared_error", "absolute_error", "huber", "quantile"}, default="squared_error"
        What is minimised, of the residual r: r^2, \\|r\\|, Huber's loss with its corner at 1, or the pinball loss.
    quantile : float in (0, 1), default=0.5
        Which quantile ``loss="quantile"`` predicts.

    Attributes
    ----------
    {input_attributes}
    {attributes}

    See Also
    --------
    LSTMClassifier : The same for labels.
    lstmfast.make_windows : Cuts a long series into sequences and what follows each.

    Examples
    --------
    The next value of a sine.

    >>> import numpy as np
    >>> from lstmfast import LSTMRegressor, make_windows
    >>> X, y = make_windows(np.sin(np.arange(200) / 5), window=20)
    >>> regressor = LSTMRegressor(16, max_iter=100, learning_rate_init=0.01, random_state=0).fit(X[:150], y[:150])
    >>> bool(regressor.score(X[150:], y[150:]) > 0.98)
    True
    """

    _parameter_constraints = SequenceEstimator._parameter_constraints | {
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    _decision_class = Numbers

    def __init__(self, *arguments, loss="squared_error", quantile=0.5, **parameters):
        super().__init__(*arguments, **parameters)
        self.loss = loss
        self.quantile = quantile

    def partial_fit(self, X, y, sample_weight=None):
        """One epoch on these data, going on from the weights and moments there are.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`

        Returns
        -------
        self : object
        """
        return self._change(lambda draft: draft._partial_fit(X, y, sample_weight, targets_known=False))

    def _check_targets(self, y, reset):
        y = to_contiguous(as_numbers(y, "y"), np.dtype(self.dtype))
        if y.ndim not in (1, 2) or 0 in y.shape[1:]:
            raise ValueError(f"y must have shape (n,) or (n, n_outputs), got {y.shape}")
        check_finite(y, "y")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        n_targets = 1 if y.ndim == 1 else y.shape[1]
        if reset:
            self._one_output, self._n_targets = y.ndim == 1, n_targets
        elif n_targets != self._n_targets:
            raise ValueError(f"y must have {self._n_targets} columns as in the first fit, got shape {y.shape}")
        return y.reshape(len(y), n_targets)

    def _make_loss(self):
        return Quantile(self.quantile) if self.loss == "quantile" else REGRESSION_LOSSES[self.loss]()

    @np.errstate(over="ignore")  # of predictions so wrong that their squares are infinite: a score of -inf
    def _validation_score(self, outputs, targets):
        if not np.isfinite(outputs).all() or len(targets) < 2:
            return -float(np.abs(outputs - targets).mean())  # R2 is not defined
        return float(r2_score(targets, outputs))

    @of_one_fit
    def predict(self, X):
        """Prediction for each sequence.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        y : ndarray of float64 of shape (n,) or (n, n_outputs), as y was in `fit`
        """
        outputs = self._outputs(X)
        return self._decision.predict(outputs)

    def _coefficients(self, sequences, target):
        n_targets = self._n_targets
        if target is None:
            return itertools.repeat(np.ones(n_targets), len(sequences))
        return one_hot([check_column(target, n_targets, "y")] * len(sequences), n_targets)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = []
        return tags
