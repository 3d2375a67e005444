"""Tables: reading, grouping, targets, schemas, writing."""

import contextlib
import csv
import gzip
import os
import tempfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmfast import LSTMClassifier, LSTMForecaster, LSTMRegressor, ModelFormatError, load
from lstmfast.estimators.saving import load_with_schema, save
from lstmfast.persistence import read_model, write_model
from lstmfast.tables import TableError, reading, targets
from lstmfast.tables.columns import Column
from lstmfast.tables.reading import open_table
from lstmfast.tables.schema import Schema
from lstmfast.tables.steps import Steps, group, stream
from lstmfast.tables.writing import write_table


@pytest.fixture
def table(tmp_path):
    """Writes bytes or text to a file, and reads all of it: a dict of Columns."""

    def read(content, wanted=None, **options):
        path = tmp_path / "data.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with open_table(path, **options) as opened:
            chunks = list(opened.chunks(wanted or opened.names))
        return {name: Column.join([chunk[name] for chunk in chunks]) for name in chunks[0]}

    return read


def column(*cells, name="x"):
    return Column("data.csv", name, list(cells), np.arange(2, 2 + len(cells)))


# ---- csv ----


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_seen_from_the_header(table, separator):
    columns = table(f"a{separator}b c\n1{separator}2\n")
    assert [(name, each.cells) for name, each in columns.items()] == [("a", ["1"]), ("b c", ["2"])]


def test_a_separator_that_is_given_counts(table):
    assert table("a,b;c\n1,2;3\n", separator=";")["a,b"].cells == ["1,2"]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,é\n".encode(),
        b"\xef\xbb\xbfa,b\r\n1,\xc3\xa9\r\n",
        b"a,b\r1,\xc3\xa9",
        gzip.compress("a,b\n1,é\n\n".encode()),
        '"a","b"\n"1","é"\n\n\n'.encode(),
    ],
    ids=["plain", "BOM and CRLF", "CR, no end of line", "gzip", "quotes, empty lines"],
)
def test_ways_to_write_the_same_table(table, content):
    assert [(name, each.cells) for name, each in table(content).items()] == [("a", ["1"]), ("b", ["é"])]


def test_other_encodings(table):
    assert table("a\né\n".encode("cp1252"), encoding="cp1252")["a"].cells == ["é"]
    assert table("a\né\n".encode("utf-16"), encoding="utf-16")["a"].cells == ["é"]


def test_quoted_cells_hold_separators_and_newlines(table):
    columns = table('a,b\n"x,\ny",1\nz,bad\n')
    assert columns["a"].cells == ["x,\ny", "z"]
    with pytest.raises(TableError, match=r"data\.csv, line 4, column 'b': 'bad' is not a number"):
        columns["b"].numbers()


def test_columns_without_a_name_are_called_by_their_place(tmp_path):
    (tmp_path / "data.csv").write_text(",y\n0,1\n")
    with open_table(tmp_path / "data.csv") as opened:
        assert opened.names == ["column 1", "y"]
        assert opened.unnamed == {"column 1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "the first line is empty"),
        (b"a,b\n", "a header but no rows"),
        (b"a,b\n1,2\n3\n", "line 3: 1 cells, but the header has 2"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells, but the header has 2"),
        (b"a,a\n1,2\n", "more than one column 'a'"),
        (b"a,b\n1,\xe9\n", "line 2: byte 0xe9 is no utf-8 text"),
        (b"a,b\n1,2\n\xff,2\n", "line 3: byte 0xff"),
        (b"a,b\n1,\0\n", "line 2: a zero byte"),
        (b'a,b\n1,"2\n', "is a quote not closed"),
        (b"PK\x03\x04...", "spreadsheet"),
        (b"PAR1 but not parquet", "not a whole parquet file"),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "damaged or cut short"),
        (b"a" * 200_000 + b"\n1\n", "field larger than field limit"),
    ],
)
def test_what_is_no_table(table, content, message):
    with pytest.raises(TableError, match=message):
        table(content)


