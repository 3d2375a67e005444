"""`lstmfast.LSTMForecaster` as a forecaster of sktime (``pip install sktime``): for its pipelines and splitters.

This module imports sktime; nothing else in lstmfast does.
"""

import numpy as np
import pandas as pd
from sklearn.base import clone

try:
    from sktime.forecasting.base import BaseForecaster
except ModuleNotFoundError as error:
    raise ImportError("lstmfast.interop.sktime needs sktime: pip install sktime") from error

from ..estimators import LSTMForecaster as Forecaster

__all__ = ["LSTMForecaster"]


class LSTMForecaster(BaseForecaster):
    """A `lstmfast.LSTMForecaster` with sktime's interface.

    Parameters
    ----------
    forecaster : lstmfast.LSTMForecaster, default=None
        With the settings to use; None: the default ones. A clone of it is fitted. Its `horizon` does not count: the
        forecasting horizon of `fit` decides.

    Attributes
    ----------
    forecaster_ : lstmfast.LSTMForecaster
        The fitted one.

    Examples
    --------
    >>> import lstmfast
    >>> from lstmfast.interop.sktime import LSTMForecaster
    >>> from sktime.datasets import load_airline
    >>> settings = lstmfast.LSTMForecaster(log=True, differences=12, max_iter=50, random_state=0)
    >>> forecaster = LSTMForecaster(settings).fit(load_airline(), fh=[1, 2, 3])
    >>> forecaster.predict_interval(coverage=0.8).shape
    (3, 2)
    """

    _tags = {  # noqa: RUF012 -- where sktime looks
        "authors": ["the lstmfast developers"],
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:non_contiguous_X": False,
        "capability:categorical_in_X": False,
        "y_inner_mtype": "pd.DataFrame",
        "X_inner_mtype": "pd.DataFrame",
        "requires-fh-in-fit": True,
    }

    def __init__(self, forecaster=None):
        self.forecaster = forecaster
        super().__init__()

    def _fit(self, y, X, fh):
        settings = Forecaster() if self.forecaster is None else clone(self.forecaster)
        horizon = int(max(fh.to_relative(self.cutoff)))
        self._columns = y.columns
        # Arrays: the index is sktime's business.
        self.forecaster_ = settings.set_params(horizon=horizon).fit(y.to_numpy(), None if X is None else X.to_numpy())
        return self

    def _future(self, fh, X):
        """Rows of a forecast that fh asks for, and the covariates of all rows or None."""
        horizon = self.forecaster_.horizon
        ahead = None if X is None else X[X.index > self.cutoff[0]].to_numpy()[:horizon]
        return np.asarray(fh.to_relative(self.cutoff)).astype(int) - 1, ahead

    def _frame(self, values, fh, columns):
        return pd.DataFrame(values, fh.to_absolute_index(self.cutoff), columns)

    def _predict(self, fh, X):
        rows, X = self._future(fh, X)
        return self._frame(self.forecaster_.predict(X=X)[rows], fh, self._columns)

    def _predict_interval(self, fh, X, coverage):
        rows, X = self._future(fh, X)
        names = self._get_varnames()
        columns = pd.MultiIndex.from_product([names, coverage, ["lower", "upper"]])
        # (step, variable, coverage, side)
        bounds = [self.forecaster_.predict_interval(X=X, coverage=share) for share in coverage]
        values = np.array(bounds)[:, :, rows].transpose(2, 3, 0, 1).reshape(len(rows), -1)
        return self._frame(values, fh, columns)

    @classmethod
    def get_test_params(cls, parameter_set="default"):
        """Settings that sktime's own checks use."""
        small = {"window": 3, "hidden_layer_sizes": 2, "max_iter": 2, "random_state": 0, "calibration_fraction": 0.7}
        return [
            {"forecaster": Forecaster(**small)},
            {"forecaster": Forecaster(**small, strategy="recursive", differences=1)},
        ]
