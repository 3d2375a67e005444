"""What series were given as, so that their forecasts look alike: a pandas index goes on where the series ends."""

import sys
import warnings
from dataclasses import dataclass

import numpy as np

from .series import is_series_list, named_series, read_series


def is_pandas(table):
    """Whether this is a Series or DataFrame; pandas is not imported for it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(table, pandas.Series | pandas.DataFrame)


@dataclass(frozen=True)
class SeriesForm:
    """The form of a series: all of it can stand in a file.

    Parameters
    ----------
    one_dimensional : bool
        Whether the series had shape (T,).
    index : {None, "datetime", "period", "range", "number"}, default=None
        Kind of its index; None: an array.
    last : int or float
        Of the index; of dates, nanoseconds since 1970 in UTC, of periods their ordinal.
    step : str, int or float
        From one entry of the index to the next; of dates and periods their frequency.
    zone, unit : str or None
        Time zone and resolution of dates.
    index_name, columns : str, int, or for columns a tuple of such
        Names; for a Series, columns is its name.
    """

    one_dimensional: bool
    index: str | None = None
    last: int | float | None = None
    step: str | int | float | None = None
    zone: str | None = None
    unit: str | None = None
    index_name: str | int | None = None
    columns: str | int | tuple | None = None

    @classmethod
    def of(cls, series, place):
        """The form of a series; ValueError if its index cannot be continued."""
        if not is_pandas(series):
            return cls(np.ndim(series) == 1)
        one_dimensional = series.ndim == 1
        return cls(
            one_dimensional, **_describe(series.index, place), index_name=series.index.name,
            columns=series.name if one_dimensional else tuple(series.columns),
        )  # fmt: skip

    def check(self):
        """ValueError if a file has something else."""
        if type(self.one_dimensional) is not bool or self.index not in (None, "datetime", "period", "range", "number"):
            raise ValueError(f"a series cannot have the form {self}")

    def next_index(self, n, back=False):
        """The n entries of the index after the last one; back: those that end with it. None: there is no index."""
        if self.index is None:
            return None
        import pandas as pd

        first = 1 - n if back else 1
        if self.index == "datetime":
            last, rules = pd.Timestamp(self.last, tz=self.zone), {"freq": self.step, "unit": self.unit}
            if back:
                index = pd.date_range(end=last, periods=n, **rules)
            else:
                index = pd.date_range(last, periods=n + 1, **rules)[1:]
        elif self.index == "period":
            index = pd.period_range(pd.Period(ordinal=self.last, freq=self.step) + first, periods=n, freq=self.step)
        elif self.index == "range":
            index = pd.RangeIndex(self.last + first * self.step, self.last + (first + n) * self.step, self.step)
        else:
            index = pd.Index(self.last + self.step * np.arange(first, first + n))
        return index.rename(self.index_name)

    def like(self, values, back=False):
        """Values (n, d) that follow the series, or with back are its last ones, in its form."""
        values = values[:, 0] if self.one_dimensional else values
        if self.index is None:
            return values
        import pandas as pd

        index = self.next_index(len(values), back)
        if self.one_dimensional:
            return pd.Series(values, index, name=self.columns)
        return pd.DataFrame(values, index, columns=list(self.columns))


@dataclass(frozen=True)
class GivenSeries:
    """One series or a list of them, as a user gave them.

    Attributes
    ----------
    values : list of float64 ndarrays of shape (T_i, d)
    places : list of str
        What errors call them.
    forms : list of SeriesForm
    indexes : list of pandas.Index or None
    is_list : bool
    """

    values: list
    places: list
    forms: list
    indexes: list
    is_list: bool

    @classmethod
    def read(cls, y, min_steps, needed_for, follows=None):
        """Check and read y; errors are those of `read_series`. `follows`: forms of series that it must go on from."""
        named = named_series(y, "y")
        arrays = read_series(named, "y", min_steps, needed_for)
        if follows is None:
            forms = [SeriesForm.of(series, place) for place, series in named.items()]
        elif len(follows) != len(named):
            raise ValueError(f"y must go on from the {len(follows)} series of fit, got {len(named)}")
        else:
            forms = follows
            for form, (place, series) in zip(forms, named.items(), strict=True):
                check_index(series, form.next_index(len(series)), place)
        values = [array.reshape(len(array), -1).astype(np.float64) for array in arrays]
        indexes = [series.index if is_pandas(series) else None for series in named.values()]
        return cls(values, list(named), forms, indexes, is_series_list(y))

    @property
    def n_variables(self):
        return self.values[0].shape[1]

    def with_future(self, n):
        """(lengths, indexes) of these series and the n steps after each."""
        futures = [form.next_index(n) for form in self.forms]
        pairs = zip(self.indexes, futures, strict=True)
        indexes = [ahead if index is None else index.append(ahead) for index, ahead in pairs]
        return [len(values) + n for values in self.values], indexes


def check_index(table, index, place):
    """ValueError if this is pandas' and its index is another than it must be; None: it may be any."""
    if index is not None and is_pandas(table) and not table.index.equals(index):
        raise ValueError(
            f"the index of {place} must go from {index[0]} to {index[-1]}, row for row with the series, but it goes "
            f"from {table.index[0]} to {table.index[-1]} in {len(table)} rows"
        )


def _inferred_step(index):
    """The frequency of dates as text, or None."""
    import pandas as pd

    with warnings.catch_warnings():  # pandas 4 will return an offset, of which 3.1 warns
        warnings.simplefilter("ignore", DeprecationWarning)
        step = pd.infer_freq(index)
    return getattr(step, "freqstr", step)


def _describe(index, place):
    """The fields of a SeriesForm that tell of an index."""
    import pandas as pd

    if index.has_duplicates:
        again = index[index.duplicated()][0]
        raise ValueError(f"{place} has {again} twice in its index: keep one row, by drop_duplicates or groupby")
    if not index.is_monotonic_increasing:
        raise ValueError(f"the index of {place} is not sorted: call sort_index() first")
    if isinstance(index, pd.DatetimeIndex):
        step = index.freqstr or (_inferred_step(index) if len(index) > 2 else None)
        if step is None:
            raise ValueError(
                f"the dates of {place} are not evenly spaced, or too few to tell: set their frequency, for example by "
                f"asfreq('D'), and fill what is missing; or forecast the numbers alone, as to_numpy() gives them"
            )
        zone = None if index.tz is None else str(index.tz)
        return {"index": "datetime", "last": int(index[-1].value), "step": step, "zone": zone, "unit": index.unit}
    if isinstance(index, pd.PeriodIndex):
        if not index.equals(pd.period_range(index[0], periods=len(index), freq=index.freq)):
            raise ValueError(f"the periods of {place} have gaps: reindex it with pandas.period_range and fill them")
        return {"index": "period", "last": index[-1].ordinal, "step": index.freqstr}
    if isinstance(index, pd.RangeIndex):
        return {"index": "range", "last": index[-1], "step": index.step}
    if not pd.api.types.is_numeric_dtype(index):
        raise ValueError(
            f"the index of {place} has dtype {index.dtype}, which cannot be continued: convert dates by "
            "pandas.to_datetime, or call reset_index(drop=True)"
        )
    steps = np.diff(index.to_numpy()) if len(index) > 1 else np.ones(1, np.int64)
    if not np.allclose(steps, steps[0]):
        raise ValueError(f"the index of {place} is not evenly spaced: reindex it, or call reset_index(drop=True)")
    return {"index": "number", "last": index[-1].item(), "step": steps[0].item()}
