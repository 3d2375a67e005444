"""``lstmfast info``: what a model file holds."""

import json
import os

from .._version import __version__
from . import load_model
from .train import shorten


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="file that an estimator, or `lstmfast train`, wrote")
    parser.add_argument("--json", action="store_true", help="all of it as JSON")


def run(arguments):
    """Say what a model is: estimator, settings, layers, columns, training, file."""
    facts = describe(arguments.model)
    if arguments.json:
        print(json.dumps(facts, indent=2, default=repr))
        return 0
    lines = dict(_lines(facts))
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        print(f"{name + ':':{width}}{value}")
    return 0


def describe(path):
    """What is known of a model file, as a dict for JSON."""
    from ..persistence import writer

    estimator, schema = load_model(path)
    history = estimator._history
    classes = getattr(estimator, "classes_", None)
    return {
        "file": {"path": path, "bytes": os.path.getsize(path), "written_by": writer(path), "read_by": __version__},
        "estimator": type(estimator).__name__,
        "settings": _changed_settings(estimator),
        "layers": [repr(layer) for layer in estimator.layers_],
        "n_parameters": estimator.n_parameters_,
        "classes": None if classes is None else classes.tolist(),
        "table": None if schema is None else {"layout": schema.layout} | schema.to_file(),
        "training": {
            "epochs": estimator.n_iter_,
            "stop_reason": estimator.stop_reason_,
            "loss_curve": history.loss_curve,
            "validation_scores": history.validation_scores,
        },
    }


def _changed_settings(estimator):
    """Arguments that are not what they are by default."""
    defaults = type(estimator)().get_params(deep=False)
    settings = {}
    for name, value in estimator.get_params(deep=False).items():
        value = value.tolist() if hasattr(value, "tolist") else value
        if name != "verbose" and value != defaults[name]:
            settings[name] = value
    return settings


def _lines(facts):
    """Pairs of a name and what is said of it."""
    file, training, table = facts["file"], facts["training"], facts["table"]
    yield "File", f"{file['path']}, {file['bytes'] / 1024:.0f} kB, written by lstmfast {file['written_by']}"
    yield "Estimator", facts["estimator"]
    yield "Settings", ", ".join(f"{name}={value!r}" for name, value in facts["settings"].items()) or "the defaults"
    yield "Layers", " -> ".join(facts["layers"])
    yield "Parameters", f"{facts['n_parameters']:,}"
    if facts["classes"] is not None:
        yield "Classes", f"{len(facts['classes'])}: {shorten(facts['classes'])}"
    if table is None:
        yield "Table", "none: it was trained in Python, or is a checkpoint"
    else:
        yield from _table_lines(table)
    loss, scores = training["loss_curve"], training["validation_scores"]
    shown = f"{training['epochs']} epochs, stopped by {training['stop_reason']}"
    if loss:
        shown += f"; loss {loss[0]:.4g} -> {loss[-1]:.4g}"
    yield "Training", shown + (f"; best validation score {max(scores):.4g}" if scores else "")


def _table_lines(table):
    roles = {"wide": "a row a sequence", "long": "a row a step", "series": "a row a step of a series"}
    yield "Table", f"{table['layout']}, {roles[table['layout']]}; task: {table['task']}"
    yield "Target", ", ".join(table["target"])
    yield "Features", f"{len(table['features'])}: {shorten(table['features'])}" if table["features"] else "none"
    if table["id"] is not None:
        yield "Id", table["id"]
    if table["time"] is not None:
        yield "Time", table["time"] + (f", written {table['time_format']}" if table["time_format"] else "")
    if table["series"]:
        yield "Series", f"{len(table['series'])}: {shorten(table['series'])}"
    if table["mean"]:
        yield "Scaling", "features are standardised before the estimator sees them; --json has means and scales"
