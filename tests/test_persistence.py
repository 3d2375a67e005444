"""Model files: what is written is read, and nothing else is (faults 86 to 94)."""

import errno
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import lstmfast
from lstmfast import persistence
from lstmfast.persistence import ModelFormatError, VersionWarning, read_model, write_model

METADATA = {"class": "LSTMClassifier", "classes": ["no", "ja 日本"], "alpha": 1e-4, "seed": None, "bias": [[True, 3]]}
ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([7], np.int64)}
DTYPES = ["?", *"bhiqBHIQ", *"efd"]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.lstm"


@pytest.fixture
def model(path):
    write_model(path, METADATA, ARRAYS)
    return path


def left_in(folder):
    return sorted(os.listdir(folder))


def python(code, *args):
    """A process that has imported this lstmfast's persistence without the rest of the package."""
    prelude = (
        "import os, signal, sys, types\n"
        f"package = types.ModuleType('lstmfast'); package.__path__ = [{str(Path(lstmfast.__file__).parent)!r}]\n"
        "sys.modules['lstmfast'] = package\n"
        "import numpy as np\n"
        "from lstmfast.persistence import read_model, write_model\n"
    )
    return subprocess.Popen([sys.executable, "-c", prelude + code, *map(str, args)], stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


# ---------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (1,), (3, 4), (2, 1, 3)])
def test_round_trip_of_every_dtype_and_shape(path, code, shape):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2 if code == "?" else 100, shape).astype(code)
    other = rng.standard_normal(3)
    write_model(path, {}, {"odd": np.ones(3, bool), "a": array, "other": other})
    metadata, arrays = read_model(path)
    assert metadata == {}
    assert same(arrays, {"odd": np.ones(3, bool), "a": array, "other": other})
    for result in arrays.values():
        assert type(result) is np.ndarray
        flags = result.flags
        assert flags.writeable
        assert flags.aligned
        assert flags.c_contiguous
        assert result.dtype.isnative
    assert same(safetensors.numpy.load_file(path), arrays)


def test_metadata_round_trip(path):
    metadata = {
        "numbers": [0, -1, 2**127, 0.1, 5e-324, -0.0, 1.7976931348623157e308],
        "text": ["", 'quote " and \\', "\u2028 \x00 \ud800 😀", "sha256", '\\"sha256\\":\\"' + "0" * 64],
        "nested": {"a": {"b": [[], {}, [None, True, False]]}, "__metadata__": "x", "data_offsets": [1]},
    }
    write_model(path, metadata, {})
    read, arrays = read_model(path)
    assert read == metadata
    assert arrays == {}
    assert str(read["numbers"]) == str(metadata["numbers"])  # -0.0 == 0.0
    write_model(path, {"shape": (1, 2)}, {})
    assert read_model(path)[0] == {"shape": [1, 2]}


def test_special_floats_keep_their_bits(path):
    array = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324])
    write_model(path, {}, {"a": array})
    assert read_model(path)[1]["a"].tobytes() == array.tobytes()


@pytest.mark.parametrize("make", ["fortran", "strided", "big_endian", "read_only", "misaligned"])
def test_arrays_of_any_layout(path, make):
    plain = np.arange(12.0).reshape(3, 4)
    array = {
        "fortran": lambda: np.asfortranarray(plain),
        "strided": lambda: np.repeat(plain, 2, axis=1)[:, ::2],
        "big_endian": lambda: plain.astype(">f8"),
        "read_only": lambda: np.frombuffer(plain.tobytes()).reshape(3, 4),
        "misaligned": lambda: np.frombuffer(b"x" + plain.tobytes(), np.uint8)[1:].view(float).reshape(3, 4),
    }[make]()
    write_model(path, {}, {"a": array})
    assert same(read_model(path)[1], {"a": plain})


def test_arrays_do_not_depend_on_the_file_or_on_each_other(model):
    arrays = read_model(model)[1]
    arrays["n"][:] = -1
    model.write_bytes(b"gone")
    assert same({"w": arrays["w"]}, {"w": ARRAYS["w"]})


