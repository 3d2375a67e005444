"""Tables in csv and parquet files: read and written in chunks, and what their columns are to a model."""

# What can be learned from a table, and the estimator that learns it.
TASKS = {
    "classify": "LSTMClassifier",
    "regress": "LSTMRegressor",
    "tag": "LSTMTagger",
    "forecast": "LSTMForecaster",
}


class TableError(ValueError):
    """A table that cannot be read as it was asked for; the message says where and why."""
