"""Writing tables in chunks: csv to standard output, csv or parquet to a file that is there whole or not at all."""

import csv
import errno
import gzip
import io
import os
import sys

import numpy as np

from ..persistence import replace_file
from . import TableError
from .reading import import_pyarrow

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def check_table_name(path):
    """TableError if the name says no format, ImportError if one that cannot be written."""
    if not path.endswith(SUFFIXES):
        raise TableError(f"{path}: a table is written to a file whose name ends in {', '.join(SUFFIXES)}")
    if path.endswith(".parquet"):
        import_pyarrow()


def check_destination(path, sources=()):
    """Finds out before the work is done that a file could not be written.

    Raises
    ------
    TableError
        If it is one of the `sources` (None: no source), which must not be lost.
    OSError
        If its folder is not there, or may not be written to.
    """
    for source in filter(None, sources):
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
            raise TableError(f"{path} is what is read; write to another file")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "this is a folder", path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder may not be written to", folder)


def write_table(chunks, path=None):
    """Write chunks of rows.

    Parameters
    ----------
    chunks : iterable of dict
        Columns by name, lists or arrays; the same names in all.
    path : str, default=None
        A csv or parquet file, after its name. An error leaves the old file, or none. None: csv to standard output.

    Examples
    --------
    >>> from lstmfast.tables.writing import write_table
    >>> write_table([{"row": [1, 2], "price": [2.5, 2.25]}, {"row": [3], "price": [0.125]}])
    row,price
    1,2.5
    2,2.25
    3,0.125
    """
    if path is None:
        writer = _CsvWriter(sys.stdout)
        for chunk in chunks:
            writer.write(chunk)
        return
    replace_file(os.path.realpath(path), _parts(chunks, str(path)))


def _parts(chunks, path):
    """The bytes of a file, chunk by chunk."""
    sink = _Sink()
    if path.endswith(".parquet"):
        writer = _ParquetWriter(sink)
    else:
        binary = gzip.GzipFile("", "wb", fileobj=sink, mtime=0) if path.endswith(".gz") else sink
        writer = _CsvWriter(io.TextIOWrapper(binary, "utf-8", newline=""))
    for chunk in chunks:
        writer.write(chunk)
        yield sink.take()
    writer.close()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A binary file that keeps what is written until somebody takes it."""

    def __init__(self):
        self._parts, self._position = [], 0

    def writable(self):
        return True

    def tell(self):
        return self._position

    def write(self, data):
        data = bytes(data)
        self._parts.append(data)
        self._position += len(data)
        return len(data)

    def take(self):
        """What was written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken

    def close(self):
        """Stays open: the writers close it, and then it is taken from."""


class _CsvWriter:
    def __init__(self, text):
        self._text, self._writer, self._is_first = text, csv.writer(text, lineterminator="\n"), True

    def write(self, chunk):
        if self._is_first:
            self._writer.writerow(chunk)
            self._is_first = False
        self._writer.writerows(zip(*map(_cells, chunk.values()), strict=True))
        self._text.flush()

    def close(self):
        self._text.close()
        self._text.buffer.close()


def _cells(column):
    """What csv writes: of numbers, as few digits as tell them from their neighbours."""
    if not isinstance(column, np.ndarray):
        return column
    return (column.astype(str) if column.dtype == np.float32 else column).tolist()


class _ParquetWriter:
    def __init__(self, sink):
        self._arrow, self._sink, self._writer = import_pyarrow(), sink, None

    def write(self, chunk):
        if self._writer is None:
            self._schema = self._arrow.table(chunk).schema
            self._writer = self._arrow.parquet.ParquetWriter(self._sink, self._schema)
        self._writer.write_table(self._arrow.table(chunk, schema=self._schema))

    def close(self):
        self._writer.close()
