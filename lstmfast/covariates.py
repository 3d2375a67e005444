"""Covariates of series: read, checked against the steps they belong to, standardised."""

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from .sequences import as_numbers
from .series import is_series_list, read_series
from .time_index import check_index


def read_covariates(X, n_rows, indexes, is_list, estimator, reset=False):
    """Covariates as arrays.

    Parameters
    ----------
    X : array-like of shape (T,) or (T, F), list of such, or None
    n_rows : list of int
        How many rows each must have.
    indexes : list
        What pandas' index of each must be; None: any.
    is_list : bool
        Whether X must be a list.
    estimator : estimator instance
        Its `n_features_in_` and `feature_names_in_` are checked, or set.
    reset : bool, default=False
        Set them.

    Returns
    -------
    arrays : list of ndarrays of shape (n_rows[i], F)
        F is 0 where X is None.
    """
    if reset:
        estimator.n_features_in_ = 0
        vars(estimator).pop("feature_names_in_", None)
    elif (X is None) != (estimator.n_features_in_ == 0):
        what = "has no covariates, but X was given" if X is not None else "needs the covariates X, as in fit"
        raise ValueError(f"this {type(estimator).__name__} {what}")
    if X is None:
        return [np.empty((n, 0)) for n in n_rows]
    if is_list and (not is_series_list(X) or len(X) != len(n_rows)):
        raise ValueError(f"X must be a list of {len(n_rows)} arrays, one for each series")
    named = {f"X[{i}]": entry for i, entry in enumerate(X)} if is_list else {"X": X}
    arrays = read_series({place: as_numbers(entry, place) for place, entry in named.items()}, "X")
    arrays = [array.reshape(len(array), -1) for array in arrays]
    for (place, entry), array, n, index in zip(named.items(), arrays, n_rows, indexes, strict=True):
        if len(array) != n:
            raise ValueError(f"{place} has {len(array)} rows, but {n} are needed, one for each step")
        check_index(entry, index, place)
        validate_data(estimator, entry if hasattr(entry, "columns") else array, reset=reset, skip_check_array=True)
        reset = False  # all have the columns of the first
    return arrays


def moments_of(arrays):
    """Mean and standard deviation (2, F) over all rows; 1 instead of a deviation of 0."""
    if not arrays[0].shape[1]:
        return np.empty((2, 0))
    scaler = StandardScaler().fit(np.concatenate(arrays))
    return np.array([scaler.mean_, scaler.scale_])
