"""
Carbon dioxide a year ahead
===========================

Concentration of CO2 in the air of Mauna Loa, monthly from 1958 to 2001: a season on a rising trend. The forecaster
learns on the first four fifths and forecasts the rest, from each month the next twelve; the network sees changes from
month to month. The baseline is the same month a year earlier. For a csv of your own::

    series = pandas.read_csv("sales.csv", index_col="month", parse_dates=True)["sales"].asfreq("MS")
    forecaster = LSTMForecaster(horizon=12, window=24, differences=1, random_state=0).fit(series)
    forecast, (lower, upper) = forecaster.predict(), forecaster.predict_interval(coverage=0.9)

The data come with statsmodels::

    pip install "lstmfast[examples]"
    python examples/forecast_co2.py

Settings were chosen on the end of the first four fifths.
"""

import argparse

import numpy as np
import statsmodels.api as sm

from lstmfast import LSTMForecaster

HORIZON, TRAIN_SHARE = 12, 0.8
SETTINGS = {
    "horizon": HORIZON, "window": 24, "differences": 1, "hidden_layer_sizes": 32, "max_iter": 150, "batch_size": 16,
    "learning_rate": "cosine", "learning_rate_init": 5e-3,
}  # fmt: skip


def main():
    """Train, score beside the baseline, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="co2.png", help="where the plot goes")
    arguments = parser.parse_args()

    weekly = sm.datasets.co2.load_pandas().data["co2"]
    co2 = weekly.resample("MS").mean().interpolate()
    n_train = int(TRAIN_SHARE * len(co2))
    forecaster = LSTMForecaster(**SETTINGS, random_state=0).fit(co2[:n_train])

    origins = range(n_train, len(co2) - HORIZON + 1)
    pasts = [co2[:origin] for origin in origins]
    truth, year_before = (
        np.array([co2[start : start + HORIZON] for start in starts])
        for starts in (origins, [origin - 12 for origin in origins])
    )
    for name, guess in {
        "LSTM": np.array(forecaster.predict(pasts)),
        "the same month a year earlier": year_before,
    }.items():
        print(f"Root mean squared error, {name}: {np.sqrt(np.mean((guess - truth) ** 2)):.2f} ppm")
    lower, upper = map(np.array, forecaster.predict_interval(pasts, coverage=0.9))
    print(f"In the 90 % interval: {np.mean((lower <= truth) & (truth <= upper)):.0%} of {truth.size} forecasts")

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.plot(co2[n_train - 24 : n_train + 4 * HORIZON], "k.-", label="observed")
    for start in range(n_train, n_train + 4 * HORIZON, HORIZON):
        forecast, bounds = forecaster.predict(co2[:start]), forecaster.predict_interval(co2[:start])
        labels = ("forecast a year ahead", "90 % interval") if start == n_train else (None, None)
        axes.plot(forecast, "C1-", label=labels[0])
        axes.fill_between(forecast.index, *bounds, color="C1", alpha=0.3, label=labels[1])
    axes.set(title="Carbon dioxide on Mauna Loa", ylabel="parts per million")
    axes.legend(loc="upper left")
    figure.savefig(arguments.plot, dpi=120)
    print(f"Plot: {arguments.plot}")


if __name__ == "__main__":
    main()
