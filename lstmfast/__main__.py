"""Command line: ``lstmfast demo``, ``train``, ``predict``, ``info`` and ``bench``."""

import argparse
import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path

from ._version import __version__
from .commands import CommandError, demo, info, predict, train

_USER_ERROR = 2  # as argparse has it
_INTERRUPTED, _BROKEN_PIPE = 130, 141  # what a shell says of a command that SIGINT or SIGPIPE ended


def bench_module():
    """The command line of the comparison with other libraries."""
    import lstmfast

    # It lies in benchmarks/peers and is installed as lstmfast.peers. An editable install does not find it there: it
    # has no __init__.py, which hides it from asv.
    if importlib.util.find_spec("lstmfast.peers") is None:
        lstmfast.__path__.append(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("lstmfast.peers.command")


def build_parser():
    """The parser of all commands."""
    parser = argparse.ArgumentParser("lstmfast", description="LSTM networks for CPUs.")
    parser.add_argument("--version", action="version", version=f"lstmfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module, summary in (
        ("demo", demo, "train and score a model on real data, in seconds"),
        ("train", train, "train a model on a table"),
        ("predict", predict, "predict a table, or the future of a series, with a trained model"),
        ("info", info, "say what a model file holds"),
    ):
        command = commands.add_parser(name, help=summary, description=module.run.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    bench = bench_module()
    command = commands.add_parser(
        "bench",
        help="time it on this machine, beside the other libraries that are installed",
        description="Time lstmfast on this machine, beside the other libraries that are installed: each in a process "
        "of its own, in turns, once they agree in what they compute. The table is Markdown; without any other library "
        "it shows lstmfast beside NumPy's matrix product (sgemm).",
    )
    bench.add_arguments(command, quick=True)
    command.set_defaults(run=bench.run)
    return parser


def main(argv=None):
    """Run the command line; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = arguments.run(arguments)
        sys.stdout.flush()  # a broken pipe shows here
        return code
    except BrokenPipeError:  # `lstmfast predict ... | head`
        # Python flushes standard output at its end, which may fail again ("Note on SIGPIPE" in its documentation).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        _tell("interrupted")
        return _INTERRUPTED
    except OSError as error:
        _tell(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}")
        return _USER_ERROR
    except (CommandError, ImportError) as error:
        if isinstance(error, ModuleNotFoundError):  # our own, which say what to install, are plain ImportErrors
            raise
        _tell(f"error: {error}")
        return _USER_ERROR


def _tell(message):
    print("lstmfast:", " ".join(str(message).split()), file=sys.stderr)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    _tell(f"warning: {message}")


if __name__ == "__main__":
    sys.exit(main())
