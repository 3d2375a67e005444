"""
Sunspots a year ahead
=====================

The yearly sunspot numbers since 1700 come with statsmodels. From the 22 years before (two solar cycles) an LSTM
predicts the next; it learns on the years to 1920 and is tested on the rest. Two baselines: the number of the year
before, and an autoregression of order 9, the classical model of this series::

    pip install "lstmfast[examples]"
    python examples/sunspots.py

The LSTM's settings were chosen on the years 1871 to 1920. It is far better than the first baseline and not as good as
the second: the cycles after 1940 are higher than any it has learned from, which a linear model simply extrapolates. On
199 examples that is what to expect.
"""

import argparse

import numpy as np
import statsmodels.api as sm
from sklearn.linear_model import LinearRegression

from lstmfast import LSTMRegressor, make_windows

WINDOW, FIRST_TEST_YEAR, SCALE = 22, 1921, 100.0


def main():
    """Train, score beside the baselines, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="sunspots.png", help="where the plot goes")
    arguments = parser.parse_args()

    data = sm.datasets.sunspots.load_pandas().data
    X, y = make_windows(data["SUNACTIVITY"].to_numpy() / SCALE, window=WINDOW)
    years = data["YEAR"].to_numpy()[WINDOW:].astype(int)
    train, test = years < FIRST_TEST_YEAR, years >= FIRST_TEST_YEAR
    print(f"{train.sum()} years to learn from, {test.sum()} to predict, each from the {WINDOW} years before it.")

    # The mean of a few networks from different seeds, as is usual for so short a series.
    members = [
        LSTMRegressor(hidden_layer_sizes=(32,), max_iter=150, learning_rate="cosine", learning_rate_init=5e-3,
                      batch_size=16, dropout=0.1, alpha=1e-3, random_state=seed).fit(X[train], y[train])
        for seed in range(5)
    ]  # fmt: skip
    predicted = np.mean([member.predict(X[test]) for member in members], axis=0)
    lags = X[:, -9:, 0]
    autoregression = LinearRegression().fit(lags[train], y[train])
    for name, values in {
        "LSTM": predicted,
        "autoregression of order 9": autoregression.predict(lags[test]),
        "the year before": X[test][:, -1, 0],
    }.items():
        print(f"Root mean squared error, {name}: {SCALE * np.sqrt(np.mean((values - y[test]) ** 2)):.1f} sunspots")

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.plot(years[test], SCALE * y[test], "k.-", label="observed")
    axes.plot(years[test], SCALE * predicted, "C1-", label="predicted a year ahead")
    axes.set(title="Yearly sunspot numbers", xlabel="year", ylabel="sunspots")
    axes.legend()
    figure.savefig(arguments.plot, dpi=120)
    print(f"Plot: {arguments.plot}")


if __name__ == "__main__":
    main()
