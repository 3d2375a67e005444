"""The command line."""

import subprocess
import sys

import numpy as np
import pytest

import lstmfast
from lstmfast.__main__ import main
from lstmfast.commands.demo import digits


def test_demo_reports_what_it_did_and_keeps_the_model(tmp_path, capsys):
    path = tmp_path / "digits.lstmfast"
    assert main(["demo", "--out", str(path), "--verbose", "0"]) == 0
    shown = capsys.readouterr()
    for part in ("1347 to train on, 450 held out", "Trained: ", "samples/s", "Test accuracy: ", "the same bits"):
        assert part in shown.out
    assert shown.err == ""
    # What it says of the accuracy is what the model it kept does.
    _, X_test, _, y_test = digits()
    accuracy = np.mean(lstmfast.load(path).predict(X_test) == y_test)
    assert f"Test accuracy: {accuracy:.2%}" in shown.out
    assert accuracy > 0.96  # ten seeds here, and ten of the same network in PyTorch, lie between 96.4 and 98.4 %


def test_seed_and_verbose(capsys):
    outputs = []
    for seed in ("1", "1", "2"):
        assert main(["demo", "--seed", seed, "--verbose", "2"]) == 0
        outputs.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")])
    assert outputs[0] == outputs[1] != outputs[2]


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"lstmfast {lstmfast.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["demo", "--seed", "one"],
        ["demo", "--colour"],
        ["bench", "dance"],
        ["bench", "--case", "1,2"],
        ["bench", "--case", "1,2,3,0"],
        ["bench", "--rounds", "0"],
        ["bench", "--python", "torch=/no/such/program"],
        ["bench", "training", "--case", "1,2,3,4,layers=2"],
    ],
)
def test_bad_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: lstmfast" in capsys.readouterr().err


def test_bench_help_names_the_tasks_and_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("inference", "ragged-training", "--quick", "--isa", "--python"))


def test_bench_compares_with_the_matrix_product(tmp_path):
    # The task "forward" takes no other library, whatever is installed.
    options = ["--case", "2,5,3,4", "--threads", "1", "--rounds", "1", "--seconds", "0.01", "--patience", "0"]
    command = [sys.executable, "-m", "lstmfast", "bench", "forward", *options, "--out", str(tmp_path / "table.md")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    header = next(line for line in result.stdout.splitlines() if line.startswith("| B,T,I,H"))
    assert "lstmfast GFLOP/s" in header
    assert "sgemm GFLOP/s" in header
    assert "\n| 2,5,3,4 | " in result.stdout
    assert (tmp_path / "table.md").read_text() == result.stdout
    assert "case 1 of 1" in result.stderr


def test_bench_says_what_it_did_not_find(capfd):
    assert main(["bench", "step", "--case", "1,1,2,3", "--check", "--threads", "1"]) == 0
    shown = capfd.readouterr()
    for library in ("torch", "onnxruntime", "openvino", "jax", "tensorflow"):
        assert (f"{library} (module " in shown.err) != (f"1,1,2,3: {library}" in shown.out)
    assert "All agree" in shown.out


def test_runs_as_a_module():
    result = subprocess.run([sys.executable, "-m", "lstmfast", "--help"], capture_output=True, text=True, check=True)
    assert "demo" in result.stdout
