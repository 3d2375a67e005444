"""Files that a release wrote say for ever what they said then.

To 1e-6, not to the bit: the kernels of other instruction sets add in another order.
"""

from pathlib import Path

import numpy as np
import pytest
from every_estimator import EXAMPLES, predicted_table

import lstmfast
from lstmfast.estimators.saving import _CLASSES

FOLDER = Path(__file__).parent / "golden" / "models"


@pytest.fixture(scope="module")
def answers():
    with np.load(FOLDER / "answers.npz") as file:
        return dict(file)


def assert_same(result, expected):
    assert result.shape == expected.shape
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden_models_say_what_they_said(answers, name):
    estimator = lstmfast.load(FOLDER / f"{name}.lstmfast")
    result = EXAMPLES[name].answers(estimator)
    assert {f"{name}/{method}" for method in result} == {key for key in answers if key.split("/")[0] == name}
    for method, value in result.items():
        assert_same(value, answers[f"{name}/{method}"])


def test_the_golden_model_of_the_command_line(answers):
    result = predicted_table(FOLDER / "table.lstmfast", FOLDER / "table.csv")
    assert_same(result, answers["table/predict"])


def test_every_estimator_has_a_golden_model():
    kinds = {example.kind for example in EXAMPLES.values()}
    assert kinds == set(_CLASSES)
    assert {path.stem for path in FOLDER.glob("*.lstmfast")} == {*EXAMPLES, "table"}
