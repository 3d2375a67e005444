"""``lstmfast train``: a model out of a table."""

import argparse
import ast
import csv
import os
import time
from dataclasses import replace

from ..tables import TASKS, TableError
from . import CommandError, add_verbose, user_errors, verbosity

# Options that are arguments of the estimators, with the names that their Python arguments have.
SHORTCUTS = {
    "hidden": "hidden_layer_sizes", "cell": "cell", "bidirectional": "bidirectional", "epochs": "max_iter",
    "learning_rate": "learning_rate_init", "batch_size": "batch_size", "validation_fraction": "validation_fraction",
    "n_jobs": "n_jobs", "horizon": "horizon", "window": "window",
}  # fmt: skip


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("data", metavar="DATA", help="csv (may be gzipped) or parquet file")
    parser.add_argument("--target", type=_names, required=True, metavar="NAME", help="column to learn; or several: a,b")
    parser.add_argument("--out", required=True, metavar="MODEL", help="file for the trained model")
    parser.add_argument("--task", choices=TASKS, help="what to learn (default: seen from the target, and said)")
    table = parser.add_argument_group("table")
    table.add_argument("--id", metavar="NAME", help="rows with the same value here are one sequence, a row a step")
    table.add_argument("--time", metavar="NAME", help="sort the rows of a sequence by this column: numbers or dates")
    table.add_argument("--time-format", metavar="FORMAT", help="how dates are written: %%d.%%m.%%Y, say (default: ISO)")
    table.add_argument("--features", type=_names, metavar="A,B,C", help="input columns (default: all others)")
    table.add_argument("--ignore", type=_names, default=(), metavar="A,B,C", help="columns that are no input")
    table.add_argument(
        "--scale", action=argparse.BooleanOptionalAction, default=True,
        help="standardise features and numeric targets; the model remembers how (default: yes)",
    )  # fmt: skip
    add_reading_arguments(table)
    network = parser.add_argument_group("network and training")
    network.add_argument("--hidden", type=_sizes, metavar="N,N", help="units of each recurrent layer (default: 64)")
    network.add_argument("--cell", help="lstm, gru, rnn or a variant (default: lstm)")
    network.add_argument("--bidirectional", action="store_true", default=None, help="read sequences both ways")
    network.add_argument("--epochs", type=int, metavar="N", help="most passes over the data (default: 200)")
    network.add_argument("--learning-rate", type=float, metavar="R", help="initial learning rate (default: 0.001)")
    network.add_argument("--batch-size", type=int, metavar="N", help="sequences a gradient step (default: 32)")
    network.add_argument(
        "--validation-fraction", type=float, metavar="F",
        help="hold out this share, say how well it is predicted, and stop when that gets no better",
    )  # fmt: skip
    network.add_argument("--seed", type=int, default=0, help="of weights, order and dropout (default: 0)")
    network.add_argument("--n-jobs", type=int, metavar="N", help="threads (default: all CPUs)")
    network.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", dest="settings",
        help="any other argument of the estimator: --set dropout=0.2 --set learning_rate=cosine",
    )  # fmt: skip
    add_verbose(network)
    interruptions = parser.add_argument_group("interruptions")
    interruptions.add_argument("--checkpoint", metavar="FILE", help="keep the training in this file after each epoch")
    interruptions.add_argument(
        "--resume", action="store_true",
        help="go on from the checkpoint, with the same data and options; without one, begin",
    )  # fmt: skip
    forecast = parser.add_argument_group("forecasts")
    forecast.add_argument("--horizon", type=int, metavar="N", help="steps to forecast (default: 1)")
    forecast.add_argument("--window", type=int, metavar="N", help="steps that a forecast sees (default: 24)")


def add_reading_arguments(parser):
    """Declare the options that say how a csv file is read."""
    parser.add_argument("--separator", metavar="C", help="between the cells of a csv file (default: seen from it)")
    parser.add_argument("--encoding", help="of a csv file (default: utf-8)")


def _names(text):
    """Column names between commas; quotes as in a csv file."""
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not names or "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be different names with commas between them, got {text!r}")
    return names


def _sizes(text):
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas between them, got {text!r}") from None


def _setting(text):
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):  # a word, which needs no quotes here
        return name, value


def run(arguments):
    """Train a model on a table, csv or parquet, and save it with what it has to know of the table.

    Wide layout: each row is a sequence, its columns are the steps. Long layout, with --id: each row is a step. With
    --horizon, or --time alone, a series is forecast.
    """
    from ..estimators.saving import save
    from ..tables.reading import open_table

    with user_errors(TableError):
        check_files(arguments)
        with open_table(arguments.data, arguments.separator, arguments.encoding) as table:
            schema = choose_columns(arguments, table)
            steps = schema.all_steps(table, with_target=True)
        print(f"{arguments.data}: {len(steps)} rows; {_describe(schema)}.")
        prepare = series_to_learn if schema.task == "forecast" else sequences_to_learn
        schema, X_and_y = prepare(arguments, schema, steps)
    epochs = []  # of this run; a resumed training had some before
    estimator = make_estimator(arguments, schema.task, epochs.append)
    started = time.perf_counter()
    with user_errors(ValueError, TypeError):
        estimator.fit(*X_and_y, checkpoint=arguments.checkpoint, resume=arguments.resume)
    print(_what_was_trained(estimator, len(epochs), time.perf_counter() - started))
    save(estimator, arguments.out, schema)
    example = "" if schema.task == "forecast" and not schema.features else " DATA"
    size = os.path.getsize(arguments.out) / 1024
    print(f"Saved: {arguments.out} ({size:.0f} kB). Next: lstmfast predict {arguments.out}{example}")
    return 0


