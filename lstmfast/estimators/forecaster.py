"""LSTMForecaster."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..conformal import ConformalQuantiles
from ..decisions import Numbers
from ..layers.parameters import check_dtype, check_size
from ..past import Past
from ..saved_model import check_fields, check_names
from ..series import Preparation, unit
from ..windows import SplitWindows, as_sequences
from .base import COUNT
from .checkpoint import Checkpoint
from .explaining_forecasts import ExplainingForecasts
from .regressor import LSTMRegressor
from .sharing import shares_parameters, shares_texts
from .supervised import SupervisedEstimator


@shares_parameters(without=("embedding_dim", "embedding_weights"))
class LSTMForecaster(ExplainingForecasts, SupervisedEstimator):
    """Forecast series with an LSTM network, with prediction intervals.

    A network as `LSTMRegressor`'s reads the last `window` steps of a series and gives the next ones. It learns from all
    windows of one series or of many, each standardised, after logarithm and differences if these are asked for.
    Without differences each window is measured from its own mean, since the level of a series wanders (Kim et al.
    2022). All of it is undone in the forecasts. A trend or season that is stronger than all else is best left to
    differences.

    Parameters
    ----------
    horizon : int, default=1
        Steps to forecast.
    window : int, default=24
        Steps that the network sees: at least a period of what is seasonal.
    strategy : {"direct", "recursive"}, default="direct"
        "direct": the network gives all steps of the horizon at once. "recursive": it gives the next step, which is fed
        back for the one after it; a forecast may then be of any length.
    differences : int or tuple of int, default=()
        Lags: 1 makes the network forecast changes from step to step, 12 those from year to year of monthly data,
        (1, 12) does both. Undone in the forecasts.
    log : bool, default=False
        Forecast the logarithm, where variation grows with the level; values must be positive.
    scale : bool, default=True
        Standardise each series, after the differences; and each covariate, over all series.
    calibration_fraction : float in [0, 1), default=0.2
        Share of each series' windows, at its end, that are kept out of training, to calibrate `predict_interval`. 0:
        train on all of them, and have no intervals.
    loss, quantile : as of `LSTMRegressor`, default="squared_error", 0.5
        Of the standardised values.
    {parameters}

    Attributes
    ----------
    n_variables_ : int
        Variables of a series, d.
    n_features_in_ : int
        Covariates, the columns of X; 0 without X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X was a data frame.
    n_calibration_windows_ : int
        Windows that intervals are calibrated on, of all series.
    training_tail_ : array, Series or DataFrame, or list of such
        The end of y, which forecasts go on from: the last ``window + sum(differences)`` steps of each series.
    {attributes}

    Notes
    -----
    The intervals are split-conformal (Vovk, Gammerman & Shafer 2005; Lei et al. 2018): the half-width for a step of the
    horizon is a quantile of how far forecasts of that step were off on the calibration windows. Errors are measured in
    units of how much the series varied before the forecast, so that series of any scale share them. Each calibration
    window is forecast as `predict` would have done at the time; nothing of it was a training target, and
    `early_stopping` holds out windows before it.

    Their coverage is guaranteed if the errors to come are exchangeable with those of the calibration windows. Errors of
    a series are not quite that. Neighbouring windows overlap; for this the quantiles are raised (see
    `lstmfast.conformal`). And what a series does may change; then nothing helps. So coverage is about right on average
    over many series and origins, for each step by itself; it is not guaranteed for one series, nor for all steps of a
    horizon together.

    At each step of a window the network reads the values of the series, and the covariates of the steps that are to be
    forecast from there. Windows are copied: they take about `window` times the memory of the series.

    References
    ----------
    G. E. P. Box and G. M. Jenkins, "Time Series Analysis: Forecasting and Control", revised ed. 1976. J. Lei,
    M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, "Distribution-free predictive inference for regression",
    JASA 113, 2018. V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random World", 2005. T. Kim, J. Kim,
    Y. Tae, C. Park, J.-H. Choi and J. Choo, "Reversible instance normalization for accurate time-series forecasting
    against distribution shift", ICLR 2022.

    See Also
    --------
    LSTMRegressor : The same network for targets of any kind; `make_windows` cuts series for it.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import LSTMForecaster
    >>> rng = np.random.default_rng(0)
    >>> y = 20 + 5 * np.sin(np.arange(300) * np.pi / 6) + rng.normal(scale=0.1, size=300)
    >>> forecaster = LSTMForecaster(
    ...     horizon=6, window=12, hidden_layer_sizes=16, learning_rate_init=0.01, max_iter=50, random_state=0
    ... ).fit(y)
    >>> bool(np.abs(forecaster.predict() - (20 + 5 * np.sin(np.arange(300, 306) * np.pi / 6))).max() < 0.5)
    True
    >>> lower, upper = forecaster.predict_interval(coverage=0.8)
    >>> lower.shape, bool((lower < upper).all())
    ((6,), True)
    """

    _parameter_constraints = LSTMRegressor._parameter_constraints | {
        "horizon": [COUNT],
        "window": [COUNT],
        "strategy": [StrOptions({"direct", "recursive"})],
        "differences": [COUNT, "array-like"],
        "log": ["boolean"],
        "scale": ["boolean"],
        "calibration_fraction": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self, horizon=1, window=24, strategy="direct", *, differences=(), log=False, scale=True,
        calibration_fraction=0.2, loss="squared_error", quantile=0.5, **parameters,
    ):  # fmt: skip
        super().__init__(**parameters)
        self.horizon = horizon
        self.window = window
        self.strategy = strategy
        self.differences = differences
        self.log = log
        self.scale = scale
        self.calibration_fraction = calibration_fraction
        self.loss = loss
        self.quantile = quantile

    # ---- fitting ----

    @shares_texts
    def fit(self, y, X=None, *, checkpoint=None, resume=False):
        """Learn to continue series.

        Parameters
        ----------
        y : array-like of shape (T,) or (T, d), or list of such
            One series of T numbers, or of T rows of d variables; or a list of series of different lengths. pandas'
            Series and DataFrame are continued as such; their index must be evenly spaced.
        X : array-like of shape (T, F), or list of such, default=None
            Covariates, row for row with y, that are known in the future too: holidays, prices, plans.
        {checkpoint}

        {fitted}

        Notes
        -----
        A checkpoint has no intervals, nor has a fit that Ctrl-C ended: they are calibrated when training has ended.
        """
        kept = Checkpoint(checkpoint, resume)
        return self._change(lambda draft: draft._fit_series(y, X, kept))

    def _fit_series(self, y, X, checkpoint):
        going_on = self.warm_start and hasattr(self, "_network")
        self._check_arguments()
        preparation = Preparation(
            window=int(self.window), horizon=int(self.horizon), direct=self.strategy == "direct", lags=self._lags(),
            log=bool(self.log), scale=bool(self.scale),
        )  # fmt: skip
        self._past, series = Past.learn(y, X, preparation, self)
        if going_on and self._network.config["n_outputs"] != self._decision.n_outputs:
            raise ValueError(
                f"the weights to go on from give {self._network.config['n_outputs']} numbers, not {preparation.width} "
                f"steps of {self.n_variables_} variables; fit with warm_start=False to start anew"
            )
        windows = SplitWindows.of(
            preparation, series, self.calibration_fraction, self.validation_fraction if self.early_stopping else 0
        )
        training, validation = self._examples(windows)
        history = getattr(self, "_history", None)
        self._quantiles = ConformalQuantiles.of(np.empty((0, preparation.horizon, self.n_variables_)))
        in_a_hurry = False
        try:
            self._fit(*training, None, *validation, checkpoint)
        except KeyboardInterrupt:
            in_a_hurry = True
            raise
        finally:
            if getattr(self, "_history", None) is not history and not in_a_hurry:  # also after an error in a callback
                self._calibrate(*windows.calibration_pairs())

    def _check_arguments(self):
        super()._check_arguments()
        self._lags()

    def _lags(self):
        given = [self.differences] if isinstance(self.differences, Integral) else self.differences
        return tuple(check_size(lag, "each of differences") for lag in given)

    def _examples(self, windows):
        """Examples to train on, and for `early_stopping`, or (None, None)."""
        dtype = check_dtype(self.dtype)
        if not self.early_stopping:
            return windows.examples(windows.training, dtype), (None, None)
        if not any(map(len, windows.validation)):
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction} leaves no window for validation; "
                "give longer series, a shorter window or horizon, or set early_stopping=False"
            )
        return [windows.examples(chosen, dtype) for chosen in (windows.training, windows.validation)]

    def _calibrate(self, origins, levels):
        """Compare the forecasts at some origins with the levels that came."""
        errors = levels - self._forecast(origins, levels.shape[1])
        self._quantiles = ConformalQuantiles.of(errors / unit(origins.spread))

    # What `_fit` is given here is sound already.
    def _check_sequences(self, sequences, reset):
        return sequences

    def _pair_targets(self, sequences, targets, reset):
        return targets

    @property
    def _decision(self):
        n_outputs = self._past.preparation.width * self.n_variables_
        return Numbers(n_outputs, n_outputs == 1)

    _make_loss, _validation_score = LSTMRegressor._make_loss, LSTMRegressor._validation_score

    @property
    def n_variables_(self):
        check_is_fitted(self, "_past")
        return self._past.n_variables

    @property
    def n_calibration_windows_(self):
        check_is_fitted(self, "_quantiles")
        return self._quantiles.n

    @property
    def training_tail_(self):
        check_is_fitted(self, "_past")
        return self._past.tail()

    # ---- forecasting ----

    def _forecast(self, origins, horizon):
        """Levels (n, horizon, d)."""
        n_threads = effective_n_threads(self.n_jobs)

        def predict(inputs):
            sequences = as_sequences(inputs, self._network.dtype)
            return self._network.outputs(sequences, n_threads=n_threads).astype(np.float64)

        return self._past.preparation.forecast(origins, horizon, predict)

    @of_one_fit
    def predict(self, y=None, X=None, horizon=None):
        """Continue series.

        Parameters
        ----------
        y : as in `fit`, default=None
            Series to continue, of at least ``window + sum(differences)`` steps. None: those of `fit`.
        X : as in `fit`, default=None
            Covariates, where `fit` had them: the future rows (horizon, F); where y is given, those of y and the future,
            (T + horizon, F). With ``strategy="direct"`` those of the whole fitted horizon, even if fewer steps are
            asked for.
        horizon : int, default=None
            Steps to forecast; None: as many as in `fit`. More than these only with ``strategy="recursive"``.

        Returns
        -------
        forecast : ndarray, Series or DataFrame of shape (horizon,) or (horizon, d), or list of such
            In the form of y; the index of a Series or DataFrame goes on.

        Raises
        ------
        ValueError, TypeError
            If y or X are not as described, or the horizon is out of reach.
        """
        check_is_fitted(self)
        horizon = self._past.preparation.check_horizon(horizon)
        origins, like = self._past.begin(y, X, horizon, self)
        return like(self._past.preparation.values(self._forecast(origins, horizon)))

    @of_one_fit
    def predict_interval(self, y=None, X=None, horizon=None, coverage=0.9):
        """Intervals that hold what will come, for each step by itself, with about this probability.

        Parameters
        ----------
        y, X, horizon : as in `predict`
            Intervals reach as far as the horizon of `fit`, with either strategy.
        coverage : float in (0, 1), default=0.9
            See the notes of this class on what is promised.

        Returns
        -------
        lower, upper : each as `predict` returns

        Raises
        ------
        ValueError
            If there are too few calibration windows for this coverage, or none.
        """
        validate_parameter_constraints({"coverage": [Interval(Real, 0, 1, closed="neither")]}, {"coverage": coverage},
                                       "predict_interval")  # fmt: skip
        check_is_fitted(self)
        preparation = self._past.preparation
        horizon = preparation.check_horizon(horizon)
        if horizon > preparation.horizon:
            raise ValueError(
                f"intervals are calibrated for {preparation.horizon} steps, not {horizon}; fit with horizon={horizon}"
            )
        widths = self._quantiles(coverage)[:horizon]
        origins, like = self._past.begin(y, X, horizon, self)
        levels, widths = self._forecast(origins, horizon), widths * origins.spread[:, None]
        return like(preparation.values(levels - widths)), like(preparation.values(levels + widths))

    @of_one_fit
    def score(self, y, X=None):
        """R2 of forecasts of the steps after the series of `fit`, from every origin whose horizon is in y.

        Each forecast sees all that is before it, of y too, but nothing is learned from it. So scikit-learn's
        `cross_val_score` and `GridSearchCV` work on a series with ``cv=TimeSeriesSplit()``: ``cross_val_score(
        forecaster, y, X, cv=TimeSeriesSplit())``.

        Parameters
        ----------
        y : as in `fit`
            What follows the series of `fit`, as many series.
        X : as in `fit`, default=None
            Covariates, row for row with y.

        Returns
        -------
        score : float
            Mean over series; 1 is best, 0 is as good as their mean.
        """
        check_is_fitted(self)
        preparation, scores = self._past.preparation, []
        for series in self._past.followed_by(y, X, self):
            at = np.arange(preparation.window, len(series.changes) - preparation.horizon + 1)
            origins, truth = preparation.forecasts_due(series, at)
            pair = truth, self._forecast(origins, preparation.horizon)
            scores.append(r2_score(*(preparation.values(each).reshape(-1, self.n_variables_) for each in pair)))
        return float(np.mean(scores))

    # ---- files ----

    _array_fields = (*Past.arrays, *ConformalQuantiles.arrays)

    def _fitted(self):
        names = ("n_variables_", "n_features_in_", *({"feature_names_in_"} & vars(self).keys()))
        return {name: getattr(self, name) for name in names} | self._past.fields() | self._quantiles.fields()

    def _restore_fitted(self, fitted, network):
        needed = ("n_variables_", "n_features_in_", "preparation", "forms", "is_list", *self._array_fields)
        check_fields(fitted, needed, ("feature_names_in_",))
        n_variables, n_features = check_size(fitted["n_variables_"], "n_variables_"), fitted["n_features_in_"]
        self.n_features_in_ = n_features
        self._past = Past.from_fields(fitted, n_variables, n_features)
        preparation = self._past.preparation
        self._quantiles = ConformalQuantiles.from_fields(fitted, (preparation.horizon, n_variables))
        if "feature_names_in_" in fitted:
            self.feature_names_in_ = fitted["feature_names_in_"]
            check_names(self.feature_names_in_, n_features)
        expected = n_variables + preparation.width * n_features, preparation.width * n_variables
        if (network.config["n_features"], network.config["n_outputs"]) != expected:
            raise ValueError("the network does not have the inputs and outputs of the estimator")