PIECES = [b"a", b"1", b",", b";", b'"', b"\n", b"\r", b"\xe9", b"\0", b"PAR1", b"\x1f\x8b\x08", b"2024-01-01", b"nan"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_whatever_a_file_holds_it_is_a_table_or_a_table_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data")
        with open(path, "wb") as file:
            file.write(content)
        with contextlib.suppress(TableError), open_table(path) as opened:
            for chunk in opened.chunks(opened.names):
                for column in chunk.values():
                    for read in (column.numbers, column.times, column.labels, column.keys):
                        with contextlib.suppress(TableError):
                            assert len(read()) == len(column)


def test_bad_options(table):
    with pytest.raises(TableError, match="unknown encoding 'klingon'"):
        table("a\n1\n", encoding="klingon")
    with pytest.raises(TableError, match="one character"):
        table("a\n1\n", separator="::")
    with pytest.raises(TableError, match="is not text in its encoding"):
        table(b"a\n1\n", encoding="utf-16")


def test_missing_columns_are_reported_with_those_there_are(table):
    with pytest.raises(TableError, match=r"no column 'z'; its columns are a, b$"):
        table("a,b\n1,2\n", wanted=["a", "z"])
    many = ",".join(f"c{i}" for i in range(30))
    with pytest.raises(TableError, match=r"c19 and 10 more$"):
        table(f"{many}\n{many}\n", wanted=["z"])


def test_an_empty_line_is_a_missing_value_where_there_is_one_column(table):
    with pytest.raises(TableError, match="line 3, column 'a': there is no value"):
        table("a\n1\n\n2\n")["a"].numbers()


def test_chunks_make_no_difference(table, monkeypatch):
    content = "a,b\n" + "".join(f"{i},{i * i}\n" for i in range(100))
    whole = table(content)
    monkeypatch.setattr(reading, "CHUNK_CELLS", 14)
    parts = table(content)
    assert parts["b"].cells == whole["b"].cells == [str(i * i) for i in range(100)]
    assert parts["b"].lines.tolist() == list(range(2, 102))


# ---- cells ----


def test_numbers():
    assert column("1", " -2.5e3 ", "0").numbers().tolist() == [1.0, -2500.0, 0.0]
    assert np.isnan(column("1", "", "NA").numbers(may_lack=True)).tolist() == [False, True, True]
    for cells, message in [
        (("1", "two"), "line 3, column 'x': 'two' is not a number$"),
        (("1,5",), "decimals are written with a point"),
        (("1", "", "x"), "'x' is not a number"),
        (("1", "NaN"), "line 3, column 'x': there is no value"),
        (("inf",), "'inf' is not a finite number"),
        (("y" * 50,), r"'y{40}\.\.\.' is not"),
    ]:
        with pytest.raises(TableError, match=message):
            column(*cells).numbers()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1", "-3"], np.array([0, 1, -3])),
        (["07", "8"], np.array(["07", "8"])),
        (["1.0", "2"], np.array(["1.0", "2"])),
        (["yes", "no"], np.array(["yes", "no"])),
        (np.array([True, False]), np.array([True, False])),
        (np.array([1.0, 2.0]), np.array([1, 2])),
        (np.array([1.5, 2.0]), np.array(["1.5", "2.0"])),
    ],
)
def test_labels(cells, expected):
    labels = Column("data.csv", "x", cells, np.arange(len(cells))).labels()
    assert labels.dtype.kind == expected.dtype.kind
    assert labels.tolist() == expected.tolist()


def test_times():
    assert column("3", "1.5").times().tolist() == [3.0, 1.5]
    dates = column("2024-02-29", "2024-03-01T12:30").times()
    assert dates.tolist() == np.array(["2024-02-29T00:00", "2024-03-01T12:30"], "datetime64[us]").tolist()
    assert column("2024-05", "2024").times().astype("datetime64[D]").astype(str).tolist() == [
        "2024-05-01",
        "2024-01-01",
    ]
    assert column("31.12.99").times("%d.%m.%y")[0] == np.datetime64("1999-12-31")
    for cells, time_format, message in [
        (("2024-01-01", "1/2/2024"), None, r"line 3, .*'1/2/2024' is neither a number nor a date such as 2024-01-31"),
        (("2024-01-01T00:00+02:00",), None, "neither a number nor a date"),
        (("2024-01-01", "NaT"), None, "neither a number nor a date"),
        (("2024-01-01", ""), None, "line 3, .*there is no value"),
        (("2024-01-01",), "%d.%m.%Y", r"is not a date written %d\.%m\.%Y"),
    ]:
        with pytest.raises(TableError, match=message):
            column(*cells).times(time_format)