def test_safetensors_reads_our_files(model):
    assert same(safetensors.numpy.load_file(model), ARRAYS)
    with safetensors.safe_open(model, "numpy") as file:
        document = json.loads(file.metadata()["lstmfast"])
    assert document["model"] == METADATA
    assert document["format_version"] == "1.0"
    assert int.from_bytes(model.read_bytes()[:8], "little") % 8 == 0


def test_equal_models_give_equal_files(tmp_path):
    for name in "ab":
        write_model(tmp_path / name, METADATA, ARRAYS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_checksum_is_the_documented_one(model):
    data = model.read_bytes()
    digest = re.search(rb'sha256\\":\\"([0-9a-f]{64})', data)[1]
    assert hashlib.sha256(data.replace(digest, b"0" * 64)).hexdigest().encode() == digest


@pytest.mark.parametrize(
    ("metadata", "arrays", "error", "match"),
    [
        ({"a": float("nan")}, {}, ValueError, "metadata cannot be stored"),
        ({"a": [float("inf")]}, {}, ValueError, "metadata cannot be stored"),
        ({"a": 10**100}, {}, ValueError, "101 digits"),
        ({"a": [{1: 2}]}, {}, TypeError, "key 1 is not a str"),
        ({"a": {None: 2}}, {}, TypeError, "key None is not a str"),
        ({"a": np.float32(1)}, {}, TypeError, "metadata cannot be stored"),
        ({"a": {1, 2}}, {}, TypeError, "metadata cannot be stored"),
        ({"a": [[]] * 500_000}, {}, ValueError, "brackets"),
        ({"a": "x" * 2**24}, {}, ValueError, "bytes of metadata"),
        ({}, {str(i): np.zeros(0) for i in range(4097)}, ValueError, "arrays"),
        ({}, {"a": np.array(["x"], object)}, TypeError, "'a'.*object"),
        ({}, {"a": np.zeros(2, complex)}, TypeError, "'a'.*complex128"),
        ({}, {"a": np.array(["x"])}, TypeError, "'a'.*<U1"),
        ({}, {"a": np.array(["2020"], "M8[D]")}, TypeError, "'a'.*datetime64"),
        ({}, {"a": np.zeros(2, "f4,f4")}, TypeError, "'a'"),
        ({}, {"a": [1.0]}, TypeError, "'a'.*list"),
        ({}, {"a": np.float64(1)}, TypeError, "'a'|float"),
        ({}, {"__metadata__": np.zeros(1)}, ValueError, "array name"),
        ({}, {"": np.zeros(1)}, ValueError, "array name"),
        ({}, {"é": np.zeros(1)}, ValueError, "array name"),
        ({}, {1: np.zeros(1)}, ValueError, "array name 1"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_written(path, metadata, arrays, error, match):
    with pytest.raises(error, match=match):
        write_model(path, metadata, arrays)
    assert left_in(path.parent) == []


def test_circular_metadata(path):
    circular = []
    circular.append(circular)
    with pytest.raises(ValueError, match="metadata cannot be stored"):
        write_model(path, {"a": circular}, {})


# ---------------------------------------------------------------------------------------------------- damage


def test_every_truncation(path):
    write_model(path, {"a": 1}, ARRAYS)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFormatError, match=r"model\.lstm: (not an lstmfast model|checksum mismatch)"):
            read_model(path)


def test_every_flipped_bit(path):
    write_model(path, {"a": 1}, {"n": np.array([1, 0], np.float32)})
    data = bytearray(path.read_bytes())
    reason = r"model\.lstm: (not an lstmfast model|checksum mismatch|written by lstmfast >= 0)"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bit in range(8 * len(data)):
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            with pytest.raises(ModelFormatError, match=reason):
                read_model(path)
            data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert read_model(path)[0] == {"a": 1}


def test_500_random_corruptions(model):
    rng = np.random.default_rng(86)
    data = model.read_bytes()
    for round_ in range(500):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = rng.choice(len(data), rng.integers(2, 40), replace=False)
        damaged[where] += rng.integers(1, 256, len(where), dtype=np.uint8)
        damaged = damaged.tobytes()
        start, size = rng.integers(1, len(data) // 2, 2)
        if round_ % 3 == 1:  # lost and repeated bytes
            damaged = data[:start] + data[start + size :]
        elif round_ % 3 == 2:
            damaged = data[: start + size] + data[start:]
        model.write_bytes(damaged)
        with pytest.raises(ModelFormatError):
            read_model(model)


# ---------------------------------------------------------------------------------------------------- forged files


def header(model='{"a":1}', entries="", version="1.0", writer="0.1.0", more="", outer=""):
    """A header by hand, so that it can be wrong in ways no library would write."""
    text = f'{{"format_version":"{version}","lstmfast_version":"{writer}","sha256":"{"0" * 64}","model":{model}{more}}}'
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"__metadata__":{{"lstmfast":"{quoted}"{outer}}}{entries}}}'.encode("utf-8", "surrogateescape")


def entry(name, dtype="F32", shape="[1]", offsets="[0,4]"):
    return f',"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def forge(path, head, data=b"", length=None, multiple=8):
    """Write a file whose checksum is right, whatever its header says."""
    head += b" " * (-len(head) % multiple)
    whole = (len(head) if length is None else length).to_bytes(8, "little") + head + data
    start = whole.index(b'sha256\\":\\"') + 11
    digest = hashlib.sha256(whole).hexdigest().encode()
    path.write_bytes(whole[:start] + digest + whole[start + 64 :])


def test_the_forger_forges_well(path):
    forge(path, header('{"a":[1,2.5]}', entry("w", "F64", "[2]", "[0,16]") + entry("b", "BOOL", "[2,1]", "[16,18]")),
          np.array([1.0, 2.0]).tobytes() + b"\1\0")  # fmt: skip
    metadata, arrays = read_model(path)
    assert metadata == {"a": [1, 2.5]}
    assert same(arrays, {"w": np.array([1.0, 2.0]), "b": np.array([[True], [False]])})
    assert same(safetensors.numpy.load_file(path), arrays)


LARGE = 2**63 - 1
FORGED = {
    # JSON
    "nesting in the header": (header(entries=',"a":' + "[" * 200_000), b"", "deeply"),
    "nesting of objects": (header(entries=',"a":' + '{"a":' * 100_000), b"", "deeply"),
    "nesting in the metadata": (header('{"a":' + "[" * 200_000 + "]" * 200_000 + "}"), b"", "deeply"),
    "flood of brackets": (header('{"a":[' + "[]," * 600_000 + "0]}"), b"", "brackets"),
    "repeated array": (header(entries=entry("a") + entry("a")), bytes(4), "repeated key"),
    "repeated metadata": (header('{"a":1,"a":2}'), b"", "repeated key"),
    "repeated __metadata__": (header(entries=',"__metadata__":{"lstmfast":"{}"}'), b"", "repeated key"),
    "repeated, escaped": (header(outer=',"lstmf\\u0061st":"{}"'), b"", "repeated key"),
    "second version": (header(more=',"format_version":"9.0"'), b"", "repeated key"),
    "NaN": (header('{"a":NaN}'), b"", "not finite"),
    "Infinity": (header('{"a":-Infinity}'), b"", "not finite"),
    "1e999": (header('{"a":1e999}'), b"", "not finite"),
    "4301 digits": (header('{"a":' + "9" * 4301 + "}"), b"", "4301 digits"),
    "100000 digits": (header('{"a":' + "9" * 10**5 + "}"), b"", "digits"),
    "digits in a shape": (header(entries=entry("a", shape=f"[{'9' * 5000}]")), bytes(4), "digits"),
    "invalid UTF-8": (header(entries=entry("\udcff")), bytes(4), "utf-8"),
    "broken JSON": (header(entries=',"a":'), b"", "malformed header"),
    "broken metadata": (header('{"a":'), b"", "malformed header"),
    "text after the header": (header() + b"{}", b"", "malformed header"),
    "other padding": (header() + b"\0" * 8, b"", "malformed header"),
    "metadata a list": (header("[]"), b"", "not one text with a model"),
    "metadata missing": (header('0,"modell":{}'), b"", "not one text with a model"),
    "metadata twice": (header(outer=',"b":"{}"'), b"", "not one text with a model"),
    # entries
    "huge tensor list": (
        header(entries="".join(entry(i, shape="[0]", offsets="[0,0]") for i in range(100_000))), b"", "4096 arrays"
    ),
    "entry a number": (header(entries=',"a":1'), b"", "entry is not"),
    "entry a list": (header(entries=',"a":["dtype","shape","data_offsets"]'), b"", "entry is not"),
    "entry short": (header(entries=',"a":{"dtype":"F32","shape":[0]}'), b"", "entry is not"),
    "entry long": (header(entries=entry("a")[:-1] + ',"b":0}'), bytes(4), "entry is not"),
    "name empty": (header(entries=entry("")), bytes(4), "bad name"),
    "name long": (header(entries=entry("x" * 201)), bytes(4), "bad name"),
    "name with a control character": (header(entries=entry("a\\n")), bytes(4), "bad name"),
    "unknown dtype": (header(entries=entry("a", "F33")), bytes(4), "unknown dtype 'F33'"),
    "dtype of Python": (header(entries=entry("a", "object")), bytes(4), "unknown dtype"),
    "dtype a list": (header(entries=entry("a", "F32").replace('"F32"', "[]")), bytes(4), "unknown dtype"),
    "shape a number": (header(entries=entry("a", shape="1")), bytes(4), "short list"),
    "shape null": (header(entries=entry("a", shape="null")), bytes(4), "short list"),
    "shape of 33 dimensions": (header(entries=entry("a", shape=str([1] * 33))), bytes(4), "short list"),
    "shape negative": (header(entries=entry("a", shape="[-1]")), bytes(4), "non-negative integers"),
    "shape negative twice": (header(entries=entry("a", shape="[-1,-1]")), bytes(4), "non-negative integers"),
    "shape a float": (header(entries=entry("a", shape="[1.0]")), bytes(4), "non-negative integers"),
    "shape true": (header(entries=entry("a", shape="[true]")), bytes(4), "non-negative integers"),
    "shape text": (header(entries=entry("a", shape='["1"]')), bytes(4), "non-negative integers"),
    "shape too large": (header(entries=entry("a", shape=f"[{2**63}]")), bytes(4), "non-negative integers"),
    "product overflows to 4": (header(entries=entry("a", shape=f"[{2**62 + 1},4]")), bytes(4), "overflows"),
    "product overflows to 0": (header(entries=entry("a", "U8", f"[{2**32},{2**32}]", "[0,0]")), b"", "overflows"),
    "product 0 overflows": (header(entries=entry("a", shape=f"[0,{LARGE},2]", offsets="[0,0]")), b"", "overflows"),
    "shape beyond the file": (header(entries=entry("a", "U8", f"[{LARGE}]", f"[0,{LARGE}]")), b"", "0 bytes are left"),
    "shape smaller": (header(entries=entry("a", offsets="[0,8]")), bytes(8), "expected"),
    "shape larger": (header(entries=entry("a", shape="[2]")), bytes(4), "expected"),
    # offsets
    "offsets negative": (header(entries=entry("a", offsets="[-4,0]")), bytes(4), "non-negative integers"),
    "offsets reversed": (header(entries=entry("a", offsets="[4,0]")), bytes(4), "expected"),
    "offsets overlap": (header(entries=entry("a") + entry("b", offsets="[0,4]")), bytes(4), "'b'.*expected"),
    "offsets overlap in part": (header(entries=entry("a") + entry("b", offsets="[2,6]")), bytes(8), "'b'.*expected"),
    "offsets with a hole": (header(entries=entry("a") + entry("b", offsets="[8,12]")), bytes(12), "'b'.*expected"),
    "offsets from a hole": (header(entries=entry("a", offsets="[4,8]")), bytes(8), "expected"),
    "offsets out of order": (header(entries=entry("b", offsets="[4,8]") + entry("a")), bytes(8), "'b'.*expected"),
    "offsets out of the file": (header(entries=entry("a", shape="[2]", offsets="[0,8]")), bytes(4), "bytes are left"),
    "offsets false": (header(entries=entry("a", offsets="[false,4]")), bytes(4), "non-negative integers"),
    "offsets a float": (header(entries=entry("a", offsets="[0,4.0]")), bytes(4), "non-negative integers"),
    "offsets three": (header(entries=entry("a", offsets="[0,4,4]")), bytes(4), "short list"),
    "offsets one": (header(entries=entry("a", offsets="[0]")), bytes(4), "expected"),
    "offsets an object": (header(entries=entry("a", offsets='{"0":4}')), bytes(4), "short list"),
    "misaligned": (
        header(entries=entry("a", "U8", "[1]", "[0,1]") + entry("b", offsets="[1,5]")), bytes(5), "not aligned"
    ),
    "trailing bytes": (header(entries=entry("a")), bytes(5), "1 bytes after the last array"),
    "trailing bytes, no arrays": (header(), bytes(8), "8 bytes after the last array"),
    "boolean 2": (header(entries=entry("a", "BOOL", "[4]")), b"\0\1\2\0", "neither 0 nor 1"),
}  # fmt: skip


def refused_cheaply(path, match):
    """read_model refuses the file with a reason, in little time and memory."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        with pytest.raises(ModelFormatError, match=rf"model\.lstm: .*({match})"):
            read_model(path)
        seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 1
    assert peak <= path.stat().st_size + 2**20


@pytest.mark.parametrize("case", FORGED)
def test_forged_file_with_a_right_checksum(path, case):
    head, data, match = FORGED[case]
    forge(path, head, data)
    refused_cheaply(path, match)


LENGTH = len(header()) + -len(header()) % 8


@pytest.mark.parametrize("length", [0, 8, LENGTH - 8, LENGTH + 8, 2**31, 2**63, 2**64 - 8, 2**64 - 1])
def test_forged_header_length(path, length):
    forge(path, header(), length=length)
    refused_cheaply(path, "malformed header" if length < LENGTH else f"header of {length} bytes in a file")


def test_forged_header_that_would_misalign_the_data(path):
    head = next(h for h in (header(entries=entry("a" * n)) for n in (1, 2)) if len(h) % 8)
    forge(path, head, bytes(4), multiple=1)
    refused_cheaply(path, "header of .* bytes in a file")


def test_forged_large_shape_takes_no_memory(path):
    forge(path, header(entries=entry("a", "F64", f"[{2**50}]", f"[0,{2**53}]")), bytes(64))
    refused_cheaply(path, "64 bytes are left")


def test_reading_takes_the_memory_of_the_file(path):
    write_model(path, METADATA, {"w": np.zeros(4_000_000, np.float32), "b": np.ones(1000, bool)})
    tracemalloc.start()
    read_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= path.stat().st_size + 2**20


# ---------------------------------------------------------------------------------------------------- other files


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


def other_files(folder):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model/data.pkl", b"\x80\x02}q\x00.")
    evil = pickle.dumps(Evil(folder / "executed"))
    return {
        "empty": b"",
        "one byte": b"\x08",
        "eight bytes": bytes(8),
        "text": b"This is a text of more than eight bytes.\n" * 50,
        "json": b'{"__metadata__":{"lstmfast":"{}"}}',
        "pickle": evil,
        "old pickle": pickle.dumps({"a": [1, 2]}, protocol=0),
        "gzip": gzip.compress(evil),
        "zip": archive.getvalue(),
        "onnx": b"\x08\x08\x12\x07pytorch\x1a\x052.0.1:\xa0\x01\n\x1e" + bytes(100),
        "h5": b"\x89HDF\r\n\x1a\n" + bytes(600),
        "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}" + bytes(600),
        "safetensors": safetensors.numpy.save(ARRAYS),
        "safetensors with metadata": safetensors.numpy.save(ARRAYS, {"format": "pt"}),
        "safetensors with our key": safetensors.numpy.save(ARRAYS, {"lstmfast": "{}"}),
        "zeros": bytes(100_000),
    }


@pytest.mark.parametrize("kind", other_files(Path()))
def test_other_kinds_of_file(path, kind):
    path.write_bytes(other_files(path.parent)[kind])
    refused_cheaply(path, r"not an lstmfast model \(pickle files are never loaded\)")
    assert left_in(path.parent) == [path.name]  # the pickle was not executed


def test_a_large_file_of_another_kind_is_not_read(path):
    with open(path, "wb") as file:
        file.truncate(2**40)
    refused_cheaply(path, "not an lstmfast model")


def test_unreadable_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_model(tmp_path / "missing")
    with pytest.raises(OSError, match=re.escape(repr(str(tmp_path)))):
        read_model(tmp_path)
    with pytest.raises(TypeError):
        read_model(0)  # not the standard input


# ---------------------------------------------------------------------------------------------------- versions


def test_newer_major_version(path):
    forge(path, header(version="2.0", writer="7.1.0"))
    refused_cheaply(path, r"written by lstmfast >= 7\.1\.0 in format 2\.0; this is lstmfast " + lstmfast_version())


def test_newer_minor_version_warns_and_loads(path):
    forge(path, header('{"a":1,"new":2}', entry("a"), "1.7", "0.9.2", ',"later":[]'), np.float32(3).tobytes())
    with pytest.warns(VersionWarning, match=r"model\.lstm: written by lstmfast 0\.9\.2") as caught:
        metadata, arrays = read_model(path)
    assert len(caught) == 1
    assert metadata == {"a": 1, "new": 2}
    assert arrays["a"] == [3]


def test_this_version_does_not_warn(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_model(model)
    assert f'lstmfast_version\\":\\"{lstmfast_version()}' in model.read_bytes().decode("latin-1")


def lstmfast_version():
    return persistence.__version__


def test_a_file_of_format_1_0_loads_for_ever(path):
    """Bytes of the first release; never to be made anew."""
    path.write_bytes(GOLDEN)
    metadata, arrays = read_model(path)
    assert metadata == {"classes": ["no", "yé"], "alpha": 0.1}
    assert same(arrays, {"n": np.array([-2], np.int64), "w": np.array([[0.5, 1.5]], np.float32)})


# ---------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failing_system_call_leaves_the_old_file(model, monkeypatch, call):
    old = model.read_bytes()

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=r"Input/output error.*model\.lstm") as caught:
        write_model(model, {}, {})
    monkeypatch.undo()
    assert caught.value.errno == 5
    assert caught.value.filename == str(model)
    assert model.read_bytes() == old
    assert left_in(model.parent) == [model.name]


@posix
def test_file_is_synced_before_the_rename_and_the_folder_after(model, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(handle):
        info = os.fstat(handle)
        calls.append("folder" if stat.S_ISDIR(info.st_mode) else info.st_size)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", lambda *args: (calls.append("rename"), replace(*args)))
    write_model(model, METADATA, ARRAYS)
    assert calls == [model.stat().st_size, "rename", "folder"]


@posix
def test_folder_that_cannot_be_synced(model, monkeypatch):
    fsync, number = os.fsync, errno.EINVAL

    def fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    write_model(model, {"a": 2}, ARRAYS)  # not every file system can
    number = errno.EIO
    with pytest.raises(OSError, match="model"):
        write_model(model, {"a": 3}, ARRAYS)
    assert read_model(model)[0] == {"a": 3}
    assert left_in(model.parent) == [model.name]


def test_interrupt_leaves_the_old_file(model, monkeypatch):
    old = model.read_bytes()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_model(model, {}, {})
    assert model.read_bytes() == old
    assert left_in(model.parent) == [model.name]


@posix
def test_full_disk_leaves_the_old_file(model):
    old = model.read_bytes()
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_model(sys.argv[1], {}, {"a": np.zeros(100_000)})
except OSError as error:
    assert error.filename == sys.argv[1], error
    sys.exit(7)
"""
    assert finish(python(code, model)) == (7, "")
    assert model.read_bytes() == old
    assert left_in(model.parent) == [model.name]


@pytest.mark.parametrize(("where", "kind"), [("missing/model", FileNotFoundError), (".", IsADirectoryError)])
def test_unwritable_target(tmp_path, where, kind):
    path = tmp_path / where
    with pytest.raises(kind, match=re.escape(repr(str(path)))):
        write_model(path, METADATA, ARRAYS)
    assert left_in(tmp_path) == []


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=re.escape(str(tmp_path / "model"))):
        write_model(tmp_path / "model", METADATA, ARRAYS)
    tmp_path.chmod(0o755)


@posix
def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        write_model(tmp_path / "pipe", METADATA, ARRAYS)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@posix
def test_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real/model")  # its target does not exist yet
    for metadata in ({"a": 1}, {"a": 2}):
        write_model(link, metadata, ARRAYS)
        assert link.is_symlink()
        assert not (tmp_path / "real/model").is_symlink()
        assert read_model(tmp_path / "real/model")[0] == metadata
    assert left_in(tmp_path / "real") == ["model"]


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(path, mask):
    old = os.umask(mask)
    try:
        write_model(path, METADATA, ARRAYS)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@posix
def test_names_and_kinds_of_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("plain", b"bytes", tmp_path / "日本", tmp_path / ("x" * 255), "a[b].*(c"):
        write_model(path, METADATA, ARRAYS)
        assert read_model(path)[0] == METADATA
    assert len(left_in(tmp_path)) == 5


@posix
def test_killed_writer_leaves_the_old_file_and_its_temporary_goes(model):
    code = "os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\nwrite_model(sys.argv[1], {'a': 2}, {})"
    assert finish(python(code, model)) == (-signal.SIGKILL, "")
    assert read_model(model)[0] == METADATA
    (stray,) = set(left_in(model.parent)) - {model.name}
    assert stray.startswith(f".{model.name}.")

    # Left alone: those of a live process, of another host, and files that only look similar.
    dead = re.search(r"-(\d+)-", stray)[1]
    kept = [stray.replace(dead, str(os.getpid())), re.sub(r"\.[0-9a-f]{8}-", ".00000000-", stray), stray + "x"]
    kept += [stray.replace("model", "other"), stray.replace(dead, "0"), stray.replace(dead, "9" * 30)]
    for name in kept:
        (model.parent / name).touch()
    write_model(model, {"a": 3}, {})
    assert left_in(model.parent) == sorted([model.name, *kept])


@posix
def test_untidy_folder_does_not_stop_a_save(model, monkeypatch):
    def fail(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", fail)
    write_model(model, {"a": 3}, {})
    assert read_model(model)[0] == {"a": 3}


def test_concurrent_writers_leave_one_whole_winner(model):
    code = (
        "for _ in range(40): write_model(sys.argv[1], {'who': sys.argv[2]}, {'a': np.full(20_000, int(sys.argv[2]))})"
    )
    writers = [python(code, model, who) for who in (1, 2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        metadata, arrays = read_model(model)
        who = metadata.get("who", "0")
        seen.add(who)
        assert who == "0" or (arrays["a"] == int(who)).all()
    for writer in writers:
        assert finish(writer) == (0, "")
    assert seen & {"1", "2"}
    assert left_in(model.parent) == [model.name]


# ---------------------------------------------------------------------------------------------------- serving


def test_reading_needs_numpy_only(model):
    code = """
heavy = {"sklearn", "scipy", "safetensors", "pandas", "joblib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
sys.modules["safetensors"] = None
read_model(sys.argv[1])
"""
    assert finish(python(code, model)) == (0, "")


GOLDEN = (
    b'X\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"lstmfast":"{\\"format_ver'
    b'sion\\":\\"1.0\\",\\"lstmfast_version\\":\\"0.1.0\\",\\"sh'
    b'a256\\":\\"ea3d489004e70721637bb86a88f4b63f38c0c8907'
    b'bba4c2ba8119e6a649adc10\\",\\"model\\":{\\"classes\\":['
    b'\\"no\\",\\"y\\\\u00e9\\"],\\"alpha\\":0.1}}"},"n":{"dtype'
    b'":"I64","shape":[1],"data_offsets":[0,8]},"w":{"dt'
    b'ype":"F32","shape":[1,2],"data_offsets":[8,16]}}  '
    b"  \xfe\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00?\x00\x00\xc0?"
)
