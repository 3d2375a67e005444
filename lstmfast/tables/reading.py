"""Reading csv and parquet files in chunks of rows, in bounded memory. csv needs no more than the standard library."""

import contextlib
import csv
import gzip
import io
import itertools
import zlib

import numpy as np

from . import TableError
from .columns import Column

CHUNK_CELLS = 1 << 17  # cells of the file that are held at a time: as text some 8 MB
SEPARATORS = ",;\t|"
ENCODING = "utf-8-sig"  # with or without the byte order mark that spreadsheets write
SHOWN_NAMES = 20


@contextlib.contextmanager
def open_table(path, separator=None, encoding=None):
    """A table to be read once; closes its file at the end.

    What a file is, its first bytes say, not its name: parquet, or csv, which gzip may have compressed.

    Parameters
    ----------
    path : str or path-like
        The file.
    separator : str, default=None
        Between the cells of a csv file. None: the one of ``, ; tab |`` that divides the header into most names.
    encoding : str, default=None
        Of a csv file. None: UTF-8.

    Yields
    ------
    table : CsvTable or ParquetTable

    Raises
    ------
    TableError
        If it is not a table, or (while it is read) a row is wrong.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from lstmfast.tables.reading import open_table
    >>> path = os.path.join(tempfile.mkdtemp(), "data.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("day;price\\n1;2.5\\n2;2.25\\n")
    >>> with open_table(path) as table:
    ...     print(table.names, [chunk["price"].numbers().tolist() for chunk in table.chunks(["price"])])
    ['day', 'price'] [[2.5, 2.25]]
    """
    with open(path, "rb") as file:
        first = file.peek(4)[:4]
        if first == b"PAR1":
            yield ParquetTable(file, str(path))
            return
        if not first:
            raise TableError(f"{path} is empty")
        if first[:2] == b"PK":
            raise TableError(f"{path} is a spreadsheet or a zip archive, neither csv nor parquet; export it as csv")
        unpacked = gzip.GzipFile(fileobj=file) if first[:2] == b"\x1f\x8b" else file
        try:
            # Bytes that are no text become lone surrogates, so that CsvTable can say in which line they stand.
            text = io.TextIOWrapper(unpacked, encoding or ENCODING, "surrogateescape", newline="")
        except LookupError:
            raise TableError(f"unknown encoding {encoding!r}; utf-8, cp1252 or utf-16, for example") from None
        with text:
            yield CsvTable(text, str(path), separator)


