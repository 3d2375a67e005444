"""The sequences of a table as series to forecast, and forecasts as tables."""

from dataclasses import dataclass

import numpy as np

from . import TableError
from .columns import is_whole, written_times


@dataclass(frozen=True)
class TableSeries:
    """A series and what is known beside it.

    Parameters
    ----------
    key : str, int or None
        Its id.
    y : ndarray or pandas object of shape (T,) or (T, n_targets)
        T may be 0: then it is the future of the series that a model was trained on.
    X : ndarray or DataFrame of shape (T + n_future, n_features)
        Features, also of the rows without a target at the end, the future.
    """

    key: object
    y: object
    X: object

    @property
    def n_future(self):
        return len(self.X) - len(self.y)


def read_series(schema, panel):
    """List of `TableSeries`, one for each sequence of a `Panel`; pandas objects where the table has times."""
    steps = panel.steps
    if steps.targets:
        targets = np.stack([column.numbers(may_lack=True) for column in steps.targets], axis=1)
    else:
        targets = np.full((len(steps), len(schema.target)), np.nan)
    series = []
    for key, start, stop in zip(panel.keys, panel.offsets[:-1], panel.offsets[1:], strict=True):
        known = ~np.isnan(targets[start:stop])
        length = int(np.flatnonzero(known.any(axis=1))[-1]) + 1 if known.any() else 0
        if not known[:length].all():
            row, place = np.argwhere(~known[:length])[0]
            raise steps.targets[place].error(
                start + row, "there is no value, but later there are; fill it in: targets may be missing only at the "
                "end of a series, in the future",
            )  # fmt: skip
        y, X = targets[start : start + length], steps.values[start:stop]
        if steps.times is not None:
            y, X = _with_times(schema, y, X, steps.times.cells[start:stop])
        elif len(schema.target) == 1:
            y = y[:, 0]
        series.append(TableSeries(key, y, X))
    return series


def _with_times(schema, y, X, times):
    """y and X as pandas objects with the times for an index."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("forecasts by --time need pandas: pip install lstmfast[pandas]") from error
    if times.dtype.kind == "f" and is_whole(times):
        times = times.astype(np.int64)
    index = pd.Index(times, name=schema.time)
    y = pd.DataFrame(y, index[: len(y)], columns=list(schema.target))
    return y[schema.target[0]] if len(schema.target) == 1 else y, pd.DataFrame(X, index, columns=list(schema.features))


def features_until(schema, series, horizon):
    """X of all series as a forecaster takes it, from the first row to `horizon` rows of the future; None without.

    Raises
    ------
    TableError
        If there are fewer rows of the future.
    """
    if not schema.features:
        return None
    for one in series:
        if one.n_future < horizon:
            whose = "" if one.key is None else f" of {schema.id} {one.key!r}"
            raise TableError(
                f"a forecast{whose} of {horizon} steps needs {', '.join(schema.features)}: add rows with these at the "
                f"end and leave {', '.join(schema.target)} empty there; there are {one.n_future} such rows"
            )
    return as_given(schema, [one.X[: len(one.y) + horizon] for one in series])


def as_given(schema, entries):
    """The one entry where the table is one series; a list of them where it has ids."""
    return entries if schema.id is not None else entries[0]


def forecast_table(schema, keys, forecasts):
    """A chunk of rows: the forecasts of all series.

    Parameters
    ----------
    schema : Schema
    keys : list
        Ids of the series.
    forecasts : dict of list
        By suffix of the column ("" for the forecast itself, "_lower"), what the forecaster gave for each series:
        (horizon,) or (horizon, n_targets), arrays or pandas objects.
    """
    example = next(iter(forecasts.values()))
    lengths = [len(forecast) for forecast in example]
    chunk = {}
    if schema.id is not None:
        chunk[schema.id] = [key for key, length in zip(keys, lengths, strict=True) for _ in range(length)]
    if schema.time is None:
        chunk["step"] = np.concatenate([np.arange(1, length + 1) for length in lengths])
    else:
        times = np.concatenate([forecast.index.to_numpy() for forecast in example])
        chunk[schema.time] = written_times(times, schema.time_format)
    for place, name in enumerate(schema.target):
        for suffix, entries in forecasts.items():
            columns = [np.asarray(entry).reshape(len(entry), -1)[:, place] for entry in entries]
            chunk[name + suffix] = np.concatenate(columns)
    return chunk