# ---- rows to sequences ----


def steps(ids, times=None, lines=None):
    lines = np.arange(2, 2 + len(ids)) if lines is None else lines
    times = None if times is None else Column("data.csv", "t", np.array(times, float), lines)
    values = np.arange(len(ids), dtype=float)[:, None]
    return Steps(values, Column("data.csv", "id", list(ids), lines), times, [])


def test_group_keeps_the_order_of_first_appearance_and_of_the_file():
    panel = group(steps("babcb"))
    assert panel.keys == ["b", "a", "c"]
    assert [part[:, 0].tolist() for part in panel.split(panel.steps.values)] == [[0, 2, 4], [1], [3]]


def test_group_sorts_by_time():
    panel = group(steps("abab", times=[2, 1, 1, 0]))
    assert [part[:, 0].tolist() for part in panel.split(panel.steps.values)] == [[2, 0], [3, 1]]


def test_a_time_must_not_come_twice_in_a_sequence():
    assert group(steps("ab", times=[1, 1])).keys == ["a", "b"]
    with pytest.raises(TableError, match="line 4, column 't': the time 1 is there already for id 'a', in line 2"):
        group(steps("aba", times=[1, 1, 1]))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_stream_gives_what_group_gives(size):
    ids = "aaabccddddddde"
    whole = steps(ids, times=np.random.default_rng(0).permutation(len(ids)))
    expected = group(whole)
    panels = list(stream(whole.take(slice(i, i + size)) for i in range(0, len(ids), size)))
    assert [key for panel in panels for key in panel.keys] == expected.keys
    streamed = [part.tolist() for panel in panels for part in panel.split(panel.steps.values)]
    assert streamed == [part.tolist() for part in expected.split(expected.steps.values)]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_stream_wants_the_rows_of_an_id_together(size):
    whole = steps("aabba")
    with pytest.raises(TableError, match=r"line 6, column 'id': 'a' was there before.*sort the file by 'id'"):
        list(stream(whole.take(slice(i, i + size)) for i in range(0, 5, size)))


# ---- targets ----


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["a", "b", "a"], "classify"),
        (["0", "1"] * 5, "classify"),
        (list(map(str, range(30))) * 4, "regress"),
        (["1", "2", "3"], "regress"),
        (["0.5", "1.5"] * 9, "regress"),
        (["None", "NA", "some"] * 2, "classify"),
    ],
)
def test_task_of_a_wide_table(cells, task):
    assert targets.choose_task([column(*cells)], None)[0] == task


def test_numbers_with_holes_are_no_labels():
    with pytest.raises(TableError, match="line 3, column 'x': there is no value"):
        targets.choose_task([column("0", "NA", "1")], None)


def test_task_of_a_long_table():
    panel = group(steps("aabb"))
    assert targets.choose_task([column("u", "u", "v", "v")], panel)[0] == "classify"
    assert targets.choose_task([column("0.5", "0.5", "1", "1")], panel)[0] == "regress"
    assert targets.choose_task([column("u", "v", "v", "v")], panel)[0] == "tag"
    with pytest.raises(TableError, match="changes within a sequence"):
        targets.choose_task([column("0.5", "1.5", "1", "1")], panel)


def test_targets_that_do_not_fit_the_task():
    panel = group(steps("aabb"))
    for task, columns, where, message in [
        ("tag", [column("u")], None, "needs --id"),
        ("classify", [column("u"), column("v")], None, "learns one target"),
        ("regress", [column("1", "2", "3", "3")], panel, "it changes within a sequence"),
    ]:
        with pytest.raises(TableError, match=message):
            targets.check_task(task, columns, where)
    with pytest.raises(TableError, match="'x' is u throughout: nothing to learn"):
        targets.read_targets("classify", [column("u", "u")], None)


# ---- schema in a model's file ----