def check_files(arguments):
    """Find out before the work is done whether the files can be written; none may take another's place."""
    from ..tables.writing import check_destination

    check_destination(arguments.out, [arguments.data])
    if arguments.checkpoint is None:
        if arguments.resume:
            raise CommandError("--resume goes with --checkpoint")
        return
    for path in (arguments.checkpoint, f"{arguments.checkpoint}.previous"):
        check_destination(path, [arguments.data])
        if os.path.realpath(path) == os.path.realpath(arguments.out):
            raise CommandError(f"--out {arguments.out} is a file of the checkpoint; write to another file")


def choose_columns(arguments, table):
    """The Schema that the options describe; the task may still change, once the target is known."""
    from ..tables.schema import Schema

    single_series = arguments.time is not None and arguments.id is None
    series_asked = arguments.horizon is not None or arguments.window is not None or single_series
    forecast = arguments.task == "forecast" or (arguments.task is None and series_asked)
    if series_asked and not forecast:
        raise CommandError(f"--task {arguments.task} goes with none of --horizon, --window and --time without --id")
    if arguments.time_format is not None and arguments.time is None:
        raise CommandError("--time-format goes with --time")
    places = {name for name in (arguments.id, arguments.time) if name is not None}
    taken = {*arguments.target, *places}
    features = arguments.features
    if features is None:
        left_out = taken | set(arguments.ignore) | table.unnamed
        features = () if forecast else tuple(name for name in table.names if name not in left_out)
    table.check_names([*arguments.target, *features, *places, *arguments.ignore])
    twice = sorted(taken & set(features)) or sorted(places & set(arguments.target))
    if twice or (arguments.id is not None and arguments.id == arguments.time):
        raise CommandError(f"column {(twice or [arguments.id])[0]!r} cannot be two things at once")
    if not features and not forecast:
        raise CommandError(f"{arguments.data} has no column left for the features")
    return Schema(
        "forecast" if forecast else arguments.task or "classify", arguments.target, features,
        arguments.id, arguments.time, arguments.time_format,
    )  # fmt: skip


def _describe(schema):
    n = len(schema.features)
    if schema.layout == "wide":
        return f"each is a sequence of {n} steps"
    features = f"{n} feature{'s' * (n != 1)}: {shorten(schema.features)}" if n else "no features"
    return f"each is a step, of {f'the sequence that {schema.id} names' if schema.id else 'one series'}; {features}"


def shorten(names, limit=8):
    """Names, but of many only the first."""
    return ", ".join(map(str, names[:limit])) + f" and {len(names) - limit} more" * (len(names) > limit)


def sequences_to_learn(arguments, schema, steps):
    """(schema, (X, y)) for a classifier, regressor or tagger."""
    from ..tables import targets
    from ..tables.steps import group

    panel = None if schema.layout == "wide" else group(steps)
    columns = (steps if panel is None else panel.steps).targets
    if arguments.task is None:
        task, reason = targets.choose_task(columns, panel)
        print(f"Task: {task} {', '.join(schema.target)}, since {reason} (--task says otherwise).")
    else:
        task = arguments.task
        targets.check_task(task, columns, panel)
    schema = replace(schema, task=task)
    y = targets.read_targets(task, columns, panel)
    values = steps.values if panel is None else panel.steps.values
    if arguments.scale:
        schema = schema.with_scales(values, y if task == "regress" else None)
    X = schema.scaled(values)
    if task == "regress":
        y = schema.scaled_targets(y)
        y = y[:, 0] if y.shape[1] == 1 else y
    return schema, (X if panel is None else panel.split(X), y)


def series_to_learn(arguments, schema, steps):
    """(schema, (y, X)) for a forecaster."""
    from ..tables.series import as_given, features_until, read_series
    from ..tables.steps import group

    series = read_series(schema, group(steps))
    future = sum(one.n_future for one in series)
    if future:
        print(f"{future} rows at the end have no {', '.join(schema.target)}: the future, not trained on.")
    if schema.id is not None:
        schema = replace(schema, series=tuple(one.key for one in series))
    y = as_given(schema, [one.y for one in series])
    return schema, (y, features_until(schema, series, 0))


def make_estimator(arguments, task, callback):
    """The estimator with the arguments that the options give it; `callback` is called after each epoch."""
    import lstmfast

    cls = getattr(lstmfast, TASKS[task])
    given = [(name, getattr(arguments, option)) for option, name in SHORTCUTS.items()]
    given = [(name, value) for name, value in given if value is not None] + arguments.settings
    settings = {"random_state": arguments.seed, "verbose": verbosity(arguments), "callbacks": callback}
    if task == "forecast" and not arguments.scale:
        settings["scale"] = False
    if arguments.validation_fraction is not None:
        settings["early_stopping"] = True
    known = cls().get_params(deep=False)
    for name, _ in given:
        if name not in known:
            raise CommandError(f"{cls.__name__} has no argument {name!r}; it has {', '.join(known)}")
        if sum(name == other for other, _ in given) > 1:
            raise CommandError(f"{name} is given twice")
    return cls(**settings | dict(given))


def _what_was_trained(estimator, n_new, seconds):
    score = estimator.best_validation_score_
    units = estimator.hidden_layer_sizes
    resumed = f", {n_new} of them now," if n_new < estimator.n_iter_ else ""
    return (
        f"Trained: {type(estimator).__name__}, {estimator.cell}, units {units}, {estimator.n_parameters_} parameters; "
        f"{estimator.n_iter_} epochs{resumed} in {seconds:.1f} s ({estimator.stop_reason_}); loss {estimator.loss_:.4g}"
        + (f", validation score {score:.4g}." if score is not None else ".")
    )
