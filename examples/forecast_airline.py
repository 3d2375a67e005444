"""
Airline passengers a year ahead
===============================

Monthly passengers of international airlines, 1949 to 1960 (Box & Jenkins, "Time Series Analysis", 1976, series G): a
trend, a season, and variation that grows with both. So the forecaster works on logarithms and on their differences from
year to year. It learns on the first nine years and forecasts the last three, each month's next twelve months from all
that came before; the baseline is the same month a year earlier. For a csv of your own::

    series = pandas.read_csv("sales.csv", index_col="month", parse_dates=True)["sales"].asfreq("MS")
    forecaster = LSTMForecaster(horizon=12, window=12, log=True, differences=12, random_state=0).fit(series)
    forecast, (lower, upper) = forecaster.predict(), forecaster.predict_interval()

The numbers come with aeon::

    pip install "lstmfast[examples]"
    python examples/forecast_airline.py

Settings were chosen on forecasts of the years to 1957. Nine years are few: 13 forecasts calibrate the intervals.
"""

import argparse

import numpy as np
import pandas as pd
from aeon.datasets import load_airline

from lstmfast import LSTMForecaster

HORIZON, N_TEST = 12, 36
SETTINGS = {
    "horizon": HORIZON, "window": 12, "log": True, "differences": 12, "hidden_layer_sizes": 16, "max_iter": 50,
    "learning_rate": "cosine", "learning_rate_init": 5e-3, "batch_size": 16, "alpha": 1e-2,
}  # fmt: skip


def main():
    """Train, score beside the baseline, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="airline.png", help="where the plot goes")
    arguments = parser.parse_args()

    values = np.ravel(load_airline()).astype(float)
    passengers = pd.Series(values, pd.date_range("1949-01", periods=len(values), freq="MS"), name="thousands")
    train, test = passengers[:-N_TEST], passengers[-N_TEST:]
    forecaster = LSTMForecaster(**SETTINGS, random_state=0).fit(train)

    origins = range(len(train), len(passengers) - HORIZON + 1)
    forecasts = np.array(forecaster.predict([passengers[:origin] for origin in origins]))
    truth = np.array([passengers[origin : origin + HORIZON] for origin in origins])
    year_before = np.array([passengers[origin - 12 : origin - 12 + HORIZON] for origin in origins])
    for name, guess in {"LSTM": forecasts, "the same month a year earlier": year_before}.items():
        error = np.sqrt(np.mean((guess - truth) ** 2))
        print(f"Root mean squared error over {len(origins)} origins, {name}: {error:.1f} thousand passengers")
    print(f"R2 of these forecasts: {forecaster.score(test):.3f}")

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.plot(passengers[-84:], "k.-", label="observed")
    for start in range(len(train), len(passengers), HORIZON):
        seen = passengers[:start]
        forecast, (lower, upper) = forecaster.predict(seen), forecaster.predict_interval(seen)
        axes.plot(forecast, "C1-", label="forecast a year ahead" if start == len(train) else None)
        label = "90 % interval" if start == len(train) else None
        axes.fill_between(forecast.index, lower, upper, color="C1", alpha=0.25, label=label)
    axes.set(title="Airline passengers", ylabel="thousands a month")
    axes.legend(loc="upper left")
    figure.savefig(arguments.plot, dpi=120)
    print(f"Plot: {arguments.plot}")


if __name__ == "__main__":
    main()
