"""The fuzz targets of tools/ on their corpus and some random inputs; CONTRIBUTING.md says how they run for hours."""

from pathlib import Path

import fuzz_fit
import fuzz_loader
import numpy as np
import pytest
from fuzzing import Choices

from lstmfast import ModelFormatError, load
from lstmfast.persistence import read_model

CORPUS = Path(__file__).parent.parent / "tools" / "corpus"
TARGETS = {"fit": fuzz_fit, "loader": fuzz_loader}


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name):
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        TARGETS[name].check(path.read_bytes())


@pytest.mark.parametrize(("name", "n"), [("fit", 200), ("loader", 300)])
def test_random_inputs(name, n):
    rng = np.random.default_rng(0)
    for _ in range(n):
        TARGETS[name].check(rng.bytes(rng.integers(64)))


def test_choices_come_from_bytes_and_end_with_the_first():
    choices = Choices(bytes([5, 1, 2, 7, 15, 8]))
    assert choices.pick("abc") == "c"
    assert choices.number(65536) == 258
    assert [choices.seldom() for _ in range(3)] == [True, True, False]
    assert choices.pick("abc") == "a"


def test_forged_files_that_change_nothing_load(tmp_path):
    """So that the checksum does not keep everything else from being looked at."""
    path = tmp_path / "model"
    models, _ = fuzz_loader.models()
    for document, entries, arrays in models:
        path.write_bytes(fuzz_loader.forge(document, entries, arrays))
        assert read_model(path)[0] == document["model"]
        fuzz_loader.use(load(path))


def test_forged_files_have_a_right_checksum(tmp_path):
    path, rng = tmp_path / "model", np.random.default_rng(0)
    reasons = []
    for _ in range(50):
        path.write_bytes(fuzz_loader.forged(Choices(rng.bytes(48))))
        try:
            load(path)
        except ModelFormatError as error:
            reasons.append(str(error))
    assert sum("checksum" in reason for reason in reasons) < 10
    assert sum("not consistent" in reason for reason in reasons) > 10
