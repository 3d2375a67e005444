"""Model files: the safetensors layout, JSON metadata, a format version and a checksum of every byte.

A file is what the ``safetensors`` library writes: eight bytes with the length of a JSON header, the header, the
arrays. The header's ``__metadata__`` has the one key ``"lstmfast"``, whose value is a JSON text::

    {"format_version": "1.0", "lstmfast_version": "0.1.0", "sha256": "<64 hex digits>", "model": {...}}

The checksum is the SHA-256 of the whole file with 64 zeros in place of its own digits. It shows damage, not intent:
whoever forges a file can forge its checksum, so no check below counts on it. Nothing in a file is ever executed.
"""

import contextlib
import errno
import json
import math
import os
import re
import sys
import warnings
import zlib

import numpy as np

from ._version import __version__

try:
    from _sha2 import sha256 as _own_sha256  # Python 3.12 and later
except ImportError:
    try:
        from _sha256 import sha256 as _own_sha256
    except ImportError:
        from hashlib import sha256 as _own_sha256

__all__ = ["ModelFormatError", "VersionWarning", "read_model", "replace_file", "write_model", "writer"]

FORMAT_VERSION = (1, 0)  # a major step: older releases cannot read it; a minor step: they can, and warn

_DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"{kind.upper()}{8 * size}": np.dtype(f"<{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}

# Parsed JSON can take twenty times the memory of its text. With these limits the costliest metadata take about a second
# and 250 MB, and a vocabulary of a million words still fits.
_MAX_HEADER = 16 * 2**20
_MAX_BRACKETS = 500_000
_MAX_ARRAYS = 4096
_MAX_DIGITS = 100  # a PCG64 generator's state has 39
_MAX_DIMENSIONS = 32  # what every NumPy can hold

_ARRAY_NAME = re.compile(r"[ -~]{1,200}")
_NO_DIGEST = "0" * 64
# The header up to the checksum is always the same, so the file's kind and version are known before anything is parsed.
_HEAD = re.compile(
    rb'\{"__metadata__":\{"lstmfast":"\{'
    rb'\\"format_version\\":\\"([1-9][0-9]{0,3})\.([0-9]{1,4})\\",'
    rb'\\"lstmfast_version\\":\\"([0-9A-Za-z.+!-]{1,64})\\",'
    rb'\\"sha256\\":\\"(?P<sha256>.{64})\\",',
    re.DOTALL,
)
_HEAD_SIZE = 512  # more than _HEAD can match


class ModelFormatError(ValueError):
    """The file is not an lstmfast model, is damaged, or was written by a release with a newer format."""


class VersionWarning(UserWarning):
    """The file was written by a newer release; what that release added to the format is ignored."""


def write_model(path: str | os.PathLike, metadata: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write a model file, so that `path` holds the old file or the whole new one at every moment.

    The data go to a temporary file beside `path`, which is synced to the disk and renamed. After an error the old file
    is untouched and the temporary is gone. Temporaries that killed writers left behind are removed (not on Windows).
    The same model gives the same bytes.

    Parameters
    ----------
    path : str or os.PathLike
        Where to write. A symbolic link is followed: the file it points to is replaced. The permissions are those that
        ``open`` gives a new file.
    metadata : dict
        What JSON can hold: dicts with str keys, lists, str, int, finite float, bool, None. Tuples become lists.
    arrays : dict of str to ndarray
        Boolean, integer and float arrays of up to 8 bytes an item, of any layout and byte order.

    Raises
    ------
    TypeError, ValueError
        If the metadata or an array cannot be stored. Nothing is written then.
    OSError
        If the file cannot be written. The error names `path`.

    See Also
    --------
    read_model

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from lstmfast.persistence import read_model, write_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.lstm")
    ...     write_model(path, {"classes": ["no", "yes"]}, {"bias": np.zeros(3)})
    ...     metadata, arrays = read_model(path)
    >>> metadata
    {'classes': ['no', 'yes']}
    >>> arrays["bias"]
    array([0., 0., 0.])
    """
    name = os.fsdecode(path)
    data = _serialise(metadata, arrays)
    start, end = _HEAD.match(data, 8).span("sha256")
    digest = _checksum(data, start, end).encode()
    view = memoryview(data)
    try:
        replace_file(os.path.realpath(name), (view[:start], digest, view[end:]))
    except OSError as error:
        # The system's own error names the temporary file, or no file at all.
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), name) from error


def read_model(path: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]]:
    """Read a file of `write_model`, after checking all of it.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    metadata : dict
        As written; tuples have become lists.
    arrays : dict of str to ndarray
        In the order of the file. They are writable, aligned, C-contiguous and in native byte order. They share the
        one block of memory that the file was read into: keeping one of them keeps the block.

    Raises
    ------
    ModelFormatError
        If the file is not whole and correct in every byte, or its format is of a newer major version.
    OSError
        If the file cannot be read.

    Warns
    -----
    VersionWarning
        If the file's format is of a newer minor version.

    See Also
    --------
    write_model : has an example.
    """
    name = os.fsdecode(path)
    try:
        with open(name, "rb") as file:
            data, head = _read(file)
        start, end = head.span("sha256")
        if _checksum(data, start, end).encode() != head["sha256"]:
            raise ModelFormatError("checksum mismatch: the file is damaged or truncated")
        metadata, entries, data_start = _parse_header(data)
        arrays = _arrays(data, data_start, entries)
    except ModelFormatError as error:
        raise ModelFormatError(f"{name}: {error}") from None
    if (int(head[1]), int(head[2])) > FORMAT_VERSION:
        writer = head[3].decode()
        message = f"{name}: written by lstmfast {writer}, newer than this {__version__}; its additions are ignored"
        warnings.warn(message, VersionWarning, stacklevel=3)
    return metadata, arrays


def writer(path):
    """The release of lstmfast that wrote a model file, as its head says: a str."""
    with open(path, "rb") as file:
        head = _HEAD.match(file.read(_HEAD_SIZE), 8)
    if not head:
        raise ModelFormatError(f"{os.fsdecode(path)}: not an lstmfast model")
    return head[3].decode()


def sha256(data=b""):
    """SHA-256, as a function of `hashlib`: OpenSSL's, seven times as fast, in a process that has it.

    Others get CPython's own: OpenSSL's 4 MB are too much for a server that only checks its model once.
    """
    if "_hashlib" in sys.modules:
        from hashlib import sha256 as function
    else:
        function = _own_sha256
    return function(data)


def _checksum(data, start, end):
    """SHA-256 of `data` with zeros in place of the checksum's own digits."""
    view = memoryview(data)
    digest = sha256(view[:start])
    digest.update(_NO_DIGEST.encode())
    digest.update(view[end:])
    return digest.hexdigest()


def _serialise(metadata, arrays):
    """The file's bytes, the checksum still zeros."""
    # Imported here: the serving runtime reads models only, and reading does without the library (see _arrays).
    from safetensors.numpy import save

    document = {
        "format_version": "{}.{}".format(*FORMAT_VERSION),
        "lstmfast_version": __version__,
        "sha256": _NO_DIGEST,
        "model": metadata,
    }
    try:
        _check_kinds(metadata)
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
        _strict_json(text)  # what read_model would refuse must not be written
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"the metadata cannot be stored: {error}") from error
    for name, array in arrays.items():
        if not isinstance(name, str) or name == "__metadata__" or not _ARRAY_NAME.fullmatch(name):
            raise ValueError(f"array name {name!r}: expected 1 to 200 printable ASCII characters")
        if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("<") not in _DTYPES.values():
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"array {name!r}: only boolean, integer and float arrays can be stored, not {kind}")
    # The library writes the memory of an array as it lies. It writes several metadata keys in random order
    # (safetensors issue 584): one key gives equal files for equal models.
    plain = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    data = save(plain, {"lstmfast": text})
    _check_header_cost(data, 8 + int.from_bytes(data[:8], "little"))
    return data


