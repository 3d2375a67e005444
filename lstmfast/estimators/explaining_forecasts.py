"""`explain` and `attention`, of LSTMForecaster."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..concurrency import of_one_fit
from ..sequences import Sequences
from ..series import Origins, is_series_list, undo_difference
from ..windows import as_sequences
from .explaining import Attending, check_column, pools_by_attention


@dataclass(frozen=True, slots=True, eq=False)
class Windows(Sequences):
    """What the network reads at some origins."""

    origins: Origins | None = None


class ExplainingForecasts(Attending):
    """What explains a fitted forecaster."""

    @of_one_fit
    def explain(self, y=None, X=None, method="integrated_gradients", *, target=None, baseline=None, window=1):
        """How much each step of the last window adds to the forecast, or what the recurrent units do at each.

        Parameters
        ----------
        y, X : as in `predict`
        method : {"integrated_gradients", "occlusion", "gates", "states"}, default="integrated_gradients"
            As of the other estimators: see `LSTMRegressor.explain`.
        target : int, default=None
            Which step of the horizon, from 0: its forecast is explained, of several variables their sum. None: the sum
            of all steps. With ``strategy="recursive"`` only the next step is explained. With ``log=True`` a forecast is
            that of the logarithm.
        baseline : float or array-like of shape (n_inputs,), default=None
            What stands for no information, in the units in which the network reads the series: after differences, and
            standardised. None: 0, and so the mean.
        window : int, default=1
            Of "occlusion": steps that are taken away together.

        Returns
        -------
        explanations : ndarray of shape (window, n_inputs), or list of such
            A number for each step and variable of the last window; behind these `n_variables_` columns those of the
            covariates of the steps that follow it, one step after the other. Of "gates" and "states" a list with an
            array for each recurrent layer. Of a list of series a list.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or is given to a method that has no use for it.

        Examples
        --------
        >>> import numpy as np
        >>> from lstmfast import LSTMForecaster
        >>> y = np.sin(np.arange(200) / 5)
        >>> forecaster = LSTMForecaster(window=10, hidden_layer_sizes=8, max_iter=20, random_state=0).fit(y)
        >>> forecaster.explain().shape
        (10, 1)
        """
        check_is_fitted(self)
        origins, _ = self._past.begin(y, X, self._past.preparation.width, self)
        explained = super().explain(origins, method, target=target, baseline=baseline, window=window)
        return explained if (self._past.is_list if y is None else is_series_list(y)) else explained[0]

    @available_if(pools_by_attention)
    @of_one_fit
    def attention(self, y=None, X=None):
        """Weights of the last window's steps in the mean that pooling="attention" makes of them.

        Parameters
        ----------
        y, X : as in `predict`

        Returns
        -------
        weights : list of ndarrays of shape (window,)
            For each series; they sum to 1.
        """
        check_is_fitted(self)
        origins, _ = self._past.begin(y, X, self._past.preparation.width, self)
        return super().attention(origins)

    def _explained_sequences(self, X):
        if not isinstance(X, Origins):
            raise ValueError("that of a forecaster must be a number, or a number for each input of a step")
        sequences = as_sequences(self._past.preparation.inputs(X.windows, X.covariates), self._network.dtype)
        return Windows(sequences.steps, sequences.offsets, "list", X)

    def _coefficients(self, sequences, target):
        preparation, n_variables = self._past.preparation, self.n_variables_
        steps = slice(None) if target is None else check_column(target, preparation.width, "the forecast")
        # What each output by itself adds to the levels that are forecast.
        outputs = np.eye(preparation.width * n_variables).reshape(-1, preparation.width, n_variables)
        before = np.zeros((len(outputs), sum(preparation.lags), n_variables))
        for scale in sequences.origins.scale:
            levels = undo_difference(scale * outputs, before, preparation.lags)
            yield levels[:, steps].reshape(len(outputs), -1).sum(axis=1)
