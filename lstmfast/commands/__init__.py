"""The commands of ``lstmfast``: modules with `add_arguments(parser)` and `run(arguments)`, which returns the exit code.

What they need is imported when they run: the others, and ``--help``, do not wait for it.
"""

import contextlib
import sys


class CommandError(ValueError):
    """Something that the user can put right: shown as one line, exit code 2."""


@contextlib.contextmanager
def user_errors(*kinds):
    """Makes errors of these kinds the user's."""
    try:
        yield
    except kinds as error:
        raise CommandError(error) from error


def add_verbose(parser):
    """Declare --verbose."""
    parser.add_argument(
        "--verbose", type=int, help="0: no progress, 1: a bar, 2: a line an epoch (default: 1 on a terminal)"
    )


def verbosity(arguments):
    """`verbose` of an estimator: a bar on a terminal, unless something else was asked for."""
    return int(sys.stderr.isatty()) if arguments.verbose is None else arguments.verbose


def load_model(path):
    """(estimator, Schema or None) out of a model file."""
    from ..estimators.saving import load_with_schema
    from ..persistence import ModelFormatError

    with user_errors(ModelFormatError):
        return load_with_schema(path)
