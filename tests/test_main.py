"""The command line."""

import subprocess
import sys

import numpy as np
import pytest

import lstmfast
from lstmfast.__main__ import digits, main


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


@pytest.mark.parametrize("arguments", [[], ["dance"], ["demo", "--seed", "one"], ["demo", "--colour"]])
def test_bad_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: lstmfast" in capsys.readouterr().err


def test_runs_as_a_module():
    result = subprocess.run([sys.executable, "-m", "lstmfast", "--help"], capture_output=True, text=True, check=True)
    assert "demo" in result.stdout
