"""What the columns of a table are to a model; part of the model's file."""

import math
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from . import TASKS
from .columns import written_times
from .steps import Steps, stream


@dataclass(frozen=True)
class Schema:
    """Columns and their meaning.

    Parameters
    ----------
    task : {"classify", "regress", "tag", "forecast"}
        Label or number of a sequence, label of each step, or what follows a series.
    target : tuple of str
        Columns to be learned.
    features : tuple of str
        Columns of the input. Of a forecast: what is known of the future.
    id : str or None
        Column that says which sequence a row belongs to (long layout). None: each row is a sequence and `features` are
        its steps (wide layout); of a forecast, all rows are one series.
    time : str or None
        Column that the rows of a sequence are sorted by.
    time_format : str or None
        How its dates are written, for `datetime.strptime`. None: numbers or ISO 8601.
    mean, scale : tuple of float
        The estimator is given ``(features - mean) / scale``: one for each feature, or one for all steps of the wide
        layout. Empty: it is given them as they are, as a forecaster is, which has scales of its own.
    target_mean, target_scale : tuple of float
        It has learned ``(target - target_mean) / target_scale``, likewise.
    series : tuple of str or int
        Ids of the series that a forecast was trained on.

    Examples
    --------
    >>> from lstmfast.tables.schema import Schema
    >>> schema = Schema("regress", ("weight",), ("speed", "noise"), id="machine", mean=(1.0, 0.0), scale=(2.0, 1.0))
    >>> schema.columns(with_target=False)
    ['speed', 'noise', 'machine']
    """

    task: str
    target: tuple
    features: tuple
    id: str | None = None
    time: str | None = None
    time_format: str | None = None
    mean: tuple = ()
    scale: tuple = ()
    target_mean: tuple = ()
    target_scale: tuple = ()
    series: tuple = ()

    @property
    def layout(self):
        if self.task == "forecast":
            return "series"
        return "wide" if self.id is None else "long"

    def columns(self, with_target):
        """Names of the columns to read."""
        places = [name for name in (self.id, self.time) if name is not None]
        return [*(self.target if with_target else ()), *self.features, *places]

    # ---- rows to what an estimator takes ----

    def steps(self, chunk, with_target):
        """A chunk of rows, a dict of `Column`s, with its cells read."""
        n_rows = len(next(iter(chunk.values())))
        values = np.empty((n_rows, len(self.features)))
        for place, name in enumerate(self.features):
            values[:, place] = chunk[name].numbers()
        ids = times = None
        if self.id is not None:
            ids = chunk[self.id].like(chunk[self.id].keys())
        if self.time is not None:
            times = chunk[self.time].like(chunk[self.time].times(self.time_format))
        return Steps(values, ids, times, [chunk[name] for name in self.target] if with_target else [])

    def all_steps(self, table, with_target):
        """All rows of a table."""
        return Steps.join([self.steps(chunk, with_target) for chunk in table.chunks(self.columns(with_target))])

    def streamed(self, table):
        """Pairs (X, places) in bounded memory: sequences for the estimator, and a dict of columns that says which."""
        chunks = (self.steps(chunk, with_target=False) for chunk in table.chunks(self.columns(with_target=False)))
        if self.layout == "wide":
            row = 1
            for steps in chunks:
                yield self.scaled(steps.values), {"row": np.arange(row, row := row + len(steps))}
            return
        for panel in stream(chunks):
            yield panel.split(self.scaled(panel.steps.values)), self._places(panel)

    def _places(self, panel):
        if self.task != "tag":
            return {self.id: panel.keys}
        places = {self.id: panel.steps.ids.cells}
        if self.time is not None:
            places[self.time] = written_times(panel.steps.times.cells, self.time_format)
        return places

    # ---- scales ----

    def with_scales(self, values, targets):
        """This schema with the scales of features, and of numeric targets (None: not to be scaled)."""
        from ..preprocessing import SequenceScaler

        def moments(array):
            scaler = SequenceScaler().fit(array)
            return tuple(scaler.mean_.tolist()), tuple(scaler.scale_.tolist())

        # One mean and one scale for all steps of the wide layout, as SequenceScaler has it for a 2-D array.
        mean, scale = moments(values if self.layout == "wide" else values[None])
        target_mean, target_scale = ((), ()) if targets is None else moments(targets[None])
        return replace(self, mean=mean, scale=scale, target_mean=target_mean, target_scale=target_scale)

    def scaled(self, values):
        """Features as the estimator takes them."""
        return (values - self.mean) / self.scale if self.mean else values

    def scaled_targets(self, targets):
        """Targets (n, n_targets) as the estimator learns them."""
        return (targets - self.target_mean) / self.target_scale if self.target_mean else targets

    def unscaled_targets(self, targets):
        """The inverse."""
        return targets * self.target_scale + self.target_mean if self.target_mean else targets

    # ---- files ----

    def to_file(self):
        """What a model's file says of it: a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_file(cls, entry, estimator):
        """The schema that a file describes; ValueError or TypeError if it is none, or not that of its estimator."""
        names = {field.name for field in fields(cls)}
        if not isinstance(entry, dict) or entry.keys() != names:
            raise ValueError(f"a table must have {sorted(names)}, got {entry!r:.200}")
        schema = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()})
        schema._check(estimator)
        return schema

    def _check(self, estimator):
        if TASKS.get(self.task) != type(estimator).__name__ or (self.task == "tag" and self.id is None):
            raise ValueError(f"the task {self.task!r} is not that of {type(estimator).__name__}")
        names = self.columns(with_target=True)
        if not all(isinstance(value, tuple) for value in (self.target, self.features, self.series)):
            raise TypeError("target, features and series must be lists")
        if not self.target or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"columns must be different strings, with at least one target, got {names!r:.200}")
        if not isinstance(self.time_format, str | None):
            raise TypeError("time_format must be a string")
        if not all(type(key) in (str, int) for key in self.series) or len(set(self.series)) != len(self.series):
            raise ValueError("ids of series must be different strings or integers")
        n_features, n_targets = {"wide": 1, "long": len(self.features), "series": 0}[self.layout], len(self.target)
        for scales, n in (
            ((self.mean, self.scale), n_features),
            ((self.target_mean, self.target_scale), n_targets if self.task == "regress" else 0),
        ):
            for numbers in scales:
                if len(numbers) not in (0, n) or not all(type(x) is float and math.isfinite(x) for x in numbers):
                    raise ValueError(f"means and scales must be {n} finite numbers or none, got {numbers!r:.200}")
            if len(scales[0]) != len(scales[1]) or not all(number > 0 for number in scales[1]):
                raise ValueError("each mean goes with a scale above 0")
        if self.layout == "series":
            self._check_series(estimator)
        else:
            self._check_sequences(estimator)

    def _check_series(self, forecaster):
        if (forecaster.n_variables_, forecaster.n_features_in_) != (len(self.target), len(self.features)):
            raise ValueError("the forecaster does not have the targets and features of the table")
        forms = forecaster._past.forms
        if forecaster._past.is_list != (self.id is not None) or len(forms) != max(1, len(self.series)):
            raise ValueError("the forecaster does not have the series of the table")
        if any((form.index is None) != (self.time is None) for form in forms):
            raise ValueError("the forecaster does not have the times of the table")

    def _check_sequences(self, estimator):
        kind = "2d" if self.layout == "wide" else "sequences"
        if (estimator._input_kind, estimator.n_features_in_) != (kind, len(self.features)):
            raise ValueError("the estimator does not take the features of the table")
        n_targets = estimator.n_outputs_ if self.task == "regress" else 1
        if len(self.target) != n_targets:
            raise ValueError("the estimator does not have the targets of the table")
