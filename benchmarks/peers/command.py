"""The command line of the comparison, for `python -m benchmarks.peers` and `lstmfast bench`."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from . import compare, report
from .cases import TASKS, Case
from .load import TOLERATED

# Rounds, seconds of a turn, patience.
STANDARD, QUICK = (5, 0.4, 120), (2, 0.05, 5)


def add_arguments(parser, quick):
    """Declare the options.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    quick : bool
        Default of --quick.
    """
    numbers = [f"(default: {standard}, quick: {short})" for standard, short in zip(STANDARD, QUICK, strict=True)]
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "task", nargs="?", choices=TASKS, default="inference", metavar="TASK",
        help=f"what to time: {', '.join(TASKS)} (default: inference)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action=argparse.BooleanOptionalAction, default=quick,
        help=f"few cases, few and short turns: about a minute (default: {'yes' if quick else 'no'})",
    )  # fmt: skip
    parser.add_argument("--rounds", type=_above_0(int), metavar="N", help=f"turns of each worker {numbers[0]}")
    parser.add_argument("--seconds", type=_above_0(float), metavar="S", help=f"length of a turn {numbers[1]}")
    parser.add_argument(
        "--patience", type=float, metavar="S",
        help=f"seconds to spend on repeating turns that other processes disturbed {numbers[2]}",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=_above_0(int), metavar="N",
        help="threads; peers are tried with 1 too (default: by task, at most the CPUs)",
    )  # fmt: skip
    parser.add_argument(
        "--case", type=_case, action="append", metavar="B,T,I,H",
        help="sequences, steps, inputs, units; then perhaps ,bidirectional, ,layers=N or ,conv=FILTERSxWIDTH; may be "
        "repeated",
    )  # fmt: skip
    parser.add_argument("--more", action="store_true", help="the cases that take long too")
    parser.add_argument(
        "--isa", choices=compare.ISA_VARIABLES, help="limit everybody who has a switch for it to this instruction set"
    )
    parser.add_argument(
        "--python", type=_library_and_path, action="append", default=[], metavar="LIBRARY=PATH",
        help="interpreter that has a library, if not the one that runs this; may be repeated",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="only check that all libraries compute the same")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table to this file too")


def _above_0(number):
    def convert(text):
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    return convert


def _case(text):
    try:
        return Case.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _library_and_path(text):
    library, found, path = text.partition("=")
    if library not in compare.LIBRARIES or not found:
        raise argparse.ArgumentTypeError(
            f"must be LIBRARY=PATH with one of {', '.join(compare.LIBRARIES)}, got {text!r}"
        )
    if shutil.which(path) is None:
        raise argparse.ArgumentTypeError(f"there is no program {path!r}")
    return library, path


def run(arguments):
    """The comparison that the command line asks for; returns the exit code."""
    task = TASKS[arguments.task]
    for name, standard, quick in zip(("rounds", "seconds", "patience"), STANDARD, QUICK, strict=True):
        if getattr(arguments, name) is None:
            setattr(arguments, name, quick if arguments.quick else standard)
    threads = arguments.threads or min(task.threads, os.cpu_count() or 1)
    standard = (arguments.quick and task.quick_cases) or task.cases
    cases = arguments.case or [*standard, *(task.more_cases if arguments.more else ())]
    if not task.stacked and any(case.bidirectional or case.layers > 1 for case in cases):
        arguments.parser.error(f"{arguments.task} takes cases of one layer and one direction")
    workers, missing = compare.start_workers(task, threads, dict(arguments.python), arguments.isa)
    try:
        if missing:
            print(_how_to_find(missing), file=sys.stderr)
        if "sgemm" in missing or not any(library != "sgemm" for library, _ in workers):
            raise RuntimeError("nothing to compare")
        text = check(workers, arguments, cases) if arguments.check else measure(workers, arguments, cases, threads)
    except (compare.Disagreement, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        compare.close(workers)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    return 0


def _how_to_find(missing):
    libraries = [f"{library} (module {module})" for library, module in missing.items()]
    return (
        f"Not found: {', '.join(libraries)}. Install what is to be compared, or name an interpreter that has it: "
        f"--python {next(iter(missing))}=path/to/python"
    )


def check(workers, arguments, cases):
    """What all workers compute, as text."""
    lines = []
    for case in cases:
        for (library, threads, way), values in compare.prepare(workers, arguments.task, case).items():
            numbers = " ".join(f"{value:.6g}" for value in values)
            lines.append(f"{case}: {library}{way and f' ({way})'}, threads: {threads}: {numbers}")
    return "\n".join([*lines, f"All agree to {TASKS[arguments.task].tolerance:g}."])


def measure(workers, arguments, cases, threads):
    """The report on the cases."""
    task = TASKS[arguments.task]
    versions = {library: worker.ask("describe") for (library, _), worker in workers.items()}
    stopwatch, results = compare.Stopwatch(arguments.seconds, arguments.patience), []
    for number, case in enumerate(cases, 1):
        print(f"case {number} of {len(cases)}: {case} ...", file=sys.stderr)
        results.append(compare.measure(workers, arguments.task, case, arguments.rounds, stopwatch))
    counts = f"(1 or {threads})" if threads > 1 else "(1)"
    unlimited = compare.UNLIMITED if arguments.isa else ()
    whose = "each library" if task.own_choice else f"lstmfast with {threads} threads, each peer"
    parts = [
        task.about,
        f"{report.describe_machine()}. {', '.join(versions.values())}.",
        report.limits(arguments.isa, versions, unlimited),
        f"{'Microseconds' if task.short else 'Milliseconds'}: median (lowest .. highest) of the medians of "
        f"{arguments.rounds} interleaved rounds, {whose} with the number of threads {counts} and the way that suit it "
        "best. "
        f"Turns in which other processes took more than {TOLERATED:.0%} of a CPU: "
        f"{sum(result.disturbed for result in results)} of {arguments.rounds * len(workers) * len(cases)}.",
        report.table(results, task, threads, unlimited),
        report.settings(results, task),
        report.memory(results, task),
        report.summary(results, unlimited),
    ]
    return "\n\n".join(part for part in parts if part)