def _check_kinds(value):
    """Raise TypeError for what json would quietly turn into something else: keys that are not str."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not a str")
            _check_kinds(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_kinds(item)


def _check_header_cost(data, end):
    """Raise ValueError if parsing the header, data[8:end], could take too much memory or time."""
    if end - 8 > _MAX_HEADER:
        raise ValueError(f"{end - 8} bytes of metadata; the limit is {_MAX_HEADER}")
    if data.count(b'"data_offsets"', 8, end) > _MAX_ARRAYS:
        raise ValueError(f"more than {_MAX_ARRAYS} arrays")
    if data.count(b"[", 8, end) + data.count(b"{", 8, end) > _MAX_BRACKETS:
        raise ValueError(f"more than {_MAX_BRACKETS} brackets in the metadata")


def _read(file):
    """The open file's bytes and the match of its head; files of other kinds are refused before they are read."""
    first = file.read(_HEAD_SIZE)
    head = _HEAD.match(first, 8)
    if not head:
        reason = "it does not start with an lstmfast header" if first else "the file is empty"
        raise ModelFormatError(f"not an lstmfast model (pickle files are never loaded): {reason}")
    if int(head[1]) > FORMAT_VERSION[0]:
        raise ModelFormatError(
            f"written by lstmfast >= {head[3].decode()} in format {head[1].decode()}.{head[2].decode()}; "
            f"this is lstmfast {__version__}, which reads formats up to {FORMAT_VERSION[0]}"
        )
    data = bytearray(os.fstat(file.fileno()).st_size)
    file.seek(0)
    file.readinto(data)  # the checksum would show a file that was cut short meanwhile
    return data, head


def _parse_header(data):
    """The metadata, the header's entries for the arrays, and where the arrays' data start."""
    end = 8 + int.from_bytes(data[:8], "little")
    if end % 8 or end > len(data):
        raise ModelFormatError(f"header of {end - 8} bytes in a file of {len(data)}")
    try:
        _check_header_cost(data, end)
        header = _strict_json(str(memoryview(data)[8:end], "utf-8"))
        document = header.pop("__metadata__")  # _HEAD has seen it, and that its "lstmfast" is a JSON object's text
        metadata = _strict_json(document["lstmfast"]).get("model")
        if len(document) != 1 or not isinstance(metadata, dict):
            raise ValueError("__metadata__ is not one text with a model")
    except RecursionError:
        raise ModelFormatError("malformed header: too deeply nested") from None
    except ValueError as error:
        raise ModelFormatError(f"malformed header: {error}") from None
    return metadata, header, end


