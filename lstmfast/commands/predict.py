"""``lstmfast predict``: predictions for a table, or forecasts of its series."""

import io
import os

from ..tables import TableError
from . import CommandError, load_model, user_errors
from .train import add_reading_arguments

MAX_PLOTTED = 4  # series in a picture


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="file that `lstmfast train` wrote")
    parser.add_argument(
        "data", metavar="DATA", nargs="?",
        help="csv or parquet file with the columns of the training table; forecasts go on where it ends, or without it "
        "where the training table did",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help=".csv, .csv.gz or .parquet (default: csv to standard output)")
    parser.add_argument("--proba", action="store_true", help="the probability of each label too")
    parser.add_argument("--horizon", type=int, metavar="N", help="steps to forecast (default: as trained)")
    parser.add_argument(
        "--interval", type=float, metavar="P", help="bounds that the future lies between with probability P: 0.9, say"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the forecast: .png, .svg or .pdf")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads (default: as trained)")
    add_reading_arguments(parser)


def run(arguments):
    """Predict with a model that `lstmfast train` made: a row for each sequence, step or forecast.

    Rows are read, predicted and written in chunks: a table may be larger than memory. In the long layout the rows of a
    sequence must then stand together; forecasts read the whole table.
    """
    from ..tables.writing import check_destination, check_table_name, write_table

    estimator, schema = load_model(arguments.model)
    if schema is None:
        raise CommandError(
            f"{arguments.model} was trained in Python, not by `lstmfast train`, or is a checkpoint: it knows no "
            "columns; predict in Python"
        )
    if arguments.n_jobs is not None:
        estimator.set_params(n_jobs=arguments.n_jobs)
    with user_errors(TableError):
        _check_options(arguments, schema)
        if arguments.out is not None:
            check_table_name(arguments.out)
        for path in filter(None, (arguments.out, arguments.plot)):
            check_destination(path, [arguments.model, arguments.data])
        chunks = _forecasts if schema.task == "forecast" else _predictions
        write_table(chunks(arguments, estimator, schema), arguments.out)
    return 0


def _check_options(arguments, schema):
    forecasts = schema.task == "forecast"
    for name in ("horizon", "interval", "plot"):
        if getattr(arguments, name) is not None and not forecasts:
            raise CommandError(f"--{name} is for forecasts; {arguments.model} was trained to {schema.task}")
    if arguments.proba and schema.task not in ("classify", "tag"):
        raise CommandError(f"--proba is for labels; {arguments.model} was trained to {schema.task}")
    if arguments.data is None and not forecasts:
        raise CommandError(f"which table? lstmfast predict {arguments.model} DATA")
    if arguments.interval is not None and not 0 < arguments.interval < 1:
        raise CommandError(f"--interval must lie between 0 and 1, got {arguments.interval:g}")


def _open(arguments):
    from ..tables.reading import open_table

    return open_table(arguments.data, arguments.separator, arguments.encoding)


def _predictions(arguments, estimator, schema):
    """Chunks of rows for classifier, regressor and tagger."""
    import numpy as np

    with _open(arguments) as table:
        for X, places in schema.streamed(table):
            with user_errors(ValueError, TypeError):
                predicted = estimator.predict(X)
                probabilities = estimator.predict_proba(X) if arguments.proba else None
            if schema.task == "tag":
                predicted = np.concatenate(predicted)
                probabilities = np.concatenate(probabilities) if arguments.proba else None
            if schema.task == "regress":
                predicted = schema.unscaled_targets(predicted.reshape(len(predicted), -1))
            chunk = places | dict(zip(schema.target, predicted.reshape(len(predicted), -1).T, strict=True))
            if arguments.proba:
                chunk |= {f"proba_{label}": probabilities[:, i] for i, label in enumerate(estimator.classes_)}
            yield chunk


def _forecasts(arguments, estimator, schema):
    """The one chunk of rows that forecasts are; draws them too."""
    from ..tables.series import forecast_table

    keys, y, X = _known(arguments, estimator, schema)
    future = {"y": y, "X": X, "horizon": arguments.horizon}
    with user_errors(ValueError, TypeError):
        forecasts = {"": estimator.predict(**future)}
        if arguments.interval is not None:
            bounds = estimator.predict_interval(**future, coverage=arguments.interval)
            forecasts |= dict(zip(("_lower", "_upper"), bounds, strict=True))
    if schema.id is None:
        forecasts = {suffix: [entry] for suffix, entry in forecasts.items()}
    if arguments.plot is not None:
        history = estimator.training_tail_ if y is None else y
        _draw(arguments, estimator, keys, history if schema.id is not None else [history], forecasts)
    yield forecast_table(schema, keys, forecasts)


def _known(arguments, estimator, schema):
    """(ids, y, X) for a forecaster; y is None where it goes on with the series it was trained on."""
    from ..tables.series import as_given, features_until, read_series
    from ..tables.steps import group

    horizon = arguments.horizon or estimator.horizon
    trained = list(schema.series) or [None]
    if arguments.data is None:
        if schema.features:
            raise CommandError(
                f"the forecast needs {', '.join(schema.features)} of {horizon} steps of the future: "
                f"lstmfast predict {arguments.model} DATA"
            )
        return trained, None, None
    with _open(arguments) as table:
        # A table without the target is the future of the series that were trained on.
        with_target = not schema.features or any(name in table.names for name in schema.target)
        series = read_series(schema, group(schema.all_steps(table, with_target)))
    empty = [one for one in series if not len(one.y)]
    if schema.features and len(empty) == len(series):
        by_key = {one.key: one for one in series}
        if by_key.keys() != set(trained):
            raise CommandError(
                f"{arguments.data} has the future of other series than {arguments.model} was trained on: give them "
                f"with their past, or the future of {schema.id} {', '.join(map(str, trained))}"
            )
        return trained, None, features_until(schema, [by_key[key] for key in trained], horizon)
    if empty:
        whose = "" if empty[0].key is None else f" of {schema.id} {empty[0].key!r}"
        raise CommandError(f"{arguments.data} has no value of {', '.join(schema.target)}{whose}")
    y = as_given(schema, [one.y for one in series])
    return [one.key for one in series], y, features_until(schema, series, horizon)


def _draw(arguments, estimator, keys, history, forecasts):
    """Write the picture, whole or not at all."""
    from ..display import ForecastDisplay
    from ..display.drawing import pyplot
    from ..persistence import replace_file

    n_history = max(3 * len(forecasts[""][0]), estimator.window)
    parts = [entries[:MAX_PLOTTED] for entries in forecasts.values()]
    display = ForecastDisplay(
        [series[-n_history:] for series in history[:MAX_PLOTTED]], *parts, coverage=arguments.interval,
        names=None if keys == [None] else list(map(str, keys[:MAX_PLOTTED])),
    ).plot()  # fmt: skip
    picture = io.BytesIO()
    with user_errors(ValueError):
        display.figure_.savefig(picture, format=os.path.splitext(arguments.plot)[1][1:] or "png", dpi=150)
    pyplot().close(display.figure_)
    replace_file(os.path.realpath(arguments.plot), [picture.getvalue()])
