"""Time lstmfast and its peers side by side: `python -m benchmarks.peers training`."""

import argparse
import shutil
import sys
from pathlib import Path

from . import compare, report
from .cases import TASKS, Case
from .load import TOLERATED


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("task", choices=TASKS, help="what to time")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each worker (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.4, metavar="S", help="length of a turn (default: 0.4)")
    parser.add_argument(
        "--patience", type=float, default=120, metavar="S",
        help="seconds to spend on repeating turns that other processes disturbed (default: 120)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads; peers are tried with 1 too (default: by task)"
    )
    parser.add_argument(
        "--case", type=Case.parse, action="append", metavar="B,T,I,H", help="this case; may be repeated"
    )
    parser.add_argument("--more", action="store_true", help="the cases that take long too")
    parser.add_argument(
        "--python", type=_library_and_path, action="append", default=[], metavar="LIBRARY=PATH",
        help="interpreter that has a library, if not the one that runs this; may be repeated",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="only check that all libraries compute the same")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table to this file too")
    return parser.parse_args()


def _library_and_path(text):
    library, found, path = text.partition("=")
    if library not in compare.LIBRARIES or not found:
        raise argparse.ArgumentTypeError(
            f"must be LIBRARY=PATH with one of {', '.join(compare.LIBRARIES)}, got {text!r}"
        )
    if shutil.which(path) is None:
        raise argparse.ArgumentTypeError(f"there is no program {path!r}")
    return library, path


def main():
    """Run the comparison that the command line asks for."""
    arguments = parse_arguments()
    task = TASKS[arguments.task]
    threads = arguments.threads or task.threads
    cases = arguments.case or [*task.cases, *(task.more_cases if arguments.more else ())]
    workers, missing = compare.start_workers(task, threads, dict(arguments.python))
    try:
        for library, module in missing.items():
            print(f"{library} is left out: its interpreter has no module {module}; see --python", file=sys.stderr)
        if "sgemm" in missing or not any(library != "sgemm" for library, _ in workers):
            sys.exit("nothing to compare")
        text = check(workers, arguments.task, cases) if arguments.check else run(workers, arguments, cases, threads)
    except (compare.Disagreement, RuntimeError) as error:
        sys.exit(str(error))
    finally:
        compare.close(workers)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def check(workers, task, cases):
    """What all workers compute, as text."""
    lines = []
    for case in cases:
        for (library, threads, way), values in compare.prepare(workers, task, case).items():
            numbers = " ".join(f"{value:.6g}" for value in values)
            lines.append(f"{case}: {library}{way and f' ({way})'}, threads: {threads}: {numbers}")
    return "\n".join([*lines, f"All agree to {compare.TOLERANCE:g}."])


def run(workers, arguments, cases, threads):
    """The report on the cases."""
    task = TASKS[arguments.task]
    versions = {library: worker.ask("describe") for (library, _), worker in workers.items()}
    stopwatch, results = compare.Stopwatch(arguments.seconds, arguments.patience), []
    for case in cases:
        print(f"{case} ...", file=sys.stderr)
        results.append(compare.measure(workers, arguments.task, case, arguments.rounds, stopwatch))
    whose = "each library" if task.own_choice else f"lstmfast with {threads} threads, each peer"
    parts = [
        task.about,
        f"{report.describe_machine()}. {', '.join(versions.values())}.",
        f"{'Microseconds' if task.short else 'Milliseconds'}: median (lowest .. highest) of the medians of "
        f"{arguments.rounds} interleaved rounds, {whose} with the number of threads (1 or {threads}) and the way that "
        "suit it best. "
        f"Turns in which other processes took more than {TOLERATED:.0%} of a CPU: "
        f"{sum(result.disturbed for result in results)} of {arguments.rounds * len(workers) * len(cases)}.",
        report.table(results, task, threads),
        report.settings(results, task),
        report.summary(results),
    ]
    return "\n\n".join(part for part in parts if part)


if __name__ == "__main__":
    main()
