"""What a forecaster keeps of the series it was fitted on, and how it goes on from these or from others."""

from dataclasses import asdict

import numpy as np

from .covariates import moments_of, read_covariates
from .series import Origins, Preparation
from .time_index import GivenSeries, SeriesForm


class Past:
    """The ends of the fitted series.

    Parameters
    ----------
    preparation : Preparation
    forms : list of SeriesForm
    is_list : bool
        Whether they came as a list.
    tails : list of Series
        The last window of each.
    covariate_moments : ndarray of shape (2, F)
        Means and standard deviations of the covariates.
    """

    # Parts of `fields` that a file holds beside the weights.
    arrays = ("tail_levels", "tail_covariates", "tail_before", "covariate_moments")

    def __init__(self, preparation, forms, is_list, tails, covariate_moments):
        self.preparation, self.forms, self.is_list, self.tails = preparation, forms, is_list, tails
        self.covariate_moments = covariate_moments

    @classmethod
    def learn(cls, y, X, preparation, estimator):
        """(past, list of whole Series); sets what the estimator remembers of X."""
        needed_for = f"window={preparation.window}, horizon={preparation.horizon} and differences={preparation.lags}"
        given = GivenSeries.read(y, preparation.needed + preparation.horizon, needed_for)
        covariates = read_covariates(X, *given.with_future(0), given.is_list, estimator, reset=True)
        past = cls(preparation, given.forms, given.is_list, [], moments_of(covariates))
        series = past._series(given, covariates)
        past.tails = [each.tail() for each in series]
        return past, series

    @property
    def n_variables(self):
        return self.tails[0].levels.shape[1]

    def tail(self):
        """The ends of the series, in the form of y."""
        pairs = zip(self.forms, self.tails, strict=True)
        ends = [form.like(self.preparation.values(tail.levels), back=True) for form, tail in pairs]
        return ends if self.is_list else ends[0]

    def begin(self, y, X, horizon, estimator):
        """Origins at the end of each series, and a function that gives values (n, horizon, d) the form of y."""
        preparation = self.preparation
        n_ahead = max(horizon, preparation.width)
        if y is None:
            forms, is_list = self.forms, self.is_list
            rows = [n_ahead] * len(forms), [form.next_index(n_ahead) for form in forms]
            nothing = np.empty((0, self.n_variables))
            ahead = self._standardise(read_covariates(X, *rows, is_list, estimator))
            series = [tail.followed_by(nothing, rows) for tail, rows in zip(self.tails, ahead, strict=True)]
        else:
            needed_for = f"window={preparation.window} and differences={preparation.lags}"
            given = self._check(GivenSeries.read(y, preparation.needed, needed_for))
            forms, is_list = given.forms, given.is_list
            series = self._series(given, read_covariates(X, *given.with_future(n_ahead), is_list, estimator))

        def like(values):
            forecasts = [form.like(part) for form, part in zip(forms, values, strict=True)]
            return forecasts if is_list else forecasts[0]

        return Origins.join([preparation.origins(each, [len(each.changes)], n_ahead) for each in series]), like

    def followed_by(self, y, X, estimator):
        """The tails and then y: list of Series."""
        min_steps = max(self.preparation.horizon, 2)
        given = GivenSeries.read(y, min_steps, f"scores of horizon={self.preparation.horizon}", follows=self.forms)
        self._check(given)
        covariates = read_covariates(X, *given.with_future(0), given.is_list, estimator)
        parts = zip(self.tails, self._levels(given), self._standardise(covariates), strict=True)
        return [tail.followed_by(levels, beside) for tail, levels, beside in parts]

    def _check(self, given):
        if given.n_variables != self.n_variables:
            raise ValueError(f"y has {given.n_variables} variables, but fit had {self.n_variables}")
        return given

    def _levels(self, given):
        pairs = zip(given.values, given.places, strict=True)
        return [self.preparation.levels(values, place) for values, place in pairs]

    def _series(self, given, covariates):
        pairs = zip(self._levels(given), self._standardise(covariates), strict=True)
        return [self.preparation.series(*pair) for pair in pairs]

    def _standardise(self, covariates):
        mean, scale = self.covariate_moments
        return [(array - mean) / scale if self.preparation.scale else array for array in covariates]

    # ---- files ----

    def fields(self):
        """What a file holds of it."""
        tails = {
            f"tail_{name}": np.array([getattr(tail, name) for tail in self.tails])
            for name in ("levels", "covariates", "before")
        }
        return tails | {
            "preparation": asdict(self.preparation), "forms": [asdict(form) for form in self.forms],
            "is_list": self.is_list, "covariate_moments": self.covariate_moments,
        }  # fmt: skip

    @classmethod
    def from_fields(cls, fields, n_variables, n_features):
        """The inverse of `fields`; TypeError or ValueError if they do not fit together."""
        preparation = Preparation(**fields["preparation"])
        preparation.check()
        forms = [SeriesForm(**form) for form in fields["forms"]]
        for form in forms:
            form.check()
        levels, covariates, before = (fields[f"tail_{name}"] for name in ("levels", "covariates", "before"))
        n, n_steps, moments = len(forms), preparation.needed, fields["covariate_moments"]
        expected = (n, n_steps, n_variables), (n, n_steps, n_features), (n, 4, n_variables), (2, n_features)
        arrays = levels, covariates, before, moments
        if tuple(array.shape for array in arrays) != expected or not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(f"ends of {n} series need finite arrays of shapes {expected}")
        if type(fields["is_list"]) is not bool or n < 1 or (n > 1 and not fields["is_list"]):
            raise ValueError("one series is expected, or a list of them")
        tails = [preparation.series(*part) for part in zip(levels, covariates, before, strict=True)]
        return cls(preparation, forms, fields["is_list"], tails, moments)
