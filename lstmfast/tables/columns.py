"""The cells of a column, and what they can be read as: numbers, times, labels, names of sequences."""

import warnings
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from . import TableError

# What R, pandas, SQL and spreadsheets write where a number is missing. As a label or a name each may have its meaning.
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "."})


@dataclass(frozen=True)
class Column:
    """Some cells of one column.

    Parameters
    ----------
    path : str
        The file, for the errors.
    name : str
        The column's name.
    cells : list of str, or ndarray
        As a csv file has them; or numbers, truth values or dates out of a parquet file (missing: NaN, NaT).
    lines : ndarray of int
        Where each cell stands: its line in a csv file, its row in a parquet file, from 1 on.
    unit : str, default="line"
        What `lines` counts.

    Examples
    --------
    >>> from lstmfast.tables.columns import Column
    >>> Column("data.csv", "x", ["1.5", "2"], [2, 3]).numbers()
    array([1.5, 2. ])
    >>> Column("data.csv", "x", ["1.5", "two"], [2, 3]).numbers()
    Traceback (most recent call last):
        ...
    lstmfast.tables.TableError: data.csv, line 3, column 'x': 'two' is not a number
    """

    path: str
    name: str
    cells: list | np.ndarray
    lines: np.ndarray
    unit: str = "line"

    def __len__(self):
        return len(self.cells)

    @staticmethod
    def join(columns):
        """One column of the cells of several, one after the other."""
        first = columns[0]
        if not isinstance(first.cells, np.ndarray):
            cells = [cell for column in columns for cell in column.cells]
        else:
            for column in columns:
                if (column.cells.dtype.kind == "M") != (first.cells.dtype.kind == "M"):
                    raise column.error(0, "numbers here and dates elsewhere; --time-format says how dates are written")
            cells = np.concatenate([column.cells for column in columns])
        return first.like(cells, np.concatenate([column.lines for column in columns]))

    def take(self, indices):
        """The column of the cells at some indices, an array or a slice."""
        cells, lines = self.cells, self.lines[indices]
        if isinstance(cells, np.ndarray) or isinstance(indices, slice):
            return self.like(cells[indices], lines)
        return self.like([cells[i] for i in indices.tolist()], lines)

    def like(self, cells, lines=None):
        """This column with other cells in it."""
        return replace(self, cells=cells, lines=self.lines if lines is None else lines)

    def error(self, index, problem):
        """A TableError that says where a cell stands."""
        return TableError(f"{self.path}, {self.unit} {self.lines[index]}, column {self.name!r}: {problem}")

    def shown(self, index):
        """A cell as an error shows it."""
        text = str(self.cells[index])
        return repr(text if len(text) <= 40 else text[:40] + "...")

    def missing(self, words=MISSING):
        """Mask of the cells without a value: of text, those that are one of these words."""
        if isinstance(self.cells, np.ndarray):
            return np.isnat(self.cells) if self.cells.dtype.kind == "M" else np.isnan(self.cells.astype(float))
        return np.fromiter((cell.strip() in words for cell in self.cells), bool, len(self))

    def check_present(self, words=MISSING):
        """TableError if there is a cell without a value."""
        missing = self.missing(words)
        if missing.any():
            raise self.error(int(missing.argmax()), "there is no value; fill it in, or leave the row out")

    def is_number(self):
        """Whether every cell is a finite number."""
        try:
            self.numbers()
        except TableError:
            return False
        return True

    def numbers(self, may_lack=False):
        """The cells as finite float64; with `may_lack`, NaN where there is no value."""
        if isinstance(self.cells, np.ndarray):
            if self.cells.dtype.kind == "M":
                raise self.error(0, f"{self.shown(0)} is a date, not a number")
            values = self.cells.astype(np.float64)
        else:
            values = self._parsed()
        if not np.isfinite(values).all():
            missing = self.missing()
            if not may_lack:
                self.check_present()
            wrong = ~np.isfinite(values) & ~missing
            if wrong.any():
                index = int(wrong.argmax())
                raise self.error(index, f"{self.shown(index)} is not a finite number")
        return values

    def _parsed(self):
        try:
            return np.fromiter(map(float, self.cells), np.float64, len(self))
        except ValueError:
            missing = self.missing()
        values = np.full(len(self), np.nan)
        for index in np.flatnonzero(~missing).tolist():
            try:
                values[index] = float(self.cells[index])
            except ValueError:
                hint = "; decimals are written with a point" if "," in self.cells[index] else ""
                raise self.error(index, f"{self.shown(index)} is not a number{hint}") from None
        return values

    def times(self, time_format=None):
        """The cells as float64, or as datetime64[us] where the first is a date.

        Parameters
        ----------
        time_format : str, default=None
            How dates are written, as `datetime.strptime` has it. None: numbers, or dates as ISO 8601 has them.
        """
        self.check_present()
        cells = self.cells
        if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
            return cells.astype("datetime64[us]")
        if time_format is not None:
            return np.array([self._date(index, time_format) for index in range(len(cells))], "datetime64[us]")
        if isinstance(cells, np.ndarray) or self.take(slice(1)).is_number():
            return self.numbers()
        try:
            return _iso_dates(cells)
        except ValueError:
            index = next(i for i, cell in enumerate(cells) if not _is_iso_date(cell))
            raise self.error(
                index,
                f"{self.shown(index)} is neither a number nor a date such as 2024-01-31; --time-format says how dates "
                "are written: %d.%m.%Y, say",
            ) from None

    def _date(self, index, time_format):
        try:
            return datetime.strptime(str(self.cells[index]), time_format)
        except ValueError:
            raise self.error(index, f"{self.shown(index)} is not a date written {time_format}") from None

    def labels(self):
        """The cells as an array of labels: integers if all are, written without a sign or leading zeros; else text."""
        self.check_present([""])
        cells = self.cells
        if isinstance(cells, np.ndarray):
            if cells.dtype.kind in "biu":
                return cells
            return cells.astype(np.int64 if cells.dtype.kind == "f" and is_whole(cells) else str)
        try:
            numbers = [int(cell) for cell in cells]
            if all(str(number) == cell for number, cell in zip(numbers, cells, strict=True)):
                return np.array(numbers, np.int64)
        except (ValueError, OverflowError):
            pass
        return np.array(cells)

    def keys(self):
        """The cells as a list of str or int, names of sequences."""
        self.check_present([""])
        cells = self.cells
        if isinstance(cells, np.ndarray):
            return cells.tolist() if cells.dtype.kind in "iu" else cells.astype(str).tolist()
        return cells


def is_whole(numbers):
    """Whether floats are whole numbers, and small enough to be told from the next one."""
    return bool((numbers == np.rint(numbers)).all() and (np.abs(numbers) < 2**53).all())


def written_times(times, time_format=None):
    """Times as a table has them: dates written by `time_format`, or as ISO 8601 has them and no longer than need be."""
    if times.dtype.kind != "M":
        return times.astype(np.int64) if is_whole(times) else times
    dates = times.astype("datetime64[us]")
    if time_format is not None:
        return [date.strftime(time_format) for date in dates.tolist()]
    return np.datetime_as_string(dates, unit="auto").tolist()


def _iso_dates(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns of time zones, which it would drop
        try:
            dates = np.array(cells, "datetime64[us]")
        except UserWarning as error:
            raise ValueError("a time zone") from error
    if np.isnat(dates).any():
        raise ValueError("not a time")
    return dates


def _is_iso_date(cell):
    try:
        _iso_dates([cell])
    except ValueError:
        return False
    return True
