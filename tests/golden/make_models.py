"""Write models/*.lstmfast, a file of each estimator in this release's format, and models/answers.npz, what they say.

    PYTHONPATH=.:tests python tests/golden/make_models.py [FOLDER]

Made once for a format and never again: the test is that later releases read what earlier ones wrote. A release with
another format gets a folder of its own. Needs lstmfast and NumPy; tests/every_estimator.py says what is fitted.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from every_estimator import EXAMPLES, numbers, predicted_table

from lstmfast.__main__ import main


def write_table(path):
    """A csv file with a sequence of four steps in each row, and a label."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["t1", "t2", "t3", "t4", "label"])
        writer.writerows([*row, "yes" if row.sum() > 0 else "no"] for row in numbers(24, 4))


def make(folder):
    """Fit, save and ask all of them."""
    folder.mkdir(exist_ok=True)
    answers = {}
    for name, example in EXAMPLES.items():
        estimator = example.fitted()
        estimator.save(folder / f"{name}.lstmfast")
        answers |= {f"{name}/{method}": value for method, value in example.answers(estimator).items()}
    data, model = folder / "table.csv", folder / "table.lstmfast"
    write_table(data)
    options = ["--target", "label", "--hidden", "5", "--epochs", "3", "--n-jobs", "1", "--verbose", "0"]
    assert main(["train", str(data), "--out", str(model), *options]) == 0
    answers["table/predict"] = predicted_table(model, data)
    np.savez_compressed(folder / "answers.npz", **answers)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "models")