class _Table:
    """What tables have in common; a subclass sets `path` and `names` and has `_chunks(columns)`."""

    def _set_names(self, names):
        # Row names of R and pandas have none. They are not features, but times often are there.
        self.unnamed = {f"column {i}" for i, name in enumerate(names, 1) if not name.strip()}
        self.names = [name.strip() or f"column {i}" for i, name in enumerate(names, 1)]
        self._places = {}
        for place, name in enumerate(self.names):
            if self._places.setdefault(name, place) != place:
                raise TableError(f"{self.path} has more than one column {name!r}; each needs a name of its own")
        self._chunk_rows = max(1, CHUNK_CELLS // len(self.names))

    def check_names(self, wanted):
        """TableError if one of these columns is not there."""
        for name in wanted:
            if name not in self._places:
                shown = ", ".join(self.names[:SHOWN_NAMES])
                more = len(self.names) - SHOWN_NAMES
                raise TableError(
                    f"{self.path} has no column {name!r}; its columns are {shown}{f' and {more} more' * (more > 0)}"
                )

    def chunks(self, wanted):
        """Chunks of rows, each a dict of `Column`s by name; TableError if there are no rows."""
        self.check_names(wanted)
        chunk = None
        for chunk in self._chunks(list(wanted)):
            yield chunk
        if chunk is None:
            raise TableError(f"{self.path} has a header but no rows")


class CsvTable(_Table):
    """A table in a csv file, open for reading text."""

    def __init__(self, text, path, separator):
        self.path = path
        if separator is not None and len(separator) != 1:
            raise TableError(f"a separator is one character, got {separator!r}")
        lines = self._lines(text)
        with self._errors():
            first = next(lines)
            separator = separator or max(SEPARATORS, key=lambda sign: len(next(csv.reader([first], delimiter=sign))))
            self._reader = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True)
            self._set_names(next(self._reader))

    def _lines(self, text):
        for number, line in enumerate(text, 1):
            self._line = number
            if not line.isascii():
                foreign = next((sign for sign in line if "\udc80" <= sign <= "\udcff"), None)
                if foreign:
                    raise TableError(
                        f"{self.path}, line {number}: byte 0x{ord(foreign) - 0xDC00:02x} is no "
                        f"{text.encoding.removesuffix('-sig')} text; save the file as UTF-8, or name its encoding: "
                        "--encoding cp1252, say"
                    )
            if "\0" in line:
                raise TableError(f"{self.path}, line {number}: a zero byte; this is not a csv file")
            if number > 1 or line.strip():
                yield line
            else:
                raise TableError(f"{self.path}: the first line is empty; it must hold the names of the columns")

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except csv.Error as error:
            hint = "; is a quote not closed?" if "end of data" in str(error) else ""
            raise TableError(f"{self.path}, line {self._line}: {error}{hint}") from error
        except StopIteration:
            raise TableError(f"{self.path} is empty") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TableError(f"{self.path} is damaged or cut short: {error}") from error
        except UnicodeError as error:  # of the encodings that surrogateescape does not mend, such as UTF-16
            raise TableError(f"{self.path} is not text in its encoding: {error}") from error

    def _chunks(self, wanted):
        while rows := self._next_rows():
            lines = np.array([line for line, _ in rows])
            yield {
                name: Column(self.path, name, [row[self._places[name]] for _, row in rows], lines) for name in wanted
            }

    def _next_rows(self):
        """Up to _chunk_rows pairs (line, cells)."""
        rows, n_columns = [], len(self.names)
        with self._errors():
            for row in self._reader:
                if len(row) == n_columns:
                    rows.append((self._reader.line_num, row))
                elif row:
                    raise TableError(
                        f"{self.path}, line {self._reader.line_num}: {len(row)} cells, but the header has {n_columns}; "
                        "sequences of different lengths are written with a row a step, and --id"
                    )
                elif n_columns == 1:  # an empty line is a row here, whose cell is empty
                    rows.append((self._reader.line_num, [""]))
                if len(rows) >= self._chunk_rows:
                    break
        return rows


class ParquetTable(_Table):
    """A table in a parquet file, open for reading bytes. Needs pyarrow."""

    def __init__(self, file, path):
        self.path = path
        self._arrow = import_pyarrow()
        try:
            # Without these it would hold all of the file that it has read, or all of a row group.
            self._file = self._arrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16)
        except self._arrow.ArrowException as error:
            raise TableError(f"{path} is not a whole parquet file: {error}") from error
        own_names = self._file.schema_arrow.names
        self._set_names(["" if name.startswith("__index_level_") else name for name in own_names])  # pandas' row names

    def _chunks(self, wanted):
        start, own_names = 1, self._file.schema_arrow.names
        stored = {name: own_names[self._places[name]] for name in wanted}
        try:
            for batch in self._file.iter_batches(self._chunk_rows, columns=list(stored.values())):
                lines = np.arange(start, start := start + len(batch))
                if batch:
                    yield {
                        name: Column(self.path, name, self._cells(batch.column(own), name), lines, "row")
                        for name, own in stored.items()
                    }
        except self._arrow.ArrowException as error:
            raise TableError(f"{self.path} cannot be read: {error}") from error

    def _cells(self, array, name):
        types = self._arrow.types
        if types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = array.type
        if types.is_string(kind) or types.is_large_string(kind):
            return [cell or "" for cell in array.to_pylist()]
        if types.is_decimal(kind):
            return array.cast(self._arrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        if types.is_boolean(kind) and array.null_count:
            return array.cast(self._arrow.int8()).to_numpy(zero_copy_only=False)
        if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
            return array.to_numpy(zero_copy_only=False)
        if types.is_timestamp(kind) or types.is_date(kind):
            return array.to_numpy(zero_copy_only=False).astype("datetime64[us]")
        if types.is_null(kind):
            return np.full(len(array), np.nan)
        raise TableError(f"{self.path}, column {name!r}: {kind} is neither numbers, text nor dates")


def import_pyarrow():
    """The package pyarrow, with its module for parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("parquet files need pyarrow: pip install lstmfast[parquet]") from error
    return pyarrow
