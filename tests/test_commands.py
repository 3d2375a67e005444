"""lstmfast train, predict and info."""

import json
import os
import re
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import lstmfast
from lstmfast import LSTMForecaster, display
from lstmfast.__main__ import main
from lstmfast.commands import train
from lstmfast.tables import reading


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    """Run a command that must succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def predicted(*arguments):
    run("predict", *arguments, "--out", "predicted.csv")
    return pd.read_csv("predicted.csv", dtype=str).apply(_numbers)


def _numbers(column):
    """A column's cells as Python reads them: each float to the last bit, which pandas does not promise."""
    for kind in (int, float):
        try:
            return pd.Series([kind(cell) for cell in column])
        except ValueError:
            continue
    return column


def peak(*arguments):
    """Most bytes that Python and NumPy held at once in a command."""
    tracemalloc.start()
    try:
        run(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def same_files(*names):
    first, *others = [Path(name).read_bytes() for name in names]
    return all(other == first for other in others)


def digits(n=120):
    data = load_digits()
    table = pd.DataFrame(data.data[:n].astype(int), columns=[f"p{i}" for i in range(64)])
    return table.assign(digit=data.target[:n])


def walks(n=40, seed=0):
    """Long: sequences of 3 to 9 steps of 2 features that rise or fall, some 1000 above 0."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n):
        length, kind = rng.integers(3, 10), ("fall", "rise")[i % 2]
        values = 1000 + (2 * (i % 2) - 1) * np.arange(length) + rng.normal(scale=0.1, size=length)
        parts.append(
            pd.DataFrame(
                {"who": f"w{i}", "t": np.arange(length), "x": values, "noise": rng.normal(size=length), "kind": kind}
            )
        )
    return pd.concat(parts, ignore_index=True)


def sales(n=96):
    months = pd.date_range("2015-01-01", periods=n, freq="MS")
    noise = np.random.default_rng(0).normal(size=n)
    return pd.DataFrame(
        {"month": months.strftime("%Y-%m-%d"), "sales": 100 + 10 * np.sin(np.arange(n) * np.pi / 6) + noise}
    )


QUICK = ("--epochs", 2, "--hidden", 8, "--out", "model")


# ---- wide ----


def test_wide_table_of_labels(capsys, monkeypatch):
    table = digits()
    table.to_csv("digits.csv", index=False)
    run("train", "digits.csv", "--target", "digit", *QUICK)
    shown = capsys.readouterr()
    assert "120 rows; each is a sequence of 64 steps" in shown.out
    assert "Task: classify digit, since it holds 10 different whole numbers" in shown.out
    assert shown.err == ""
    result = predicted("model", "digits.csv", "--proba")
    assert result.columns.tolist() == ["row", "digit", *[f"proba_{i}" for i in range(10)]]
    assert result["row"].tolist() == list(range(1, 121))
    X = table.drop(columns="digit").to_numpy(float)
    expected = lstmfast.load("model").predict_proba((X - X.mean()) / X.std())
    assert np.allclose(result.iloc[:, 2:], expected, atol=1e-5)
    assert (result["digit"] == result.iloc[:, 2:].to_numpy().argmax(axis=1)).all()
    monkeypatch.setattr(reading, "CHUNK_CELLS", 7 * 65)
    assert predicted("model", "digits.csv", "--proba").equals(result)


def test_wide_table_of_numbers_is_predicted_on_their_scale():
    X = np.random.default_rng(0).normal(size=(80, 6))
    table = pd.DataFrame(X).rename(columns=str).assign(y=5000 + 100 * X.sum(axis=1), z=-X[:, 5])
    table.to_csv("data.csv", index=False)
    options = ("--hidden", 16, "--epochs", 150, "--learning-rate", 0.02, "--out", "model")
    run("train", "data.csv", "--target", "y,z", "--ignore", "0", *options)
    result = predicted("model", "data.csv")
    assert result.columns.tolist() == ["row", "y", "z"]
    for name in ("y", "z"):
        # Without the first of six equal parts it cannot be exact.
        assert np.corrcoef(result[name], table[name])[0, 1] > 0.85
        assert abs(result[name].mean() - table[name].mean()) < table[name].std()


def test_row_names_are_no_feature(capsys):
    digits(20).to_csv("digits.csv")  # pandas writes its index as a column without a name
    run("train", "digits.csv", "--target", "digit", *QUICK)
    assert "sequence of 64 steps" in capsys.readouterr().out


def test_without_scaling():
    table = digits(30)
    table.to_csv("digits.csv", index=False)
    run("train", "digits.csv", "--target", "digit", *QUICK, "--no-scale", "--set", "dtype=float64")
    result = predicted("model", "digits.csv", "--proba")
    expected = lstmfast.load("model").predict_proba(table.drop(columns="digit").to_numpy())
    assert (result.iloc[:, 2:].to_numpy() == expected).all()


@pytest.mark.parametrize("layout", ["wide", "long"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_holds_a_few_chunks_whatever_the_size_of_the_table(monkeypatch, layout, suffix):
    monkeypatch.setattr(reading, "CHUNK_CELLS", 2000)
    table, options = (digits(60), ()) if layout == "wide" else (walks(60), ("--id", "who", "--features", "x,noise"))
    target = table.columns[-1]
    table.to_csv("table.csv", index=False)
    run("train", "table.csv", "--target", target, *options, *QUICK)
    peaks = []
    for copies in (40, 10, 40):  # the first imports what it needs
        many = pd.concat([table] * copies)
        if layout == "long":
            many["who"] = many["who"] + "_" + (many["t"] == 0).cumsum().astype(str)
        many.to_csv("many.csv", index=False) if suffix == "csv" else many.to_parquet("many.parquet", index=False)
        peaks.append(peak("predict", "model", f"many.{suffix}", "--n-jobs", 1, "--out", "out.csv"))
    size = 30 * table.size * 50  # of the cells that one table has more than the other, as text
    assert peaks[2] - peaks[1] < size / 8


# ---- long ----


def test_long_table_of_labels(tmp_path, monkeypatch):
    table = walks()
    table.to_csv("walks.csv.gz", index=False)
    options = ("--target", "kind", "--id", "who", "--time", "t", "--epochs", 30, "--learning-rate", 0.02, "--hidden", 8)
    run("train", "walks.csv.gz", *options, "--out", "model")
    result = predicted("model", "walks.csv.gz")
    assert result.columns.tolist() == ["who", "kind"]
    truth = table.groupby("who", sort=False)["kind"].first()
    assert result["who"].tolist() == truth.index.tolist()
    assert (result["kind"].to_numpy() == truth.to_numpy()).mean() > 0.95
    # Neither the order of rows in time, nor where chunks end, makes a difference.
    table.sort_values(["who", "noise"]).to_csv("mixed.csv", index=False)
    monkeypatch.setattr(reading, "CHUNK_CELLS", 20)
    mixed = predicted("model", "mixed.csv")
    assert mixed.values.tolist() == result.sort_values("who").values.tolist()
    # In training the rows of an id need not stand together.
    table.sort_values("t", kind="stable").to_csv("by_time.csv", index=False)
    run("train", "by_time.csv", *options, "--out", "other")
    assert (tmp_path / "model").read_bytes() == (tmp_path / "other").read_bytes()


def test_long_table_of_labels_of_steps():
    table = walks().assign(late=lambda rows: np.where(rows["t"] > 2, "late", "early"), day=lambda rows: rows["t"])
    table["day"] = (pd.Timestamp("2024-03-01") + pd.to_timedelta(table["t"], unit="D")).dt.strftime("%d.%m.%Y")
    table.to_csv("steps.csv", index=False)
    run(
        "train", "steps.csv", "--target", "late", "--id", "who", "--time", "day", "--time-format", "%d.%m.%Y",
        "--features", "x,noise", "--epochs", 60, "--learning-rate", 0.02, "--hidden", 8, "--out", "model",
    )  # fmt: skip
    result = predicted("model", "steps.csv", "--proba")
    assert result.columns.tolist() == ["who", "day", "late", "proba_early", "proba_late"]
    assert (result[["who", "day"]] == table[["who", "day"]]).all(axis=None)
    assert (result["late"] == table["late"]).mean() > 0.9
    assert np.allclose(result["proba_early"] + result["proba_late"], 1)


def test_parquet_is_csv(tmp_path):
    table = walks(12)
    table.to_csv("walks.csv", index=False)
    table.to_parquet("walks.parquet")
    for name in ("csv", "parquet"):
        run("train", f"walks.{name}", "--target", "kind", "--id", "who", "--ignore", "t", *QUICK[:-1], f"{name}.model")
    assert (tmp_path / "csv.model").read_bytes() == (tmp_path / "parquet.model").read_bytes()
    run("predict", "csv.model", "walks.parquet", "--proba", "--out", "predicted.parquet")
    expected = predicted("parquet.model", "walks.csv", "--proba")
    result = pd.read_parquet("predicted.parquet")
    assert result["kind"].tolist() == expected["kind"].tolist()
    assert (result["proba_rise"] == expected["proba_rise"].astype(np.float32)).all()


# ---- forecasts ----

FORECAST = ("--time", "month", "--horizon", 3, "--window", 12, "--epochs", 3, "--hidden", 8, "--out", "model")
SETTINGS = {"horizon": 3, "window": 12, "max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}


def test_forecast_is_what_the_forecaster_says():
    table = sales()
    table.to_csv("sales.csv", index=False)
    run("train", "sales.csv", "--target", "sales", *FORECAST)
    result = predicted("model", "--interval", 0.8)
    series = pd.Series(table["sales"].to_numpy(), pd.to_datetime(table["month"]))
    forecaster = LSTMForecaster(**SETTINGS).fit(series)
    assert result.columns.tolist() == ["month", "sales", "sales_lower", "sales_upper"]
    assert result["month"].tolist() == ["2023-01-01", "2023-02-01", "2023-03-01"]
    assert np.allclose(result["sales"], forecaster.predict())
    assert np.allclose(result[["sales_lower", "sales_upper"]].T, forecaster.predict_interval(coverage=0.8))
    # Another series, in any order.
    table.iloc[:60].sample(frac=1, random_state=0).to_csv("early.csv", index=False)
    early = predicted("model", "early.csv", "--horizon", 2)
    assert early["month"].tolist() == ["2020-01-01", "2020-02-01"]
    assert np.allclose(early["sales"], forecaster.predict(series[:60], horizon=2))


def test_forecast_of_many_series_without_times():
    table = pd.concat([sales(50).assign(shop=7), sales(60).assign(shop=3, sales=lambda rows: 10 * rows["sales"])])
    table.to_csv("sales.csv", index=False)
    run("train", "sales.csv", "--target", "sales", "--id", "shop", *FORECAST[2:])
    result = predicted("model")
    forecaster = LSTMForecaster(**SETTINGS).fit(
        [rows["sales"].to_numpy() for _, rows in table.groupby("shop", sort=False)]
    )
    assert result.columns.tolist() == ["shop", "step", "sales"]
    assert result["shop"].tolist() == [7] * 3 + [3] * 3
    assert result["step"].tolist() == [1, 2, 3] * 2
    assert np.allclose(result["sales"], np.concatenate(forecaster.predict()))


@pytest.mark.parametrize("data", [(), ("sales.csv",)])
def test_plot_of_forecasts(tmp_path, monkeypatch, capsys, data):
    drawn = []
    plot = display.ForecastDisplay.plot
    monkeypatch.setattr(display.ForecastDisplay, "plot", lambda self: drawn.append(self) or plot(self))
    table = pd.concat([sales(50).assign(shop=f"shop {i}") for i in range(6)])
    table.to_csv("sales.csv", index=False)
    run("train", "sales.csv", "--target", "sales", "--id", "shop", *FORECAST)
    result = predicted("model", *data, "--interval", 0.8, "--plot", "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert drawn[0].names == [f"shop {i}" for i in range(4)]  # more would not be read
    assert drawn[0].coverage == 0.8
    for name, drawn_part in [("sales", drawn[0].forecast), ("sales_lower", drawn[0].lower)]:
        assert np.allclose(result[name][:12], np.concatenate(drawn_part))
    assert drawn[0].history[3].tolist() == table["sales"].iloc[38:50].tolist()
    assert drawn[0].history[3].index[-1] == pd.Timestamp("2019-02-01")
    before = sorted(os.listdir())
    assert main(["predict", "model", "--plot", "plot.docx", "--out", "out.csv"]) == 2
    assert "docx" in capsys.readouterr().err
    assert sorted(os.listdir()) == before


def test_forecast_of_several_variables_by_year():
    table = pd.DataFrame({"year": np.arange(1950, 2010), "a": np.arange(60) % 4, "b": np.arange(60) % 3})
    table.to_csv("data.csv", index=False)
    run("train", "data.csv", "--target", "a,b", "--time", "year", *FORECAST[2:])
    result = predicted("model")
    assert result.columns.tolist() == ["year", "a", "b"]
    assert result["year"].tolist() == [2010, 2011, 2012]


def test_features_of_the_future_are_rows_without_a_target(capsys):
    table = sales(96).assign(holiday=lambda rows: rows.index % 4 == 0, sales=lambda rows: rows["sales"].round(3))
    table["holiday"] = table["holiday"].astype(int)
    table.loc[93:, "sales"] = np.nan
    table.to_csv("sales.csv", index=False)
    run("train", "sales.csv", "--target", "sales", "--features", "holiday", *FORECAST)
    assert "3 rows at the end have no sales: the future" in capsys.readouterr().out
    whole = predicted("model", "sales.csv")
    assert whole["month"].tolist() == table["month"].iloc[93:].tolist()
    for future in (table.iloc[93:], table.iloc[93:].drop(columns="sales")):
        future.to_csv("future.csv", index=False)
        assert np.allclose(predicted("model", "future.csv")["sales"], whole["sales"])
    table.assign(holiday=1 - table["holiday"]).to_csv("other.csv", index=False)
    assert not np.allclose(predicted("model", "other.csv")["sales"], whole["sales"])
    for arguments, message in [
        ((), "needs holiday of 3 steps of the future"),
        (("sales.csv", "--horizon", "5"), "there are 3 such rows"),
        (("late.csv",), "month|index"),
    ]:
        late = table.assign(month=table["month"].where(table.index < 93, "2030-01-0" + table.index.astype(str).str[1]))
        late.to_csv("late.csv", index=False)
        assert main(["predict", "model", *arguments]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_the_future_of_many_series_is_found_by_id(capsys):
    table = pd.concat([sales(40).assign(shop="a"), sales(30).assign(shop="b")]).assign(price=lambda rows: rows["sales"])
    table.to_csv("sales.csv", index=False)
    options = ("--target", "sales", "--id", "shop", "--features", "price", "--no-scale")
    run("train", "sales.csv", *options, *FORECAST[2:])
    assert not lstmfast.load("model").scale
    future = pd.DataFrame({"shop": ["b"] * 3 + ["a"] * 3, "price": [1.0, 2, 3, 4, 5, 6]})
    future.to_csv("future.csv", index=False)
    result = predicted("model", "future.csv")
    assert result["shop"].tolist() == ["a"] * 3 + ["b"] * 3
    prices = [np.array([[4.0], [5], [6]]), np.array([[1.0], [2], [3]])]
    assert np.allclose(result["sales"], np.concatenate(lstmfast.load("model").predict(X=prices)))
    future.replace("b", "c").to_csv("future.csv", index=False)
    assert main(["predict", "model", "future.csv"]) == 2
    assert "other series than model was trained on" in capsys.readouterr().err


# ---- checkpoints ----

# A training that stops, to be killed, in the middle of its third epoch of five batches.
STOPPING = """
import sys, time
from lstmfast.__main__ import main
from lstmfast.training import Trainer

def stop(trainer, batch, one=Trainer._batch, seen=[]):
    seen.append(batch)
    if len(seen) == 13:
        print("stopped", flush=True)
        time.sleep(600)
    return one(trainer, batch)

Trainer._batch = stop
main(sys.argv[1:])
"""
CHECKPOINT = ("--checkpoint", "kept", "--resume")


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (digits(140), ("--target", "digit", "--batch-size", 28, "--set", "dropout=0.2")),
        (walks(175), ("--target", "kind", "--id", "who", "--time", "t", "--validation-fraction", 0.2)),
        (sales(190), ("--target", "sales", "--time", "month", "--set", "learning_rate=cosine")),
    ],
    ids=["wide", "long", "forecast"],
)
def test_a_killed_training_is_resumed(capsys, table, options):
    """It writes the file of one that was left alone, bit by bit."""
    table.to_csv("data.csv", index=False)
    command = ["train", "data.csv", *map(str, options), "--hidden", "8", "--epochs", "5"]
    run(*command, "--out", "whole")
    stopping = [sys.executable, "-c", STOPPING, *command, "--out", "model", *CHECKPOINT]
    with subprocess.Popen(stopping, stdout=subprocess.PIPE, text=True) as process:
        assert "stopped\n" in process.stdout
        process.kill()
    assert sorted(os.listdir()) == ["data.csv", "kept", "kept.previous", "whole"]
    assert lstmfast.load("kept").n_iter_ == 2
    capsys.readouterr()
    run(*command, "--out", "model", *CHECKPOINT)
    assert "; 5 epochs, 3 of them now, in " in capsys.readouterr().out
    assert same_files("model", "whole")


def test_a_finished_training_is_resumed_for_more_epochs(capsys):
    digits(30).to_csv("digits.csv", index=False)
    command = ("train", "digits.csv", "--target", "digit", "--hidden", 8)
    for epochs, shown in [
        (2, "; 2 epochs in "),
        (2, "; 2 epochs, 0 of them now, in "),
        (3, "; 3 epochs, 1 of them now"),
    ]:
        run(*command, "--epochs", epochs, "--out", "model", *CHECKPOINT)
        assert shown in capsys.readouterr().out
    run(*command, "--epochs", 3, "--out", "whole")
    assert same_files("model", "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden", "9"), "kept is a checkpoint of another fit: hidden_layer_sizes is [9], but was [8]"),
        (("--seed", "1"), "random_state is 1, but was 0"),
        (("--no-scale",), "the data, their weights or the validation data are others"),
        (("--epochs", "1"), "max_iter is 1, but it is 2 epochs old"),
        (("--checkpoint", "model"), "model: the model in this file is not consistent: it is a model without the state"),
        (("--checkpoint", "text"), "text: not an lstmfast model"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_and_exit_code_2(tmp_path, capsys, options, message):
    digits(30).to_csv("digits.csv", index=False)
    command = ["train", "digits.csv", "--target", "digit", *map(str, QUICK), *CHECKPOINT]
    run(*command)
    (tmp_path / "text").write_text("to do")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert main([*command, "--out", "other", *options]) == 2
    shown = capsys.readouterr().err
    assert re.fullmatch(r"lstmfast: error: .*\n", shown)
    assert message in shown
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_knows_no_table(capsys):
    digits(30).to_csv("digits.csv", index=False)
    run("train", "digits.csv", "--target", "digit", *QUICK, *CHECKPOINT)
    assert main(["predict", "kept", "digits.csv"]) == 2
    assert "kept was trained in Python, not by `lstmfast train`, or is a checkpoint" in capsys.readouterr().err


# ---- errors ----

GOOD = "a,b,y\n1,2,u\n3,4,v\n"
LONG = "id,t,a,y\n1,1,5,u\n1,2,6,u\n2,1,7,v\n"
SERIES = "t,y\n" + "".join(f"2024-01-{i:02},{i}\n" for i in range(1, 29))
BY_ID, BY_TIME = ("--id", "id", "--time", "t"), ("--time", "t", "--window", "3")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", (), "data.csv is empty"),
        ("a,b,y\n", (), "has a header but no rows"),
        ("a,b\n1,2\n", (), "no column 'y'; its columns are a, b"),
        ("a,b,y\n1,2,u\n3,x,v\n", (), "line 3, column 'b': 'x' is not a number"),
        ("a,b,y\n1,2,u\n3,,v\n", (), "line 3, column 'b': there is no value"),
        ("a,b,y\n1,2,u\n3,4,\n", (), "line 3, column 'y': there is no value"),
        ("a,b,y\n1,2,u\n3,v\n", (), "line 3: 2 cells, but the header has 3"),
        ("a;b;y\n1,5;2;u\n", (), "decimals are written with a point"),
        (GOOD.encode("utf-16"), (), "is no utf-8 text"),
        ("y\nu\nv\n", (), "no column left for the features"),
        (GOOD.replace("v", "u"), (), "'y' is u throughout"),
        (GOOD, ("--features", "a,y"), "column 'y' cannot be two things at once"),
        (GOOD, ("--id", "y"), "column 'y' cannot be two things at once"),
        (GOOD, ("--ignore", "c"), "no column 'c'"),
        (GOOD, ("--task", "regress"), "line 2, column 'y': 'u' is not a number"),
        (GOOD, ("--task", "tag"), "needs --id"),
        (GOOD, ("--task", "classify", "--horizon", "3"), "--task classify goes with none of --horizon"),
        (GOOD, ("--time-format", "%Y"), "--time-format goes with --time"),
        (GOOD, ("--set", "horizon=3"), "LSTMClassifier has no argument 'horizon'; it has"),
        (GOOD, ("--set", "max_iter=3"), "max_iter is given twice"),
        (GOOD, ("--cell", "brain"), "'cell' parameter"),
        (GOOD, ("--validation-fraction", "0.99"), "validation"),
        (GOOD, ("--n-jobs", "0"), "n_jobs"),
        (GOOD, ("--resume",), "--resume goes with --checkpoint"),
        (GOOD, ("--checkpoint", "./data.csv"), "./data.csv is what is read"),
        (GOOD, ("--checkpoint", "./model"), "--out model is a file of the checkpoint"),
        (GOOD, ("--checkpoint", "kept", "--out", "kept.previous"), "--out kept.previous is a file of the checkpoint"),
        (GOOD, ("--checkpoint", "nowhere/kept"), "nowhere: there is no such folder"),
        (GOOD, ("--checkpoint", "."), ".: this is a folder"),
        (LONG + "1,2,8,u\n", BY_ID, "line 5, column 't': the time 2 is there already for id '1', in line 3"),
        (LONG.replace("2,1", "2,tomorrow"), BY_ID, "'tomorrow' is not a number"),
        (LONG.replace("1,2,6,u", "1,2,6,v"), (*BY_ID, "--task", "classify"), "it changes within a sequence"),
        (LONG.replace("1,2,6,u", "1,2,6,1.5").replace("u", "1").replace("v", "2"), BY_ID, "changes within a sequence"),
        (SERIES + "2024-01-28,3\n", BY_TIME, "line 30, column 't': the time 2024-01-28 is there already, in line 29"),
        (SERIES + "2024-03-28,3\n", BY_TIME, "not evenly spaced"),
        (SERIES + "29/1/2024,3\n", BY_TIME, "'29/1/2024' is neither a number nor a date"),
        (SERIES.replace(",7\n", ",\n"), BY_TIME, "line 8, column 'y': there is no value, but later there are"),
        (SERIES, ("--time", "t", "--window", "30"), "window=30"),
    ],
)
def test_a_table_or_option_that_does_not_work_is_one_line_and_exit_code_2(
    tmp_path, capsys, content, options, message
):  # fmt: skip
    (tmp_path / "data.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["train", "data.csv", "--target", "y", "--epochs", "1", "--out", "model", *options]) == 2
    shown = capsys.readouterr().err
    assert re.fullmatch(r"lstmfast: error: .*\n", shown)
    assert message in shown
    assert os.listdir() == ["data.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model",), "which table? lstmfast predict model DATA"),
        (("model", "nothing.csv"), "nothing.csv: No such file or directory"),
        (("nothing", "data.csv"), "nothing: No such file or directory"),
        (("data.csv", "data.csv"), "data.csv: not an lstmfast model"),
        (("python.model", "data.csv"), "python.model was trained in Python"),
        (("model", "other.csv"), "other.csv has no column 'b'; its columns are a, y"),
        (("model", "bad.csv"), "bad.csv, line 3, column 'b': 'x' is not a number"),
        (("model", "data.csv", "--out", "out.xlsx"), "ends in .csv, .csv.gz, .parquet"),
        (("model", "data.csv", "--out", "nowhere/out.csv"), "nowhere: there is no such folder"),
        (("model", "data.csv", "--out", "./data.csv"), "./data.csv is what is read"),
        (("model", "data.csv", "--horizon", "3"), "--horizon is for forecasts"),
        (("model", "data.csv", "--plot", "x.png"), "--plot is for forecasts"),
        (("series.model", "--proba"), "--proba is for labels"),
        (("series.model", "--interval", "1.5"), "--interval must lie between 0 and 1"),
        (("series.model", "--horizon", "9"), "recursive"),
        (("series.model", "series.csv", "--out", "out.csv", "--separator", "ab"), "a separator is one character"),
        (("long.model", "long.csv"), "line 5, column 'id': '1' was there before"),
    ],
)
def test_predict_says_what_is_wrong_and_writes_nothing(tmp_path, capsys, arguments, message):
    for name, content in [
        ("data.csv", GOOD), ("other.csv", "a,y\n1,2\n"), ("bad.csv", "a,b\n1,2\n3,x\n"), ("series.csv", SERIES),
        ("long.csv", LONG),
    ]:  # fmt: skip
        (tmp_path / name).write_text(content)
    quick = ("--epochs", 1, "--hidden", 2)
    run("train", "data.csv", "--target", "y", *quick, "--out", "model")
    run("train", "series.csv", "--target", "y", *BY_TIME, *quick, "--out", "series.model")
    run("train", "long.csv", "--target", "y", *BY_ID, *quick, "--out", "long.model")
    with open("long.csv", "a") as file:
        file.write("1,3,5,u\n")
    lstmfast.LSTMRegressor(2, max_iter=1).fit(np.eye(2), [0.0, 1.0]).save("python.model")
    before = sorted(os.listdir())
    capsys.readouterr()
    if "--out" not in arguments:
        arguments = (*arguments, "--out", "out.csv")
    assert main(["predict", *arguments]) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(r"lstmfast: error: .*\n", shown.err)
    assert message in shown.err
    assert shown.out == ""
    assert sorted(os.listdir()) == before


def test_where_the_model_cannot_be_written_is_said_before_training(capsys, monkeypatch):
    digits(20).to_csv("digits.csv", index=False)
    monkeypatch.setattr(train, "make_estimator", lambda *arguments: pytest.fail("it trained"))
    for out, message in [
        ("nowhere/model", "no such folder"), (".", "this is a folder"), ("digits.csv", "digits.csv is what is read")
    ]:  # fmt: skip
        assert main(["train", "digits.csv", "--target", "digit", "--out", out]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "x.csv", "--out", "m"],
        ["train", "x.csv", "--target", "y"],
        ["train", "x.csv", "--target", "a,,b", "--out", "m"],
        ["train", "x.csv", "--target", "y", "--out", "m", "--hidden", "large"],
        ["train", "x.csv", "--target", "y", "--out", "m", "--set", "dropout"],
        ["train", "x.csv", "--target", "y", "--out", "m", "--task", "dance"],
        ["predict"],
        ["info"],
    ],
)
def test_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: lstmfast" in capsys.readouterr().err


def test_an_interrupt_is_130_and_leaves_nothing(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    digits(20).to_csv("digits.csv", index=False)
    monkeypatch.setattr(lstmfast.LSTMClassifier, "fit", interrupted)
    assert main(["train", "digits.csv", "--target", "digit", *map(str, QUICK)]) == 130
    assert capsys.readouterr().err == "lstmfast: interrupted\n"
    assert os.listdir() == ["digits.csv"]


def test_a_warning_is_one_line(capsys):
    digits(30).to_csv("digits.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        run("train", "digits.csv", "--target", "digit", *QUICK, "--learning-rate", 1e30, "--set", "clip_norm=None")
    assert re.search(r"^lstmfast: warning: Training diverged in epoch \d: .*\n$", capsys.readouterr().err)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGPIPE")
def test_a_broken_pipe_is_quiet():
    digits(100).to_csv("digits.csv", index=False)
    run("train", "digits.csv", "--target", "digit", *QUICK)
    pd.concat([pd.read_csv("digits.csv")] * 200).to_csv("many.csv", index=False)
    command = [sys.executable, "-m", "lstmfast", "predict", "model", "many.csv", "--proba"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("row,digit,")
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr.read() == ""


# ---- settings, progress, info ----


def test_options_reach_the_estimator_and_info_shows_them(capsys):
    digits(60).to_csv("digits.csv", index=False)
    run(
        "train", "digits.csv", "--target", "digit", "--out", "model", "--hidden", "6,5", "--cell", "gru",
        "--bidirectional", "--epochs", 2, "--learning-rate", 0.01, "--batch-size", 16, "--seed", 3, "--n-jobs", 1,
        "--validation-fraction", 0.25, "--set", "learning_rate=cosine", "--set", "dense_layer_sizes=(4,)",
    )  # fmt: skip
    assert "validation score" in capsys.readouterr().out
    run("info", "model", "--json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["settings"] == {
        "hidden_layer_sizes": [6, 5], "cell": "gru", "bidirectional": True, "max_iter": 2, "learning_rate_init": 0.01,
        "batch_size": 16, "random_state": 3, "n_jobs": 1, "early_stopping": True, "validation_fraction": 0.25,
        "learning_rate": "cosine", "dense_layer_sizes": [4],
    }  # fmt: skip
    assert facts["table"]["layout"] == "wide"
    assert facts["classes"] == list(range(10))
    assert facts["file"]["bytes"] == os.path.getsize("model")
    assert facts["file"]["written_by"] == lstmfast.__version__
    assert facts["n_parameters"] == lstmfast.load("model").n_parameters_
    assert len(facts["training"]["loss_curve"]) == len(facts["training"]["validation_scores"]) == 2
    run("info", "model")
    shown = capsys.readouterr().out
    for part in ("LSTMClassifier", "cell='gru'", "10: 0, 1, 2", "64: p0, p1", "2 epochs", "best validation score"):
        assert part in shown


@pytest.mark.parametrize(
    ("estimator", "data"),
    [
        (lstmfast.LSTMRegressor, ([[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0])),
        (lstmfast.LSTMForecaster, (np.arange(60.0),)),
        (lstmfast.LSTMLanguageModel, (["a text"],)),
        (lstmfast.LSTMRecommender, ([[1, 2, 3]],)),
        (lstmfast.LSTMTransformer, ([[0.0, 1.0], [1.0, 0.0]],)),
        (lstmfast.LSTMTranslator, (["one"], ["eins"])),
    ],
)
def test_info_of_a_model_trained_in_python(capsys, estimator, data):
    estimator(hidden_layer_sizes=3, max_iter=1).fit(*data).save("model")
    run("info", "model")
    shown = capsys.readouterr().out
    assert "none: it was trained in Python" in shown
    assert f"{estimator.__name__}\n" in shown
    assert "hidden_layer_sizes=3, max_iter=1\n" in shown
    run("info", "model", "--json")
    assert json.loads(capsys.readouterr().out)["table"] is None
    assert main(["info", "nothing"]) == 2


def test_the_same_command_gives_the_same_file():
    digits(30).to_csv("digits.csv", index=False)
    for out in ("one", "two"):
        run("train", "digits.csv", "--target", "digit", *QUICK[:-1], out)
    assert same_files("one", "two")


def test_progress_is_shown_where_it_is_asked_for(capsys):
    digits(30).to_csv("digits.csv", index=False)
    run("train", "digits.csv", "--target", "digit", *QUICK, "--verbose", 1)
    assert "2.0/2 epochs" in capsys.readouterr().err
    run("train", "digits.csv", "--target", "digit", *QUICK, "--verbose", 2)
    assert "epoch 2/2: loss" in capsys.readouterr().out