WIDE = Schema("regress", ("y",), ("a", "b", "c"), mean=(1.0,), scale=(2.0,), target_mean=(3.0,), target_scale=(4.0,))


@pytest.fixture(scope="module")
def regressor():
    return LSTMRegressor(2, max_iter=1).fit(np.eye(3), [0.0, 1.0, 2.0])


def test_a_file_keeps_the_schema_and_loads_as_a_plain_estimator(regressor, tmp_path):
    save(regressor, tmp_path / "model", WIDE)
    estimator, schema = load_with_schema(tmp_path / "model")
    assert schema == WIDE
    for loaded in (estimator, load(tmp_path / "model")):
        assert (loaded.predict(np.eye(3)) == regressor.predict(np.eye(3))).all()
    regressor.save(tmp_path / "plain")
    assert load_with_schema(tmp_path / "plain")[1] is None


@pytest.mark.parametrize(
    "change",
    [
        {"task": "classify"},
        {"task": ["regress"]},
        {"task": {}},
        {"target": []},
        {"target": "y"},
        {"target": ["y", "z"]},
        {"target": [1]},
        {"features": ["a", "b"]},
        {"features": ["a", "b", "a"]},
        {"features": ["a", "b", "y"]},
        {"features": None},
        {"id": 3},
        {"id": "row"},
        {"time": ["t"]},
        {"time_format": 5},
        {"mean": [1.0, 2.0]},
        {"mean": []},
        {"mean": ["1"]},
        {"mean": 1.0},
        {"scale": [0.0]},
        {"scale": [-1.0]},
        {"target_scale": [True]},
        {"series": [1.5]},
        {"series": ["a", "a"]},
        {"surprise": 1},
        None,
        [],
    ],
)
def test_a_forged_schema_is_a_model_format_error(regressor, tmp_path, change):
    save(regressor, tmp_path / "model", WIDE)
    metadata, arrays = read_model(tmp_path / "model")
    metadata["table"] = metadata["table"] | change if isinstance(change, dict) else change
    write_model(tmp_path / "forged", metadata, arrays)
    for read in (load, load_with_schema):
        with pytest.raises(ModelFormatError):
            read(tmp_path / "forged")


SERIES = Schema("forecast", ("y",), ("x",), id="shop", series=(7, "b"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"target": ["y", "z"]},
        {"features": []},
        {"id": None, "series": []},
        {"series": ["b"]},
        {"time": "t"},
        {"mean": [0.0], "scale": [1.0]},
    ],
)
def test_a_forged_schema_of_series(tmp_path, change):
    series = np.arange(12.0)
    forecaster = LSTMForecaster(window=2, hidden_layer_sizes=2, max_iter=1)
    save(forecaster.fit([series, series], [series[:, None]] * 2), tmp_path / "model", SERIES)
    metadata, arrays = read_model(tmp_path / "model")
    metadata["table"] |= change
    write_model(tmp_path / "model", metadata, arrays)
    if not change:
        assert load_with_schema(tmp_path / "model")[1] == SERIES
        return
    with pytest.raises(ModelFormatError):
        load(tmp_path / "model")


def test_a_tagger_needs_an_id(tmp_path):
    classifier = LSTMClassifier(2, max_iter=1).fit(np.eye(2), [0, 1])
    save(classifier, tmp_path / "model", Schema("classify", ("y",), ("a", "b")))
    metadata, arrays = read_model(tmp_path / "model")
    metadata["table"]["task"] = "tag"
    write_model(tmp_path / "model", metadata, arrays)
    with pytest.raises(ModelFormatError, match="'tag' is not that of LSTMClassifier"):
        load(tmp_path / "model")


def test_scales():
    values = np.array([[1.0, 10.0], [3.0, 10.0]])
    long = Schema("regress", ("y",), ("a", "b"), id="id").with_scales(values, np.array([[2.0], [4.0]]))
    assert long.scaled(values).tolist() == [[-1, 0], [1, 0]]  # a constant feature becomes 0
    assert long.scaled_targets(np.array([[5.0]])).tolist() == [[2.0]]
    assert long.unscaled_targets(np.array([[2.0]])).tolist() == [[5.0]]
    wide = Schema("classify", ("y",), ("a", "b")).with_scales(values, None)
    assert wide.mean == (6.0,)
    assert np.isclose(wide.scaled(values).std(), 1)


# ---- writing ----


CHUNKS = [
    {"id": ["u", "v,w"], "y": np.array([0.1, 1 / 3]), "p": np.array([0.1, 1 / 3], np.float32), "n": np.array([1, 2])},
    {"id": ["é"], "y": np.array([1e300]), "p": np.array([1e-30], np.float32), "n": np.array([3])},
]


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
def test_what_is_written_is_read_again(tmp_path, name):
    path = tmp_path / name
    write_table(iter(CHUNKS), path)
    with open_table(path) as opened:
        chunks = list(opened.chunks(["id", "y", "p", "n"]))
    columns = {key: Column.join([chunk[key] for chunk in chunks]) for key in chunks[0]}
    assert columns["id"].keys() == ["u", "v,w", "é"]
    assert columns["y"].numbers().tolist() == [0.1, 1 / 3, 1e300]
    assert (columns["p"].numbers().astype(np.float32) == np.array([0.1, 1 / 3, 1e-30], np.float32)).all()
    assert columns["n"].labels().tolist() == [1, 2, 3]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_csv_of_standard_output(capsys):
    write_table(iter(CHUNKS))
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows == [
        ["id", "y", "p", "n"],
        ["u", "0.1", "0.1", "1"],
        ["v,w", "0.3333333333333333", "0.33333334", "2"],
        ["é", "1e+300", "1e-30", "3"],
    ]


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
@pytest.mark.parametrize("existing", [None, b"as it was"])
def test_an_error_on_the_way_leaves_the_old_file_or_none(tmp_path, name, existing):
    path = tmp_path / name
    if existing:
        path.write_bytes(existing)

    def chunks():
        yield CHUNKS[0]
        raise TableError("bad row")

    with pytest.raises(TableError, match="bad row"):
        write_table(chunks(), path)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([existing] if existing else [])


# ---- parquet ----


def test_parquet_types(tmp_path):
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "data.parquet"
    date = datetime.datetime(2024, 2, 29, 12)
    pq.write_table(
        pa.table(
            {
                "int": [1, 2], "hole": [1, None], "float": [0.5, float("nan")], "bool": [True, False],
                "maybe": [True, None], "text": ["u", None], "kind": pa.array(["u", "v"]).dictionary_encode(),
                "time": [date, date], "day": [date.date(), None], "money": [decimal.Decimal("1.25"), None],
                "none": pa.nulls(2), "list": [[1], [2]],
            }
        ),
        path,
    )  # fmt: skip
    with open_table(path) as opened:
        names = [name for name in opened.names if name != "list"]
        (chunk,) = opened.chunks(names)
        with pytest.raises(TableError, match="column 'list': list<"):
            list(opened.chunks(["list"]))
    assert chunk["int"].numbers().tolist() == [1, 2]
    assert chunk["bool"].labels().tolist() == [True, False]
    assert chunk["kind"].labels().tolist() == ["u", "v"]
    assert chunk["time"].times()[0] == np.datetime64(date)
    for name in ("hole", "float", "maybe", "text", "day", "money", "none"):
        assert chunk[name].missing().tolist() == [name == "none", True]
        with pytest.raises(TableError, match=rf"data\.parquet, row {1 if name == 'none' else 2}, column '{name}'"):
            chunk[name].check_present()
    with pytest.raises(TableError, match="is a date, not a number"):
        chunk["time"].numbers()


def test_row_names_of_pandas_have_no_name(tmp_path):
    pd.DataFrame({"a": [1, 2]}, index=[5, 7]).to_parquet(tmp_path / "data.parquet")
    with open_table(tmp_path / "data.parquet") as opened:
        assert opened.names == ["a", "column 2"]
        assert opened.unnamed == {"column 2"}
        assert [chunk["column 2"].numbers().tolist() for chunk in opened.chunks(["column 2"])] == [[5, 7]]


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    write_table([{"a": [1]}], tmp_path / "data.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install lstmfast\[parquet\]"), open_table(tmp_path / "data.parquet"):
        pass