def _strict_json(text):
    """`json.loads` without what JSON does not define (repeated keys, NaN) and without numbers that do not fit."""

    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("repeated key in a JSON object")
        return result

    def integer(digits):
        if len(digits) > _MAX_DIGITS:
            raise ValueError(f"integer of {len(digits)} digits")
        return int(digits)

    def finite(number):
        if not math.isfinite(value := float(number)):
            raise ValueError("number out of range or not finite")
        return value

    return json.loads(text, object_pairs_hook=unique, parse_int=integer, parse_float=finite, parse_constant=finite)


def _arrays(data, start, entries):
    """The arrays, as views of `data`."""
    # Not safetensors.deserialize: it copies every array, and its checks allow more than write_model writes.
    arrays, raw, end = {}, np.frombuffer(data, np.uint8), start
    for name, entry in entries.items():
        try:
            dtype, shape, size = _check_entry(name, entry, end - start, len(data) - end)
            block = raw[end : (end := end + size)]
            if dtype.kind == "b" and block.max(initial=0) > 1:  # NumPy's behaviour is undefined for these
                raise ValueError("bytes that are neither 0 nor 1 in a boolean array")
        except ValueError as error:
            raise ModelFormatError(f"array {name[:200]!r}: {error}") from None
        # A copy only where the machine is big-endian.
        arrays[name] = np.require(block.view(dtype).reshape(shape), dtype.newbyteorder("="), ["C", "A", "W"])
    if end != len(data):
        raise ModelFormatError(f"{len(data) - end} bytes after the last array")
    return arrays


def _check_entry(name, entry, begin, available):
    """dtype, shape and size in bytes of an array whose data begin at `begin`; ValueError if its entry is wrong."""
    if not _ARRAY_NAME.fullmatch(name):
        raise ValueError("bad name")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("the entry is not dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise ValueError(f"unknown dtype {str(code)[:20]!r}")
    for numbers, limit in ((shape, _MAX_DIMENSIONS), (offsets, 2)):
        if not isinstance(numbers, list) or len(numbers) > limit:
            raise ValueError("shape or data_offsets is not a short list")
        if not all(type(n) is int and 0 <= n <= sys.maxsize for n in numbers):  # True and 0.0 are equal to ints
            raise ValueError("shape or data_offsets holds other things than non-negative integers")
    itemsize = _DTYPES[code].itemsize
    # NumPy wants the product of the others to fit where a dimension is 0.
    if math.prod(n for n in shape if n) * itemsize > sys.maxsize:
        raise ValueError(f"shape {shape} overflows")
    size = math.prod(shape) * itemsize
    if offsets != [begin, begin + size] or size > available:
        raise ValueError(f"data_offsets {offsets}; expected {[begin, begin + size]}, {available} bytes are left")
    if begin % itemsize:  # the widest come first in files of write_model, so all are aligned without copying
        raise ValueError(f"data_offsets {offsets} are not aligned")
    return _DTYPES[code], shape, size


def replace_file(target, parts):
    """Replace the file `target` by one with the bytes of `parts`, at once.

    Parameters
    ----------
    target : str
        Not a symbolic link, which would be replaced itself: see `os.path.realpath`.
    parts : iterable of bytes
        An error in it leaves the old file, or none.
    """
    if os.path.lexists(target) and not os.path.isfile(target):  # the rename would replace even /dev/null
        raise OSError(errno.EISDIR if os.path.isdir(target) else errno.EINVAL, "not a regular file")
    folder, base = os.path.split(target)
    # A process id means something on its own host only. The rest: 50 characters are at most 200 bytes of 255.
    host = zlib.crc32(os.uname().nodename.encode()) if os.name == "posix" else 0
    prefix = f".{base[:50]}.{host:08x}-"
    _remove_strays(folder, prefix)
    temporary = os.path.join(folder, f"{prefix}{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _remove_strays(folder, prefix):
    """Remove the temporaries of writers on this host that are no longer alive."""
    if os.name != "posix":  # on Windows os.kill(pid, 0) does not ask, it kills
        return
    pattern = re.compile(re.escape(prefix) + r"([1-9][0-9]{0,8})-[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # tidying up must not stop a save
        for match in filter(None, (pattern.fullmatch(entry.name) for entry in entries)):
            try:
                os.kill(int(match[1]), 0)
            except ProcessLookupError:
                os.unlink(os.path.join(folder, match[0]))
            except PermissionError:
                pass  # alive, and another user's


def _sync_folder(folder):
    """Make the rename outlast a power loss."""
    if os.name != "posix":  # Windows cannot open a folder
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        # Some file systems cannot sync a folder, and a folder may be writable but not readable.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise
